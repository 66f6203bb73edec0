"""A target of another package: registered, by an entry point, and used from the command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autoprune.errors import InputError
from autoprune.hardware import TARGETS, LatencyTable, Target, get_target
from autoprune.testing.target import TargetTests

EXTENSION = Path(__file__).parents[1] / "extensions" / "ruler_target.py"


@pytest.fixture
def ruler(monkeypatch: pytest.MonkeyPatch) -> type[Target]:
    monkeypatch.syspath_prepend(EXTENSION.parent)
    from ruler_target import Ruler

    return Ruler


@pytest.fixture
def registered(ruler):
    TARGETS.register("ruler", "ruler_target:Ruler")
    yield ruler
    TARGETS.unregister("ruler")


class TestRegistered(TargetTests):
    clock = "ruler"

    @pytest.fixture(autouse=True)
    def _registered(self, registered):
        pass

    def target(self):
        return get_target("ruler")


def test_a_registered_target_has_its_name_everywhere(registered) -> None:
    assert type(get_target("ruler@threads=2")) is registered and "ruler" in list(TARGETS)
    assert get_target("ruler_target:Ruler").spec == "ruler"
    with pytest.raises(InputError, match="did you mean 'ruler'"):
        get_target("rulr")


def test_what_is_no_target_is_refused() -> None:
    TARGETS.register("number", 7)
    try:
        with pytest.raises(InputError, match="'number' is not a subclass of"):
            get_target("number")
    finally:
        TARGETS.unregister("number")


def test_the_former_names_of_class_attributes_are_taken(ruler) -> None:
    class Mixin:
        granule = 6

    class Old(Mixin, ruler):
        granule_reason = "six at a time"

    class Older(Old):
        channel_multiple = 3

    assert (Old.channel_multiple, Old.channel_multiple_reason) == (6, "six at a time")
    assert (Older.channel_multiple, Older.channel_multiple_reason) == (3, "six at a time")


def test_another_packages_target_is_used_from_the_command_line(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "ruler_target-1.0.dist-info").mkdir(parents=True)
    (site / "ruler_target.py").write_text(EXTENSION.read_text())
    (site / "ruler_target-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: ruler-target\nVersion: 1.0\n"
    )
    points = "[autoprune.targets]\nruler = ruler_target:Ruler\n"
    (site / "ruler_target-1.0.dist-info" / "entry_points.txt").write_text(points)
    path = os.pathsep.join([str(site), *filter(None, sys.path)])
    program, out = "from autoprune.cli import main; main()", tmp_path / "table.json"
    command = ["profile", "--model", "resnet20", "--data", "digits", "--target", "ruler", "--out", str(out)]
    command += ["--granularity", "8"]
    done = subprocess.run(
        [sys.executable, "-c", program, *command], capture_output=True, text=True, timeout=240, check=False,
        env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = LatencyTable.load(out)
    assert table.fingerprint["target"] == "ruler" and table.fingerprint["runtime"] == "ruler 1"
    assert table.error is not None and table.error.worst < 0.01

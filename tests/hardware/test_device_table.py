"""What is known of a device is shared by models and processes, and by no other device."""

import json
import multiprocessing

import pytest

from autoprune.errors import InputError, TargetError
from autoprune.graph import analyse
from autoprune.hardware import DeviceTable, LatencyTable, ProfileSettings, profile
from autoprune.hardware.tables.device_table import better
from autoprune.hardware.tables.entries import Entry
from autoprune.models import plain20, resnet20
from tests.support.targets.formula_case import Case, X
from tests.support.targets.formula_target import MadeUpTarget

_HERE = {"target": "made-up", "runtime": "formula 1"}


@pytest.fixture(scope="module")
def case() -> Case:
    return Case(resnet20(width=0.5))


@pytest.fixture(scope="module")
def kept(case, tmp_path_factory):
    """A device table and the latency table that a first profile made with it."""
    path = tmp_path_factory.mktemp("device") / "device.json"
    return path, case.profile(device_table=path)


def test_a_profile_leaves_what_it_measured(case, kept) -> None:
    path, table = kept
    stored = DeviceTable.load(path)
    assert stored.entries == table.entries and stored.fingerprint == case.target.fingerprint()
    assert json.loads(path.read_text())["schema"] == "autoprune.device_table/1"


def test_the_same_model_again_measures_networks_only(case, kept) -> None:
    path, table = kept
    idle = MadeUpTarget()
    again = profile(case.model, case.analysis, case.space, X, idle, device_table=path)
    assert idle.timed_layers == [] and idle.timed_networks == 2 * 18
    assert again.predict({}) == pytest.approx(table.predict({}))


def test_another_model_measures_what_is_new_and_adds_it(kept, tmp_path) -> None:
    first, _ = kept
    path = tmp_path / "device.json"
    path.write_bytes(first.read_bytes())
    case = Case(plain20(width=0.5, classes=7))
    table = case.profile(device_table=path)
    before, after = DeviceTable.load(first).entries, DeviceTable.load(path).entries
    assert set(case.target.timed_layers[1:]) == set(table.entries) - set(before)
    assert len(case.target.timed_layers) < 0.2 * len(table.entries)
    assert set(after) == set(before) | set(table.entries)


def test_a_models_own_table_is_a_source_and_stays_as_it_is(case, kept, tmp_path) -> None:
    _, table = kept
    path = tmp_path / "latency_table.json"
    table.save(path)
    content = path.read_bytes()
    idle = MadeUpTarget()
    profile(case.model, case.analysis, case.space, X, idle, device_table=path)
    assert idle.timed_layers == [] and path.read_bytes() == content
    assert DeviceTable(table.fingerprint).extend(path) is False


def test_an_interrupted_profile_has_shared_what_it_measured(case, tmp_path) -> None:
    broken = MadeUpTarget()
    broken.breaks_after = 250
    with pytest.raises(TargetError, match="cable"):
        profile(case.model, case.analysis, case.space, X, broken, device_table=tmp_path / "device.json")
    known = DeviceTable.load(tmp_path / "device.json").entries
    again = MadeUpTarget()
    profile(case.model, case.analysis, case.space, X, again, device_table=tmp_path / "device.json")
    assert known and not set(again.timed_layers[1:]) & set(known)


def test_estimated_layers_are_not_shared_but_marked(case, tmp_path) -> None:
    path = tmp_path / "device.json"
    table = case.profile(device_table=path, settings=ProfileSettings(most_entries=60))
    assert table.estimated and {e.source for e in DeviceTable.load(path).entries.values()} == {"measured"}
    visited = table.visited([case.space.random(2).choices])
    assert any(table.entries[key].source == "estimated" for key in visited)
    table.measure_missing([case.space.random(2).choices], case.target)
    assert all(table.entries[key].source == "measured" for key in visited)


def test_another_device_is_refused_with_the_difference(case, kept) -> None:
    other = MadeUpTarget()
    other.version = "2"
    words = r"runtime = 'formula 1', here it is 'formula 2'"
    with pytest.raises(InputError, match=words):
        profile(case.model, case.analysis, case.space, X, other, device_table=kept[0])
    assert other.timed_layers == []
    with pytest.raises(InputError, match="runtime"):
        DeviceTable(other.fingerprint()).extend(kept[0])
    with pytest.raises(InputError, match=words):
        DeviceTable(other.fingerprint()).merge(kept[1].fingerprint, kept[1].entries)


def _add(path: str, worker: int) -> None:
    for number in range(12):
        DeviceTable(_HERE, {f"layer {worker} {number}": Entry(1.0, 0.0)}).extend(path)


def test_processes_that_add_at_once_lose_nothing(tmp_path) -> None:
    path = tmp_path / "device.json"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_add, args=(str(path), n)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(DeviceTable.load(path).entries) == 48


def test_the_better_entry_of_a_layer_stays() -> None:
    measured, shaky, guess = Entry(1.0, 0.0), Entry(2.0, 0.1, stable=False), Entry(3.0, 0.1, "estimated")
    assert better(None, guess) == guess and better(guess, shaky) == shaky and better(shaky, measured) == measured
    assert better(measured, shaky) == measured and better(measured, guess) == measured
    assert better(measured, Entry(1.1, 0.0)).ms == 1.1  # equally good: the newer


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"schema": "autoprune.policy/1"}, "schema"),
        ({"unit": "s"}, "'ms'"),
        ({"overhead": -1}, "empty call"),
        ({"entries": {"x": {"ms": -1, "spread": 0}}}, "0 ms or more"),
        ({"entries": [1]}, "not a usable"),
        ({"protocol": {"speed": 1}}, "not a usable"),
        ({"device": None}, "not a usable"),
    ],
)
def test_nonsense_is_named(damage, words, tmp_path) -> None:
    path = tmp_path / "device.json"
    DeviceTable(_HERE, {"x": Entry(1.0, 0.0)}).extend(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    for read in (lambda: DeviceTable.load(path), lambda: DeviceTable(_HERE).extend(path)):
        with pytest.raises(InputError, match=words):
            read()


def test_two_tables_of_one_model_merge(case, kept) -> None:
    _, table = kept
    empty = LatencyTable(table.space, table.operators, table.fingerprint)
    assert empty.merge(table) == len(table.entries) and empty.merge(table) == 0
    assert empty.runs == table.runs and empty.predict({}) == table.predict({})
    assert analyse(case.model, X, validate=False).fingerprint["sha256"] == table.space.model["sha256"]

"""Files of accelerators on the command line: what is wrong ends with exit code 2 and one line, before any work."""

import pytest
import yaml

from autoprune.hardware.accelerators import load_accelerator
from tests.support.command_line import TINY


@pytest.fixture
def file(tmp_path):
    def write(**changed):
        content = load_accelerator("eie").content()
        for path, value in changed.items():
            *sections, key = path.split("__")
            place = content
            for section in sections:
                place = place[section]
            place[key] = value
        (tmp_path / "chip.yaml").write_text(yaml.safe_dump({**content, "search": {}}))
        return f"accelerator:{tmp_path / 'chip.yaml'}"

    return write


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"memory__weights_kb_per_pe": -4}, "the nearest is 4"),
        ({"encoding__index_bits": 0}, "the nearest is 1"),
        ({"pattern": "2:4"}, "the template takes unstructured"),
        ({"memory__weigths_kb_per_pe": 4}, "did you mean 'weights_kb_per_pe'"),
    ],
)
@pytest.mark.parametrize("command", ["profile", "progressive"])
def test_a_faulty_file_is_refused(autoprune, file, folder, command, changed, said):
    target = file(**changed)
    there = sorted(folder.iterdir())
    more = ["--out", "table.json"] if command == "profile" else ["--latency", "60%", "--run", "chip"]
    result = autoprune(command, *TINY[:4], "--target", target, *more)
    assert (result.code, result.lines) == (2, 1) and said in result.error
    assert sorted(folder.iterdir()) == there


def test_a_network_that_does_not_fit_is_refused_with_the_size_that_would_do(autoprune, file):
    chip = file(memory__weights_kb_per_pe=0.01, pe__count=1)
    result = autoprune("profile", *TINY[:4], "--target", chip, "--out", "table.json")
    assert (result.code, result.lines) == (2, 1) and "does not fit" in result.error

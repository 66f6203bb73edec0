"""A model that cannot be traced is refused in two lines, and a wrong input is not blamed on its control flow."""

import subprocess
import sys

import pytest
import torch

from autoprune import measure
from autoprune.cli.main import run
from autoprune.errors import UnsupportedModelError
from autoprune.export.formats import export_onnx, export_pt2
from autoprune.models import build

NETS = """
import torch
from torch import nn


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        y = self.conv(x).mean((2, 3))
        if y.sum() > 0:
            y = y * 2
        return self.fc(y)


class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.fc = nn.Linear(8 * 6 * 6, 4)

    def forward(self, x):
        return self.fc(self.conv(x).flatten(1))
"""


@pytest.mark.parametrize(
    ("model", "shape", "says", "not_says"),
    [
        ("Branching", "3,8,8", "untraceable_nets.py:14: what it does depends on values", "forward fails"),
        ("Flat", "3,9,9", "forward fails on an input of shape [1, 3, 9, 9]: RuntimeError", "control flow"),
        ("Flat", "4,8,8", "forward fails on an input of shape [1, 4, 8, 8]: RuntimeError", "control flow"),
    ],
)
def test_at_most_two_lines_say_why(folder, capfd, model, shape, says, not_says):
    (folder / "untraceable_nets.py").write_text(NETS)
    assert run(["inspect", "--model", f"untraceable_nets:{model}", "--shape", shape]) == 2
    said = capfd.readouterr()
    assert says in said.err and not_says not in said.err
    assert len(said.err.strip().splitlines()) <= 2, said.err
    assert said.out == ""


def test_timing_and_exporting_are_as_quiet(folder, capfd):
    (folder / "untraceable_nets.py").write_text(NETS)
    model, example = build("untraceable_nets:Branching"), torch.zeros(1, 3, 8, 8)
    refused = [
        lambda: export_onnx(model, example, folder / "x"),
        lambda: export_pt2(model, example, folder / "x"),
        lambda: measure(model, example, "torch"),
    ]
    for call in refused:
        with pytest.raises(UnsupportedModelError) as caught:
            call()
        assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")


def test_a_process_of_its_own_logs_no_more(folder):
    (folder / "untraceable_nets.py").write_text(NETS)  # here pytest keeps the lines that torch logs
    program = "import sys; from autoprune.cli.main import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "inspect", "--model", "untraceable_nets:Flat", "--shape", "3,9,9"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.strip().splitlines()) <= 2, done.stderr

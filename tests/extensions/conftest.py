"""A network, its data, and an installed third-party package that exists in one folder only."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

HERE = Path(__file__).parent

ENTRY_POINTS = """\
[autoprune.criteria]
input_aware = input_aware:InputAware
[autoprune.techniques]
magnitude = magnitude_masks:Magnitude
[autoprune.kinds]
density = magnitude_masks:DENSITY
"""


class Net(nn.Module):
    """Two convolutions in a residual stage and a linear head; 4 classes."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.fc(torch.relu(x + self.bn2(self.conv2(x))).mean((2, 3)))


@pytest.fixture
def net():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Net().eval()


@pytest.fixture
def example():
    return torch.linspace(-1, 1, 72).reshape(1, 2, 6, 6)


@pytest.fixture
def batches():
    draw = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 2, 6, 6, generator=draw), torch.arange(8) % 4) for _ in range(3)]


@pytest.fixture(autouse=True)
def examples(monkeypatch):
    """The example packages can be imported in this folder's tests, and nothing of them stays known."""
    monkeypatch.syspath_prepend(HERE)
    yield
    for name in ("input_aware", "magnitude_masks", "least_squares", "counting_chip"):
        sys.modules.pop(name, None)


@pytest.fixture
def installed(tmp_path):
    """A folder as `pip install` leaves it: two modules, and the entry points that name what is in them."""
    site = tmp_path / "site"
    meta = site / "thirdparty-1.0.dist-info"
    meta.mkdir(parents=True)
    for name in ("input_aware.py", "magnitude_masks.py"):
        shutil.copy(HERE / name, site)
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: thirdparty\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text(ENTRY_POINTS)
    return site

"""Verdicts of earlier proofs: used again after a check, for the same network only, and never against the check."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from autoprune.graph import Analysis, analyse
from autoprune.graph.proof import sizes

X = torch.randn(2, 3, 16, 16)


class Net(nn.Module):
    """Three widths; what the second one's units are scaled by is the caller's. It counts its own runs."""

    def __init__(self, scale: Callable[[torch.Tensor], float] = lambda hidden: 1.0) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 12, 3), nn.Conv2d(12, 6, 3)
        self.head = nn.Linear(6, 4)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        RUNS.append(1)
        two = self.two(self.one(x).relu()).relu()
        return self.head(self.three(two * self.scale(two)).relu().mean((2, 3)))


RUNS: list[int] = []


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache; networks of any size count as large."""
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path))
    monkeypatch.setattr(sizes, "LARGE", 0)
    yield tmp_path / "proofs"


def described(analysis: Analysis) -> tuple[object, ...]:
    return [(group.name, group.least) for group in analysis.groups], dict(analysis.frozen)


def runs_of(work: Callable[[], Analysis]) -> tuple[int, Analysis]:
    RUNS.clear()
    analysis = work()
    return len(RUNS), analysis


def test_a_second_process_only_checks(cache: Path) -> None:
    first, analysis = runs_of(lambda: analyse(Net(), X, blocks=False))
    (kept,) = cache.iterdir()
    assert set(json.loads(kept.read_text())["least"]) == {"one", "two", "three"}
    second, again = runs_of(lambda: analyse(Net(), X, blocks=False))
    assert described(again) == described(analysis)
    assert second < first - 5, (first, second)


def test_refusals_are_remembered_with_their_reason(cache: Path) -> None:
    guilty = [analyse(Net(lambda hidden: float(hidden.shape[1])), X, blocks=False) for _ in range(2)]
    assert "two" in guilty[0].frozen
    assert described(guilty[0]) == described(guilty[1])


@pytest.mark.parametrize("other", ["kernel", "source", "example", "value"])
def test_another_network_is_proven_for_itself(other: str, cache: Path) -> None:
    analyse(Net(), X, blocks=False)
    net, x = Net(), X
    if other == "kernel":
        net.three = nn.Conv2d(12, 6, 1)
    if other == "source":
        net.scale = lambda hidden: 1.0 if hidden.shape[2] > 8 else 2.0  # the same trace
    if other == "example":
        x = torch.randn(2, 3, 18, 18)
    if other == "value":
        net.limit = 3
    analyse(net, x, blocks=False)
    assert len(list(cache.iterdir())) == 2


def test_a_verdict_that_does_not_hold_is_thrown_away(cache: Path) -> None:
    """The file says that nothing is refused; the check finds the group that is, and everything is proven again."""
    net = Net(lambda hidden: float(hidden.shape[1]))
    right = described(analyse(net, X, blocks=False))
    for kept in cache.iterdir():
        content = json.loads(kept.read_text())
        kept.write_text(json.dumps({**content, "reasons": {}}))
    assert described(analyse(Net(lambda hidden: float(hidden.shape[1])), X, blocks=False)) == right


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}', '{"reasons": {"two": 5}, "least": {}}', "null"])
def test_a_damaged_file_is_no_verdict(text: str, cache: Path) -> None:
    right = described(analyse(Net(), X, blocks=False))
    (kept,) = cache.iterdir()
    kept.write_text(text)
    assert described(analyse(Net(), X, blocks=False)) == right
    assert json.loads(kept.read_text())["reasons"] == {}


def test_a_cache_that_cannot_be_written_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path / "file"))
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(sizes, "LARGE", 0)
    assert len(analyse(Net(), X, blocks=False).groups) == 3


def test_the_proof_of_a_large_network_reports_how_far_it_is(cache: Path) -> None:
    seen: list[tuple[int, int, str]] = []

    def shown(done: int, total: int | None = None, what: str = "") -> None:
        seen.append((done, total or 0, what))

    analyse(Net(), X, blocks=False, progress=shown)
    assert {what for *_, what in seen} == {"proven at one unit", "proven at random widths"}
    assert seen[-1][:2] == (3, 3)

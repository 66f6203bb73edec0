"""Limits of networks with exits hold as measured; what images are changed into may come from any classifier."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from autoprune.dynamic_networks.thresholds import Choice
from autoprune.errors import BudgetError
from autoprune.hardware.targets.stream import Stream
from autoprune.models.inputs.reader import BatchReader
from autoprune.pipeline.jobs.dynamic import verification
from autoprune.pipeline.jobs.dynamic.shift import SHIFTS, images_in, shifted
from autoprune.pipeline.jobs.dynamic.verification import first_that_holds
from autoprune.pipeline.jobs.dynamic.verified import Verified
from autoprune.pipeline.reporter import Reporter
from autoprune.run.experiment import Experiment


def choice(mean: float) -> Choice:
    return Choice((0,), "margin", (0.5,), (0.5, 0.5), mean, 0.0, 0.0)


def verify(monkeypatch, choices, slower, *, tail=1.0, longest=1.0, **limits):
    """The means of the choices that are timed, and what comes of them; streams take so many times the prediction."""
    timed: list[float] = []

    def as_measured(task, run, made, choice, attempt, bar):
        timed.append(choice.mean_ms)
        streams = (Stream(1, 1, 1, 1, 1), Stream(slower * choice.mean_ms, 1, tail, 1, 1))
        return Verified(choice, b"", 1.0, (2 * choice.mean_ms - longest, longest), streams)

    monkeypatch.setattr(verification, "_verified", as_measured)
    settings = Experiment.build({"worst": "110%", **limits})
    pieces = SimpleNamespace(), SimpleNamespace(), SimpleNamespace()
    return timed, lambda: first_that_holds(*pieces, map(choice, choices), settings, Reporter())


def test_a_stream_that_takes_longer_than_its_paths_counts(monkeypatch):
    timed, run = verify(monkeypatch, [0.6, 0.59, 0.58, 0.48, 0.4], 1.2, mean_latency="60%")
    assert run().choice.mean_ms == 0.48
    assert timed == [0.6, 0.48]  # the two between would have taken 0.7, too


@pytest.mark.parametrize(
    ("limits", "least"),
    [({"mean_latency": "50%"}, 0.54), ({"p95": "105%"}, 1.2), ({"mean_latency": "60%", "p95": "1.1ms"}, 1.2)],
)
def test_a_limit_that_no_choice_keeps_is_not_reached(limits, least, monkeypatch):
    _, run = verify(monkeypatch, [0.5, 0.45], 1.2, tail=1.2, **limits)
    with pytest.raises(BudgetError, match=f"not met as measured; the least is about {least:g} ms") as missed:
        run()
    assert missed.value.least == pytest.approx(least)


def test_without_an_asked_limit_the_static_network_is_left(monkeypatch):
    timed, run = verify(monkeypatch, [0.7, 0.65, 0.63, 0.6], 1.0, longest=1.2)
    assert run() is None and timed == [0.7, 0.65, 0.63]
    _, run = verify(monkeypatch, [0.9], 1.1)
    assert run() is None


class Pair(nn.Module):
    """Gives its logits and something else."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 4)
        self.most = 0

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.most = max(self.most, len(x))
        return self.head(x.mean((2, 3))), x


class Exits:
    """Takes every other input out at its only exit."""

    exits, counts = (1,), [0, 0]

    def __init__(self, dense: Pair) -> None:
        self.dense = dense

    def answers(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.dense(x)[0], torch.arange(len(x)) % 2


def test_changed_images_run_in_parts_whatever_else_a_network_returns():
    torch.manual_seed(0)
    dense, images = Pair(), torch.rand(300, 3, 6, 6)
    labels = dense(images)[0].argmax(1)
    dense.most = 0
    pairs = [(images[at : at + 150], labels[at : at + 150]) for at in (0, 150)]
    rows = shifted(Exits(dense), dense, *images_in(dense, BatchReader(), pairs))
    assert [row["inputs"] for row in rows] == list(SHIFTS)
    assert rows[0]["accuracy"] == rows[0]["dense_accuracy"] == 1 and rows[0]["shares"] == [0.5, 0.5]
    assert all(row["accuracy"] == row["dense_accuracy"] for row in rows)
    assert dense.most < 150

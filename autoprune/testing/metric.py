"""What every budget kind must do; see `autoprune.cost.metrics.Metric`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

import torch
from torch import Tensor, nn

from autoprune.cost.additive import AdditiveCost
from autoprune.cost.budget import Budget
from autoprune.cost.effects import Effect
from autoprune.cost.metrics import METRICS, MeteredEnergy, Metric, Session, Timing
from autoprune.graph import Analysis, analyse, cut
from autoprune.space import SearchSpace
from autoprune.techniques.space import space_of

__all__ = ["check_metric"]

_POLICIES = 5


@dataclass(frozen=True)
class _Context:
    """A `Pricing` of a network on no target at all: nothing can be measured."""

    analysis: Analysis
    space: SearchSpace
    batch: int = 1
    precision: str = "f32"
    effects: Mapping[str, Effect] = field(default_factory=dict)
    fused: frozenset[str] = frozenset()

    def say(self, sentence: str) -> None:
        """Sentences are not shown."""

    def latency(self) -> NoReturn:
        """There is no target."""
        raise AssertionError("the metric asks for a latency table although nothing is budgeted on it")

    def metered_energy(self) -> MeteredEnergy:
        """There is no sensor."""
        return MeteredEnergy("no sensor")


def check_metric(metric: Metric, model: nn.Module, example: Tensor) -> None:
    """A budget kind keeps its contract on one network; one that is `timed` is checked for its words alone.

    Args:
        metric: The metric.
        model: A dense network on the CPU that can be pruned.
        example: What the network takes, (1, ...).

    Raises:
        AssertionError: If it does not; the message names the promise.
    """
    _check_words(metric)
    if metric.timed:
        return
    analysis = analyse(model, example)
    space = space_of(analysis)
    cost = metric.price(_Context(analysis, space), budgeted=False)
    assert cost.kind == metric.kind, f"{metric.kind}: its cost model is of the kind {cost.kind!r}"
    assert cost.dense > 0, f"{metric.kind}: the dense network costs {cost.dense} {metric.unit}"
    assert cost.least()[0] < cost.dense, f"{metric.kind}: pruning saves nothing, so no budget can be met"
    for seed in range(_POLICIES):
        _check_counts(metric, cost, model, analysis, space, example, seed)
    _check_verdict(metric, cost)


def _check_words(metric: Metric) -> None:
    kind = metric.kind
    for name in ("kind", "unit", "label", "example"):
        assert getattr(metric, name, ""), f"{kind}: {name} is empty"
    assert metric.text(1234.5), f"{kind}: text() gives no text"
    known = kind in METRICS
    if not known:
        METRICS.register(kind, type(metric))
    try:
        for amount in metric.example.split(" or "):
            budget = Budget.parse(kind, amount)
            assert budget.limit(100.0) > 0, f"{kind}: the example {amount!r} allows nothing"
    finally:
        if not known:
            METRICS.unregister(kind)


def _check_counts(
    metric: Metric,
    cost: AdditiveCost,
    model: nn.Module,
    analysis: Analysis,
    space: SearchSpace,
    example: Tensor,
    seed: int,
) -> None:
    """What a policy is priced at is what its network costs, and counting leaves the network as it was."""
    policy = space.random(seed)
    small = cut(model, analysis, {name: range(units) for name, units in policy.units.items()}).eval()
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    counted = metric.count(small, example, cost, 1)
    priced = cost.cost(policy.choices)
    assert abs(counted - priced) <= 1e-6 * abs(counted), (
        f"{metric.kind}: a policy is priced at {priced} {metric.unit}, its network counts {counted}"
    )
    after = small.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), f"{metric.kind}: counting changed a network"


def _check_verdict(metric: Metric, cost: AdditiveCost) -> None:
    half = cost.dense / 2
    planned = metric.planned(half, cost)
    assert 0 < planned <= half, f"{metric.kind}: a limit of {half} is planned as {planned}"
    for counted, met in ((0.9 * planned, True), (1.1 * half, False)):
        timing = Timing(1.0, 2.0, None, 0.0, True)
        session = Session(timing, cost, planned, lambda dense: dense / 2, lambda x=counted: x, True, print)  # type: ignore[misc]
        verdict = metric.judge(session)
        assert verdict.met is met, f"{metric.kind}: {counted} of {half} is judged {'met' if verdict.met else 'missed'}"

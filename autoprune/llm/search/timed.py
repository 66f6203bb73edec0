"""Latencies of a language model by its sizes: a few shapes are measured, and the others priced by a fit.

A block is called as often as there are blocks, and does work in proportion to its parameters; so a latency is a
constant, a price for each block, and a price for each parameter of each part (embedding and head,
feed-forward, attention, norms). These prices are fitted, none below zero, so that the relative error over the measured
shapes is least. How wrong it is elsewhere is seen on shapes that are drawn, measured, and left out of it; then these
are fitted, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import nn

from autoprune.cost import AdditiveCost, CostEntry
from autoprune.cost.least_squares import Errors, errors_of
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.search.budget import LanguageBudget
from autoprune.llm.search.counted import Tensors, parameters_by_scope
from autoprune.llm.search.levers import BLOCKS, Levers, part_of
from autoprune.llm.search.pricing import Measured, Pricing
from autoprune.llm.search.timers import LanguageTimer
from autoprune.pipeline.reporter import Reporter
from autoprune.run.directory import RunDir
from autoprune.space import SearchSpace

__all__ = ["Timed", "fitted_cost", "held_out_errors", "shapes_to_check", "shapes_to_time"]

Array = NDArray[np.float64]

_Priced = tuple[tuple[str, ...], Callable[[NDArray[np.int64]], Array]]  # scope, price of its kept units

_CHECKED = 3  # shapes that are drawn
_PLANNED = 0.98  # share of the limit that a search plans with, for the fit errs


class Timed(Pricing):
    """Milliseconds of prefill or of a decoded token, as measured on a target.

    Args:
        budget: The limit.
        levers: What can be changed.
        model: The dense model.
        timer: The target.
        run: Keeps what was measured.
        reporter: Shows progress.

    Attributes:
        errors: How far the fit is from what was measured.
        held_out: How far a fit without the drawn shapes is from these; None where there is no other shape.
        dense: The dense model's latency (ms), the median of all sessions.
    """

    how = "measured"

    def __init__(
        self,
        budget: LanguageBudget,
        levers: Levers,
        model: LanguageModel,
        timer: LanguageTimer,
        run: RunDir[Any],
        reporter: Reporter,
    ) -> None:
        self._budget, self._model, self._timer = budget, model, timer
        self._phase = budget.phase
        fitted, drawn = shapes_to_time(levers.space), shapes_to_check(levers.space)
        shapes = [*fitted, *drawn]
        with reporter.stage("profile", f"timing shapes on {timer.name}", len(shapes)) as bar:
            rows: list[tuple[float, float]] = []
            for number, choices in enumerate(shapes, start=1):
                rows.append(run.once(f"timed {_key(choices)}", partial(self._timed, levers, choices)))
                bar.update(number)
        self.dense = float(np.median([dense for _, dense in rows]))
        # By the dense model in the same session: a spell in which the machine is slow reaches both.
        found = np.array([self.dense, *(self.dense * ms / dense for ms, dense in rows)])
        known = [levers.space.complete({}), *shapes]
        self.cost, self.errors = fitted_cost(levers, known, found, budget.kind)
        self.held_out = held_out_errors(levers, known, found, len(drawn)) if drawn else None
        self.limit = _PLANNED * budget.amount.limit(self.cost.dense if budget.amount.relative else self.dense)

    def measure(self, network: nn.Module) -> Measured:
        """See `Pricing.measure`; beside the dense model, in one session."""
        cost, dense = self._beside(network)
        return Measured(cost, self._budget.amount.limit(dense), dense)

    def _timed(self, levers: Levers, choices: dict[str, int]) -> tuple[float, float]:
        return self._beside(levers.cut(choices))

    def _beside(self, network: nn.Module) -> tuple[float, float]:
        """Latency of a network and of the dense one (ms)."""
        if network is self._model.network:
            (dense,) = self._timer.times([self._model], self._phase)
            return dense, dense
        cost, dense = self._timer.times([self._model.with_network(network), self._model], self._phase)
        return cost, dense


def shapes_to_time(space: SearchSpace) -> list[dict[str, int]]:
    """Shapes that tell the parts apart: each alone at its least, all of them half-way, all at their least."""
    parts = dict.fromkeys(part_of(d.name) for d in space.decisions)
    alone = [space.complete({d.name: d.options[0] for d in space.decisions if part_of(d.name) == p}) for p in parts]
    half = space.complete({d.name: d.options[len(d.options) // 2] for d in space.decisions})
    least = space.complete({d.name: d.options[0] for d in space.decisions})
    return [dict(each) for each in {_key(choices): choices for choices in [*alone, half, least]}.values()]


def shapes_to_check(space: SearchSpace, count: int = _CHECKED, seed: int = 0) -> list[dict[str, int]]:
    """Shapes that are none of those that are fitted, drawn option by option; fewer where there are no more."""
    generator = np.random.default_rng(seed)
    known = {_key(choices) for choices in [space.complete({}), *shapes_to_time(space)]}
    found: dict[str, dict[str, int]] = {}
    for _ in range(20 * count):
        drawn = dict(space.complete({d.name: int(generator.choice(d.options)) for d in space.decisions}))
        if _key(drawn) not in known and len(found) < count:
            found.setdefault(_key(drawn), drawn)
    return list(found.values())


def held_out_errors(levers: Levers, shapes: Sequence[dict[str, int]], ms: Array, count: int) -> Errors:
    """How wrong a fit on all shapes but the last few is on these.

    Args:
        levers: See `fitted_cost`.
        shapes: Complete choices that were measured.
        ms: Their latencies, (shapes,).
        count: How many of them are left out.
    """
    cost, _ = fitted_cost(levers, shapes[:-count], ms[:-count], "held out")
    return errors_of(np.array([cost.cost(choices) for choices in shapes[-count:]]), ms[-count:])


def fitted_cost(levers: Levers, shapes: Sequence[dict[str, int]], ms: Array, kind: str) -> tuple[AdditiveCost, Errors]:
    """A cost through measured latencies.

    Args:
        levers: Say which parameters depend on which decisions.
        shapes: Complete choices that were measured.
        ms: Their latencies, (shapes,).
        kind: What the cost is called.
    """
    columns: list[list[_Priced]] = [[((), _one)]]  # each has one price; of a part in all blocks
    if BLOCKS in levers.space.names:
        columns.append([((BLOCKS,), _count)])
    shared: dict[tuple[str, ...], list[_Priced]] = {}
    for tensors in (each for each in parameters_by_scope(levers) if each.scope):
        shared.setdefault(tuple(map(part_of, tensors.scope)), []).append((tensors.scope, tensors))
    columns += shared.values()
    matrix = np.stack([sum(_column(*priced, shapes) for priced in column) for column in columns], axis=1)
    scale = matrix.max(axis=0)
    factors, _ = nnls(matrix / scale / ms[:, None], np.ones(len(ms)))
    factors = factors / scale
    entries = [
        CostEntry(" x ".join(scope) or "fixed", scope, _scaled(price, float(factor)))
        for column, factor in zip(columns, factors, strict=True)
        for scope, price in column
    ]
    return AdditiveCost(kind, "ms", levers.space, entries), errors_of(matrix @ factors, ms)


def _scaled(price: Callable[[NDArray[np.int64]], Array], factor: float) -> Callable[[NDArray[np.int64]], Array]:
    if isinstance(price, Tensors):
        return replace(price, factor=factor)
    return lambda widths: factor * price(widths)


def _column(
    scope: tuple[str, ...], price: Callable[[NDArray[np.int64]], Array], shapes: Sequence[dict[str, int]]
) -> Array:
    return price(
        np.array([[shape[name] for name in scope] for shape in shapes], dtype=np.int64).reshape(len(shapes), -1)
    )


def _one(widths: NDArray[np.int64]) -> Array:
    return np.ones(len(widths))


def _count(widths: NDArray[np.int64]) -> Array:
    return widths[:, 0].astype(np.float64)


def _key(choices: dict[str, int]) -> str:
    return " ".join(f"{name}={kept}" for name, kept in sorted(choices.items()))

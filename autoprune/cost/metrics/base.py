"""The contract of a budget kind, and the values that it is handed.

Nothing here imports torch: reports ask a metric for its words.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from autoprune.cost.additive import AdditiveCost
from autoprune.cost.effects import Effect
from autoprune.space import SearchSpace

if TYPE_CHECKING:
    from torch import nn

    from autoprune.graph import Analysis

__all__ = ["How", "MeteredEnergy", "Metric", "Pricing", "Session", "Timing", "Verdict"]

How = Literal["measured", "counted", "modelled"]

_COUNTS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}


@dataclass(frozen=True)
class MeteredEnergy:
    """Energy of several networks, as a sensor of the target measured it in one session.

    Attributes:
        source: The sensor; or why nothing was measured.
        runs: Policies (choices) and millijoules of one call, to fit a model on; none where there is no sensor.
        held_out: Further ones, to tell the model's error on.
    """

    source: str
    runs: tuple[tuple[Mapping[str, int], float], ...] = ()
    held_out: tuple[tuple[Mapping[str, int], float], ...] = ()


class Pricing(Protocol):
    """What a metric is handed to price the policies of a search space."""

    @property
    def analysis(self) -> Analysis:
        """The model's operators."""

    @property
    def space(self) -> SearchSpace:
        """The decisions and their options."""

    @property
    def effects(self) -> Mapping[str, Effect]:
        """Graph node -> what techniques change in its price beside its widths."""

    @property
    def batch(self) -> int:
        """Inputs in one call."""

    @property
    def precision(self) -> str:
        """Number format in which the target computes: `f32`, `bf16`, `f16`."""

    @property
    def fused(self) -> Collection[str]:
        """ATen operators that the target executes inside the weighted operator before them."""

    def say(self, sentence: str) -> None:
        """Report one sentence to the user."""

    def latency(self) -> AdditiveCost:
        """Milliseconds by the target's latency table, which is profiled unless the run has it."""

    def metered_energy(self) -> MeteredEnergy:
        """Energy of random networks, measured on the target unless the run has that."""


@dataclass(frozen=True)
class Timing:
    """One network timed on the target, beside the dense one.

    Attributes:
        ms: Its latency.
        dense_ms: The dense network's, in the same session.
        limit_ms: What the budget allows in that session; None if the budget is on something else.
        spread: Of `ms`, as a share.
        stable: Whether the protocol's stopping rule was met for both.
        energy_mj: Measured energy of one call in millijoules; None where the device has no sensor, or none was read.
        energy_source: The sensor, or why there is none.
        dense_energy_mj: The dense network's, in the same session.
        readings: What else the device reports of one call, as JSON values of `Reading`s.
    """

    ms: float
    dense_ms: float
    limit_ms: float | None
    spread: float
    stable: bool
    energy_mj: float | None = None
    energy_source: str | None = None
    dense_energy_mj: float | None = None
    readings: Sequence[Mapping[str, Any]] = ()

    @property
    def over(self) -> float:
        """Latency as a share of the limit; 0 without one."""
        return self.ms / self.limit_ms if self.limit_ms else 0.0


@dataclass(frozen=True)
class Session:
    """What is known of one network when it is held against the budget.

    Attributes:
        timing: What the target measured, the dense network in the same session.
        cost: The cost model of the budget.
        limit: What the search was planned with, in the cost's unit.
        limit_of: The budget's limit, given the dense network's cost.
        counted: What the network costs by counting or by the model; computed when it is asked for.
        final: Whether it is the finished network's last session; else one on the way there.
        say: Reports one sentence to the user.
    """

    timing: Timing
    cost: AdditiveCost
    limit: float
    limit_of: Callable[[float], float]
    counted: Callable[[], float]
    final: bool
    say: Callable[[str], None]


@dataclass(frozen=True)
class Verdict:
    """A network held against its budget.

    Attributes:
        measured: What it costs, in the budget's unit.
        limit: What the budget allows.
        how: Whether the cost was measured, counted, or is modelled.
    """

    measured: float
    limit: float
    how: How

    @property
    def met(self) -> bool:
        """Whether the budget is met."""
        return self.measured <= self.limit

    @property
    def over(self) -> float:
        """Cost as a share of what is allowed."""
        return self.measured / self.limit


class Metric(ABC):
    """A kind of budget. Metrics hold no state; whoever needs one makes it (`metric_of`).

    Life cycle, in the order of a job: `units` read what the user wrote (`--latency 2.5ms`). `price` is called once a
    grid of widths, for the budget's metric and for every one that is `always` priced; agents search on what it
    returns. `planned` turns the budget's limit into what a policy may be predicted to cost. Where a metric is `timed`,
    candidates are timed on the target before one is chosen, and the timings refine the latency model; where it is
    `metered`, the target's counter of energy is read as well. `judge` holds a network against the budget after every
    session that matters, at the latest the finished one's; `count` is asked there for what no sensor has measured.
    `text` and `label` are the words of reports.

    A package adds a kind by an entry point of the group `autoprune.metrics`, a program by `METRICS.register`. On the
    command line a kind without an option of its own is written `--budget KIND=50%`.

    Attributes:
        kind: The name that users write.
        unit: Of every number, for people: `ms`.
        label: The quantity with its unit, for axes and tables: `latency in ms`.
        key: Name of the figure in policy files; the kind if empty.
        units: What may stand behind a number, in lower case -> its size in `unit`.
        example: Amounts that a user may write.
        always: Whether it is priced in every run, so that policies name it, whatever the budget is on.
        timed: Whether whole networks are timed on the target before one is chosen.
        metered: Whether the target's counter of energy is read while they are.
        how: How a cost of this kind is known where no sensor has measured it.
        prefixes: Whether large figures are written with k, M, G.
    """

    kind: ClassVar[str]
    unit: ClassVar[str]
    label: ClassVar[str]
    key: ClassVar[str] = ""
    units: ClassVar[Mapping[str, float]] = _COUNTS
    example: ClassVar[str] = "50% or 20M"
    always: ClassVar[bool] = False
    timed: ClassVar[bool] = False
    metered: ClassVar[bool] = False
    how: ClassVar[How] = "counted"
    prefixes: ClassVar[bool] = True

    @abstractmethod
    def price(self, context: Pricing, *, budgeted: bool) -> AdditiveCost:
        """What policies cost, in `unit`; its `kind` must be the metric's.

        Args:
            context: The network, its decisions, and what can be asked of the target.
            budgeted: Whether the budget is on this metric; else nothing may be measured for it.
        """

    @abstractmethod
    def count(self, network: nn.Module, example: Any, cost: AdditiveCost, batch: int) -> float:
        """What a finished network costs by counting, or by the model, in `unit`.

        Args:
            network: Small, in evaluation mode.
            example: One input, float32 (1, ...); of a network with several an `Example`.
            cost: The cost model that `price` returned.
            batch: Inputs in one call.
        """

    def planned(self, limit: float, cost: AdditiveCost) -> float:
        """What a policy may be predicted to cost, given the budget's limit; in `unit`."""
        return limit

    def judge(self, session: Session) -> Verdict:
        """Hold a network against the budget; by counting, unless a metric knows better."""
        return Verdict(session.counted(), session.limit, self.how)

    def text(self, value: float) -> str:
        """A cost with its unit, for people."""
        return f"{value:.4g} {self.unit}"

    @property
    def name_in_files(self) -> str:
        """Name of the figure in policy files."""
        return self.key or self.kind


def analysed(network: nn.Module, example: Any) -> Any:
    """The analysis of a finished network, for metrics that count its operators; nothing of it is proved again."""
    from autoprune.graph import analyse

    return analyse(network, example, validate=False)

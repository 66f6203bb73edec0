"""The timing protocol and what comes out of it: plain values, without torch.

Means and medians of wall-clock time lie on a shared machine: a sample longer than a scheduler slice is nearly
always preempted. A low percentile of CPU time in short blocks, all candidates interleaved, repeats within a few
tenths of a percent. What slows the whole machine down for seconds is divided out: every block stands between two blocks
of a reference kernel, and what counts is the ratio.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from autoprune.errors import InputError, TargetError, one_line
from autoprune.hardware.contract.conditions import Conditions

__all__ = ["Measurement", "Protocol", "TimingPlan", "at_quiet", "is_stable", "ratio_to_reference", "summarise"]

_LEAST_MS, _MOST_MS = 1e-9, 1e9  # less than a cycle of any clock, more than a week: no latency
_KEPT = 3  # the smallest blocks that must agree; their median is the value
_LAYOUT = 0.03  # where a kernel's tensors lie differs from process to process, and its time by so much; not a drift


@dataclass(frozen=True)
class Protocol:
    """How something is timed; the defaults are for whole networks, `Protocol.entries()` for single layers.

    Attributes:
        block: Least length of one block in seconds of the clock.
        sample: Calls shorter than this (seconds) are looped until a sample lasts as long.
        warmup: Calls before anything is timed.
        percentile: Which percentile of a block's samples is the block's value, in (0, 100).
        least_blocks: Blocks before the stopping rule is asked, at least 3.
        most_blocks: Blocks after which a candidate is given up and flagged unstable.
        agreement: The three smallest blocks must lie within this share of each other.
        closing: Further blocks of every candidate once all are stable; one that was stable during a slow spell of the
            machine is found out by them, and goes on.
        meter: Seconds for which each candidate is called, once it is timed, under the device's counter of energy, where
            there is one; 0 leaves that alone.
        reference: Whether every block stands between two blocks of the target's reference kernel, if it has one.
        seconds: Wall-clock seconds after which nobody gets a further block; everybody gets one. None for no bound.
    """

    block: float = 0.12
    sample: float = 150e-6
    warmup: int = 5
    percentile: float = 20.0
    least_blocks: int = 5
    most_blocks: int = 30
    agreement: float = 0.015
    closing: int = 2
    meter: float = 0.0
    reference: bool = True
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.seconds is not None and not 0 <= self.seconds < math.inf:
            raise InputError(f"a timing protocol lasts 0 seconds or more, not {self.seconds}")
        lengths = 0 < self.block < 60 and 0 < self.sample < 60 and 0 <= self.meter < 60
        if not (lengths and 0 < self.percentile < 100):
            raise InputError(f"a timing protocol needs positive lengths and a percentile below 100: {self}")
        if not (
            _KEPT <= self.least_blocks <= self.most_blocks and self.warmup >= 1 and self.agreement > 0 <= self.closing
        ):
            raise InputError(f"a timing protocol needs at least {_KEPT} blocks, a warm-up, an agreement: {self}")

    @classmethod
    def entries(cls) -> Protocol:
        """The protocol for a table's entries: hundreds of them, each a few tens of microseconds."""
        return cls(block=0.008, warmup=3, least_blocks=3, most_blocks=8, agreement=0.03, closing=0)

    @classmethod
    def networks(cls) -> Protocol:
        """The protocol for whole networks, of which many are timed."""
        return cls(block=0.06)

    def within(self, seconds: float) -> Protocol:
        """The same, bounded: none for an infinite time."""
        return replace(self, seconds=None if seconds == math.inf else max(0.0, round(seconds, 3)))

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Protocol:
        """The inverse of `to_json`; files older than the reference kernel do not name it.

        Raises:
            InputError: If it is no protocol.
            TypeError: If a field is unknown.
        """
        return cls(**{"reference": False, **content})


@dataclass(frozen=True)
class TimingPlan:
    """How whole networks are timed to be compared.

    Attributes:
        protocol: In each process.
        passes: Processes, one after the other; the least latency of each network counts. Less than these, but three,
            are enough once the two least latencies of every network lie within 1 % of each other.
        most: Processes at most where after these the two least of a network still are more than 3 % apart; where
            `decides`, as long as a decision hangs on them.
        seconds: Of all of them together; there is one in any case.
        decides: Whether only what hangs on the latencies asks for more than `passes`; who measures says what that is.
    """

    protocol: Protocol = Protocol()
    passes: int = 1
    most: int = 1
    seconds: float = math.inf
    decides: bool = False

    def metered(self, seconds: float) -> TimingPlan:
        """The same, each network also called for so many seconds under the device's counter of energy."""
        return replace(self, protocol=replace(self.protocol, meter=seconds))


@dataclass(frozen=True)
class Measurement:
    """One measured latency and the conditions under which it was measured.

    Attributes:
        ms: Milliseconds a call.
        spread: Largest minus smallest of the three kept blocks, as a share of `ms`.
        n: Samples behind the value, all blocks together.
        clock: Which clock: `cpu` (thread CPU time), `wall`, or the target's own.
        stable: Whether the stopping rule was met.
        conditions: Blocks, preemptions, page faults, machine load, ...; a plain mapping is taken, too.
    """

    ms: float
    spread: float
    n: int
    clock: str
    stable: bool
    conditions: Conditions = field(default_factory=Conditions)

    def __post_init__(self) -> None:
        object.__setattr__(self, "conditions", Conditions.of(self.conditions))
        numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (self.ms, self.spread))
        if not (numbers and _LEAST_MS <= self.ms < _MOST_MS and 0 <= self.spread < math.inf):
            raise TargetError(f"nonsense was reported as a latency: {self.ms!r} ms, spread {self.spread!r}")

    def stored_conditions(self) -> dict[str, Any]:
        """What a table keeps of it: clock, samples, stability; blocks, preemptions, page faults, stolen time, load."""
        return {"clock": self.clock, "n": self.n, "stable": self.stable, **self.conditions.stored()}

    def to_json(self) -> dict[str, Any]:
        """The fields by name, as JSON values."""
        return {**{each.name: getattr(self, each.name) for each in fields(self)}, "conditions": dict(self.conditions)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Measurement:
        """The inverse of `to_json`.

        Raises:
            TargetError: If a field is missing or is not a latency.
        """
        try:
            return cls(
                ms=content["ms"],
                spread=content["spread"],
                n=int(content["n"]),
                clock=str(content["clock"]),
                stable=bool(content["stable"]),
                conditions=Conditions.of(content.get("conditions", {})),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise TargetError(f"the target reported no measurement: {one_line(error)}") from error


def ratio_to_reference(
    blocks: Sequence[float], beside: Sequence[float], protocol: Protocol
) -> tuple[float, float, bool]:
    """What blocks take as a share of the reference kernel beside them: value, relative spread, whether it is stable.

    A neighbour slows a kernel and the reference down alike, but not equally: so the blocks of the quieter half count,
    those beside which the reference was fastest. Their median is the value, and the middle three must agree.

    Args:
        blocks: Seconds of one call in each block.
        beside: The reference's in the blocks before and after, their mean.
        protocol: Which agreement is asked for.
    """
    order = sorted(range(len(blocks)), key=lambda place: beside[place])
    quiet = order[: max(_KEPT, math.ceil(len(order) / 2))]
    ratios = sorted(blocks[place] / beside[place] for place in quiet)
    first = (len(ratios) - min(_KEPT, len(ratios))) // 2
    middle = ratios[first : first + _KEPT]
    value = statistics.median(ratios)
    agree = middle[-1] - middle[0] <= protocol.agreement * value
    return value, (middle[-1] - middle[0]) / value, len(blocks) >= protocol.least_blocks and agree


def at_quiet(ms: float, reference_ms: float | None, quiet: float | None) -> float:
    """A latency as it would be where the reference kernel takes its quiet time.

    Args:
        ms: By the reference's time in its own process.
        reference_ms: That time; None where there is no reference.
        quiet: The reference's least time in any process, of which there is one.

    >>> at_quiet(2.6, 0.13, 0.1), at_quiet(2.0, 0.102, 0.1), at_quiet(2.0, None, None)
    (2.0, 2.0, 2.0)
    """
    if not reference_ms or not quiet or reference_ms <= quiet * (1 + _LAYOUT):
        return ms
    return ms * quiet / reference_ms


def is_stable(blocks: Sequence[float], protocol: Protocol) -> bool:
    """Whether the stopping rule is met: enough blocks, and the three smallest agree."""
    if len(blocks) < protocol.least_blocks:
        return False
    low = sorted(blocks)[:_KEPT]
    return low[-1] - low[0] <= protocol.agreement * low[1]


def summarise(blocks: Sequence[float], protocol: Protocol) -> tuple[float, float, bool]:
    """Value (median of the three smallest blocks), its relative spread, and whether it is stable."""
    low = sorted(blocks)[:_KEPT]
    value = statistics.median(low)
    return value, (low[-1] - low[0]) / value if value > 0 else 0.0, is_stable(blocks, protocol)

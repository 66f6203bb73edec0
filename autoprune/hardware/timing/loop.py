"""The measuring loop: interleaved blocks with a stopping rule. Runs inside the worker process; no torch.

Where there is a reference kernel, a block of it stands before and after every block: R a R b R c R a R ... A spell in
which the machine is slow reaches both, and the ratio is what it was.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from autoprune.hardware.contract.conditions import Conditions
from autoprune.hardware.contract.protocol import Measurement, Protocol, ratio_to_reference, summarise
from autoprune.hardware.sensors.counters import counters, load_average
from autoprune.hardware.timing.clocks import Clock

__all__ = ["Reference", "time_calls"]

_LEAST_SAMPLES = 5  # in a block, however long one call takes
_MOST_DISTURBED = 100  # in a block; a machine that is never quiet still gets a value, flagged by the count
_BETWEEN_READINGS = 0.01  # seconds of calls before the counter of energy is looked at again
_REFERENCE = 0.25  # length of a reference's block, as a share of the others'
_TICK = 2.0  # seconds after which a counter of energy that has not moved is given up


@dataclass
class _Candidate:
    """One call under measurement."""

    call: Callable[[], object]
    loops: int = 1
    blocks: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    samples: int = 0
    disturbed: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    joules: float | None = None


class Reference:
    """A kernel that is always the same, as a measure of how fast the machine is at the moment. Lives as its process.

    Args:
        call: Executes it.
    """

    def __init__(self, call: Callable[[], object]) -> None:
        self._candidate = _Candidate(call)

    def __call__(self, clock: Clock, protocol: Protocol) -> float:
        """Seconds of one call in a short block, now."""
        if not self._candidate.blocks:
            _warm_up(self._candidate, clock, protocol)
        _block(self._candidate, clock, replace(protocol, block=_REFERENCE * protocol.block))
        return self._candidate.blocks[-1]

    def quiet(self, protocol: Protocol) -> float:
        """Seconds of one call in the quiet moments of this process."""
        return summarise(self._candidate.blocks, protocol)[0]


def time_calls(
    calls: Sequence[Callable[[], object]],
    clock: Clock,
    protocol: Protocol,
    alive: Callable[[int, int], None] = lambda done, total: None,
    energy: Callable[[], float | None] | None = None,
    reference: Reference | None = None,
) -> list[Measurement]:
    """Time several calls, block by block in turn, so that a drift of the machine hits all of them alike.

    Args:
        calls: What to time; each is called without arguments.
        clock: The clock for one sample.
        protocol: Blocks, warm-up and stopping rule.
        alive: Called with (as many candidates as all blocks so far make up, all candidates) after every block.
        energy: The device's running counter of energy in joules, where it has one; it is read once all have been timed,
            in a stretch of `protocol.meter` seconds for each.
        reference: What the blocks stand between; None for what is timed against nothing.

    Returns:
        One measurement a call, in order.
    """
    candidates = [_Candidate(call) for call in calls]
    taker = _Taker(candidates, clock, protocol, alive, reference if protocol.reference else None)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for candidate in candidates:
            _warm_up(candidate, clock, protocol)
            alive(0, len(candidates))
        taker.settle()
        taker.close()
        if energy is not None and protocol.meter:
            for candidate in candidates:
                candidate.joules = _joules_a_call(candidate, clock, protocol, energy)
                alive(len(candidates), len(candidates))
                if candidate.joules is None:
                    break  # a counter that fails or does not move is not waited for again
    finally:
        if collecting:
            gc.enable()
    return [_measurement(candidate, clock, protocol, taker.reference) for candidate in candidates]


class _Taker:
    """Takes blocks of all candidates in turn, as long as the protocol has it."""

    def __init__(
        self,
        candidates: Sequence[_Candidate],
        clock: Clock,
        protocol: Protocol,
        alive: Callable[[int, int], None],
        reference: Reference | None,
    ) -> None:
        self.candidates, self.clock, self.protocol, self.alive = candidates, clock, protocol, alive
        self.reference = reference
        self._before: float | None = None
        self._end = time.monotonic() + (math.inf if protocol.seconds is None else protocol.seconds)

    def settle(self) -> None:
        """Rounds of one block each, until every candidate is stable, has been given up, or the time is over."""
        while pending := [c for c in self.candidates if not self._done(c)]:
            for candidate in pending:
                if not candidate.blocks or time.monotonic() < self._end:
                    self._take(candidate)
            if time.monotonic() >= self._end:
                break

    def close(self) -> None:
        """Further blocks that find out who was stable in a slow spell; a reference has found that out before."""
        if self.reference is None and time.monotonic() < self._end:
            for candidate in list(self.candidates) * self.protocol.closing:
                self._take(candidate)
            self.settle()

    def _done(self, candidate: _Candidate) -> bool:
        return _value(candidate, self.protocol)[2] or len(candidate.blocks) >= self.protocol.most_blocks

    def _take(self, candidate: _Candidate) -> None:
        """One block of a candidate, and one of the reference behind it; the one before it was taken already."""
        if self.reference is not None and self._before is None:
            self._before = self.reference(self.clock, self.protocol)
        _block(candidate, self.clock, self.protocol)
        if self.reference is not None and self._before is not None:
            after = self.reference(self.clock, self.protocol)
            candidate.beside.append((self._before + after) / 2)
            self._before = after
        self.alive(self._made_up(), len(self.candidates))

    def _made_up(self) -> int:
        """How many candidates the blocks make up: all are taken in turn, and are done at about the same time."""
        least = self.protocol.least_blocks
        blocks = sum(least if self._done(c) else min(len(c.blocks), least - 1) for c in self.candidates)
        return blocks // least


def _value(candidate: _Candidate, protocol: Protocol) -> tuple[float, float, bool]:
    """Seconds of a call, or its ratio to the reference where there is one; the spread; whether it is stable."""
    if not candidate.blocks:
        return 0.0, 0.0, False
    if candidate.beside:
        return ratio_to_reference(candidate.blocks, candidate.beside, protocol)
    return summarise(candidate.blocks, protocol)


def _warm_up(candidate: _Candidate, clock: Clock, protocol: Protocol) -> None:
    """Call it a few times, and find how many calls make one sample."""
    shortest = min(clock.sample(candidate.call, 1)[0] for _ in range(protocol.warmup))
    if shortest < protocol.sample:
        candidate.loops = max(1, min(10_000, math.ceil(protocol.sample / max(shortest, 1e-7))))


def _block(candidate: _Candidate, clock: Clock, protocol: Protocol) -> None:
    """Take samples until the block is long enough; keep the low percentile of the undisturbed ones."""
    before = counters()
    samples: list[float] = []
    disturbed: list[float] = []
    spent = 0.0
    while (spent < protocol.block or len(samples) < _LEAST_SAMPLES) and len(disturbed) < _MOST_DISTURBED:
        taken, clean = clock.sample(candidate.call, candidate.loops)
        (samples if clean else disturbed).append(taken / candidate.loops)
        spent += taken
    candidate.blocks.append(_percentile(samples or disturbed, protocol.percentile))
    candidate.samples += len(samples or disturbed)
    candidate.disturbed += len(disturbed)
    for name, value in counters().items():
        was = before[name]
        if value is not None and was is not None:
            candidate.counts[name] = candidate.counts.get(name, 0) + value - was


def _joules_a_call(
    candidate: _Candidate, clock: Clock, protocol: Protocol, energy: Callable[[], float | None]
) -> float | None:
    """Energy of the calls between two ticks of the counter that are at least `protocol.meter` seconds apart.

    A processor's counter ticks a thousand times a second, a GPU's ten times: readings between ticks would be off by
    up to one of them. In between the counter is not read: NVML takes 2.5 ms for an answer, in which the GPU has
    nothing to do.

    Returns:
        Joules; None if the counter failed, went back, or did not move for two seconds.
    """
    some = max(candidate.loops, math.ceil(_BETWEEN_READINGS / max(min(candidate.blocks), 1e-7)))

    def until_tick() -> tuple[float | None, int]:
        calls, start, was = 0, time.perf_counter(), energy()
        while was is not None and time.perf_counter() - start < _TICK:
            clock.sample(candidate.call, some)
            calls += some
            if (now := energy()) != was:
                return now, calls
        return None, calls

    first, _ = until_tick()
    if first is None:
        return None
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < protocol.meter:
        clock.sample(candidate.call, some)
        calls += some
    last, more = until_tick()
    return (last - first) / (calls + more) if last is not None and last > first else None


def _percentile(samples: Sequence[float], percent: float) -> float:
    """Nearest-rank percentile; with few samples a low one is their minimum."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def _measurement(candidate: _Candidate, clock: Clock, protocol: Protocol, reference: Reference | None) -> Measurement:
    value, spread, stable = _value(candidate, protocol)
    quiet = None if reference is None else reference.quiet(protocol)
    conditions = Conditions(
        blocks=len(candidate.blocks),
        loops=candidate.loops,
        disturbed=candidate.disturbed,
        preemptions=candidate.counts.get("preemptions"),
        page_faults=candidate.counts.get("page_faults"),
        stolen_ticks=candidate.counts.get("stolen_ticks"),
        load=load_average(),
        energy_mj=None if candidate.joules is None else candidate.joules * 1e3,
        ratio=None if quiet is None else round(value, 6),
        reference_ms=None if quiet is None else round(quiet * 1e3, 7),
    )
    return Measurement(
        ms=value * (1.0 if quiet is None else quiet) * 1e3,
        spread=round(spread, 5),
        n=candidate.samples,
        clock=clock.name,
        stable=stable,
        conditions=conditions,
    )

"""Measuring single layers: the entries of a latency table."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from autoprune.errors import InputError, TargetError
from autoprune.foundations.files import shortened
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.contract.protocol import Measurement, Protocol, at_quiet
from autoprune.hardware.contract.target import Target, Timer

__all__ = ["Entry", "call_overhead", "measure_layers", "require_reference", "times_layers"]

MOST_MS = 1e9  # eleven days; sums of such figures stay finite

# Layers whose blocks are interleaved. Many, so that a layer's blocks lie seconds apart and a slow spell of the machine
# does not hit all of them; few enough for the memory of their weights.
_BATCH = 96
_MOST_WEIGHTS = 50_000_000  # of a batch, all copies together
_MOST_ACTIVATIONS = 250_000_000  # inputs and outputs, likewise: 1 GB in float32


@dataclass(frozen=True)
class Entry:
    """What is known of one layer.

    Attributes:
        ms: Milliseconds, call overhead and layout changes taken off.
        spread: Relative spread of the measurement, or the relative error of the estimate.
        source: `measured`, or `estimated` by the learned step function.
        stable: Whether every timing behind it met the stopping rule.
        conditions: Under which it was timed; see `Measurement.stored_conditions`. Counts of both timings, where
            there are two.
    """

    ms: float
    spread: float
    source: str = "measured"
    stable: bool = True
    conditions: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not (0 <= self.ms <= MOST_MS and 0 <= self.spread <= MOST_MS):  # not a number fails too
            raise InputError(f"a table entry needs a latency of 0 ms or more, not {self.ms} (spread {self.spread})")
        require_reference(self.conditions)
        if self.source not in ("measured", "estimated"):
            raise InputError(f"a table entry is 'measured' or 'estimated', not {self.source!r}")

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def require_reference(conditions: object) -> None:
    """Refuse conditions of a timing, read from a file, whose reference is none.

    Raises:
        InputError: If they are no mapping, or the reference kernel took no time.
    """
    if not isinstance(conditions, Mapping):
        raise InputError(f"the conditions of a timing are {shortened(repr(conditions), 40)}, not a mapping")
    ms = conditions.get("reference_ms")
    if ms is not None and not (type(ms) in (int, float) and 0 < ms <= MOST_MS):
        raise InputError(f"a reference kernel of {shortened(repr(ms), 40)} ms")


def call_overhead(timer: Timer, target: Target, layer: Layer, protocol: Protocol) -> Measurement | None:
    """The time of calling an empty graph; None where there is none.

    Args:
        timer: The target's session.
        target: The runtime.
        layer: Any layer, for targets that need one to build their empty graph.
        protocol: How to time.
    """
    payload = target.pack_layer(layer, 0)
    return timer.time([payload], protocol)[0] if payload is not None else None


def measure_layers(
    layers: Sequence[Layer],
    target: Target,
    timer: Timer,
    overhead: Measurement | None,
    protocol: Protocol,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[dict[str, Entry]]:
    """Measure layers in batches of interleaved blocks; yields the entries of each finished batch by key.

    Args:
        layers: What to measure, of different keys.
        target: The runtime; it says how many copies of a layer make a graph.
        timer: Its session.
        overhead: Of an empty call, where it was timed.
        protocol: How to time; its seconds are those of all batches, and once they are over no further one is begun.
        progress: Called with (measured layers, all layers).

    Raises:
        TargetError: If the target failed.
    """
    done, end = 0, time.monotonic() + (math.inf if protocol.seconds is None else protocol.seconds)
    for batch in _batches(layers, target):
        left = end - time.monotonic()
        if done and left <= 0:
            return

        def within(stable: int, timed: int, before: int = done, size: int = len(batch)) -> None:
            progress(before + size * stable // timed, len(layers))

        plans = [(1,) if target.copies(layer) == 1 else (1, target.copies(layer)) for layer in batch]
        payloads = [_packed(target, layer, n) for layer, plan in zip(batch, plans, strict=True) for n in plan]
        results = iter(timer.time(payloads, protocol.within(left), within))
        yield {
            layer.key: _entry([next(results) for _ in plan], plan, overhead)
            for layer, plan in zip(batch, plans, strict=True)
        }
        done += len(batch)
        progress(done, len(layers))


def _batches(layers: Sequence[Layer], target: Target) -> Iterator[list[Layer]]:
    batch: list[Layer] = []
    weights = activations = 0
    for layer in layers:
        copies = 1 + target.copies(layer)
        own = copies * math.prod(layer.weight_shape) if layer.macs else 0
        moved = copies * (math.prod(layer.input_shape) + math.prod(layer.output_shape))
        full = weights + own > _MOST_WEIGHTS or activations + moved > _MOST_ACTIVATIONS
        if batch and (len(batch) == _BATCH or full):
            yield batch
            batch, weights, activations = [], 0, 0
        batch.append(layer)
        weights, activations = weights + own, activations + moved
    if batch:
        yield batch


def times_layers(target: Target, layers: Iterable[Layer]) -> bool:
    """Whether a target can time layers of all these kinds alone; networks of others are priced as wholes."""
    kinds = {(layer.kind, layer.variant): layer for layer in layers}
    return bool(kinds) and all(_payload(target, layer, 1) is not None for layer in kinds.values())


def _payload(target: Target, layer: Layer, copies: int) -> bytes | None:
    """A layer alone for a target; None where it cannot run one, or not in this variant."""
    known = not layer.variant or layer.variant in target.variants
    return target.pack_layer(layer, copies) if known else None


def _packed(target: Target, layer: Layer, copies: int) -> bytes:
    payload = _payload(target, layer, copies)
    if payload is None:
        raise TargetError(f"target {target.name!r} cannot run a single layer ({layer.key})")
    return payload


def _entry(results: Sequence[Measurement], copies: Sequence[int], overhead: Measurement | None) -> Entry:
    """One copy minus the overhead, or the difference of many copies and one, by the number of extra copies."""
    reference = results[0].conditions.reference_ms
    if len(results) == 1:
        empty = 0.0 if overhead is None else at_quiet(overhead.ms, overhead.conditions.reference_ms, reference)
        value, noise = results[0].ms - empty, results[0].ms * results[0].spread
    else:
        extra = copies[1] - copies[0]
        value = (results[1].ms - results[0].ms) / extra
        noise = math.hypot(results[1].ms * results[1].spread, results[0].ms * results[0].spread) / extra
    value = max(value, 0.0)
    spread = min(noise / value, 9.99) if value > 0 else 9.99
    stable = all(result.stable for result in results)
    conditions = _together(results)
    if reference is not None:
        conditions |= {"ratio": round(value / reference, 6), "reference_ms": reference}
    return Entry(round(value, 7), round(spread, 4), stable=stable, conditions=conditions)


def _together(results: Sequence[Measurement]) -> dict[str, Any]:
    """The conditions of one or two timings: counts added up, the higher load."""
    together: dict[str, Any] = {"clock": results[0].clock}
    for result in results:
        for name, value in result.stored_conditions().items():
            if name == "load":
                together[name] = max(value, together.get(name, value))
            elif name not in ("clock", "stable", "ratio", "reference_ms"):  # an entry says these itself
                together[name] = value + together.get(name, 0)
    return together

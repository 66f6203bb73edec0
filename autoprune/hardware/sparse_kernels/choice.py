"""Dense or sparse, layer by layer: what was measured decides."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Literal

from autoprune.errors import TargetError, first_line
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.contract.protocol import Protocol
from autoprune.hardware.contract.target import Target, Timer
from autoprune.hardware.sparse_kernels.rules import SPARSE_VARIANT, Gpu, backends_for

__all__ = ["LayerChoice", "Pair", "chosen_layers", "measured_pairs", "no_kernels"]


@dataclass(frozen=True)
class Pair:
    """One layer, timed with dense and with sparse kernels in turn.

    Attributes:
        dense: Milliseconds, a value for each repetition.
        sparse: Likewise, timed beside it.
    """

    dense: tuple[float, ...]
    sparse: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """Sparse over dense within each repetition, so that a drift of the machine cancels out."""
        return [sparse / dense for dense, sparse in zip(self.dense, self.sparse, strict=True)]

    @property
    def medians(self) -> tuple[float, float]:
        """Milliseconds, dense and sparse."""
        return statistics.median(self.dense), statistics.median(self.sparse)

    @property
    def pays(self) -> bool:
        """Whether sparse kernels were faster in every repetition."""
        return max(self.ratios) < 1


@dataclass(frozen=True)
class LayerChoice:
    """What runs a layer, and why.

    Attributes:
        name: Of the module.
        chosen: `dense` or `sparse`.
        pair: What was measured; None where nothing was.
        reason: Why nothing was measured, or why it stays dense; None where sparse kernels run it.
        backends: Those that can run it, best first.
    """

    name: str
    chosen: Literal["dense", "sparse"]
    pair: Pair | None = None
    reason: str | None = None
    backends: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As reports hold it; `ratio` is sparse over dense."""
        known: dict[str, Any] = {"latency_dense_ms": None, "latency_sparse_ms": None, "ratio": None}
        if self.pair is not None:
            ratios = self.pair.ratios
            known = {
                "latency_dense_ms": statistics.median(self.pair.dense),
                "latency_sparse_ms": statistics.median(self.pair.sparse),
                "ratio": {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)},
            }
        return {"name": self.name, "chosen": self.chosen, **known, "reason": self.reason}


def no_kernels(target: Target) -> str:
    """Why nothing is sparse on a target without such kernels."""
    return f"{target.name} multiplies with zeros as with any other number: no sparse kernel was timed"


def chosen_layers(
    layers: Mapping[str, Layer | str],
    target: Target,
    gpu: Callable[[], Gpu],
    protocol: Protocol,
    repetitions: int = 5,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[LayerChoice]:
    """What runs each layer on a target: sparse kernels where they can, and were faster in every repetition.

    Args:
        layers: Name -> a layer whose weight is 2:4, at the batch that is wanted; or why it is dense.
        target: Where; it must be available.
        gpu: What is asked for the GPU once a target has sparse kernels.
        protocol: Of each timing.
        repetitions: Pairs of timings of each layer.
        progress: Hears (done, all).

    Raises:
        TargetError: If the target has such kernels, and there is no GPU.
    """
    if SPARSE_VARIANT not in target.variants:
        return [LayerChoice(name, "dense", reason=_text(each) or no_kernels(target)) for name, each in layers.items()]
    device, able = gpu(), {}
    choices: dict[str, LayerChoice] = {}
    for name, layer in layers.items():
        if isinstance(layer, str):
            choices[name] = LayerChoice(name, "dense", reason=layer)
            continue
        backends, reason = backends_for(layer, target.precision, device)
        choices[name] = LayerChoice(name, "dense", reason=reason, backends=tuple(each.name for each in backends))
        if backends:
            able[name] = layer
    found = measured_pairs(target, able.values(), protocol, repetitions, progress)
    for name, layer in able.items():
        choices[name] = _decided(choices[name], found[layer.key])
    return list(choices.values())


def _text(layer: Layer | str) -> str | None:
    return layer if isinstance(layer, str) else None


def _decided(choice: LayerChoice, found: Pair | str) -> LayerChoice:
    if isinstance(found, str):
        return replace(choice, reason=found)
    if found.pays:
        return replace(choice, chosen="sparse", pair=found)
    reason = f"not faster: sparse takes {min(found.ratios):.2f} to {max(found.ratios):.2f} of the dense time"
    return replace(choice, pair=found, reason=reason)


def measured_pairs(
    target: Target,
    layers: Iterable[Layer],
    protocol: Protocol,
    repetitions: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    variant: str = SPARSE_VARIANT,
) -> dict[str, Pair | str]:
    """Dense and sparse kernels of each layer, in pairs; every other pair in the opposite order.

    Args:
        target: Which has layers of the variant.
        layers: Equal ones are timed once.
        protocol: Of each timing.
        repetitions: Pairs.
        progress: Hears (done, all).
        variant: Of the kernels that are timed beside the plain ones.

    Returns:
        Key of the layer -> its pair; a text where the target could not run it.
    """
    distinct = {layer.key: layer for layer in layers}
    found: dict[str, Pair | str] = {}
    with ExitStack() as sessions:
        timer: Timer | None = None
        for number, (key, layer) in enumerate(distinct.items(), start=1):
            copies = target.copies(layer)
            payloads = [target.pack_layer(each, copies) for each in (layer, replace(layer, variant=variant))]
            packed = [payload for payload in payloads if payload is not None]
            if len(packed) < len(payloads):
                found[key] = f"{target.name} cannot run this layer alone"
                continue
            try:
                timer = timer or sessions.enter_context(target.session())
                found[key] = _pair(timer, packed, protocol, repetitions, copies)
            except TargetError as error:  # the session may be gone with it
                found[key], timer = first_line(error), None
                sessions.close()
            progress(number, len(distinct))
    return found


def _pair(timer: Timer, payloads: Sequence[bytes], protocol: Protocol, repetitions: int, copies: int) -> Pair:
    rows = []
    for number in range(repetitions):
        step = -1 if number % 2 else 1
        rows.append([measured.ms / copies for measured in timer.time(payloads[::step], protocol)][::step])
    dense, sparse = zip(*rows, strict=True)
    return Pair(dense, sparse)

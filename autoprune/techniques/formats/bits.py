"""Bits as decisions: layers compute with 8-bit integers or with float32, by what both are measured to take."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray
from torch import nn

from autoprune.cost.effects import Effect
from autoprune.errors import PolicyMismatchError
from autoprune.foundations.files import shortened
from autoprune.graph import Analysis
from autoprune.hardware import Target
from autoprune.quantization.rounding import Range, input_ranges, rounded_layers
from autoprune.space import BITS, Decision, SpaceConstraints, Stage, TechniquePart
from autoprune.techniques.base import Calibration, Offer, OptionGrid, Technique
from autoprune.techniques.formats.coupled import Coupled, coupled_layers, enclosed

__all__ = ["INTEGERS", "Bits", "Observed", "StoredBits", "WholeWork"]

INTEGERS = 8
"""Bits of the integers that CPUs have kernels for; between them and float32 no runtime here has one that is faster."""
_WHOLE = 32
_OPTIONS = (INTEGERS, _WHOLE)

_KERNEL = "int8"
_SAVED = frozenset({"latency", "bytes"})
_LARGEST = 1e30  # of a range; float32 ends at 3e38


@dataclass(frozen=True)
class Observed:
    """What is learned of the dense network.

    Attributes:
        groups: The layers that decide together, by decision.
        ranges: Layer -> least and largest value of what it reads.
    """

    groups: Mapping[str, Coupled]
    ranges: Mapping[str, Range]


@dataclass(frozen=True)
class WholeWork:
    """Integers leave no multiplication out."""

    def __call__(self, kept: NDArray[np.int64], inputs: NDArray[np.int64]) -> NDArray[np.float64]:
        """Bits, (policies, 1), to shares of the multiplications, (policies,): all."""
        return np.ones(len(kept))


@dataclass(frozen=True)
class StoredBits:
    """The share of a float32 weight's bytes that its integers take; scales, one an output, are left out."""

    def __call__(self, kept: NDArray[np.int64], inputs: NDArray[np.int64]) -> NDArray[np.float64]:
        """Bits, (policies, 1), to shares, (policies,)."""
        shares: NDArray[np.float64] = kept[:, 0] / _WHOLE
        return shares


class Bits(Technique[Observed]):
    """A decision says with how many bits the layers of one coupled group compute.

    What it learns is the range of what each layer reads in the dense network. A policy records the ranges, so that its
    network rounds the same way wherever it is made again; without ranges only weights are rounded.
    """

    name = "bits"
    kinds = (BITS,)
    stage = Stage.FORMAT

    def refusal(self, target: Target, budgets: Collection[str]) -> str | None:
        """Integers need kernels on the target, float32 beside them, and a budget that they save something of."""
        if not target.integers:
            return f"{target.name} has no integer kernels that autoprune writes files for; use onnxruntime or openvino"
        if target.precision != target.precisions[0]:
            return (
                f"{target.spec} computes every layer in {target.precision}; bits are decided between float32 and"
                f" {INTEGERS}-bit integers: leave the precision out of the target"
            )
        if budgets and not _SAVED & set(budgets):
            return f"bits save latency and bytes, and nothing of a budget on {', '.join(sorted(budgets))}"
        return None

    def decisions(self, analysis: Analysis, limits: SpaceConstraints, grid: OptionGrid) -> Offer:
        """One for every width that convolutions and linear layers write, and for every other such layer."""
        if BITS.name not in limits.chosen:
            return Offer(())
        known = coupled_layers(analysis)
        refused = {f"{name}.bits": why for name, why in known.refused.items()}
        found, behind = [], {}
        for each in known.groups.values():
            skipped = next((pattern for pattern in limits.skip if _touches(each, pattern)), None)
            if skipped is not None:
                refused[each.name] = f"skipped by {skipped!r}"
                continue
            found.append(Decision(each.name, _WHOLE, _OPTIONS, BITS.name))
            behind[each.name] = each.group
        return Offer(tuple(found), refused, behind=behind)

    def fit(self, model: nn.Module, analysis: Analysis, calibration: Calibration) -> Observed:
        """Ranges of what the dense network's layers read."""
        groups = coupled_layers(analysis).groups
        names = [name for each in groups.values() for name in each.layers]
        return Observed(groups, input_ranges(model, names, calibration.batches, calibration.reader))

    def record(self, part: TechniquePart, fitted: Observed | None) -> TechniquePart:
        """The part with the ranges of the layers that compute with integers."""
        if fitted is None or part.payload:
            return part
        names = _integers(part, fitted.groups)
        return part.model_copy(update={"payload": {"ranges": {name: list(fitted.ranges[name]) for name in names}}})

    def check(self, analysis: Analysis, part: TechniquePart) -> None:
        """Refuse decisions of another network, and ranges that are none."""
        groups = coupled_layers(analysis).groups
        lost = next((name for name in part.choices if name not in groups), None)
        if lost is not None:
            raise PolicyMismatchError(f"the policy decides on the bits of {shortened(lost)}, which this model has not")
        ranges = part.payload.get("ranges", {})
        wrong = not isinstance(ranges, dict) or any(not _is_range(each) for each in ranges.values())
        if wrong or (ranges and not set(_integers(part, groups)) <= ranges.keys()):
            raise PolicyMismatchError("the policy's ranges of integers are damaged, or lack a layer")

    def apply(self, model: nn.Module, analysis: Analysis, part: TechniquePart) -> nn.Module:
        """A copy whose layers round; those of dropped branches are passed over."""
        known, modules = part.payload.get("ranges", {}), dict(model.named_modules())
        names = [name for name in _integers(part, coupled_layers(analysis).groups) if name in modules]
        return rounded_layers(model, {name: tuple(known[name]) if name in known else None for name in names})

    def settled(self, analysis: Analysis, choices: Mapping[str, int]) -> dict[str, int]:
        """Layers that integers enclose compute with integers, whatever is chosen."""
        chosen = {name for name, bits in choices.items() if bits == INTEGERS}
        more = enclosed(chosen, coupled_layers(analysis).groups) & choices.keys()
        return {**choices, **dict.fromkeys(more, INTEGERS)}

    def effects(self, analysis: Analysis) -> Mapping[str, Effect]:
        """Another kernel, whose latency is measured, and a quarter of the weight's bytes; as many multiplications."""
        found: dict[str, Effect] = {}
        for each in coupled_layers(analysis).groups.values():
            effect = Effect((each.name,), WholeWork(), _KERNEL, StoredBits(), chosen_by=each.name)
            found |= dict.fromkeys(each.nodes, effect)
        return found


def _integers(part: TechniquePart, groups: Mapping[str, Coupled]) -> list[str]:
    """Layers that compute with integers by a policy's choices, those that integers enclose among them."""
    chosen = {name for name, bits in part.choices.items() if bits == INTEGERS}
    chosen |= enclosed(chosen, groups) & part.choices.keys()
    return [layer for name in part.choices if name in chosen for layer in groups[name].layers]


def _is_range(value: object) -> bool:
    """Whether a value of a file is [low, high]."""
    numbers = isinstance(value, list | tuple) and len(value) == 2 and all(type(each) in (int, float) for each in value)
    return numbers and -_LARGEST < value[0] <= 0 <= value[1] < _LARGEST  # type: ignore[index]  # as just asked


def _touches(group: Coupled, pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in (group.name, *group.layers))

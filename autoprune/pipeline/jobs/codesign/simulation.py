"""The finished network on its chip, simulated with its own masks and activations: layers, indices, queues."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from autoprune.errors import InputError
from autoprune.hardware.accelerators import Accelerator, Cost, LayerWork, Workload, workload_of
from autoprune.hardware.accelerators.encodings.base import Encoding, entropy_bits
from autoprune.hardware.accelerators.encodings.dense import Bitmap
from autoprune.hardware.accelerators.encodings.gaps import Relative
from autoprune.hardware.accelerators.encodings.places import Compressed
from autoprune.pipeline.finish.keeping import Kept
from autoprune.pipeline.jobs.codesign.arms import runnable
from autoprune.pipeline.jobs.codesign.layers import calls_of
from autoprune.pipeline.jobs.codesign.points import Point
from autoprune.pipeline.jobs.codesign.study import Study
from autoprune.run.trainings import TrainingOutcome
from autoprune.space import Policy

__all__ = ["After", "Finished", "simulated"]

_QUEUE = "pe.fifo"
_DEPTHS = (2, 4, 8, 16, 32, 64)
_VALUE_BITS = 4


@dataclass(frozen=True, eq=False)
class Finished:
    """What came out.

    Attributes:
        point: The chosen policy and chip.
        kept: The network, fine-tuned under its masks unless that lost score, and what fine-tuning did.
        policy: Its policy.
        workload: The dense network's layers.
    """

    point: Point
    kept: Kept
    policy: Policy
    workload: Workload

    @property
    def network(self) -> nn.Module:
        """The one that is handed over."""
        return self.kept.network

    @property
    def trainings(self) -> list[TrainingOutcome]:
        """What fine-tuning did; nothing where nothing was trained."""
        return [] if self.kept.outcome is None else [self.kept.outcome]


@dataclass(frozen=True, eq=False)
class After:
    """The finished network, simulated with its own masks and activations.

    Attributes:
        total: Of a call.
        layers: A row each.
        error: What the search's table was off by.
        queues: Cycles and busy lanes over the depth of queues; of chips that have them.
    """

    total: Cost
    layers: list[dict[str, Any]]
    error: dict[str, Any]
    queues: list[dict[str, Any]]


def simulated(study: Study, finished: Finished, chip: Accelerator) -> After:
    """Simulate the fine-tuned network; calibration images give its activations."""
    task, settings = study.arms[0].problem.task, study.run.experiment
    works = runnable(
        chip,
        workload_of(finished.network, task.example, calls_of(task), vectors=settings.vectors, seed=settings.seed),
    )
    costs = [chip.price(work) for work in works]
    total = Cost.total(costs, chip.lanes)
    point = finished.point
    error = {
        "latency": point.ms / chip.ms(total) - 1,
        "energy": point.mj / total.energy_mj - 1,
        "of": "the table, from the dense network's activations, against the fine-tuned network simulated with its own",
    }
    before = {work.name: chip.price(work) for work in finished.workload if chip.why_not(work) is None}
    rows = [_layer(chip, work, cost, before.get(work.name)) for work, cost in zip(works, costs, strict=True)]
    return After(total, rows, error, _queues(chip, works))


def _layer(chip: Accelerator, work: LayerWork, cost: Cost, dense: Cost | None) -> dict[str, Any]:
    """A row of the table of layers."""
    stored = chip.storage_bytes(work)
    return {
        "name": work.name,
        "outputs": work.outputs,
        "inputs": work.inputs,
        "positions": work.positions,
        "density": work.density,
        "active": float(work.active.mean()),
        "cycles": cost.cycles,
        "dense_cycles": None if dense is None else dense.cycles,
        "macs": work.macs,
        "kept_macs": work.weights * work.positions,
        "bytes": dict(cost.bytes),
        "utilisation": cost.utilisation,
        "stalls": {name: lost / max(cost.cycles * cost.lanes, 1.0) for name, lost in cost.stalls.items()},
        "energy_pj": dict(cost.energy_pj),
        "stored_bytes": dict(stored),
        "load": _load(work.mask, chip.lanes),
        "index_bits": _index_bits(work.mask, chip.lanes),
    }


def _load(mask: np.ndarray[Any, Any], lanes: int) -> dict[str, float]:
    """Kept weights of the fullest, mean and emptiest processing element, rows dealt in turn."""
    counts = np.bincount(np.arange(len(mask)) % lanes, weights=mask.sum(axis=1), minlength=min(lanes, len(mask)))
    return {"most": float(counts.max()), "mean": float(counts.mean()), "least": float(counts.min())}


def _index_bits(mask: NDArray[np.bool_], pes: int) -> dict[str, float | None]:
    """Bits of index for each kept weight, as encoded, and what entropy allows; None where it cannot be stored so.

    Args:
        mask: (outputs, inputs).
        pes: Over which rows are dealt.
    """
    encodings: dict[str, Encoding] = {
        "bitmap": Bitmap(),
        "relative, 4 bits": Relative(4, min(pes, len(mask))),
        "compressed columns": Compressed(columns=True),
    }
    found: dict[str, float | None] = {"entropy bound": entropy_bits(float(mask.mean()))}
    for name, encoding in encodings.items():
        bits = None if encoding.why_not(mask) else encoding.encode(mask).index_bits(_VALUE_BITS)
        found[name] = bits if bits is not None and np.isfinite(bits) else None
    return found


def _queues(chip: Accelerator, works: Iterable[LayerWork]) -> list[dict[str, Any]]:
    """Cycles and busy lanes over the depth of queues."""
    layers, found = list(works), []
    for depth in _DEPTHS:
        try:
            cost = chip.with_knobs({_QUEUE: depth}).total(layers)
        except InputError:  # a chip without queues
            return []
        found.append({"depth": depth, "cycles": cost.cycles, "utilisation": cost.utilisation})
    return found

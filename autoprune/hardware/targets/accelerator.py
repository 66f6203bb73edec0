"""Targets `accelerator:NAME` and `accelerator:FILE.yaml`: a chip that is simulated, from a network's real weights.

A call's milliseconds are the cycles of its layers over the chip's clock; nothing is timed, so nothing spreads. A
network is priced when it is packed: what travels is the price.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from autoprune.errors import InputError
from autoprune.hardware.accelerators import CHIPS, load_accelerator
from autoprune.hardware.contract.conditions import Conditions
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.contract.protocol import Measurement, Protocol
from autoprune.hardware.contract.registry import ACCELERATOR
from autoprune.hardware.contract.target import Progress, Target
from autoprune.hardware.sensors.reading import Reading

if TYPE_CHECKING:
    from torch import nn

    from autoprune.hardware.accelerators import Accelerator, Cost, LayerWork, Workload

__all__ = ["AcceleratorTarget"]

_NOTHING_MS = 1e-9  # the least that counts as a latency: of an empty call, and of what is not priced
_VECTORS, _IMAGES = 32, 16  # of the sample of activations


class AcceleratorTarget(Target):
    """A simulated chip.

    Args:
        source: One of `CHIPS`, or a file.
        threads: 1: a chip has no threads.

    Raises:
        InputError: If there is no such chip, or its file does not describe one.
    """

    name: ClassVar[str] = "accelerator"
    channel_multiple: ClassVar[int] = 1
    channel_multiple_reason: ClassVar[str] = "a chip's own stairs are found by pricing layers on it"
    fused: ClassVar[frozenset[str]] = frozenset({"batch_norm", "relu", "add", "hardtanh", "silu", "gelu", "sigmoid"})

    def __init__(self, source: str = "eie", *, threads: int = 1) -> None:
        if threads != 1:
            raise InputError(f"an accelerator has no threads to choose ({threads} were asked for); leave them out")
        super().__init__(threads=threads)
        self.source = source
        self.accelerator: Accelerator = load_accelerator(source)
        self.name = self.spec_name  # type: ignore[misc]  # each chip has its own
        self.note = (  # type: ignore[misc]
            f"every latency and energy of {self.name} is {self.accelerator.label}: cycles at"
            f" {self.accelerator.clock_mhz:g} MHz of layers with weights; all others are taken to be free"
        )
        self._images: Callable[[], Any] | None = None
        self._sample: Any = None

    @classmethod
    def members(cls) -> tuple[str, ...]:
        """What `accelerator:` may be followed by, files aside."""
        return CHIPS

    @property
    def spec_name(self) -> str:
        """`accelerator:` and the chip's name or file."""
        return f"{ACCELERATOR}:{self.source}"

    def available(self) -> str | None:
        """None: it is simulated everywhere."""
        return None

    def versions(self) -> dict[str, str]:
        """What stands for a runtime here."""
        chip = self.accelerator
        return {"runtime": f"{chip.label}, template {chip.template}, {chip.area_mm2:.3g} mm2"}

    def fingerprint(self) -> dict[str, str]:
        """The chip alone: no figure depends on this machine."""
        content = json.dumps(self.accelerator.content(), sort_keys=True)
        return {
            "target": self.name,
            **self.versions(),
            "chip": hashlib.sha256(content.encode()).hexdigest()[:16],
            "threads": "1",
        }

    def calibrate(self, images: Callable[[], Any]) -> None:
        """Draw the sample of activations from these images, and not from the example alone."""
        self._images, self._sample = images, None

    def pack(self, model: nn.Module, example: Any) -> bytes:
        """The network's price.

        Raises:
            InputError: If the chip cannot run a layer, or the weights do not fit into it.
            UnsupportedModelError: If the network cannot be traced, or multiplies with weights in an unpriced way.
        """
        from autoprune.hardware.accelerators.workload.extraction import workload_of

        if self._images is not None and self._sample is None:
            self._sample = self._images()
        load = workload_of(model, example, self._sample, vectors=_VECTORS, images=_IMAGES)
        load.require_priced()
        self._require_room(load.works)
        return self._packed(self.accelerator.total(load), load)

    def _require_room(self, works: Sequence[LayerWork]) -> None:
        reason = self.accelerator.no_room(works)
        if reason is not None:
            raise InputError(f"the network does not fit: {reason}; raise that, or give memory.dram_gb_s")

    def _packed(self, cost: Cost, load: Workload | None = None) -> bytes:
        chip = self.accelerator
        readings = [each.to_json() for each in readings_of(cost, chip)]
        price = {"ms": max(_NOTHING_MS, chip.ms(cost)), "energy_mj": cost.energy_mj, "readings": readings}
        if load is not None:
            price["activations"] = next((work.source for work in load), "none")
            price["free"] = [f"{each.name} ({each.operator})" for each in load.free]
        return json.dumps(price).encode()

    def pack_layer(self, layer: Layer, copies: int) -> bytes | None:
        """The price of a dense layer on activations without zeros; nothing for what is not priced."""
        if not copies or not layer.macs:
            return json.dumps({"ms": _NOTHING_MS}).encode()
        return self._packed(self.accelerator.price(dense_work(layer)).times(copies))

    def time(
        self, payloads: Sequence[bytes], protocol: Protocol, progress: Progress | None = None
    ) -> list[Measurement]:
        """The prices, as measurements without spread."""
        found = [self._measurement(json.loads(payload)) for payload in payloads]
        if progress is not None:
            progress(len(payloads), len(payloads))
        return found

    def _measurement(self, price: dict[str, Any]) -> Measurement:
        label = self.accelerator.label
        others: dict[str, Any] = {name: price[name] for name in price.keys() & {"readings", "activations", "free"}}
        conditions = Conditions(energy_mj=price.get("energy_mj"), energy_source=label, others=others)
        return Measurement(price["ms"], 0.0, 1, label, True, conditions)


def dense_work(layer: Layer) -> LayerWork:
    """A layer of a latency table as work: all weights stay, no activation is zero."""
    from autoprune.hardware.accelerators import LayerWork

    kernel = math.prod(layer.kernel)
    inputs = layer.inputs // layer.groups * kernel
    return LayerWork(
        layer.key,
        np.ones((layer.outputs, inputs), dtype=np.bool_),
        np.ones((1, inputs * layer.groups), dtype=np.bool_),
        positions=layer.batch * math.prod(layer.out_size),
        source="dense",
        bias=layer.bias,
        groups=layer.groups,
        kernel=kernel,
    )


def readings_of(cost: Cost, chip: Accelerator) -> list[Reading]:
    """What a chip's counters would say of one call: utilisation, stalls, bytes, energy; each labelled as simulated."""
    lane_cycles = cost.cycles * cost.lanes or 1.0
    shares = {"utilisation": cost.utilisation, "stalled": sum(cost.stalls.values()) / lane_cycles}
    shares |= {f"stalled: {cause}": lost / lane_cycles for cause, lost in cost.stalls.items()}
    on_chip = sum(moved for level, moved in cost.bytes.items() if level != "dram")
    return [
        Reading("cycles", "cycles", cost.cycles, chip.label),
        *(Reading(name, "share", value, chip.label) for name, value in shares.items()),
        Reading("sram_bytes", "B", on_chip, chip.label),
        Reading("dram_bytes", "B", cost.bytes.get("dram", 0.0), chip.label),
        Reading("energy_mj", "mJ", cost.energy_mj, chip.label),
    ]

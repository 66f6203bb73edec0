"""Template `eie`: columns are streamed, zero activations skipped, weights stored by relative index (ISCA 2016)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from autoprune.hardware.accelerators.base import Accelerator
from autoprune.hardware.accelerators.cost import Cost
from autoprune.hardware.accelerators.sections import Section
from autoprune.hardware.accelerators.technology.arithmetic import (
    multiplier_mm2,
    multiply_add_pj,
    register_pj,
    slot_mm2,
)
from autoprune.hardware.accelerators.technology.sram import Sram
from autoprune.hardware.accelerators.templates.queues import Counts, Stream, drained_and_unblocked, stream_of
from autoprune.hardware.accelerators.templates.slices import Slices, slices_of
from autoprune.hardware.accelerators.workload.work import LayerWork

__all__ = ["Eie"]

_ACTIVATION_BITS = 16
_QUEUE_BITS = 32  # an activation and its column


class Pes(Section):
    """The processing elements.

    Attributes:
        count: How many; output i belongs to PE i mod count.
        fifo: Slots of a PE's queue, a ring: n slots hold n - 1 activations.
        arithmetic_bits: Bits of a multiplication.
    """

    count: int = Field(ge=1, le=4096)
    fifo: int = Field(ge=2, le=4096)
    arithmetic_bits: int = Field(default=16, ge=2, le=32)


class RelativeIndex(Section):
    """How weights are stored.

    Attributes:
        format: Zeros before each weight are counted; a gap that does not fit costs an entry of value 0.
        index_bits: Of that count.
        value_bits: Of a weight: the number of a shared value.
        pointer_bits: Of the place where a column of a PE begins.
    """

    format: Literal["relative"] = "relative"
    index_bits: int = Field(ge=1, le=16)
    value_bits: int = Field(ge=1, le=32)
    pointer_bits: int = Field(default=16, ge=1, le=32)


class Memories(Section):
    """The memories of one PE.

    Attributes:
        weights_kb_per_pe: Weights and their indices.
        pointers_kb_per_pe: Pointers, in two banks, so that begin and end of a column come in one cycle.
        activations_kb_per_pe: Inputs and outputs.
        line_bits: Bits of one access to the weights and to the activations.
        dram_gb_s: Bandwidth from which each layer's weights are loaded; null where all layers stay on the chip.
    """

    weights_kb_per_pe: float = Field(gt=0, le=1 << 20)
    pointers_kb_per_pe: float = Field(gt=0, le=1 << 20)
    activations_kb_per_pe: float = Field(gt=0, le=1 << 20)
    line_bits: int = Field(default=64, ge=8, le=4096)
    dram_gb_s: float | None = Field(default=None, gt=0)


class Eie(Accelerator):
    """A matrix-vector machine that skips zero weights and zero activations; a convolution is im2col, patch by patch."""

    takes: ClassVar[Sequence[str]] = ("unstructured",)

    template: Literal["eie"]
    pe: Pes
    encoding: RelativeIndex
    memory: Memories

    @property
    def lanes(self) -> int:
        """One multiplication a PE and cycle."""
        return self.pe.count

    @classmethod
    def takes_pattern(cls, pattern: str) -> bool:
        """Unstructured: any mask can be run."""
        return pattern in cls.takes

    def why_not(self, work: LayerWork) -> str | None:
        """None: any mask can be run."""
        return None

    @property
    def streams_weights(self) -> bool:
        """Where there is a DRAM."""
        return self.memory.dram_gb_s is not None

    def slices(self, work: LayerWork) -> Slices:
        """The entries of every PE and column of a layer, its bias as one more column."""
        return slices_of(work.mask, self.pe.count, 2**self.encoding.index_bits - 1, bias=work.bias)

    def _price(self, work: LayerWork) -> Cost:
        slices = self.slices(work)
        active = work.active
        if work.bias:
            active = np.concatenate([active, np.ones((len(active), 1), dtype=np.bool_)], axis=1)
        stream = stream_of(active, self.pe.count)
        service = np.maximum(slices.entries, 1)
        cycles, unblocked = (float(each.mean()) for each in drained_and_unblocked(stream, service, self.pe.fifo))
        use = active.mean(axis=0)  # how often a vector of the sample uses each column
        busy = float(use @ slices.useful.sum(axis=1))
        padding = float(use @ slices.padding.sum(axis=1))
        empty = float(use @ (slices.entries == 0).sum(axis=1))
        fullest = float((active.astype(np.int64) @ service).max(axis=1).mean())
        stalls = {
            "padding entries": padding,
            "empty slices": empty,
            "imbalance": fullest * self.lanes - busy - padding - empty,
            "broadcast and drain": (unblocked - fullest) * self.lanes,
            "full queues": (cycles - unblocked) * self.lanes,
        }
        moved, energy = self._traffic(work, slices, stream, active)
        cost = Cost(cycles, self.lanes, busy, stalls, moved, energy).times(work.positions)
        from_dram = self._stored_bits(slices, work) / 8
        return self.bounded_by_dram(cost, from_dram, self.memory.dram_gb_s)

    def _traffic(
        self, work: LayerWork, slices: Slices, stream: Stream, active: NDArray[np.bool_]
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Bytes by level and picojoules by component, of one vector."""
        broadcasts = float(stream.lengths.mean())
        entries = float(active.mean(axis=0) @ slices.entries.sum(axis=1))
        lines = lines_read(stream, slices.entries, self._entries_a_line()) / len(active)
        pointers = 2.0 * broadcasts * self.pe.count
        values_a_line = max(1, self.memory.line_bits // _ACTIVATION_BITS)
        activations = (work.inputs + work.outputs) / values_a_line
        weights_sram, pointers_sram, activations_sram = self._memories()
        moved = {
            "weights": lines * self.memory.line_bits / 8,
            "pointers": pointers * self.encoding.pointer_bits / 8,
            "activations": activations * self.memory.line_bits / 8,
        }
        energy = {
            "weights": lines * weights_sram.read_pj,
            "pointers": pointers * pointers_sram.read_pj,
            "activations": activations * activations_sram.read_pj,
            "arithmetic": entries * multiply_add_pj(self.pe.arithmetic_bits),
            "registers": 2 * entries * register_pj(_ACTIVATION_BITS),
            "queues": 2 * broadcasts * self.pe.count * register_pj(_QUEUE_BITS),
        }
        return moved, energy

    def _entries_a_line(self) -> int:
        return max(1, self.memory.line_bits // (self.encoding.index_bits + self.encoding.value_bits))

    def _memories(self) -> tuple[Sram, Sram, Sram]:
        """Of one PE: weights, one of the two banks of pointers, activations."""
        memory, node = self.memory, self.technology.node_nm
        return (
            Sram(memory.weights_kb_per_pe, memory.line_bits, node),
            Sram(memory.pointers_kb_per_pe / 2, self.encoding.pointer_bits, node),
            Sram(memory.activations_kb_per_pe, memory.line_bits, node),
        )

    def area(self) -> Mapping[str, float]:
        """All PEs: memories by CACTI; arithmetic and queue by the published PE (recalled)."""
        weights, pointers, activations = self._memories()
        node = self.technology.node_nm
        each = {
            "weights": weights.area_mm2,
            "pointers": 2 * pointers.area_mm2,
            "activations": activations.area_mm2,
            "arithmetic": multiplier_mm2(self.pe.arithmetic_bits, node),
            "queues": slot_mm2(node) * self.pe.fifo,
        }
        return {component: area * self.pe.count for component, area in each.items()}

    def storage_kb(self) -> Mapping[str, float]:
        """Of one PE."""
        return {
            "weights_kb_per_pe": self.memory.weights_kb_per_pe,
            "pointers_kb_per_pe": self.memory.pointers_kb_per_pe,
        }

    def storage_bytes(self, work: LayerWork) -> Mapping[str, float]:
        """Of the fullest PE, group by group."""
        entry = self.encoding.index_bits + self.encoding.value_bits
        weights = sum(float(self.slices(part).entries.sum(axis=0).max()) for part in work.parts()) * entry / 8
        pointers = work.groups * (work.inputs + work.bias + 1) * self.encoding.pointer_bits / 8
        return {"weights_kb_per_pe": weights, "pointers_kb_per_pe": pointers}

    def _stored_bits(self, slices: Slices, work: LayerWork) -> float:
        entry = self.encoding.index_bits + self.encoding.value_bits
        pointers = (work.inputs + work.bias + 1) * self.pe.count * self.encoding.pointer_bits
        return float(slices.entries.sum()) * entry + pointers


def lines_read(stream: Stream, entries: Counts, a_line: int) -> int:
    """Lines of weights that all PEs read for a sample; a line that was read last is not read again.

    Args:
        stream: What is broadcast.
        entries: Of each column and PE, (columns, PEs): a PE's lie one column behind the other.
        a_line: Entries of one line.
    """
    ends = np.cumsum(entries, axis=0)
    first, last = (ends - entries) // a_line, (ends - 1) // a_line
    total = 0
    for columns, length in zip(stream.columns, stream.lengths, strict=True):
        at = columns[:length]
        there, begins, stops = entries[at] > 0, first[at], last[at]
        before = np.maximum.accumulate(np.where(there, stops, -1), axis=0)
        before = np.concatenate([np.full((1, entries.shape[1]), -1), before[:-1]])[: len(at)]
        again = there & (begins == before)
        total += int((np.where(there, stops - begins + 1, 0) - again).sum())
    return total

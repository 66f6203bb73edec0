"""Template `balanced`: the same number of weights in every part, so that nothing waits for a fuller one.

`column`: rows are dealt over the PEs, and every (PE, column) slice stores the same number of weights (CBTD, Spartus;
Gao et al., 2021). Zero activations are skipped; there are no pointers, and no queue but one place.

`bank:B`: each row is cut into B banks of the inputs with the same number of weights each (Cao et al., FPGA 2019). A PE
takes one weight of every bank in a cycle, row by row. Zero activations are not skipped.

A mask that is not balanced is padded with zeros to its fullest slice or bank, and costs that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from autoprune.hardware.accelerators.base import Accelerator
from autoprune.hardware.accelerators.cost import Cost
from autoprune.hardware.accelerators.sections import Section
from autoprune.hardware.accelerators.technology.arithmetic import multiplier_mm2, multiply_add_pj, register_pj
from autoprune.hardware.accelerators.technology.sram import Sram
from autoprune.hardware.accelerators.templates.queues import PIPELINE, stream_of
from autoprune.hardware.accelerators.templates.slices import dealt
from autoprune.hardware.accelerators.workload.work import LayerWork

__all__ = ["Balanced"]

_ACTIVATION_BITS = 16


class Pes(Section):
    """The processing elements.

    Attributes:
        count: How many; output i belongs to PE i mod count.
        arithmetic_bits: Bits of a multiplication.
    """

    count: int = Field(ge=1, le=4096)
    arithmetic_bits: int = Field(default=16, ge=2, le=32)


class Values(Section):
    """How weights are stored: a value, and its place in its slice or bank, in as many bits as that needs.

    Attributes:
        value_bits: Of a weight.
    """

    value_bits: int = Field(ge=1, le=32)


class Memories(Section):
    """The memories of one PE.

    Attributes:
        weights_kb_per_pe: Weights and their places.
        activations_kb_per_pe: Inputs and outputs.
        line_bits: Bits of one access.
        dram_gb_s: Bandwidth from which each layer's weights are loaded; null where all layers stay on the chip.
    """

    weights_kb_per_pe: float = Field(gt=0, le=1 << 20)
    activations_kb_per_pe: float = Field(gt=0, le=1 << 20)
    line_bits: int = Field(default=64, ge=8, le=4096)
    dram_gb_s: float | None = Field(default=None, gt=0)


class Balanced(Accelerator):
    """A matrix-vector machine without queues and pointers; a convolution is im2col, patch by patch."""

    takes: ClassVar[Sequence[str]] = ("column", "bank:B for B banks of a row, such as bank:8")

    template: Literal["balanced"]
    pe: Pes
    encoding: Values
    memory: Memories

    @classmethod
    def takes_pattern(cls, pattern: str) -> bool:
        """Columns over the PEs, or banks of a row."""
        return pattern == "column" or re.fullmatch(r"bank:[1-9]\d{0,3}", pattern) is not None

    @property
    def banks(self) -> int | None:
        """Banks of a row; None where columns are balanced."""
        return None if self.pattern == "column" else int(self.pattern.partition(":")[2])

    @property
    def lanes(self) -> int:
        """One multiplication a PE and cycle, or one a PE and bank."""
        return self.pe.count * (self.banks or 1)

    @property
    def streams_weights(self) -> bool:
        """Where there is a DRAM."""
        return self.memory.dram_gb_s is not None

    def why_not(self, work: LayerWork) -> str | None:
        """Why a layer's mask leaves nothing to balance: less than one weight a slice, or a bank."""
        over, parts = (work.outputs / work.groups, self.pe.count) if self.banks is None else (work.inputs, self.banks)
        what, noun = ("slice", "PEs") if self.banks is None else ("bank", "banks")
        if work.weights in (0, work.mask.size) or over / parts * work.density >= 1:
            return None
        most = math.floor(over * work.density)
        fewer = f"at most {most} {noun} have one" if most else "it can only run dense"
        return (
            f"at a density of {work.density:.3g} a {what} of {over / parts:.4g} weights keeps less than one, so nothing"
            f" can be balanced; {fewer}"
        )

    @property
    def rows_of_a_tile(self) -> int:
        """One a PE."""
        return self.pe.count

    def _part_size(self, work: LayerWork) -> int:
        """Weights of one slice or bank where all are kept."""
        if self.banks is None:
            return math.ceil(work.outputs // work.groups / self.pe.count)
        return math.ceil(work.inputs / self.banks)

    def _fullest(self, work: LayerWork) -> int:
        """Weights of the fullest slice or bank, to which all are padded; of one group."""
        if self.banks is None:
            return int(dealt(work.mask, self.pe.count).sum(axis=0).max())
        padded = np.pad(work.mask, ((0, 0), (0, -work.inputs % self.banks)))
        return int(padded.reshape(work.outputs, self.banks, -1).sum(axis=2).max())

    def _price(self, work: LayerWork) -> Cost:
        one = self._of_columns(work) if self.banks is None else self._of_banks(work, self.banks)
        stored = self._stored(work) * self._entry_bits(work) / 8
        return self.bounded_by_dram(one.times(work.positions), stored, self.memory.dram_gb_s)

    def _of_columns(self, work: LayerWork) -> Cost:
        """One vector: every non-zero activation takes the slices' count of cycles, the bias one a row of a PE."""
        count = max(1, self._fullest(work))
        stream = stream_of(work.active, self.pe.count)
        alive = np.arange(stream.columns.shape[1]) < stream.lengths[:, None]
        # The next activation is looked for while the last is served, so only the longer of both counts.
        waits = np.maximum(0, np.where(alive, 1 + stream.rows, 0) - count)
        waits[:, :1] = np.where(alive[:, :1], 1 + stream.rows[:, :1], 0)  # nothing is served before the first
        broadcasts = float(stream.lengths.mean())
        searched = float(waits.sum(axis=1).mean() + (stream.lengths == 0) @ stream.trailing / len(stream.trailing))
        bias = math.ceil(work.outputs / self.pe.count) if work.bias else 0
        cycles = broadcasts * count + searched + bias + PIPELINE
        busy = float(work.active.mean(axis=0) @ work.mask.sum(axis=0)) + (work.outputs if work.bias else 0)
        served = (broadcasts * count + bias) * self.lanes
        stalls = {"padding": served - busy, "search": searched * self.lanes, "drain": float(PIPELINE * self.lanes)}
        return Cost(cycles, self.lanes, busy, stalls, *self._traffic(work, broadcasts * self.pe.count * count))

    def _of_banks(self, work: LayerWork, banks: int) -> Cost:
        """One vector: every row takes its banks' count of cycles, and PEs take rows in turn."""
        count = max(1, self._fullest(work))
        rows = math.ceil(work.outputs / self.pe.count)
        cycles = float(rows * count + PIPELINE)
        busy = float(work.weights)
        entries = work.outputs * banks * count
        stalls = {
            "padding": entries - busy,
            "idle PEs": float((rows * self.pe.count - work.outputs) * banks * count),
            "drain": float(PIPELINE * self.lanes),
        }
        return Cost(cycles, self.lanes, busy, stalls, *self._traffic(work, entries))

    def _traffic(self, work: LayerWork, entries: float) -> tuple[dict[str, float], dict[str, float]]:
        """Bytes by level and picojoules by component, of one vector, for so many stored weights that are used."""
        line = self.memory.line_bits
        weights, activations = self._memories()
        lines = entries / max(1, line // self._entry_bits(work))
        values = (work.inputs + work.outputs) / max(1, line // _ACTIVATION_BITS)
        moved = {"weights": lines * line / 8, "activations": values * line / 8}
        energy = {
            "weights": lines * weights.read_pj,
            "activations": values * activations.read_pj,
            "arithmetic": entries * multiply_add_pj(self.pe.arithmetic_bits),
            "registers": 2 * entries * register_pj(_ACTIVATION_BITS),
        }
        return moved, energy

    def _entry_bits(self, work: LayerWork) -> int:
        """A value and its place in its slice or bank."""
        size = self._part_size(work)
        return self.encoding.value_bits + (math.ceil(math.log2(size)) if size > 1 else 0)

    def _stored(self, work: LayerWork) -> int:
        """Weights that a layer of one group stores, padding included."""
        parts = work.inputs * self.pe.count if self.banks is None else work.outputs * self.banks
        return parts * max(1, self._fullest(work))

    def _memories(self) -> tuple[Sram, Sram]:
        memory, node = self.memory, self.technology.node_nm
        return (
            Sram(memory.weights_kb_per_pe, memory.line_bits, node),
            Sram(memory.activations_kb_per_pe, memory.line_bits, node),
        )

    def area(self) -> Mapping[str, float]:
        """All PEs: memories by CACTI, multipliers as published (recalled)."""
        weights, activations = self._memories()
        arithmetic = self.lanes * multiplier_mm2(self.pe.arithmetic_bits, self.technology.node_nm)
        return {
            "weights": weights.area_mm2 * self.pe.count,
            "activations": activations.area_mm2 * self.pe.count,
            "arithmetic": arithmetic,
        }

    def storage_kb(self) -> Mapping[str, float]:
        """Of one PE."""
        return {"weights_kb_per_pe": self.memory.weights_kb_per_pe}

    def storage_bytes(self, work: LayerWork) -> Mapping[str, float]:
        """Of one PE, all groups; rows that do not come out even count as a full round."""
        stored = 0
        for part in work.parts():
            rows = math.ceil(part.outputs / self.pe.count) * self.pe.count / part.outputs
            stored += math.ceil(self._stored(part) * (1.0 if self.banks is None else rows) / self.pe.count)
        return {"weights_kb_per_pe": stored * self._entry_bits(work) / 8}

"""Template `systolic`: an array of multipliers, dense or N:M, with weights or outputs standing still.

Cycles are closed forms, equal to SCALE-Sim's. With M positions, K inputs and N outputs on R x C multipliers:

    weight-stationary   ceil(K/R) ceil(N/C) (M + 2R + C - 2) - 1
    output-stationary   ceil(M/R) ceil(N/C) (K +  R + C - 2) - 1

N:M stores N of each M inputs, so that K becomes ceil(K/M) N. A mask whose groups end at each of the k places of a
kernel is stored so: K, k places of C channels, becomes k ceil(C/M) N; what takes fewer slots is run. Hierarchical N:M
(HighLight, Wu et al., MICRO 2023), such as 2:4/n:8, stores that of n of each 8 blocks of 4 neighbours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from autoprune.hardware.accelerators.base import Accelerator
from autoprune.hardware.accelerators.cost import Cost
from autoprune.hardware.accelerators.sections import Section
from autoprune.hardware.accelerators.technology.arithmetic import multiplier_mm2, multiply_add_pj, register_pj
from autoprune.hardware.accelerators.technology.sram import Sram
from autoprune.hardware.accelerators.workload.work import LayerWork

__all__ = ["Kept", "Systolic"]


class Array(Section):
    """The multipliers.

    Attributes:
        rows: R. Inputs lie along them where weights stand still, positions where outputs do.
        columns: C. Outputs lie along them.
        dataflow: What stands still.
        arithmetic_bits: Bits of weights and activations.
    """

    rows: int = Field(ge=1, le=4096)
    columns: int = Field(ge=1, le=4096)
    dataflow: Literal["weight_stationary", "output_stationary"] = "weight_stationary"
    arithmetic_bits: int = Field(default=8, ge=2, le=32)


class Memories(Section):
    """The memories beside the array.

    Attributes:
        weights_kb: Weights and which of M they are.
        activations_kb: Inputs.
        outputs_kb: Outputs and partial sums.
        line_bits: Bits of one access.
        dram_gb_s: Bandwidth to DRAM, over which every layer's weights, inputs and outputs go; null where all layers
            stay on the chip.
    """

    weights_kb: float = Field(gt=0, le=1 << 20)
    activations_kb: float = Field(gt=0, le=1 << 20)
    outputs_kb: float = Field(gt=0, le=1 << 20)
    line_bits: int = Field(default=128, ge=8, le=4096)
    dram_gb_s: float | None = Field(default=None, gt=0)


@dataclass(frozen=True)
class _Tiling:
    """A matrix product cut into tiles of the array.

    Attributes:
        cycles: Of all tiles.
        useful: Cycles in which a tile computes, filling and draining left out.
        folds: Tiles along outputs.
        stored: Slots of weights: kept inputs of a row times outputs.
        weights: Words of weights read, all tiles.
        activations: Words of inputs read.
        outputs: Words of outputs and partial sums read and written.
    """

    cycles: int
    useful: int
    folds: int
    stored: int
    weights: int
    activations: int
    outputs: int


@dataclass(frozen=True)
class Kept:
    """How a layer is run: of each `m` neighbouring inputs `n` are stored.

    Attributes:
        n: Places that are stored.
        m: Inputs that they stand for.
        index_bits: Bits a stored weight that say which of them it is.
        places: Parts that the inputs of a row are grouped in, each by itself: 1, or the places of the kernel.
    """

    n: int
    m: int
    index_bits: float
    places: int = 1

    def slots(self, inputs: int) -> int:
        """What is stored of a row of so many inputs.

        >>> Kept(2, 4, 2.0).slots(27), Kept(2, 4, 2.0, places=9).slots(27)
        (14, 18)
        """
        return self.places * math.ceil(inputs // self.places / self.m) * self.n


DENSE = Kept(1, 1, 0.0)


class Systolic(Accelerator):
    """A matrix product tile by tile. Zero activations cost as much as others."""

    takes: ClassVar[Sequence[str]] = (
        "dense",
        "N:M such as 2:4",
        "n:M for any N of M, such as n:8",
        "N:M/n:M (hierarchical) such as 2:4/n:8",
    )

    template: Literal["systolic"]
    array: Array
    memory: Memories

    @property
    def lanes(self) -> int:
        """The multipliers."""
        return self.array.rows * self.array.columns

    @classmethod
    def takes_pattern(cls, pattern: str) -> bool:
        """Dense, and N of M along the inputs for one N or for any; of blocks that are N of M themselves."""
        if pattern == "dense":
            return True
        *inner, outer = pattern.split("/")
        fixed = all(_is_n_of_m(each) and not each.startswith("n") for each in inner)
        return _is_n_of_m(outer) and fixed and len(inner) <= 1

    def why_not(self, work: LayerWork) -> str | None:
        """None: what keeps more of M than the array can skip runs dense."""
        return None

    @property
    def streams_weights(self) -> bool:
        """Where there is a DRAM: tile by tile."""
        return self.memory.dram_gb_s is not None

    @property
    def rows_of_a_tile(self) -> int:
        """The array's columns."""
        return self.array.columns

    def kept(self, work: LayerWork) -> Kept:
        """How a layer is run."""
        if self.pattern == "dense":
            return DENSE
        whole = _kept_of(work.mask, self.pattern)
        ways = [DENSE, whole]
        if work.kernel > 1:
            apart = work.mask.reshape(-1, work.inputs // work.kernel)
            ways.append(replace(_kept_of(apart, self.pattern), places=work.kernel))
        return min(ways, key=lambda way: way.slots(work.inputs))

    def tiling(self, work: LayerWork) -> _Tiling:
        """The tiles of a layer of one group."""
        kept = self.kept(work)
        rows, columns = self.array.rows, self.array.columns
        inputs, outputs, positions = kept.slots(work.inputs), work.outputs, work.positions
        folds = math.ceil(outputs / columns)
        seen = positions * work.inputs * folds
        if self.array.dataflow == "weight_stationary":
            tiles = math.ceil(inputs / rows) * folds
            cycles, useful = tiles * (positions + 2 * rows + columns - 2) - 1, tiles * positions
            sums = positions * outputs * (2 * math.ceil(inputs / rows) - 1)
            return _Tiling(cycles, useful, folds, inputs * outputs, inputs * outputs, seen, sums)
        tiles = math.ceil(positions / rows) * folds
        cycles, useful = tiles * (inputs + rows + columns - 2) - 1, tiles * inputs
        weights = inputs * outputs * math.ceil(positions / rows)
        return _Tiling(cycles, useful, folds, inputs * outputs, weights, seen, positions * outputs)

    def _price(self, work: LayerWork) -> Cost:
        tiling = self.tiling(work)
        busy = work.weights * work.positions
        slots = tiling.stored * work.positions
        stalls = {
            "zero weights": float(slots - busy),
            "edges of tiles": float(tiling.useful * self.lanes - slots),
            "fill and drain": float((tiling.cycles - tiling.useful) * self.lanes),
        }
        moved, energy = self._traffic(work, tiling)
        cost = Cost(float(tiling.cycles), self.lanes, float(busy), stalls, moved, energy)
        return self.bounded_by_dram(cost, self._dram_bytes(work, tiling), self.memory.dram_gb_s)

    def _traffic(self, work: LayerWork, tiling: _Tiling) -> tuple[dict[str, float], dict[str, float]]:
        """Bytes by level and picojoules by component."""
        bits = self.array.arithmetic_bits
        moved = {
            "weights": tiling.weights * self._weight_bits(work) / 8,
            "activations": tiling.activations * bits / 8,
            "outputs": tiling.outputs * 2 * bits / 8,
        }
        line = self.memory.line_bits / 8
        energy = {memory: moved[memory] / line * sram.read_pj for memory, sram in self._memories().items()}
        slots = tiling.stored * work.positions
        energy |= {"arithmetic": slots * multiply_add_pj(bits), "registers": 3 * slots * register_pj(bits)}
        return moved, energy

    def _weight_bits(self, work: LayerWork) -> float:
        """A weight, and which of its M it is."""
        return self.array.arithmetic_bits + self.kept(work).index_bits

    def _dram_bytes(self, work: LayerWork, tiling: _Tiling) -> float:
        """Weights once, outputs once; inputs once where they fit, else once for each of the folds over outputs.

        An input is taken to be read by one position a kernel place, as at stride 1.
        """
        bits = self.array.arithmetic_bits
        inputs = work.positions * work.inputs / work.kernel * bits / 8
        times = 1 if inputs <= self.memory.activations_kb * 1024 else tiling.folds
        outputs = work.positions * work.outputs * bits / 8
        return tiling.stored * self._weight_bits(work) / 8 + inputs * times + outputs

    def _memories(self) -> dict[str, Sram]:
        memory, node = self.memory, self.technology.node_nm
        sizes = {"weights": memory.weights_kb, "activations": memory.activations_kb, "outputs": memory.outputs_kb}
        return {name: Sram(kb, memory.line_bits, node) for name, kb in sizes.items()}

    def area(self) -> Mapping[str, float]:
        """Memories by CACTI, multipliers as published; what selects N of M is not counted."""
        area = {name: sram.area_mm2 for name, sram in self._memories().items()}
        return {**area, "arithmetic": self.lanes * multiplier_mm2(self.array.arithmetic_bits, self.technology.node_nm)}

    def storage_kb(self) -> Mapping[str, float]:
        """Of the weights."""
        return {"weights_kb": self.memory.weights_kb}

    def storage_bytes(self, work: LayerWork) -> Mapping[str, float]:
        """All weights of a layer; with a DRAM one tile, twice, so that the next is loaded meanwhile."""
        most = 2 * self.lanes if self.streams_weights else math.inf
        sizes = [min(self.tiling(part).stored, most) * self._weight_bits(part) / 8 for part in work.parts()]
        return {"weights_kb": max(sizes) if self.streams_weights else sum(sizes)}


def _is_n_of_m(text: str) -> bool:
    found = re.fullmatch(r"(n|[1-9]\d{0,2}):([1-9]\d{0,2})", text)
    if not found:
        return False
    n, m = found.groups()
    return int(m) >= 2 and (n == "n" or int(n) < int(m))


def _kept_of(mask: NDArray[np.bool_], pattern: str) -> Kept:
    """How a matrix is run under a pattern, of one level or of two."""
    inner, _, outer = pattern.rpartition("/")
    if not inner:
        return _kept(mask, outer)
    block = _kept(mask, inner)
    if block == DENSE:
        return DENSE
    blocks = _kept(np.asarray(_grouped(mask, block.m).any(axis=2)), outer)
    return Kept(block.n * blocks.n, block.m * blocks.m, block.index_bits + blocks.index_bits / block.n)


def _kept(mask: NDArray[np.bool_], pattern: str) -> Kept:
    """How a matrix is run under N:M or n:M: dense, where a group keeps more."""
    wanted, m = pattern.split(":")
    most = max(1, int(_grouped(mask, int(m)).sum(axis=2).max()))
    n = most if wanted == "n" else int(wanted)
    return Kept(n, int(m), math.ceil(math.log2(int(m)))) if most <= n < int(m) else DENSE


def _grouped(mask: NDArray[np.bool_], m: int) -> NDArray[np.bool_]:
    """(outputs, groups, m): neighbouring inputs, the last group filled up with zeros."""
    return np.pad(mask, ((0, 0), (0, -mask.shape[1] % m))).reshape(len(mask), -1, m)

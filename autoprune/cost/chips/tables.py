"""What every option of every layer costs on every chip: a policy is priced on thousands of chips by adding up rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from autoprune.cost.terms import Costs, Widths
from autoprune.errors import InputError
from autoprune.space import SearchSpace

__all__ = ["ChipSums", "ChipTables"]


@dataclass(frozen=True, eq=False)
class ChipSums:
    """What policies come to on chips; all of shape (policies, chips).

    Attributes:
        ms: Milliseconds of a call.
        mj: Millijoules of a call.
        overflow: How much more the weights take than the fullest memory has, as a share of it; 0 where they fit.
    """

    ms: Costs
    mj: Costs
    overflow: Costs


@dataclass(frozen=True, eq=False)
class ChipTables:
    """Costs of layers on chips that take one pattern.

    Attributes:
        space: The decisions: how much of each layer stays.
        ms: A decision each, (options, chips): milliseconds of the layers that it decides on.
        mj: The same in millijoules.
        needs: The same, (options, chips, memories): bytes of the memory's fullest instance.
        fixed_ms: (chips,): of layers without a decision.
        fixed_mj: (chips,).
        fixed_needs: (chips, memories).
        room: (chips, memories): bytes that there are; infinite where a chip has fewer memories.
        streams: (chips,): whether layers follow each other in the memories, so that each alone has to fit.
        area: (chips,): square millimetres.

    Raises:
        InputError: If the shapes do not fit each other.
    """

    space: SearchSpace
    ms: tuple[Costs, ...]
    mj: tuple[Costs, ...]
    needs: tuple[Costs, ...]
    fixed_ms: Costs
    fixed_mj: Costs
    fixed_needs: Costs
    room: Costs
    streams: NDArray[np.bool_]
    area: Costs

    def __post_init__(self) -> None:
        chips, memories = self.room.shape
        options = [len(decision.options) for decision in self.space.decisions]
        wanted = [(count, chips) for count in options]
        shapes = [[each.shape for each in table] for table in (self.ms, self.mj)]
        if shapes != [wanted, wanted] or [each.shape for each in self.needs] != [(*w, memories) for w in wanted]:
            raise InputError("tables of chips need a row for every option of every decision, and a column a chip")
        if not len(self.fixed_ms) == len(self.fixed_mj) == len(self.streams) == len(self.area) == chips:
            raise InputError("tables of chips are of different numbers of chips")

    def __len__(self) -> int:
        return len(self.area)

    def sums(self, indices: Widths) -> ChipSums:
        """Costs of policies on all chips.

        Args:
            indices: Option numbers, (policies, decisions).
        """
        indices = np.asarray(indices, dtype=np.int64)
        ms = np.tile(self.fixed_ms, (len(indices), 1))
        mj = np.tile(self.fixed_mj, (len(indices), 1))
        needs = np.tile(self.fixed_needs, (len(indices), 1, 1))
        for d in range(indices.shape[1]):
            rows = indices[:, d]
            ms += self.ms[d][rows]
            mj += self.mj[d][rows]
            if self._bounded:
                own = self.needs[d][rows]
                needs = np.where(self.streams[:, None], np.maximum(needs, own), needs + own)
        overflow = np.maximum((needs / self.room).max(axis=2, initial=0.0) - 1.0, 0.0)
        return ChipSums(ms, mj, overflow)

    @cached_property
    def _bounded(self) -> bool:
        """Whether there is a policy that may be too large for a chip."""
        return bool(np.isfinite(self.room).any())

    def only(self, chips: Sequence[int] | NDArray[np.int64]) -> Self:
        """The tables of some chips."""
        chosen = np.asarray(chips, dtype=np.int64)
        by_option: dict[str, Any] = {
            name: tuple(each[:, chosen] for each in getattr(self, name)) for name in ("ms", "mj", "needs")
        }
        own: dict[str, Any] = {
            f.name: getattr(self, f.name)[chosen] for f in fields(self) if f.name not in (*by_option, "space")
        }
        return replace(self, **by_option, **own)

    @classmethod
    def joined(cls, parts: Sequence[ChipTables]) -> ChipTables:
        """Tables of the chips of several, in order, on one search space."""
        most = max(part.room.shape[1] for part in parts)
        filled = [part._with_memories(most) for part in parts]
        count = range(len(parts[0].space))
        by_option: dict[str, Any] = {
            name: tuple(np.concatenate([getattr(part, name)[d] for part in filled], axis=1) for d in count)
            for name in ("ms", "mj", "needs")
        }
        names = [f.name for f in fields(cls) if f.name not in (*by_option, "space")]
        own: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in filled]) for name in names}
        return cls(parts[0].space, **by_option, **own)

    def _with_memories(self, count: int) -> ChipTables:
        missing = count - self.room.shape[1]
        if not missing:
            return self
        return replace(
            self,
            needs=tuple(np.pad(each, ((0, 0), (0, 0), (0, missing))) for each in self.needs),
            fixed_needs=np.pad(self.fixed_needs, ((0, 0), (0, missing))),
            room=np.pad(self.room, ((0, 0), (0, missing)), constant_values=np.inf),
        )

    def undominated(self, *, reads_energy: bool) -> NDArray[np.int64]:
        """Numbers of the chips that no other beats for every policy: in time, energy if it matters, and room."""
        rows = self._rows(reads_energy=reads_energy)
        order = np.lexsort((self.area, rows.sum(axis=0)))
        kept: list[int] = []
        for chip in order:
            if not kept or not bool((rows[:, kept] <= rows[:, chip, None]).all(axis=0).any()):
                kept.append(int(chip))
        return np.asarray(sorted(kept), dtype=np.int64)

    def _rows(self, *, reads_energy: bool) -> Costs:
        """All that counts of each chip, (figures, chips); less is better in each."""
        streams = np.where(self.streams, 0.0, 1.0)[None]
        figures = [self.fixed_ms[None], *self.ms, self.fixed_needs.T / self.room.T, streams]
        figures += [(each / self.room).transpose(0, 2, 1).reshape(-1, len(self)) for each in self.needs]
        return np.concatenate([*figures, self.fixed_mj[None], *self.mj] if reads_energy else figures)

"""The smallest memories and area that would hold a network, for who is told that none does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from autoprune.cost.chips import ChipTables
from autoprune.errors import BudgetError, InputError
from autoprune.pipeline.jobs.codesign.arms import Arm
from autoprune.pipeline.jobs.codesign.designs import Design, path_of

__all__ = ["Room", "least_room", "refused_room"]


@dataclass(frozen=True)
class Room:
    """A chip with memories that just hold the sparsest network.

    Attributes:
        design: The chip, memories as they are now.
        needed_kb: Memory -> its size, of those that are too small now.
        area: With these sizes, mm2.
    """

    design: Design
    needed_kb: Mapping[str, float]
    area: float

    @property
    def text(self) -> str:
        """For people: the sizes, and what there is."""
        has = self.design.chip.storage_kb()
        sizes = [f"{name} of {kb:.4g} KB ({has[name]:g} now)" for name, kb in self.needed_kb.items()]
        return f"{self.design.name} with {' and '.join(sizes) or 'its memories'}, {self.area:.4g} mm2"


def least_room(arms: Iterable[Arm]) -> Room:
    """The smallest chip that holds the sparsest network of its family, memories raised to what that needs."""
    rooms = [room for arm in arms for number in range(len(arm.tables)) if (room := _room(arm, number)) is not None]
    return min(rooms, key=lambda room: room.area)


def refused_room(arms: Iterable[Arm], area: float) -> BudgetError:
    """What is said where no chip within an area holds even the sparsest network.

    Args:
        arms: All families.
        area: What a chip may take, mm2.
    """
    room = least_room(arms)
    advice = "give larger memories in its file" if room.area <= area else "give more --area"
    return BudgetError(
        f"no chip within {area:.4g} mm2 holds even the sparsest network: the least that does is {room.text}; {advice}",
        room.area,
    )


def _room(arm: Arm, number: int) -> Room | None:
    """One chip; None where its file cannot have memories of that size."""
    design = arm.designs[number]
    has = design.chip.storage_kb()
    least = dict(zip(has, _least_bytes(arm.tables, number) / 1024, strict=False))
    needed = {name: float(f"{kb * 1.0005:.4g}") for name, kb in least.items() if kb > has[name]}
    try:
        chip = design.chip.with_knobs({str(path_of(design.chip, name)): kb for name, kb in needed.items()})
    except InputError:
        return None
    return Room(design, needed, chip.area_mm2)


def _least_bytes(tables: ChipTables, number: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """What the sparsest network takes of each memory of a chip, (memories,)."""
    each = [tables.fixed_needs[number], *(needs[:, number].min(axis=0) for needs in tables.needs)]
    stacked = np.stack(each)
    return np.asarray(stacked.max(axis=0) if tables.streams[number] else stacked.sum(axis=0))

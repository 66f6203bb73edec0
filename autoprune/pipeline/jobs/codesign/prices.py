"""What every option of every layer costs on a chip: priced once, kept in the run."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from autoprune.cost.chips import ChipTables
from autoprune.cost.terms import Costs
from autoprune.errors import InputError
from autoprune.foundations.files import replacing
from autoprune.hardware.accelerators import Accelerator, Cost, LayerWork
from autoprune.pipeline.jobs.codesign.designs import Design
from autoprune.pipeline.jobs.codesign.layers import Layers
from autoprune.space import SearchSpace

__all__ = ["ChipPrices", "energy_scale", "known_prices", "priced", "table_of"]

_PJ_PER_MJ = 1e9
_SAME = 1e-9  # relative


@dataclass(frozen=True, eq=False)
class ChipPrices:
    """Costs of a call by layer, a row for every option of every decision in order, the layers without one last.

    Attributes:
        cycles: (rows,).
        energy: (rows, components), pJ.
        needs: (rows, memories), bytes in the fullest instance.
        components: Names of those.
        memories: Names of those.
    """

    cycles: Costs
    energy: Costs
    needs: Costs
    components: tuple[str, ...]
    memories: tuple[str, ...]


def priced(chip: Accelerator, layers: Layers, space: SearchSpace) -> ChipPrices:
    """Price every option of every layer; what a chip cannot run as it is, it runs as a dense layer."""
    rows = [_row(chip, layers.at(d.name, option)) for d in space.decisions for option in range(len(d.options))]
    rows.append(_row(chip, layers.fixed))
    components = tuple(sorted({name for cost, _ in rows for name in cost.energy_pj}))
    memories = tuple(chip.storage_kb())
    return ChipPrices(
        np.array([cost.cycles for cost, _ in rows]),
        np.array([[cost.energy_pj.get(name, 0.0) for name in components] for cost, _ in rows]),
        np.array([[needs.get(name, 0.0) for name in memories] for _, needs in rows]).reshape(len(rows), len(memories)),
        components,
        memories,
    )


def _row(chip: Accelerator, works: Sequence[LayerWork]) -> tuple[Cost, dict[str, float]]:
    """Cost and bytes of some layers."""
    runnable = [work if chip.why_not(work) is None else work.dense() for work in works]
    return chip.total(runnable), dict(chip.needed_bytes(runnable))


def known_prices(folder: Path, chip: Accelerator, layers: Layers, space: SearchSpace) -> ChipPrices:
    """The prices of a chip, read back from a run's folder if it has them.

    Raises:
        InputError: If a file there is damaged.
    """
    content = json.dumps([chip.content(), [[d.name, *d.options] for d in space.decisions]], sort_keys=True)
    path = folder / f"{hashlib.sha256(content.encode()).hexdigest()[:16]}.npz"
    if path.exists():
        return _read(path)
    found = priced(chip, layers, space)
    buffer = io.BytesIO()
    content_of: dict[str, Any] = {each.name: np.asarray(getattr(found, each.name)) for each in fields(found)}
    np.savez(buffer, **content_of)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return found


def _read(path: Path) -> ChipPrices:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:
            numbers = {name: content[name].astype(np.float64) for name in ("cycles", "energy", "needs")}
            names = {name: tuple(str(each) for each in content[name]) for name in ("components", "memories")}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise InputError(f"{path} is damaged; remove it to price that chip again") from error
    return ChipPrices(**numbers, components=names["components"], memories=names["memories"])


def energy_scale(core: Accelerator, sized: Accelerator, samples: Sequence[LayerWork], names: Sequence[str]) -> Costs:
    """What a component takes more or less of energy on a chip whose memories alone are of other sizes, (components,).

    Each access takes more in a larger memory, and there are as many of them: layers differ in nothing but their counts.

    Args:
        core: The chip that layers were priced on.
        sized: The same with other memories.
        samples: Layers to compare, two or more.
        names: Of the components.

    Raises:
        InputError: If the chips differ in more than the energy of an access.
    """
    found: list[Costs] = []
    for work in samples:
        before, after = core.price(work), sized.price(work)
        if abs(before.cycles - after.cycles) > _SAME * before.cycles:
            raise InputError(f"{core.name} takes other times with other memories; name their sizes in its 'search:'")
        found.append(_ratios(before, after, names))
    if not all(np.allclose(each, found[0], rtol=1e-6) for each in found):
        raise InputError(f"an access of {core.name} does not scale with its memory; name sizes in its 'search:'")
    return found[0]


def _ratios(before: Cost, after: Cost, names: Sequence[str]) -> Costs:
    pairs = [(before.energy_pj.get(name, 0.0), after.energy_pj.get(name, 0.0)) for name in names]
    return np.array([new / old if old else 1.0 for old, new in pairs])


def table_of(designs: Sequence[Design], core: ChipPrices, scales: Sequence[Costs], space: SearchSpace) -> ChipTables:
    """The tables of designs that differ in their memories alone.

    Args:
        designs: At least one.
        core: Prices of the chip that they come of.
        scales: Of each design, see `energy_scale`.
        space: The decisions.
    """
    clock = np.array([design.chip.clock_mhz for design in designs])
    ms = core.cycles[:, None] / clock * 1e-3
    mj = core.energy @ np.stack(scales, axis=1) / _PJ_PER_MJ
    needs = np.repeat(core.needs[:, None], len(designs), axis=1)
    ends = np.cumsum([len(d.options) for d in space.decisions])[:-1]
    room = [[design.chip.storage_kb()[memory] * 1024 for memory in core.memories] for design in designs]
    return ChipTables(
        space,
        ms=tuple(np.split(ms[:-1], ends)),
        mj=tuple(np.split(mj[:-1], ends)),
        needs=tuple(np.split(needs[:-1], ends)),
        fixed_ms=ms[-1],
        fixed_mj=mj[-1],
        fixed_needs=needs[-1],
        room=np.array(room).reshape(len(designs), len(core.memories)),
        streams=np.array([design.chip.streams_weights for design in designs]),
        area=np.array([design.chip.area_mm2 for design in designs]),
    )

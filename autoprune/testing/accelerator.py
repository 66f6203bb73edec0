"""What every template of accelerators must do; see `autoprune.hardware.accelerators.base.Accelerator`."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from autoprune.errors import InputError
from autoprune.hardware.accelerators import Accelerator, LayerWork, load_accelerator, save_accelerator

__all__ = ["check_accelerator"]


def check_accelerator(chip: Accelerator, folder: Path) -> None:
    """A chip keeps the contract of its template: its file, its knobs, its prices, its memories.

    Args:
        chip: Any of the template.
        folder: Where its file may be written.
    """
    _check_file(chip, folder)
    for work in _layers():
        _check_price(chip, work)
    _check_knobs(chip)
    _check_memories(chip)


def _layers() -> list[LayerWork]:
    """Dense layers: linear, with fewer rows than lanes, a convolution, one of groups."""
    draw = np.random.default_rng(0)

    def layer(
        name: str, outputs: int, inputs: int, *, groups: int = 1, kernel: int = 1, positions: int = 1
    ) -> LayerWork:
        active = draw.random((3, inputs * groups)) < 0.6
        mask = np.ones((outputs, inputs), dtype=np.bool_)
        return LayerWork(name, mask, active, positions, bias=kernel == 1, groups=groups, kernel=kernel)

    return [
        layer("linear", 130, 96),
        layer("narrow", 3, 40),
        layer("convolution", 64, 72, kernel=9, positions=5),
        layer("groups", 32, 36, groups=4, kernel=9, positions=2),
    ]


def _check_file(chip: Accelerator, folder: Path) -> None:
    save_accelerator(chip, folder / "chip.yaml")
    assert load_accelerator(folder / "chip.yaml") == chip, "a chip is not what its own file says"
    try:
        chip.with_knobs({"no_such_key": 1})
    except InputError:
        return
    raise AssertionError("a key that does not exist can be changed")


def _check_price(chip: Accelerator, work: LayerWork) -> None:
    """A cost checks itself that no cycle is lost; here it is compared with others."""
    assert chip.why_not(work) is None, f"the dense layer {work.name} cannot be run: {chip.why_not(work)}"
    cost = chip.price(work)
    assert cost.cycles > 0 and cost.energy_mj > 0 and cost.lanes == chip.lanes, f"{work.name} costs nothing"
    assert 0 <= cost.utilisation <= 1, f"{work.name} uses {cost.utilisation} of the chip"
    assert chip.price(work) == cost, f"{work.name} costs something else the second time"
    longer = chip.price(replace(work, positions=4 * work.positions))
    assert cost.cycles <= longer.cycles <= 4 * cost.cycles + 1e-6, f"{work.name} at four times as many positions"
    assert math.isclose(chip.total([work, work]).cycles, 2 * cost.cycles), f"{work.name} twice is not twice its cost"
    fewer = work.with_mask(work.mask & (np.arange(work.inputs) % 2 == 0))
    if chip.why_not(fewer) is None:
        sparse = chip.price(fewer)
        assert sparse.cycles <= cost.cycles * (1 + 1e-9), f"{work.name} is slower with half of its weights"
        assert sparse.busy <= cost.busy, f"{work.name} does more with half of its weights"


def _check_knobs(chip: Accelerator) -> None:
    work = _layers()[0]
    for path, values in chip.knobs().items():
        for value in values:
            changed = chip.with_knobs({path: value})
            assert changed.price(work).cycles > 0, f"{path} = {value}"
            assert changed.knobs() == chip.knobs(), f"{path} = {value} loses the knobs"
            assert changed.area_mm2 > 0, f"{path} = {value} takes no room"
    assert all(area > 0 for area in chip.area().values()), "a component takes no room"


def _check_memories(chip: Accelerator) -> None:
    assert chip.capacity_ok([]), "no layers do not fit"
    names = set(chip.storage_kb())
    for work in _layers():
        stored = chip.storage_bytes(work)
        assert set(stored) == names and all(size >= 0 for size in stored.values()), f"{work.name} is stored elsewhere"
        assert not names or any(stored.values()), f"any number of layers such as {work.name} fits"

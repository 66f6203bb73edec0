"""What a network and its accelerator are searched together for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from autoprune.run.settings.base import Settings, joined, setting

__all__ = ["CodesignSettings", "amount_of"]

SEARCHED = ("pruning", "hardware")
_UNITS: Mapping[str, Mapping[str, float]] = {
    "area": {"mm2": 1.0, "um2": 1e-6},
    "latency": {"ms": 1.0, "us": 1e-3, "s": 1e3},
    "energy": {"mj": 1.0, "uj": 1e-3, "j": 1e3},
    "edp": {"mjms": 1.0, "ujms": 1e-3},
}


class CodesignSettings(Settings):
    """Which accelerators there are, what of them may change, and what is made small."""

    panel = "Co-design"

    accelerator: str = setting(
        "eie", "YAML files or names of accelerators (eie, balanced, systolic), several with commas; the first is the"
        " fixed chip of the baselines"
    )  # fmt: skip
    searched: str = setting(
        "pruning,hardware", "what may change: pruning (how much of each layer stays), hardware (the chip's knobs)"
    )
    area: str | None = setting(None, "what the chip may take: 2mm2; default what the first accelerator takes")
    objective: Literal["latency", "energy", "edp"] = setting(
        "latency", "what is made small: time, energy, or their product"
    )
    at_most: str | None = setting(
        None, "what the network may take of the objective at most: 50% of dense on the fixed chip, or 0.3ms, 20uJ"
    )
    chips: int = setting(
        64, "settings of each accelerator's knobs that are priced, beside sizes of memories, which come free",
        ge=1, le=100_000,
    )  # fmt: skip
    levels: int = setting(
        4, "costs between the sparsest useful network and the dense one that are searched", ge=1, le=100
    )
    chip_first: bool = setting(
        False, "the joint search decides the chip's knobs first in each episode; else every policy has its best chip"
    )
    vectors: int = setting(16, "activation vectors of each layer that chips are priced with", ge=1, le=10_000)

    @field_validator("accelerator", "searched", mode="before")
    @classmethod
    def _several_are_text(cls, value: Any) -> Any:
        return joined(value)

    @field_validator("searched")
    @classmethod
    def _searches_something(cls, value: str) -> str:
        names = [part.strip() for part in value.split(",") if part.strip()]
        unknown = next((name for name in names if name not in SEARCHED), None)
        if unknown is not None or not names:
            raise ValueError("write pruning, hardware, or both with a comma")
        return ",".join(name for name in SEARCHED if name in names)

    @field_validator("area")
    @classmethod
    def _area_can_be_read(cls, value: str | None) -> str | None:
        if value is not None:
            amount_of(value, "area")
        return value

    @model_validator(mode="after")
    def _limit_can_be_read(self) -> Self:
        if self.at_most is not None:
            amount_of(self.at_most, self.objective)
        return self

    @property
    def accelerators(self) -> tuple[str, ...]:
        """Names and files, in order."""
        return tuple(part.strip() for part in self.accelerator.split(",") if part.strip())

    @property
    def area_mm2(self) -> float | None:
        """The limit in square millimetres; None if there is none."""
        return None if self.area is None else amount_of(self.area, "area")[0]

    def limit(self, dense: float) -> float | None:
        """What the network may take of the objective, in its unit; None without a limit.

        Args:
            dense: What the dense network takes on the fixed chip.
        """
        if self.at_most is None:
            return None
        number, is_share = amount_of(self.at_most, self.objective)
        return number * dense if is_share else number


def amount_of(text: str, kind: str) -> tuple[float, bool]:
    """An amount in the unit of its kind (mm2, ms, mJ, mJ ms), or a share; and whether it is a share.

    >>> amount_of("2mm2", "area"), amount_of("50%", "edp"), amount_of("20 uJ", "energy")
    ((2.0, False), (0.5, True), (0.02, False))

    Raises:
        ValueError: If it is neither.
    """
    units = {**_UNITS[kind], **({} if kind == "area" else {"%": 0.01})}
    found = re.fullmatch(r"([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)([a-z0-9%]+)", "".join(text.lower().split()))
    number = float(found[1]) * units.get(found[2], 0.0) if found else 0.0
    if not 0 < number < float("inf"):
        raise ValueError(f"write an amount above 0 with its unit: {', '.join(units)}")
    return number, bool(found and found[2] == "%")

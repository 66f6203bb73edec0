"""What the small network may cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from pydantic import SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from autoprune.run.settings.base import Settings, joined, setting

__all__ = ["BUDGETS", "BudgetSettings"]

BUDGETS = ("latency", "flops", "params", "energy", "accuracy_drop", "budget")
"""The settings that say what the small network may cost; several together are all to be met."""


class BudgetSettings(Settings):
    """What the small network may cost, or lose."""

    panel = "Budget"

    latency: str | None = setting(
        None,
        "latency budget: a share of the dense network (50%) or a time (2.5ms); 50% when no budget is given. Several"
        " budgets together (--latency 50% --params 40%) are all kept",
    )
    flops: str | None = setting(None, "budget of multiply-accumulates: 50% or 20M")
    params: str | None = setting(None, "budget of parameters: 50% or 100k")
    energy: str | None = setting(
        None, "budget of energy a call: 50% or 3mJ; measured where there is a sensor, else modelled"
    )
    accuracy_drop: float | None = setting(
        None,
        "instead of a budget: the fastest network that loses at most so many percentage points on the search split; of"
        " an own score, so much in its own unit",
        gt=0,
        lt=1e9,
    )
    budget: str | None = setting(
        None,
        "budgets of any kind, KIND=AMOUNT, several with commas; for kinds without an option of their own, and for the"
        " latency on further targets: latency@openvino=60%",
    )

    @field_validator("budget")
    @classmethod
    def _budget_names_its_kind(cls, value: str | None) -> str | None:
        if value is None:
            return None
        pairs = _pairs(value)
        if not pairs or not all(kind and amount for kind, amount in pairs):
            raise ValueError("write KIND=AMOUNT, such as params=50%")
        return ",".join(f"{kind}={amount}" for kind, amount in pairs)

    @field_validator("latency", "flops", "params", "energy", "budget", mode="before")
    @classmethod
    def _budgets_are_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else joined(value)

    @model_validator(mode="after")
    def _a_drop_comes_alone(self) -> Self:
        given = [kind for kind in BUDGETS if getattr(self, kind) is not None]
        if len(given) > 1 and self.accuracy_drop is not None:
            others = " and ".join(kind for kind in given if kind != "accuracy_drop")
            raise ValueError(f"accuracy_drop searches for a budget itself; it goes with no other: not with {others}")
        return self

    @property
    def requested_budgets(self) -> tuple[tuple[str, str], ...]:
        """Kind and amount of every budget, as the user wrote them; half the latency when none was given."""
        own = [
            (kind, amount) for kind in BUDGETS if isinstance(amount := getattr(self, kind), str) and kind != "budget"
        ]
        further = [] if self.budget is None else _pairs(self.budget)
        return (*own, *further) or (("latency", "50%"),)

    @property
    def requested_budget(self) -> tuple[str, str]:
        """Kind and amount of the first budget."""
        return self.requested_budgets[0]

    def with_amounts(self, amounts: Sequence[str]) -> dict[str, str]:
        """The settings that ask for other amounts of the same budgets, in their order."""
        pairs = [(kind, amount) for (kind, _), amount in zip(self.requested_budgets, amounts, strict=True)]
        own = {
            kind: amount for kind, amount in pairs if kind in BUDGETS and (self.budget is None or getattr(self, kind))
        }
        further = ",".join(f"{kind}={amount}" for kind, amount in pairs if kind not in own)
        return own | ({"budget": further} if further else {})

    @model_serializer(mode="wrap")
    def _without_an_unused_budget(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Files of runs stay as they were before there was `budget`, unless it is used."""
        content: dict[str, Any] = write(self)
        return content if self.budget is not None else {k: v for k, v in content.items() if k != "budget"}


def _pairs(text: str) -> list[tuple[str, str]]:
    """Kind and amount of `KIND=AMOUNT,KIND=AMOUNT`; what has no kind is another amount of the one before.

    >>> _pairs("params<=30%,50%,latency@torch@threads=2=60%")
    [('params', '30%,50%'), ('latency@torch@threads=2', '60%')]
    """
    pairs: list[tuple[str, str]] = []
    for part in (each.strip() for each in text.replace("<=", "=").split(",")):
        kind, sign, amount = (each.strip() for each in part.rpartition("="))
        if not sign and pairs and part:
            pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]},{part}")
        elif part:
            pairs.append((kind, amount))
    return pairs

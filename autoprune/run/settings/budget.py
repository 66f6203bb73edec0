"""What the small network may cost."""

from __future__ import annotations

from typing import Any, Self

from pydantic import SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from autoprune.run.settings.base import Settings, joined, setting

__all__ = ["BUDGETS", "BudgetSettings"]

BUDGETS = ("latency", "flops", "params", "energy", "accuracy_drop", "budget")
"""The settings of which one may be given."""


class BudgetSettings(Settings):
    """What the small network may cost, or lose."""

    panel = "Budget"

    latency: str | None = setting(
        None,
        "latency budget: a share of the dense network (50%) or a time (2.5ms); 50% when no budget is given",
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
    budget: str | None = setting(None, "a budget of any kind, KIND=AMOUNT; for kinds without an option of their own")

    @field_validator("budget")
    @classmethod
    def _budget_names_its_kind(cls, value: str | None) -> str | None:
        if value is None:
            return None
        kind, sign, amount = (part.strip() for part in value.replace("<=", "=").partition("="))
        if not (kind and sign and amount):
            raise ValueError("write KIND=AMOUNT, such as params=50%")
        return f"{kind}={amount}"

    @field_validator("latency", "flops", "params", "energy", mode="before")
    @classmethod
    def _budgets_are_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else joined(value)

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        given = [kind for kind in BUDGETS if getattr(self, kind) is not None]
        if len(given) > 1:
            raise ValueError(f"one budget at a time, not {' and '.join(given)}")
        return self

    @property
    def requested_budget(self) -> tuple[str, str]:
        """Kind and amount of the budget, as the user wrote it; half the latency when none was given."""
        if self.budget is not None:
            kind, _, amount = self.budget.partition("=")
            return kind, amount
        for kind in BUDGETS:
            amount = getattr(self, kind)
            if isinstance(amount, str):
                return kind, amount
        return "latency", "50%"

    def with_amount(self, amount: str) -> dict[str, str]:
        """The setting that asks for another amount of the same budget."""
        kind, _ = self.requested_budget
        return {kind: amount} if self.budget is None else {"budget": f"{kind}={amount}"}

    @model_serializer(mode="wrap")
    def _without_an_unused_budget(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Files of runs stay as they were before there was `budget`, unless it is used."""
        content: dict[str, Any] = write(self)
        return content if self.budget is not None else {k: v for k, v in content.items() if k != "budget"}

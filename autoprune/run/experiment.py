"""All settings of one experiment: every option of the command line and every key of an experiment file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import model_validator

from autoprune.run.settings import (
    BLOCKS,
    BUDGETS,
    BudgetSettings,
    CodesignSettings,
    DynamicSettings,
    LotterySettings,
    ModelSettings,
    ProgressiveSettings,
    QuantizationSettings,
    RecipeSettings,
    RunSettings,
    ScoreSettings,
    SearchSettings,
    SharedSettings,
    SpaceSettings,
    SparsitySettings,
    TargetSettings,
    TrainingPlan,
)
from autoprune.run.settings.stored import StoredSettings

__all__ = ["BUDGETS", "Experiment", "option_group"]


def option_group(name: str) -> str:
    """The group in which the command line's help shows a setting."""
    return next(block.panel for block in BLOCKS if name in block.model_fields)


# pydantic takes the fields of the last base first.
class Experiment(
    RunSettings,
    RecipeSettings,
    TrainingPlan,
    QuantizationSettings,
    CodesignSettings,
    DynamicSettings,
    LotterySettings,
    SparsitySettings,
    ProgressiveSettings,
    SpaceSettings,
    SharedSettings,
    SearchSettings,
    BudgetSettings,
    TargetSettings,
    ScoreSettings,
    ModelSettings,
    StoredSettings,
):
    """What is compressed, on which data, for which device and budget, and how hard to try.

    An experiment is a value of each of its blocks: a function that needs the target alone takes `TargetSettings`.
    """

    may_differ: ClassVar[tuple[str, ...]] = (
        *("run", "data_dir", "table", "time_limit"),
        *("workers", "storage", "study", "lease", "ray"),
    )
    """Where things lie, how long a process may take, and who scores candidates."""

    @model_validator(mode="after")
    def _drop_is_a_share_of_accuracy(self) -> Self:
        if self.accuracy_drop is not None and self.score_spec.is_accuracy and self.accuracy_drop >= 100:
            raise ValueError(f"accuracy_drop: should be less than 100 percentage points, not {self.accuracy_drop:g}")
        return self

    @model_validator(mode="after")
    def _front_has_a_budget(self) -> Self:
        if self.front and self.accuracy_drop is not None:
            raise ValueError(
                "front: a front starts from a budget, and accuracy_drop searches for one; give one of them"
            )
        return self

    @model_validator(mode="after")
    def _a_study_is_one_search(self) -> Self:
        if self.storage is not None and self.accuracy_drop is not None:
            raise ValueError("storage: a study is one search within a budget, and accuracy_drop makes several")
        return self

    @property
    def study_name(self) -> str:
        """What the run's study is called in its storage."""
        return self.study or str(self.run_dir).removeprefix("runs/")

    @property
    def run_dir(self) -> Path:
        """The run's folder."""
        name = self.run or self.default_name()
        return Path(name) if "/" in name else Path("runs") / name

    def default_name(self) -> str:
        """Name of a run that was given none: model, data, budget and agent."""
        budgets = [f"{kind}{amount}" for kind, amount in self.requested_budgets]
        if self.accuracy_drop is not None:
            budgets = [f"accuracy-drop{self.accuracy_drop:g}"]
        parts = (self.model.replace(":", "."), self.data.replace(":", "-"), *budgets, self.agent)
        return "-".join("".join(c if c.isalnum() or c in "._-" else "_" for c in part) for part in parts)

    @classmethod
    def _kept_of_file(cls, settings: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
        if any(kind in overrides for kind in BUDGETS):  # another budget replaces the file's
            return {k: v for k, v in settings.items() if k not in BUDGETS}
        return settings

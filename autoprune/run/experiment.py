"""All settings of one experiment: every option of the command line and every key of an experiment file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, model_validator

from autoprune.errors import InputError
from autoprune.foundations.files import read_yaml, shortened
from autoprune.foundations.names import nearest_name
from autoprune.run.settings import (
    BLOCKS,
    BUDGETS,
    BudgetSettings,
    ModelSettings,
    ProgressiveSettings,
    RecipeSettings,
    RunSettings,
    ScoreSettings,
    SearchSettings,
    SpaceSettings,
    SparsitySettings,
    TargetSettings,
    TrainingPlan,
)

__all__ = ["BUDGETS", "Experiment", "option_group"]

_TOLD = 8  # faults of one file; further ones are counted


def option_group(name: str) -> str:
    """The group in which the command line's help shows a setting."""
    return next(block.panel for block in BLOCKS if name in block.model_fields)


# pydantic takes the fields of the last base first.
class Experiment(
    RunSettings,
    RecipeSettings,
    TrainingPlan,
    SparsitySettings,
    ProgressiveSettings,
    SpaceSettings,
    SearchSettings,
    BudgetSettings,
    TargetSettings,
    ScoreSettings,
    ModelSettings,
):
    """What is compressed, on which data, for which device and budget, and how hard to try.

    An experiment is a value of each of its blocks: a function that needs the target alone takes `TargetSettings`.
    """

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

    def replace(self, **changes: Any) -> Experiment:
        """The same experiment with some settings changed, validated again."""
        return Experiment.build({**self.model_dump(), **changes})

    @classmethod
    def build(cls, settings: Mapping[str, Any]) -> Experiment:
        """An experiment from plain settings.

        Raises:
            InputError: If keys or values are wrong; all faults are named at once.
        """
        try:
            return cls.model_validate(dict(settings))
        except ValidationError as error:
            faults = [_fault(f) for f in error.errors(include_url=False)]
            more = [f"{len(faults) - _TOLD} more faults"] if len(faults) > _TOLD else []
            raise InputError("; ".join([*faults[:_TOLD], *more])) from error

    @classmethod
    def read(cls, path: str | Path, overrides: Mapping[str, Any]) -> Experiment:
        """An experiment from a YAML file, with some settings overridden.

        Raises:
            InputError: If the file cannot be read, is no mapping, or holds wrong keys or values.
        """
        content = read_yaml(path, "experiment file")
        settings = content.get("settings", content) if isinstance(content, dict) else content
        if not isinstance(settings, dict):
            raise InputError(f"{path} should hold settings, a line each, such as 'model: resnet20'")
        settings = {str(key).replace("-", "_"): value for key, value in settings.items()}
        if any(kind in overrides for kind in BUDGETS):  # another budget replaces the file's
            settings = {k: v for k, v in settings.items() if k not in BUDGETS}
        try:
            return cls.build({**settings, **overrides})
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def _fault(fault: Any) -> str:
    name = shortened(".".join(str(part) for part in fault["loc"]))
    if fault["type"] == "extra_forbidden":
        return f"there is no setting {name!r}; {nearest_name(name, Experiment.model_fields)}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{name}: {message}, not {shortened(repr(fault['input']))}" if name else message

"""The settings of an experiment in blocks, each of which is a value that a function can take alone.

`autoprune.run.experiment.Experiment` is all of them in one, flat; the descriptions are the command line's help.
"""

from autoprune.run.settings.base import Settings
from autoprune.run.settings.budget import BUDGETS, BudgetSettings
from autoprune.run.settings.codesign import CodesignSettings
from autoprune.run.settings.dynamic import DynamicSettings
from autoprune.run.settings.lottery import LotterySettings
from autoprune.run.settings.quantization import QuantizationSettings
from autoprune.run.settings.run import RunSettings, seconds_in
from autoprune.run.settings.search import SearchSettings, default_warmup
from autoprune.run.settings.shared import SharedSettings
from autoprune.run.settings.space import SpaceSettings
from autoprune.run.settings.target import TargetSettings
from autoprune.run.settings.task import ModelSettings, ScoreSettings
from autoprune.run.settings.training import ProgressiveSettings, RecipeSettings, SparsitySettings, TrainingPlan

__all__ = [
    "BLOCKS",
    "BUDGETS",
    "BudgetSettings",
    "CodesignSettings",
    "DynamicSettings",
    "LotterySettings",
    "ModelSettings",
    "ProgressiveSettings",
    "QuantizationSettings",
    "RecipeSettings",
    "RunSettings",
    "ScoreSettings",
    "SearchSettings",
    "Settings",
    "SharedSettings",
    "SpaceSettings",
    "SparsitySettings",
    "TargetSettings",
    "TrainingPlan",
    "default_warmup",
    "seconds_in",
]

BLOCKS: tuple[type[Settings], ...] = (
    ModelSettings,
    ScoreSettings,
    TargetSettings,
    BudgetSettings,
    SearchSettings,
    SharedSettings,
    SpaceSettings,
    ProgressiveSettings,
    SparsitySettings,
    LotterySettings,
    DynamicSettings,
    CodesignSettings,
    QuantizationSettings,
    TrainingPlan,
    RecipeSettings,
    RunSettings,
)
"""All blocks, in the order in which files and help have them."""

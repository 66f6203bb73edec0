"""The pruning environment: a network's decisions, one a step, inside a budget."""

if __name__ != "autoprune.envs":
    raise ImportError("import autoprune.envs; the folder envs/ is not a package of its own")

from autoprune.envs.codesign_env import CodesignEnv
from autoprune.envs.curves import Curves
from autoprune.envs.discrete import DiscreteActions
from autoprune.envs.memory import RacingMemory, Score, ScoreAgainst, ScoreMemory
from autoprune.envs.observation import AMC_FEATURES, amc_features
from autoprune.envs.pruning_env import Outcome, PruningEnv, action_for
from autoprune.envs.rewards import AccuracyGuaranteed, RelativeToDense, ResourceConstrained, Reward
from autoprune.envs.sampling import drawn_limit, largest_uniform, spend_budget, top_up
from autoprune.envs.toy import Toy, toy
from autoprune.registration import register

__all__ = [
    "AMC_FEATURES",
    "AccuracyGuaranteed",
    "CodesignEnv",
    "Curves",
    "DiscreteActions",
    "Outcome",
    "PruningEnv",
    "RacingMemory",
    "RelativeToDense",
    "ResourceConstrained",
    "Reward",
    "Score",
    "ScoreAgainst",
    "ScoreMemory",
    "Toy",
    "action_for",
    "amc_features",
    "drawn_limit",
    "largest_uniform",
    "spend_budget",
    "top_up",
    "toy",
]

register()

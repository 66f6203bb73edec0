"""Black-box optimisation over the same decisions, by Optuna's samplers."""

from autoprune.agents.optuna_search.agent import OptunaAgent
from autoprune.agents.optuna_search.samplers import SAMPLERS
from autoprune.agents.optuna_search.settings import OptunaSettings

__all__ = ["SAMPLERS", "OptunaAgent", "OptunaSettings"]

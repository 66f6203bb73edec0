"""What can be chosen of the Optuna agent."""

from __future__ import annotations

from dataclasses import dataclass

from autoprune.agents.optuna_search.samplers import SAMPLERS
from autoprune.errors import InputError
from autoprune.foundations.names import nearest_name

__all__ = ["OptunaSettings"]


@dataclass(frozen=True)
class OptunaSettings:
    """What can be chosen of the Optuna agent.

    Attributes:
        sampler: `tpe` (tree-structured Parzen estimator, multivariate and grouped), `cmaes` (CMA-ES with margin), `gp`
            (Gaussian process), `nsga2` or `nsga3`.
        slack: Share of the budget that the sampler's choices may leave unspent; 1 leaves them to the action mask alone.
    """

    sampler: str = "tpe"
    slack: float = 0.05

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise InputError(f"unknown Optuna sampler {self.sampler!r}; {nearest_name(self.sampler, SAMPLERS)}")
        if not 0 <= self.slack <= 1:
            raise InputError(f"slack must be in [0, 1], not {self.slack}")

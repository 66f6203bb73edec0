"""What can be chosen of the Optuna agent."""

from __future__ import annotations

from dataclasses import dataclass

from autoprune.agents.optuna_search.samplers import OF_ONE_OBJECTIVE, SAMPLERS
from autoprune.errors import InputError
from autoprune.foundations.names import nearest_name

__all__ = ["OptunaSettings"]


@dataclass(frozen=True)
class OptunaSettings:
    """What can be chosen of the Optuna agent.

    Attributes:
        sampler: `tpe` (tree-structured Parzen estimator, multivariate and grouped), `cmaes` (CMA-ES with margin), `gp`
            (Gaussian process), `nsga2` or `nsga3`
            (genetic); `nsga2` for a front, else `tpe`, if not given.
        slack: Share of the budget that the sampler's choices may leave unspent; 1 leaves them to the action mask alone.
        front: Whether the whole front of score and cost is searched, in one study of two objectives: the episodes'
            limits are spread evenly from the budget to the dense network.
    """

    sampler: str | None = None
    slack: float = 0.05
    front: bool = False

    def __post_init__(self) -> None:
        if self.sampler is not None and self.sampler not in SAMPLERS:
            raise InputError(f"unknown Optuna sampler {self.sampler!r}; {nearest_name(self.sampler, SAMPLERS)}")
        if self.front and self.sampler in OF_ONE_OBJECTIVE:
            raise InputError(f"the sampler {self.sampler} has one objective and cannot search a front; take nsga2")
        if not 0 <= self.slack <= 1:
            raise InputError(f"slack must be in [0, 1], not {self.slack}")

    @property
    def chosen_sampler(self) -> str:
        """The sampler's name."""
        return self.sampler or ("nsga2" if self.front else "tpe")

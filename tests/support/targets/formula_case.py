"""A model, its space and a target whose latencies are a formula, to be profiled."""

import json

import torch

from autoprune.graph import analyse, cut
from autoprune.hardware import (
    LatencyTable,
    profile,
    width_options,
)
from autoprune.space import Decision, SearchSpace
from tests.support.targets.formula_target import MadeUpTarget

X = torch.zeros(1, 3, 16, 16)


class Case:
    """A model, its space, and a target."""

    def __init__(self, model, target=None) -> None:
        self.target = target or MadeUpTarget()
        self.model = model
        self.analysis = analyse(model, X, validate=False)
        self.space = SearchSpace(
            tuple(Decision(g.name, g.width, width_options(g.width, self.target)) for g in self.analysis.groups),
            model={"sha256": self.analysis.fingerprint["sha256"]},
        )

    def profile(self, **more) -> LatencyTable:
        return profile(self.model, self.analysis, self.space, X, self.target, **more)

    def truth(self, choices) -> float:
        small = cut(self.model, self.analysis, {name: range(kept) for name, kept in choices.items()})
        return json.loads(self.target.pack(small, X))["ms"]

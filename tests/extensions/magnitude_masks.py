"""A technique in one file: of every layer the smallest weights are zero, and stay zero in fine-tuning."""

import copy
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from pydantic import BaseModel, ConfigDict, Field

from autoprune.cost.effects import Effect
from autoprune.space import Decision, DecisionKind, Stage
from autoprune.techniques.base import Offer, Technique
from autoprune.training.constraint import Masks

DENSITY = DecisionKind("density", "share of weights", technique="magnitude", stage=Stage.MASK)


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    levels: int = Field(default=10, ge=2, le=100, description="steps of the kept share")


@dataclass(frozen=True)
class KeptShare:
    levels: int

    def __call__(self, kept, inputs):
        return kept[:, 0] / self.levels


class Magnitude(Technique[None]):
    """A decision keeps so many tenths of one tensor's weights (or of `levels`): those of largest magnitude."""

    name = "magnitude"
    kinds = (DENSITY,)
    stage = Stage.MASK
    settings_class = Settings

    def decisions(self, analysis, limits, grid):
        if DENSITY.name not in limits.chosen:
            return Offer((), {})
        levels = self.settings.levels
        tensors = [name for name, shape in analysis.parameters.items() if len(shape) > 1]
        skipped = {name: f"skipped by {p!r}" for name in tensors for p in limits.skip if fnmatchcase(name, f"{p}.*")}
        found = (Decision(n, levels, tuple(range(1, levels + 1)), DENSITY.name) for n in tensors if n not in skipped)
        return Offer(tuple(found), skipped)

    def record(self, part, fitted):
        return part.model_copy(update={"payload": {"levels": self.settings.levels}})

    def apply(self, model, analysis, part):
        small = copy.deepcopy(model)
        parameters = dict(small.named_parameters())  # those of dropped branches are gone
        with torch.no_grad():
            for name in part.choices.keys() & parameters.keys():
                parameters[name].masked_fill_(~self._mask(parameters[name], part, name), 0)
        return small

    def effects(self, analysis):
        shares = KeptShare(self.settings.levels)  # of the multiplications, as papers count them
        named = {op.node: f"{op.name}.weight" for op in analysis.ops if op.params}
        return {node: Effect((name,), shares) for node, name in named.items() if name in analysis.parameters}

    def constraint(self, model, part):
        parameters = dict(model.named_parameters())
        masks = {name: self._mask(parameters[name], part, name) for name in part.choices.keys() & parameters.keys()}
        return Masks(masks)

    @staticmethod
    def _mask(weight, part, name):
        zeros = int(weight.numel() * (1 - part.choices[name] / part.payload["levels"]))
        order = weight.detach().abs().flatten().argsort(stable=True)
        mask = torch.ones(weight.numel(), dtype=torch.bool)
        mask[order[:zeros]] = False
        return mask.reshape(weight.shape)

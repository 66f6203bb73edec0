"""N:M sparsity: of every M neighbours along a layer's inputs, N weights stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import nn

from autoprune.cost.effects import Effect
from autoprune.criteria.statistics import gathered
from autoprune.graph import Analysis
from autoprune.graph.surgery.slicer import take
from autoprune.masks.n_of_m import LARGEST_GROUP, NofM
from autoprune.models.copying import duplicate
from autoprune.space import NM, Decision, SpaceConstraints, Stage, TechniquePart
from autoprune.techniques.base import Calibration, Offer, OptionGrid, Slices, Technique
from autoprune.techniques.sparsity.payload import check_payload, group_size, mask_in, masks_in, payload_of
from autoprune.techniques.sparsity.saliency import RankedWeights, pattern_mask, saliencies_of
from autoprune.techniques.sparsity.tensors import Weight, weights_of
from autoprune.training.constraint import Masks, TrainingConstraint

__all__ = ["GroupShare", "NofMSettings", "NofMSparsity"]


class NofMSettings(BaseModel):
    """Settings of N:M sparsity, written behind an @: `nm@m=8+n=2/4`."""

    model_config = ConfigDict(extra="forbid")

    m: int = Field(default=4, ge=2, le=LARGEST_GROUP, description="neighbours along the inputs that make a group")
    n: tuple[int, ...] = Field(default=(), description="weights of a group that may stay, such as 1/2; default 1 to M")

    @field_validator("n", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part for part in value.split("/") if part) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _n_of_m(self) -> NofMSettings:
        wrong = next((n for n in self.n if not 1 <= n <= self.m), None)
        if wrong is not None:
            raise ValueError(f"{wrong} of {self.m} weights cannot stay; write numbers from 1 to {self.m}")
        return self

    @property
    def options(self) -> tuple[int, ...]:
        """Weights of a group that may stay, ascending; the last is whole."""
        return tuple(sorted({*(self.n or range(1, self.m + 1)), self.m}))


@dataclass(frozen=True)
class GroupShare:
    """The share of a layer's multiplications that its kept weights need.

    Attributes:
        m: Weights of a group.
    """

    m: int

    def __call__(self, kept: NDArray[np.int64], inputs: NDArray[np.int64]) -> NDArray[np.float64]:
        """Kept weights of a group, (policies, 1), and inputs of each output, (policies,), to shares, (policies,)."""
        whole, rest = np.divmod(inputs, self.m)
        stay = whole * kept[:, 0] + np.minimum(rest, kept[:, 0])
        shares: NDArray[np.float64] = stay / np.maximum(inputs, 1)
        return shares


class NofMSparsity(Technique[RankedWeights]):
    """A decision keeps N of every M weights along the inputs of one tensor: those that the run's criterion ranks first.

    What it learns is the saliency of every weight. A policy records the masks, packed into bits. A policy without masks
    (`space.policy({...})`) keeps the weights of largest magnitude. Where widths are cut as well, masks are chosen on
    what is left; a layer left with N inputs or fewer is then dense.
    """

    name = "nm"
    kinds = (NM,)
    stage = Stage.MASK
    settings_class: ClassVar[type[BaseModel]] = NofMSettings

    def decisions(self, analysis: Analysis, limits: SpaceConstraints, grid: OptionGrid) -> Offer:
        """One for every weight that has more inputs than a group keeps."""
        if NM.name not in limits.chosen:
            return Offer(())
        known = weights_of(analysis)
        refused, found = dict(known.refused), []
        for weight in known.weights.values():
            options, reason = self._options(weight, limits)
            if reason is None:
                found.append(Decision(weight.name, self.settings.m, options, NM.name))
            else:
                refused[weight.name] = reason
        return Offer(tuple(found), refused)

    def _options(self, weight: Weight, limits: SpaceConstraints) -> tuple[tuple[int, ...], str | None]:
        """The options of a weight's decision, or why there is none."""
        skip = next((pattern for pattern in limits.skip if _touches(weight, pattern)), None)
        if skip is not None:
            return (), f"skipped by {skip!r}"
        m = self.settings.m
        least = max([m * (1 - share) for pattern, share in limits.caps if _touches(weight, pattern)], default=0.0)
        wanted = [n for n in self.settings.options if n == m or n >= least - 1e-9]
        reasons = {n: NofM(n, m).why_not(weight.shape) for n in wanted}
        options = tuple(n for n in wanted if reasons[n] is None)
        if options == (m,):
            return (), next((reason for reason in reasons.values() if reason), "a cap leaves it whole")
        return options, None

    def fit(self, model: nn.Module, analysis: Analysis, calibration: Calibration) -> RankedWeights:
        """Saliencies of the dense network's weights, by the run's criterion."""
        weights, criterion = weights_of(analysis).weights, calibration.criterion
        known = gathered(model, calibration.batches, criterion.needs, calibration.loss, calibration.reader)
        return RankedWeights(weights, saliencies_of(model, weights, criterion, known))

    def follow(self, fitted: RankedWeights, slices: Slices) -> RankedWeights:
        """The saliencies of the weights that a cut has left."""
        left = {name: take(saliency, slices.get(name, ())) for name, saliency in fitted.saliencies.items()}
        return replace(fitted, saliencies=left)

    def record(self, part: TechniquePart, fitted: RankedWeights | None) -> TechniquePart:
        """The part with its masks, if the saliencies are known."""
        if fitted is None or part.payload:
            return part
        m = self.settings.m
        masks = {name: fitted.mask(name, NofM(n, m)) for name, n in part.choices.items() if name in fitted.weights}
        kept = {name: mask for name, mask in masks.items() if mask is not None}
        return part.model_copy(update={"payload": payload_of(m, kept)})

    def check(self, analysis: Analysis, part: TechniquePart) -> None:
        """Refuse masks of another model, and damaged ones."""
        check_payload(part, weights_of(analysis).weights, self.settings.m)

    def apply(self, model: nn.Module, analysis: Analysis, part: TechniquePart) -> nn.Module:
        """A copy with zeros; layers of dropped branches are passed over."""
        sparse = duplicate(model)
        parameters, weights = dict(sparse.named_parameters()), weights_of(analysis).weights
        m = group_size(part, self.settings.m)
        for name in part.choices.keys() & parameters.keys():
            tensor, pattern = parameters[name].detach(), NofM(part.choices[name], m)
            mask = mask_in(part, weights[name], tensor, pattern)
            if mask is None and not part.payload.get("masks"):
                mask = pattern_mask(weights[name], tensor.abs(), pattern)
            if mask is not None:
                tensor.masked_fill_(~mask.to(tensor.device), 0)
        return sparse

    def effects(self, analysis: Analysis) -> Mapping[str, Effect]:
        """Every operator multiplies with the kept weights only, as papers count it."""
        share = GroupShare(self.settings.m)
        weights = weights_of(analysis).weights.values()
        return {node: Effect((weight.name,), share) for weight in weights for node in weight.nodes}

    def constraint(self, model: nn.Module, part: TechniquePart) -> TrainingConstraint | None:
        """Masked weights stay zero."""
        parameters = dict(model.named_parameters())
        pruned = [name for name in part.choices if name in parameters]
        return Masks({name: masks_in(part, name, parameters[name]) for name in pruned})


def _touches(weight: Weight, pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in (weight.name, weight.layer))

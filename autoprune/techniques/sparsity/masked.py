"""What all techniques have in common that set single weights to zero: a pattern for each tensor, and its mask."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from autoprune.cost.effects import Effect
from autoprune.criteria.statistics import gathered
from autoprune.graph import Analysis
from autoprune.graph.surgery.slicer import take
from autoprune.masks.base import Pattern
from autoprune.masks.packing import packed
from autoprune.models.copying import duplicate
from autoprune.space import Decision, DecisionKind, SpaceConstraints, Stage, TechniquePart
from autoprune.techniques.base import Calibration, Offer, OptionGrid, Slices, Technique
from autoprune.techniques.sparsity.payload import check_masks, mask_in, masks_in
from autoprune.techniques.sparsity.saliency import RankedWeights, pattern_mask, saliencies_of
from autoprune.techniques.sparsity.tensors import Weight, weights_of
from autoprune.training.constraint import Masks, TrainingConstraint

__all__ = ["MaskTechnique", "Share"]

Share = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]
"""Kept units (policies, 1), and inputs of each output (policies,), to the work that is left, (policies,)."""


class MaskTechnique(Technique[RankedWeights]):
    """A decision says how much of one tensor stays; the run's criterion ranks its weights.

    What it learns is the saliency of every weight. A policy records the masks, packed into bits; one without masks
    (`space.policy({...})`) keeps the weights of largest magnitude. Where widths are cut as well, masks are chosen on
    what is left. A weight that cannot have the pattern then is dense.

    Attributes:
        kind: Of its decisions.
        exact: Whether a recorded mask must keep the pattern of its choice, so that a damaged one is seen.
    """

    kind: ClassVar[DecisionKind]
    stage = Stage.MASK
    exact: ClassVar[bool] = True

    @abstractmethod
    def options_of(self, weight: Weight) -> tuple[int, ...]:
        """What the decision on a weight may keep, ascending; the last is whole."""

    @abstractmethod
    def head(self) -> dict[str, Any]:
        """What a policy must say of the settings to be carried out again, as JSON values."""

    @abstractmethod
    def width_of(self, weight: Weight, head: Mapping[str, Any]) -> int:
        """The units that are whole of a weight, by a policy's head; the settings' own where it says nothing.

        Raises:
            PolicyMismatchError: If the head is damaged.
        """

    @abstractmethod
    def pattern(self, weight: Weight, kept: int, head: Mapping[str, Any]) -> Pattern:
        """The pattern of a weight of which so much stays; see `width_of` for the head."""

    @abstractmethod
    def share(self, weight: Weight) -> Share:
        """How much of the work is left of an operator that reads a weight."""

    def stored(self) -> Share | None:
        """How much of a weight's bytes a file holds; default all."""
        return None

    def decisions(self, analysis: Analysis, limits: SpaceConstraints, grid: OptionGrid) -> Offer:
        """One for every weight that has more inputs than a group keeps."""
        if self.kind.name not in limits.chosen:
            return Offer(())
        known, widths = weights_of(analysis), {group.name for group in analysis.groups}
        refused, found = dict(known.refused), []
        for weight in known.weights.values():
            options, reason = self._options(weight, limits)
            if weight.name in widths:  # a plain parameter, whose outputs are a width of the same name
                reason = "a width that can be pruned is called the same; make it the weight of a linear layer"
            if reason is None:
                found.append(Decision(weight.name, options[-1], options, self.kind.name))
            else:
                refused[weight.name] = reason
        return Offer(tuple(found), refused)

    def _options(self, weight: Weight, limits: SpaceConstraints) -> tuple[tuple[int, ...], str | None]:
        """The options of a weight's decision, or why there is none."""
        skip = next((pattern for pattern in limits.skip if _touches(weight, pattern)), None)
        if skip is not None:
            return (), f"skipped by {skip!r}"
        *amounts, whole = self.options_of(weight)
        if not amounts:
            return (), self.pattern(weight, 1, {}).why_not(weight.shape) or "its groups are of one unit"
        least = max([whole * (1 - share) for pattern, share in limits.caps if _touches(weight, pattern)], default=0.0)
        wanted = [kept for kept in amounts if kept >= least - 1e-9]
        reasons = {kept: self.pattern(weight, kept, {}).why_not(weight.shape) for kept in wanted}
        options = tuple(kept for kept in wanted if reasons[kept] is None)
        if not options:
            return (), next((reason for reason in reasons.values() if reason), "a cap leaves it whole")
        return (*options, whole), None

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
        masks = {name: self._mask(fitted, part, name) for name in part.choices if name in fitted.weights}
        kept = {name: packed(mask) for name, mask in masks.items() if mask is not None}
        return part.model_copy(update={"payload": self.head() | {"masks": kept}})

    def _mask(self, fitted: RankedWeights, part: TechniquePart, name: str) -> Tensor | None:
        kept, weight = part.choices[name], fitted.weights[name]
        whole = kept == self.options_of(weight)[-1]
        return None if whole else fitted.mask(name, self.pattern(weight, kept, self.head()))

    def check(self, analysis: Analysis, part: TechniquePart) -> None:
        """Refuse masks of another model, and damaged ones."""
        check_masks(part, weights_of(analysis).weights, partial(self.width_of, head=part.payload))

    def apply(self, model: nn.Module, analysis: Analysis, part: TechniquePart) -> nn.Module:
        """A copy with zeros; layers of dropped branches are passed over."""
        sparse = duplicate(model)
        parameters, weights = dict(sparse.named_parameters()), weights_of(analysis).weights
        for name in part.choices.keys() & parameters.keys():
            tensor, pattern = parameters[name].detach(), self._pattern(part, weights[name])
            mask = mask_in(part, weights[name], tensor, pattern if self.exact else None)
            if mask is None and not part.payload.get("masks") and pattern is not None:
                mask = pattern_mask(weights[name], tensor.abs(), pattern)
            if mask is not None:
                tensor.masked_fill_(~mask.to(tensor.device), 0)
        return sparse

    def _pattern(self, part: TechniquePart, weight: Weight) -> Pattern | None:
        kept = part.choices[weight.name]
        return None if kept == self.width_of(weight, part.payload) else self.pattern(weight, kept, part.payload)

    def effects(self, analysis: Analysis) -> Mapping[str, Effect]:
        """Every operator multiplies with the kept weights only, as papers count it."""
        stored = self.stored()
        priced = [(weight, self.share(weight)) for weight in weights_of(analysis).weights.values()]
        return {node: Effect((weight.name,), share, stored=stored) for weight, share in priced for node in weight.nodes}

    def constraint(self, model: nn.Module, part: TechniquePart) -> TrainingConstraint | None:
        """Masked weights stay zero."""
        parameters = dict(model.named_parameters())
        pruned = [name for name in part.choices if name in parameters]
        return Masks({name: masks_in(part, name, parameters[name]) for name in pruned})


def _touches(weight: Weight, pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in (weight.name, weight.layer))

"""Structured pruning as a technique: narrower layers, heads and streams, dropped residual branches."""

from __future__ import annotations

from torch import nn

from autoprune.criteria.ranking import Ranking, ranking
from autoprune.graph import Analysis, Selector, cut
from autoprune.hardware import Target
from autoprune.space import KINDS, STRUCTURED, SpaceConstraints, Stage, TechniquePart
from autoprune.techniques.base import Calibration, Candidates, Offer, OptionGrid, Technique
from autoprune.techniques.structured.apply import check_part
from autoprune.techniques.structured.pretrained_config import follow_config
from autoprune.techniques.structured.space import offered

__all__ = ["Structured"]


class Structured(Technique[Ranking]):
    """Removes the least important units of every coupled group, with whatever reads or normalises them.

    What it learns is a `Ranking`; a policy records the units that are kept. Widths price themselves: no effects.
    """

    name = STRUCTURED
    kinds = tuple(KINDS.get(kind) for kind in ("channels", "heads", "head_size", "ffn", "embedding", "block"))
    stage = Stage.SHAPE

    def decisions(self, analysis: Analysis, limits: SpaceConstraints, grid: OptionGrid) -> Offer:
        """One for every coupled group of units, and if wanted for every residual branch."""
        return offered(analysis, limits, grid)

    def fit(self, model: nn.Module, analysis: Analysis, calibration: Calibration) -> Ranking:
        """Units by importance, by the run's criterion."""
        known = (calibration.batches, calibration.loss, calibration.reader)
        return ranking(model, analysis, calibration.criterion, *known)

    def record(self, part: TechniquePart, fitted: Ranking | None) -> TechniquePart:
        """The part with the indices of the kept units, if they are known."""
        if part.kept is not None or fitted is None:
            return part
        return part.model_copy(update={"kept": fitted.kept(part.choices)})

    def check(self, analysis: Analysis, part: TechniquePart) -> None:
        """Refuse widths and branches that another model has."""
        check_part(analysis, part)

    def apply(self, model: nn.Module, analysis: Analysis, part: TechniquePart) -> nn.Module:
        """The raw cut; a part that names no units keeps the first ones of each group."""
        return cut(model, analysis, part.kept or {name: range(units) for name, units in part.choices.items()})

    def candidates(self, model: nn.Module, analysis: Analysis, fitted: Ranking | None) -> Candidates:
        """A shell that is dressed as one cut after the other, a millisecond each."""
        return _Selected(Selector(model, analysis), fitted or Ranking())

    def deploy(
        self, model: nn.Module, analysis: Analysis, part: TechniquePart, target: Target | None = None
    ) -> nn.Module:
        """The config of a `transformers` model says its new widths, where one config can."""
        follow_config(model, analysis, part.choices)
        return model


class _Selected:
    """Candidates of a ranking."""

    def __init__(self, selector: Selector, order: Ranking) -> None:
        self._selector, self._order = selector, order

    def select(self, part: TechniquePart) -> nn.Module:
        return self._selector.select(self._order.kept(part.choices))

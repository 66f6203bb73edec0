"""The contract of a technique: one way of making a network cheaper, which a search can choose the amount of.

The life of a technique in a run:

1. `decisions` says what it could do to the analysed dense network, and what it refuses, and why. The decisions of all
   techniques of a run make one search space; options are always kept units, ascending, and the last is whole.
2. `fit` learns once, from the trained dense network and calibration data, whatever it needs to carry decisions out.
3. For every policy, the techniques are applied in the order of their stages, each to the network that the one before
   gave. `record` first completes what a policy says of a technique (which units are kept, a payload) from what `fit`
   learned, which `follow` carries over to narrower layers. Then `apply` needs nothing but the dense weights: a policy's
   file rebuilds the network. Searches go through `candidates`, which the first technique may answer faster than by
   `apply`.
4. `constraint` says what fine-tuning must keep, and `effects` what cost models should know.
5. `deploy` makes the finished network ready to hand over.

A technique is one file: a `DecisionKind` for each kind of its decisions, and a class. It is found by its name in
`--techniques`, through the entry points `autoprune.techniques`, or as `package.module:Class`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel
from torch import Tensor, nn

from autoprune.cost.effects import Effect
from autoprune.criteria.base import Criterion
from autoprune.criteria.statistics import BatchLoss
from autoprune.graph import Analysis
from autoprune.hardware import Target
from autoprune.hardware.grid.widths import MOST_OPTIONS, Grid, width_options
from autoprune.models.inputs.reader import AS_IT_COMES, BatchReader
from autoprune.space import Decision, DecisionKind, SpaceConstraints, Stage, TechniquePart
from autoprune.training.constraint import TrainingConstraint

__all__ = ["Calibration", "Candidates", "Effect", "Offer", "OptionGrid", "Slices", "Technique"]

Fitted = TypeVar("Fitted")

Slices = Mapping[str, Sequence[tuple[int, Tensor]]]
"""Name of a tensor -> [(dimension, positions)] of the dense one that a cut has left."""


@dataclass(frozen=True)
class OptionGrid:
    """Which widths a target likes.

    Attributes:
        grid: The channel multiple, and how far it may be halved for narrow layers.
        most: Most options of one decision; None for no bound.
    """

    grid: Grid
    most: int | None = MOST_OPTIONS

    @classmethod
    def of(cls, target: Target | None, granularity: int | Grid | None = None) -> OptionGrid:
        """The grid of a target, or the one that the user asked for.

        Raises:
            InputError: If the granularity is below 1.
        """
        return cls(Grid.of(target, granularity), None if target is None else MOST_OPTIONS)

    def options(self, width: int, positions: int = 1, multiple: int | None = None) -> tuple[int, ...]:
        """Allowed kept units, ascending; the last is `width`.

        Args:
            width: Units of the dense network.
            positions: Channels of one unit.
            multiple: A channel multiple to use instead of the grid's.
        """
        return width_options(width, None, self.grid if multiple is None else multiple, self.most, positions=positions)


@dataclass(frozen=True)
class Offer:
    """What a technique could do to a network.

    Attributes:
        decisions: In forward order.
        refused: Layer or decision -> why it stays as it is.
        ties: Decision that covers several -> {name: its units for one unit of the decision}.
        behind: Decision -> the one of another technique behind which it is taken. What is priced together is best
            taken together: then the cheapest way to finish a policy is found by small tables.
    """

    decisions: tuple[Decision, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    ties: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    behind: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Calibration:
    """What a technique may learn from.

    Attributes:
        criterion: What ranks units or weights in this run.
        batches: (images, labels) of the training distribution, without augmentation; may be gone through again.
        loss: Of (model output, batch); None for cross-entropy.
        reader: Which parts of a batch are the inputs.
    """

    criterion: Criterion
    batches: Iterable[Any] = ()
    loss: BatchLoss | None = None
    reader: BatchReader = AS_IT_COMES


class Candidates(Protocol):
    """One network after the other, for a search; the network that was given before may be reused for the next."""

    def select(self, part: TechniquePart) -> nn.Module:
        """The network that a technique makes of the dense one.

        Args:
            part: Its choices, not yet recorded.
        """


class Technique(ABC, Generic[Fitted]):
    """One way of making a network cheaper.

    Args:
        settings: An instance of the class's `settings`; None for its defaults.

    Attributes:
        name: What `--techniques` and policies call it.
        kinds: The kinds of its decisions; each names this technique and its stage.
        stage: When it is applied: GRAPH < SHAPE < MASK < FORMAT.
        settings_class: Its own settings, written behind an @ (`magnitude@levels=4`); None where it has none.
    """

    name: ClassVar[str]
    kinds: ClassVar[tuple[DecisionKind, ...]]
    stage: ClassVar[Stage]
    settings_class: ClassVar[type[BaseModel] | None] = None

    def __init__(self, settings: BaseModel | None = None) -> None:
        made = None if self.settings_class is None else self.settings_class()
        self.settings: Any = made if settings is None else settings

    @abstractmethod
    def decisions(self, analysis: Analysis, limits: SpaceConstraints, grid: OptionGrid) -> Offer:
        """What it could do.

        Args:
            analysis: Of the dense network; `parameters` names its tensors with their shapes.
            limits: What the user wants of the space: `skip`, `kinds`, `cap`, `tie` are to be heeded.
            grid: The widths that the target likes.

        Raises:
            InputError: If a wish cannot be met.
        """

    @abstractmethod
    def apply(self, model: nn.Module, analysis: Analysis, part: TechniquePart) -> nn.Module:
        """A new network; `model` stays as it is.

        Args:
            model: What the techniques of earlier stages made of the dense network: names of parameters are the dense
                network's, shapes may be smaller.
            analysis: Of the dense network.
            part: What the policy says of this technique, recorded.
        """

    def refusal(self, target: Target, budgets: Collection[str]) -> str | None:
        """Why it cannot serve a run, asked before anything is measured; None, the default, where it can.

        Args:
            target: Where networks are timed.
            budgets: The kinds of the run's budgets; empty where there is none.
        """
        return None

    def fit(self, model: nn.Module, analysis: Analysis, calibration: Calibration) -> Fitted | None:
        """What has to be learned once from the trained dense network, which stays as it is; default nothing."""
        return None

    def record(self, part: TechniquePart, fitted: Fitted | None) -> TechniquePart:
        """The part with all that `apply` needs: `kept`, `payload`; default as it is."""
        return part

    def follow(self, fitted: Fitted, slices: Slices) -> Fitted:
        """What was learned of the dense network, for one that techniques of earlier stages have cut; default as it is.

        `record` is handed the answer. A technique that keeps something for each weight slices it here.

        Args:
            fitted: What `fit` gave.
            slices: Tensor name -> [(dimension, kept positions)]; tensors that are whole are missing.
        """
        return fitted

    def check(self, analysis: Analysis, part: TechniquePart) -> None:
        """Refuse a part that was made for another model, or is damaged; default nothing.

        Raises:
            PolicyMismatchError: Naming what differs.
        """

    def candidates(self, model: nn.Module, analysis: Analysis, fitted: Fitted | None) -> Candidates:
        """The search's fast path, asked of the first technique of a run only; default applies each part."""
        return _AppliedOneByOne(self, model, analysis, fitted)

    def settled(self, analysis: Analysis, choices: Mapping[str, int]) -> dict[str, int]:
        """Its choices as they are carried out, where some of them come to the same network; default as they are.

        Latency tables are fitted on, and judged by, such choices alone.
        """
        return dict(choices)

    def effects(self, analysis: Analysis) -> Mapping[str, Effect]:
        """Graph node -> what changes in its price beside the widths, which price themselves; default nothing.

        Without a price, what a technique removes saves nothing, and a search has no reason to choose it.
        """
        return {}

    def constraint(self, model: nn.Module, part: TechniquePart) -> TrainingConstraint | None:
        """What training must keep of a network that `apply` gave; default nothing."""
        return None

    def deploy(
        self, model: nn.Module, analysis: Analysis, part: TechniquePart, target: Target | None = None
    ) -> nn.Module:
        """The network as it is handed over, in place or anew: other kernels where the target is faster with them.

        Args:
            model: What all techniques gave, fine-tuned or not.
            analysis: Of the dense network.
            part: What the policy says of this technique.
            target: Where it will run, if that is known.
        """
        return model


class _AppliedOneByOne(Generic[Fitted]):
    """Candidates of a technique that has no faster way."""

    def __init__(
        self, technique: Technique[Fitted], model: nn.Module, analysis: Analysis, fitted: Fitted | None
    ) -> None:
        self._technique, self._model, self._analysis, self._fitted = technique, model, analysis, fitted

    def select(self, part: TechniquePart) -> nn.Module:
        return self._technique.apply(self._model, self._analysis, self._technique.record(part, self._fitted))

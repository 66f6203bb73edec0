"""How a network comes by its zeros: recipes, each of which leaves a network that keeps its pattern, and the masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from autoprune.masks.assigned import masks_of
from autoprune.masks.base import Pattern, ShareOfZeros
from autoprune.masks.n_of_m import NofM
from autoprune.models.copying import duplicate
from autoprune.pipeline.finish.fine_tuning import train_small
from autoprune.pipeline.finish.keeping import better_of
from autoprune.pipeline.finish.lengths import final_epochs
from autoprune.pipeline.jobs.sparsify.chosen import ChosenWeights, magnitude_masks
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.reporter import Reporter
from autoprune.reconstruction.batch_norm import reestimate_batch_norm
from autoprune.reconstruction.layerwise import prune_layers
from autoprune.reconstruction.refit import first_images
from autoprune.run.trainings import TrainingOutcome
from autoprune.training import TrainSettings
from autoprune.training.constraint import Masks, SteppingConstraint, TrainingConstraint
from autoprune.training.epochs import InEpochs
from autoprune.training.sparse.regularised import PullToPattern
from autoprune.training.sparse.sr_ste import StraightThrough

__all__ = ["RECIPES", "Pruned", "Work", "masked", "one_shot", "trained_under", "with_masks"]

FROM_SCRATCH = "sr-ste"
"""The recipe that trains a network which came without weights from scratch."""


@dataclass(frozen=True, eq=False)
class Pruned:
    """A network with zeros.

    Attributes:
        network: It keeps its pattern.
        masks: Name of a weight -> bool: which of its elements may be something else than zero.
        notes: Name of a weight -> what was done otherwise than meant.
    """

    network: nn.Module
    masks: Mapping[str, Tensor]
    notes: Mapping[str, str]


@dataclass(frozen=True)
class Work:
    """What a recipe is handed.

    Attributes:
        problem: The trained dense network, its data, its run.
        chosen: The weights that get masks.
        reporter: Shows progress.
        fresh: The network as it was before its training; None if it came trained.
        given: Masks that exist already; None for the run's criterion to choose them.
    """

    problem: Problem
    chosen: ChosenWeights
    reporter: Reporter
    fresh: nn.Module | None = None
    given: Mapping[str, Tensor] | None = None

    @property
    def epochs(self) -> int:
        """Of the training after the mask."""
        return final_epochs(self.problem.experiment, self.problem.task.data)

    def trained(
        self, network: nn.Module, name: str, settings: TrainSettings, constraint: TrainingConstraint, what: str
    ) -> nn.Module:
        """Train a network in place, unless the run has its weights already."""
        batches = InEpochs(self.problem.task.data.train, first=(settings.seed + 1) * 100_003)
        return train_small(self.problem, network, name, settings, batches, self.reporter, what, constraint)

    def better_of(self, name: str, before: Pruned, after: Pruned) -> tuple[Pruned, TrainingOutcome | None]:
        """What is kept of a training (see `keeping.better_of`): after it, unless that lost score; what it did.

        Training from scratch starts from no network that could be kept.
        """
        scratch = self.fresh is not None and self.problem.experiment.sparse_recipe == FROM_SCRATCH
        if scratch or self.epochs == 0:
            return after, None
        pair, seed = (before.network, after.network), self.problem.experiment.seed
        kept = better_of(self.problem, f"sparse {name}", seed, *pair, self.reporter, f"training under {name} masks")
        return (after if kept.network is after.network else before), kept.outcome

    def finetune(self, epochs: int) -> TrainSettings:
        """The run's recipe of fine-tuning."""
        return self.problem.recipe.finetune(epochs, self.problem.experiment.seed)


def masked(work: Work) -> Pruned:
    """The dense network under its masks, not trained: given ones, the criterion's, or SparseGPT's with new weights."""
    problem, assigned = work.problem, work.chosen.assigned
    network = duplicate(problem.task.model)
    if work.given is not None:
        return with_masks(network, work.given)
    if problem.experiment.weight_update == "sparsegpt":
        with work.reporter.stage("calibrate", "SparseGPT: pruning layer by layer"):
            calls = (problem.task.reader.call(network, batch) for batch in problem.task.data.calibration)
            found = prune_layers(network, first_images(calls), assigned)
        for name, note in found.notes.items():
            work.reporter.say(f"{name}: {note}")
        return Pruned(network, found.masks, found.notes)
    fitted = problem.stack.fitted[problem.stack.techniques[0].name]
    return with_masks(network, masks_of(assigned, fitted.saliencies))


def with_masks(network: nn.Module, masks: Mapping[str, Tensor]) -> Pruned:
    """A network with its weights masked in place."""
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            parameters[name].masked_fill_(~mask.to(parameters[name].device), 0)
    return Pruned(network, dict(masks), {})


def one_shot(work: Work, start: Pruned) -> Pruned:
    """No training: BatchNorm's statistics are re-estimated under the masks, weights stay."""
    network = duplicate(start.network)
    reestimate_batch_norm(network, work.problem.task.data.calibration, reader=work.problem.task.reader)
    return replace(start, network=network)


def _asp(work: Work, start: Pruned) -> Pruned:
    """Mask once, then train with the mask fixed and a fresh optimiser (Mishra et al., 2021, section 4)."""
    network = one_shot(work, start).network
    what = f"training under the fixed mask {work.chosen.pattern.name}"
    network = work.trained(network, "sparse-asp", work.finetune(work.epochs), Masks(start.masks), what)
    return replace(start, network=network)


def _gradual(work: Work, start: Pruned) -> Pruned:
    """More zeros in every one of several fine-tunings; each chooses its mask by the size of the weights as they are."""
    network, masks = duplicate(work.problem.task.model), dict(start.masks)
    steps = work.problem.experiment.schedule_steps
    stages = _stages(work.chosen.pattern, steps)
    for number, pattern in enumerate(stages):
        assigned = {name: replace(one, pattern=pattern) for name, one in work.chosen.assigned.items()}
        masks = magnitude_masks(replace(work.chosen, assigned=assigned), dict(network.named_parameters()))
        network = with_masks(network, masks).network
        reestimate_batch_norm(network, work.problem.task.data.calibration, reader=work.problem.task.reader)
        epochs = work.epochs * (number + 1) // len(stages) - work.epochs * number // len(stages)
        name, what = f"sparse-gradual-{number}", f"training under {pattern.name}, step {number + 1} of {len(stages)}"
        network = work.trained(network, name, work.finetune(epochs), Masks(masks), what)
    return Pruned(network, masks, {})


def _sr_ste(work: Work, start: Pruned) -> Pruned:
    """SR-STE, from scratch where the network came without weights, else from the dense ones."""
    network, settings = _begun(work)
    settings = replace(settings, distil_weight=0.0, feature_weight=0.0)
    constraint = StraightThrough(network, work.chosen.assigned)
    network = work.trained(network, "sparse-sr-ste", settings, constraint, "training with SR-STE")
    return _largest_kept(work, network)


def _begun(work: Work) -> tuple[nn.Module, TrainSettings]:
    """What SR-STE starts from, and how long it trains: from scratch as the dense network did."""
    if work.fresh is None:
        return duplicate(work.problem.task.model), work.finetune(work.epochs)
    experiment = work.problem.experiment
    epochs = experiment.train_epochs or work.problem.task.data.dense_epochs
    return duplicate(work.fresh), work.problem.recipe.dense(epochs, experiment.seed)


def trained_under(work: Work, name: str, masks: Mapping[str, Tensor]) -> Pruned:
    """A network trained under fixed masks, from the same weights and for as many epochs as the run's recipe trains.

    Args:
        work: With the recipe, which trains something.
        name: Of the baseline.
        masks: Under which it is trained.
    """
    scratch = work.problem.experiment.sparse_recipe == FROM_SCRATCH
    network, settings = _begun(work) if scratch else (duplicate(work.problem.task.model), work.finetune(work.epochs))
    start = with_masks(network, masks)
    if work.fresh is None or not scratch:
        start = one_shot(work, start)
    what, copy = f"training under {name} masks", duplicate(start.network)
    trained = work.trained(copy, f"sparse-{name}", settings, Masks(masks), what)
    return work.better_of(name, start, replace(start, network=trained))[0]


def _regularised(work: Work, start: Pruned) -> Pruned:
    """Half of the epochs pull on the weights that will go; the other half train under the mask that is chosen then."""
    network, first = duplicate(work.problem.task.model), math.ceil(work.epochs / 2)
    pull: SteppingConstraint = PullToPattern(work.chosen.assigned)
    network = work.trained(network, "sparse-pulled", work.finetune(first), pull, "training with a pull to the pattern")
    found = _largest_kept(work, network)
    settings = work.finetune(work.epochs - first)
    network = work.trained(found.network, "sparse-regularised", settings, Masks(found.masks), "training under the mask")
    return replace(found, network=network)


def _largest_kept(work: Work, network: nn.Module) -> Pruned:
    """A network under masks of its own largest weights; where it keeps the pattern already nothing changes."""
    return with_masks(network, magnitude_masks(work.chosen, dict(network.named_parameters())))


def _stages(pattern: Pattern, steps: int) -> list[Pattern]:
    """Patterns on the way, ever sparser, the wanted one last: N goes down, or the share of zeros up as a cubic.

    Zhu and Gupta, To prune, or not to prune, 2017, equation 1.
    """
    if isinstance(pattern, NofM):
        kept = [round(pattern.m - (pattern.m - pattern.n) * (k + 1) / steps) for k in range(steps)]
        return [NofM(n, pattern.m) for n in sorted({*kept, pattern.n}, reverse=True) if n < pattern.m]
    if isinstance(pattern, ShareOfZeros):
        shares = [pattern.zeros * (1 - (1 - (k + 1) / steps) ** 3) for k in range(steps)]
        return [*(replace(pattern, zeros=round(share, 4)) for share in shares[:-1]), pattern]
    return [pattern]


RECIPES: Mapping[str, Callable[[Work, Pruned], Pruned]] = {
    "one-shot": one_shot,
    "asp": _asp,
    "gradual": _gradual,
    FROM_SCRATCH: _sr_ste,
    "regularised": _regularised,
}
"""From the network under its masks, not trained, to the finished one."""

"""The network of all widths that elastic candidates are cut from: trained once a run, resumable."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from autoprune.graph import Analysis
from autoprune.models import read_weights, save_weights
from autoprune.models.copying import duplicate
from autoprune.pipeline.finish.trainings import resume_training, run_training
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.space import SearchSpace
from autoprune.training import Trainer, TrainSettings
from autoprune.training.elastic import AllWidths, Kept, SandwichLoss
from autoprune.training.epochs import InEpochs

__all__ = ["network_of_all_widths", "train_all_widths", "trained_at_widths"]

_NARROWEST = 0.25
"""Share of its units that every decision keeps at least in the training, as in US-Nets."""
_FIRST_EPOCH = 7_000_003  # other orders and augmentations than those of the dense training and of fine-tuning


def network_of_all_widths(model: nn.Module, analysis: Analysis, space: SearchSpace, kept: Kept) -> AllWidths:
    """What is trained: a network that is run at several widths in every step.

    Args:
        model: Trained in place.
        analysis: Its groups.
        space: Its decisions.
        kept: Which units stay at which widths.
    """
    options = {d.name: [o for o in d.options if o >= _NARROWEST * d.width] or [d.options[-1]] for d in space.decisions}
    return AllWidths(model, analysis, kept, options)


def train_all_widths(problem: Problem, reporter: Reporter) -> Mapping[str, Tensor]:
    """Tensors, by name, of a copy of the dense network that was trained at all widths; read back if the run has them.

    The dense network stays as it is. The recipe is that of fine-tuning, without a teacher from outside: the whole
    network teaches its narrow ones.

    Args:
        problem: Its units are ranked.
        reporter: Who watches.
    """
    task, run = problem.task, problem.run
    copy = duplicate(task.model)
    network = network_of_all_widths(copy, problem.analysis, problem.space, problem.kept)
    settings = problem.recipe.plain(problem.experiment.elastic_epochs, problem.experiment.seed)
    path = run.file("checkpoint/elastic.safetensors")
    return read_weights(trained_at_widths(network, copy, task, settings, path, reporter))


def trained_at_widths(
    network: AllWidths, copy: nn.Module, task: Task, settings: TrainSettings, path: Path, reporter: Reporter
) -> Path:
    """The file with a copy's weights after its training at all widths, which is done if the file is not there.

    Args:
        network: The copy, run at all widths.
        copy: Trained in place.
        task: Its data.
        settings: Of the training.
        path: The file; what is unfinished is kept beside it.
        reporter: Shows the stage.
    """
    unfinished = path.with_suffix(".pt")
    if not path.exists():
        batches = InEpochs(task.data.train, first=_FIRST_EPOCH)
        trainer = Trainer(network, batches, settings, loss=SandwichLoss(task.loss), reader=task.reader)
        what = "training a network of all widths"
        with reporter.stage("elastic", what, settings.epochs) as bar:
            resume_training(trainer, unfinished, bar)
            run_training(trainer, unfinished, bar, what, reporter)
        save_weights(copy.state_dict(), path)
    unfinished.unlink(missing_ok=True)  # a kill may have come between the two
    return path

"""Network Slimming of a network that came with weights: a copy is trained, whose scales rank the units."""

from __future__ import annotations

from torch import nn

from autoprune.models import load_weights, save_weights
from autoprune.models.copying import duplicate
from autoprune.pipeline.finish.lengths import final_epochs
from autoprune.pipeline.finish.trainings import resume_training, run_training
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.reporter import Reporter
from autoprune.training import Trainer
from autoprune.training.epochs import InEpochs

__all__ = ["slimmed"]

_EPOCHS_APART = 75_000  # it learns from other orders of the images than fine-tuning


def slimmed(problem: Problem, reporter: Reporter) -> nn.Module:
    """A copy of the dense network, trained for as long as the final fine-tuning with the pull on its scales.

    The dense network itself stays: it is what the report compares, and what is cut. Read back if the run has it.
    """
    task, run = problem.task, problem.run
    path, unfinished = run.file("checkpoint/slimmed.safetensors"), run.file("checkpoint/slimmed.pt")
    copy = duplicate(task.model)
    if path.exists():
        unfinished.unlink(missing_ok=True)
        load_weights(copy, path)
        return copy
    seed = run.experiment.seed
    settings = problem.recipe.slimming(max(1, final_epochs(run.experiment, task.data)), seed)
    batches = InEpochs(task.data.train, first=(seed + 1) * 100_003 + _EPOCHS_APART)
    trainer = Trainer(copy, batches, settings, loss=task.loss, reader=task.reader)
    what = "training a copy for the scales that rank its units"
    with reporter.stage("train", what, settings.epochs) as bar:
        resume_training(trainer, unfinished, bar)
        run_training(trainer, unfinished, bar, what, reporter)
    save_weights(copy.state_dict(), path)
    unfinished.unlink(missing_ok=True)
    return copy

"""Training with integers: the network learns to do without what rounding takes; its ranges stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from autoprune.models import load_weights, save_weights
from autoprune.pipeline.finish.trainings import resume_training, run_training
from autoprune.pipeline.jobs.quantize.choosing import Choice, first_method
from autoprune.pipeline.jobs.quantize.subject import FloatFile, Subject
from autoprune.pipeline.jobs.quantize.trials import Trial, Workbench
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.quantization.fake import FakeQuantized, fake_quantized
from autoprune.quantization.qdq import QuantizationPlan
from autoprune.quantization.scheme import scheme_named
from autoprune.run.experiment import Experiment
from autoprune.training import Trainer, TrainSettings
from autoprune.training.constraint import Masks
from autoprune.training.epochs import InEpochs
from autoprune.training.recipe import Recipe

__all__ = ["AfterTraining", "trained"]

_SHARE = 0.05
"""Of fine-tuning's learning rate: BatchNorm is folded, and weights are to move by steps of their integers."""


@dataclass(frozen=True, eq=False)
class AfterTraining:
    """What training with integers came to.

    Attributes:
        file: The float32 file with the trained weights.
        trial: Types and ranges, with the score of the trained network.
        epochs: How long.
        before: Score on the search split before.
        kept: Whether it is not worse than what was chosen without training.
    """

    file: FloatFile
    trial: Trial
    epochs: int
    before: float
    kept: bool

    def to_json(self) -> dict[str, Any]:
        """As the report has it."""
        return {"epochs": self.epochs, "before": self.before, "after": self.trial.score, "kept": self.kept}


def trained(bench: Workbench, subject: Subject, choice: Choice, reporter: Reporter) -> AfterTraining:
    """Train every layer with integers of the chosen types, distilled from the dense network; zeros stay zero.

    Args:
        bench: The run's.
        subject: The networks before.
        choice: Made without training.
        reporter: Shows progress.

    Raises:
        UnsupportedModelError: If the file's operators cannot be found in the network's graph.
    """
    experiment, task = bench.run.experiment, bench.task
    start = Trial(choice.trial.scheme, choice.trial.method)
    if choice.trial.float_layers:
        start = replace(start, method=first_method(experiment.ranges))
    plan = QuantizationPlan(scheme_named(start.scheme), bench.ranges[start.method])
    network = fake_quantized(subject.network, task.example, bench.file.model, plan)
    settings = _settings(experiment, task, bench.file)
    path, unfinished = bench.run.file("checkpoint/qat.safetensors"), bench.run.file("checkpoint/qat.pt")
    if path.exists():
        load_weights(network, path)
    else:
        batches = InEpochs(task.data.train, first=(settings.seed + 1) * 100_003)
        weight = settings.distil_weight if task.loss is None else 0.0
        settings = replace(settings, distil_weight=weight)
        masks = Masks(_zeros(network))
        trainer = Trainer(network, batches, settings, teacher=subject.dense, loss=task.loss, constraint=masks,
                          reader=task.reader)  # fmt: skip
        with reporter.stage("finetune", "training with integers", settings.epochs) as bar:
            resume_training(trainer, unfinished, bar)
            run_training(trainer, unfinished, bar, "training with integers", reporter)
        save_weights(network.state_dict(), path)
        unfinished.unlink(missing_ok=True)
    model = network.into(bench.file.model)
    file = replace(bench.file, model=model, content=model.SerializeToString(deterministic=True))
    return _judged(replace(bench, file=file), start, choice, settings.epochs, reporter)


def _judged(bench: Workbench, start: Trial, choice: Choice, epochs: int, reporter: Reporter) -> AfterTraining:
    def score() -> dict[str, Any]:
        with reporter.stage("search", "scoring the network that was trained with integers"):
            return bench.scored(start).to_json()

    after = Trial.from_json(bench.run.once("quantize trained", score))
    spec, best = bench.task.scored_as, float(choice.trial.score or 0.0)
    kept = spec.merit(float(after.score or 0.0)) >= spec.merit(best)
    return AfterTraining(bench.file, after, epochs, best, kept)


def _settings(experiment: Experiment, task: Task, file: FloatFile) -> TrainSettings:
    attention = any(node.op_type == "Softmax" for node in file.model.graph.node)
    recipe = Recipe.chosen(experiment, attention=attention)
    epochs = experiment.finetune_epochs
    epochs = max(1, task.data.dense_epochs // 10) if epochs is None else epochs
    own = recipe.plain(epochs, experiment.seed)
    rate = own.lr if experiment.lr is not None or own.lr is None else own.lr * _SHARE
    return replace(own, lr=rate, bf16=False, channels_last=False)


def _zeros(network: FakeQuantized) -> Mapping[str, Tensor]:
    """Weights of layers that have zeros -> where they may be something else."""
    own: Mapping[str, nn.Parameter] = dict(network.named_parameters())
    names = [weight for weight, _ in network.weights.values()]
    return {name: own[name].detach() != 0 for name in names if bool((own[name] == 0).any())}

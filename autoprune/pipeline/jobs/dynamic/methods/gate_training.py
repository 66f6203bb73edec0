"""The training of a network together with its gates, once a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from autoprune.dynamic_networks.flow import Flow
from autoprune.gating.gate import BlockGate
from autoprune.gating.training import GateLoss
from autoprune.models import load_weights, save_weights
from autoprune.pipeline.finish.trainings import resume_training, run_training
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.training import Trainer, TrainSettings
from autoprune.training.epochs import InEpochs
from autoprune.training.trainer import count_batches

__all__ = ["TrainedGates", "trained_together"]

_FIRST_EPOCH = 9_000_003  # other orders and augmentations than those of other trainings


@dataclass(frozen=True, eq=False)
class TrainedGates:
    """The network that was trained with its gates."""

    model: nn.Module
    flow: Flow
    gates: list[BlockGate]


def trained_together(
    task: Task,
    run: RunDir,
    fresh: TrainedGates,
    network: Callable[[int], nn.Module],
    loss: GateLoss,
    reporter: Reporter,
) -> TrainedGates:
    """Train a network and its gates, once a run; read back if the run has them.

    Args:
        task: The dense network's data.
        run: Its settings.
        fresh: The copy that is trained in place, its graph, and its gates.
        network: Gives what is trained in so many steps, around that graph and these gates.
        loss: Of its outputs.
        reporter: Shows the stage.
    """
    path = run.file("checkpoint/gates.safetensors")
    both = nn.ModuleDict({"network": fresh.flow.module, "gates": nn.ModuleList(fresh.gates)})
    if not path.exists():
        settings = _settings(run)
        made = network(settings.epochs * (count_batches(task.data.train) or 1))
        batches = InEpochs(task.data.train, first=_FIRST_EPOCH)
        _train(Trainer(made, batches, settings, loss=loss, reader=task.reader), path.with_suffix(".pt"), reporter)
        save_weights(both.state_dict(), path)
    path.with_suffix(".pt").unlink(missing_ok=True)  # a kill may have come between the two
    load_weights(both, path)
    with torch.no_grad():
        for name, parameter in fresh.flow.module.named_parameters():
            fresh.model.get_parameter(name).copy_(parameter)
    return TrainedGates(fresh.model, fresh.flow, [gate.eval() for gate in fresh.gates])


def _settings(run: RunDir) -> TrainSettings:
    """Of a network that is trained already: AdamW at a rate that its gates learn at, too."""
    return TrainSettings(
        epochs=run.experiment.dynamic_epochs,
        optimizer="adamw",
        lr=1e-3,
        weight_decay=0.01,
        warmup_epochs=0.5,
        label_smoothing=0.0,
        seed=run.experiment.seed,
    )


def _train(trainer: Trainer, unfinished: Path, reporter: Reporter) -> None:
    what = "training the network with its gates"
    with reporter.stage("train", what, trainer.settings.epochs) as bar:
        resume_training(trainer, unfinished, bar)
        run_training(trainer, unfinished, bar, what, reporter)

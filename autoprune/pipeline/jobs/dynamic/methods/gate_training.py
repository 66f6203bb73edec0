"""The training of a network together with its gates, once a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from autoprune.early_exit.flow import Flow, flow_of, sizes_of
from autoprune.early_exit.stages import cut_at, run_stages
from autoprune.foundations.seeding import seeded
from autoprune.gating.blocks import Residual
from autoprune.gating.gate import BlockGate
from autoprune.gating.network import segments_of
from autoprune.gating.sweep import GateTimes
from autoprune.gating.training import GateLoss, SoftSkips
from autoprune.models import load_weights, save_weights
from autoprune.models.copying import duplicate
from autoprune.pipeline.finish.trainings import resume_training, run_training
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.training import Trainer, TrainSettings
from autoprune.training.epochs import InEpochs
from autoprune.training.trainer import count_batches

__all__ = ["TrainedGates", "fresh_gates", "trained_gates"]

_FIRST_EPOCH = 9_000_003  # other orders and augmentations than those of other trainings


@dataclass(frozen=True, eq=False)
class TrainedGates:
    """The network that was trained with its gates."""

    model: nn.Module
    flow: Flow
    gates: list[BlockGate]


def fresh_gates(flow: Flow, blocks: Sequence[Residual], seed: int) -> list[BlockGate]:
    """Gates that have learned nothing, one a block."""
    sizes = {node.name: sizes_of(node) for node in flow.nodes}
    with seeded(seed):
        return [BlockGate(sizes[block.start] or ()) for block in blocks]


def trained_gates(
    task: Task, run: RunDir, dense: Flow, blocks: Sequence[Residual], times: GateTimes, reporter: Reporter
) -> TrainedGates:
    """A copy of the network, trained with gates at some blocks; read back if the run has it.

    Args:
        task: The dense network, which stays as it is, and its data.
        run: Its settings.
        dense: The dense network's graph.
        blocks: With gates.
        times: What skipping each block saves weighs it in the work that is aimed at.
        reporter: Shows the stage.
    """
    copy = duplicate(task.model)
    flow = flow_of(copy, task.example)
    gates = fresh_gates(flow, blocks, run.experiment.seed)
    path = run.file("checkpoint/gates.safetensors")
    both = nn.ModuleDict({"network": flow.module, "gates": nn.ModuleList(gates)})
    if not path.exists():
        whole = cut_at(dense, [])
        settings = _settings(run)
        steps = settings.epochs * (count_batches(task.data.train) or 1)
        segments = segments_of(flow, blocks)
        network = SoftSkips(task.model.forward, flow, segments, gates, lambda flat: run_stages(whole, flat), steps)
        saved = times.saved
        loss = GateLoss(run.experiment.active_share, (saved / saved.sum()).tolist())
        batches = InEpochs(task.data.train, first=_FIRST_EPOCH)
        _train(Trainer(network, batches, settings, loss=loss, reader=task.reader), path.with_suffix(".pt"), reporter)
        save_weights(both.state_dict(), path)
    path.with_suffix(".pt").unlink(missing_ok=True)  # a kill may have come between the two
    load_weights(both, path)
    with torch.no_grad():
        for name, parameter in flow.module.named_parameters():
            copy.get_parameter(name).copy_(parameter)
    return TrainedGates(copy, flow, [gate.eval() for gate in gates])


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

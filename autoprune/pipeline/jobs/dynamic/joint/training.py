"""Widths and heads trained together, distilled from the dense network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.dynamic_networks.batches import labels_of
from autoprune.early_exit.heads import ExitHead, distilled_loss
from autoprune.early_exit.places import Place
from autoprune.models import load_weights, output_of, save_weights
from autoprune.models.copying import duplicate
from autoprune.models.inputs.example import as_example
from autoprune.pipeline.jobs.dynamic.joint.hooks import values_at
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.training import Trainer, TrainSettings
from autoprune.training.epochs import InEpochs

__all__ = ["trained_together"]

_WEIGHT = 0.5  # of all heads together, beside the network's own answer


def trained_together(
    model: nn.Module, places: Sequence[Place], task: Task, settings: TrainSettings, path: Path, reporter: Reporter
) -> nn.Module:
    """Train a cut network so that it answers well at its exits and at its end; heads are trained again afterwards.

    Each answer learns from the labels and from the dense network's answer, half and half as `distil_weight` says.

    Args:
        model: Cut, with the weights that its candidate had; changed in place. It keeps these where the finalists' part
            of the search split is answered worse afterwards.
        places: Where its exits stand.
        task: The dense network, which teaches, and the data.
        settings: Of the training.
        path: Keeps what was trained; read back if it is there.
        reporter: Shows progress.
    """
    if path.exists():
        load_weights(model, path)
        return model.eval()
    teacher, before = duplicate(task.model).eval(), duplicate(model).eval()
    with torch.no_grad(), values_at(model, places) as found:
        logits = output_of(as_example(task.example).run(model.eval()))
        heads = [ExitHead(found[number].shape[1:], logits.shape[1]) for number in range(len(places))]
    own = _as_parameters(heads)
    for name, value in own.items():  # as modules of it, some models would call them
        model.register_parameter(name, value)
    share = settings.distil_weight

    with values_at(model, places) as values:

        def loss(output: Any, batch: Any) -> Tensor:
            with torch.no_grad():
                wanted = output_of(task.reader.call(teacher, batch).run(teacher)).float()
            labels = labels_of(wanted, batch)
            last = distilled_loss(output_of(output), wanted, labels, share)
            early = [distilled_loss(head(values[n].float()), wanted, labels, share) for n, head in enumerate(heads)]
            return last + _WEIGHT * torch.stack(early).mean() if early else last

        plain = replace(settings, distil_weight=0.0, mixup=0.0)
        trainer = Trainer(model, InEpochs(task.data.train), plain, loss=loss, reader=task.reader)
        with reporter.stage("finetune", "widths and exits trained together", settings.epochs) as bar:
            trainer.run(on_epoch=lambda _: bar.update(trainer.epoch))
    for name in own:
        delattr(model, name)
    judged = task.search_parts[1]
    if task.merit(model.eval(), judged) < task.merit(before, judged):
        reporter.say("the network was better before it was trained: its weights stay")
        model.load_state_dict(before.state_dict())
    save_weights(model.state_dict(), path)
    return model.eval()


def _as_parameters(heads: Sequence[ExitHead]) -> dict[str, nn.Parameter]:
    named = (
        (f"exit {number} {name}", each) for number, head in enumerate(heads) for name, each in head.named_parameters()
    )
    return {name.replace(".", " "): each for name, each in named}

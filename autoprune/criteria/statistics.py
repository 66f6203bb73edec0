"""The one pass over calibration data that gathers whatever criteria need, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.criteria.gatherers.base import Gatherer
from autoprune.criteria.gatherers.gradients import Gradients
from autoprune.criteria.gatherers.inputs import Inputs
from autoprune.criteria.gatherers.moments import Moments
from autoprune.criteria.known import Need, TensorStatistics
from autoprune.errors import InputError
from autoprune.foundations.examples import labels_in
from autoprune.foundations.user_code import UserCode, path_of
from autoprune.models.inputs.reader import AS_IT_COMES, BatchReader
from autoprune.models.modes import in_mode
from autoprune.models.outputs import in_float32, moved, output_of
from autoprune.models.own_loss import own_loss
from autoprune.models.precision import device_of

__all__ = ["BatchLoss", "gathered"]

BatchLoss = Callable[[Any, Any], Tensor]
"""Loss of (model output, batch), a scalar."""

_GATHERERS: dict[Need, type[Gatherer]] = {"gradients": Gradients, "inputs": Inputs, "moments": Moments}


def gathered(
    model: nn.Module,
    batches: Iterable[Any],
    needs: Collection[Need],
    loss: BatchLoss | None = None,
    reader: BatchReader = AS_IT_COMES,
) -> dict[str, TensorStatistics]:
    """Statistics of every tensor of weights.

    Args:
        model: Left as it is, gradients included; evaluated in evaluation mode.
        batches: (images, labels) or whatever `loss` understands; gone through once, not at all if nothing is needed.
        needs: `gradients`, `inputs`, `moments`.
        loss: Of (output, batch); cross-entropy if not given.
        reader: Which parts of a batch are the inputs.

    Returns:
        By qualified name of the parameter; empty if nothing is needed.

    Raises:
        InputError: If something is needed and there are no batches.
    """
    if not needs:
        return {}
    device, count = device_of(model), 0
    gatherers = [kind(model) for need, kind in _GATHERERS.items() if need in needs]
    with in_mode(model), ExitStack() as hooks, torch.set_grad_enabled("gradients" in needs):
        for gatherer in gatherers:
            gatherer.watch(hooks)
        for batch in batches:
            batch = moved(batch, device)
            count += 1
            given = reader.call(model, batch)
            with UserCode(f"the network {path_of(model)}"):
                output = given.run(model)
            for gatherer in gatherers:
                gatherer.add(partial(_loss, output, batch, loss))
    if not count:
        raise InputError("there are no calibration images to gather the criterion's statistics on")
    return _merged([gatherer.statistics(count) for gatherer in gatherers])


def _merged(parts: Iterable[Mapping[str, TensorStatistics]]) -> dict[str, TensorStatistics]:
    found: dict[str, TensorStatistics] = {}
    for part in parts:
        for name, own in part.items():
            known = {field.name: value for field in fields(own) if (value := getattr(own, field.name)) is not None}
            found[name] = replace(found.get(name, TensorStatistics()), **known)
    return found


def _loss(output: Any, batch: Any, loss: BatchLoss | None) -> Tensor:
    if loss is not None:
        return own_loss(loss, in_float32(output), batch)
    labels = labels_in(batch)
    if labels is None:
        raise InputError("a training batch has no labels; give (images, labels) batches, or a loss of your own")
    return functional.cross_entropy(output_of(output).float(), labels)

"""What every criterion must do; see `autoprune.criteria.base.Criterion`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

import torch
from torch import Tensor, nn

from autoprune.criteria.base import Criterion
from autoprune.criteria.known import Need, TensorStatistics
from autoprune.criteria.ranking import ranking
from autoprune.criteria.statistics import gathered
from autoprune.graph import analyse

__all__ = ["check_criterion"]


def check_criterion(criterion: Criterion, model: nn.Module, example: Tensor, batches: Iterable[Any] = ()) -> None:
    """A criterion keeps its contract on one network.

    Args:
        criterion: The criterion.
        model: A dense network on the CPU, with convolutions or linear layers.
        example: What the network takes, (1, ...).
        batches: (images, labels) for a criterion that needs data.

    Raises:
        AssertionError: If it does not; the message names the promise.
    """
    name, batches = criterion.name, list(batches)
    unknown = criterion.needs - set(get_args(Need))
    assert not unknown, f"{name} needs {sorted(unknown)}, which nothing gathers; known: {get_args(Need)}"
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    analysis = analyse(model, example)
    known = gathered(model, batches, criterion.needs)
    for key, weight in model.named_parameters():
        if weight.ndim > 1:
            _check_saliency(criterion, key, weight.detach().double(), known.get(key, TensorStatistics()))
    for group in analysis.groups:
        units = criterion.units(model, group, known)
        assert units.shape == (group.width,), f"{name}: {group.name} has {group.width} units, the scores {units.shape}"
        _check_scores(name, group.name, units)
    first, second = (ranking(model, analysis, criterion, batches) for _ in range(2))
    assert first == second, f"{name} ranks units in another order when it is asked again"
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before), f"{name} changed the network"


def _check_saliency(criterion: Criterion, key: str, weight: Tensor, known: TensorStatistics) -> None:
    given = weight.clone()
    saliency = criterion.saliency(given, known)
    assert torch.equal(given, weight), f"{criterion.name}: saliency changed {key}; work on a copy"
    assert saliency.shape == weight.shape, f"{criterion.name}: saliency of {key} is of {saliency.shape}"
    _check_scores(criterion.name, key, saliency)


def _check_scores(name: str, where: str, scores: Tensor) -> None:
    assert torch.isfinite(scores).all(), f"{name}: a score of {where} is not finite"
    assert (scores >= 0).all(), f"{name}: a score of {where} is negative"

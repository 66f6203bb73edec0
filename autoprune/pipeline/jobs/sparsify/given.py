"""Masks that exist already: the zeros of a file, or of the network's own weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from autoprune.errors import InputError
from autoprune.foundations.files import shortened
from autoprune.masks.reading import zero_masks
from autoprune.models.weights import weights_for
from autoprune.pipeline.jobs.sparsify.chosen import ChosenWeights
from autoprune.pipeline.problem import Problem

__all__ = ["OWN", "given_masks", "only_masked"]

OWN = "own"
"""In place of a file: the network's own weights."""


def given_masks(problem: Problem, chosen: ChosenWeights, where: str) -> dict[str, Tensor]:
    """The masks that the zeros of some weights are.

    Args:
        problem: The run's; its network says names and shapes.
        chosen: The weights that can have the run's pattern.
        where: A weights file, or `own`.

    Returns:
        Name -> bool, shaped as the weight, of every chosen weight that has a zero there.

    Raises:
        InputError: If the file is none, is of another network, has no zero, or has a weight that breaks the pattern.
    """
    model = problem.task.model
    weights = dict(model.state_dict()) if where == OWN else weights_for(model, Path(where))
    _check_shapes(weights, dict(model.state_dict()), where)
    named = f"the network's {OWN} weights" if where == OWN else where
    masks = {name: mask for name, mask in zero_masks(weights).items() if name in chosen.assigned}
    if not masks:
        raise InputError(f"--masks: no weight of {named} that can have {chosen.pattern.name} has a zero")
    for name, mask in masks.items():
        fault = chosen.assigned[name].fault(mask)
        if fault is not None:
            raise InputError(
                f"--masks: {name} of {named} is not {chosen.pattern.name}: {fault}; name its pattern, or --skip it"
            )
    return masks


def only_masked(chosen: ChosenWeights, masks: Mapping[str, Tensor]) -> ChosenWeights:
    """The chosen weights that masks were given for; the others stay dense."""
    whole = dict.fromkeys(chosen.assigned.keys() - masks.keys(), "it has no zero among the given masks")
    assigned = {name: one for name, one in chosen.assigned.items() if name in masks}
    return replace(chosen, assigned=assigned, refused={**chosen.refused, **whole})


def _check_shapes(weights: Mapping[str, Tensor], own: Mapping[str, Tensor], where: str) -> None:
    other = next((name for name in own if weights[name].shape != own[name].shape), None)
    if other is not None:
        shapes = f"{list(weights[other].shape)}, not {list(own[other].shape)}"
        raise InputError(f"--masks {where} is for another network: its {shortened(other)} is {shapes}")

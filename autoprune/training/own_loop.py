"""A training loop of the user's own in place of the trainer: Lightning's, transformers', a hand-written one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.foundations.seeding import seeded
from autoprune.foundations.user_code import UserCode, path_of, wrong_form
from autoprune.models.copying import duplicate
from autoprune.models.precision import device_of
from autoprune.training.constraint import Together, TrainingConstraint

__all__ = ["FineTune", "train_by_own_loop"]

FineTune = Callable[[nn.Module, TrainingConstraint, int], nn.Module]
"""An own loop of (model, constraint, epochs): trains the model, which it may change, and returns it."""


def train_by_own_loop(
    loop: FineTune, model: nn.Module, constraint: TrainingConstraint | None, epochs: int, seed: int
) -> bool:
    """Train a network in place by a user's loop; what the techniques must keep is kept, whatever the loop did.

    Args:
        loop: Gets a copy of the network, so that one that fails leaves nothing behind, and always a constraint, whose
            `project(model, optimizer)` it should call after each step: weights that are put back only at the end have
            been trained for nothing.
        model: Takes over the weights that the loop returns; modes, device and what needs a gradient stay its own.
        constraint: What must be kept; None if nothing.
        epochs: How long, as the settings say; a loop may do as it likes.
        seed: Of torch's generators while it runs.

    Returns:
        Whether the loop kept the constraint; otherwise it was put right.

    Raises:
        InputError: If the loop raises, or returns anything but the network with all its weights finite.
    """
    kept = Together(() if constraint is None else (constraint,))
    name = f"finetune {path_of(loop)}"
    with seeded(seed), UserCode(name):
        trained = loop(duplicate(model), kept, epochs)
    model.load_state_dict(_checked(trained, model, name))
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    kept.project(model, torch.optim.SGD(model.parameters(), lr=0.0))
    return all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


def _checked(trained: object, model: nn.Module, name: str) -> dict[str, Tensor]:
    """The weights of a network that has the same layers as `model`, on its device."""
    if not isinstance(trained, nn.Module):
        raise wrong_form(name, trained, "the model that it was given")
    own, found = model.state_dict(), dict(trained.state_dict())
    for key in (*own, *found):
        if key not in found or key not in own or own[key].shape != found[key].shape:
            raise InputError(
                f"{name} returned another network than it was given: {key} differs; return the model itself,"
                " without what the loop wrapped around it"
            )
    for key, tensor in found.items():
        if tensor.is_floating_point() and bool(torch.isnan(tensor).any()):
            raise InputError(f"{name} returned a network that has diverged: {key} has values that are NaN")
    return {key: tensor.detach().to(device_of(model)) for key, tensor in found.items()}

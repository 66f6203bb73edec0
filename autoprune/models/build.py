"""The zoo by name, and the building of any model that a user names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from torch import nn

from autoprune.errors import InputError
from autoprune.foundations.names import closest
from autoprune.foundations.references import call, is_reference, resolve
from autoprune.foundations.seeding import seeded
from autoprune.foundations.user_code import wrong_form
from autoprune.models.compiled import uncompiled
from autoprune.models.zoo.lottery import conv2, conv4, conv6, lenet_300_100
from autoprune.models.zoo.mobilenet import mobilenet_v1, mobilenet_v2
from autoprune.models.zoo.resnet import plain20, resnet20, resnet32, resnet56
from autoprune.models.zoo.vgg import vgg16_bn

__all__ = ["ZOO", "build"]

ZOO: dict[str, Callable[..., nn.Module]] = {
    "plain20": plain20,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet56": resnet56,
    "vgg16_bn": vgg16_bn,
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "lenet_300_100": lenet_300_100,
    "conv2": conv2,
    "conv4": conv4,
    "conv6": conv6,
}
"""Builders by name; each takes in_channels, classes and width."""

_HAS_SMALL_FORM = ("mobilenet_v1", "mobilenet_v2")
_OF_ONE_SIZE = ("lenet_300_100", "conv2", "conv4", "conv6")
_SMALL = 64  # pixels; smaller images would be one or two pixels after the five halvings of the 224 form


def build(
    spec: str,
    *,
    in_channels: int = 3,
    classes: int = 10,
    image_size: int | None = None,
    width: float = 1.0,
    seed: int | None = None,
) -> nn.Module:
    """Builds a model by name.

    Args:
        spec: A name of the zoo, or "package.module:factory": a callable without arguments that returns a module. The
            current folder is importable.
        in_channels: Channels of the images; for the zoo only.
        classes: Outputs; for the zoo only.
        image_size: Pixels of the images' shorter side; below 64 MobileNets take their small form, and
            networks of linear layers read that size alone. None takes the paper's.
        width: Factor on all channels; for the zoo only.
        seed: Of the first weights; torch's own generator is then left as it was. None draws from that one.

    Raises:
        InputError: If there is no such model, or its factory fails or returns something else.
    """
    with contextlib.nullcontext() if seed is None else seeded(seed):
        if is_reference(spec):
            return _from_reference(spec)
        if spec not in ZOO:
            raise InputError(
                f"there is no model {spec!r} in the zoo; the nearest name is {closest(spec, ZOO)}. "
                f"There are {', '.join(ZOO)}, and package.module:factory"
            )
        if spec in _HAS_SMALL_FORM and image_size is not None and image_size < _SMALL:
            return ZOO[spec](in_channels=in_channels, classes=classes, width=width, small=True)
        size = {"image_size": image_size} if spec in _OF_ONE_SIZE and image_size is not None else {}
        return ZOO[spec](in_channels=in_channels, classes=classes, width=width, **size)


def _from_reference(spec: str) -> nn.Module:
    factory = resolve(spec, "--model")
    if isinstance(factory, nn.Module):
        raise InputError(f"--model {spec} is a module itself; name a function that returns it")
    model = call(factory, spec)
    if not isinstance(model, nn.Module):
        raise wrong_form(f"--model {spec}", model, "a torch.nn.Module")
    return uncompiled(model)

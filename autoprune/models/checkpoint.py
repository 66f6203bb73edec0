"""Where checkpoints keep a network's weights, and under which names: the habits of the field's trainers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from autoprune.errors import InputError
from autoprune.foundations.files import shortened

__all__ = ["aligned", "weights_among"]

_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
_PLAIN = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "module")
_PLACES = (*_AVERAGED, *_PLAIN)
"""Under which keys checkpoints keep weights. Averaged weights come first: they are the ones that are evaluated."""

_COMPILED = "_orig_mod."  # what torch.compile puts before the names of what it wraps, at any depth
_DEPTH = 3  # of mappings in mappings


def weights_among(content: Any, path: Path) -> dict[str, Tensor]:
    """The weights in what a checkpoint file holds: names and tensors, the names as they are in the file.

    Args:
        content: A state dict; or a mapping that holds one under a usual key, or holds exactly one.
        path: The file, for messages.

    Raises:
        InputError: If there are no weights, or several state dicts under keys that say nothing.
    """
    for _ in range(_DEPTH):
        if not isinstance(content, Mapping) or not content:
            raise InputError(f"{path} holds {type(content).__name__}, not the names and tensors of a model")
        inner = _inner(content, path)
        if inner is None:
            break
        content = inner
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise InputError(
                f"{path}: {name!r} is {type(value).__name__}, not a tensor, and there are no weights under"
                f" {', '.join(_PLACES)}"
            )
    return dict(content)


def _inner(content: Mapping[Any, Any], path: Path) -> Mapping[Any, Any] | None:
    """The mapping inside another one that holds the weights; None if they are this mapping's own."""
    mappings = {key: value for key, value in content.items() if isinstance(value, Mapping) and value}
    for key in _PLACES:
        if key in mappings:
            return mappings[key]
    candidates = {key: value for key, value in mappings.items() if _is_state_dict(value)}
    if len(candidates) > 1:
        names = shortened(", ".join(map(str, candidates)))
        raise InputError(f"{path} holds several networks ({names}); save the state dict of one of them alone")
    return next(iter(candidates.values()), None)


def _is_state_dict(value: Mapping[Any, Any]) -> bool:
    return all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items())


def aligned(weights: Mapping[str, Tensor], own: Collection[str], path: Path) -> dict[str, Tensor]:
    """The same weights under a model's own names.

    Trainers wrap the network that they train, which puts a prefix before every name: `module.` (DataParallel, averaged
    models), `model.` (Lightning, and whatever the user called it there). The names under one prefix must be the
    model's, every one of them; what lies beside it belongs to the wrapper. `_orig_mod.` (torch.compile) goes wherever
    it stands.

    Args:
        weights: By the file's names.
        own: The model's names.
        path: The file, for messages.

    Raises:
        InputError: If a name is missing or unknown, or two prefixes fit.
    """
    names = set(own)
    if weights.keys() == names:
        return dict(weights)
    if not any(_COMPILED in name for name in names):
        weights = {name.replace(_COMPILED, ""): tensor for name, tensor in weights.items()}
    fitting = [prefix for prefix in _prefixes(weights, names) if names == _under(weights, prefix).keys()]
    if len(fitting) > 1:
        raise InputError(
            f"{path} holds the model's weights under several prefixes ({', '.join(map(repr, fitting))}); save the one"
            " that is meant alone"
        )
    if fitting:
        return _under(weights, fitting[0])
    for prefix in _prefixes(names, set(weights)):  # the model itself is wrapped, the file is not
        if {prefix + name for name in weights} == names:
            return {prefix + name: tensor for name, tensor in weights.items()}
    raise _misfit(weights, names, path)


def _prefixes(names: Collection[str], others: Collection[str]) -> list[str]:
    """Prefixes of whole components behind which one of the names is one of the others; the most frequent first."""
    found: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        found.update(name.removesuffix(rest) for at in range(len(parts)) if (rest := ".".join(parts[at:])) in others)
    return [prefix for prefix, _ in found.most_common()]


def _under(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def _misfit(weights: Mapping[str, Tensor], own: Collection[str], path: Path) -> InputError:
    """What is said of a file that has other names than the model: the first that is missing, or too many."""
    prefix = next(iter(_prefixes(weights, own)), "")
    where = f" under the prefix {prefix!r}" if prefix else ""
    there = _under(weights, prefix)
    missing = next((name for name in own if name not in there), None)
    if missing is None:
        extra = next(name for name in there if name not in own)
        return InputError(f"{path} has {extra}{where}, which the model does not have; is it for another model?")
    first = shortened(", ".join(list(weights)[:2]))
    return InputError(
        f"{path} has no {missing}{where}, which the model needs (its names: {first}, ...); is it for another model?"
    )

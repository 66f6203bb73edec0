"""A loader's batch as the call that it makes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.foundations.examples import candidates
from autoprune.models.inputs.example import Example

__all__ = ["AS_IT_COMES", "BatchReader"]


@dataclass(frozen=True)
class BatchReader:
    """Which parts of a loader's batch a network is called with.

    Attributes:
        keys: Keys of batches that are mappings, or numbers of a tuple's items; empty where the network's forward and
            the batch say it themselves.
    """

    keys: tuple[str, ...] = ()

    def call(self, model: nn.Module, batch: Any) -> Example:
        """The call that a batch makes.

        A tensor is the input. Of a tuple or list the first item is (a mapping or tuple in there: several inputs), or
        as many items as forward asks for. Of a mapping those tensors are whose keys forward has as parameters, labels
        aside; or the only one that is no label.

        Raises:
            InputError: If the batch does not say which parts are the inputs, or lacks those named.
        """
        forward = _Forward.of(model)
        if self.keys:
            return forward.called_with(self._named(batch))
        if isinstance(batch, Tensor):
            return Example((batch,), {})
        if isinstance(batch, Mapping):
            return forward.read(batch)
        if isinstance(batch, Sequence) and not isinstance(batch, str) and batch:
            return forward.read_items(batch)
        raise _no_inputs(batch)

    def _named(self, batch: Any) -> dict[str, Any]:
        """The parts that the keys name."""
        held: Mapping[Any, Any] = {}
        if isinstance(batch, Mapping):
            held = batch
        elif isinstance(batch, Sequence) and batch:
            inner = batch[0] if isinstance(batch[0], Mapping) else None
            held = inner if inner is not None else {str(number): item for number, item in enumerate(batch)}
        missing = [key for key in self.keys if key not in held]
        if missing:
            has = ", ".join(map(str, held)) or type(batch).__name__
            raise InputError(f"--inputs {','.join(self.keys)}: a batch has no {missing[0]}; it has {has}")
        return {key: held[key] for key in self.keys}


AS_IT_COMES = BatchReader()
"""Inputs as the network's forward and the batch say themselves."""

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class _Forward:
    """What a network's forward takes.

    Attributes:
        positional: Names of its positional parameters, in order.
        required: How many of them have no default.
        names: Every parameter that can be given by name.
        anything: Whether it takes any name.
    """

    positional: tuple[str, ...]
    required: int
    names: frozenset[str]
    anything: bool

    @classmethod
    def of(cls, model: nn.Module) -> _Forward:
        try:
            parameters = inspect.signature(model.forward).parameters.values()
        except (TypeError, ValueError):  # it is no function of Python's, and takes what it is given
            return cls((), 0, frozenset(), anything=True)
        positional = [p for p in parameters if p.kind in _POSITIONAL]
        return cls(
            tuple(p.name for p in positional),
            sum(p.default is inspect.Parameter.empty for p in positional),
            frozenset(p.name for p in parameters if p.kind in (_POSITIONAL[1], inspect.Parameter.KEYWORD_ONLY)),
            any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters),
        )

    def read(self, batch: Mapping[Any, Any]) -> Example:
        """The call of a batch that is a mapping."""
        found = candidates(batch)
        known = {key: item for key, item in found.items() if key in self.names or self.anything}
        if known and set(self.positional[: self.required]) <= {*known}:
            return self.called_with(known)
        if len(found) == 1:
            return Example(tuple(found.values()), {})
        raise InputError(
            f"a batch has {', '.join(map(str, batch)) or 'nothing'}, and the network's forward takes"
            f" {', '.join(self.positional) or 'nothing'}: say which are its inputs (--inputs KEY,..., in Python"
            " inputs=...)"
        )

    def read_items(self, batch: Sequence[Any]) -> Example:
        """The call of a batch that is a tuple or list."""
        first = batch[0]
        if isinstance(first, Mapping):
            return self.read(first)
        if isinstance(first, tuple | list) and first and all(isinstance(item, Tensor) for item in first):
            return Example(tuple(first), {})
        wanted = batch[: self.required] if 1 < self.required <= len(batch) else batch[:1]
        if not all(isinstance(item, Tensor) for item in wanted):
            raise _no_inputs(batch)
        return Example(tuple(wanted), {})

    def called_with(self, parts: Mapping[str, Any]) -> Example:
        """The call with parts by name; those of the first parameters in order, as exporters like it, the rest named."""
        if not self.anything and not set(parts) <= self.names:
            return Example(tuple(parts.values()), {})
        leading: list[Any] = []
        for name in self.positional:
            if name not in parts:
                break
            leading.append(parts[name])
        rest = {name: item for name, item in parts.items() if name not in self.positional[: len(leading)]}
        return Example(tuple(leading), rest)


def _no_inputs(batch: Any) -> InputError:
    return InputError(
        f"a batch is {type(batch).__name__} and does not begin with a tensor; loaders must give (inputs, labels), or a"
        " mapping whose keys are the network's inputs"
    )

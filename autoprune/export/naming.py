"""Names of parameters that an exported program cannot have: those of Python's keywords, and of its own attributes."""

from __future__ import annotations

import functools
import keyword
from typing import Any

from torch import fx, nn
from torch.export import ExportedProgram

__all__ = ["rename_reserved"]


def rename_reserved(program: ExportedProgram) -> ExportedProgram:
    """Renames, in place, parameters and buffers whose names its module could not have: `class.0.weight`, `meta.bias`.

    An exported program becomes a `GraphModule`, whose code reads tensors as attributes and which has a `meta`, a
    `graph` and a `code` of its own. Each such part of a name gets an underscore behind it.

    Returns:
        The program.
    """
    specs: list[Any] = [*program.graph_signature.input_specs, *program.graph_signature.output_specs]
    taken = {*program.state_dict, *program.constants}
    renamed = {name: _free(name, taken) for name in taken if _usable(name) != name}
    for tensors in (program.state_dict, program.constants):
        for name in renamed.keys() & tensors.keys():
            tensors[renamed[name]] = tensors.pop(name)
    for spec in specs:
        if spec.target in renamed:
            spec.target = renamed[spec.target]
    return program


def _free(name: str, taken: set[str]) -> str:
    """A usable name that no other tensor has."""
    free = _usable(name)
    while free in taken:
        first, _, rest = free.partition(".")
        free = f"{first}_.{rest}" if rest else f"{first}_"
    return free


def _usable(name: str) -> str:
    """The name, each reserved part of it with an underscore.

    >>> _usable("meta.0.weight"), _usable("body.class.meta"), _usable("conv1.weight")
    ('meta_.0.weight', 'body.class_.meta', 'conv1.weight')
    """
    first, *rest = name.split(".")
    first = f"{first}_" if first in _attributes() else first
    return ".".join(f"{part}_" if keyword.iskeyword(part) else part for part in (first, *rest))


@functools.cache
def _attributes() -> frozenset[str]:
    """What every module made of a graph has of its own; the first part of a name must be something else."""
    return frozenset(dir(fx.GraphModule(nn.Module(), fx.Graph())))

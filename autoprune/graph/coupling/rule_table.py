"""The rules by operator: each says what one family of operators does to the atoms."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.fx import Node

from autoprune.graph.coupling.flow import Result

__all__ = ["Arguments", "base_name", "bound", "handles_figures", "rule", "rule_of"]

Arguments = dict[str, Any]
"""What an operator is called with, by the names of its schema."""

# A rule is called with the walk, the node and its arguments by name; it returns the flow of each result.
_Rule = TypeVar("_Rule", bound=Callable[..., Result])
_RULES: dict[str, Callable[..., Result]] = {}
_BY_TAG: dict[torch.Tag, Callable[..., Result]] = {}
_HANDLES_FIGURES: set[Callable[..., Result]] = set()


def rule(*names: str, tag: torch.Tag | None = None, figures: bool = False) -> Callable[[_Rule], _Rule]:
    """Register a rule for ATen operators by base name; in-place forms (``relu_``) share it.

    Args:
        names: The operators.
        tag: The rule of every operator that carries this tag of torch's own and has no rule by its name.
        figures: Whether the rule knows what to do with figures over a width (``Flow.over``). Elsewhere they leak:
            something other than their own width depends on them, so that width has to stay.
    """

    def register(function: _Rule) -> _Rule:
        if figures:
            _HANDLES_FIGURES.add(function)
        for name in names:
            _RULES[name] = function
        if tag is not None:
            _BY_TAG[tag] = function
        return function

    return register


def base_name(node: Node) -> str:
    """The ATen operator without overload and in-place mark; "" for anything else."""
    if node.target is operator.getitem:
        return "getitem"
    schema = getattr(node.target, "_schema", None)
    return "" if schema is None else str(schema.name).removeprefix("aten::").removesuffix("_")


def rule_of(node: Node) -> Callable[..., Result] | None:
    """The rule of a node's operator; None where there is none."""
    tagged = (_BY_TAG[tag] for tag in getattr(node.target, "tags", ()) if tag in _BY_TAG)
    return _RULES.get(base_name(node)) or next(tagged, None)


def handles_figures(found: Callable[..., Result] | None) -> bool:
    """Whether a rule knows what to do with figures over a width."""
    return found in _HANDLES_FIGURES


def bound(node: Node) -> Arguments:
    """The arguments of a call by the schema's names, defaults filled in."""
    schema: Any = node.target._schema  # type: ignore[union-attr]
    values = {argument.name: argument.default_value for argument in schema.arguments}
    values.update({argument.name: value for argument, value in zip(schema.arguments, node.args, strict=False)})
    values.update(node.kwargs)
    return values

"""The rules by operator: each says what one family of operators does to the atoms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch.fx import Node

from autoprune.graph.coupling.flow import Result

__all__ = ["Arguments", "bound", "handles_figures", "rule", "rule_of"]

Arguments = dict[str, Any]
"""What an operator is called with, by the names of its schema."""

# A rule is called with the walk, the node and its arguments by name; it returns the flow of each result.
_Rule = TypeVar("_Rule", bound=Callable[..., Result])
_RULES: dict[str, Callable[..., Result]] = {}
_HANDLES_FIGURES: set[Callable[..., Result]] = set()


def rule(*names: str, figures: bool = False) -> Callable[[_Rule], _Rule]:
    """Register a rule for ATen operators by base name; in-place forms (``relu_``) share it.

    Args:
        names: The operators.
        figures: Whether the rule knows what to do with figures over a width (``Flow.over``). Elsewhere they leak:
            something other than their own width depends on them, so that width has to stay.
    """

    def register(function: _Rule) -> _Rule:
        if figures:
            _HANDLES_FIGURES.add(function)
        for name in names:
            _RULES[name] = function
        return function

    return register


def rule_of(node: Node) -> Callable[..., Result] | None:
    """The rule of a node's operator; None where there is none."""
    schema = getattr(node.target, "_schema", None)
    return _RULES.get(schema.name.removeprefix("aten::").removesuffix("_")) if schema is not None else None


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

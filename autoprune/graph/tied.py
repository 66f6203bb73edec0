"""An analysis as a search space with ties sees it: sizes as functions of the common choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from autoprune.graph.analysis import Analysis, Extent, Group, Op, Shape

__all__ = ["tied"]

Ties = Mapping[str, Mapping[str, int]]


def tied(analysis: Analysis, ties: Ties) -> Analysis:
    """The same operators and parameters, priced by ties: every size that followed a tied group follows its tie.

    For pricing only: networks are cut by the groups themselves, whose units `SearchSpace.units` gives.

    Args:
        analysis: Of the model.
        ties: Name of the common choice -> {group: its units for one step of the choice}.
    """
    if not ties:
        return analysis
    steps = {group: (name, each) for name, groups in ties.items() for group, each in groups.items()}

    def shape(sizes: Shape) -> Shape:
        return tuple(size(one) for one in sizes)

    def size(one: Extent | int) -> Extent | int:
        if isinstance(one, int):
            return one
        terms: dict[str, int] = {}
        for group, many in one.terms:
            name, each = steps.get(group, (group, 1))
            terms[name] = terms.get(name, 0) + many * each
        return Extent(one.constant, tuple(terms.items()), one.dense)

    def operator(op: Op) -> Op:
        return replace(
            op,
            inputs=tuple(map(shape, op.inputs)),
            output=shape(op.output),
            groups=size(op.groups),
            params=tuple(map(shape, op.params)),
        )

    return replace(
        analysis,
        groups=tuple(
            _stepped(group, ties) for group in analysis.groups if group.name in ties or group.name not in steps
        ),
        ops=tuple(map(operator, analysis.ops)),
        parameters={name: shape(sizes) for name, sizes in analysis.parameters.items()},
        attributes=(),
    )


def _stepped(group: Group, ties: Ties) -> Group:
    """A group that names a tie counts the tie's steps."""
    return replace(group, width=group.width // ties[group.name][group.name]) if group.name in ties else group

"""``analyse``: from any module to its groups."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

from torch import nn

import autoprune.graph.coupling.rules  # noqa: F401 - importing them registers the rules
from autoprune.foundations.progress import Progress, no_progress
from autoprune.graph.analysis import Analysis, Extent
from autoprune.graph.coupling.extents import Extents
from autoprune.graph.coupling.flow import holder
from autoprune.graph.coupling.groups import Grouping, group_atoms
from autoprune.graph.coupling.interpretations import first_interpretations
from autoprune.graph.coupling.unread import unread_attributes
from autoprune.graph.coupling.walk import Walk
from autoprune.graph.fingerprint import fingerprint
from autoprune.graph.proof.branches import with_blocks
from autoprune.graph.proof.network_copy import Shadows
from autoprune.graph.proof.sizes import prove
from autoprune.graph.surgery.slicer import get_attribute
from autoprune.graph.trace.export import Trace, trace
from autoprune.models.inputs.example import Example, as_example
from autoprune.models.lazy import require_shapes
from autoprune.models.precision import device_of

__all__ = ["analyse"]

Key = tuple[str, tuple[Any, ...], bool, bool]
_known: weakref.WeakKeyDictionary[nn.Module, dict[Key, Analysis]] = weakref.WeakKeyDictionary()


def analyse(
    model: nn.Module,
    example_input: Any,
    *,
    validate: bool = True,
    blocks: bool = True,
    progress: Progress = no_progress,
) -> Analysis:
    """Find what may be pruned: coupled channels, each proven before it may be used.

    The model is traced once by ``torch.export``; every index of every parameter dimension gets an atom, the
    operators tie or freeze atoms, and classes with the same members become one group. Each group is then cut
    from a copy and compared with the dense network in which its units are silenced; one that fails is frozen
    with a reason. Residual branches are found in the same graph and proven likewise, where they are wanted. Nothing
    of the model changes, nor does the global random state. Repeated calls for the same module object are answered
    from a cache; the verdicts on a large network are kept in the user's cache folder, and are checked when they are
    used again.

    Args:
        model: Any module; its mode does not matter.
        example_input: A tensor, a tuple of positional or a mapping of keyword arguments, with a batch dimension
            in front. Values of floating-point numbers do not matter, nor does the device: it is moved to the model's.
            Token ids should differ from each other: of equal ones attention cannot tell its queries and keys.
        validate: Prove the groups. Without, a group may be wrong; only for looking at.
        blocks: Find and prove the residual branches that can be dropped, too: a few runs of the network for each.
        progress: Called with (groups proven, all groups, at which widths) while a large network is proven.

    Returns:
        Groups, blocks, frozen layers with reasons, priced operators, sizes and the fingerprint.

    Raises:
        UnsupportedModelError: The model cannot be copied, exported, or run on the example.
    """
    require_shapes(model)
    home = device_of(model)
    example = as_example(example_input).map(lambda tensor: tensor.to(home))
    print_ = fingerprint(model)
    key = (print_["sha256"], example.kind(), validate, blocks)
    known = _known.setdefault(model, {})
    if key not in known:
        more = known.get((*key[:3], True))
        known[key] = (
            _analyse(model, example, print_, validate, blocks, progress) if more is None else _without_blocks(more)
        )
    return known[key]


def _without_blocks(analysis: Analysis) -> Analysis:
    return replace(analysis, blocks=(), undroppable={})


def _shapes(example: Example) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(tensor.shape) for tensor in example.tensors())


def _dtypes(example: Example) -> tuple[str, ...]:
    return tuple(str(tensor.dtype).removeprefix("torch.") for tensor in example.tensors())


def _analyse(
    model: nn.Module, example: Example, print_: dict[str, Any], validate: bool, blocks: bool, progress: Progress
) -> Analysis:
    traced = trace(model, example)
    shadows = Shadows(model, example, traced, economical=True) if validate else None
    interpretations = first_interpretations(traced)
    while True:
        walk = Walk(traced, interpretations).run()
        grouping = group_atoms(walk, walk.table.solve())
        analysis = _written(model, grouping, example, print_)
        failures, least = _proven(model, analysis, example, grouping, shadows, progress)
        again = grouping.next_interpretations(set(failures))
        if (failures or least) and not again:
            grouping = grouping.refuse(failures, least)
            analysis = _written(model, grouping, example, print_)
        if not again:
            return with_blocks(model, analysis, example, grouping, shadows) if blocks else analysis
        interpretations = {**interpretations, **again}


def _proven(
    model: nn.Module,
    analysis: Analysis,
    example: Example,
    grouping: Grouping,
    shadows: Shadows | None,
    progress: Progress,
) -> tuple[dict[str, str], dict[str, int]]:
    """The groups that fail with their reasons, and the fewest units of those that need more than one."""
    if not analysis.groups or shadows is None:
        return {}, {}
    proof = prove(model, analysis, example, grouping, shadows, progress)
    return proof.reasons, {name: least for name, least in proof.least.items() if least > 1}


def _written(model: nn.Module, grouping: Grouping, example: Example, print_: dict[str, Any]) -> Analysis:
    """The analysis that a grouping amounts to."""
    extents = Extents(grouping)
    modules = dict(model.named_modules())
    attributes: dict[tuple[str, str], Extent] = {}
    for module, name, atoms in grouping.walk.counts.attributes:
        extent = extents.of(atoms, len(atoms)) if module in modules else None
        if isinstance(extent, Extent) and get_attribute(vars(modules[module]), name) == extent.dense:
            attributes[module, name] = extent
    attributes |= dict(unread_attributes(model, attributes))
    frozen = extents.frozen()
    _add_unused(model, grouping.walk.trace, frozen)
    return Analysis(
        groups=grouping.groups,
        frozen=frozen,
        ops=tuple(map(extents.op, grouping.walk.ops)),
        fingerprint=print_,
        parameters={name: extents.tensor(name, tuple(p.shape)) for name, p in model.named_parameters()},
        attributes=tuple((module, name, extent) for (module, name), extent in attributes.items()),
        example_shapes=_shapes(example),
        example_dtypes=_dtypes(example),
    )


def _add_unused(model: nn.Module, traced: Trace, frozen: dict[str, str]) -> None:
    """Layers whose parameters the forward pass never reads."""
    used = {traced.tensors.get(n.name) for n in traced.graph.nodes if n.op == "placeholder" and n.users}
    for name, _ in model.named_parameters():
        if name not in used:
            frozen.setdefault(holder(name) or name, "not read by the forward pass")

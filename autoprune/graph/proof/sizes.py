"""The proof of a large network at a small input, where the network takes one, with a check at the full size.

What is coupled with what does not depend on the size of an image or the length of a text. Where the network runs the
same operators over the same groups at a smaller one, every group is proven there, tens of times faster, and all of them
together at full size. Whatever fails there is left to the whole proof at full size. A large network that has been
proven before is only checked (`remembered`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from autoprune.errors import UnsupportedModelError
from autoprune.foundations.progress import Progress
from autoprune.graph.analysis import Analysis, Group
from autoprune.graph.coupling.groups import Grouping, group_atoms
from autoprune.graph.coupling.norms import NormLine
from autoprune.graph.coupling.walk import Walk
from autoprune.graph.proof.groups import Proof
from autoprune.graph.proof.network_copy import Shadow, Shadows
from autoprune.graph.proof.remembered import Verdict, keep, key_of, known
from autoprune.graph.proof.smaller_inputs import smaller_inputs
from autoprune.graph.trace.export import Trace, trace
from autoprune.models.inputs.example import Example

__all__ = ["LARGE", "prove"]

LARGE = 200_000_000  # multiply-accumulates of a run, from which the tracing of another size pays


@dataclass(frozen=True, eq=False)
class _Smaller:
    """A smaller input and what was read off the network there."""

    shadow: Shadow
    traced: Trace
    norms: list[NormLine]


def prove(
    model: nn.Module, analysis: Analysis, example: Example, grouping: Grouping, shadows: Shadows, progress: Progress
) -> Proof:
    """The proof of every group, done.

    Args:
        model: The dense model; not changed.
        analysis: Its groups, not yet proven.
        example: An example input.
        grouping: The groups as atoms, with the walk that they were found on.
        shadows: Copies of the model.
        progress: Called with (groups proven, all groups, at which widths) where the network is large.
    """
    traced, norms = grouping.walk.trace, grouping.norms()
    full = shadows(bool(norms))
    if analysis.macs() < LARGE:  # over in a second or two: nothing to show, nothing to keep
        proof = Proof(full, analysis, traced, norms)
        proof.run()
        return proof
    proof = Proof(full, analysis, traced, norms, progress)
    key = key_of(model, analysis, traced)
    earlier = None if key is None else known(key)
    if earlier is not None and proof.holds(earlier.reasons, earlier.least):
        return proof
    proof = _proven(model, analysis, example, grouping, full, progress)
    if key is not None:
        keep(key, Verdict(proof.reasons, proof.least))
    return proof


def _proven(
    model: nn.Module, analysis: Analysis, example: Example, grouping: Grouping, full: Shadow, progress: Progress
) -> Proof:
    """The proof of a large network: at a smaller input where that will do, else at full size."""
    traced, norms = grouping.walk.trace, grouping.norms()
    small = _smaller(model, example, grouping, full)
    if small is not None:
        proof = Proof(small.shadow, analysis, small.traced, small.norms, progress)
        if proof.run_at_another_size(full, traced, norms):
            return proof
    proof = Proof(full, analysis, traced, norms, progress)
    proof.run()
    return proof


def _smaller(model: nn.Module, example: Example, grouping: Grouping, full: Shadow) -> _Smaller | None:
    """The smallest input at which the same operators run over the same groups; None where there is none."""
    for candidate in smaller_inputs(example):
        if full.resized(candidate) is None:  # a fixed position embedding, a map that is smaller than a kernel
            continue
        try:
            traced = trace(model, candidate)
        except UnsupportedModelError:
            continue
        if _operators(traced) != _operators(grouping.walk.trace):
            continue
        walk = Walk(traced, grouping.walk.interpretations).run()
        found = group_atoms(walk, walk.table.solve())
        if len(found.groups) == len(grouping.groups) and all(map(_alike, found.groups, grouping.groups)):
            norms = found.norms()
            shadow = full.resized(candidate.with_batch(traced.batch if norms else 1))
            return None if shadow is None else _Smaller(shadow, traced, norms)
    return None


def _operators(traced: Trace) -> list[str]:
    return [str(node.target) for node in traced.graph.nodes if node.op != "placeholder"]


def _alike(one: Group, other: Group) -> bool:
    """Whether two groups are the same units at the same places."""
    pairs = list(zip(one.members, other.members, strict=False))
    return (
        _traits(one) == _traits(other)
        and all((a.tensor, a.dim, a.role) == (b.tensor, b.dim, b.role) for a, b in pairs)
        and all(torch.equal(a.positions, b.positions) for a, b in pairs)
    )


def _traits(group: Group) -> tuple[object, ...]:
    return group.name, group.width, group.kind, group.oracle, group.summed, len(group.members)

"""What `autoprune inspect` says of a model, as JSON values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from autoprune.data import load
from autoprune.graph import Analysis, Block, Member, analyse
from autoprune.graph.block import is_active
from autoprune.models import build
from autoprune.pipeline.task import example_of_shape, model_of_shape
from autoprune.space import Decision, SearchSpace
from autoprune.space.constraints import parsed_granularity
from autoprune.techniques.structured.space import space_of

__all__ = ["Wishes", "inspection", "model_and_example"]


@dataclass(frozen=True)
class Wishes:
    """How the space is shaped; see docs/search-space.md.

    Attributes:
        target: Whose grid of widths.
        granularity: As users write it.
        skip: Patterns of layers that stay.
        kinds: What is decided on, with commas; None for every width.
        cap: `PATTERN=SHARE`.
        tie: Patterns of decisions that are made together.
    """

    target: str | None = None
    granularity: str | None = None
    skip: tuple[str, ...] = ()
    kinds: str | None = None
    cap: tuple[str, ...] = ()
    tie: tuple[str, ...] = ()


def model_and_example(model: str, data: str, data_dir: Path | None, shape: str | None) -> tuple[nn.Module, Tensor]:
    """A model with fresh weights, and an input of a data set's or of the named shape.

    Raises:
        InputError: If there is no such model or data, or the shape is none.
    """
    if shape is not None:
        example = example_of_shape(shape)
        return model_of_shape(model, example), example
    loaded = load(data, data_dir)
    arguments = {"in_channels": loaded.shape[0], "classes": loaded.classes, "image_size": loaded.shape[-1]}
    return build(model, **arguments, seed=0), loaded.example


def inspection(name: str, network: nn.Module, example: Tensor, wishes: Wishes) -> dict[str, Any]:
    """Decisions with their members, what is frozen and why, blocks, sizes.

    Raises:
        UnsupportedModelError: If the model cannot be analysed.
        InputError: If a wish cannot be met.
    """
    analysis = analyse(network, example)
    granule, granules = parsed_granularity(wishes.granularity)
    space = space_of(
        analysis,
        target=wishes.target,
        granularity=granule,
        granules=granules,
        skip=wishes.skip,
        kinds=None if wishes.kinds is None else [kind.strip() for kind in wishes.kinds.split(",")],
        cap=wishes.cap,
        tie=wishes.tie,
        name=name,
    )
    return {
        "model": name,
        "decisions": [_decision(analysis, space, decision) for decision in space.decisions],
        "frozen": dict(space.frozen),
        "blocks": [_block(analysis, block) for block in analysis.blocks],
        "undroppable": dict(analysis.undroppable),
        "params": analysis.param_total({}),
        "flops": analysis.macs({}),
    }


def _decision(analysis: Analysis, space: SearchSpace, decision: Decision) -> dict[str, Any]:
    """A decision; where several groups are tied, with the members of all of them."""
    ties = space.ties.get(decision.name)
    names = list(ties or ([] if decision.is_block else [decision.name]))
    groups = [analysis.group(name) for name in names]
    content: dict[str, Any] = {
        "name": decision.name,
        "kind": decision.kind,
        "oracle": "normalised" if any(group.oracle == "normalised" for group in groups) else "zero",
        "width": decision.width,
        "options": list(decision.options),
        "producers": [module for group in groups for module in group.producers],
        "consumers": [module for group in groups for module in group.consumers],
        "members": [_member(member) for group in groups for member in group.members],
        "within": [list(place) for place in decision.within],
    }
    return content | ({"tied": dict(ties)} if ties else {})


def _member(member: Member) -> dict[str, Any]:
    return {
        "tensor": member.tensor,
        "dim": member.dim,
        "positions": int(member.positions.shape[1]),  # that each unit owns there
        "role": member.role,
    }


def _block(analysis: Analysis, block: Block) -> dict[str, Any]:
    """A block with what it takes with it."""
    without = {block.name: 0}
    return {
        "name": block.name,
        "modules": [swap.module for swap in block.swaps],
        "inside": list(block.outer),
        "widths": [g.name for g in analysis.groups if not is_active(analysis.within(g.name), without)],
        "params": analysis.param_total() - analysis.param_total(without),
        "flops": analysis.macs() - analysis.macs(without),
    }

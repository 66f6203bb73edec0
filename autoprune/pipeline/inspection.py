"""What `autoprune inspect` says of a model, as JSON values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from autoprune.data import known_shape, load
from autoprune.foundations.progress import Progress, no_progress
from autoprune.graph import Analysis, Block, Member, analyse
from autoprune.graph.block import is_active
from autoprune.models import build
from autoprune.models.inputs.reader import AS_IT_COMES
from autoprune.pipeline.task import example_of_shape, model_of_shape
from autoprune.run.settings import ModelSettings, SpaceSettings
from autoprune.space import Decision, SearchSpace
from autoprune.techniques.space import space_of

__all__ = ["inspection", "model_and_example"]


def model_and_example(settings: ModelSettings, shape: str | None) -> tuple[nn.Module, Any]:
    """A model with fresh weights, and an input of a data set's shape, or of another; loads no data if it need not.

    Args:
        settings: Name the model and the data.
        shape: Sizes of one input, `3,224,224`; the data is not loaded then.

    Raises:
        InputError: If there is no such model or data, or the shape is none.
    """
    if shape is not None:
        example = example_of_shape(shape)
        return model_of_shape(settings.model, example), example
    known = known_shape(settings.data)
    if known is not None:  # reading, or downloading, all images for it would take seconds
        (channels, height, width), classes = known
        model = build(settings.model, in_channels=channels, classes=classes, image_size=width, seed=0)
        return model, torch.zeros(1, channels, height, width)
    loaded = load(settings.data, Path(settings.data_dir) if settings.data_dir else None)
    arguments = {"in_channels": (*loaded.shape, 1)[0], "classes": loaded.classes, "image_size": (1, *loaded.shape)[-1]}
    model = build(settings.model, **arguments, seed=0)
    if loaded.sample is None:
        return model, loaded.example
    return model, AS_IT_COMES.call(model, loaded.sample).plain


def inspection(
    name: str,
    network: nn.Module,
    example: Any,
    wanted: SpaceSettings,
    target: str | None,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Decisions with their members, what is frozen and why, blocks, sizes.

    Args:
        name: What the user calls the model.
        network: The model.
        example: An input.
        wanted: How the space is shaped; see docs/search-space.md.
        target: Whose grid of widths is shown; None for every width.
        progress: Called with (groups proven, all groups, at which widths) while a large network is proven.

    Raises:
        UnsupportedModelError: If the model cannot be analysed.
        InputError: If the space cannot be shaped so.
    """
    analysis = analyse(network, example, progress=progress)
    space = space_of(analysis, wanted.constraints, target=target, name=name)
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
    names = list(ties or ([] if decision.traits.gates else [decision.name]))
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

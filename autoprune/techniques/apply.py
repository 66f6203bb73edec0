"""From a policy to the smaller network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from autoprune.errors import InputError, PolicyMismatchError
from autoprune.foundations.files import shortened
from autoprune.graph import Analysis, analyse
from autoprune.graph import zero as zeroed
from autoprune.graph.surgery.reorder import reordered
from autoprune.models import uncompiled
from autoprune.space import STRUCTURED, Policy, Stage
from autoprune.space.kinds import kind_of
from autoprune.techniques.policy_example import as_read_by, example_of
from autoprune.techniques.registry import technique_of
from autoprune.techniques.stack import applied
from autoprune.techniques.structured.apply import check_fit, with_kept

__all__ = ["apply", "in_order"]


def apply(
    model: nn.Module, policy: Policy, example_input: Any = None, *, zero: bool = False, criterion: str | None = None
) -> nn.Module:
    """The network that a policy makes of a model.

    Args:
        model: The dense network; left as it is. Of one that `torch.compile` wraps, the network inside.
        policy: If it does not name the kept units, those of greatest importance in `model` are kept.
        example_input: What the model's forward takes; default what the policy says of it, where that is one tensor.
        zero: Keep the dense shapes and set weights to zero instead: what the smaller network must equal. Where a norm
            runs over a pruned width (LayerNorm, RMSNorm, part of a GroupNorm) no zeroing is equal, since the dense norm
            sees the dropped units; the cut is proved another way there (`inspect --json` says `oracle: normalised`).
        criterion: How units are ranked where the policy does not name them; default the policy's own, else `l1`.

    Returns:
        A new module, in the dense one's mode, precision and device. The config of a `transformers` model says its new
        widths, where one config can.

    Raises:
        PolicyMismatchError: If the policy was made for another model.
        InputError: If neither the caller nor the policy says what the forward takes.
    """
    model = uncompiled(model)
    if example_input is None:
        known = example_of(policy)
        if known is None:
            raise InputError(
                "the policy does not say its model's input; give it: autoprune.apply(model, policy, example)"
            )
        example_input = as_read_by(model, known)
    analysis = analyse(model, example_input, blocks=_drops(policy))
    check_fit(analysis, policy)
    model = in_order(model, analysis, policy.orders or {})
    parts = with_kept(model, analysis, policy, criterion or policy.criterion or "l1").parts
    steps = [(technique_of(part.technique), part) for part in parts]
    if not zero:
        small = applied(model, analysis, steps)
        for technique, part in steps:
            small = technique.deploy(small, analysis, part)
        return small
    before = [step for step in steps if step[1].stage < Stage.SHAPE]
    kept = next(part.kept for part in parts if part.technique == STRUCTURED)
    small = zeroed(applied(model, analysis, before), analysis, kept or {})
    return applied(small, analysis, [s for s in steps if s not in before and s[0].name != STRUCTURED])


def _drops(policy: Policy) -> bool:
    """Whether it decides about whole branches: only then they are looked for."""
    return any(kind_of(kind).gates for part in policy.parts for kind in part.kinds.values())


def in_order(model: nn.Module, analysis: Analysis, orders: Mapping[str, Sequence[int]]) -> nn.Module:
    """The same function with its units in other places; the model itself where nothing moves.

    Args:
        model: The dense network; left as it is.
        analysis: Of it.
        orders: Coupled group -> its units in their new order, as a policy has them.

    Raises:
        PolicyMismatchError: If the model has no such group, or one of another width.
    """
    widths = {group.name: group.width for group in analysis.groups}
    for name, order in orders.items():
        if widths.get(name) != len(order):
            raise PolicyMismatchError(
                f"the policy orders {len(order)} units of {shortened(name)}, of which this model has"
                f" {widths.get(name, 'none')}"
            )
    if not orders:
        return model
    return reordered(model, analysis, {name: torch.tensor(order) for name, order in orders.items()})

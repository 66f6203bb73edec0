"""Which networks and layers are timed for a table, of the many that there are: samples drawn from a space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoprune.hardware.contract.layer import Layer
from autoprune.space import Decision, SearchSpace, Stage

__all__ = ["by_importance", "other_policies", "sample_layers", "spread_policies"]

_DRAWS = 20  # for a policy that no other network has


def spread_policies(space: SearchSpace, n: int, draw: np.random.Generator) -> list[dict[str, int]]:
    """Random policies whose share of kept units is spread evenly, from thin to nearly dense.

    Args:
        space: The decisions.
        n: How many.
        draw: Where the randomness comes from.
    """
    policies = []
    for centre in np.linspace(0.15, 1.0, n) if n > 1 else [0.5]:
        low, high = max(0.0, centre - 0.3), min(1.0, centre + 0.3)
        policies.append(space.canonical({d.name: _drawn(d, low, high, draw) for d in space.decisions}))
    return policies


def _drawn(decision: Decision, low: float, high: float, draw: np.random.Generator) -> int:
    """An option between two shares of the units; of number formats any, so that they mix at every share."""
    if decision.traits.stage is Stage.FORMAT:
        return decision.options[int(draw.integers(len(decision.options)))]
    return decision.nearest(decision.width * float(draw.uniform(low, high)))


def other_policies(
    space: SearchSpace, n: int, draw: np.random.Generator, known: Sequence[dict[str, int]]
) -> list[dict[str, int]]:
    """Random policies as `spread_policies` gives them, each unlike the others and unlike known ones.

    Where a draw gives what is there already, any policy will do; in a space that is too small some come twice.

    Args:
        space: The decisions.
        n: How many.
        draw: Where the randomness comes from.
        known: What they must not be.
    """
    policies: list[dict[str, int]] = []
    for choices in spread_policies(space, n, draw):
        for _ in range(_DRAWS):
            if choices not in known and choices not in policies:
                break
            picked = {d.name: d.options[int(draw.integers(len(d.options)))] for d in space.decisions}
            choices = space.canonical(picked)
        policies.append(choices)
    return policies


def sample_layers(layers: Sequence[Layer], most: int, draw: np.random.Generator) -> list[Layer]:
    """All layers, or about `most` of them: of every family the corners and a fair share at random.

    Args:
        layers: Of different keys.
        most: How many may be measured.
        draw: Where the randomness comes from.
    """
    if len(layers) <= most:
        return list(layers)
    families: dict[str, list[Layer]] = {}
    for layer in layers:
        families.setdefault(layer.family, []).append(layer)
    chosen: list[Layer] = []
    for members in families.values():
        share = max(min(len(members), 8), round(most * len(members) / len(layers)))
        chosen += _corners_and_more(members, share, draw)
    return chosen


def by_importance(layers: Sequence[Layer], draw: np.random.Generator) -> tuple[list[Layer], list[Layer]]:
    """The same layers, in the order in which they are measured: a few of every family before the others.

    Layers of different families stand side by side: a disturbance of a second hits none alone.

    Args:
        layers: Of different keys.
        draw: Where the randomness comes from.

    Returns:
        The widest and a narrow one of each family, from which the others could be estimated; and the others.
    """
    families: dict[str, list[Layer]] = {}
    for place in draw.permutation(len(layers)):
        families.setdefault(layers[place].family, []).append(layers[place])
    first: list[Layer] = []
    for members in families.values():
        ordered = sorted(members, key=lambda layer: layer.inputs * layer.outputs)
        first += ordered[-1:] + ordered[: len(ordered) - 1][:1]
    known = {layer.key for layer in first}
    return first, [layers[place] for place in draw.permutation(len(layers)) if layers[place].key not in known]


def _corners_and_more(members: Sequence[Layer], share: int, draw: np.random.Generator) -> list[Layer]:
    ordered = sorted(members, key=lambda layer: (layer.inputs, layer.outputs))
    corners = {0, len(ordered) - 1}
    corners |= {
        ordered.index(min(ordered, key=lambda layer: (sign * layer.inputs, -sign * layer.outputs))) for sign in (1, -1)
    }
    rest = [i for i in range(len(ordered)) if i not in corners]
    more = draw.permutation(rest)[: max(0, share - len(corners))]
    return [ordered[i] for i in sorted({*corners, *(int(i) for i in more)})]

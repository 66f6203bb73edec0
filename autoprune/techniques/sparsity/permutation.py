"""The search of an order of units as a wish of a run: who asks for it, and what came of it as JSON values."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from torch import nn

from autoprune.errors import InputError
from autoprune.graph import Analysis
from autoprune.space import NM, SearchSpace
from autoprune.techniques.base import Calibration, Technique
from autoprune.techniques.sparsity.nm import NofMSparsity
from autoprune.techniques.sparsity.reorder import reorder

__all__ = ["permutation", "wished"]


def wished(techniques: Sequence[Technique[Any]]) -> NofMSparsity | None:
    """The technique whose groups are to keep more by another order of units; None if none was asked for."""
    return next((each for each in techniques if isinstance(each, NofMSparsity) and each.settings.permute), None)


def permutation(
    technique: NofMSparsity,
    model: nn.Module,
    analysis: Analysis,
    space: SearchSpace,
    calibration: Calibration,
    example: Any,
) -> dict[str, Any]:
    """Search an order of units in which the decided weights keep more under a technique's pattern.

    Args:
        technique: With the seconds that the search may take, proofs not counted.
        model: The trained dense network; left as it is.
        analysis: Of it.
        space: Its decisions.
        calibration: By which the weights are ranked.
        example: An input, on which the new order is proved.

    Returns:
        `orders` (group -> units), `pattern`, `criterion`, `kept_before` and `kept_after` (sums of the criterion's
        saliencies that the pattern keeps), `gain` (their ratio less 1), `refused` (group -> why its order stayed),
        `complete` (whether the searches ended by themselves) and `seconds` (proofs included).

    Raises:
        InputError: If the criterion ranks a weight below zero: a sum of such saliencies says nothing.
    """
    start, decided = time.monotonic(), [d.name for d in space.decisions if d.kind == NM.name]
    saliencies = technique.fit(model, analysis, calibration).saliencies
    below = next((name for name in decided if bool((saliencies[name] < 0).any())), None)
    if below is not None:
        raise InputError(
            f"the criterion {calibration.criterion.name} ranks weights of {below} below zero, so there is no sum of"
            " what an order keeps; permute with another criterion, such as l1"
        )
    pattern = technique.ordered_for
    limits = {"seconds": technique.settings.permute, "saliencies": saliencies, "weights": decided}
    found = reorder(model, analysis, example, pattern, **limits)
    return {
        "orders": {name: order.tolist() for name, order in found.orders.items()},
        "pattern": pattern.name,
        "criterion": calibration.criterion.name,
        "kept_before": found.before,
        "kept_after": found.after,
        "gain": found.gain,
        "refused": dict(found.refused),
        "complete": found.complete,
        "seconds": time.monotonic() - start,
    }

"""How sure an exit is of its answer: a number in [0, 1] from its logits; NaN where a logit is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from torch import Tensor

from autoprune.errors import InputError
from autoprune.foundations.names import nearest_name

__all__ = ["CONFIDENCES", "confidence_named"]


def most_likely(logits: Tensor) -> Tensor:
    """The largest probability, (N,)."""
    return logits.softmax(1).amax(1)


def margin(logits: Tensor) -> Tensor:
    """The difference of the two largest probabilities, (N,)."""
    first = logits.softmax(1).topk(2, 1).values
    return first[:, 0] - first[:, 1]


def entropy(logits: Tensor) -> Tensor:
    """1 less the entropy as a share of the largest possible, (N,).

    From the logarithms of the probabilities: `p * log(p)` is NaN as soon as a probability is 0, and the surest inputs
    would never leave.
    """
    logs = logits.log_softmax(1)
    return 1 + (logs.exp() * logs).sum(1) / math.log(logits.shape[1])


CONFIDENCES: Mapping[str, Callable[[Tensor], Tensor]] = {"max": most_likely, "margin": margin, "entropy": entropy}


def confidence_named(name: str) -> Callable[[Tensor], Tensor]:
    """A confidence by its name.

    Raises:
        InputError: If there is none of that name.
    """
    if name not in CONFIDENCES:
        raise InputError(f"no confidence is named {name!r}; {nearest_name(name, CONFIDENCES)}")
    return CONFIDENCES[name]

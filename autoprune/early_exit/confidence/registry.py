"""Kinds of confidence by name."""

from __future__ import annotations

from collections.abc import Mapping

from autoprune.early_exit.confidence.base import Confidence
from autoprune.early_exit.confidence.learned import Learned
from autoprune.early_exit.confidence.patience import Patience
from autoprune.early_exit.confidence.probability import Entropy, Margin, MostLikely
from autoprune.errors import InputError
from autoprune.foundations.names import nearest_name

__all__ = ["ALONE", "CONFIDENCES", "confidence_named", "confidences_named"]

CONFIDENCES: Mapping[str, Confidence] = {
    each.name: each for each in (MostLikely(), Margin(), Entropy(), Patience(), Learned())
}

ALONE = tuple(name for name, kind in CONFIDENCES.items() if not kind.carries and not kind.learns)
"""Those that read nothing but one row of logits: of any network, not of exits alone."""


def confidence_named(name: str) -> Confidence:
    """A confidence by its name.

    Raises:
        InputError: If there is none of that name.
    """
    if name not in CONFIDENCES:
        raise InputError(f"no confidence is named {name!r}; {nearest_name(name, CONFIDENCES)}")
    return CONFIDENCES[name]


def confidences_named(text: str) -> tuple[str, ...]:
    """Several by their names with commas between them, or `all`.

    Raises:
        InputError: If there is none of a name.
    """
    if text.strip() == "all":
        return tuple(CONFIDENCES)
    return tuple(dict.fromkeys(confidence_named(each.strip()).name for each in text.split(",")))

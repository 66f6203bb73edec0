"""What is taken away, as users write it: `50%` or `2:4`."""

from __future__ import annotations

from autoprune.errors import InputError
from autoprune.foundations.files import shortened
from autoprune.masks.base import Pattern
from autoprune.masks.n_of_m import NofM
from autoprune.masks.unstructured import Unstructured

__all__ = ["pattern_of_ratio", "share_of_ratio"]


def share_of_ratio(text: str) -> float:
    """The share that is taken away, in (0, 1).

    >>> share_of_ratio("30%"), share_of_ratio("0.5")
    (0.3, 0.5)

    Raises:
        InputError: If the text is no such share.
    """
    word = text.strip()
    try:
        share = float(word.removesuffix("%")) / (100 if word.endswith("%") else 1)
    except ValueError:
        raise InputError(f"--ratio {shortened(repr(text))} is no share; write such as 50%") from None
    if not 0 < share < 1:
        raise InputError(f"--ratio {text} takes away {share:.0%}; give more than 0 and less than 100%")
    return share


def pattern_of_ratio(text: str) -> Pattern:
    """The pattern of zeros: a share of the weights, or N of M neighbours that stay.

    >>> pattern_of_ratio("2:4").name, pattern_of_ratio("50%").name
    ('2:4', 'unstructured:0.5')

    Raises:
        InputError: If the text is neither.
    """
    n, colon, m = text.strip().partition(":")
    if not colon:
        return Unstructured(share_of_ratio(text))
    if not (n.isdecimal() and m.isdecimal()):
        raise InputError(f"--ratio {shortened(repr(text))} is no pattern; write such as 2:4 or 50%")
    return NofM(int(n), int(m))

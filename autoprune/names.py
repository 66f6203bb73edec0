"""Help for people who mistype a name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["nearest_name"]


def nearest_name(name: str, names: Iterable[str]) -> str:
    """The end of an error message about an unknown name: the nearest known one, or all of them.

    >>> nearest_name("resnet2", ["resnet20", "vgg16_bn"])
    "did you mean 'resnet20'?"
    """
    known = list(names)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"

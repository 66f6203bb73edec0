"""Help for people who mistype a name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["closest", "nearest_name"]


_LISTED = 24  # names in a message


def nearest_name(name: str, names: Iterable[str]) -> str:
    """The end of an error message about an unknown name: the nearest known one, or all of them, as far as a line goes.

    >>> nearest_name("resnet2", ["resnet20", "vgg16_bn"])
    "did you mean 'resnet20'?"
    """
    known = list(names)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return f"known: {', '.join(known[:_LISTED])}{more}"


def closest(name: str, names: Iterable[str]) -> str:
    """The most similar of some names, however little it is; case and underscores do not count.

    >>> closest("Fashion_MNIST", ["digits", "fashion-mnist"])
    'fashion-mnist'
    """
    plain = {each.lower().replace("_", "-"): each for each in names}
    return plain[difflib.get_close_matches(name.lower().replace("_", "-"), plain, n=1, cutoff=0.0)[0]]

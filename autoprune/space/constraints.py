"""What users write about a search space: a granularity for each kind of decision, how much of a layer may go."""

from __future__ import annotations

from collections.abc import Sequence

from autoprune.errors import InputError
from autoprune.foundations.names import nearest_name
from autoprune.space.search_space import KINDS

__all__ = ["parsed_caps", "parsed_granularity"]


def parsed_granularity(text: int | str | None) -> tuple[int | None, dict[str, int]]:
    """A granularity for every kind of decision, and those of single kinds.

    Raises:
        InputError: If it is neither a number nor `KIND=NUMBER` with commas.

    >>> parsed_granularity("8"), parsed_granularity("heads=1,channels=8")
    ((8, {}), (None, {'heads': 1, 'channels': 8}))
    """
    if text is None or isinstance(text, int):
        return text, {}
    if "=" not in text:
        return _whole(text, text), {}
    kinds: dict[str, int] = {}
    for part in text.split(","):
        kind, _, number = (each.strip() for each in part.partition("="))
        if kind not in KINDS:
            raise InputError(f"--granularity {text}: {kind!r} is no kind of decisions; {nearest_name(kind, KINDS)}")
        kinds[kind] = _whole(number, text)
    return None, kinds


def _whole(number: str, text: str) -> int:
    if not number.isdecimal() or int(number) < 1:
        raise InputError(f"--granularity {text}: write a number from 1 up, or such as heads=1,channels=8")
    return int(number)


def parsed_caps(caps: Sequence[str]) -> list[tuple[str, float]]:
    """(pattern, share that may be removed) of every `PATTERN=SHARE`.

    Raises:
        InputError: If a share does not lie in [0, 1), or is no number.

    >>> parsed_caps(["layer1.*=0.5", "*.conv1=25%"])
    [('layer1.*', 0.5), ('*.conv1', 0.25)]
    """
    return [(pattern, share) for cap in caps for pattern, share in [_cap(cap)]]


def _cap(cap: str) -> tuple[str, float]:
    pattern, _, amount = cap.rpartition("=")
    try:
        share = float(amount.removesuffix("%")) / (100 if amount.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not pattern or not 0 <= share < 1:
        raise InputError(f"--cap {cap}: write PATTERN=SHARE with a share of the units from 0 up and below 1")
    return pattern, share

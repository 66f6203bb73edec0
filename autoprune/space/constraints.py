"""What users want of a search space: which kinds of decisions, in what multiples, and how much of a layer may go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autoprune.errors import InputError
from autoprune.foundations.names import nearest_name
from autoprune.space.kinds import KINDS, checked_kinds, kind_of

__all__ = ["SpaceConstraints", "parsed_caps", "parsed_granularity"]


@dataclass(frozen=True)
class SpaceConstraints:
    """How a search space is shaped; see docs/search-space.md.

    Attributes:
        granularity: Kept channels are multiples of this (the channel multiple); None for what suits the target.
        granularities: The same by kind of decision, counted in the kind's units, where the user named kinds.
        skip: Names or patterns (`layer1.*`) of layers that stay as they are.
        kinds: What is decided on; None for every kind that is there by default.
        cap: `PATTERN=SHARE`: at most this share of the units of the layers meant is removed.
        tie: Patterns of layers whose widths are decided on together.
    """

    granularity: int | None = None
    granularities: Mapping[str, int] = field(default_factory=dict)
    skip: Sequence[str] = ()
    kinds: Sequence[str] | None = None
    cap: Sequence[str] = ()
    tie: Sequence[str] = ()

    @classmethod
    def parse(
        cls,
        granularity: int | str | None = None,
        skip: Sequence[str] | str = (),
        kinds: Sequence[str] | str | None = None,
        cap: Sequence[str] | str = (),
        tie: Sequence[str] | str = (),
    ) -> SpaceConstraints:
        """Constraints as users write them.

        Args:
            granularity: A number, or by kind `heads=1,channels=8`.
            skip: Patterns.
            kinds: Names, or one text with commas.
            cap: `PATTERN=SHARE` each.
            tie: Patterns.

        Raises:
            InputError: If the granularity cannot be read.
        """
        multiple, by_kind = parsed_granularity(granularity)
        named = [kind.strip() for kind in kinds.split(",")] if isinstance(kinds, str) else kinds
        return cls(multiple, by_kind, skip, named, cap, tie)

    def __post_init__(self) -> None:
        """One text is one pattern, not its letters."""
        for name in ("skip", "kinds", "cap", "tie"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))

    @property
    def chosen(self) -> tuple[str, ...]:
        """The kinds of decisions that are wanted.

        Raises:
            InputError: If one of them is unknown, or there is none.
        """
        return checked_kinds(self.kinds)

    @property
    def gates(self) -> bool:
        """Whether whole branches may be dropped, so that they are to be looked for.

        Raises:
            InputError: If a kind is unknown, or there is none.
        """
        return any(kind_of(kind).gates for kind in self.chosen)

    @property
    def caps(self) -> list[tuple[str, float]]:
        """(pattern, share that may be removed) of every cap.

        Raises:
            InputError: If one cannot be read.
        """
        return parsed_caps(self.cap)


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

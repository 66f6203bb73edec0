"""One decision: what a policy chooses an option for."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from autoprune.errors import InputError
from autoprune.space.kinds import CHANNELS, DecisionKind, kind_of

__all__ = ["Decision"]


@dataclass(frozen=True)
class Decision:
    """Something that a policy may keep less of: a coupled group of units, a residual branch, a share of weights.

    Attributes:
        name: Stable across sessions; for a coupled group the qualified module name of its first producer.
        width: Units of the dense network.
        options: Allowed numbers of kept units, ascending; the last is `width`. A block may keep none.
        kind: What a unit is, of `autoprune.space.KINDS`: `channels`, `heads`, `ffn`, ..., or `block`: a whole residual
            branch, of width 1.
        within: For each place where the units are, the `block` decisions around it. The width matters while one
            place has all of its blocks; without any place, always.
    """

    name: str
    width: int
    options: tuple[int, ...]
    kind: str = CHANNELS
    within: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        kind = self.traits
        ordered = all(a < b for a, b in itertools.pairwise(self.options))
        if not self.options or self.options[0] < kind.least or self.options[-1] != self.width or not ordered:
            raise InputError(
                f"decision {self.name!r}: options {self.options} must ascend from {kind.least} or more to {self.width}"
            )
        if kind.width is not None and self.width != kind.width:
            raise InputError(f"decision {self.name!r}: a {kind.noun} is of {kind.width} unit, not of {self.width}")

    @cached_property
    def traits(self) -> DecisionKind:
        """How decisions of this kind behave."""
        return kind_of(self.kind)

    def matters(self, choices: Mapping[str, int]) -> bool:
        """Whether this decision changes anything: not behind dropped blocks; blocks that are not named are kept."""
        return not self.within or any(all(choices.get(name, 1) for name in place) for place in self.within)

    def nearest(self, units: float) -> int:
        """The option with the number of kept units nearest to `units`; the larger one on a tie."""
        return min(self.options, key=lambda option: (abs(option - units), -option))

    def at(self, keep: float) -> int:
        """The option nearest to a share of the units, as a uniform policy has it: blocks stay, bits are the fewest."""
        if self.traits.uniform == "keep" or (self.traits.uniform == "least" and keep == 1):
            return self.width
        return self.options[0] if self.traits.uniform == "least" else self.nearest(keep * self.width)

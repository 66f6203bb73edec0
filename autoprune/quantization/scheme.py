"""Which integers a network computes with. No torch, no onnx."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from autoprune.errors import InputError
from autoprune.foundations.names import nearest_name

__all__ = ["SCHEMES", "Scheme", "scheme_named"]

Kind = Literal["u8", "s8"]


@dataclass(frozen=True)
class Scheme:
    """Types of activations and weights, and how many scales a weight has.

    Attributes:
        activations: `u8` (0 to 255) or `s8` (-128 to 127), with a zero point.
        weights: `s8` around 0, or `u8` around 128; both symmetric, 255 levels.
        per_channel: Whether each output of a layer has a scale of its own.
        reduced: Whether weights use 7 of their 8 bits. Processors whose instructions add products in 16 bits (AVX2, and
            AVX-512 without VNNI) saturate with 8.
    """

    activations: Kind = "u8"
    weights: Kind = "s8"
    per_channel: bool = True
    reduced: bool = False

    @property
    def name(self) -> str:
        """What reports call it: `U8S8`, `U8S8 reduced`, `S8S8 per tensor`."""
        words = [f"{self.activations}{self.weights}".upper()]
        words += ["reduced"] if self.reduced else []
        words += [] if self.per_channel else ["per tensor"]
        return " ".join(words)

    @property
    def levels(self) -> tuple[int, int]:
        """Least and largest integer of an activation."""
        return (0, 255) if self.activations == "u8" else (-128, 127)

    @property
    def weight_steps(self) -> int:
        """Steps from 0 to the largest weight."""
        return 63 if self.reduced else 127

    @property
    def weight_zero(self) -> int:
        """The integer that stands for a weight of 0."""
        return 0 if self.weights == "s8" else 128


_KINDS = (
    Scheme(),
    Scheme(reduced=True),
    Scheme(activations="s8"),
    Scheme(weights="u8"),
    Scheme(per_channel=False),
    Scheme(per_channel=False, reduced=True),
    Scheme(activations="s8", per_channel=False),
    Scheme(weights="u8", per_channel=False),
)

SCHEMES: dict[str, Scheme] = {scheme.name: scheme for scheme in _KINDS}
"""All that are offered by name, in the order in which equally fast ones are preferred."""


def scheme_named(name: str) -> Scheme:
    """A scheme by its name.

    Raises:
        InputError: If there is none of that name.
    """
    known = {each.lower(): scheme for each, scheme in SCHEMES.items()}
    found = known.get(" ".join(name.replace("-", " ").split()).lower())
    if found is None:
        raise InputError(f"unknown types {name!r}; {nearest_name(name, SCHEMES)}")
    return found

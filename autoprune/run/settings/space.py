"""Which parts of a network may change, and what is kept of them."""

from __future__ import annotations

from typing import Any

from pydantic import field_validator

from autoprune.run.settings.base import Settings, setting, valid
from autoprune.space import STRUCTURED, SpaceConstraints, checked_kinds
from autoprune.space.constraints import parsed_caps, parsed_granularity
from autoprune.space.kinds import kind_of

__all__ = ["SpaceSettings"]

_WIDEST = 2**20  # channels of which a kept width may be a multiple


class SpaceSettings(Settings):
    """Which parts of the network may be narrowed, in which steps, and which of their units are kept."""

    panel = "Search"

    granularity: str | int | None = setting(
        None,
        "kept widths are multiples of this many channels, or by kind, such as heads=1,channels=8; default: what suits"
        " the target",
    )
    techniques: str = setting(
        STRUCTURED,
        "what is done to the network, in the order of their stages: structured (narrower layers, dropped branches), nm"
        " (N:M sparsity), or package.module:Class; several with commas",
    )
    criterion: str = setting("l1", "what ranks units, so which are kept at a given width; see docs/criteria.md")
    candidate_weights: str = setting(
        "reconstructed",
        "what a candidate is scored with and fine-tuned from: reconstructed (layers refitted by least squares),"
        " recalibrated (dense weights, BatchNorm re-estimated), or elastic (a copy trained as a network of all widths)",
    )
    elastic_epochs: int = setting(
        5, "epochs for which elastic candidates' weights are trained at all widths", ge=1, le=10**6
    )
    skip: tuple[str, ...] = setting((), "layers that stay as they are: names or patterns (layer1.*); may be repeated")
    kinds: tuple[str, ...] = setting(
        (),
        "what may be decided on: channels, heads, head_size, ffn, embedding (default: all of these), block, which"
        " drops residual branches, and nm (N:M sparsity; also chosen by --techniques); several with commas",
    )
    cap: tuple[str, ...] = setting(
        (),
        "PATTERN=SHARE: at most this share of the units of the layers meant is removed (layer1.*=0.5 keeps half of"
        " each); may be repeated",
    )
    tie: tuple[str, ...] = setting(
        (),
        "layers that are decided on together: all that a pattern means (layer2.*.conv1) keep one common share of their"
        " units; may be repeated",
    )

    @field_validator("skip", "kinds", "cap", "tie", mode="before")
    @classmethod
    def _one_pattern_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("kinds")
    @classmethod
    def _kinds_are_known(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        named = tuple(part.strip() for kind in kinds for part in kind.split(",") if part.strip())
        return valid(lambda: checked_kinds(named)) if kinds else ()

    @field_validator("granularity")
    @classmethod
    def _granularity_is_one(cls, value: int | str | None) -> int | str | None:
        number, kinds = valid(lambda: parsed_granularity(value))
        if not all(1 <= each <= _WIDEST for each in (*kinds.values(), *(() if number is None else (number,)))):
            raise ValueError(f"should be 1 or more, and at most {_WIDEST}")
        return value if kinds else number

    @field_validator("cap")
    @classmethod
    def _caps_can_be_read(cls, caps: tuple[str, ...]) -> tuple[str, ...]:
        valid(lambda: parsed_caps(caps))
        return caps

    @property
    def constraints(self) -> SpaceConstraints:
        """What the user wants of the search space."""
        return SpaceConstraints.parse(self.granularity, self.skip, self.kinds or None, self.cap, self.tie)

    @property
    def technique_names(self) -> tuple[str, ...]:
        """The techniques of the run, with their settings: those named, and what the named kinds of decisions need."""
        named = tuple(name.strip() for name in self.techniques.split(",") if name.strip())
        needed = {kind_of(kind).technique: None for kind in self.kinds}
        if named == (STRUCTURED,) and needed and STRUCTURED not in needed:
            return tuple(needed)
        known = {name.partition("@")[0] for name in named}
        ours = not any(":" in name for name in known)  # what kinds a class of elsewhere has is not known here
        return (*named, *(name for name in needed if ours and name not in known))

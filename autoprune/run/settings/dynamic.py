"""What a network with early exits is to keep."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, Self

from pydantic import field_validator, model_validator

from autoprune.run.settings.base import Settings, setting

__all__ = ["DynamicSettings"]


class DynamicSettings(Settings):
    """Limits of a dynamic network, and how its heads are trained."""

    panel = "Early exits"

    method: str = setting(
        "exits",
        "what depends on the input: exits, heads inside the network at which inputs leave; switch, widths"
        " of all that lies behind the first block; skip, which residual blocks are computed; gate, which channels of"
        " convolutions are",
    )
    widths: str = setting("25%,50%", "of switch: the shares of the units that its narrow widths keep, ascending")
    active: str = setting(
        "60%", "of skip: the share of the blocks' work that the training aims at; of gate: of the channels"
    )
    dynamic_epochs: int = setting(
        5,
        "of switch: epochs for which a copy is trained at all widths, the first block left as it is; of skip and"
        " gate: for which a copy is trained with its gates",
        ge=1,
        le=10_000,
    )
    mean_latency: str | None = setting(
        None, "largest mean time of a call: 60% of dense, or 2.5ms; without it the least that --max-drop allows"
    )
    worst: str = setting("110%", "longest path, all heads paid, likewise")
    p95: str | None = setting(None, "the time that 95 % of the inputs keep, likewise")
    max_drop: float = setting(
        0.5, "percentage points of accuracy that may be lost on new inputs; an upper bound keeps it", ge=0, lt=100
    )
    exits: int = setting(3, "most exits", ge=1, le=3)
    confidence: str = setting(
        "all",
        "of exits: what says how sure one is, the best of several with commas: max, margin or entropy of the"
        " probabilities; patience, exits in a row that agree; learned, a logistic model on them",
    )
    anytime: bool = setting(
        False, "a deadline for every call: exits are spread over the times, and the report has the thresholds of each"
    )
    static_episodes: int = setting(
        24,
        "episodes of a search for a static network of the same mean latency, which is handed back where it is more"
        " accurate; 0: no such comparison",
        ge=0,
        le=10**6,
    )
    static_epochs: int = setting(2, "epochs of fine-tuning of that network", ge=0, le=10_000)
    head_epochs: int = setting(15, "passes over the values that the heads are trained on", ge=1, le=10_000)
    head_samples: int = setting(20_000, "training samples that the heads learn from at most", ge=1, le=10**9)

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.anytime and self.method != "exits":
            raise ValueError("anytime: only exits have an answer before the end; leave --method out")
        if self.method != "exits" and self.confidence != "all":
            raise ValueError("confidence: only exits have several kinds of it; leave it or --method out")
        if self.anytime and (self.mean_latency or self.p95):
            raise ValueError("anytime: every call has a deadline of its own; leave --mean-latency and --p95 out")
        return self

    @field_validator("widths")
    @classmethod
    def _widths_can_be_read(cls, value: str) -> str:
        _shares(value)
        return value

    @field_validator("active")
    @classmethod
    def _active_can_be_read(cls, value: str) -> str:
        if len(_shares(value)) != 1:
            raise ValueError("write one share of the work, such as 60%")
        return value

    @property
    def active_share(self) -> float:
        """The share of the work that gates aim at, in (0, 1)."""
        return _shares(self.active)[0]

    @property
    def width_shares(self) -> tuple[float, ...]:
        """The narrow widths, ascending, in (0, 1)."""
        return _shares(self.widths)

    @field_validator("mean_latency", "worst", "p95")
    @classmethod
    def _amount_can_be_read(cls, value: Any) -> Any:
        if value is not None:
            _amount(value)
        return value

    def limit_ms(self, name: str, dense: float) -> float | None:
        """A limit in milliseconds.

        Args:
            name: `mean_latency`, `worst` or `p95`.
            dense: The dense network's latency in milliseconds.
        """
        amount = getattr(self, name)
        if amount is None:
            return None
        number, is_share = _amount(amount)
        return number * dense if is_share else number

    @property
    def exit_limits(self) -> dict[str, Any]:
        """The block's settings alone, as the report has them."""
        return {name: getattr(self, name) for name in DynamicSettings.model_fields}


def _amount(text: str) -> tuple[float, bool]:
    """A share, or milliseconds; and whether it is a share.

    Raises:
        ValueError: If it is neither.

    >>> _amount("60%"), _amount("2.5ms")
    ((0.6, True), (2.5, False))
    """
    words = text.strip()
    is_share = words.endswith("%")
    try:
        number = float(words.removesuffix("%") if is_share else words.removesuffix("ms"))
    except ValueError:
        number = math.nan
    if not (is_share or words.endswith("ms")) or not 0 < number < math.inf:
        raise ValueError("write a share of the dense latency (60%) or a time (2.5ms)")
    return (number / 100 if is_share else number), is_share


def _shares(text: str) -> tuple[float, ...]:
    """Shares in ascending order, each above 0 % and below 100 %.

    Raises:
        ValueError: If these are none.

    >>> _shares("25%, 50%")
    (0.25, 0.5)
    """
    try:
        found = tuple(float(part.strip().removesuffix("%")) / 100 for part in text.split(","))
    except ValueError:
        found = ()
    ascending = all(a < b for a, b in pairwise(found))
    if not 1 <= len(found) <= 3 or not ascending or not 0 < found[0] <= found[-1] < 1:
        raise ValueError("write one to three shares, ascending, such as 25%,50%")
    return found

"""What networks are judged by: the score's name, which way is better, and how a value is written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from autoprune.errors import InputError
from autoprune.foundations.numbers import MINUS, NONE, percent, points

__all__ = ["ACCURACY", "Direction", "Estimate", "ScoreSpec"]

Direction = Literal["maximize", "minimize"]

_FORMAT = re.compile(r"[^{}]*\{(:[^{}]*)?\}[^{}]*")


def _refuse_format(text: str) -> None:
    """A format has one place for the value.

    Raises:
        InputError: If it has none, several, or one that takes no number.
    """
    try:
        if text and not _FORMAT.fullmatch(text):
            raise ValueError("one pair of braces")
        (text or "{}").format(1.5)
    except (ValueError, IndexError, KeyError) as error:
        raise InputError(f"the score's format {text!r} cannot be used ({error}); write '{{:.1f}} dB'") from error


@dataclass(frozen=True)
class ScoreSpec:
    """A score as users know it. Values stay in its own unit everywhere; who compares networks compares merits.

    Attributes:
        name: What it is called: `accuracy` is a fraction that is written in percent; any other name has its own unit.
        direction: Whether larger or smaller values are better.
        format: How a value is written, such as `{:.1f} dB`; "" for four digits.

    Raises:
        InputError: If the direction is none, accuracy is to be minimised or formatted, or the format cannot be used.
    """

    name: str = "accuracy"
    direction: Direction = "maximize"
    format: str = ""

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise InputError("a score needs a name, such as PSNR")
        if self.direction not in get_args(Direction):
            raise InputError(f"direction is {self.direction!r}; it must be maximize or minimize")
        if self.is_accuracy and (self.direction, self.format) != ("maximize", ""):
            raise InputError(
                "accuracy is a fraction, the larger the better, written in percent; give the score another name, such"
                " as --score error"
            )
        _refuse_format(self.format)

    @property
    def is_accuracy(self) -> bool:
        """Whether values are shares of right answers: in files under `accuracy`, for people in percent."""
        return self.name == "accuracy"

    @property
    def key(self) -> str:
        """The name that files have a value under: `accuracy`, or `score` for every other."""
        return "accuracy" if self.is_accuracy else "score"

    @property
    def fields(self) -> dict[str, str | None]:
        """What files say of the score, see `of_fields`; of accuracy nothing."""
        if self.is_accuracy:
            return {}
        return {"score_name": self.name, "direction": self.direction, "score_format": self.format or None}

    @classmethod
    def of_fields(cls, name: str | None, direction: Direction | None, format_: str | None) -> ScoreSpec:
        """The score that files speak of; accuracy where they do not.

        Raises:
            InputError: If there can be no such score.
        """
        return ACCURACY if name is None else cls(name, direction or "maximize", format_ or "")

    @property
    def scale(self) -> float:
        """What a value is multiplied by on an axis."""
        return 100.0 if self.is_accuracy else 1.0

    @property
    def axis(self) -> str:
        """An axis' label."""
        return "accuracy, %" if self.is_accuracy else self.name

    def merit(self, value: float) -> float:
        """The value as agents and tournaments see it: the larger, the better.

        >>> ScoreSpec("MSE", "minimize").merit(3.5)
        -3.5
        """
        return value if self.direction == "maximize" else -value

    def text(self, value: float | None) -> str:
        """A value for people.

        >>> ACCURACY.text(0.9192), ScoreSpec("PSNR", format="{:.1f} dB").text(37.52), ScoreSpec("IoU").text(0.71239)
        ('91.92 %', '37.5 dB', '0.7124')
        """
        if value is None:
            return NONE
        return percent(value) if self.is_accuracy else (self.format or "{:.4g}").format(value)

    def change(self, difference: float | None) -> str:
        """A difference of two values with its sign: percentage points of accuracy, else in the score's own unit.

        >>> ScoreSpec("PSNR", format="{:.1f} dB").change(0.34), ACCURACY.change(0.011)
        ('+0.3 dB', '+1.10')
        """
        if difference is None or self.is_accuracy:
            return points(difference)
        if not difference:
            return self.text(0.0)
        return f"{'+' if difference > 0 else MINUS}{self.text(abs(difference))}"

    def with_spread(self, mean: float | None, spread: float | None) -> str:
        """A mean and its standard deviation: `91.92 ± 0.21 %`; the mean alone where there is no spread."""
        if mean is None or spread is None:
            return self.text(mean)
        text = self.text(mean)
        return f"{text.removesuffix(' %') if self.is_accuracy else text} \N{PLUS-MINUS SIGN} {self.text(spread)}"

    def least(self, dense: float, drop: float) -> float:
        """The worst value that a `--accuracy-drop` allows.

        Args:
            dense: The dense network's value.
            drop: In percentage points of accuracy, or in the unit of another score.

        >>> round(ACCURACY.least(0.93, 0.5), 4), ScoreSpec("MSE", "minimize").least(12.0, 0.5)
        (0.925, 12.5)
        """
        return dense - (drop / 100 if self.is_accuracy else self.merit(drop))

    def drop_text(self, drop: float) -> str:
        """A `--accuracy-drop` for people."""
        return f"{drop:g} points" if self.is_accuracy else f"{self.text(drop)} of {self.name}"


@dataclass(frozen=True)
class Estimate:
    """A score, and how much of the images it was taken on.

    Attributes:
        value: The score, or where there was no need for all images what it is estimated to be.
        share: Of the images, in (0, 1].
    """

    value: float
    share: float = 1.0


ACCURACY = ScoreSpec()
"""Top-1 accuracy, as `autoprune.evaluation.accuracy` computes it."""

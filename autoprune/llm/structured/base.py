"""The contract of a structured method: a language model in, a smaller one of the same class out."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from autoprune.errors import InputError
from autoprune.foundations.numbers import percent
from autoprune.foundations.progress import Progress, no_progress
from autoprune.llm.models.base import LanguageModel

__all__ = ["Calibration", "Outcome", "Structured", "kept_of"]


@dataclass(frozen=True)
class Calibration:
    """What a method may learn from.

    Attributes:
        windows: Token ids of the calibration text, int64 (windows, tokens).
        progress: Receives (done, all, what is done).
    """

    windows: Tensor
    progress: Progress = no_progress


@dataclass(frozen=True)
class Outcome:
    """A pruned model.

    Attributes:
        model: Its network is the stock class, made from its own config.
        removed: What is gone, for the report: JSON values by name.
        ratio: The share that is gone of what the method counts.
    """

    model: LanguageModel
    ratio: float
    removed: Mapping[str, Any] = field(default_factory=dict)


class Structured(abc.ABC):
    """Takes a share of something away.

    Attributes:
        name: What users call it.
        counts: What its ratio is a share of, in the plural.
    """

    name: ClassVar[str]
    counts: ClassVar[str]

    @abc.abstractmethod
    def prune(self, model: LanguageModel, ratio: float, calibration: Calibration) -> Outcome:
        """A smaller model; the one that was handed over stays as it is.

        Args:
            model: Any causal language model that the couplings can be read off.
            ratio: The share to take away, in (0, 1).
            calibration: Text to decide by.

        Raises:
            InputError: If the ratio takes nothing or everything away, or the stock class cannot be what is left.
            UnsupportedModelError: If the model has not got what the method prunes.
        """


def kept_of(total: int, ratio: float, what: str, multiple: int = 1) -> int:
    """How many stay: the nearest to what the ratio says, in multiples.

    Args:
        total: Of the dense model.
        ratio: The share to take away, in (0, 1).
        what: What is counted, for the message.
        multiple: Only multiples of this many stay.

    Raises:
        InputError: If nothing would be left, or nothing taken away.

    >>> kept_of(1536, 0.125, "neurons", 32), kept_of(30, 0.1, "blocks")
    (1344, 27)
    """
    if not 0 < ratio < 1:
        raise InputError(f"a ratio is the share to take away, above 0 and below 100 %, not {percent(ratio)}")
    kept = round(total * (1 - ratio) / multiple) * multiple
    if kept < 1:
        raise InputError(f"{percent(ratio)} of {total} {what} leaves none; keep {multiple} at least")
    if kept >= total:
        raise InputError(
            f"{percent(ratio)} of {total} {what} takes none away; the least step is {percent(multiple / total)}"
        )
    return kept

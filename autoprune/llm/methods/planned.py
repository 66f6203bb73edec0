"""What a method would do, and about how long it would take: for dry runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from autoprune.llm.methods.options import MethodOptions
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.texts import Text
from autoprune.pipeline.plan.base import PlannedStage
from autoprune.pipeline.reporter import Reporter

__all__ = ["Ahead", "Outlook"]


@dataclass(frozen=True, eq=False)
class Ahead:
    """What lies ahead of a method.

    Attributes:
        model: The dense model.
        blocks: Of it.
        text: The calibration text.
        windows: Drawn from it, int64 (windows, tokens).
        options: What is taken away, and how.
        token: Seconds in which the model reads a token, as just measured.
        reporter: Shows stages.
    """

    model: LanguageModel
    blocks: int
    text: Text
    windows: Tensor
    options: MethodOptions
    token: float
    reporter: Reporter

    def reading(self, name: str, tokens: float, what: str) -> PlannedStage:
        """A stage that takes as long as the model needs to read so many tokens."""
        return PlannedStage(name, tokens * self.token, f"{what}: {tokens:.0f} tokens, {1e3 * self.token:.2f} ms each")


@dataclass(frozen=True)
class Outlook:
    """What a method would do.

    Attributes:
        decisions: How many of each kind.
        budget: What is asked for.
        stages: In order, with estimated seconds.
        frozen: What stays, and why.
        written: Files of the run's folder that are this method's alone.
    """

    decisions: Mapping[str, int]
    budget: str
    stages: tuple[PlannedStage, ...]
    frozen: Mapping[str, str] = field(default_factory=dict)
    written: tuple[str, ...] = ()

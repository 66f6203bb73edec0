"""The contract of a method of `autoprune llm prune`, one-shot sparsity and structured pruning alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from autoprune.llm.blocks.storage import BlockStorage
from autoprune.llm.methods.options import MethodOptions
from autoprune.llm.methods.planned import Ahead, Outlook
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.texts import Text
from autoprune.pipeline.reporter import Reporter
from autoprune.run.directory import RunDir

__all__ = ["Method", "PrunedModel", "Work"]


@dataclass(frozen=True, eq=False)
class Work:
    """What a method works on.

    Attributes:
        model: The dense model; a method may change its network in place.
        storage: Its blocks, for methods that go through them one by one.
        text: The calibration text.
        windows: Drawn from it, int64 (windows, tokens).
        options: What is taken away, and how.
        run: The run's folder; what took time is asked of `run.once`, so that a run that goes on reads it back.
        reporter: Shows stages and sentences.
    """

    model: LanguageModel
    storage: BlockStorage
    text: Text
    windows: Tensor
    options: MethodOptions
    run: RunDir[Any]
    reporter: Reporter


@dataclass(frozen=True, eq=False)
class PrunedModel:
    """What a method made.

    Attributes:
        model: The pruned model, whose network and tokenizer may be others than the dense one's.
        details: Plain values for the report: what was taken away where.
        saved: Writes the model to a folder where `save_folder` cannot, such as one that is not all in memory.
    """

    model: LanguageModel
    details: dict[str, Any] = field(default_factory=dict)
    saved: Callable[[Path], None] | None = None


class Method(ABC):
    """A way to make a language model smaller or sparser. A method holds no state.

    Attributes:
        name: What users call it.
        by_blocks: Whether it works with one block in memory at a time, through `Work.storage`.
        leaves_zeros: Whether what it takes away are zeros, which a training after it must hold.
        marks_start: Whether it calls `RunDir.mark_started` itself, once it knows that it can do what is asked for.
    """

    name: ClassVar[str]
    by_blocks: ClassVar[bool] = False
    leaves_zeros: bool = False
    marks_start: ClassVar[bool] = False

    @abstractmethod
    def check(self, options: MethodOptions) -> None:
        """Refuse, before anything is loaded, what is wrong in the options alone.

        Raises:
            InputError: Naming the option.
        """

    def tokens_read(self, ahead: Ahead) -> float:
        """About how many tokens the model reads, or what takes as long, until it is pruned; once all windows here."""
        return float(ahead.windows.numel())

    def outlook(self, ahead: Ahead) -> Outlook:
        """What it would do, and how long it would take; nothing is changed or written.

        Raises:
            InputError: If the model or the text does not allow it.
            BudgetError: If it has a budget that cannot be met.
            TargetError: If the target fails.
        """
        stage = ahead.reading("prune", self.tokens_read(ahead), "calibration")
        return Outlook({"block": ahead.blocks}, f"{ahead.options.ratio} by {self.name}", (stage,))

    @abstractmethod
    def prune(self, work: Work) -> PrunedModel:
        """Prune the model.

        Raises:
            InputError: If the model or the text does not allow it.
        """

"""Blocks, heads, neurons and channels taken away, as methods of `autoprune llm prune`."""

from __future__ import annotations

from typing import ClassVar

from autoprune.errors import InputError
from autoprune.llm.methods.base import Method, PrunedModel, Work
from autoprune.llm.methods.options import MethodOptions, refuse_protection
from autoprune.llm.methods.planned import Ahead
from autoprune.llm.methods.ratio import share_of_ratio
from autoprune.llm.structured import Calibration, Structured
from autoprune.llm.structured.base import kept_of
from autoprune.llm.structured.depth import Depth, tokens_to_choose
from autoprune.llm.structured.ffn import FeedForward
from autoprune.llm.structured.heads import Heads
from autoprune.llm.structured.hidden import Hidden
from autoprune.llm.structured.llm_pruner import LlmPruner
from autoprune.llm.structured.protected import Protected

__all__ = [
    "DepthMethod",
    "FeedForwardMethod",
    "HeadsMethod",
    "HiddenMethod",
    "LlmPrunerMethod",
    "StructuredMethod",
    "WithoutOneShotOptions",
]


class WithoutOneShotOptions(Method):
    """A method that takes a share of something away.

    Attributes:
        protects: Whether it can leave blocks whole.
    """

    protects: ClassVar[bool] = False

    def check(self, options: MethodOptions) -> None:
        """See `Method.check`."""
        share_of_ratio(options.ratio)
        if not self.protects:
            refuse_protection(options, self.name)
        given = {
            "--owl": options.owl,
            "--sequential": options.sequential,
            "--damping": options.damping is not None,
            "--bits": options.bits is not None,
        }
        for option, is_given in given.items():
            if is_given:
                raise InputError(f"{option} is of one-shot sparsity; {self.name} has none")


class StructuredMethod(WithoutOneShotOptions):
    """Something is taken away whole; what is left is a smaller model of the same class."""

    how: ClassVar[type[Structured]]

    def prune(self, work: Work) -> PrunedModel:
        """See `Method.prune`."""
        how = self._made(work.options)
        with work.reporter.stage("prune", f"pruning {how.counts}") as bar:
            made = how.prune(work.model, share_of_ratio(work.options.ratio), Calibration(work.windows, bar))
        return PrunedModel(made.model, {"ratio": made.ratio, **made.removed})

    def _made(self, options: MethodOptions) -> Structured:
        return self.how()


class DepthMethod(StructuredMethod):
    """Fewer decoder blocks."""

    name: ClassVar[str] = "depth"
    how = Depth

    def tokens_read(self, ahead: Ahead) -> float:
        """See `Method.tokens_read`."""
        gone = ahead.blocks - kept_of(ahead.blocks, share_of_ratio(ahead.options.ratio), "blocks")
        return super().tokens_read(ahead) + tokens_to_choose(gone, ahead.windows)


class FeedForwardMethod(StructuredMethod):
    """Fewer neurons in every feed-forward part."""

    name: ClassVar[str] = "ffn"
    how = FeedForward


class HeadsMethod(StructuredMethod):
    """Fewer attention heads in every block."""

    name: ClassVar[str] = "heads"
    how = Heads


class HiddenMethod(StructuredMethod):
    """A narrower residual stream."""

    name: ClassVar[str] = "hidden"
    how = Hidden


class LlmPrunerMethod(StructuredMethod):
    """Fewer neurons and groups of heads, by what the loss would lose."""

    name: ClassVar[str] = "llm-pruner"
    how = LlmPruner
    protects: ClassVar[bool] = True

    def check(self, options: MethodOptions) -> None:
        """See `Method.check`."""
        super().check(options)
        _protected(options)

    def _made(self, options: MethodOptions) -> Structured:
        return LlmPruner(options.taylor, _protected(options))


def _protected(options: MethodOptions) -> Protected:
    return Protected.of(options.protect) if options.protect else Protected()

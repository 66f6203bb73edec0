"""Magnitude, Wanda and SparseGPT as methods of `autoprune llm prune`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from autoprune.errors import InputError
from autoprune.llm.blocks.shards import Shards, save_shards
from autoprune.llm.methods.base import Method, PrunedModel, Work
from autoprune.llm.methods.options import MethodOptions, refuse_protection
from autoprune.llm.methods.planned import Ahead
from autoprune.llm.methods.ratio import pattern_of_ratio
from autoprune.llm.sparsity.base import OneShot
from autoprune.llm.sparsity.magnitude import Magnitude
from autoprune.llm.sparsity.owl import ratios
from autoprune.llm.sparsity.sparse_gpt import SparseGpt
from autoprune.llm.sparsity.walk import LayerFigures, OneShotPlan, outlier_shares, prune_blocks
from autoprune.llm.sparsity.wanda import Wanda
from autoprune.masks.unstructured import Unstructured
from autoprune.reconstruction.sparsegpt import DAMPING

__all__ = ["MagnitudeMethod", "OneShotMethod", "SparseGptMethod", "WandaMethod"]


_GROUPS = 3  # further groups of layers that read one tensor in a block


class OneShotMethod(Method):
    """Zeros in every linear layer of the blocks; embeddings, norms and the head stay as they are."""

    by_blocks = True
    leaves_zeros = True
    one_shot: ClassVar[type[OneShot]]
    passes: ClassVar[float] = 2.0  # over all windows: to collect what layers read, and behind pruned layers

    def check(self, options: MethodOptions) -> None:
        """See `Method.check`."""
        refuse_protection(options, self.name)
        pattern = pattern_of_ratio(options.ratio)
        if options.owl and not isinstance(pattern, Unstructured):
            raise InputError(
                f"--owl shares out zeros, which {options.ratio} does not allow; give a --ratio such as 50%"
            )
        for option, given in (("--damping", options.damping), ("--bits", options.bits)):
            if given is not None and not issubclass(self.one_shot, SparseGpt):
                raise InputError(f"{option} is of sparsegpt; {self.name} has none")
        self._made(options)

    def prune(self, work: Work) -> PrunedModel:
        """See `Method.prune`."""
        stack = work.storage.stack
        plan = OneShotPlan(
            self._made(work.options), pattern_of_ratio(work.options.ratio), work.options.sequential, _ratios(work)
        )
        with work.reporter.stage("prune", f"pruning by {self.name}, block by block", len(stack.blocks)) as bar:
            rows = prune_blocks(work.storage, work.windows, plan, bar)
        for row in rows:
            if row.note:
                work.reporter.say(f"{row.name}: {row.note}")
        details = {"layers": [asdict(row) for row in rows], "zeros": _zeros(rows)}
        if plan.ratios is not None:
            details["block_ratios"] = list(plan.ratios)
        return PrunedModel(work.model, details, _saving(work))

    def tokens_read(self, ahead: Ahead) -> float:
        """See `Method.tokens_read`; groups of layers are read one after the other where that is asked for."""
        again = self.passes and _GROUPS * ahead.options.sequential + ahead.options.owl
        return (self.passes + again) * ahead.windows.numel()

    def _made(self, options: MethodOptions) -> OneShot:
        if issubclass(self.one_shot, SparseGpt):
            return self.one_shot(DAMPING if options.damping is None else options.damping, options.bits)
        return self.one_shot()


class MagnitudeMethod(OneShotMethod):
    """See `autoprune.llm.sparsity.magnitude`."""

    name = "magnitude"
    one_shot = Magnitude
    passes = 0.0


class WandaMethod(OneShotMethod):
    """See `autoprune.llm.sparsity.wanda`."""

    name = "wanda"
    one_shot = Wanda


class SparseGptMethod(OneShotMethod):
    """See `autoprune.llm.sparsity.sparse_gpt`."""

    name = "sparsegpt"
    one_shot = SparseGpt
    passes = 4.0  # its factors and updates take about as long as the two passes


def _ratios(work: Work) -> tuple[float, ...] | None:
    """OWL's share of zeros of each block, decided once in a run: blocks that are done are pruned when it goes on."""
    pattern = pattern_of_ratio(work.options.ratio)
    if not work.options.owl or not isinstance(pattern, Unstructured):
        return None

    def found() -> list[float]:
        with work.reporter.stage("calibrate", "counting outliers, block by block") as bar:
            shares, weights = outlier_shares(work.storage, work.windows, bar)
        return ratios(shares, weights, pattern.zeros)

    return tuple(work.run.once("owl ratios", found))


def _zeros(rows: list[LayerFigures]) -> float:
    return sum(row.zeros for row in rows) / sum(row.weights for row in rows)


def _saving(work: Work) -> Any:
    storage = work.storage
    if not isinstance(storage, Shards):
        return None

    def save(folder: Path) -> None:
        save_shards(work.model, storage, folder)

    return save

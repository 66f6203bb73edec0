"""Fewer tokens, as a method of `autoprune llm prune`."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from autoprune.llm.methods.base import PrunedModel, Work
from autoprune.llm.methods.planned import Ahead
from autoprune.llm.methods.ratio import share_of_ratio
from autoprune.llm.methods.structured import WithoutOneShotOptions
from autoprune.llm.structured.base import kept_of
from autoprune.llm.vocabulary.bpe import read_bpe
from autoprune.llm.vocabulary.choose import choose_tokens
from autoprune.llm.vocabulary.network import token_numbers, with_tokens
from autoprune.llm.vocabulary.rebuild import rebuilt

__all__ = ["VocabularyMethod"]


class VocabularyMethod(WithoutOneShotOptions):
    """The tokens stay that the calibration text has most often; any other text is still written, with more of them."""

    name: ClassVar[str] = "vocabulary"

    def tokens_read(self, ahead: Ahead) -> float:
        """See `Method.tokens_read`; tokens are counted, and no network reads them."""
        return 0.0

    def prune(self, work: Work) -> PrunedModel:
        """See `Method.prune`."""
        network, tokenizer = work.model.network, work.model.tokenizer
        bpe = read_bpe(tokenizer)
        total = int(work.model.config.vocab_size)
        if bpe.lacking:
            work.reporter.say(f"the tokenizer has no token for {bpe.lacking} of the 256 bytes, before and after")
        count = kept_of(total, share_of_ratio(work.options.ratio), "tokens")
        with work.reporter.stage("prune", "counting and pruning tokens"):
            before = work.text.tokens(tokenizer)
            chosen = choose_tokens(bpe, before, count, token_numbers(network))
            smaller = rebuilt(tokenizer, bpe, chosen.kept)
            small = with_tokens(network, chosen.kept)
        details = {
            "ratio": 1 - len(chosen.kept) / total,
            "tokens": [total, len(chosen.kept)],
            "bytes_without_token": bpe.lacking,
            "unseen": chosen.unseen,
            "lost": chosen.lost,
            "calibration_tokens": [len(before), len(work.text.tokens(smaller))],
        }
        return PrunedModel(replace(work.model, network=small, tokenizer=smaller), details)

"""Which tokens stay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor

from autoprune.errors import InputError
from autoprune.llm.vocabulary.bpe import Bpe

__all__ = ["Choice", "choose_tokens"]


@dataclass(frozen=True)
class Choice:
    """Tokens that stay.

    Attributes:
        kept: Their numbers, ascending; place in the list = new number.
        unseen: How many of them the corpus does not have.
        lost: Share of the corpus's tokens that are written with others now.
    """

    kept: tuple[int, ...]
    unseen: int
    lost: float


def choose_tokens(bpe: Bpe, corpus: Tensor, count: int, always: Collection[int] = ()) -> Choice:
    """The tokens that a corpus has most often, each with those that it is merged from.

    Single bytes and added tokens stay in any case; places that are left go to unseen tokens, the first merged first.

    Args:
        bpe: The tokenizer.
        corpus: Token ids, int64 (tokens,).
        count: How many tokens stay.
        always: Further numbers that stay.

    Raises:
        InputError: If so few cannot write any text.
    """
    kept = set(bpe.always) | bpe.with_parts(always)
    if count < len(kept):
        raise InputError(
            f"a vocabulary of {count} tokens is too small: the bytes and special tokens are {len(kept)} already"
        )
    counts = Counter(corpus.tolist())
    parts = bpe.parts()
    for token in sorted(set(bpe.ids.values()), key=lambda number: (-counts[number], number)):
        if len(kept) == count:
            break
        more = _missing(token, parts, kept)
        if len(kept) + len(more) <= count:
            kept |= more
    lost = sum(times for token, times in counts.items() if token not in kept)
    return Choice(tuple(sorted(kept)), sum(not counts[token] for token in kept), lost / max(len(corpus), 1))


def _missing(token: int, parts: dict[int, set[int]], kept: set[int]) -> set[int]:
    """The token and what it is merged from, as far as that is not kept yet."""
    found: set[int] = set()
    left = [token]
    while left:
        one = left.pop()
        if one not in kept and one not in found:
            found.add(one)
            left += parts.get(one, ())
    return found

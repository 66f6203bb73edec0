"""A byte-level BPE tokenizer taken apart: tokens, merges, and what any text can be written with."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from autoprune.errors import InputError

__all__ = ["Bpe", "read_bpe"]


# The letter in place of each byte, as GPT-2 chose them: itself where it is printed, else one behind the 256.
_PRINTED = (*range(33, 127), *range(161, 173), *range(174, 256))
_LETTERS = frozenset(map(chr, (*_PRINTED, *range(256, 512 - len(_PRINTED)))))


@dataclass(frozen=True)
class Bpe:
    """What a `tokenizer.json` says.

    Attributes:
        content: All of it.
        ids: Token -> number, added ones too.
        merges: Pairs, the first merged first.
        always: Numbers of tokens that stay: single bytes, and added ones.
        lacking: How many of the 256 bytes have no token: the dense tokenizer leaves them out of texts, too.
    """

    content: dict[str, Any]
    ids: Mapping[str, int]
    merges: tuple[tuple[str, str], ...]
    always: frozenset[int]
    lacking: int = 0

    def parts(self) -> dict[int, set[int]]:
        """Token -> all tokens that are merged to it, in any way."""
        found: dict[int, set[int]] = {}
        for left, right in self.merges:
            whole = self.ids.get(left + right)
            if whole is not None:
                found.setdefault(whole, set()).update({self.ids[left], self.ids[right]})
        return found

    def with_parts(self, tokens: Collection[int]) -> set[int]:
        """The tokens with all that they are merged from: so they can still be reached."""
        parts, found, left = self.parts(), set(), list(tokens)
        while left:
            token = left.pop()
            if token not in found:
                found.add(token)
                left += parts.get(token, ())
        return found


def read_bpe(tokenizer: Any) -> Bpe:
    """Take a tokenizer of `transformers` apart.

    Raises:
        InputError: If it is no byte-level BPE, of which alone we know that any text can be written without merges.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content: dict[str, Any] = json.loads(backend.to_str()) if backend is not None else {"model": {}}
    model = content["model"]
    if model.get("type") != "BPE" or not _of_bytes(content.get("pre_tokenizer")):
        kind = model.get("type") or type(tokenizer).__name__
        raise InputError(f"a vocabulary is pruned of byte-level BPE tokenizers, not of this {kind}")
    ids = {**model["vocab"], **{entry["content"]: entry["id"] for entry in content["added_tokens"]}}
    letters = [letter for letter in _LETTERS if letter in model["vocab"]]
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]
    added = {entry["id"] for entry in content["added_tokens"]}
    always = added | {ids[letter] for letter in letters}
    pairs = tuple((left, right) for left, right in merges)
    return Bpe(content, ids, pairs, frozenset(always), len(_LETTERS) - len(letters))


def _of_bytes(pre: Mapping[str, Any] | None) -> bool:
    steps = [] if pre is None else pre["pretokenizers"] if pre["type"] == "Sequence" else [pre]
    return any(step["type"] == "ByteLevel" for step in steps)

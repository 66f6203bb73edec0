"""What a GGUF file says of the tokenizer: tokens, merges, how text is split before, special tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoprune.errors import InputError

__all__ = ["Tokens"]

_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5

# How the splitters of `tokenizers` are called in llama.cpp; the two long ones are Llama 3's and Qwen2's.
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLITTERS = {_LLAMA3: "llama-bpe", _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}"): "qwen2"}


@dataclass(frozen=True)
class Tokens:
    """A byte-level BPE tokenizer in llama.cpp's terms.

    Attributes:
        texts: Every token as its bytes' stand-in letters, by id.
        types: What each is: 1 normal, 3 control, 4 defined by the user, 5 unused.
        merges: Pairs in the order in which they are merged, "a b".
        splitter: llama.cpp's name for how text is cut into words.
        special: Kind of special token ("bos", "eos", "unk", "pad") -> its id.
        adds_bos: Whether a text begins with the first of them.
        chat_template: Jinja text; None where there is none.
    """

    texts: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...]
    splitter: str
    special: Mapping[str, int]
    adds_bos: bool
    chat_template: str | None

    @classmethod
    def read(cls, tokenizer: Any, size: int) -> Tokens:
        """Those of a tokenizer of `transformers`.

        Args:
            tokenizer: A fast one.
            size: Rows of the model's embedding; ids that the tokenizer does not use become unused tokens.

        Raises:
            InputError: If it is no byte-level BPE, or splits text in a way that llama.cpp has no name for.
        """
        content = _content(tokenizer)
        known = {number: text for text, number in tokenizer.get_vocab().items()}
        added = {entry["id"]: entry["special"] for entry in content["added_tokens"]}
        if known and max(known) >= size:
            raise InputError(f"the tokenizer has token {max(known)}, the model's embedding {size} rows")
        types = [
            _UNUSED if n not in known else _NORMAL if n not in added else _CONTROL if added[n] else _USER_DEFINED
            for n in range(size)
        ]
        special = {kind: getattr(tokenizer, f"{kind}_token_id", None) for kind in ("bos", "eos", "unk", "pad")}
        return cls(
            texts=tuple(known.get(number, f"[PAD{number}]") for number in range(size)),
            types=tuple(types),
            merges=tuple(m if isinstance(m, str) else " ".join(m) for m in content["model"]["merges"]),
            splitter=_splitter(content["pre_tokenizer"]),
            special={kind: number for kind, number in special.items() if number is not None},
            adds_bos=tokenizer("a")["input_ids"][:1] == [special["bos"]],
            chat_template=tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else None,
        )

    def write(self, writer: Any) -> None:
        """Into a file's header."""
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(self.splitter)
        writer.add_token_list(list(self.texts))
        writer.add_token_types(list(self.types))
        writer.add_token_merges(list(self.merges))
        for kind, number in self.special.items():
            getattr(writer, f"add_{kind}_token_id")(number)
        writer.add_add_bos_token(self.adds_bos)
        writer.add_add_space_prefix(False)
        if self.chat_template is not None:
            writer.add_chat_template(self.chat_template)


def _content(tokenizer: Any) -> dict[str, Any]:
    """What its `tokenizer.json` would say.

    Raises:
        InputError: If it is no byte-level BPE.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content: dict[str, Any] = json.loads(backend.to_str()) if backend is not None else {"model": {}}
    kind = content["model"].get("type")
    if kind != "BPE" or content["model"].get("byte_fallback") or not _splits_bytes(content.get("pre_tokenizer")):
        raise InputError(
            f"GGUF is written for byte-level BPE tokenizers, not for this {kind or type(tokenizer).__name__}"
        )
    if content.get("normalizer") not in (None, {"type": "NFC"}):
        raise InputError(f"llama.cpp does not normalise text by {content['normalizer'].get('type')}")
    return content


def _steps(pre: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if pre is None:
        return []
    return list(pre["pretokenizers"]) if pre["type"] == "Sequence" else [pre]


def _splits_bytes(pre: Mapping[str, Any] | None) -> bool:
    return any(step["type"] == "ByteLevel" for step in _steps(pre))


def _splitter(pre: Mapping[str, Any]) -> str:
    """llama.cpp's name for a splitter.

    Raises:
        InputError: If it has none.
    """
    *before, last = _steps(pre)
    plain = last["type"] == "ByteLevel" and not last["add_prefix_space"]
    if plain and last["use_regex"] and not before:
        return "gpt-2"
    if plain and last["use_regex"] and before == [{"type": "Digits", "individual_digits": True}]:
        return "smollm"
    if plain and not last["use_regex"] and len(before) == 1 and before[0]["type"] == "Split":
        pattern = before[0]["pattern"].get("Regex")
        if pattern in _SPLITTERS and before[0]["behavior"] == "Isolated" and not before[0]["invert"]:
            return _SPLITTERS[pattern]
    raise InputError(f"llama.cpp has no name for how this tokenizer splits text: {[s['type'] for s in _steps(pre)]}")

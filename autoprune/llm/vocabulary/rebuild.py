"""The tokenizer with fewer tokens: merges that are still reachable, numbers without gaps."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoprune.llm.models.folder import load_tokenizer
from autoprune.llm.vocabulary.bpe import Bpe

__all__ = ["rebuilt"]


def rebuilt(tokenizer: Any, bpe: Bpe, kept: Sequence[int]) -> Any:
    """A tokenizer of the same class with these tokens.

    Any text still encodes, and decodes exactly: all bytes are there. A text whose tokens are all kept, each with what
    it is merged from, is cut as before: at every step the pair that was merged first is there, and no pair is new.

    Args:
        tokenizer: Of `transformers`; left as it is.
        bpe: What it is made of.
        kept: Numbers of the tokens that stay; place = new number.
    """
    new = {old: place for place, old in enumerate(kept)}
    content = _content(bpe, new)
    with tempfile.TemporaryDirectory(prefix="autoprune-tokenizer-") as folder:
        tokenizer.save_pretrained(folder)
        for extra in ("vocab.json", "merges.txt"):  # of the old tokenizer
            (Path(folder) / extra).unlink(missing_ok=True)
        (Path(folder) / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        config = Path(folder) / "tokenizer_config.json"
        said = json.loads(config.read_text(encoding="utf-8"))
        said.pop("added_tokens_decoder", None)  # with old numbers; tokenizer.json has them
        config.write_text(json.dumps(said), encoding="utf-8")
        return load_tokenizer(Path(folder))


def _content(bpe: Bpe, new: Mapping[int, int]) -> dict[str, Any]:
    """What `tokenizer.json` says of these tokens."""
    content: dict[str, Any] = json.loads(json.dumps(bpe.content))
    model = content["model"]
    vocabulary = {token: new[number] for token, number in model["vocab"].items() if number in new}
    model["vocab"] = vocabulary
    model["merges"] = [
        [left, right]
        for left, right in bpe.merges
        if left in vocabulary and right in vocabulary and left + right in vocabulary
    ]
    for entry in content["added_tokens"]:
        entry["id"] = new[entry["id"]]
    for token in _template_tokens(content.get("post_processor")):
        token["ids"] = [new[number] for number in token["ids"]]
    return content


def _template_tokens(processor: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Special tokens, with their numbers, that a post-processor puts around texts."""
    if processor is None:
        return []
    steps = processor["processors"] if processor["type"] == "Sequence" else [processor]
    return [
        token for step in steps if step["type"] == "TemplateProcessing" for token in step["special_tokens"].values()
    ]

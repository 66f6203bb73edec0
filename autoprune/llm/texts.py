"""Texts in files and folders, and their tokens."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autoprune.errors import InputError
from autoprune.llm.models.library import quiet

__all__ = ["Text", "held_out", "read_text", "reference_prose"]

_SUFFIXES = (".txt", ".md", ".text", ".rst")
_HELD_OUT = 0.1  # share of a calibration text that is held out where no other text was given


@dataclass(frozen=True)
class Text:
    """A text to read.

    Attributes:
        name: For people and reports.
        documents: Its files' contents, in order.
        files: Where they lie, resolved; empty for a text that lies nowhere.
    """

    name: str
    documents: tuple[str, ...]
    files: tuple[Path, ...] = ()

    @property
    def digest(self) -> str:
        """What tells it from any other text."""
        return hashlib.sha256("\0".join(self.documents).encode()).hexdigest()

    def tokens(self, tokenizer: Any, most: int | None = None) -> Tensor:
        """Its token ids, int64 (tokens,), without special tokens between the documents.

        Args:
            tokenizer: Of the model.
            most: So many are enough; all if None.
        """
        found: list[int] = []
        for document in self.documents:
            with quiet():
                found += tokenizer(document, add_special_tokens=False, verbose=False)["input_ids"]
            if most is not None and len(found) >= most:
                break
        return torch.tensor(found[:most], dtype=torch.int64)


def read_text(path: str | Path) -> Text:
    """The text in a file, or in all text files of a folder and the folders in it, by name.

    Raises:
        InputError: If there is none, or it is not text.
    """
    place = Path(path)
    if not place.exists():
        raise InputError(f"there is no text at {place}")
    files = _files_in(place) if place.is_dir() else [place]
    if not files:
        raise InputError(f"{place} holds no text files ({', '.join(_SUFFIXES)})")
    documents = tuple(_content(file) for file in files)
    if not any(document.strip() for document in documents):
        raise InputError(f"{place} holds no text: it is empty")
    return Text(place.stem or place.resolve().name, documents, tuple(file.resolve() for file in files))


def _files_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES and file.is_file())


def _content(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not text: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from error


def held_out(text: Text) -> tuple[Text, Text]:
    """A text without its last tenth, and that tenth."""
    whole = "\n".join(text.documents)
    cut = whole.rfind(" ", 0, int(len(whole) * (1 - _HELD_OUT))) + 1 or int(len(whole) * (1 - _HELD_OUT))
    return Text(text.name, (whole[:cut],)), Text(f"{text.name}-held-out", (whole[cut:],))


def reference_prose() -> Text:
    """English prose that every Python has: the reference texts of its `help()`; a domain of its own."""
    from pydoc_data.topics import topics

    return Text("python-reference", tuple(topics[name] for name in sorted(topics)))

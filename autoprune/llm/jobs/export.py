"""A pruned language model as files that others load: a folder of transformers or OpenVINO, a GGUF file, weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from autoprune.errors import InputError
from autoprune.foundations.files import replacing
from autoprune.foundations.names import nearest_name
from autoprune.llm.gguf.formats import format_of
from autoprune.llm.gguf.write import write_gguf
from autoprune.llm.llamacpp.agreement import Agreement, agreement
from autoprune.llm.llamacpp.rounding import tolerance_for
from autoprune.llm.llamacpp.server import missing
from autoprune.llm.llamacpp.session import LlamaCpp
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.models.by_layer import is_by_layer
from autoprune.llm.models.folder import save_folder
from autoprune.llm.openvino import is_openvino_folder, load_openvino, save_openvino
from autoprune.llm.openvino.agreement import agreement_in_openvino

__all__ = ["KINDS", "Exported", "compared", "export_model"]

KINDS = ("hf", "gguf", "openvino", "safetensors")

_FOLDERS = ("hf", "openvino")

PROMPTS = (
    "The capital of France is",
    "My fellow citizens, the state of the",
    "In 1969, 42 people; don't  ask:\n\tnaïve 東京",
)
"""What a file is compared on: words, figures, spaces, letters of several bytes."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: The file or folder.
        bytes: Its size on disk.
        notes: What a user should know of it, a sentence each.
    """

    path: Path
    bytes: int
    notes: tuple[str, ...] = ()


def export_model(model: LanguageModel, kind: str, out: Path, number_format: str = "f16") -> Exported:
    """Write a language model.

    Args:
        model: It.
        kind: One of `KINDS`.
        out: A folder for `hf` and `openvino`, which must not be there or be empty; else a file, which is replaced.
        number_format: Of the matrices in a GGUF file or a folder for OpenVINO.

    Raises:
        InputError: If the kind is unknown, the place is taken, or the model cannot be such a file.
    """
    if kind not in KINDS:
        raise InputError(f"--format {kind!r} is none of {', '.join(KINDS)}; {nearest_name(kind, KINDS)}")
    format_of(number_format)
    if out.is_dir() and (kind not in _FOLDERS or any(out.iterdir())):
        full = " with something in it" if kind in _FOLDERS else ""
        raise InputError(f"{out} is a folder{full}; give another --out")
    if out.is_file() and kind in _FOLDERS:
        raise InputError(f"{out} is a file, and --format {kind} writes a folder; give another --out")
    if kind == "gguf":
        written = write_gguf(model.network, model.tokenizer, out, number_format)
        return Exported(out, written.bytes, _coarse(len(written.coarse), number_format))
    if kind == "openvino":
        compressed = save_openvino(model, out, number_format)
        return Exported(out, _size(out), _coarse(compressed.coarse, number_format))
    if kind == "hf":
        save_folder(model, out)
        size = _size(out)
        own = "its blocks differ, which no config says: autoprune llm reads the folder, from_pretrained refuses it"
        return Exported(out, size, (own,) if is_by_layer(out) else ())
    _write_weights(model.network, out)
    return Exported(out, out.stat().st_size)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _coarse(count: int, number_format: str) -> tuple[str, ...]:
    return (f"{count} tensors are f16: their rows are no whole blocks of {number_format}",) if count else ()


def compared(model: LanguageModel, path: Path, number_format: str) -> Agreement | None:
    """What llama.cpp makes of a GGUF file, or OpenVINO of its folder, beside PyTorch; None without llama.cpp.

    Raises:
        TargetError: If llama.cpp does not load it.
    """
    openvino = is_openvino_folder(path)
    if not openvino and missing() is not None:
        return None
    limit = tolerance_for(number_format, model.network, model.tokenizer, PROMPTS)
    if openvino:
        written = load_openvino(path, str(path))
        return agreement_in_openvino(model.network, model.tokenizer, written, PROMPTS, predict=8, tolerance=limit)
    with LlamaCpp(path, context=128) as session:
        return agreement(model.network, model.tokenizer, session, PROMPTS, predict=8, tolerance=limit)


def _write_weights(network: Any, out: Path) -> None:
    """All tensors in one safetensors file, tied ones once, as transformers keeps them."""
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in network.state_dict().items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            tensors[name] = tensor.contiguous()
    with replacing(out) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})

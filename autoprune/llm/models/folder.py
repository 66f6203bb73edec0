"""Models in folders as `save_pretrained` writes them: config, safetensors, tokenizer."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from autoprune.errors import InputError
from autoprune.foundations.files import shortened
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.models.by_layer import differs_by_layer, is_by_layer, load_by_layer, save_by_layer
from autoprune.llm.models.library import quiet, reading, transformers

__all__ = [
    "OPENVINO_GRAPH",
    "is_model_folder",
    "is_openvino_folder",
    "load_folder",
    "load_tokenizer",
    "save_folder",
    "written_folder",
]

OPENVINO_GRAPH = "openvino_model.xml"
"""The graph in a folder that was written for OpenVINO."""


def is_model_folder(path: Path) -> bool:
    """Whether a folder holds a model of `transformers`."""
    return (path / "config.json").is_file()


def is_openvino_folder(path: Path) -> bool:
    """Whether a folder holds a model as OpenVINO reads it, and none of `transformers`."""
    return (path / OPENVINO_GRAPH).is_file() and not any(path.glob("*.safetensors"))


def load_folder(path: Path, origin: str, dtype: torch.dtype | None = None) -> LanguageModel:
    """The model in a folder. Nothing is downloaded, and no code that lies in the folder is run.

    Args:
        path: The folder.
        origin: What the user called it.
        dtype: Of the weights; as they are stored if None.

    Raises:
        InputError: If the folder holds no causal language model, or not all of its weights.
    """
    if not is_model_folder(path):
        raise InputError(f"{path} holds no language model: there is no config.json in it")
    if is_openvino_folder(path):
        raise InputError(
            f"{path} holds a file of OpenVINO, whose weights cannot be changed; give the model that it was made of"
        )
    if is_by_layer(path):
        with reading(f"the model in {path}"):
            made = load_by_layer(path, dtype)
        return LanguageModel(made, load_tokenizer(path), origin)
    with reading(f"the model in {path}"):
        network, report = transformers().AutoModelForCausalLM.from_pretrained(
            path, dtype="auto" if dtype is None else dtype, local_files_only=True, output_loading_info=True
        )
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise InputError(f"{path} lacks {len(missing)} of the model's weights: {shortened(', '.join(missing))}")
    return LanguageModel(network.eval(), load_tokenizer(path), origin)


def load_tokenizer(path: Path) -> Any:
    """The tokenizer in a folder.

    Raises:
        InputError: If there is none.
    """
    with reading(f"the tokenizer in {path}"):
        return transformers().AutoTokenizer.from_pretrained(path, local_files_only=True)


def save_folder(model: LanguageModel, path: Path) -> None:
    """Write a model so that `AutoModelForCausalLM.from_pretrained` loads it; whole or not at all.

    A model whose blocks differ is written so that `load_folder` loads it.

    Raises:
        InputError: If the folder cannot be written, such as on a full disk; what was there stays.
    """

    def write(folder: Path) -> None:
        network: Any = model.network
        if differs_by_layer(network):
            save_by_layer(network, folder)
        else:
            network.save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)

    written_folder(path, write)


def written_folder(path: Path, write: Callable[[Path], None]) -> None:
    """A folder that is filled beside its place, and then renamed onto it.

    Args:
        path: Its place; a folder that is there is replaced.
        write: Fills the folder that it is given.

    Raises:
        InputError: If it cannot be written; nothing half-written is left.
    """
    fresh: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
        fresh.chmod(0o755)
        with quiet():
            write(fresh)
        _exchanged(fresh, path)
    except (OSError, RuntimeError) as error:  # safetensors and torch say a full disk by a RuntimeError of theirs
        if not isinstance(error, OSError) and "write" not in str(error) and "space" not in str(error):
            raise
        reason = getattr(error, "strerror", None) or shortened(str(error), 200)
        raise InputError(f"cannot write {path}: {reason}") from error
    finally:
        if fresh is not None and fresh.exists():
            shutil.rmtree(fresh, ignore_errors=True)


def _exchanged(fresh: Path, path: Path) -> None:
    """Put a folder in place of another, which goes only when the new one is there."""
    if not path.exists():
        fresh.rename(path)
        return
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    path.rename(old)
    fresh.rename(path)
    shutil.rmtree(old, ignore_errors=True)

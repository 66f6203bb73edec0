"""A language model by what users write: a folder, a GGUF file, `smollm2`, a run, or `package.module:factory`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from autoprune.errors import InputError, RunError
from autoprune.foundations.references import call, is_reference, resolve
from autoprune.foundations.user_code import wrong_form
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.models.folder import is_model_folder, load_folder
from autoprune.llm.models.gguf_file import converted, smollm2_file
from autoprune.llm.models.library import transformers

__all__ = ["BUILT_IN", "folder_of", "load_language_model", "model_in_run", "network_in_run"]

BUILT_IN = "smollm2"

_IN_RUN = ("recovered", "pruned")  # the later of them is a run's answer


def load_language_model(spec: str, dtype: torch.dtype | None = None) -> LanguageModel:
    """The model that a text names. Nothing is downloaded.

    Args:
        spec: `smollm2`, a folder as `save_pretrained` writes it, a GGUF file, a run of `autoprune llm`, or
            `package.module:factory`, which is called without arguments and returns (network, tokenizer).
        dtype: Of the weights; as they are stored if None.

    Raises:
        InputError: If there is no such model, or it cannot be read.
        MissingExtraError: If `transformers` is not installed.
    """
    folder = folder_of(spec)
    return _made(spec, dtype) if folder is None else load_folder(folder, spec, dtype)


def folder_of(spec: str) -> Path | None:
    """The folder that holds the model that a text names, in the cache if it is a GGUF file; None for a function's.

    Raises:
        InputError: If there is no such model.
        MissingExtraError: If `transformers` is not installed.
    """
    transformers()
    path = Path(spec)
    if spec == BUILT_IN:
        return converted(smollm2_file())
    if path.is_dir():
        return path if is_model_folder(path) else model_in_run(path)
    if path.suffix.lower() == ".gguf":
        return converted(path)
    if is_reference(spec):
        return None
    raise InputError(
        f"there is no language model {spec!r}; give a folder with a config.json, a .gguf file, {BUILT_IN},"
        " or package.module:factory"
    )


def model_in_run(path: Path) -> Path:
    """The folder in a run that holds its model: after the recovery if there was one, else as pruned.

    Raises:
        RunError: If the folder is no run of a language model, or has none yet.
    """
    for name in _IN_RUN:
        if is_model_folder(path / name):
            return path / name
    raise RunError(f"{path} holds no language model: neither a config.json nor a finished run of autoprune llm")


def network_in_run(path: Path) -> nn.Module:
    """The network of a finished run, in evaluation mode.

    Raises:
        RunError: If the run has none.
        InputError: If it cannot be read.
    """
    return load_folder(model_in_run(path), str(path)).network


def _made(spec: str, dtype: torch.dtype | None) -> LanguageModel:
    made: Any = call(resolve(spec, "--model"), spec)
    if isinstance(made, LanguageModel):
        return made if dtype is None else made.with_network(made.network.to(dtype))
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], nn.Module) and callable(made[1])):
        raise wrong_form(spec, made, "(network, tokenizer), both of transformers")
    network, tokenizer = made
    if not hasattr(network, "config"):
        raise wrong_form(spec, network, "a causal language model of transformers, which has a config")
    return LanguageModel((network if dtype is None else network.to(dtype)).eval(), tokenizer, spec)

"""The model of a run, all of it in memory or one block at a time, and its blocks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import nn

from autoprune.errors import InputError
from autoprune.llm.blocks.shards import Shards, shard_bytes, skeleton
from autoprune.llm.blocks.stack import decoder_stack
from autoprune.llm.blocks.storage import BlockStorage, WholeNetwork
from autoprune.llm.jobs.settings import LanguageRunSettings
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.models.load import folder_of, load_language_model

__all__ = ["Loaded", "dtype_of", "load_for"]

_SHARE = 0.5  # of the free memory: what a model may take before it is read block by block


@dataclass(frozen=True, eq=False)
class Loaded:
    """The model of a run.

    Attributes:
        model: The dense model.
        storage: Its blocks; those that are done are kept in the run.
        dense: The same blocks as they are in the beginning, for judging the dense model.
        folder: Where its weights lie; None for one that a function made.
        teacher: Gives the dense network once more, for distillation.
    """

    model: LanguageModel
    storage: BlockStorage
    dense: BlockStorage
    folder: Path | None
    teacher: Callable[[], nn.Module]


def dtype_of(name: str) -> torch.dtype | None:
    """The precision of a setting; None to take the weights as they are stored."""
    return None if name == "stored" else getattr(torch, name)


def load_for(settings: LanguageRunSettings, kept: Path, *, can: bool, given: LanguageModel | None = None) -> Loaded:
    """Load the model that settings name.

    Args:
        settings: Of the run.
        kept: Folder of the blocks that are done.
        can: Whether the method works with one block in memory at a time.
        given: The model itself, where it was handed over in Python.

    Raises:
        InputError: If there is no such model, or it has to be read block by block and cannot.
    """
    folder = None if given is not None else folder_of(settings.model)
    if _by_blocks(settings, folder, can):
        assert folder is not None
        model = skeleton(folder, settings.model)
        stack = decoder_stack(model.network)
        return Loaded(model, Shards(stack, folder, kept), Shards(stack, folder, None), folder, _teacher(settings, None))
    model = _read(settings) if given is None else given
    storage = WholeNetwork(decoder_stack(model.network), kept)
    return Loaded(model, storage, storage, folder, _teacher(settings, given))


def _read(settings: LanguageRunSettings) -> LanguageModel:
    return load_language_model(settings.model, dtype_of(settings.dtype))


def _teacher(settings: LanguageRunSettings, given: LanguageModel | None) -> Callable[[], nn.Module]:
    """Reads the dense model again; one that was handed over is copied now, before a method changes it."""
    if given is None:
        return lambda: _read(settings).network
    plan = settings.recovery
    network = copy.deepcopy(given.network) if plan is not None and plan.distillation else given.network
    return lambda: network


def _by_blocks(settings: LanguageRunSettings, folder: Path | None, can: bool) -> bool:
    if settings.reads_by_blocks is None:
        large = folder is not None and can and settings.dtype == "stored"
        return large and shard_bytes(folder) > _SHARE * psutil.virtual_memory().available  # type: ignore[arg-type]
    if not settings.reads_by_blocks:
        return False
    if not can:
        raise InputError(f"{settings.words[0]} needs the whole model in memory; leave --by-blocks out")
    if folder is None:
        raise InputError("--by-blocks reads safetensors files; give a folder or a .gguf file as --model")
    if settings.dtype != "stored":
        raise InputError("--by-blocks takes the weights as they are stored; leave --dtype out")
    return True

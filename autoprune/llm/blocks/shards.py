"""Networks larger than memory: all but the blocks is loaded, and one block at a time out of safetensors shards."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from autoprune.errors import InputError
from autoprune.foundations.files import read_json, write_json
from autoprune.llm.blocks.stack import DecoderStack, decoder_stack
from autoprune.llm.blocks.storage import BlockStorage, block_state, opened, read_block
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.models.folder import load_tokenizer, written_folder
from autoprune.llm.models.library import reading, require, transformers
from autoprune.llm.models.tensors import set_tensor

__all__ = ["Shards", "save_shards", "shard_bytes", "skeleton"]

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"


def shard_files(folder: Path) -> dict[str, Path]:
    """Name of a tensor -> the file that has it.

    Raises:
        InputError: If the folder has no safetensors files.
    """
    if (folder / _INDEX).exists():
        names = read_json(folder / _INDEX, "index of shards").get("weight_map")
        if not isinstance(names, dict):
            raise InputError(f"{folder / _INDEX} is not an index of shards: it has no weight_map")
        return {name: folder / str(file) for name, file in names.items()}
    single = folder / _SINGLE
    if not single.exists():
        raise InputError(f"{folder} has no safetensors files, from which one block at a time could be read")
    with opened(single) as content:
        return dict.fromkeys(content.keys(), single)


def shard_bytes(folder: Path) -> int:
    """Bytes of a folder's shards on disk."""
    return sum(file.stat().st_size for file in set(shard_files(folder).values()) if file.exists())


def skeleton(folder: Path, origin: str) -> LanguageModel:
    """A model whose blocks have no memory; everything else of it is loaded.

    Args:
        folder: As `save_pretrained` writes it.
        origin: What the user called it.

    Raises:
        InputError: If the folder's weights are not named as the model's.
    """
    empty = require("accelerate").init_empty_weights
    with reading(f"the model in {folder}"):
        config = transformers().AutoConfig.from_pretrained(folder, local_files_only=True)
        with empty(include_buffers=False):
            network: Any = transformers().AutoModelForCausalLM.from_config(config, dtype=config.dtype or torch.float32)
    stack = decoder_stack(network)
    files = shard_files(folder)
    tied = set(getattr(network, "all_tied_weights_keys", None) or getattr(network, "_tied_weights_keys", None) or ())
    for name in stack.outside():
        if name in files:
            set_tensor(network, name, read_block(files[name], {name: None})[name])
        elif name not in tied:
            raise InputError(f"{folder} lacks {name}; its names are not those of the model")
    network.tie_weights()
    return LanguageModel(network.eval(), load_tokenizer(folder), origin)


class Shards(BlockStorage):
    """Blocks lie in files; the one that is worked on is in memory.

    Args:
        stack: Of a network as `skeleton` makes it.
        source: The folder with the shards.
        folder: Where blocks that are done are kept.
    """

    def __init__(self, stack: DecoderStack, source: Path, folder: Path | None) -> None:
        super().__init__(stack, folder)
        self._files = shard_files(source)

    @contextlib.contextmanager
    def resident(self, number: int) -> Iterator[nn.Module]:
        """See `BlockStorage.resident`."""
        names = block_state(self.stack, number)
        done = self.file(number)
        for name in names:
            file = done if done is not None and done.exists() else self._files.get(name)
            if file is None:
                raise InputError(f"the shards lack {name}; their names are not those of the model")
            set_tensor(self.stack.network, name, read_block(file, {name: None})[name])
        try:
            yield self.stack.blocks[number]
        finally:
            for name, tensor in names.items():
                set_tensor(self.stack.network, name, torch.empty_like(tensor, device="meta"))


def save_shards(model: LanguageModel, storage: BlockStorage, folder: Path) -> None:
    """Write a model whose blocks are all done as a folder that `from_pretrained` loads: a shard for each block.

    Raises:
        InputError: If it cannot be written; what was there stays.
    """
    stack = storage.stack

    def write(fresh: Path) -> None:
        network: Any = model.network
        network.config.save_pretrained(fresh)
        if getattr(network, "generation_config", None) is not None:
            network.generation_config.save_pretrained(fresh)
        model.tokenizer.save_pretrained(fresh)
        outside, seen = {}, set()
        for name, tensor in stack.outside().items():
            if id(tensor) not in seen:  # tied ones are stored once
                seen.add(id(tensor))
                outside[name] = tensor.detach().contiguous()
        save_file(outside, fresh / "outside.safetensors", {"format": "pt"})
        names, size = dict.fromkeys(outside, "outside.safetensors"), 0
        for number in range(len(stack.blocks)):
            done = storage.file(number)
            assert done is not None
            _linked(done, fresh / done.name)
            names |= dict.fromkeys(block_state(stack, number), done.name)
        size = sum(file.stat().st_size for file in fresh.glob("*.safetensors"))
        write_json(fresh / _INDEX, {"metadata": {"total_size": size}, "weight_map": names})

    written_folder(folder, write)


def _linked(source: Path, goal: Path) -> None:
    """The same file under another name, or a copy where that cannot be had."""
    try:
        os.link(source, goal)
    except OSError:
        shutil.copyfile(source, goal)

"""A language model written as one GGUF file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from autoprune.errors import InputError
from autoprune.foundations.files import replacing
from autoprune.llm.gguf.architectures import Architecture, architecture_of
from autoprune.llm.gguf.formats import Stored, format_of, gguf_package
from autoprune.llm.gguf.hyperparameters import Hyperparameters
from autoprune.llm.gguf.tensors import named_tensors
from autoprune.llm.gguf.tokens import Tokens

__all__ = ["Written", "write_gguf"]


@dataclass(frozen=True)
class Written:
    """A file that was written.

    Attributes:
        path: Where.
        bytes: Its size on disk.
        architecture: Under which of its names llama.cpp computes it.
        coarse: Tensors that are f16 although the file is of a quantised format: their rows are no whole blocks.
    """

    path: Path
    bytes: int
    architecture: str
    coarse: tuple[str, ...] = ()


def write_gguf(network: nn.Module, tokenizer: Any, path: Path | str, number_format: str = "f16") -> Written:
    """Write a language model as stock llama.cpp loads it; one tensor at a time is converted.

    Heads and neurons may differ from block to block, and blocks other than the first may lack their attention, where
    llama.cpp has an architecture for that.

    Args:
        network: A causal language model of `transformers`.
        tokenizer: Its tokenizer.
        path: The file; what is there is replaced once the new one is complete.
        number_format: One of `FORMATS`.

    Raises:
        InputError: If llama.cpp would compute something else, or the file cannot be written.
        MissingExtraError: If the package `gguf` is not installed.
    """
    gguf, wanted = gguf_package(), format_of(number_format)
    architecture = architecture_of(network)
    tensors = dict(network.state_dict())
    config: Any = network.config
    sizes = Hyperparameters.read(config, tensors)
    name = _name(architecture, sizes)
    tokens = Tokens.read(tokenizer, sizes.vocabulary)
    own = named_tensors(tensors, architecture, name, sizes, tied=_tied(tensors))
    stored = [Stored.of(each.name, each.tensor.shape, wanted) for each in own]
    with replacing(path) as temporary:
        writer = gguf.GGUFWriter(temporary, name)
        try:
            writer.add_file_type(wanted.file_type)
            sizes.write(writer)
            tokens.write(writer)
            for each, how in zip(own, stored, strict=True):
                writer.add_tensor_info(each.name, how.shape, np.dtype(np.float32), how.nbytes, raw_dtype=how.type)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for each, how in zip(own, stored, strict=True):
                writer.write_tensor_data(how.encode(each.values().numpy()))
        finally:
            writer.close()
    coarse = tuple(e.name for e, how in zip(own, stored, strict=True) if how.type.name == "F16" != wanted.matrices)
    return Written(Path(path), Path(path).stat().st_size, name, coarse)


def _name(architecture: Architecture, sizes: Hyperparameters) -> str:
    """Under which of its names llama.cpp computes a network of these sizes.

    Raises:
        InputError: If there is none.
    """
    if sizes.uniform:
        return architecture.name
    if architecture.varied is None:
        raise InputError(f"llama.cpp's {architecture.name!r} needs as many heads and neurons in every block")
    if not all(sizes.feed_forward):
        raise InputError("llama.cpp passes over the attention of a block that has no feed-forward part")
    if not sizes.heads[0]:
        raise InputError("llama.cpp reads the size of a head at the first block, which has no attention here")
    return architecture.varied


def _tied(tensors: dict[str, torch.Tensor]) -> bool:
    """Whether the output layer is the embedding: one tensor, not an equal one."""
    output, embedding = tensors.get("lm_head.weight"), tensors["model.embed_tokens.weight"]
    return output is None or output.data_ptr() == embedding.data_ptr()

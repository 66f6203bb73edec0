"""Where a network's blocks are while it is pruned block by block: all in memory, or one at a time out of files.

Either way a block that is done is kept in a file of its own, so that a run that was stopped goes on behind it.
"""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.foundations.files import replacing
from autoprune.llm.blocks.stack import DecoderStack

__all__ = ["BlockStorage", "WholeNetwork", "block_state", "read_block"]

_FIGURES = "figures"


class BlockStorage(ABC):
    """A network's blocks, one of which is worked on at a time.

    Args:
        stack: The blocks.
        folder: Where blocks that are done are kept; None to keep none.
    """

    def __init__(self, stack: DecoderStack, folder: Path | None) -> None:
        self.stack, self.folder = stack, folder

    @abstractmethod
    def resident(self, number: int) -> contextlib.AbstractContextManager[nn.Module]:
        """A block with its weights in memory: those that it was finished with, if it was."""

    def file(self, number: int) -> Path | None:
        """Where a block that is done is kept."""
        return None if self.folder is None else self.folder / f"block-{number:04d}.safetensors"

    def figures(self, number: int) -> Any:
        """What was kept with a block that is done; None for one that is not."""
        file = self.file(number)
        if file is None or not file.exists():
            return None
        with opened(file) as content:
            return json.loads(content.metadata()[_FIGURES])

    def finish(self, number: int, figures: Any) -> None:
        """Keep a block as it is now, in memory, with figures about it. Written whole or not at all.

        Raises:
            InputError: If it cannot be written.
        """
        file = self.file(number)
        if file is None:
            return
        state = {name: tensor.contiguous() for name, tensor in block_state(self.stack, number).items()}
        with replacing(file) as temporary:
            _written(state, temporary, {"format": "pt", _FIGURES: json.dumps(figures)}, file)


class WholeNetwork(BlockStorage):
    """All blocks are in memory."""

    @contextlib.contextmanager
    def resident(self, number: int) -> Iterator[nn.Module]:
        """See `BlockStorage.resident`."""
        file = self.file(number)
        if file is not None and file.exists():
            state = block_state(self.stack, number)
            with torch.no_grad():
                for name, tensor in read_block(file, state).items():
                    state[name].copy_(tensor)
        yield self.stack.blocks[number]


def block_state(stack: DecoderStack, number: int) -> dict[str, Tensor]:
    """Qualified name -> parameter or saved buffer of a block."""
    prefix = stack.block_name(number)
    return {f"{prefix}.{name}": tensor for name, tensor in stack.blocks[number].state_dict().items()}


def read_block(file: Path, names: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of these names in a file.

    Raises:
        InputError: If the file cannot be read, or lacks one.
    """
    with opened(file) as content:
        missing = sorted(set(names) - set(content.keys()))
        if missing:
            raise InputError(f"{file} lacks {missing[0]}; its names are not those of the model")
        return {name: content.get_tensor(name) for name in names}


@contextlib.contextmanager
def opened(file: Path) -> Iterator[Any]:
    """A safetensors file.

    Raises:
        InputError: If it is none, or damaged.
    """
    try:
        content = safe_open(file, framework="pt")
    except Exception as error:  # the library's own exception is not public
        raise InputError(f"cannot read {file}: {error}") from error
    with content as inside:
        yield inside


def _written(state: dict[str, Tensor], temporary: Path, metadata: dict[str, str], file: Path) -> None:
    try:
        save_file(state, temporary, metadata)
    except OSError:
        raise
    except Exception as error:  # the library says a full disk by an exception of its own
        raise InputError(f"cannot write {file}: {error}") from error

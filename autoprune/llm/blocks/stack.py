"""Where a language model's decoder blocks are: the list of modules that holds most of its parameters.

No architecture is known by name. That the blocks are called one after the other, each with what the one before gave,
is checked when their inputs are captured (`capture.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from autoprune.errors import UnsupportedModelError

__all__ = ["DecoderStack", "decoder_stack", "inner_network"]


@dataclass(frozen=True, eq=False)
class DecoderStack:
    """The blocks of a network.

    Attributes:
        network: The causal language model.
        path: Qualified name of the list: `model.layers`.
        blocks: Its modules, in order.
    """

    network: nn.Module
    path: str
    blocks: tuple[nn.Module, ...]

    def __len__(self) -> int:
        return len(self.blocks)

    def block_name(self, number: int) -> str:
        """Qualified name of a block."""
        return f"{self.path}.{number}"

    def outside(self) -> dict[str, Tensor]:
        """Name -> parameter or buffer that is saved and lies in no block: embeddings, last norm, head."""
        state = self.network.state_dict(keep_vars=True)
        return {name: tensor for name, tensor in state.items() if not name.startswith(f"{self.path}.")}


def decoder_stack(network: nn.Module) -> DecoderStack:
    """The decoder blocks of a causal language model.

    Raises:
        UnsupportedModelError: If no list of modules holds blocks.
    """
    found = [(path, modules) for path, modules in _outermost_lists(network) if len(modules)]
    if not found:
        raise UnsupportedModelError(
            f"{type(network).__name__} has no decoder blocks: it holds no list of modules (torch.nn.ModuleList)"
        )
    path, modules = max(found, key=lambda each: sum(p.numel() for p in each[1].parameters()))
    return DecoderStack(network, path, tuple(modules))


def _outermost_lists(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.ModuleList]]:
    for name, child in module.named_children():
        here = f"{path}.{name}".lstrip(".")
        if isinstance(child, nn.ModuleList):
            yield here, child
        else:
            yield from _outermost_lists(child, here)


def inner_network(network: nn.Module) -> nn.Module:
    """The network without its head, where it has one inside as `transformers` builds them; else itself."""
    inner = getattr(network, getattr(network, "base_model_prefix", "") or " ", None)
    return inner if isinstance(inner, nn.Module) else network

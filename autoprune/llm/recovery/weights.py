"""Which weights a recovery trains, and how their zeros stay zeros."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.foundations.seeding import seeded
from autoprune.llm.blocks.stack import decoder_stack
from autoprune.llm.models.library import quiet, require
from autoprune.llm.sparsity.layers import linear_layers

__all__ = ["FILLS_ZEROS", "ZeroMasks", "copied", "prepared", "settled"]

FILLS_ZEROS = "LoRA adds full matrices to the weights, which would fill their zeros; give --recover full"
"""Why LoRA is refused after a method that leaves zeros."""

_CHANCE = 0.02  # share of zeros in a layer up to which they are there by chance, as in weights of four bits

_RANK, _ALPHA, _DROPOUT = 8, 16, 0.0


class ZeroMasks:
    """The zeros of the blocks' linear layers, which no step may fill.

    Args:
        network: Of which the masks are, as it is now. A layer without zeros has none.
    """

    def __init__(self, network: nn.Module) -> None:
        stack = decoder_stack(network)
        shared = {id(tensor): name for name, tensor in stack.outside().items()}
        layers = [
            layer
            for number, block in enumerate(stack.blocks)
            for layer in linear_layers(block, stack.block_name(number), shared)
        ]
        self._masks = [(each.parameter, each.parameter != 0) for each in layers if bool((each.parameter == 0).any())]

    @property
    def share(self) -> float:
        """The largest share of zeros in a layer."""
        return max((1 - float(mask.float().mean()) for _, mask in self._masks), default=0.0)

    @torch.no_grad()
    def hold(self) -> None:
        """Set them to zero again."""
        for parameter, mask in self._masks:
            parameter.mul_(mask)

    def of_gradients(self) -> None:
        """Take them out of the gradients, so that they do not count in their norm and the optimiser's moments."""
        for parameter, mask in self._masks:
            if parameter.grad is not None:
                parameter.grad.mul_(mask)


def prepared(network: nn.Module, kind: str, share: float, seed: int) -> tuple[nn.Module, dict[str, nn.Parameter]]:
    """The network to train, and its weights that are trained.

    Args:
        network: The pruned one; in float32.
        kind: `full` or `lora`.
        share: The largest of zeros in a linear layer; LoRA would fill them.
        seed: Of LoRA's first matrices.

    Raises:
        InputError: If LoRA is asked for with more zeros than there are by chance.
        MissingExtraError: If `peft` is needed and not installed.
    """
    if kind == "full":
        embeddings = {
            id(p) for module in network.modules() if isinstance(module, nn.Embedding) for p in module.parameters()
        }
        for parameter in network.parameters():
            parameter.requires_grad_(id(parameter) not in embeddings)
        return network, {name: p for name, p in network.named_parameters() if p.requires_grad}
    if share > _CHANCE:
        raise InputError(FILLS_ZEROS)
    peft = require("peft")
    stack = decoder_stack(network)
    names = [
        layer.name for n, block in enumerate(stack.blocks) for layer in linear_layers(block, stack.block_name(n), {})
    ]
    config = peft.LoraConfig(
        r=_RANK, lora_alpha=_ALPHA, lora_dropout=_DROPOUT, target_modules=names, task_type="CAUSAL_LM"
    )
    with quiet(), seeded(seed):
        wrapped: nn.Module = peft.get_peft_model(network, config)
    return wrapped, {name: p for name, p in wrapped.named_parameters() if p.requires_grad}


def settled(network: Any) -> nn.Module:
    """A trained network without what was added to it for the training."""
    with quiet():
        merged: nn.Module = network.merge_and_unload() if hasattr(network, "merge_and_unload") else network
    for parameter in merged.parameters():
        parameter.requires_grad_(True)
    return merged.eval()


def copied(weights: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """The weights as they are now."""
    return {name: weight.detach().clone() for name, weight in weights.items()}

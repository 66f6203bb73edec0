"""Decoder blocks of any causal language model: what each changes, and the model without some of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import UnsupportedModelError
from autoprune.llm.blocks.capture import passing_over, stream_of
from autoprune.llm.blocks.stack import DecoderStack, decoder_stack
from autoprune.llm.structured.stock import require_equal, stock_from
from autoprune.models.modes import in_mode

__all__ = ["config_without", "counted_stack", "influences", "renumbered", "state_without", "without_blocks"]


def counted_stack(network: nn.Module) -> DecoderStack:
    """The decoder blocks of a network whose config counts them, so that it can count fewer.

    Raises:
        UnsupportedModelError: If there are none, or not as many as the config says, or only one.
    """
    model: Any = network
    stack, count = decoder_stack(network), getattr(model.config, "num_hidden_layers", None)
    if len(stack) != count or count < 2:
        raise UnsupportedModelError(
            f"{type(network).__name__} has {len(stack)} blocks in {stack.path}, and its config says {count}; one stack"
            " of 2 and more is needed"
        )
    return stack


def influences(network: nn.Module, stack: DecoderStack, windows: Tensor) -> list[float]:
    """Block influence: 1 minus the mean cosine between the stream before and behind each block (ShortGPT).

    Args:
        network: The model.
        stack: Its blocks.
        windows: Token ids, int64 (windows, tokens).

    Returns:
        One number a block, in [0, 2]; blocks that are passed over have 0.
    """
    sums = [0.0] * len(stack)

    def watch(place: int) -> Any:
        def hook(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            before = stream_of(args, kwargs).float()
            after = (output if isinstance(output, Tensor) else output[0]).float()
            sums[place] += float(torch.nn.functional.cosine_similarity(before, after, dim=-1).double().sum())

        return hook

    handles = [b.register_forward_hook(watch(place), with_kwargs=True) for place, b in enumerate(stack.blocks)]
    model: Any = network
    try:
        with torch.no_grad(), in_mode(network):
            for ids in torch.split(windows, 1):
                model(input_ids=ids.to(model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return [1 - total / windows.numel() for total in sums]


def without_blocks(network: nn.Module, places: Collection[int]) -> nn.Module:
    """The stock class with fewer blocks: counted anew, in the config too.

    Args:
        network: A causal language model.
        places: Blocks that go.

    Raises:
        InputError: If the stock class computes something else without them.
        UnsupportedModelError: If the model has no stack of blocks.
    """
    stack = counted_stack(network)
    config: Any = network.config
    state = state_without(stack, network.state_dict(), places)
    small = stock_from(network, config_without(config, places), state)
    with passing_over(stack, places):
        require_equal(network, small)
    return small


def state_without(stack: DecoderStack, state: Mapping[str, Tensor], places: Collection[int]) -> dict[str, Tensor]:
    """What a network saves, without some blocks; the others are numbered anew.

    Args:
        stack: All blocks.
        state: Name -> tensor.
        places: Blocks that go.
    """
    gone = tuple(f"{stack.block_name(place)}." for place in places)
    new = renumbered(stack, places)
    return {new(name): tensor for name, tensor in state.items() if not name.startswith(gone)}


def renumbered(stack: DecoderStack, places: Collection[int]) -> Callable[[str], str]:
    """What a tensor or module of the network is called when some blocks are gone."""
    kept = [place for place in range(len(stack)) if place not in set(places)]
    renamed = {f"{stack.path}.{old}.": f"{stack.path}.{new}." for new, old in enumerate(kept)}

    def new_name(name: str) -> str:
        return next((new + name[len(old) :] for old, new in renamed.items() if name.startswith(old)), name)

    return new_name


def config_without(config: Any, places: Collection[int]) -> Any:
    """A config with fewer blocks; lists with an entry a block lose those of the blocks that go."""
    blocks = int(config.num_hidden_layers)
    kept = [place for place in range(blocks) if place not in set(places)]
    fewer = copy.deepcopy(config)
    for name, value in list(vars(fewer).items()):
        if isinstance(value, list) and len(value) == blocks:
            setattr(fewer, name, [value[place] for place in kept])
    fewer.num_hidden_layers = len(kept)
    return fewer

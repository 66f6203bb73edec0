"""The stack of decoder blocks of any causal language model, passed over one by one or taken away."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import UnsupportedModelError
from autoprune.llm.structured.stock import require_equal, stock_from
from autoprune.models.modes import in_mode

__all__ = ["Stack", "find_stack", "influences", "passing_over", "without_blocks"]


@dataclass(frozen=True)
class Stack:
    """The list of blocks that the residual stream goes through.

    Attributes:
        path: Its qualified name.
        blocks: Its modules.
        tuples: Whether they return tuples, the stream first, and not the stream alone.
    """

    path: str
    blocks: nn.ModuleList
    tuples: bool

    def __len__(self) -> int:
        return len(self.blocks)


def find_stack(network: nn.Module) -> Stack:
    """The stack: the one list of modules that is as long as the config says that there are blocks.

    Raises:
        UnsupportedModelError: If there is none, or several.
    """
    model: Any = network
    count = getattr(model.config, "num_hidden_layers", None)
    found = [
        (path, module)
        for path, module in network.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count and count > 1
    ]
    if len(found) != 1:
        raise UnsupportedModelError(
            f"{type(network).__name__} has {len(found)} lists of {count} blocks; one stack of 2 and more is needed"
        )
    path, blocks = found[0]
    return Stack(path, blocks, _give_tuples(network, blocks))


def _give_tuples(network: Any, blocks: nn.ModuleList) -> bool:
    seen: list[Any] = []
    handle = blocks[0].register_forward_hook(lambda block, args, output: seen.append(output))
    try:
        with torch.no_grad(), in_mode(network):
            network(input_ids=torch.zeros(1, 2, dtype=torch.int64, device=network.device), use_cache=False)
    finally:
        handle.remove()
    if not seen:
        raise UnsupportedModelError(f"{type(network).__name__} does not call its blocks one after the other")
    return not isinstance(seen[0], Tensor)


@contextmanager
def passing_over(stack: Stack, places: Collection[int]) -> Iterator[None]:
    """The network without some blocks, for a while: they hand on what they are given."""
    with ExitStack() as undo:
        for place in places:
            undo.enter_context(_handing_on(stack.blocks[place], stack.tuples))
        yield


@contextmanager
def _handing_on(block: nn.Module, tuples: bool) -> Iterator[None]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        stream = _stream(args, kwargs)
        return (stream,) if tuples else stream

    before = vars(block).get("forward")
    block.forward = forward
    try:
        yield
    finally:
        del block.forward
        if before is not None:
            block.forward = before


def _stream(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The residual stream among a block's arguments."""
    return args[0] if args else kwargs["hidden_states"]


def influences(network: nn.Module, stack: Stack, windows: Tensor) -> list[float]:
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
            before = _stream(args, kwargs).float()
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
    stack = find_stack(network)
    kept = [place for place in range(len(stack)) if place not in set(places)]
    renamed = {f"{stack.path}.{old}.": f"{stack.path}.{new}." for new, old in enumerate(kept)}
    gone = tuple(f"{stack.path}.{place}." for place in places)
    state = {
        _moved(name, renamed): tensor for name, tensor in network.state_dict().items() if not name.startswith(gone)
    }
    small = stock_from(network, _config_of(network, kept, len(stack)), state)
    with passing_over(stack, places):
        require_equal(network, small)
    return small


def _moved(name: str, renamed: dict[str, str]) -> str:
    return next((new + name[len(old) :] for old, new in renamed.items() if name.startswith(old)), name)


def _config_of(network: nn.Module, kept: list[int], blocks: int) -> Any:
    """The config with fewer blocks; lists with an entry a block lose those of the blocks that go."""
    model: Any = network
    config = copy.deepcopy(model.config)
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == blocks:
            setattr(config, name, [value[place] for place in kept])
    config.num_hidden_layers = len(kept)
    return config

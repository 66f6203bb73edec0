"""What reaches each decoder block: its first argument, and all further ones as the network hands them over.

Networks hand different blocks different masks and rotary positions (sliding windows, local and global layers), so every
block's own arguments are recorded. For that the blocks are replaced for one run by recorders that pass their first
argument on. In the same way the last norm and the head are run on what the blocks gave: by a run whose blocks do
nothing, and whose last one gives that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import InputError, UnsupportedModelError
from autoprune.llm.blocks.stack import DecoderStack, inner_network
from autoprune.models.precision import device_of

__all__ = ["Arrived", "Call", "arrivals", "head_logits", "passing_over", "run_block", "stream_of"]

Forward = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Call:
    """How a block is called, but for the hidden states.

    Attributes:
        args: Positional arguments behind the hidden states.
        kwargs: Named arguments.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Arrived:
    """What reaches the blocks for one batch of windows.

    Attributes:
        hidden: What reaches the first block, (batch, tokens, hidden).
        calls: How each block is called.
        in_tuple: Whether blocks give a tuple whose first element is the hidden states.
    """

    hidden: Tensor
    calls: tuple[Call, ...]
    in_tuple: bool


@torch.no_grad()
def arrivals(stack: DecoderStack, windows: Sequence[Tensor]) -> list[Arrived]:
    """What reaches the blocks for each batch of token ids, int64 (batch, tokens). The first block must be in memory.

    Raises:
        UnsupportedModelError: If the network does not call its blocks one after the other.
    """
    in_tuple = _gives_tuple(stack, windows[0][:1, :2])
    return [_arrived(stack, ids, in_tuple) for ids in windows]


def run_block(block: nn.Module, hidden: Tensor, call: Call) -> Tensor:
    """What a block makes of hidden states, (batch, tokens, hidden)."""
    found = block(hidden, *call.args, **call.kwargs)
    result: Tensor = found[0] if isinstance(found, tuple) else found
    return result


@torch.no_grad()
def head_logits(stack: DecoderStack, ids: Tensor, hidden: Tensor, in_tuple: bool) -> Tensor:
    """Logits, (batch, tokens, vocabulary), from what the last block gave for token ids (batch, tokens)."""
    last = len(stack.blocks) - 1
    forwards = {n: _passing(in_tuple, None if n < last else hidden) for n in range(len(stack.blocks))}
    with _replaced(stack, forwards):
        network = stack.network
        logits: Tensor = network(input_ids=ids.to(device_of(network)), use_cache=False).logits
    return logits


@contextlib.contextmanager
def passing_over(stack: DecoderStack, places: Collection[int]) -> Iterator[None]:
    """The network without some blocks, for a while: they hand on what they are given."""
    with torch.no_grad():
        in_tuple = _gives_tuple(stack, torch.zeros(1, 2, dtype=torch.int64))
    with _replaced(stack, dict.fromkeys(places, _passing(in_tuple, None))):
        yield


def stream_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The residual stream, (batch, tokens, hidden), among a block's arguments."""
    stream: Tensor = args[0] if args else kwargs["hidden_states"]
    return stream


def _arrived(stack: DecoderStack, ids: Tensor, in_tuple: bool) -> Arrived:
    seen: list[tuple[int, Tensor, Call]] = []

    def recorder(number: int) -> Forward:
        def forward(*args: Any, **kwargs: Any) -> Any:
            hidden, call = _split(args, kwargs)
            seen.append((number, hidden, call))
            return (hidden,) if in_tuple else hidden

        return forward

    with _replaced(stack, {n: recorder(n) for n in range(len(stack.blocks))}):
        _run(stack, ids)
    if [number for number, _, _ in seen] != list(range(len(stack.blocks))):
        raise UnsupportedModelError(
            f"{type(stack.network).__name__} does not call {stack.path} one after the other, each once"
        )
    if not bool(torch.isfinite(seen[0][1]).all()):
        raise InputError("the embeddings of the calibration text are not finite numbers; check the model's weights")
    return Arrived(seen[0][1], tuple(call for _, _, call in seen), in_tuple)


def _gives_tuple(stack: DecoderStack, ids: Tensor) -> bool:
    """Whether the first block gives its hidden states in a tuple: seen in a run of two tokens."""
    given: list[Any] = []
    first = stack.blocks[0]

    def forward(*args: Any, **kwargs: Any) -> Any:
        given.append(type(first).forward(first, *args, **kwargs))
        raise _Seen

    with _replaced(stack, dict.fromkeys(range(len(stack.blocks)), forward)), contextlib.suppress(_Seen):
        _run(stack, ids)
    if not given:
        raise UnsupportedModelError(f"{type(stack.network).__name__} does not call the modules of {stack.path}")
    states = given[0][0] if isinstance(given[0], tuple) else given[0]
    if not isinstance(states, Tensor) or states.shape[:2] != ids.shape:
        raise UnsupportedModelError(f"the modules of {stack.path} do not give hidden states (batch, tokens, hidden)")
    return isinstance(given[0], tuple)


class _Seen(Exception):
    """The first block has been called; the rest of the run is of no interest."""


def _run(stack: DecoderStack, ids: Tensor) -> None:
    inner_network(stack.network)(input_ids=ids.to(device_of(stack.network)), use_cache=False)


def _split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Call]:
    if args:
        return args[0], Call(args[1:], dict(kwargs))
    rest = dict(kwargs)
    return rest.pop("hidden_states"), Call((), rest)


def _passing(in_tuple: bool, instead: Tensor | None) -> Forward:
    def forward(*args: Any, **kwargs: Any) -> Any:
        hidden = stream_of(args, kwargs) if instead is None else instead
        return (hidden,) if in_tuple else hidden

    return forward


@contextlib.contextmanager
def _replaced(stack: DecoderStack, forwards: Mapping[int, Forward]) -> Iterator[None]:
    """Some blocks, by their number, compute something else meanwhile."""
    before = {place: vars(stack.blocks[place]).get("forward") for place in forwards}
    for place, forward in forwards.items():
        stack.blocks[place].__dict__["forward"] = forward
    try:
        yield
    finally:
        for place, earlier in before.items():
            stack.blocks[place].__dict__.pop("forward", None)
            if earlier is not None:
                stack.blocks[place].__dict__["forward"] = earlier

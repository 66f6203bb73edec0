"""What replaces a dropped branch's modules, so that the user's own forward runs on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from autoprune.graph.block import Block, Swap
from autoprune.graph.extent import size_of

__all__ = ["Bypass", "Silence", "Stage", "put_stubs", "replacement"]

_PLAIN = (bool, int, float, str, type(None))


class Bypass(nn.Module):
    """Hands on one of its arguments, in the form in which the module before it returned its result."""

    def __init__(self, argument: int | str, form: tuple[bool, ...] | None) -> None:
        super().__init__()
        self.argument, self.form = argument, form

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The argument, whatever else is given."""
        value = self.result(args[self.argument] if isinstance(self.argument, int) else kwargs[self.argument])
        return value if self.form is None else tuple(value if here else None for here in self.form)

    def result(self, value: torch.Tensor) -> torch.Tensor:
        """What becomes of the argument."""
        return value


class Silence(Bypass):
    """Gives zeros in the shape of one of its arguments: the branch that ends here adds nothing.

    Args:
        argument: As for `Bypass`.
        form: As for `Bypass`.
        shape: The sizes of the zeros where they are not the argument's, None where one of them is.
    """

    def __init__(
        self, argument: int | str, form: tuple[bool, ...] | None, shape: tuple[int | None, ...] | None = None
    ) -> None:
        super().__init__(argument, form)
        self.shape = shape

    def result(self, value: torch.Tensor) -> torch.Tensor:
        """Zeros."""
        if self.shape is None:
            return torch.zeros_like(value)
        return value.new_zeros([value.shape[i] if size is None else size for i, size in enumerate(self.shape)])


def _sizes(swap: Swap, widths: Mapping[str, int]) -> tuple[int | None, ...] | None:
    """The shape of a swap's zeros at these widths."""
    if swap.shape is None:
        return None
    return tuple(None if size is None else size_of(size, widths) for size in swap.shape)


def replacement(original: nn.Module, swap: Swap, widths: Mapping[str, int]) -> nn.Module:
    """The module that replaces a dropped one, in its mode.

    It answers for the plain attributes that a forward may look at (a number of heads, a flag), and its own parameters
    are there as None.

    Args:
        original: The dropped module.
        swap: How it is replaced.
        widths: Kept units of every group.
    """
    if swap.plain and swap.form is None and swap.does != "zero":
        module: nn.Module = nn.Identity() if swap.does == "pass" else nn.ReLU()
    else:
        form = (swap.argument, swap.form)
        module = Silence(*form, _sizes(swap, widths)) if swap.does == "zero" else Bypass(*form)
    own = vars(module)
    own.update({k: v for k, v in vars(original).items() if k not in own and isinstance(v, _PLAIN)})
    for name in original._parameters:
        module.register_parameter(name, None)
    if original._parameters:  # nn.TransformerEncoderLayer reads its layers' weights, unless one of them has a hook
        module.register_forward_hook(_leave)
    return module.train(original.training)


def _leave(module: nn.Module, args: Any, output: Any) -> None:
    """A hook that changes nothing."""


def put_stubs(model: nn.Module, blocks: Iterable[Block]) -> None:
    """Replace layer scales of dropped branches by a single one each, which no state dict holds."""
    modules = dict(model.named_modules())
    for path, _, leaf in (name.rpartition(".") for block in blocks for name in block.stubs):
        if path in modules:  # else an outer block took it away
            _put_stub(modules[path], leaf)


def _put_stub(module: nn.Module, leaf: str) -> None:
    tensor = module._parameters.pop(leaf, None)
    if tensor is not None:
        one = torch.ones((1,) * tensor.dim(), dtype=tensor.dtype, device=tensor.device)
        module.register_buffer(leaf, one, persistent=False)


class Stage:
    """The blocks of one network, taken out in place and put back.

    Args:
        model: The network that is changed.
        blocks: Its blocks.
        widths: Units of every group in the dense network.

    Attributes:
        substitutes: All modules that may replace others.
    """

    def __init__(self, model: nn.Module, blocks: Iterable[Block], widths: Mapping[str, int]) -> None:
        modules = dict(model.named_modules())
        places: dict[int, list[tuple[dict[str, nn.Module | None], str]]] = {}
        for module in modules.values():
            for leaf, child in module._modules.items():
                places.setdefault(id(child), []).append((module._modules, leaf))
        self.substitutes: list[nn.Module] = []
        self._shaped: dict[str, list[tuple[Silence, Swap]]] = {}
        self._swaps: dict[str, list[tuple[dict[str, nn.Module | None], str, nn.Module]]] = {}
        self._stubs = {b.name: [(modules[n.rpartition(".")[0]], n.rpartition(".")[2]) for n in b.stubs] for b in blocks}
        for block in blocks:
            for swap in block.swaps:
                new = replacement(modules[swap.module], swap, widths)
                self.substitutes.append(new)
                if isinstance(new, Silence) and swap.shape is not None:
                    self._shaped.setdefault(block.name, []).append((new, swap))
                found = [(registry, leaf, new) for registry, leaf in places[id(modules[swap.module])]]
                self._swaps.setdefault(block.name, []).extend(found)
        self._away: list[tuple[dict[str, nn.Module | None], str, nn.Module | None]] = []
        self._stubbed: list[tuple[nn.Module, dict[str, nn.Parameter | None], str]] = []

    def drop(self, blocks: Iterable[Block], widths: Mapping[str, int]) -> None:
        """Take blocks out, at these kept units of every group; nothing else may be out at that time."""
        for block in blocks:
            for zeros, swap in self._shaped.get(block.name, ()):
                zeros.shape = _sizes(swap, widths)
            for registry, leaf, new in self._swaps[block.name]:
                self._away.append((registry, leaf, registry[leaf]))
                registry[leaf] = new
            for module, leaf in self._stubs[block.name]:
                self._stubbed.append((module, dict(module._parameters), leaf))
                _put_stub(module, leaf)

    def restore(self) -> None:
        """Put everything back, in the order in which it stood."""
        for registry, leaf, module in reversed(self._away):
            registry[leaf] = module
        for owner, parameters, leaf in reversed(self._stubbed):
            del owner._buffers[leaf]
            owner._non_persistent_buffers_set.discard(leaf)
            owner._parameters.clear()
            owner._parameters.update(parameters)
        self._away.clear()
        self._stubbed.clear()

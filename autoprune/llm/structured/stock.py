"""The smaller model as its stock class makes it from its config, which `from_pretrained` loads; proven equal."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.graph import Analysis, cut
from autoprune.llm.models.by_layer import Numbers, made_by_layer, numbers_apart
from autoprune.llm.models.library import quiet, require
from autoprune.models.modes import in_mode
from autoprune.models.pretrained import differences, shapes_of, stock_model
from autoprune.techniques.structured.pretrained_config import follow_config

__all__ = [
    "by_layer_from",
    "cut_by_layer",
    "cut_uniformly",
    "fault_of",
    "name_head_size",
    "require_equal",
    "sharing_stock",
    "silenced",
    "stock_from",
]

_CLOSE = {torch.float32: 1e-4, torch.float64: 1e-6}  # of the largest logit: kernels of other shapes round otherwise
_CLOSE_HALF = 0.05


def cut_uniformly(network: nn.Module, analysis: Analysis, kept: Mapping[str, Sequence[int]]) -> nn.Module:
    """The stock class with these units, which its own config describes.

    Args:
        network: The dense model.
        analysis: Its couplings.
        kept: Group name -> units that stay.

    Raises:
        InputError: If no config of the class describes what is left.
    """
    small: Any = cut(network, analysis, kept)
    name_head_size(small, small.config)
    follow_config(small, analysis, analysis.widths({name: len(units) for name, units in kept.items()}))
    fresh = stock_from(small, small.config, small.state_dict())
    require_equal(small, fresh)
    return fresh


def cut_by_layer(network: nn.Module, analysis: Analysis, kept: Mapping[str, Sequence[int]]) -> nn.Module:
    """The network with these units, whose blocks may differ: of the dense model's class and config, as its folder says.

    Args:
        network: The dense model.
        analysis: Its couplings.
        kept: Group name -> units that stay.

    Raises:
        InputError: If what is read back from such a folder would compute something else.
    """
    small: Any = cut(network, analysis, kept)
    made = by_layer_from(network, small.state_dict(), numbers_apart(small), small.config)
    require_equal(small, made)
    return made


def by_layer_from(network: nn.Module, state: Mapping[str, Tensor], numbers: Numbers, config: Any) -> nn.Module:
    """A network of the same class whose blocks may differ, and whose weights are the very tensors handed over.

    Args:
        network: Of the class, for device, mode and how it generates.
        state: Its weights.
        numbers: What its modules have otherwise than the class makes.
        config: What the class is made from.
    """
    wide: Any = network
    fresh: Any = made_by_layer(lambda: type(wide)(copy.deepcopy(config)), state, numbers)
    fresh.to(device=wide.device)
    fresh.generation_config = copy.deepcopy(wide.generation_config)
    made: nn.Module = fresh.train(network.training)
    return made


def fault_of(config: Any) -> str | None:
    """Why the class of a config would not store or read these sizes, by its own validation; None if it would."""
    validate = getattr(config, "validate", None)
    if not callable(validate):
        return None
    try:
        with quiet():
            validate()
    except Exception as error:  # noqa: BLE001 - validators of a config raise what they like
        return " ".join(str(error.__cause__ or error).split())
    return None


def name_head_size(network: nn.Module, config: Any) -> None:
    """Let a config say the size of the network's heads, which would follow from their number otherwise."""
    sizes = {size for module in network.modules() if isinstance(size := getattr(module, "head_dim", None), int)}
    if len(sizes) == 1 and getattr(config, "head_dim", None) is None:
        config.head_dim = sizes.pop()


def stock_from(network: nn.Module, config: Any, state: Mapping[str, Tensor]) -> nn.Module:
    """A fresh network of the same class, made from a config, with the weights that are handed over.

    Whatever the class counts for itself (`layer_idx`, `num_key_value_groups`, rotary frequencies) is right in it.

    Args:
        network: Of the class, for device, mode and how it generates.
        config: What the fresh network is made from.
        state: Its weights; copied.

    Raises:
        InputError: If the class would have other shapes, or its config does not take these sizes.
    """
    if fault := fault_of(config):
        raise InputError(f"{type(network).__name__} cannot be made with these sizes: {fault}")
    stock = stock_model(network, config)
    if stock is None:
        raise InputError(f"{type(network).__name__} cannot be made with these sizes")
    different = differences({name: tuple(t.shape) for name, t in state.items()}, shapes_of(stock))
    if different:
        raise InputError(f"{type(network).__name__} cannot be loaded with these sizes: {different[0]}")
    return sharing_stock(network, config, _copied(state))


def sharing_stock(network: nn.Module, config: Any, state: Mapping[str, Tensor]) -> nn.Module:
    """The network of `stock_from` whose weights are the very tensors that are handed over, in their shapes.

    Args:
        network: Of the class.
        config: What it is made from.
        state: All that it saves; it must not be changed as long as the network is in use.
    """
    wide: Any = network
    with torch.random.fork_rng(devices=[]), quiet(), require("accelerate").init_empty_weights(include_buffers=False):
        fresh: Any = type(wide)(copy.deepcopy(config))
    fresh.load_state_dict(dict(state), assign=True)
    fresh.tie_weights()
    fresh.to(device=wide.device)  # what the class computes for itself keeps the precision that it has there
    fresh.generation_config = copy.deepcopy(wide.generation_config)
    made: nn.Module = fresh.train(network.training)
    return made


def _copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights in memory of their own; tied ones are one there, too."""
    memo: dict[int, Tensor] = {}
    for tensor in state.values():
        memo.setdefault(tensor.data_ptr(), tensor.detach().clone())
    return {name: memo[tensor.data_ptr()] for name, tensor in state.items()}


def require_equal(expected: nn.Module, found: nn.Module, windows: Tensor | None = None) -> None:
    """Refuse a network that computes something else.

    Args:
        expected: The network that is right.
        found: Of the same inputs.
        windows: Token ids (batch, tokens); some numbers by default.

    Raises:
        InputError: If their logits differ by more than rounding.
    """
    config: Any = expected.config
    ids = torch.arange(16).reshape(2, 8) % int(config.vocab_size) if windows is None else windows
    right, got = (_logits(network, ids) for network in (expected, found))
    error = float((right - got).abs().max()) / max(float(right.abs().max()), 1e-9)
    dtype = next(expected.parameters()).dtype
    if not error <= _CLOSE.get(dtype, _CLOSE_HALF):
        raise InputError(f"the cut network is off by {error:.2g} of its largest logit from the one it should equal")


def silenced(tensor: Tensor, dim: int, places: Tensor) -> Tensor:
    """The tensor, 0 but at these places of a dimension."""
    silent, kept = torch.zeros_like(tensor), places.to(tensor.device)
    return silent.index_copy(dim, kept, tensor.index_select(dim, kept))


def _logits(network: Any, ids: Tensor) -> Tensor:
    with torch.no_grad(), in_mode(network):
        found: Tensor = network(input_ids=ids.to(network.device), use_cache=False).logits.double()
    return found

"""The network with the rows of the tokens that stay."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import InputError, UnsupportedModelError
from autoprune.llm.structured.stock import stock_from
from autoprune.models.modes import in_mode

__all__ = ["token_numbers", "with_tokens"]

_CLOSE = 1e-3  # of the largest logit: a product of another shape rounds otherwise, half precision more


def with_tokens(network: nn.Module, kept: Sequence[int]) -> nn.Module:
    """The stock class with a smaller `vocab_size`; token numbers in its configs are the new ones.

    Args:
        network: A causal language model.
        kept: Old numbers of the tokens that stay; place = new number.

    Raises:
        UnsupportedModelError: If the embedding and the head are no layers with a row a token.
        InputError: If the smaller network computes something else.
    """
    model: Any = network
    rows = torch.tensor(list(kept))
    names = _tensors_by_token(network)
    state = {
        name: tensor.index_select(0, rows.to(tensor.device)) if name in names else tensor
        for name, tensor in model.state_dict().items()
    }
    config = copy.deepcopy(model.config)
    config.vocab_size = len(kept)
    new = {old: place for place, old in enumerate(kept)}
    _renumber(config, new)
    small: Any = stock_from(network, config, state)
    _renumber(small.generation_config, new)
    _require_rows(model, small, rows)
    return small  # type: ignore[no-any-return]  # transformers has no types here


def token_numbers(network: nn.Module) -> set[int]:
    """Numbers of tokens that the network's configs name."""
    model: Any = network
    return {
        number
        for config in (model.config, model.generation_config)
        if config is not None
        for _, value in _named(config)
        for number in (value if isinstance(value, list) else [value])
    }


def _named(config: Any) -> list[tuple[str, Any]]:
    found = [(name, value) for name, value in vars(config).items() if name.endswith("_token_id")]
    return [(name, value) for name, value in found if isinstance(value, int | list)]


def _renumber(config: Any, new: Mapping[int, int]) -> None:
    for name, value in _named(config) if config is not None else ():
        setattr(config, name, [new[each] for each in value] if isinstance(value, list) else new[value])


def _tensors_by_token(network: Any) -> set[str]:
    """Names of tensors that have a row a token: the embedding, the head and its bias.

    Raises:
        UnsupportedModelError: If one of them has another number of rows.
    """
    layers = [layer for layer in (network.get_input_embeddings(), network.get_output_embeddings()) if layer is not None]
    owned = {id(p) for layer in layers for p in layer.parameters(recurse=False)}
    named = {name: p for name, p in network.named_parameters(remove_duplicate=False) if id(p) in owned}
    for name, parameter in named.items():
        if parameter.shape[0] != network.config.vocab_size:
            raise UnsupportedModelError(f"{name} has {parameter.shape[0]} rows for {network.config.vocab_size} tokens")
    return set(named)


def _require_rows(network: Any, small: Any, rows: Tensor) -> None:
    """Refuse a smaller network whose logits are not the dense one's of the tokens that stay."""
    places = torch.arange(16).reshape(2, 8) * max(len(rows) // 16, 1) % len(rows)
    with torch.no_grad(), in_mode(network, small):
        right = network(input_ids=rows[places].to(network.device), use_cache=False).logits[..., rows].double()
        got = small(input_ids=places.to(small.device), use_cache=False).logits.double()
    error = float((right - got).abs().max()) / max(float(right.abs().max()), 1e-9)
    if not error <= _CLOSE:
        raise InputError(f"the network with fewer tokens is off by {error:.2g} of its largest logit")

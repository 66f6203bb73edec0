"""The graph of one step of a language model, whose state is the cache of keys and values."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import TargetError, first_line
from autoprune.graph.trace.quiet import quiet
from autoprune.llm.models.base import LanguageModel

__all__ = ["step_graph"]


class _Step(nn.Module):
    """A call with the cache as plain tensors: what is known comes in, what is known afterwards goes out."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: Tensor, places: Tensor, *known: Tensor) -> tuple[Tensor, ...]:
        from transformers.cache_utils import DynamicCache, DynamicLayer

        made: Any = DynamicLayer  # without types
        cache: Any = DynamicCache()
        for keys, values in zip(known[::2], known[1::2], strict=True):
            layer: Any = made()
            layer.keys, layer.values, layer.dtype, layer.device = keys, values, keys.dtype, keys.device
            layer.is_initialized = True  # its own way there joins an empty tensor without a shape
            cache.layers.append(layer)
        logits = self.network(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=places).logits
        return (logits, *(each for layer in cache.layers for each in (layer.keys, layer.values)))


def step_graph(model: LanguageModel) -> Any:
    """A model as an `openvino.Model` in float32.

    Its inputs are `input_ids`, int64 (1, n), tokens behind those that it has read, and `places`, int64 (k,), the
    tokens among these whose logits are wanted; its output is `logits`, float32 (1, k, vocabulary).

    Raises:
        TargetError: If it cannot be exported or converted; the reason's first line is given.
    """
    try:
        return _graph(model.network)
    except Exception as error:
        raise TargetError(f"openvino cannot run {model.origin}: {first_line(error)}") from error


def _graph(network: Any) -> Any:
    import openvino
    from openvino._offline_transformations import apply_make_stateful_transformation

    network = _in_float32(network).eval()
    device = next(network.parameters()).device
    prompt = torch.arange(4, device=device)[None] % int(network.config.vocab_size)
    with torch.no_grad():
        cache = network(input_ids=prompt, use_cache=True).past_key_values
    known = [each for layer in cache.layers for each in (layer.keys, layer.values)]
    lengths = tuple({2: torch.export.Dim.DYNAMIC} for _ in known)
    sizes = {"ids": {1: torch.export.Dim.DYNAMIC}, "places": {0: torch.export.Dim.DYNAMIC}, "known": lengths}
    with quiet(), torch.no_grad():
        inputs = (prompt[:, :3], prompt[0, :2], *known)
        exported = torch.export.export(_Step(network), inputs, dynamic_shapes=sizes, strict=False)
        graph = openvino.convert_model(exported)
    # Only lengths are open: a state begins with a zero wherever its size is.
    shapes = [[1, -1], [-1], *([each.shape[0], each.shape[1], -1, each.shape[3]] for each in known)]
    graph.reshape(dict(zip(graph.inputs, (openvino.PartialShape(each) for each in shapes), strict=True)))
    for port, name in ((graph.inputs[0], "input_ids"), (graph.inputs[1], "places"), (graph.outputs[0], "logits")):
        port.get_tensor().set_names({name})
    for number, (source, result) in enumerate(zip(graph.inputs[2:], graph.outputs[1:], strict=True)):
        source.get_tensor().set_names({f"known_{number}"})
        result.get_tensor().set_names({f"next_{number}"})
    apply_make_stateful_transformation(graph, {f"known_{n}": f"next_{n}" for n in range(len(known))})
    return graph


def _in_float32(network: Any) -> Any:
    """The network, or a copy of it in float32: the formats that weights are stored in are made of that."""
    return network if next(network.parameters()).dtype == torch.float32 else copy.deepcopy(network).float()

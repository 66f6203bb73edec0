"""The fingerprint of a network: what a policy or an analysis must find again in the model it is used on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from torch import nn

from autoprune.models.lazy import require_shapes

__all__ = ["fingerprint", "first_difference"]


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """Layers of a model in order, and a digest of them. JSON-able; weights' values play no part.

    Returns:
        ``{"layers": [[name, type, {parameter or buffer: [sizes]}], ...], "sha256": hex}``. Modules that hold
        neither own tensors nor children (ReLU, Dropout) are listed too: they shape the network.

    Raises:
        UnsupportedModelError: A lazy layer has not run yet.
    """
    require_shapes(model)
    layers = []
    for name, module in model.named_modules():
        own = {**module._parameters, **module._buffers}
        shapes = {key: list(tensor.shape) for key, tensor in own.items() if tensor is not None}
        if shapes or not module._modules:
            layers.append([name, type(module).__name__, shapes])
    digest = hashlib.sha256(json.dumps(layers, sort_keys=True).encode()).hexdigest()
    return {"layers": layers, "sha256": digest}


def first_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """One line that names the first layer in which two fingerprints differ; None when they agree.

    Args:
        one: A fingerprint that may come from a file, and hold anything.
        other: A model's own.
    """
    if one.get("sha256") == other["sha256"]:
        return None
    if not _is_whole(one):
        return "its fingerprint of the layers is damaged"
    for (name, kind, shapes), (name_b, kind_b, shapes_b) in zip(one["layers"], other["layers"], strict=False):
        if name != name_b:
            return f"layer {name!r} stands where the other has {name_b!r}"
        if kind != kind_b:
            return f"layer {name!r} is a {kind}, in the other a {kind_b}"
        if shapes != shapes_b:
            key = next(k for k in (*shapes, *shapes_b) if shapes.get(k) != shapes_b.get(k))
            return f"layer {name!r}: {key} is {shapes.get(key)}, in the other {shapes_b.get(key)}"
    count, count_b = len(one["layers"]), len(other["layers"])
    if count < count_b:
        return f"layer {other['layers'][count][0]!r} is missing"
    if count > count_b:
        return f"layer {one['layers'][count_b][0]!r} is missing in the other"
    return "its layers are the same but their digest is not; the file was changed"


def _is_whole(content: Mapping[str, Any]) -> bool:
    """Whether something has a fingerprint's form."""
    layers = content.get("layers")
    if not isinstance(layers, list):
        return False
    return all(
        isinstance(layer, list)
        and [type(part) for part in layer] == [str, str, dict]
        and all(isinstance(sizes, list) for sizes in layer[2].values())
        for layer in layers
    )

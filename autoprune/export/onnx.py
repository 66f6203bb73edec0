"""A network as ONNX, BatchNorm folded: what onnxruntime is given, to time and to deploy."""

from __future__ import annotations

import io
from typing import Any

import torch
from torch import nn

from autoprune.errors import UnsupportedModelError, first_line
from autoprune.export.folding import fold_batch_norm
from autoprune.export.onnx_network import OnnxNetwork, with_fixed_batch
from autoprune.export.opset import OPSET
from autoprune.graph.trace.quiet import quiet
from autoprune.models import with_tensor_output
from autoprune.models.inputs.example import as_example, open_batch

__all__ = ["to_onnx", "to_onnx_for_timing"]


def to_onnx(model: nn.Module, example: Any, *, dynamic_batch: bool = False) -> bytes:
    """Export a network through `torch.onnx.export(dynamo=True)`.

    Args:
        model: The network; exported in evaluation mode, left as it was.
        example: An input of shape (N, ...), or several as `as_example` takes them.
        dynamic_batch: Leave the batch dimension open; else it is the example's.

    Returns:
        A serialised ONNX model with its weights inside.

    Raises:
        UnsupportedModelError: If the network cannot be exported.
    """
    given, shapes = as_example(example), None
    if dynamic_batch:
        # A batch of one would be traced as the constant 1.
        given = given.with_batch(2) if given.batch == 1 else given
        shapes = open_batch(given)
    folded = fold_batch_norm(model, given, dynamic_shapes=shapes)
    try:
        with quiet():
            program = torch.onnx.export(
                folded,
                given.copied().args,
                kwargs=dict(given.kwargs),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=shapes,
                verbose=False,
            )
    except Exception as error:
        raise UnsupportedModelError(f"this model cannot be exported to ONNX: {first_line(error)[:300]}") from error
    if program is None:
        raise UnsupportedModelError("this model cannot be exported to ONNX")
    content: bytes = program.model_proto.SerializeToString()
    return content


def to_onnx_for_timing(model: nn.Module, example: Any) -> bytes:
    """The same network as ONNX, exported the fast way where that works; for timing, not for delivery.

    A search exports dozens of candidates. The older exporter, which traces the forward once at the example's shape,
    takes 0.1 s for ResNet-20 where the newer one takes 1.8 s, and the runtime makes the same graph of both (measured:
    328.48 against 328.45 us). Whatever it cannot trace goes through `to_onnx`.

    Args:
        model: The network; exported in evaluation mode, left as it was.
        example: An input of the shape that is timed.

    Raises:
        UnsupportedModelError: If the network cannot be exported either way.
    """
    if isinstance(model, OnnxNetwork):
        return with_fixed_batch(model.content, as_example(example).batch)
    stream, given = io.BytesIO(), as_example(example).copied()
    try:
        with quiet():
            torch.onnx.export(
                with_tensor_output(model).to(given.tensors()[0].device),
                given.args,
                stream,  # type: ignore[arg-type]  # the signature is the newer exporter's; this one takes a stream
                kwargs=dict(given.kwargs),
                dynamo=False,
                opset_version=OPSET,
            )
    except Exception:  # noqa: BLE001 - it raises whatever its passes raise, and may be gone in a later torch
        return to_onnx(model, example)
    return stream.getvalue()

"""A small convolution in several types of integers, whose sums show whether a runtime's instructions saturate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from autoprune.export.opset import OPSET
from autoprune.quantization.affine import activation_numbers
from autoprune.quantization.qdq import QuantizationPlan, with_integers
from autoprune.quantization.scheme import Scheme

__all__ = ["off_by", "sample_files"]

_SHAPE = (1, 32, 16, 16)
_HIGH = 60.0  # of the outputs, which lie between 0 and about 50


def sample_files(schemes: Sequence[Scheme]) -> tuple[bytes, list[bytes]]:
    """Two 3x3 convolutions of 32 channels each in float32, and in each of the types.

    Weights have one sign and are near their largest, as inputs are, so that pairs of products are as large as they get.
    """
    draw = np.random.default_rng(0)
    nodes, weights = [], []
    for number, (source, result) in enumerate((("x", "a"), ("b", "c"))):
        value = draw.uniform(0.17, 0.2, (32, 32, 3, 3)).astype(np.float32) * (1.0 if number == 0 else 0.02)
        weights.append(numpy_helper.from_array(value, f"w{number}"))
        nodes.append(helper.make_node("Conv", [source, f"w{number}"], [result], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [result], ["b" if number == 0 else "y"]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(_SHAPE)) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "sample", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    ranges = {"x": (0.0, 1.0), "b": (0.0, _HIGH), "y": (0.0, _HIGH)}
    return model.SerializeToString(), [with_integers(model, QuantizationPlan(scheme, ranges)) for scheme in schemes]


def off_by(caller: Callable[[bytes], Any], floats: bytes, file: bytes) -> float:
    """How far a file's outputs are from float32's, in steps of its output."""
    x = np.random.default_rng(1).uniform(0.85, 1.0, _SHAPE).astype(np.float32)
    expected, found = caller(floats)([x])[0], caller(file)([x])[0]
    return float(np.abs(found - expected).max() / activation_numbers(0.0, _HIGH, Scheme()).scale)

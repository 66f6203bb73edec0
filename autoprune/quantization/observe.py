"""What values a network's activations take on calibration data: an ONNX graph is run with all of them as outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from autoprune.errors import InputError
from autoprune.export.onnx_network import opened_file
from autoprune.foundations.progress import Progress, no_progress
from autoprune.quantization.ranges import BINS, Histogram

__all__ = ["Fed", "histograms", "with_outputs"]

Fed = Sequence[NDArray[Any]]
"""The inputs of one call, in the order of the graph's."""


def histograms(
    model: onnx.ModelProto, tensors: Sequence[str], batches: Iterable[Fed], progress: Progress = no_progress
) -> dict[str, Histogram]:
    """The histogram of each tensor over all batches, which are gone through twice.

    Args:
        model: A float32 network with a dynamic batch; left as it is.
        tensors: Names.
        batches: Inputs; may be read again.
        progress: Hears (batches, all).

    Raises:
        InputError: If there is no batch, or a tensor is not finite; it is named.
    """
    run, kept = opened_file(with_outputs(model, tensors)), list(batches)
    if not kept:
        raise InputError("the calibration split has no batch; ranges need images")
    bounds = dict.fromkeys(tensors, (0.0, 0.0))
    for number, fed in enumerate(kept, start=1):
        for name, values in zip(tensors, run(fed), strict=True):
            low, high = float(values.min()), float(values.max())
            if not np.isfinite(low + high):
                raise InputError(f"activations of {name} are not finite on calibration batch {number}; no range fits")
            bounds[name] = (min(low, bounds[name][0]), max(high, bounds[name][1]))
        progress(number, 2 * len(kept), "ranges")
    counts = {name: np.zeros(BINS, np.int64) for name in tensors}
    for number, fed in enumerate(kept, start=1):
        for name, values in zip(tensors, run(fed), strict=True):
            low, high = bounds[name]
            if high > low:
                counts[name] += np.histogram(values, BINS, (low, high))[0]
        progress(len(kept) + number, 2 * len(kept), "histograms")
    return {name: Histogram(*bounds[name], counts[name]) for name in tensors}


def with_outputs(model: onnx.ModelProto, tensors: Sequence[str]) -> bytes:
    """The same graph, whose outputs are these float32 tensors."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in tensors)
    content: bytes = copy.SerializeToString()
    return content

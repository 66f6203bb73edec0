"""What each layer costs in accuracy, and gains in time, if it computes with integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autoprune.export.onnx_network import opened_file
from autoprune.pipeline.jobs.quantize.subject import FloatFile
from autoprune.pipeline.jobs.quantize.trials import Trial
from autoprune.pipeline.reporter import Bar
from autoprune.quantization.observe import Fed
from autoprune.quantization.qdq import QuantizationPlan, with_integers
from autoprune.quantization.scheme import scheme_named

__all__ = ["layer_errors", "layer_rows"]


def layer_errors(file: FloatFile, plan: QuantizationPlan, batch: Fed, bar: Bar) -> dict[str, float]:
    """How far the network's outputs move if one layer alone computes with integers, as a share of their size.

    Args:
        file: The float32 network.
        plan: Types and ranges.
        batch: Inputs, a few dozen.
        bar: Shows progress.

    Returns:
        Node -> the square root of the summed squared differences over the summed squares.
    """
    expected = opened_file(file.content)(batch)[0].astype(np.float64)
    size = float(np.square(expected).sum()) or 1.0
    layers = [site.node for site in file.sites.layers]
    found = {}
    for number, node in enumerate(layers, start=1):
        others = [each for each in layers if each != node]
        alone = with_integers(file.model, QuantizationPlan(plan.scheme, plan.ranges, others))
        difference = opened_file(alone)(batch)[0] - expected
        found[node] = float(np.sqrt(np.square(difference).sum() / size))
        bar(number, len(layers))
    return found


def layer_rows(
    file: FloatFile,
    trial: Trial,
    ranges: Mapping[str, tuple[float, float]],
    errors: Mapping[str, float],
    gains: Mapping[str, Sequence[float] | str],
) -> list[dict[str, Any]]:
    """A row for each layer, in the order in which they are computed.

    Args:
        file: The float32 network.
        trial: What was chosen.
        ranges: Of its method.
        errors: See `layer_errors`.
        gains: Name of a layer -> milliseconds in float32 and in integers, alone on the target; or why none.
    """
    rows = []
    for site in file.sites.layers:
        name = file.names[site.node]
        integers = site.node not in trial.float_layers
        pair = gains.get(name, "it was not timed alone")
        timed = None if isinstance(pair, str) else pair
        rows.append(
            {
                "name": name,
                "operator": site.op,
                "type": scheme_named(trial.scheme).name if integers else "float32",
                "range": list(ranges[site.inputs[0]]) if integers else None,
                "error": errors.get(site.node),
                "gain": None if timed is None else timed[0] - timed[1],
                "latency_float_ms": None if timed is None else timed[0],
                "latency_int8_ms": None if timed is None else timed[1],
                "reason": pair if isinstance(pair, str) else None,
            }
        )
    return rows

"""The report of a quantization: dense, float32 and integers with the same figures, and a row a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import onnx
from onnx import numpy_helper
from torch import nn

from autoprune.hardware.contract.protocol import Measurement
from autoprune.models.sizes import parameter_count, zero_count
from autoprune.pipeline.finish.fine_tuning import reported_score
from autoprune.pipeline.jobs.quantize.choosing import LEAST_GAIN, Choice
from autoprune.pipeline.jobs.quantize.halves import Half, fastest_half
from autoprune.pipeline.jobs.quantize.subject import Subject
from autoprune.pipeline.jobs.quantize.trials import Workbench
from autoprune.quantization.scheme import scheme_named
from autoprune.reports.quantization import QUANTIZE_SCHEMA
from autoprune.run.report import Figures
from autoprune.run.stopwatch import rounded_seconds

__all__ = ["quantize_report"]


def quantize_report(
    bench: Workbench,
    subject: Subject,
    choice: Choice,
    files: Mapping[str, bytes],
    times: Mapping[str, Measurement],
    layers: Sequence[Mapping[str, Any]],
    images: int,
    halves: Sequence[Half] = (),
) -> dict[str, Any]:
    """The content of `report.json`; scores every network on the test split.

    Args:
        bench: The run's.
        subject: The networks before.
        choice: Types, ranges, layers.
        files: `dense` where something was pruned, `float`, `quantized`, and formats of 16 bits by name.
        times: Of the same.
        layers: See `layer_rows`.
        images: Calibration images.
        halves: Formats of 16 bits that were tried.
    """
    run, task = bench.run, bench.task
    networks: dict[str, nn.Module] = {"float": subject.network}
    networks |= {"dense": subject.dense} if subject.pruned else {}
    figures = {name: _figures(bench, network, files[name], times[name]) for name, network in networks.items()}
    figures.setdefault("dense", figures["float"])
    quantized = bench.network(files["quantized"])
    figures["quantized"] = _figures(bench, quantized, files["quantized"], times["quantized"], of=subject.network)
    reason = _reason(choice, times, run.experiment.tolerance)
    half = fastest_half(halves, times, integers=reason is None)
    if half is not None:
        network = bench.network(files[half.name])
        figures[half.name] = _figures(bench, network, files[half.name], times[half.name], of=subject.network)
        if reason is None:
            stay = f"integers with {len(choice.trial.float_layers)} layers in float32"
            reason = f"{half.name} is faster than {stay}: {times[half.name].ms:.4g} ms, {times['quantized'].ms:.4g} ms"
    return {
        "schema": QUANTIZE_SCHEMA,
        "model": task.name,
        "from_run": run.experiment.from_run,
        "weights": task.weights_origin,
        "data": task.data.name,
        "images": dict(task.data.counts),
        "target": bench.target.spec,
        "device": bench.target.fingerprint(),
        "seed": run.experiment.seed,
        **task.scored_as.fields,
        **figures,
        "handed_over": half.name if half is not None else "float32" if reason else "int8",
        "reason": reason,
        "speedup": times["float"].ms / times["quantized"].ms,
        "types": scheme_named(choice.trial.scheme).name,
        "ranges": choice.trial.method,
        "calibration_images": images,
        "float_layers": len(choice.trial.float_layers),
        "search": {
            "float": choice.float_score,
            "quantized": choice.trial.score,
            "tolerance": run.experiment.tolerance,
            "within": choice.within,
        },
        "tried_types": [_row(asdict(trial), choice.float_ms) for trial in choice.types],
        "tried_ranges": [
            {"ranges": trial.method, "float_layers": len(trial.float_layers), "score": trial.score}
            for trial in choice.tried
        ],
        "tried_halves": [
            {
                "type": each.name,
                "score": each.score,
                "within": each.within,
                "latency_ms": (ms := times[each.name].ms if each.name in times else None),
                "speedup": None if ms is None else times["float"].ms / ms,
            }
            for each in halves
        ],
        "layers": list(layers),
        "seconds": dict(rounded_seconds(run)),
    }


def _row(trial: Mapping[str, Any], float_ms: float) -> dict[str, Any]:
    speedup = float_ms / trial["latency_ms"]
    return {"types": trial["scheme"], "score": trial["score"], "latency_ms": trial["latency_ms"], "speedup": speedup}


def _reason(choice: Choice, times: Mapping[str, Measurement], tolerance: float) -> str | None:
    """Why integers are not handed over; None where they could be."""
    before, after = times["float"].ms, times["quantized"].ms
    if after > before * (1 - LEAST_GAIN):
        return f"integers are not faster here: {after:.4g} ms, float32 {before:.4g} ms"
    if not choice.within:
        return (
            f"no types, ranges and layers kept the score within {tolerance:g} of {choice.float_score:.4f} on the search"
            f" split; the best reached {choice.trial.score:.4f} (--qat trains with integers, --tolerance allows more)"
        )
    return None


def _figures(
    bench: Workbench, network: nn.Module, content: bytes, measured: Measurement, of: nn.Module | None = None
) -> dict[str, Any]:
    task = bench.task
    known = {
        "latency_ms": measured.ms,
        "latency_spread": measured.spread,
        "latency_stable": measured.stable,
        "params": parameter_count(of or network),
        "zeros": zero_count(network) if of is None else _zeros(content),
        "bytes": len(content),
    }
    score = reported_score(task, network, task.data.test)
    return Figures.of_scores(task.scored_as, [score], **known).model_dump(exclude_none=True, mode="json")


def _zeros(content: bytes) -> int:
    """Weights of a file that stand for 0, whatever their type."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(content).graph.initializer}
    zero = {f"{name[: -len('_weight_zero')]}_weight_q": found.flat[0] for name, found in values.items()
            if name.endswith("_weight_zero")}  # fmt: skip
    return sum(int((value == zero.get(name, 0)).sum()) for name, value in values.items() if value.ndim > 1)

"""16 bits for the whole network, where integers lose too much or gain too little: the last way before float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autoprune.export.onnx_network import with_precision
from autoprune.hardware.contract.protocol import Measurement
from autoprune.pipeline.jobs.quantize.choosing import LEAST_GAIN, Choice, is_within
from autoprune.pipeline.jobs.quantize.trials import Workbench
from autoprune.pipeline.reporter import Reporter

__all__ = ["Half", "fastest_half", "half_files", "scored_halves"]

_NAMES = {"bf16": "bfloat16", "f16": "float16"}
"""A target's precision -> what reports call it."""


@dataclass(frozen=True)
class Half:
    """A whole network in a number format of 16 bits.

    Attributes:
        name: `bfloat16` or `float16`.
        precision: As the target names it.
        score: On the search split, computed by the target.
        within: Whether it loses no more than the tolerance.
    """

    name: str
    precision: str
    score: float
    within: bool

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def scored_halves(bench: Workbench, content: bytes, choice: Choice, reporter: Reporter) -> tuple[Half, ...]:
    """The target's formats of 16 bits, scored, where integers are not the answer already; none where they are.

    Integers of every layer that are faster and within the tolerance need no further trial: 16 bits cannot be faster
    on a processor that has instructions for both. With layers in float32 between them they can.

    Args:
        bench: The run's.
        content: The float32 file, as it was before any training with integers.
        choice: Of integers.
        reporter: Shows progress.
    """
    if not bench.target.halves or (choice.within and not choice.trial.float_layers and _gains(choice)):
        return ()

    def compute() -> list[dict[str, Any]]:
        found = []
        with reporter.stage("search", "scoring 16 bits on the search split", len(bench.target.halves)) as bar:
            for number, precision in enumerate(bench.target.halves):
                network = bench.network(with_precision(content, precision))
                score = bench.task.score(network, bench.task.data.search)
                within = is_within(bench, score, choice.float_score)
                found.append(Half(_NAMES[precision], precision, score, within).to_json())
                bar(number + 1)
        return found

    return tuple(Half(**each) for each in bench.run.once("quantize halves", compute))


def half_files(halves: Sequence[Half], content: bytes) -> dict[str, bytes]:
    """The files of those within the tolerance, by name."""
    return {half.name: with_precision(content, half.precision) for half in halves if half.within}


def fastest_half(halves: Sequence[Half], times: Mapping[str, Measurement], *, integers: bool) -> Half | None:
    """The fastest that is handed over: faster than float32, and than integers where these are within the tolerance.

    Args:
        halves: All that were scored; equally fast ones are preferred in their order.
        times: Of all files, from one session.
        integers: Whether integers could be handed over.
    """
    timed = [half for half in halves if half.name in times]
    if not timed:
        return None
    fastest = min(timed, key=lambda half: times[half.name].ms)
    rivals = [times["float"].ms, *([times["quantized"].ms] if integers else [])]
    return fastest if times[fastest.name].ms <= min(rivals) * (1 - LEAST_GAIN) else None


def _gains(choice: Choice) -> bool:
    """Whether the chosen types were faster than float32 when all types were timed."""
    probed = next(trial for trial in choice.types if trial.scheme == choice.trial.scheme)
    return (probed.latency_ms or 0.0) <= choice.float_ms * (1 - LEAST_GAIN)

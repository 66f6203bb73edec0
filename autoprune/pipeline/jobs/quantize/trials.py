"""One way of quantizing after the other: its file, its latency on the target, its score on the search split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from autoprune.errors import InputError
from autoprune.export.onnx_network import OnnxNetwork, with_fixed_batch
from autoprune.hardware.contract.protocol import Measurement
from autoprune.hardware.targets.local import LocalTarget
from autoprune.hardware.timing.effort import effort_named
from autoprune.hardware.timing.measure import least_of
from autoprune.pipeline.device import target_of
from autoprune.pipeline.jobs.quantize.subject import FloatFile
from autoprune.pipeline.reporter import Bar
from autoprune.pipeline.task import Task
from autoprune.quantization.qdq import QuantizationPlan, with_integers
from autoprune.quantization.scheme import SCHEMES, Scheme, scheme_named
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment

__all__ = ["Trial", "Workbench", "schemes_of", "target_with_integers"]

Ranges = Mapping[str, Mapping[str, tuple[float, float]]]
"""Method -> tensor -> (low, high)."""


@dataclass(frozen=True)
class Trial:
    """A way of quantizing, and what it came to.

    Attributes:
        scheme: Name of the types.
        method: Of the ranges.
        float_layers: Nodes of layers that stay float32.
        score: On the search split.
        latency_ms: On the target; None where it was not timed.
    """

    scheme: str
    method: str
    float_layers: tuple[str, ...] = ()
    score: float | None = None
    latency_ms: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Trial:
        """The inverse of `to_json`."""
        return cls(**{**content, "float_layers": tuple(content["float_layers"])})


@dataclass(frozen=True, eq=False)
class Workbench:
    """What every trial needs.

    Attributes:
        task: Its data and score.
        run: Keeps what was measured.
        target: Where.
        file: The float32 network.
        ranges: By method.
    """

    task: Task
    run: RunDir
    target: LocalTarget
    file: FloatFile
    ranges: Ranges

    def content(self, trial: Trial) -> bytes:
        """The file of a trial."""
        plan = QuantizationPlan(scheme_named(trial.scheme), self.ranges[trial.method], trial.float_layers)
        return with_integers(self.file.model, plan)

    def network(self, content: bytes) -> OnnxNetwork:
        """A file as a module that the target's runtime computes; onnxruntime where the target does not say."""
        return OnnxNetwork(content, self.target.caller(content))

    def scored(self, trial: Trial) -> Trial:
        """A trial with its score on the search split."""
        return replace(trial, score=self.task.score(self.network(self.content(trial)), self.task.data.search))

    def times(self, files: Sequence[bytes], bar: Bar, passes: int | None = None) -> list[Measurement]:
        """Files interleaved on the target, in fresh processes; the least of each counts."""
        effort = effort_named(self.run.experiment.timing)
        payloads = [with_fixed_batch(content, self.task.target_batch) for content in files]
        protocol, count = effort.plan(effort.seconds).protocol, passes or effort.passes
        taken = []
        for number in range(count):
            what = f"files timed, process {number + 1} of {count}"
            taken.append(self.target.time(payloads, protocol, lambda done, total, what=what: bar(done, total, what)))  # type: ignore[misc]
        return least_of(taken)[0]


def target_with_integers(experiment: Experiment) -> LocalTarget:
    """The run's target.

    Raises:
        InputError: If networks do not compute with integers there.
    """
    target = target_of(experiment)
    if not isinstance(target, LocalTarget) or not target.integers:
        raise InputError(f"the target {target.name} has no integer kernels that autoprune writes files for; use"
                         " onnxruntime or openvino")  # fmt: skip
    return target if target.precision != "int8" else target.in_float()


def schemes_of(experiment: Experiment) -> list[Scheme]:
    """The types that are tried.

    Raises:
        InputError: If there are none of that name.
    """
    per_channel = experiment.scales == "channel"
    if experiment.types != "auto":
        named = scheme_named(experiment.types)
        return [replace(named, per_channel=named.per_channel and per_channel)]
    return [scheme for scheme in SCHEMES.values() if scheme.per_channel == per_channel]

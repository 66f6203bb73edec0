"""Two networks side by side on every target: latency in pairs, accuracy, sizes on disk, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from autoprune.errors import (
    AutopruneError,
    InputError,
    MissingExtraError,
    TargetError,
    UnsupportedModelError,
)
from autoprune.evaluation import Evaluate, accuracy, scored
from autoprune.export.formats import onnx_bytes
from autoprune.graph import analyse
from autoprune.hardware import TARGETS, Measurement, Protocol, Target, get_target
from autoprune.hardware.contract.target import Timer
from autoprune.hardware.sparse_kernels.shapes import sparse_layers
from autoprune.hardware.timing.effort import effort_named
from autoprune.hardware.timing.measure import packed
from autoprune.models.inputs.example import as_example
from autoprune.models.inputs.reader import AS_IT_COMES, BatchReader
from autoprune.models.sizes import parameter_count
from autoprune.pipeline.bench.sparse_layers import layer_rows
from autoprune.pipeline.bench.spread import peak_memory, spread
from autoprune.pipeline.bench.streamed import DynamicFile, dynamic_row
from autoprune.pipeline.reporter import Reporter, Silent
from autoprune.run.score import ACCURACY, ScoreSpec

__all__ = ["BENCH_SCHEMA", "EVERY", "Subject", "bench", "bench_subject", "chosen_targets"]

BENCH_SCHEMA = "autoprune.bench/1"

EVERY = "all"
"""In place of targets' names: every one that works on this machine."""


@dataclass(frozen=True)
class Subject:
    """What is compared.

    Attributes:
        name: For people.
        dense: The network with nothing pruned.
        small: The pruned one, or the dynamic one; None to time the dense network alone.
        example: An input of the shape that is timed, (N, ...).
        test: Batches on which both are scored; None if they cannot be.
        unscored: Why `test` is None.
        evaluate: The score.
        scored_as: What that score is.
        reader: Which parts of a batch are the inputs.
        delivered: What is scored in place of `small`: the file of a run of which layers compute with integers.
        facts: Where the networks come from: run, policy, weights, data.
        seen: Gives a batch of what they will be given, for targets whose latencies depend on that.
        file: What targets run of a small network whose time depends on its input; None of any other.
    """

    name: str
    dense: nn.Module
    small: nn.Module | None
    example: Any
    test: Iterable[Any] | None = None
    unscored: str | None = None
    evaluate: Evaluate = accuracy
    scored_as: ScoreSpec = ACCURACY
    reader: BatchReader = AS_IT_COMES
    delivered: nn.Module | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    seen: Callable[[], Any] | None = None
    file: DynamicFile | None = None

    @property
    def networks(self) -> dict[str, nn.Module]:
        """`dense`, and `pruned` or `dynamic` where there is one."""
        name = "pruned" if self.file is None else "dynamic"
        return {"dense": self.dense} | ({} if self.small is None else {name: self.small})


def bench(
    dense: nn.Module,
    small: nn.Module | None,
    example_input: Tensor,
    targets: str | Sequence[str] = EVERY,
    *,
    repetitions: int = 5,
    threads: int = 1,
    test: Iterable[Any] | None = None,
    evaluate: Evaluate | None = None,
    talk: Reporter | None = None,
    timing: str = "normal",
) -> dict[str, Any]:
    """Compare a dense and a pruned network on several targets.

    Args:
        dense: The network with nothing pruned; left as it is.
        small: The pruned one; None to time the dense network alone.
        example_input: An input of the shape that is timed, (N, ...).
        targets: Names or specs such as `openvino@bf16`; `all` for every one that works on this machine.
        repetitions: Pairs of timings on each target; their ratios give the spread.
        threads: Threads that a target may use.
        test: Batches on which both are scored.
        evaluate: Own score of (model, batches); default top-1 accuracy.
        talk: Hears what happens.
        timing: How much time goes into each timing: `quick`, `normal` or `careful`.

    Returns:
        What `bench.json` holds; docs/bench.md says what that is.

    Raises:
        InputError: If a target is unknown or there are no repetitions.
        TargetError: If none of the targets is available here.
    """
    names = [targets] if isinstance(targets, str) else list(targets)
    name = type(dense).__qualname__
    unscored = None if test is not None else "no test batches were given"
    spec = ACCURACY if evaluate is None else ScoreSpec("score")
    subject = Subject(name, dense, small, example_input, test, unscored, evaluate or accuracy, spec)
    return bench_subject(subject, chosen_targets(names, threads), repetitions, talk or Silent(), timing)


def chosen_targets(names: Sequence[str], threads: int) -> list[Target]:
    """Targets by name, each once; `all` means every known one.

    Raises:
        InputError: If there is no name, or one is unknown.
    """
    listed = [one for name in names for one in (list(TARGETS) if name == EVERY else [name])]
    if not listed:
        raise InputError(f"name a target, or {EVERY}")
    targets = [get_target(name, threads=threads) for name in listed]
    return list({target.spec: target for target in targets}.values())


def bench_subject(
    subject: Subject, targets: Sequence[Target], repetitions: int, reporter: Reporter, timing: str = "normal"
) -> dict[str, Any]:
    """Everything that can be said about a subject, as JSON values.

    Args:
        subject: What is compared.
        targets: Where.
        repetitions: Pairs of timings on each target.
        reporter: Hears what happens.
        timing: How much time goes into each timing.

    Raises:
        InputError: If there are no repetitions, or all targets refuse the network; every reason is named.
        TargetError: If none of the targets could time it, and one of them is to blame; every reason is named.
    """
    if repetitions < 1:
        raise InputError(f"a comparison needs at least 1 repetition, not {repetitions}")
    plan = effort_named(timing).alone()
    protocol = plan.protocol.within(plan.seconds / repetitions)
    missing = {target.spec: target.available() for target in targets}
    if all(missing.values()):
        raise TargetError("none of the targets is available here: " + _listed(missing))
    rows: dict[str, dict[str, Any]] = {}
    faults: list[AutopruneError] = []
    layers = {} if subject.file else sparse_layers(list(subject.networks.values())[-1], subject.example)
    for target in targets:
        spec = target.spec
        if missing[spec] is not None:
            rows[spec] = {"available": False, "reason": missing[spec]}
            continue
        if subject.seen is not None:
            target.calibrate(subject.seen)
        try:
            with reporter.stage("bench", f"timing on {spec}", repetitions) as bar:
                rows[spec] = _timed(subject, target, repetitions, protocol, bar)
        except (TargetError, InputError) as error:
            rows[spec] = {"available": True, "reason": " ".join(str(error).split())}
            faults.append(error)
        if layers and "dense" in rows[spec]:
            rows[spec]["layers"] = layer_rows(layers, target, repetitions, reporter)
    if not any("dense" in row for row in rows.values()):
        raise _untimed({name: row["reason"] for name, row in rows.items()}, faults)
    with reporter.stage("score", "scoring and weighing the networks"):
        networks = {name: _figures(subject, network) for name, network in subject.networks.items()}
    shape = list(as_example(subject.example).tensors()[0].shape)
    return {
        "schema": BENCH_SCHEMA,
        "subject": {"name": subject.name, "example": shape, **subject.facts},
        "unscored": subject.unscored,
        **subject.scored_as.fields,
        "repetitions": repetitions,
        "networks": networks,
        "targets": rows,
    }


def _untimed(reasons: Mapping[str, str | None], faults: Sequence[AutopruneError]) -> AutopruneError:
    """What to raise where no target timed anything; where all of them refuse the network, the input is wrong."""
    refused = [fault for fault in faults if isinstance(fault, InputError) and not isinstance(fault, MissingExtraError)]
    kind = InputError if len(refused) == len(reasons) else TargetError
    return kind(f"none of the targets could time it: {_listed(reasons)}")


def _listed(reasons: Mapping[str, str | None]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())


def _timed(subject: Subject, target: Target, repetitions: int, protocol: Protocol, bar: Any) -> dict[str, Any]:
    """Latencies and memory on one target.

    Raises:
        TargetError: If it fails while it measures.
        InputError: If it cannot run the networks.
    """
    if subject.file is not None:
        return dynamic_row(subject.dense, subject.file, subject.example, target, repetitions, protocol, bar)
    payloads = [packed(network, subject.example, target) for network in subject.networks.values()]
    with target.session() as timer:
        rounds = []
        for number in range(repetitions):
            rounds.append(_round(timer, payloads, protocol, backwards=number % 2 == 1))
            bar(number + 1, repetitions)
    memory = peak_memory(target, payloads, rounds[0])
    columns = dict(zip(subject.networks, zip(*rounds, strict=True), strict=True))
    peaks = dict(zip(subject.networks, memory, strict=True))
    row: dict[str, Any] = {"available": True, "reason": None, "device": target.fingerprint()}
    row |= {name: _summary(measured, peaks[name]) for name, measured in columns.items()}
    if "pruned" in columns:
        pairs = zip(columns["dense"], columns["pruned"], strict=True)
        row["ratio"] = spread([small.ms / dense.ms for dense, small in pairs])
    return row


def _round(timer: Timer, payloads: Sequence[bytes], protocol: Protocol, *, backwards: bool) -> list[Measurement]:
    """Every network timed once, interleaved; each other round in the opposite order, so that no place is favoured."""
    if not backwards:
        return timer.time(payloads, protocol)
    return timer.time(payloads[::-1], protocol)[::-1]


def _summary(measured: Sequence[Measurement], memory: float | None) -> dict[str, Any]:
    latency = spread([m.ms for m in measured])
    return {
        "latency_ms": latency["median"],
        "latency_least_ms": latency["least"],
        "latency_most_ms": latency["most"],
        "stable": all(m.stable for m in measured),
        "clock": measured[0].clock,
        "peak_memory_mb": memory,
    }


def _figures(subject: Subject, network: nn.Module) -> dict[str, Any]:
    """What does not depend on a target; None where it cannot be had."""
    example = as_example(subject.example).with_batch(1).plain
    file = None if network is subject.dense else subject.file
    return {
        **({} if subject.scored_as.is_accuracy else {"accuracy": None}),
        subject.scored_as.key: _score(subject, network),
        "flops": None if file else _or_none(lambda: analyse(network, example, validate=False).macs()),
        "params": parameter_count(network),
        "safetensors_bytes": _safetensors_bytes(network),
        "onnx_bytes": len(file.content) if file else _or_none(lambda: len(onnx_bytes(network, example))),
    }


def _score(subject: Subject, network: nn.Module) -> float | None:
    if subject.test is None:
        return None
    if network is subject.small and subject.delivered is not None:
        network = subject.delivered
    if subject.evaluate is accuracy:  # a figure that is reported wants float32
        return accuracy(network, subject.test, bf16=False, reader=subject.reader)
    return scored(subject.evaluate, network, subject.test)


def _or_none(figure: Callable[[], int]) -> int | None:
    """A figure that not every network has, or not every machine can tell."""
    try:
        return figure()
    except (UnsupportedModelError, MissingExtraError):
        return None


def _safetensors_bytes(network: nn.Module) -> int:
    """Size of the file that `save_weights` writes."""
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in network.state_dict().items()}
    return len(safetensors.torch.save(tensors))

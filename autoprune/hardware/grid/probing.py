"""Which widths suit a runtime, found by measuring a few layers: the channel multiple of a search space.

A unit is an output of one layer and an input of the next, so a width is judged by both together. A width that is not
a multiple must be dominated: the next wider multiple costs no more. The answer decides what a search
space looks like, so it may not change between two commands: it is kept on disk for the device and runtime.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autoprune.errors import InputError, TargetError
from autoprune.foundations.cache import cache_folder
from autoprune.foundations.files import read_json, write_json
from autoprune.foundations.locks import exclusive
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.contract.protocol import Protocol
from autoprune.hardware.contract.target import Target, names_multiple
from autoprune.hardware.tables.entries import Entry, call_overhead, measure_layers

__all__ = ["Probe", "cache_folder", "known", "probe", "remember"]

PROBE_SCHEMA = "autoprune.probe/1"
_KEY = "granule"  # of the channel multiple, in the file

# Width and image size of the layers; the steps below each width that are compared with it, in two stages.
_SIZES = ((32, 28), (64, 14))
_STAGES = ((1, 2, 4), (8, 16))
_PROTOCOL = Protocol(block=0.003, warmup=3, least_blocks=3, most_blocks=5, agreement=0.03, closing=0)
# Noise of one comparison is up to 3 %, of the mean of several about 1 %; runtimes seen lost 7 to 800 %.
_LOSES, _UNCLEAR_LOSS = 1.06, 1.035
# What a step below must save, as shares of the channels left out: a free width a quarter of them, a dominated one not
# even a tenth; and more than noise.
_FREE, _DOMINATED = (0.25, 0.012), (0.10, 0.003)
_BELIEVABLE = 3.0  # a step that seems to save more than so many times the channels left out was timed beside other work

_answers: dict[str, Probe] = {}  # by file, of this process


@dataclass(frozen=True)
class Probe:
    """The channel multiple of a target, and why.

    Attributes:
        channel_multiple: Widths in multiples of this are not dominated by wider ones.
        reason: One line for people.
        measured: Whether measurements decided; if not, the multiple is the target class's own.
        evidence: Kind and width of a layer, and the step below that width -> latency as a share of the width's own:
            {"3x3 at 64": {"1": 1.47, "4": 0.98}}.
    """

    channel_multiple: int
    reason: str
    measured: bool = False
    evidence: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if type(self.channel_multiple) is not int or not 1 <= self.channel_multiple <= 1024:
            raise InputError(f"a channel multiple is a whole number from 1 to 1024, not {self.channel_multiple!r:.40}")

    def to_json(self) -> dict[str, Any]:
        """The fields by name; the file's key of the channel multiple is older than its name here."""
        fields = asdict(self)
        return {_KEY: fields.pop("channel_multiple"), **fields}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Probe:
        """The inverse of `to_json`.

        Raises:
            InputError: If it is no channel multiple.
            KeyError: If there is none.
            TypeError: If a field is unknown or missing.
        """
        fields = dict(content)
        return cls(fields.pop(_KEY), **fields)


def probe(target: Target) -> Probe:
    """A target's channel multiple: remembered by this process, else read from disk, else measured in a few seconds.

    Targets that cannot time a layer alone, or do not work here, keep their class's own. So do those whose
    measurements do not say clearly enough which widths are dominated, and a user's own class that names one.

    Args:
        target: The runtime.
    """
    if _named_by_user(type(target)) or target.available() is not None:  # a missing runtime has no version to ask for
        return Probe(target.channel_multiple, target.channel_multiple_reason)
    device = _device(target)
    path = _path(device)
    if path.name not in _answers:
        _answers[path.name] = _stored(target, device, path)
    return _answers[path.name]


def known(target: Target) -> Probe | None:
    """What `probe` would answer without measuring; None if it would have to measure."""
    if _named_by_user(type(target)) or target.available() is not None:
        return probe(target)
    device = _device(target)
    path = _path(device)
    return _answers.get(path.name) or _read(path, device)


def remember(target: Target, answer: Probe) -> None:
    """Keep an answer for a target, in place of what is known."""
    device = _device(target)
    _write(_path(device), device, answer)
    _answers[_path(device).name] = answer


def _device(target: Target) -> dict[str, str]:
    """What an answer holds for."""
    # The name in the registry, not where the class lies: an answer outlives a move of the code.
    return {"target": target.spec_name, **target.fingerprint()}


def _path(device: Mapping[str, str]) -> Path:
    digest = hashlib.sha256(json.dumps(device, sort_keys=True).encode()).hexdigest()
    return cache_folder() / f"probe-{digest[:20]}.json"


def _named_by_user(kind: type[Target]) -> bool:
    """Whether a class from outside this package says itself which widths suit it."""
    return any(names_multiple(each) for each in kind.__mro__ if not each.__module__.startswith("autoprune."))


def _stored(target: Target, device: Mapping[str, str], path: Path) -> Probe:
    """Read an answer, or find and keep it; two processes that ask at once get the same one."""
    known = _read(path, device)
    if known is not None:
        return known
    if target.pack_layer(_layers("3x3", 32, 28, 32)[0], 1) is None:
        return Probe(target.channel_multiple, target.channel_multiple_reason)
    with _alone(path):
        known = _read(path, device)
        if known is None:
            known = _measured(target)
            if known.evidence:  # a runtime that failed is asked again next time
                _write(path, device, known)
    return known


def _read(path: Path, device: Mapping[str, str]) -> Probe | None:
    """The answer in a file; None if there is none, or it is damaged or of another device."""
    try:
        content = read_json(path, "probe")
        if content.get("schema") != PROBE_SCHEMA or content.get("device") != dict(device):
            return None
        return Probe.from_json(content["probe"])
    except (InputError, KeyError, TypeError):
        return None


def _write(path: Path, device: Mapping[str, str], found: Probe) -> None:
    with suppress(InputError):  # a cache that cannot be written costs seconds, not the job
        write_json(path, {"schema": PROBE_SCHEMA, "device": dict(device), "probe": found.to_json()})


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock beside a file of the cache; without it where the cache cannot be written."""
    with ExitStack() as held:
        with suppress(OSError):
            held.enter_context(exclusive(path.with_suffix(".lock")))
        yield


def _measured(target: Target) -> Probe:
    """Measure stage by stage until a channel multiple is clear."""
    evidence: dict[str, dict[str, float]] = {}
    try:
        for steps in _STAGES:
            _compare(steps, target, evidence)
            multiple = _least(steps, evidence)
            if multiple is None and _unclear(steps, evidence):
                _compare(steps, target, evidence)  # once more; the mean of both counts
                multiple = _least(steps, evidence)
            if multiple is not None or _unclear(steps, evidence):
                break
    except TargetError as error:
        return Probe(target.channel_multiple, f"the runtime's default, for it could not be probed ({error})")
    shares = {kind: {step: round(share, 4) for step, share in found.items()} for kind, found in evidence.items()}
    if multiple is None:
        return Probe(
            target.channel_multiple, f"the runtime's default; probing was not clear: {_words(evidence)}", False, shares
        )
    return Probe(multiple, f"measured: {_words(evidence)}", True, shares)


def _compare(steps: Sequence[int], target: Target, evidence: dict[str, dict[str, float]]) -> None:
    """Measure layers at some steps below full width; shares of the full width's latency go into `evidence`.

    In a process of its own: how fast small layers are depends on where their tensors come to lie in it.
    """
    plan = {
        (f"{kind} at {width}", step): _layers(kind, width, size, width - step)
        for kind in ("3x3", "1x1", "depthwise")
        for width, size in _SIZES
        for step in (0, *steps)
        if step < width
    }
    layers = {layer.key: layer for members in plan.values() for layer in members}
    entries: dict[str, Entry] = {}
    with target.session() as timer:
        overhead = call_overhead(timer, target, next(iter(layers.values())), _PROTOCOL)
        for batch in measure_layers(list(layers.values()), target, timer, overhead, _PROTOCOL):
            entries.update(batch)
    totals = {place: sum(entries[layer.key].ms for layer in members) for place, members in plan.items()}
    for (name, step), total in totals.items():
        if step and totals[name, 0] > 0:
            share = total / totals[name, 0]
            before = evidence.setdefault(name, {}).get(str(step))
            evidence[name][str(step)] = share if before is None else (share + before) / 2


def _layers(kind: str, width: int, size: int, units: int) -> tuple[Layer, ...]:
    """The layers that have some units as outputs and as inputs, between full widths."""
    edge = 1 if kind == "1x1" else 3
    shapes = ((units, units),) if kind == "depthwise" else ((width, units), (units, width))
    return tuple(
        Layer(
            "conv",
            inputs,
            outputs,
            size=(size, size),
            out_size=(size, size),
            kernel=(edge, edge),
            stride=(1, 1),
            padding=(edge // 2, edge // 2),
            dilation=(1, 1),
            groups=units if kind == "depthwise" else 1,
        )
        for inputs, outputs in shapes
    )


def _least(steps: Sequence[int], evidence: Mapping[str, Mapping[str, float]]) -> int | None:
    """The least multiple of a stage, if it is clear; None if all are dominated, or the first that is not is unclear."""
    for step in steps:
        if _verdict(step, evidence) == "dominated":
            continue
        coarser = [_verdict(more, evidence) for more in steps if more > step]
        clear = _verdict(step, evidence) == "free" and "dominated" not in coarser
        return step if clear else None
    return None


def _unclear(steps: Sequence[int], evidence: Mapping[str, Mapping[str, float]]) -> bool:
    """Whether a stage has widths that are not dominated, though none that clearly are free."""
    return any(_verdict(step, evidence) != "dominated" for step in steps) and _least(steps, evidence) is None


def _verdict(step: int, evidence: Mapping[str, Mapping[str, float]]) -> str:
    """Whether widths `step` below a coarser multiple are `dominated` by it, `free`, or it is `unclear`.

    Dominated: some kind of layer takes clearly longer than with the wider width, or all kinds together save nothing.
    """
    losses, saving = _figures(step, evidence)
    left_out = statistics.fmean(step / width for width, _ in _SIZES)
    if losses > _LOSES or saving < max(_DOMINATED[0] * left_out, _DOMINATED[1]):
        return "dominated"
    free = losses < _UNCLEAR_LOSS and max(_FREE[0] * left_out, _FREE[1]) < saving < _BELIEVABLE * left_out
    return "free" if free else "unclear"


def _figures(step: int, evidence: Mapping[str, Mapping[str, float]]) -> tuple[float, float]:
    """The share of the kind that loses most, both sizes together, and what dense layers save in the mean."""
    by_kind: dict[str, list[float]] = {}
    for name, shares in evidence.items():
        if str(step) in shares:
            by_kind.setdefault(name.split()[0], []).append(shares[str(step)])
    if not by_kind:
        return 1.0, 0.0
    losses = max(statistics.fmean(shares) for shares in by_kind.values())
    dense = [share for kind, shares in by_kind.items() if kind != "depthwise" for share in shares]
    return losses, 1.0 - statistics.fmean(dense) if dense else 0.0


def _words(evidence: Mapping[str, Mapping[str, float]]) -> str:
    """What was seen, for people."""
    steps = sorted({int(step) for shares in evidence.values() for step in shares})
    lines = []
    for step in steps:
        losses, saving = _figures(step, evidence)
        verdict = _verdict(step, evidence)
        if verdict == "dominated":
            why = f"up to {losses:.2f}x the time of the next wider one" if losses > _LOSES else "no time saved"
        else:
            why = f"{saving:.1%} saved" + (f", at worst {losses:.2f}x" if verdict == "unclear" else "")
        lines.append(f"{step} below: {why}")
    return "; ".join(lines)

"""`--method gate`: gates decide for each input which channels of some convolutions are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autoprune.channel_gating.files import save_channels
from autoprune.channel_gating.network import ChannelNetwork
from autoprune.channel_gating.onnx_file import channel_file, channel_parts, narrow_file
from autoprune.channel_gating.pairs import ChannelPair, pairs_of
from autoprune.channel_gating.sweep import LayerTimes, ShareTimes, channel_choices, paths_taken
from autoprune.channel_gating.training import SoftChannels
from autoprune.dynamic_networks.flow import Flow, flow_of
from autoprune.dynamic_networks.module import DynamicModule
from autoprune.dynamic_networks.thresholds import Choice, Limits
from autoprune.errors import AutopruneError, InputError
from autoprune.foundations.seeding import seeded
from autoprune.gating.gate import BlockGate
from autoprune.gating.training import GateLoss
from autoprune.hardware.targets.local import LocalTarget
from autoprune.pipeline.device import target_of
from autoprune.pipeline.jobs.dynamic.channel_figures import channel_curves, channel_figures
from autoprune.pipeline.jobs.dynamic.choosing import require_reachable
from autoprune.pipeline.jobs.dynamic.methods.base import Files, Method, Offer
from autoprune.pipeline.jobs.dynamic.methods.exits import classes_of
from autoprune.pipeline.jobs.dynamic.methods.gate_training import TrainedGates
from autoprune.pipeline.jobs.dynamic.methods.gated import Gated
from autoprune.pipeline.jobs.dynamic.paths import beside_dense, local_target
from autoprune.pipeline.jobs.dynamic.verified import Verified
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment

__all__ = ["Gate"]

_TENTHS = 10


class Gate(Method):
    """Channels; the network is trained together with its gates."""

    name = "gate"
    passes = 2  # of the network that learns, and of its teacher
    reads_values = False
    written = ("network.safetensors", "gates.safetensors", "channels.json")

    def check(self, experiment: Experiment) -> None:
        """Convolutions must take weights that are gathered."""
        target = target_of(experiment)
        if not isinstance(target, LocalTarget) or not target.gathers_weights:
            raise InputError(
                f"the target {target.name} runs no convolution whose channels depend on the input; --method gate is for"
                " onnxruntime"
            )

    def offer(self, task: Task, experiment: Experiment, flow: Flow) -> Offer:
        """Layers; each is timed with a quarter and a half of its channels, and all together by tenths."""
        count = len(_pairs(task, flow))
        return Offer("channel gate", count, 1 + 3 * count + _TENTHS, 1 + _TENTHS)

    def prepare(self, task: Task, run: RunDir, reporter: Reporter) -> WithChannels:
        """Find the layers, time a gate at each, keep those that pay at the share that is aimed at, train."""
        classes_of(task)
        with reporter.stage("analyse", "looking for channels that an input could do without"):
            flow = flow_of(task.model, task.example)
            pairs = _pairs(task, flow)
        reporter.say(f"{len(pairs)} layers: {', '.join(pair.name for pair in pairs)}")
        layers = _layer_times(task, run, flow, pairs, reporter)
        share = run.experiment.active_share
        chosen = [number for number, each in enumerate(layers) if each.at(share) < each.dense]
        if not chosen:
            reporter.say(f"no layer is faster when {share:.0%} of its channels are gathered than as it is")
            return WithChannels(task, run, flow, (), ShareTimes(layers[0].dense, ()), reporter, (pairs, layers))
        paying = [pairs[each] for each in chosen]
        times = _share_times(task, run, flow, paying, reporter)
        require_reachable(times, run.experiment, "the network with a tenth of the channels", "with a tenth of them it")
        run.mark_started()
        most = times.within(run.experiment.limit_ms("worst", times.dense) or times.dense)
        return WithChannels(task, run, flow, paying, most, reporter, (pairs, layers))


def _pairs(task: Task, flow: Flow) -> tuple[ChannelPair, ...]:
    found = pairs_of(flow)
    if flow.one_by_one:
        raise InputError(f"{task.name} takes one input at a time and cannot be trained with gates")
    return found


class WithChannels(Gated):
    """A network with gates at the channels of some of its layers.

    Args:
        task: The network and its data.
        run: Its settings have the limits.
        flow: The dense network's graph.
        pairs: With gates; there may be none.
        times: By the share of the channels that is kept, up to the most that an input may keep.
        reporter: Shows the stages.
        layers: All that there are, and their times.
    """

    def __init__(
        self,
        task: Task,
        run: RunDir,
        flow: Flow,
        pairs: Sequence[ChannelPair],
        times: ShareTimes,
        reporter: Reporter,
        layers: tuple[Sequence[ChannelPair], Sequence[LayerTimes]],
    ) -> None:
        super().__init__(task, run, flow, times.dense, reporter)
        self._pairs, self._times, self._layers = tuple(pairs), times, layers
        self._most = len(times.tenths) / _TENTHS
        self._caps = tuple(pair.at(self._most) for pair in pairs)

    @property
    def has_gates(self) -> bool:
        """Whether a layer pays."""
        return bool(self._pairs)

    def fresh_gates(self, flow: Flow) -> list[BlockGate]:
        """One a pair."""
        return _fresh(self._pairs, self.run.experiment.seed)

    @property
    def loss(self) -> GateLoss:
        """All channels weigh the same."""
        total = sum(pair.width for pair in self._pairs)
        return GateLoss(min(self.run.experiment.active_share, self._most), [1 / total] * total)

    def learner(self, fresh: TrainedGates, teacher: Callable[[Sequence[Any]], Tensor], steps: int) -> SoftChannels:
        """Gates at the channels."""
        return SoftChannels(self.task.model.forward, fresh.flow, self._pairs, fresh.gates, teacher, steps)

    def decided(self, flat: Sequence[Any], threshold: float) -> tuple[Tensor, Tensor]:
        """Of the network whose channels are set to zero."""
        return self._masked.decided_at(flat, threshold)

    @cached_property
    def _masked(self) -> ChannelNetwork:
        return self._network(0.0)

    def within(self, limits: Limits) -> Iterable[Choice]:
        """As the search split says."""
        return channel_choices(self.search, self._times, limits)

    def _network(self, threshold: float, expected: Sequence[int] = ()) -> ChannelNetwork:
        trained = self.trained
        return ChannelNetwork(trained.flow, self._pairs, trained.gates, self._caps, threshold, expected=expected).eval()

    def files(self, choice: Choice) -> Files:
        """The weights of the chosen channels are gathered; timed by tenths of the channels.

        Raises:
            AutopruneError: If the file answers otherwise than the network whose channels are set to zero.
        """
        (threshold,) = choice.thresholds
        parts = channel_parts(self.trained.flow, self._pairs, self.trained.gates)
        chosen = channel_file(parts, self._caps, threshold)
        self._require_equal(chosen, threshold)
        shares = [(number + 1) / _TENTHS for number in range(len(self._times.tenths))]
        return Files(chosen, tuple(_forced(parts, self._pairs, share) for share in shares))

    def _require_equal(self, file: bytes, threshold: float) -> None:
        caller = local_target(self.run).caller(file)
        flat = self.flow.flat(self.task.reader.call(self.task.model, next(iter(self.task.data.search))))
        row = [each[:1] for each in flat if isinstance(each, Tensor)]
        with torch.no_grad():
            expected = self._network(threshold).decided(tuple(row))[0].numpy()
        if caller is None or not np.allclose(caller([each.numpy() for each in row])[0], expected, rtol=1e-2, atol=1e-3):
            raise AutopruneError("internal error: gathered channels answer otherwise than masked ones")

    def expected(self, choice: Choice) -> tuple[int, ...]:
        """How many of the search split's inputs keep a tenth of the channels, two tenths, ..."""
        taken = paths_taken(self.search.opened[self.search.at(choice.thresholds[0])])
        return tuple(np.bincount(taken, minlength=len(self._times.tenths)).tolist())

    def network(self, verified: Verified, expected: Sequence[int]) -> ChannelNetwork:
        """The network whose channels are gated."""
        return self._network(verified.choice.thresholds[0], expected)

    def save(self, network: DynamicModule, verified: Verified, folder: Path) -> None:
        """Weights, gates, threshold."""
        if not isinstance(network, ChannelNetwork):
            raise AutopruneError("internal error: not the network of this method")
        save_channels(network, self.trained.model, folder)

    def figures(self, verified: Verified) -> dict[str, Any]:
        """By tenths of the channels."""
        return channel_figures(self._pairs, verified, self.search, self.test)

    def pictured(self, verified: Verified) -> dict[str, Any]:
        """Curve and classes."""
        return channel_curves(verified, self.test)

    def offered(self) -> dict[str, Any]:
        """All layers, with what gathering takes, what a prepared width of the same size does, and the break-even."""
        rows = [
            {"name": pair.name, "channels": pair.width, "gated": pair in self._pairs}
            | asdict(times)
            | {"break_even": times.break_even, "fastest": times.fastest}
            for pair, times in zip(*self._layers, strict=True)
        ]
        return {"gated_layers": rows}


def _fresh(pairs: Sequence[ChannelPair], seed: int) -> list[BlockGate]:
    """Gates that have learned nothing, one a pair."""
    with seeded(seed):
        return [BlockGate(pair.shape, pair.width) for pair in pairs]


def _forced(parts: Any, pairs: Sequence[ChannelPair], share: float) -> bytes:
    """The file with so many channels of each pair, whatever the scores."""
    counts = [pair.at(share) for pair in pairs]
    return channel_file(parts, counts, 0.0, counts)


def _timed(
    task: Task, run: RunDir, flow: Flow, pairs: Sequence[ChannelPair], name: str, made: Callable[[Any], list[bytes]],
    reporter: Reporter,
) -> list[float]:  # fmt: skip
    """Milliseconds of the dense network and of files, measured once a run, before anything is trained."""

    def session() -> list[float]:
        gates = [gate.eval() for gate in _fresh(pairs, run.experiment.seed)]
        return beside_dense(task, run, made(channel_parts(flow, pairs, gates)), bar)

    with reporter.stage("profile", f"timing {name}") as bar:
        found: list[float] = run.once(f"dynamic {name}", session)
    return found


def _layer_times(
    task: Task, run: RunDir, flow: Flow, pairs: Sequence[ChannelPair], reporter: Reporter
) -> list[LayerTimes]:
    def made(parts: Any) -> list[bytes]:
        found = []
        for number, pair in enumerate(pairs):
            alone = parts.only([number])
            found += [_forced(alone, [pair], 0.25), _forced(alone, [pair], 0.5), narrow_file(alone, [pair.at(0.5)])]
        return found

    dense, *times = _timed(task, run, flow, pairs, "a gate at every layer", made, reporter)
    return [LayerTimes(dense, *times[3 * k : 3 * k + 3]) for k in range(len(pairs))]


def _share_times(task: Task, run: RunDir, flow: Flow, pairs: Sequence[ChannelPair], reporter: Reporter) -> ShareTimes:
    def made(parts: Any) -> list[bytes]:
        return [_forced(parts, pairs, (number + 1) / _TENTHS) for number in range(_TENTHS)]

    dense, *times = _timed(task, run, flow, pairs, "shares of the channels", made, reporter)
    return ShareTimes(dense, tuple(times))

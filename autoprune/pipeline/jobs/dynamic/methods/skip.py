"""`--method skip`: small gates decide for each input which residual blocks are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from autoprune.dynamic_networks.flow import Flow, flow_of, sizes_of
from autoprune.dynamic_networks.module import DynamicModule
from autoprune.dynamic_networks.staged import STAGES, save_stages
from autoprune.dynamic_networks.thresholds import NEVER, Choice, Limits
from autoprune.errors import AutopruneError, InputError
from autoprune.foundations.seeding import seeded
from autoprune.gating.blocks import Residual, residuals_of, without
from autoprune.gating.compiled import Compiled
from autoprune.gating.files import save_skips
from autoprune.gating.gate import BlockGate
from autoprune.gating.network import SkipNetwork, segments_of
from autoprune.gating.onnx_file import SkipParts, skip_file, skip_parts
from autoprune.gating.staged import skip_stages
from autoprune.gating.sweep import GateTimes, Split, choices_at
from autoprune.gating.training import GateLoss, SoftSkips
from autoprune.pipeline.jobs.dynamic.choosing import require_reachable
from autoprune.pipeline.jobs.dynamic.gate_figures import gate_curves, gate_figures
from autoprune.pipeline.jobs.dynamic.methods.base import Files, Method, Offer
from autoprune.pipeline.jobs.dynamic.methods.exits import classes_of
from autoprune.pipeline.jobs.dynamic.methods.gate_training import TrainedGates
from autoprune.pipeline.jobs.dynamic.methods.gated import Gated
from autoprune.pipeline.jobs.dynamic.paths import beside_dense
from autoprune.pipeline.jobs.dynamic.verified import Verified
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment

__all__ = ["Skip"]


class Skip(Method):
    """Skipped blocks; the network is trained together with its gates."""

    name = "skip"
    passes = 2  # of the network that learns, and of its teacher
    reads_values = False
    written = ("network.safetensors", "gates.safetensors", "gates.json", "stages/")

    def offer(self, task: Task, experiment: Experiment, flow: Flow) -> Offer:
        """Blocks; timed with all gates open, each shut, all shut."""
        count = len(_blocks(task, flow))
        return Offer("block", count, 3 + count, 3 + count)

    def prepare(self, task: Task, run: RunDir, reporter: Reporter) -> WithGates:
        """Find the blocks, time a gate at each, keep those that can pay, train."""
        classes_of(task)
        with reporter.stage("analyse", "looking for blocks that can be skipped"):
            flow = flow_of(task.model, task.example)
            blocks = _blocks(task, flow)
        reporter.say(f"{len(blocks)} blocks: {', '.join(block.name for block in blocks)}")
        times = _times(task, run, flow, blocks, reporter)
        require_reachable(times, run.experiment, "the network with all blocks skipped", "with one gate it")
        chosen = _paying(times, run.experiment.limit_ms("worst", times.dense) or times.dense)
        if not chosen:
            reporter.say("no block takes longer than its gate costs")
        run.mark_started()
        return WithGates(
            task, run, flow, [blocks[each] for each in chosen], times.only(chosen), reporter, (blocks, times)
        )


def _blocks(task: Task, flow: Flow) -> tuple[Residual, ...]:
    found = residuals_of(flow)
    if flow.one_by_one:
        raise InputError(f"{task.name} takes one input at a time and cannot be trained with gates")
    return found


def _paying(times: GateTimes, worst: float) -> list[int]:
    """The blocks whose gates can pay, as many as the longest path allows, those that save most."""
    able = [number for number, share in enumerate(times.break_even) if share is not None and share < 1]
    most = int((worst - times.dense) / times.a_gate) if times.a_gate > 0 else len(able)
    best = sorted(able, key=lambda number: -times.saved[number])[:most]
    return sorted(best)


class WithGates(Gated):
    """A network with gates at some of its blocks.

    Args:
        task: The network and its data.
        run: Its settings have the limits.
        flow: The dense network's graph.
        blocks: With gates; there may be none.
        times: Of the network with these gates.
        reporter: Shows the stages.
        all_blocks: All that there are, and their times.
    """

    def __init__(
        self,
        task: Task,
        run: RunDir,
        flow: Flow,
        blocks: Sequence[Residual],
        times: GateTimes,
        reporter: Reporter,
        all_blocks: tuple[Sequence[Residual], GateTimes],
    ) -> None:
        super().__init__(task, run, flow, times.dense, reporter)
        self._blocks, self._times, self._all = tuple(blocks), times, all_blocks
        self._exported: dict[float, SkipParts] = {}
        self._at_all, self._at_live = cache(self._all_gates), cache(self._compiled)

    @property
    def has_gates(self) -> bool:
        """Whether a block pays."""
        return bool(self._blocks)

    def fresh_gates(self, flow: Flow) -> list[BlockGate]:
        """One a block."""
        return _fresh(flow, self._blocks, self.run.experiment.seed)

    @property
    def loss(self) -> GateLoss:
        """What skipping each block saves weighs it in the work that is aimed at."""
        saved = self._times.saved
        return GateLoss(self.run.experiment.active_share, (saved / saved.sum()).tolist())

    def learner(self, fresh: TrainedGates, teacher: Callable[[Sequence[Any]], Tensor], steps: int) -> SoftSkips:
        """Gates at the blocks."""
        segments = segments_of(fresh.flow, self._blocks)
        return SoftSkips(self.task.model.forward, fresh.flow, segments, fresh.gates, teacher, steps)

    def decided(self, flat: Sequence[Any], threshold: float) -> tuple[Tensor, Tensor]:
        """Of the network with a gate at every block."""
        return self._at_all(threshold).decided(flat)

    def finally_decided(self, flat: Sequence[Any], threshold: float) -> tuple[Tensor, Tensor]:
        """Of the network without gates that decide alike for all inputs of the search split."""
        return self._at_live(threshold).decided(flat)

    def within(self, limits: Limits) -> Iterable[Choice]:
        """As the search split says."""
        return choices_at(self.search, self._times, limits)

    def _all_gates(self, threshold: float) -> Compiled:
        """The network with a gate at every block."""
        return self._final(Split(tuple(range(len(self._blocks))), ()), threshold)

    def _compiled(self, threshold: float) -> Compiled:
        """The network without gates that were open for all inputs of the search split, or for none."""
        return self._final(Split.of(self.search.opened[self.search.at(threshold)]), threshold)

    def _final(self, split: Split, threshold: float) -> Compiled:
        trained = self.trained
        flow = without(trained.flow, [self._blocks[each] for each in split.dropped])
        gates = [trained.gates[each] for each in split.live]
        return Compiled(flow, [self._blocks[each] for each in split.live], gates, split, threshold, len(self._blocks))

    def files(self, choice: Choice) -> Files:
        """An `If` for every gate; timed with all open, each shut, all shut."""
        parts = self._parts(choice.thresholds[0])
        return Files(skip_file(parts, choice.thresholds), _forced(parts))

    def _parts(self, threshold: float) -> SkipParts:
        """Exported once a threshold: it takes seconds."""
        if threshold not in self._exported:
            final = self._compiled(threshold)
            self._exported[threshold] = skip_parts(final.flow, segments_of(final.flow, final.blocks), final.gates)
        return self._exported[threshold]

    def expected(self, choice: Choice) -> tuple[int, ...]:
        """How many of the search split's inputs compute none, one, ... of the blocks with gates."""
        opened = self.search.opened[self.search.at(choice.thresholds[0])][:, list(choice.places)].sum(1)
        return tuple(int((opened == count).sum()) for count in range(len(choice.places) + 1))

    def network(self, verified: Verified, expected: Sequence[int]) -> SkipNetwork:
        """The network that skips."""
        return self._compiled(verified.choice.thresholds[0]).network(expected)

    def save(self, network: DynamicModule, verified: Verified, folder: Path) -> None:
        """Weights, gates, thresholds; the stages for runtimes without `If`."""
        if not isinstance(network, SkipNetwork):
            raise AutopruneError("internal error: not the network of this method")
        split = Split.of(self.search.opened[self.search.at(network.thresholds[0])])
        save_skips(network, [self._blocks[each] for each in split.dropped], self.trained.model, folder)
        choice = verified.choice
        counts = self.expected(choice)
        stages = skip_stages(self._parts(choice.thresholds[0]), choice.thresholds)
        save_stages(stages, choice.confidence, [count / sum(counts) for count in counts], folder / STAGES)

    def figures(self, verified: Verified) -> dict[str, Any]:
        """By the number of computed blocks."""
        names = [block.name for block in self._blocks]
        return gate_figures(names, self._times.a_gate, verified, self.search, self.test)

    def pictured(self, verified: Verified) -> dict[str, Any]:
        """Curve and classes."""
        return gate_curves(self._times, verified, self.search, self.test)

    def offered(self) -> dict[str, Any]:
        """All blocks, with what skipping saves and from which share of inputs on a gate pays."""
        blocks, times = self._all
        rows = zip(blocks, times.saved.tolist(), times.break_even, strict=True)
        return {
            "blocks": [asdict(block) | {"saves_ms": ms, "break_even": share} for block, ms, share in rows],
            "gate_ms": times.a_gate,
        }


def _fresh(flow: Flow, blocks: Sequence[Residual], seed: int) -> list[BlockGate]:
    """Gates that have learned nothing, one a block."""
    sizes = {node.name: sizes_of(node) for node in flow.nodes}
    with seeded(seed):
        return [BlockGate(sizes[block.start] or ()) for block in blocks]


def _forced(parts: SkipParts) -> tuple[bytes, ...]:
    """All gates open, each shut alone, all shut."""
    count = len(parts.gates)
    alone = [[NEVER if k == shut else 0.0 for k in range(count)] for shut in range(count)]
    return tuple(skip_file(parts, each) for each in ([0.0] * count, *alone, [NEVER] * count))


def _times(task: Task, run: RunDir, flow: Flow, blocks: Sequence[Residual], reporter: Reporter) -> GateTimes:
    """What gates cost and what skipping saves, measured once a run, before anything is trained."""

    def session() -> dict[str, Any]:
        gates = [gate.eval() for gate in _fresh(flow, blocks, run.experiment.seed)]
        parts = skip_parts(flow, segments_of(flow, blocks), gates, for_timing=True)
        dense, opened, *without, shut = beside_dense(task, run, _forced(parts), bar)
        return {"dense": dense, "opened": opened, "without": without, "shut": shut}

    with reporter.stage("profile", "timing a gate at every block") as bar:
        found = run.once("dynamic paths", session)
    return GateTimes(found["dense"], found["opened"], tuple(found["without"]), found["shut"])

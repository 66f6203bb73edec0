"""`--method switch`: a gate behind the first block chooses one of a few widths of all that follows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autoprune.dynamic_networks.batches import labels_of
from autoprune.dynamic_networks.flow import Flow, flow_of
from autoprune.dynamic_networks.module import DynamicModule
from autoprune.dynamic_networks.staged import STAGES, save_stages
from autoprune.dynamic_networks.stages import Stage, cut_at
from autoprune.dynamic_networks.thresholds import NEVER, Answers, Choice, Floats, loss_bound
from autoprune.early_exit.heads import HeadTraining
from autoprune.early_exit.places import Place, places_of
from autoprune.errors import AutopruneError, InputError
from autoprune.models import load_weights, save_weights
from autoprune.pipeline.jobs.dynamic.choosing import require_reachable
from autoprune.pipeline.jobs.dynamic.methods.base import Files, Fixed, Method, Offer
from autoprune.pipeline.jobs.dynamic.methods.exits import classes_of
from autoprune.pipeline.jobs.dynamic.methods.routed import Routed
from autoprune.pipeline.jobs.dynamic.methods.widths import Widths, names_in, widths_behind
from autoprune.pipeline.jobs.dynamic.paths import beside_dense
from autoprune.pipeline.jobs.dynamic.verified import Verified
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.switching.files import save_switch
from autoprune.switching.gate import WidthGate, fit_gate
from autoprune.switching.network import SwitchNetwork, Width, tail_of
from autoprune.switching.onnx_file import WidthParts, switch_file, width_parts
from autoprune.switching.staged import width_stages

__all__ = ["Switch", "WidthTimes"]

_KIND = "gate"
"""How the only kind of confidence is called in the report."""

_NEARLY_ALL = 0.99  # of the inputs on one path: it is as fast as their mean but for the noise


@dataclass(frozen=True)
class WidthTimes:
    """What each width takes on the device, the trunk and the gate included, as measured.

    Attributes:
        dense: Milliseconds of the dense network.
        narrow: Of an input that takes each narrow width.
        whole: Of one that takes the whole network.
    """

    dense: float
    narrow: tuple[float, ...]
    whole: float

    @property
    def least(self) -> float:
        """The shortest path of all."""
        return min(self.narrow)

    @property
    def least_worst(self) -> float:
        """The longest path: whoever takes the whole network has paid for the gate."""
        return self.whole

    def of(self, places: Sequence[int]) -> Floats:
        """Milliseconds of some widths, and of the whole network."""
        path: Floats = np.array([*(self.narrow[place] for place in places), self.whole])
        return path


class Switch(Method):
    """Widths; the trunk and the whole width are the dense network's own."""

    name = "switch"
    passes = 4  # the sandwich rule's
    written = ("heads.safetensors", "network.safetensors", "gate.safetensors", "width_*", "switch.json", "stages/")

    def offer(self, task: Task, experiment: Experiment, flow: Flow) -> Offer:
        """Widths; each is timed, and the whole network behind the gate."""
        _trunk_end(task, flow)
        count = len(experiment.width_shares)
        return Offer("width", count, 2 + count, 2 + count)

    def prepare(self, task: Task, run: RunDir, reporter: Reporter) -> WithWidths:
        """Find the trunk, lay out the widths, time them, train them and the gate."""
        classes_of(task)
        with reporter.stage("analyse", "looking for the end of the first block"):
            flow = flow_of(task.model, task.example)
            place = _trunk_end(task, flow)
        trunk = cut_at(flow, [place.node])[0]
        widths = widths_behind(task, run, names_in(trunk), run.experiment.width_shares, reporter)
        reporter.say(f"behind {place.name}: {', '.join(each.name for each in widths.narrow)}, and the whole network")
        times = _times(task, run, flow, place, trunk, widths, reporter)
        require_reachable(times, run.experiment, "the narrowest width", "with a gate it")
        run.mark_started()
        smalls = widths.trained(task, run, reporter)
        return WithWidths(task, run, flow, place, widths, smalls, times, reporter)


def _trunk_end(task: Task, flow: Flow) -> Place:
    place = places_of(flow)[0]
    if flow.one_by_one:
        raise InputError(f"{task.name} takes one input at a time and cannot be trained at several widths")
    return place


class WithWidths(Routed):
    """A network whose widths are trained.

    Args:
        task: The network and its data.
        run: Its settings have the limits.
        flow: The dense network's graph.
        place: Where the trunk ends.
        widths: What is narrower.
        smalls: The networks of the narrow widths.
        times: Of the widths.
        reporter: Shows the stages.
    """

    probability = _KIND

    def __init__(
        self,
        task: Task,
        run: RunDir,
        flow: Flow,
        place: Place,
        widths: Widths,
        smalls: list[nn.Module],
        times: WidthTimes,
        reporter: Reporter,
    ) -> None:
        super().__init__(task, run, flow, times, [each.name for each in widths.narrow], reporter)
        self._place, self._widths, self._smalls, self._times = place, widths, smalls, times
        self._trunk, self._whole = cut_at(flow, [place.node])
        self._tails = _tails(task, flow, place, self._trunk, smalls)
        self._exported: dict[tuple[int, ...], WidthParts] = {}

    @cached_property
    def gate(self) -> WidthGate:
        """Trained once a run."""
        path, settings = self.run.file("heads.safetensors"), self.run.experiment
        gate = WidthGate(self._place.shape, len(self._tails))
        if path.exists():
            load_weights(gate, path)
            return gate.eval()
        training = HeadTraining(epochs=settings.head_epochs, lr=2e-3, distil=0.0, seed=settings.seed)
        with self.reporter.stage("train", "training the gate") as bar:
            inputs, wanted = self._lesson(gate, settings.head_samples, bar)
            fit_gate(gate, inputs, wanted, training)
        save_weights(gate.state_dict(), path)
        return gate.eval()

    def _lesson(self, gate: WidthGate, most: int, bar: Any) -> tuple[Tensor, Tensor]:
        """What the gate reads of the training samples, and what each width gives to the right class."""
        inputs, wanted, seen = [], [], 0
        with torch.no_grad():
            for batch in self.task.data.train:
                features, logits, labels = self._run(batch)
                inputs.append(gate.hidden.reduced(features))
                right = [each.softmax(1).gather(1, labels[:, None]) for each in logits[:-1]]
                wanted.append(torch.cat(right, 1))
                seen += len(labels)
                bar(min(seen, most), most, "samples read for the gate")
                if seen >= most:
                    break
        if not inputs:
            raise InputError("there are no samples that the gate could learn from; the training loader is empty")
        return torch.cat(inputs), torch.cat(wanted)

    def _run(self, batch: Any) -> tuple[Tensor, list[Tensor], Tensor]:
        """The trunk's value, the logits of every width, the whole one's last, and the classes of a batch."""
        flat = self.flow.flat(self.task.reader.call(self.task.model, batch))
        features = self._trunk(None, flat)
        logits = [tail(features, flat) for tail in (*self._tails, self._whole)]
        return features, logits, labels_of(logits[-1], batch)

    def answers(self, batches: Iterable[Any]) -> Answers:
        """Of every width."""
        sure, right, classes = [], [], []
        gate = self.gate
        with torch.no_grad():
            for batch in batches:
                features, logits, labels = self._run(batch)
                sure.append(gate(features).T)
                right.append(torch.stack([each.argmax(1) == labels for each in logits]))
                classes.append(labels)
        if not right:
            raise InputError("there are no samples to choose thresholds on; the loader is empty, or was used up")
        known = torch.cat(classes).cpu().numpy().astype(np.int64)
        return Answers({_KIND: torch.cat(sure, 1).double().numpy()}, torch.cat(right, 1).numpy(), known)

    def files(self, choice: Choice) -> Files:
        """An `If` for every width."""
        parts = self._parts(choice.places)
        return Files(switch_file(parts, choice.thresholds), _forced(parts))

    def _parts(self, places: tuple[int, ...]) -> WidthParts:
        """Exported once a set of widths: it takes seconds."""
        if places not in self._exported:
            tails = [self._tails[place] for place in places]
            self._exported[places] = width_parts(self.flow, self._place.node, self.gate.only(places), tails)
        return self._exported[places]

    def network(self, verified: Verified, expected: Sequence[int]) -> SwitchNetwork:
        """The network that switches."""
        choice = verified.choice
        widths = [
            Width(self.names[place], self._tails[place], threshold)
            for place, threshold in zip(choice.places, choice.thresholds, strict=True)
        ]
        gate = self.gate.only(choice.places)
        return SwitchNetwork(self.flow, self._place.node, gate, widths, expected=expected).eval()

    def save(self, network: DynamicModule, verified: Verified, folder: Path) -> None:
        """Dense weights, gate, and every width's policy and weights; the stages for runtimes without `If`."""
        if not isinstance(network, SwitchNetwork):
            raise AutopruneError("internal error: not the network of this method")
        chosen = [self.names.index(each.name) for each in network.widths]
        policies = [self._widths.policy(self._widths.narrow[each], self.run.experiment.seed) for each in chosen]
        save_switch(network, self.task.model, policies, [self._smalls[each] for each in chosen], folder)
        choice = verified.choice
        stages = width_stages(self._parts(choice.places), choice.thresholds)
        save_stages(stages, choice.confidence, choice.shares, folder / STAGES)

    def fixed(self, verified: Verified) -> Fixed | None:
        """The narrowest width that is as fast as the mean, and as accurate: a gate that adds nothing is left out."""
        wanted, end = self.search_accuracy - verified.choice.loss, self.search.right[-1]
        allowed = max(verified.choice.bound, self.settings.max_drop / 100)
        used = dict(zip(verified.choice.places, verified.choice.shares, strict=False))
        most = verified.mean_ms / verified.dense_ms
        for number, (small, right) in enumerate(zip(self._smalls, self.search.right, strict=False)):
            is_as_fast = used.get(number, 0.0) > _NEARLY_ALL or self._times.narrow[number] / self.dense_ms <= most
            bound = float(loss_bound(int((end & ~right).sum()), int((~end & right).sum()), len(right)))
            if is_as_fast and float(right.mean()) >= wanted and bound <= allowed:
                policy = self._widths.policy(self._widths.narrow[number], self.run.experiment.seed)
                return Fixed(self.names[number], small, policy, float(self.test.right[number].mean()))
        return None

    def offered(self) -> dict[str, Any]:
        """The trunk, and all widths with their times and accuracies alone."""
        names = [*self.names, "whole"]
        times = [*self._times.narrow, self._times.whole]
        return {
            "trunk": asdict(self._place) | {"shape": list(self._place.shape)},
            "widths": [
                {"name": name, "ms": ms, "accuracy": float(right.mean())}
                for name, ms, right in zip(names, times, self.test.right, strict=True)
            ],
        }


def _tails(task: Task, flow: Flow, place: Place, trunk: Stage, smalls: Sequence[nn.Module]) -> list[Stage]:
    return [tail_of(flow, place.node, trunk, flow_of(small, task.example)) for small in smalls]


def _forced(parts: WidthParts) -> tuple[bytes, ...]:
    """The file with each width forced in turn, the whole network last."""
    count = len(parts.tails) - 1
    forced = [[0.0 if k == taken else NEVER for k in range(count)] for taken in range(count + 1)]
    return tuple(switch_file(parts, thresholds) for thresholds in forced)


def _times(
    task: Task, run: RunDir, flow: Flow, place: Place, trunk: Stage, widths: Widths, reporter: Reporter
) -> WidthTimes:
    """What each width takes on the target, measured once a run, before anything is trained."""

    def session() -> dict[str, Any]:
        smalls = [widths.raw(task.model, each).eval() for each in widths.narrow]
        tails = _tails(task, flow, place, trunk, smalls)
        gate = WidthGate(place.shape, len(tails)).eval()
        parts = width_parts(flow, place.node, gate, tails, for_timing=True)
        dense, *narrow, whole = beside_dense(task, run, _forced(parts), bar)
        return {"dense": dense, "narrow": narrow, "whole": whole}

    with reporter.stage("profile", "timing every width") as bar:
        found = run.once("dynamic paths", session)
    return WidthTimes(found["dense"], tuple(found["narrow"]), found["whole"])

"""What methods have in common that train a network together with gates: one threshold for all, at a few levels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from autoprune.dynamic_networks.batches import labels_of
from autoprune.dynamic_networks.flow import Flow, flow_of
from autoprune.dynamic_networks.stages import cut_at, run_stages
from autoprune.dynamic_networks.thresholds import Choice, Limits
from autoprune.gating.gate import BlockGate
from autoprune.gating.sweep import Sweep, swept
from autoprune.gating.training import GateLoss
from autoprune.models.copying import duplicate
from autoprune.pipeline.jobs.dynamic.choosing import best_of
from autoprune.pipeline.jobs.dynamic.methods.gate_training import TrainedGates, trained_together
from autoprune.pipeline.jobs.dynamic.methods.judged import Judged
from autoprune.pipeline.jobs.dynamic.verified import Verified

__all__ = ["Decided", "Gated"]

Decided = Callable[[Sequence[Any], float], tuple[Tensor, Tensor]]
"""Inputs in the order of the graph's and a threshold -> logits (N, classes), what the gates open, bool (N, gates)."""


class Gated(Judged[Sweep]):
    """A network with gates, which were trained together with a copy of it."""

    @property
    @abstractmethod
    def has_gates(self) -> bool:
        """Whether there is anything that pays."""

    @abstractmethod
    def fresh_gates(self, flow: Flow) -> list[BlockGate]:
        """Gates of a network that have learned nothing."""

    @property
    @abstractmethod
    def loss(self) -> GateLoss:
        """What the gates are trained towards."""

    @abstractmethod
    def learner(self, fresh: TrainedGates, teacher: Callable[[Sequence[Any]], Tensor], steps: int) -> nn.Module:
        """What is trained, around the copy's graph and its gates.

        Args:
            fresh: The copy and the gates.
            teacher: The dense network.
            steps: Of the training.
        """

    @abstractmethod
    def decided(self, flat: Sequence[Any], threshold: float) -> tuple[Tensor, Tensor]:
        """Logits (N, classes), and what the gates open, bool (N, gates), of the network with all its gates."""

    def finally_decided(self, flat: Sequence[Any], threshold: float) -> tuple[Tensor, Tensor]:
        """The same of the network that is handed over with this threshold."""
        return self.decided(flat, threshold)

    @abstractmethod
    def within(self, limits: Limits) -> Iterable[Choice]:
        """The thresholds that keep limits."""

    @abstractmethod
    def figures(self, verified: Verified) -> dict[str, Any]:
        """Who takes which path, and who is right."""

    @cached_property
    def trained(self) -> TrainedGates:
        """The copy and its gates; read back if the run has them."""
        copy = duplicate(self.task.model)
        flow = flow_of(copy, self.task.example)
        fresh = TrainedGates(copy, flow, self.fresh_gates(flow))
        whole = cut_at(self.flow, [])

        def network(steps: int) -> nn.Module:
            return self.learner(fresh, lambda flat: run_stages(whole, flat), steps)

        return trained_together(self.task, self.run, fresh, network, self.loss, self.reporter)

    def answers(self, batches: Iterable[Any]) -> Sweep:
        """At every level of the threshold."""
        return self._swept(batches, self.decided)

    def final_answers(self, batches: Iterable[Any]) -> Sweep:
        """At every level, of the network that is handed over with it."""
        return self._swept(batches, self.finally_decided)

    def _swept(self, batches: Iterable[Any], decided: Decided) -> Sweep:
        whole = cut_at(self.flow, [])
        _ = self.trained  # with gradients, which `swept` switches off

        def call(batch: Any) -> Sequence[Any]:
            return self.flow.flat(self.task.reader.call(self.task.model, batch))

        def dense(batch: Any) -> tuple[Tensor, Tensor]:
            logits = run_stages(whole, call(batch))
            return logits, labels_of(logits, batch)

        return swept(batches, lambda batch, level: decided(call(batch), level), dense)

    def choices(self) -> Iterable[Choice]:
        """One threshold for all gates."""
        return best_of(self.within, self.dense_ms, self.settings) if self.has_gates else ()

    def tested(self, verified: Verified | None) -> dict[str, Any]:
        """The figures; of no choice the dense network's, without any training."""
        if verified is not None:
            return self.figures(verified)
        right = self.task.score(self.task.model, self.task.data.test)
        return {"dense": {"accuracy": right, "latency_ms": self.dense_ms}}

"""The contract of a method of `autoprune dynamic`: what makes a network's work depend on its input.

A method brings a network to the point at which only thresholds are open. Which thresholds, whether they hold on the
target, what a static network does in the same time, and the report are the same for all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from autoprune.dynamic_networks.flow import Flow
from autoprune.dynamic_networks.module import DynamicModule
from autoprune.dynamic_networks.thresholds import Choice
from autoprune.pipeline.jobs.dynamic.verified import Verified
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.space import Policy

__all__ = ["Files", "Fixed", "Method", "Offer", "Prepared"]


@dataclass(frozen=True, eq=False)
class Files:
    """The ONNX models of one choice.

    Attributes:
        chosen: With the choice's thresholds: what is handed over.
        paths: The same with every path forced in turn, in the order of `Choice.shares`.
    """

    chosen: bytes
    paths: tuple[bytes, ...]


@dataclass(frozen=True, eq=False)
class Fixed:
    """A static network that does as well as a dynamic one: a path of it that all inputs may as well take.

    Attributes:
        name: Of the path.
        model: The network.
        policy: What makes it of the dense one.
        accuracy: On the test split.
    """

    name: str
    model: nn.Module
    policy: Policy
    accuracy: float


@dataclass(frozen=True)
class Offer:
    """What a method finds to choose from, before anything is timed.

    Attributes:
        kind: Of what.
        count: How many.
        files: Timed on the target before anything is trained.
        paths: Timed of a choice, the dense network included.
    """

    kind: str
    count: int
    files: int
    paths: int


class Prepared(ABC):
    """A network made dynamic; only its thresholds are open.

    Attributes:
        flow: The dense network's graph.
        dense_ms: The dense network on the target, where the method's paths were timed.
    """

    flow: Flow
    dense_ms: float

    @abstractmethod
    def choices(self) -> Iterable[Choice]:
        """Thresholds within the limits by the search split, the best first.

        Raises:
            BudgetError: If none keeps a limit that was asked for.
        """

    @abstractmethod
    def files(self, choice: Choice) -> Files:
        """What is timed, and handed over."""

    @abstractmethod
    def expected(self, choice: Choice) -> tuple[int, ...]:
        """Number of the search split's inputs on each path of the network, as it counts them."""

    @abstractmethod
    def network(self, verified: Verified, expected: Sequence[int]) -> DynamicModule:
        """The dynamic network in torch.

        Args:
            verified: Its thresholds, and their times.
            expected: Inputs on each path, from which it warns if others depart; empty for none.
        """

    @abstractmethod
    def save(self, network: DynamicModule, verified: Verified, folder: Path) -> None:
        """Write what `autoprune.load` reads, and what other runtimes do."""

    def forced(self, choice: Choice, inputs: Sequence[Sequence[Tensor]]) -> tuple[dict[str, float], ...]:
        """A deadline for every path and the share of calls that keep it; nothing of a method without deadlines."""
        return ()

    @property
    @abstractmethod
    def search_accuracy(self) -> float:
        """The dense network's on the search split."""

    @abstractmethod
    def tested(self, verified: Verified | None) -> dict[str, Any]:
        """Read the test split, once: what the report says of it. Of no choice only `dense`."""

    @abstractmethod
    def pictured(self, verified: Verified) -> dict[str, Any]:
        """What the page draws of a network that is handed over; `tested` comes before."""

    def policy(self) -> Policy | None:
        """What makes the network that is dynamic of the dense one; None where it is the dense one."""
        return None

    def fixed(self, verified: Verified) -> Fixed | None:
        """A single path that gets as much of the search split right in the same time; None where there is none."""
        return None

    @abstractmethod
    def offered(self) -> dict[str, Any]:
        """What there was to choose from, for the report."""


class Method(ABC):
    """One way in which a network's work can depend on its input.

    Attributes:
        name: What `--method` calls it.
        passes: How often a training sample is run through the network in an epoch of `--dynamic-epochs`; 0 where the
            network is not trained.
    """

    name: ClassVar[str]
    passes: ClassVar[int] = 0
    reads_values: ClassVar[bool] = True
    """Whether `--head-samples` of the training split are run through the network once, for heads or a gate to learn."""
    written: ClassVar[tuple[str, ...]]
    """What a run writes of it, beside what every run of `dynamic` writes."""

    def check(self, experiment: Experiment) -> None:  # noqa: B027 - most have nothing to check
        """Refuse settings of its own that cannot be, before anything is read.

        Raises:
            InputError: Naming the setting.
        """

    @abstractmethod
    def offer(self, task: Task, experiment: Experiment, flow: Flow) -> Offer:
        """What there is to choose from, for a plan; nothing is timed or trained.

        Raises:
            UnsupportedModelError: If the network has no place for the method.
            InputError: If it cannot be trained for it.
        """

    @abstractmethod
    def prepare(self, task: Task, run: RunDir, reporter: Reporter) -> Prepared:
        """Find places, time them, train what there is to train; whatever takes time is kept in the run.

        Raises:
            UnsupportedModelError: If the network has no place for it; what is in the way is named.
            BudgetError: If a limit is out of reach; the least is named. Before anything is trained.
        """

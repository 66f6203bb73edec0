"""The contract of a job: the work behind a command that uses a run's folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from autoprune.pipeline.finish.deliver import Result
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment

__all__ = ["Job", "Result"]


class Job(ABC):
    """One kind of work on a network. A job holds no state: everything that it decides is in the run.

    Life cycle. A command makes an `Experiment` of its settings (only those named in `settings` are offered) and calls
    `check` before anything is written: what is wrong in the settings alone is refused there. Then the run's
    folder is opened and locked (`lifecycle.opened_run`), the task is loaded, and `run` is called once.

    `run` goes on where the run stopped. What takes time or decides something is asked through `RunDir.once`, or kept
    in a file of its own, so that a process that is killed at any moment loses nothing finished, and a resumed run
    comes by the same results as if it had never stopped. `RunDir.mark_started` says that the run is worth keeping;
    a job that raises before leaves no folder. `report.json` is written last: a run that has one is finished, and
    `run` is not called again.

    A package adds a job by an entry point of the group `autoprune.jobs`, a program by `JOBS.register`.

    Attributes:
        name: What users call it; the command's name where it has one.
        settings: Names of the experiment's settings that it reads.
    """

    name: ClassVar[str]
    settings: ClassVar[tuple[str, ...]]

    @abstractmethod
    def check(self, experiment: Experiment) -> None:
        """Refuse, before anything is written, what is wrong in the settings alone.

        Raises:
            InputError: If a setting cannot be what is meant.
            TargetError: If the target is not available on this machine.
        """

    @abstractmethod
    def run(self, task: Task, run: RunDir, reporter: Reporter) -> Result:
        """Do the job, going on where the run stopped.

        Args:
            task: The network, its data, its score; `task.fresh()` gives another one like it.
            run: The run's folder, opened; its experiment holds the settings.
            reporter: Shows progress and sentences; left as it is.

        Raises:
            BudgetError: If the budget cannot be met; the least reachable cost is named.
        """

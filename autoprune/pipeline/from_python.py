"""A job on a network, loaders, a loss and a score that a Python program handed over."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from autoprune.data import from_loaders
from autoprune.evaluation import Evaluate, accuracy
from autoprune.pipeline.jobs.lifecycle import Result, opened_run
from autoprune.pipeline.task import Loss, Task, check_task
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.space.budget import Budget

__all__ = ["budget_setting", "run_of", "without_folder"]


def budget_setting(text: str) -> tuple[str, str]:
    """The setting that a budget stands in, and its amount.

    >>> budget_setting("latency<=50%"), budget_setting("accuracy_drop<=0.5%")
    (('latency', '50%'), ('accuracy_drop', '0.5'))
    """
    kind, _, amount = text.partition("<=")
    if kind.strip() == "accuracy_drop":
        return "accuracy_drop", amount.strip().removesuffix("%")
    budget = Budget.from_text(text)
    return budget.kind, budget.requested


@contextmanager
def run_of(
    model: nn.Module,
    loaders: tuple[Iterable[Any], Iterable[Any], Iterable[Any]],
    example_input: Tensor | None,
    settings: Mapping[str, Any],
    check: Callable[[Experiment], None],
    *,
    loss: Loss | None,
    evaluate: Evaluate | None,
    run: str | Path | None,
    resume: bool,
    overwrite: bool,
) -> Iterator[tuple[RunDir, Callable[[Experiment], Task]]]:
    """The opened run of a job from Python, and what makes its task.

    Args:
        model: The trained network.
        loaders: Train, search and test batches.
        example_input: One input; default the first of the train batches.
        settings: Of the experiment, but for the model's and the data's name and the folder.
        check: Refuses settings before anything is written.
        loss: Own training loss.
        evaluate: Own score.
        run: Folder that keeps the run; a temporary one if not given.
        resume: Go on with that run.
        overwrite: Replace that run.

    Raises:
        InputError: If something handed over is wrong.
    """
    seed = int(settings.get("seed", 0))
    data = from_loaders(*loaders, example_input, seed=seed)
    name = f"{type(model).__module__}:{type(model).__qualname__}"
    with ExitStack() as stack:
        folder = Path(run) if run is not None else Path(stack.enter_context(tempfile.TemporaryDirectory())) / "run"
        place = str(folder) if "/" in str(folder) else f"./{folder}"
        experiment = Experiment.build({**settings, "model": name, "data": data.name, "run": place})
        check(experiment)
        batch = experiment.target_batch
        whole = Task(name, model, data, True, evaluate or accuracy, loss, "the caller's", target_batch=batch)
        check_task(whole)
        opened = stack.enter_context(opened_run(experiment, resume=resume, overwrite=overwrite))

        def task(_: Experiment) -> Task:
            return replace(whole)  # a step of a job may put other data in

        yield opened, task


def without_folder(result: Result) -> Result:
    """What a job in a temporary folder gives back."""
    return Result(result.model, result.policy, result.report)

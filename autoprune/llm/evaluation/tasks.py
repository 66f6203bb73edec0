"""Tasks of the `lm-eval` harness, where a user has it: accuracies beside perplexities."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.errors import InputError, one_line
from autoprune.foundations.names import nearest_name
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.models.library import quiet

__all__ = ["TaskScore", "require_harness", "task_scores"]


@dataclass(frozen=True)
class TaskScore:
    """A figure of a task.

    Attributes:
        task: Its name in the harness.
        metric: `acc`, `acc_norm`, `exact_match`, ...
        value: In the metric's own unit; of accuracies a fraction.
        error: The harness's standard error; None where it gives none.
        examples: How many examples were scored.
    """

    task: str
    metric: str
    value: float
    error: float | None
    examples: int


def task_scores(
    model: LanguageModel, names: Sequence[str], folder: Path | None = None, limit: int | None = None
) -> list[TaskScore]:
    """Score a model on tasks of the harness, which brings their examples and prompts.

    Args:
        model: In evaluation mode.
        names: Of tasks.
        folder: With YAML files of the user's own tasks; None without.
        limit: Examples of each task at most; all if None.

    Raises:
        InputError: If the harness is not installed, has no such task, or cannot run it.
    """
    require_harness()
    with quiet():
        found = _results(model, names, folder, limit)
    rows = found["results"]
    counts = found.get("n-samples", {})
    return [score for task in rows for score in _scores(task, rows[task], counts.get(task, {}))]


def require_harness() -> None:
    """Refuse tasks where the harness is missing.

    Raises:
        InputError: If it is not installed.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise InputError("--tasks needs the lm-eval harness, which is not installed; pip install lm-eval")


def _results(model: LanguageModel, names: Sequence[str], folder: Path | None, limit: int | None) -> Any:
    harness: Any = importlib.import_module("lm_eval")
    manager = importlib.import_module("lm_eval.tasks").TaskManager(include_path=None if folder is None else str(folder))
    for name in names:
        if name not in manager.all_tasks:
            raise InputError(f"lm-eval has no task {name!r}; {nearest_name(name, manager.all_tasks)}")
    try:
        kind = importlib.import_module("lm_eval.models.huggingface").HFLM
        asked = kind(pretrained=model.network, tokenizer=model.tokenizer, batch_size=1)
        return harness.simple_evaluate(model=asked, tasks=list(names), task_manager=manager, limit=limit)
    except Exception as error:  # examples that cannot be had, or a task's own code
        raise InputError(f"lm-eval cannot run {', '.join(names)}: {one_line(error)}") from error


def _scores(task: str, row: Mapping[str, Any], counts: Mapping[str, int]) -> list[TaskScore]:
    """The figures of a task; the harness calls them `acc,none`, and their errors `acc_stderr,none`."""
    found = []
    for key, value in row.items():
        metric, comma, filtered = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        error = row.get(f"{metric}_stderr,{filtered}")
        known = isinstance(error, int | float) and math.isfinite(error)
        examples = int(counts.get("effective", 0))
        found.append(TaskScore(task, metric, float(value), float(error) if known else None, examples))  # type: ignore[arg-type]
    return found

"""Searches to a budget from Python: one, several, step by step, and help for one of another process."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal, Unpack, overload

from torch import nn

from autoprune.pipeline.api.running import run_job, whole_job
from autoprune.pipeline.calls import Call, JobKeywords, plannable
from autoprune.pipeline.from_python import (
    check_alternatives,
    opened_part,
    opened_sweep,
    planned_part,
)
from autoprune.pipeline.jobs.base import Result
from autoprune.pipeline.jobs.lifecycle import check_settings
from autoprune.pipeline.jobs.registry import compressing, job_named
from autoprune.pipeline.jobs.settings import PROGRESSIVE
from autoprune.pipeline.jobs.work import studies_of
from autoprune.pipeline.jobs.work import work as work_on
from autoprune.pipeline.plan.base import Plan
from autoprune.run.experiment import Experiment

__all__ = ["compress", "progressive", "sweep", "work"]


@plannable
def compress(
    model: nn.Module | str | None = None,
    *,
    run: str | Path | None = None,
    dry_run: bool = False,
    **keywords: Unpack[JobKeywords],
) -> Result | Plan:
    """Compress a trained network until it meets a budget, as measured on the target.

    What is handed over, and what the names mean: `autoprune.pipeline.calls.JobKeywords`. Every setting of
    `autoprune compress` is a keyword of the same name, or a key of `settings`. The common ones: `target`
    ("onnxruntime"; `openvino@bf16`, `package.module:Class`), `threads` (1), `agent` ("ddpg"), `episodes` (300),
    `granularity`, `skip`, `kinds`, `cap`, `tie`, `finetune_epochs` (10 with loaders), `finalists` (6),
    `finetune_seeds` (1), `criterion` ("l1"), `device`, `table`, `seed` (0). All of them with their meaning and default:
    `autoprune compress --help`, or the fields of `autoprune.Experiment`.

    Args:
        model: The trained network, left as it is (of one that `torch.compile` wraps, the network inside); or a name as
            `--model` takes it, which goes with named data.
        run: Folder that keeps the run; if it is not given, the one that `settings` names, else a temporary one.
        dry_run: Try everything of yours once, and give back the plan with its time; nothing is written.
        **keywords: Loaders (`train`, `search`, `test`), `example_input`, `budget` ("latency<=50%"), `loss`, `evaluate`,
            `finetune`, `callbacks`, `settings`, `resume`, `overwrite`, `talk`, and single settings.

    Returns:
        The small network with its policy and report. Where `time_limit` or a callback ended the job, the best so far
        and `finished` false; `resume=True` goes on.

    Raises:
        InputError: If something handed over is wrong; all faults of the settings are named at once.
        BudgetError: If the budget cannot be met.
        TargetError: If the target is not available here.
    """
    call = Call.of(model, keywords)
    return whole_job(call, call.settings, run, compressing, dry_run=dry_run)


@plannable
def progressive(
    model: nn.Module | str | None = None,
    *,
    run: str | Path | None = None,
    dry_run: bool = False,
    **keywords: Unpack[JobKeywords],
) -> Result | Plan:
    """Prune a trained network step by step, measured on the target after each, until it meets a budget.

    What is handed over and raised is as in `compress`; the settings are those of `autoprune progressive`. Its own are
    `step` ("2.5%"), `step_decay` (0.96), `step_epochs` (1) and `step_batches`. There is no agent.
    """
    call = Call.of(model, {**keywords, "agent": PROGRESSIVE})
    return whole_job(call, call.settings, run, lambda _: job_named(PROGRESSIVE), dry_run=dry_run)


@overload
def sweep(
    model: nn.Module | str | None = None,
    *,
    run: str | Path,
    dry_run: Literal[False] = False,
    **keywords: Unpack[JobKeywords],
) -> dict[str, Result]: ...


@overload
def sweep(
    model: nn.Module | str | None = None,
    *,
    run: str | Path,
    dry_run: Literal[True],
    **keywords: Unpack[JobKeywords],
) -> dict[str, Plan]: ...


def sweep(
    model: nn.Module | str | None = None,
    *,
    run: str | Path,
    dry_run: bool = False,
    **keywords: Unpack[JobKeywords],
) -> dict[str, Result] | dict[str, Plan]:
    """Compress one network under several agents or budgets: `agent=["ddpg", "random"]`, `latency=["30%", "50%"]`.

    As on the command line they may also be one text with commas.

    Each is a run of its own in the folder `run`; they share dense weights and latency table. What is handed over and
    raised is as in `compress`. All runs are checked before the first of them starts.

    Returns:
        Name of the run's folder (`ddpg`, or `ddpg-30` where there are several budgets) -> its result. Where
        `time_limit` or a callback ended the sweep, the last one is not finished, and those after it are not there.
        With `dry_run` their plans; nothing is written.
    """
    check_alternatives(keywords.get("budget"))
    call = Call.of(model, keywords)
    moved = "device" in call.settings
    results: dict[str, Result] = {}
    with opened_sweep(call.handed, call.settings, run, call.flags, check_settings) as parts:
        if dry_run:
            return {
                part.experiment.run_dir.name: planned_part(
                    call.handed, part, compressing(part.experiment), call.shown, moved=moved
                )
                for part in parts
            }
        watcher = call.watched(parts[0].experiment)
        for part in parts:
            with opened_part(call.handed, part, call.flags, call.shown, moved=moved) as (
                opened,
                task,
            ):
                result = run_job(compressing(part.experiment), task, opened, watcher)
            results[part.experiment.run_dir.name] = result
            if not result.finished:
                break
    return results


def work(model: nn.Module | str | None = None, **keywords: Unpack[JobKeywords]) -> int:
    """Score candidates for a search of another process, on another machine perhaps, until that search is over.

    The other process is `compress(..., storage=..., study=...)` with the same network, data and functions. A study that
    has not begun is waited for. No run is kept here.

    Args:
        model: The network, or its name, as the search has it.
        **keywords: As of `compress`: what was handed over there, `storage`, `study` (or `run`), and what each process
            has its own of: `workers`, `lease`, `train_threads`, `data_dir`, `time_limit`. Settings that are left out
            come from the study.

    Returns:
        How many candidates were scored.

    Raises:
        StoreError: If the storage cannot be reached.
        RunError: If settings, data or network are not the study's; the first that differs is named.
    """
    call = Call.of(model, keywords)
    experiment = Experiment.build(call.handed.settings(call.settings))
    shown, moved = call.watched(experiment), "device" in call.settings
    return sum(work_on(each, partial(call.handed.task, moved=moved), shown) for each in studies_of(experiment))

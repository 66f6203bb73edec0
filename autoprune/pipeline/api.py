"""The Python face: the jobs of the command line on what a program hands over.

A setting is said with the same name and the same values here, on the command line and in an experiment file.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from torch import nn

from autoprune.cost.importance import ImportanceWeights
from autoprune.errors import Stopped
from autoprune.pipeline.calls import Call, JobKeywords, plannable
from autoprune.pipeline.finish.so_far import best_so_far
from autoprune.pipeline.from_python import (
    check_alternatives,
    opened_job,
    opened_part,
    opened_sweep,
    planned_job,
    planned_part,
    without_folder,
)
from autoprune.pipeline.jobs.base import Job, Result
from autoprune.pipeline.jobs.codesign.settings import codesign_settings
from autoprune.pipeline.jobs.dynamic.settings import dynamic_settings
from autoprune.pipeline.jobs.lifecycle import check_settings, finished_result
from autoprune.pipeline.jobs.lottery.job import lottery_settings
from autoprune.pipeline.jobs.quantize.settings import named_subject, quantize_settings
from autoprune.pipeline.jobs.registry import compressing, job_named
from autoprune.pipeline.jobs.sensitivity import POINTS, SensitivitySettings, check_sensitivity, sensitivity_job
from autoprune.pipeline.jobs.settings import (
    CODESIGN,
    DYNAMIC,
    LOTTERY,
    PROGRESSIVE,
    QUANTIZE,
    SPARSIFY,
    analysis_settings,
)
from autoprune.pipeline.jobs.sparsify.alone import masked_alone
from autoprune.pipeline.jobs.sparsify.chosen import sparsify_settings
from autoprune.pipeline.jobs.work import studies_of
from autoprune.pipeline.jobs.work import work as work_on
from autoprune.pipeline.plan.base import Plan, Work
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir, is_run
from autoprune.run.experiment import Experiment

if TYPE_CHECKING:
    pass

__all__ = [
    "codesign",
    "compress",
    "dynamic",
    "lottery",
    "progressive",
    "quantize",
    "sensitivity",
    "sparsify",
    "sweep",
    "work",
]


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
    return _whole(Call.of(model, keywords), run, compressing, Work.COMPRESS, dry_run=dry_run)


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
    return _whole(call, run, lambda _: job_named(PROGRESSIVE), Work.PROGRESSIVE, dry_run=dry_run)


def _whole(
    call: Call, run: str | Path | None, job_of: Callable[[Experiment], Job], work: Work, *, dry_run: bool
) -> Result | Plan:
    """A job from its settings to its result, or its plan."""

    def check(experiment: Experiment) -> None:
        job_of(experiment).check(experiment)

    if dry_run:
        return planned_job(call.handed, call.settings, run, check, call.shown, work)
    with opened_job(call.handed, call.settings, run, call.flags, check, call.shown) as (opened, task):
        result = _run(job_of(opened.experiment), task, opened, call.watched(opened.experiment))
    return result if run or call.settings.get("run") else without_folder(result)


def sparsify(
    model: nn.Module | str | None = None, *, run: str | Path | None = None, **keywords: Unpack[JobKeywords]
) -> Result:
    """Set weights of a trained network to zero by a pattern, and train it to do without them.

    What is handed over and raised is as in `compress`; there is neither budget nor agent. With one-shot and a criterion
    that needs no data the loaders may be left out: only `example_input` is needed then, and nothing is scored or timed.

    Args:
        model: The trained network, left as it is; or a name.
        run: Folder that keeps the run; if it is not given, a temporary one.
        **keywords: As of `compress`. `pattern` is `2:4` (the default) and any N:M, `2:4-both`, `2:4/1:2`, `4x4:0.5`,
            `bank:4:0.75`, `column:8:0.75`, `kernel:0.5`, `filter:0.5`, `unstructured:0.9` or
            `unstructured:0.9-global`; `recipe` is `one-shot` (the default), `asp`, `gradual`, `sr-ste` or `regularised`
            (docs/sparsity.md); `criterion` may be `sparsegpt`, too. `permute=True` first puts units into an order in
            which N:M groups keep more.

    Returns:
        The network with its zeros, a policy that holds the masks, and a report.
    """
    call = Call.of(model, {"pattern": "2:4", "recipe": "one-shot", **keywords})
    if isinstance(call.handed.model, nn.Module) and call.handed.train is None and "data" not in keywords:
        return masked_alone(call.handed.model, call.handed.example_input, sparsify_settings(call.settings))
    settings = sparsify_settings(call.settings)
    job = job_named(SPARSIFY)
    with opened_job(call.handed, settings, run, call.flags, job.check, call.shown) as (opened, task):
        result = _run(job, task, opened, call.watched(opened.experiment))
    return result if run or call.settings.get("run") else without_folder(result)


def lottery(
    model: nn.Module | str | None = None,
    *,
    run: str | Path | None = None,
    **keywords: Unpack[JobKeywords],
) -> Result:
    """Look for lottery tickets: prune, rewind, train again, round by round, beside controls and over seeds.

    What is handed over and raised is as in `compress`; the settings are those of `autoprune lottery`: `rounds` (10),
    `rate` (0.2), `layer_rate`, `per` ("layer"), `rewind` (0), `seeds` (3), `controls` ("reinit,random"), `transfer`,
    `forms` and those of a training from scratch (`train_epochs`, `optimizer`, `lr`, ...). A network that is handed over
    says its architecture alone: every seed draws first weights of its own.

    Args:
        model: The network, left as it is; or a name.
        run: Folder that keeps the run; a temporary one if not given.
        **keywords: As of `compress`.

    Returns:
        The sparsest trained ticket that matches the dense network on the search split, its policy (the masks), and the
        report with every round and arm.
    """
    call = Call.of(model, {**keywords, "agent": LOTTERY})
    settings, job = lottery_settings(call.settings), job_named(LOTTERY)
    with opened_job(call.handed, settings, run, call.flags, job.check, call.shown) as (opened, task):
        result = _run(job, task, opened, call.watched(opened.experiment))
    return result if run or settings.get("run") else without_folder(result)


def dynamic(
    model: nn.Module | str | None = None, *, run: str | Path | None = None, **keywords: Unpack[JobKeywords]
) -> Result:
    """Give a trained network early exits that easy inputs leave through, verified on the target (docs/dynamic.md).

    What is handed over and raised is as in `compress`; a budget is not taken, and the limits are the settings
    `mean_latency`, `worst`, `p95`, `max_drop` and `exits`. The network itself is not trained: with its exits shut it
    gives the answers that it gave. Where exits gain nothing as timed it is handed back.

    Args:
        model: The trained network, or a name.
        run: Folder that keeps the run; without it nothing is kept.
        **keywords: As of `compress`.

    Returns:
        The dynamic network or the dense one, a policy that cuts nothing, and the report.
    """
    call = Call.of(model, {**keywords, "agent": DYNAMIC})
    settings, job = dynamic_settings(call.settings), job_named(DYNAMIC)
    with opened_job(call.handed, settings, run, call.flags, job.check, call.shown) as (opened, task):
        done = finished_result(opened, task.model)
        result = done or _run(job, task, opened, call.watched(opened.experiment))
    return result if run or settings.get("run") else without_folder(result)


def codesign(
    model: nn.Module | str | None = None, *, run: str | Path | None = None, **keywords: Unpack[JobKeywords]
) -> Result:
    """Search how much of each layer stays, and the accelerator that runs what stays, together (docs/codesign.md).

    What is handed over and raised is as in `compress`; the settings are those of `autoprune codesign`: `accelerator`
    ("eie"), `searched` ("pruning,hardware"), `area`, `objective` ("latency"), `at_most`, `accuracy_drop` (1.0),
    `agent`, `episodes`, `levels`, `chips`, `vectors`. Every cost is simulated from the real masks and a sample of the
    network's activations.

    Args:
        model: The trained network, or a name.
        run: Folder that keeps the run; without it nothing is kept.
        **keywords: As of `compress`.

    Returns:
        The fine-tuned network with its zeros, a policy that holds the masks, and the report with the front, the
        baselines and the accelerator.
    """
    call = Call.of(model, keywords)
    settings, job = codesign_settings(call.settings), job_named(CODESIGN)
    with opened_job(call.handed, settings, run, call.flags, job.check, call.shown) as (opened, task):
        done = finished_result(opened, task.model)
        result = done or _run(job, task, opened, call.watched(opened.experiment))
    return result if run or settings.get("run") else without_folder(result)


def quantize(
    model: nn.Module | str | Path | None = None, *, run: str | Path | None = None, **keywords: Unpack[JobKeywords]
) -> Result:
    """Bring a trained network to eight bits, verified on the target (docs/quantization.md).

    What is handed over and raised is as in `compress`; there is no budget. Its own settings are `tolerance` (0.3),
    `types`, `scales`, `ranges` and `calibration_images` (256); `qat=True` also trains with integers, nothing is trained
    without. Where integers are not faster, or lose more than the tolerance, float32 is handed over:
    `report["handed_over"]` and `report["reason"]`.

    Args:
        model: The trained network, a name, or the folder of a finished run, whose network is taken.
        run: Folder that keeps the run; a temporary one if not given.
        **keywords: As of `compress`.

    Returns:
        The network as an ONNX file that can be called (`autoprune.export.onnx_network.OnnxNetwork`), the policy that
        it was pruned by, and the report.
    """
    settings: dict[str, Any] = {**keywords, "agent": QUANTIZE}
    if isinstance(model, Path) or (isinstance(model, str) and is_run(Path(model))):
        named = named_subject(str(model))
        model, settings = named.pop("model"), named | settings
    call = Call.of(str(model) if isinstance(model, Path) else model, settings)
    wanted, job = quantize_settings(call.settings), job_named(QUANTIZE)
    with opened_job(call.handed, wanted, run, call.flags, job.check, call.shown) as (opened, task):
        result = finished_result(opened) or _run(job, task, opened, call.watched(opened.experiment))
    return result if run or wanted.get("run") else without_folder(result)


def sensitivity(
    model: nn.Module | str | None = None,
    *,
    run: str | Path | None = None,
    points: int = POINTS,
    importance: ImportanceWeights | tuple[float, float, float] = (1.0, 1.0, 0.0),
    **keywords: Unpack[JobKeywords],
) -> dict[str, Any]:
    """What the score loses, and what the device saves, if each decision alone is cut.

    What is handed over and raised is as in `compress`; of the budget only the kind counts: it says what is priced.

    Args:
        model: The trained network, or a name.
        run: Folder that keeps the run; without it only the cache keeps the scores.
        points: Options of each decision that are scored.
        importance: alpha, beta and gamma of `autoprune.cost.importance.hardware_importance`.
        **keywords: As of `compress`.

    Returns:
        What `sensitivity.json` holds (docs/sensitivity.md).
    """
    chosen = importance if isinstance(importance, ImportanceWeights) else ImportanceWeights(*importance)
    wanted = SensitivitySettings(points, chosen)
    call = Call.of(model, keywords)
    settings = analysis_settings(call.settings)
    with opened_job(call.handed, settings, run, call.flags, check_sensitivity, call.shown) as (opened, task):
        return sensitivity_job(task, opened, call.watched(opened.experiment), wanted)


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
                part.experiment.run_dir.name: planned_part(call.handed, part, call.shown, moved=moved) for part in parts
            }
        watcher = call.watched(parts[0].experiment)
        for part in parts:
            with opened_part(call.handed, part, call.flags, call.shown, moved=moved) as (
                opened,
                task,
            ):
                result = _run(compressing(part.experiment), task, opened, watcher)
            results[part.experiment.run_dir.name] = result
            if not result.finished:
                break
    return results


def _run(job: Job, task: Task, run: RunDir, reporter: Reporter) -> Result:
    """The job's result; the best so far where a time limit or a callback ends it."""
    try:
        return job.run(task, run, reporter)
    except Stopped as stop:
        found = best_so_far(run, task)
        if found is None:
            raise Stopped(f"{stop} before there was a network; resume=True goes on") from None
        reporter.say(f"{stop}; this is the best so far, and nothing of it is verified")
        return found


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

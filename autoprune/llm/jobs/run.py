"""A run of a language model: judge the dense model, make it smaller, write it, judge it, train it, report."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from autoprune.errors import BudgetError, InputError, Interrupted
from autoprune.foundations.files import read_json, write_json
from autoprune.llm.evaluation.perplexity import Reading
from autoprune.llm.jobs.figures import counts_in, peak_mib, sample
from autoprune.llm.jobs.judging import judged, texts_to_judge
from autoprune.llm.jobs.loading import Loaded, load_for
from autoprune.llm.jobs.page import REPORT_SCHEMA, write_page
from autoprune.llm.jobs.settings import LanguageRunSettings
from autoprune.llm.methods.base import Method, PrunedModel, Work
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.models.folder import is_model_folder, load_folder, save_folder
from autoprune.llm.recovery.training import recover
from autoprune.llm.recovery.weights import FILLS_ZEROS
from autoprune.llm.texts import Text, held_out, read_text
from autoprune.llm.windows import calibration_windows
from autoprune.pipeline.reporter import Reporter, Silent, TimedReporter
from autoprune.run.directory import RunDir
from autoprune.run.flags import Flags
from autoprune.run.stopwatch import Stopwatch, rounded_seconds

__all__ = [
    "LanguageResult",
    "Texts",
    "calibration_of",
    "language_run",
    "read_texts",
    "refuse_early",
    "require_context",
]

_KEPT, _TRAINING = "checkpoint/blocks", "checkpoint/recovery.pt"


@dataclass(frozen=True, eq=False)
class LanguageResult:
    """What came of a run.

    Attributes:
        report: What report.json holds.
        run: The run's folder; `pruned/` in it is what `AutoModelForCausalLM.from_pretrained` loads.
    """

    report: dict[str, Any]
    run: Path

    @property
    def folder(self) -> Path:
        """Where the model lies: recovered if there was a recovery, else as pruned."""
        return next(self.run / name for name in ("recovered", "pruned") if is_model_folder(self.run / name))

    @property
    def model(self) -> LanguageModel:
        """The model, loaded anew each time it is asked for."""
        return load_folder(self.folder, str(self.run))


@dataclass(frozen=True)
class Texts:
    """What is read in a run: the calibration text, and the texts that models are judged on."""

    calibration: Text
    judged: tuple[Text, ...]


def language_run(
    settings: LanguageRunSettings,
    method: Method,
    flags: Flags | None = None,
    reporter: Reporter | None = None,
    given: LanguageModel | None = None,
) -> LanguageResult:
    """Make a language model smaller in a run's folder, going on where the run stopped.

    Args:
        settings: What is pruned, and how.
        method: What makes it smaller.
        flags: Whether to go on with a run that exists, or to replace it.
        reporter: Shows progress; says nothing if None.
        given: The model itself, where it was handed over in Python.

    Raises:
        InputError: If something that was handed over is wrong; nothing is left of a run that had not begun.
        BudgetError: If the method has a budget that cannot be met.
    """
    chosen = flags or Flags(resume=False, overwrite=False)
    refuse_early(settings, method)
    texts = read_texts(settings)
    with _opened(settings, chosen) as run:
        if run.file("report.json").exists():  # written last
            return LanguageResult(read_json(run.file("report.json"), "report"), run.path)
        content = _pruned(settings, method, texts, run, TimedReporter(reporter or Silent(), Stopwatch(run)), given)
        write_json(run.file("report.json"), content)
        write_page(content, run.path)
        shutil.rmtree(run.file(_KEPT), ignore_errors=True)
        run.file(_TRAINING).unlink(missing_ok=True)
        return LanguageResult(content, run.path)


def refuse_early(settings: LanguageRunSettings, method: Method) -> None:
    """Refuse what is wrong in the settings alone.

    Raises:
        InputError: Naming the setting.
        TargetError: If the method's target is not available.
    """
    method.check(settings.options)
    if settings.recover == "lora" and method.leaves_zeros:
        raise InputError(FILLS_ZEROS)


def read_texts(settings: LanguageRunSettings) -> Texts:
    """The texts of a run; without any to judge on, the last tenth of the calibration text and reference prose.

    Raises:
        InputError: If one cannot be read, or is calibration text.
    """
    calibration = read_text(settings.calibration)
    if settings.text:
        return Texts(calibration, tuple(texts_to_judge(settings.text, calibration)))
    rest, last = held_out(calibration)
    return Texts(rest, (last, *texts_to_judge(())))


def _pruned(
    settings: LanguageRunSettings,
    method: Method,
    texts: Texts,
    run: RunDir[LanguageRunSettings],
    reporter: Reporter,
    given: LanguageModel | None,
) -> dict[str, Any]:
    with reporter.stage("load", f"loading {settings.model}"):
        loaded = load_for(settings, run.file(_KEPT), can=method.by_blocks, given=given)
        windows = calibration_of(settings, loaded.model, texts.calibration)
    reading = Reading(settings.context, settings.stride, settings.tokens)
    run.once("calibration tokens", windows.numel)
    dense = run.once("dense", lambda: _dense(loaded, texts, reading, reporter))
    if not method.marks_start:
        run.mark_started()
    folder = run.file("pruned")
    if not is_model_folder(folder):
        work = Work(loaded.model, loaded.storage, texts.calibration, windows, settings.options, run, reporter)
        found = method.prune(work)
        run.remember("details", found.details)
        with reporter.stage("write", "writing the pruned model"):
            _save(found, folder)
    pruned = run.once("pruned", lambda: _figures_of(folder, loaded, texts, reading, reporter))
    recovered = _recovered(settings, loaded, texts, run, reporter)
    if recovered is None:
        return _report(settings, run, Figures(dense, pruned), texts)
    after = run.once("recovered", lambda: _figures_of(run.file("recovered"), loaded, texts, reading, reporter))
    return _report(settings, run, Figures(dense, pruned, {**after, "training": recovered}), texts)


def calibration_of(settings: LanguageRunSettings, model: LanguageModel, text: Text) -> Tensor:
    """The calibration windows, int64 (windows, tokens), no longer than the model reads.

    Raises:
        InputError: If the text is too short.
    """
    length = min(settings.window_length, model.context or settings.window_length)
    return calibration_windows(text, model.tokenizer, settings.windows, length, settings.seed)


def _dense(loaded: Loaded, texts: Texts, reading: Reading, reporter: Reporter) -> dict[str, Any]:
    """The dense model's perplexities and what it writes; its sizes where it lies in files."""
    require_context(loaded.model, reading)
    whole = loaded.storage is loaded.dense
    scores = judged(loaded.model, texts.judged, reading, reporter, "the dense model", None if whole else loaded.dense)
    counts = counts_in(loaded.folder) if loaded.folder is not None else _counts(loaded.model)
    return {**counts, "texts": scores, "sample": sample(loaded.model, texts.judged[0]) if whole else None}


def require_context(model: LanguageModel, reading: Reading) -> None:
    """Refuse windows that are longer than the model reads.

    Raises:
        InputError: Naming the longest.
    """
    if model.context is not None and reading.context > model.context:
        raise InputError(f"{model.origin} was made for {model.context} tokens; give a --context of no more than that")


def _counts(model: LanguageModel) -> dict[str, int]:
    parameters = list(model.network.parameters())  # tied ones once
    return {
        "params": sum(p.numel() for p in parameters),
        "zeros": sum(int((p == 0).sum()) for p in parameters),
        "bytes": sum(p.numel() * p.element_size() for p in parameters),
    }


def _save(found: PrunedModel, folder: Path) -> None:
    if found.saved is not None:
        found.saved(folder)
    else:
        save_folder(found.model, folder)


def _figures_of(folder: Path, loaded: Loaded, texts: Texts, reading: Reading, reporter: Reporter) -> dict[str, Any]:
    """What is reported of the pruned model, read back from the folder that users load."""
    if loaded.storage is not loaded.dense and folder.name == "pruned":
        scores = judged(loaded.model, texts.judged, reading, reporter, "the pruned model", loaded.storage)
        return {**counts_in(folder), "texts": scores, "sample": None}
    back = load_folder(folder, loaded.model.origin)
    scores = judged(back, texts.judged, reading, reporter, "the pruned model")
    return {**counts_in(folder), "texts": scores, "sample": sample(back, texts.judged[0])}


def _recovered(
    settings: LanguageRunSettings, loaded: Loaded, texts: Texts, run: RunDir[LanguageRunSettings], reporter: Reporter
) -> Any:
    """How the training after the cut went, whose model is in `recovered`; None without one."""
    plan = settings.recovery
    if plan is None:
        return None
    folder = run.file("recovered")
    if not is_model_folder(folder):
        pruned = load_folder(run.file("pruned"), loaded.model.origin)
        teacher = loaded.teacher() if plan.distillation else None
        parts = held_out(texts.calibration)
        with reporter.stage("recover", "training the pruned model", plan.steps) as bar:
            model, training = recover(pruned, teacher, parts, plan, run.file(_TRAINING), bar)
        run.remember("training", asdict(training))
        with reporter.stage("write", "writing the recovered model"):
            save_folder(model, folder)
    return run.recall("training")


@dataclass(frozen=True)
class Figures:
    """What is reported of each model of a run.

    Attributes:
        dense: As it came.
        pruned: After the cut.
        recovered: After the training; None without one.
    """

    dense: dict[str, Any]
    pruned: dict[str, Any]
    recovered: dict[str, Any] | None = None


def _report(
    settings: LanguageRunSettings, run: RunDir[LanguageRunSettings], figures: Figures, texts: Texts
) -> dict[str, Any]:
    """What report.json holds. `texts` has the delivered model's perplexities, those of the dense one beside them."""
    last = figures.recovered or figures.pruned
    rows = [
        {**row, "dense_perplexity": dense["perplexity"]}
        for row, dense in zip(last["texts"], figures.dense["texts"], strict=True)
    ]
    details = run.recall("details")
    before, after = _latencies(details)
    budget = _budget(details)
    return {
        "schema": REPORT_SCHEMA,
        "model": settings.model,
        "method": settings.words[0],
        "ratio": settings.words[1],
        "calibration": {
            "text": texts.calibration.name,
            "windows": settings.windows,
            "tokens": run.recall("calibration tokens"),
        },
        "dense": _with_perplexity(figures.dense, before),
        "pruned": _with_perplexity(figures.pruned, after),
        "recovered": None if figures.recovered is None else _with_perplexity(figures.recovered, after),
        **({} if budget is None else {"budget": budget}),
        "texts": rows,
        "details": details,
        "peak_memory_mib": round(peak_mib(), 1),
        "seed": settings.seed,
        "seconds": rounded_seconds(run),
    }


def _with_perplexity(figures: dict[str, Any], latency_ms: float | None) -> dict[str, Any]:
    return {"perplexity": figures["texts"][0]["perplexity"], "latency_ms": latency_ms, **figures}


def _latencies(details: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Latencies of the dense and of the smaller model (ms), where the method has measured them."""
    measured = details.get("measured") or {}
    timed = details.get("budget", {}).get("how") == "measured"
    return (measured["dense"], measured["cost"]) if timed else (None, None)


def _budget(details: Mapping[str, Any]) -> dict[str, Any] | None:
    """The limit and what came out; None of a method that has no budget."""
    if "budget" not in details:
        return None
    measured, asked = details["measured"], details["budget"]
    cost, limit = measured["cost"], measured["limit"]
    return {
        "kind": asked["kind"],
        "requested": asked["requested"],
        "limit": limit,
        "measured": cost,
        "met": cost <= limit,
    }


@contextmanager
def _opened(settings: LanguageRunSettings, flags: Flags) -> Iterator[RunDir[LanguageRunSettings]]:
    """The run's folder, locked; a run that is refused before it has finished anything leaves no folder."""
    run = RunDir(settings.run_dir, settings, resume=flags.resume, overwrite=flags.overwrite)
    try:
        yield run
    except Interrupted:
        raise
    except Exception as error:
        if isinstance(error, BudgetError) or (not run.started and run.recall("dense") is None):
            run.discard()
        raise
    finally:
        run.close()

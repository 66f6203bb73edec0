"""What a run of `autoprune llm` would do, with estimated seconds. Nothing is written."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from autoprune.llm.evaluation.perplexity import Reading, windows_of
from autoprune.llm.jobs.judging import judged
from autoprune.llm.jobs.loading import Loaded, load_for
from autoprune.llm.jobs.run import Texts, calibration_of, read_texts, refuse_early, require_context
from autoprune.llm.jobs.settings import LanguageRunSettings
from autoprune.llm.methods.base import Method
from autoprune.llm.methods.planned import Ahead
from autoprune.llm.models.base import LanguageModel
from autoprune.pipeline.plan.base import Plan, PlannedStage
from autoprune.pipeline.reporter import Reporter, Silent

__all__ = ["language_plan"]

_BACKWARD = 2.0  # a backward pass takes about two forward passes


def language_plan(
    settings: LanguageRunSettings,
    method: Method,
    reporter: Reporter | None = None,
    given: LanguageModel | None = None,
) -> Plan:
    """Try everything that is the user's: the model, the texts (a window of each), what the method checks, the target.

    Args:
        settings: Of the run that is planned.
        method: What makes the model smaller.
        reporter: Shows progress; says nothing if None.
        given: The model itself, where it was handed over in Python.

    Raises:
        InputError: If something that was handed over is wrong.
        BudgetError: If the method has a budget that cannot be met.
        TargetError: If the target is not available.
    """
    screen = reporter or Silent()
    refuse_early(settings, method)
    texts = read_texts(settings)
    reading = Reading(settings.context, settings.stride, settings.tokens)
    with tempfile.TemporaryDirectory(prefix="autoprune-") as folder:
        start = time.perf_counter()
        with screen.stage("load", f"loading {settings.model}"):
            loaded = load_for(settings, Path(folder), can=method.by_blocks, given=given)
            windows = calibration_of(settings, loaded.model, texts.calibration)
        require_context(loaded.model, reading)
        load = PlannedStage("load", time.perf_counter() - start, "as just now")
        with screen.stage("plan", "reading a window of each text"):
            token = _seconds_a_token(loaded, texts, reading)
        ahead = Ahead(
            loaded.model, len(loaded.storage.stack), texts.calibration, windows, settings.options, token, screen
        )
        outlook = method.outlook(ahead)
    judging = sum(windows_of(loaded.model, text, reading).numel() for text in texts.judged)
    models = 2 if settings.recovery is None else 3
    stages = [load, *outlook.stages, ahead.reading("evaluate", models * judging, f"{models} models")]
    if settings.recovery is not None:
        stages.insert(-1, _training(settings, ahead))
    written = ("experiment.yaml", "checkpoint/", *outlook.written, "pruned/", "report.json", "report.html")
    if settings.recovery is not None:
        written = (*written[:-2], "recovered/", *written[-2:])
    return Plan(
        settings.model, outlook.decisions, outlook.frozen, outlook.budget, tuple(stages), written, str(settings.run_dir)
    )


def _training(settings: LanguageRunSettings, ahead: Ahead) -> PlannedStage:
    """All steps: it may stop before."""
    plan = settings.recovery
    assert plan is not None
    passes = 1 + _BACKWARD + (1 if plan.distillation else 0)
    tokens = passes * plan.steps * plan.batch * ahead.windows.shape[1]
    return ahead.reading("recover", tokens, f"{plan.steps} steps at most, {passes:.0f} passes each")


def _seconds_a_token(loaded: Loaded, texts: Texts, reading: Reading) -> float:
    """Of the dense model; its first window warms up."""
    one = Reading(reading.context, None, reading.context)
    storage = None if loaded.storage is loaded.dense else loaded.dense
    first, *others = texts.judged
    judged(loaded.model, [first], one, Silent(), "the dense model", storage)
    start = time.perf_counter()
    rows = judged(loaded.model, others, one, Silent(), "the dense model", storage)
    return (time.perf_counter() - start) / sum(int(row["tokens"]) + 1 for row in rows)

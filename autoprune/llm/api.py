"""`autoprune.llm` from Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

from autoprune.llm.evaluation.perplexity import CONTEXT, Reading, TextScore, perplexity
from autoprune.llm.jobs.compress import compress_plan, compress_run
from autoprune.llm.jobs.compress_settings import CompressSettings
from autoprune.llm.jobs.judging import model_to_judge, texts_to_judge
from autoprune.llm.jobs.prune import prune_plan, prune_run
from autoprune.llm.jobs.run import LanguageResult
from autoprune.llm.jobs.settings import LanguageSettings
from autoprune.llm.models.base import LanguageModel
from autoprune.pipeline.plan.base import Plan
from autoprune.run.flags import Flags

__all__ = ["compress", "evaluate", "prune"]


@overload
def prune(
    model: str | LanguageModel, *, calibration: str, dry_run: Literal[False] = False, **settings: Any
) -> LanguageResult: ...


@overload
def prune(model: str | LanguageModel, *, calibration: str, dry_run: Literal[True], **settings: Any) -> Plan: ...


def prune(
    model: str | LanguageModel,
    *,
    calibration: str,
    method: str = "wanda",
    ratio: str = "50%",
    resume: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    **settings: Any,
) -> LanguageResult | Plan:
    """Prune a language model in a run's folder.

    Args:
        model: A folder, a GGUF file, `smollm2`, `package.module:factory`, or a `LanguageModel`, whose network a method
            may change in place.
        calibration: File or folder of text that the method learns from.
        method: What decides.
        ratio: The share that is taken away, or of zeros a pattern such as `2:4`.
        resume: Go on with a run that exists.
        overwrite: Replace a run that exists.
        dry_run: Try everything that is handed over, and return the plan; nothing is written.
        **settings: Further fields of `LanguageSettings`: run, text, context, seed, ...

    Raises:
        InputError: If something that was handed over is wrong.
    """
    given, name = _handed_over(model)
    asked = LanguageSettings.build(
        {"model": name, "calibration": calibration, "method": method, "ratio": ratio, **settings}
    )
    if dry_run:
        return prune_plan(asked, given=given)
    return prune_run(asked, Flags(resume, overwrite), given=given)


@overload
def compress(
    model: str | LanguageModel, *, calibration: str, dry_run: Literal[False] = False, **settings: Any
) -> LanguageResult: ...


@overload
def compress(model: str | LanguageModel, *, calibration: str, dry_run: Literal[True], **settings: Any) -> Plan: ...


def compress(
    model: str | LanguageModel,
    *,
    calibration: str,
    resume: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    **settings: Any,
) -> LanguageResult | Plan:
    """Search how many blocks, neurons, heads and channels of a language model stay within a budget, in a run's folder.

    Args:
        model: As for `prune`; one that is handed over stays as it is.
        calibration: File or folder of text: its last tenth scores candidates, what goes first is learned from the rest.
        resume: Go on with a run that exists.
        overwrite: Replace a run that exists.
        dry_run: See `prune`.
        **settings: Further fields of `CompressSettings`: the budget (`params`, `bytes`, `prefill_latency` or
            `decode_latency`), agent, episodes, target, run, text, recover, ...

    Raises:
        InputError: If something that was handed over is wrong.
        BudgetError: If nothing meets the budget.
        TargetError: If the target is not available.
    """
    given, name = _handed_over(model)
    asked = CompressSettings.build({"model": name, "calibration": calibration, **settings})
    if dry_run:
        return compress_plan(asked, given=given)
    return compress_run(asked, Flags(resume, overwrite), given=given)


def _handed_over(model: str | LanguageModel) -> tuple[LanguageModel | None, str]:
    """A model itself where it was handed over, and what it is called."""
    return (model, model.origin) if isinstance(model, LanguageModel) else (None, model)


def evaluate(
    model: str | LanguageModel,
    texts: Sequence[str],
    *,
    context: int = CONTEXT,
    stride: int | None = None,
    tokens: int | None = None,
) -> list[TextScore]:
    """Score a language model on texts; on English reference prose, too, where only one is given.

    Args:
        model: As for `prune`, a run, or a folder that was written for OpenVINO, which then computes.
        texts: Files or folders.
        context: Tokens that the model sees at once.
        stride: Tokens from one window to the next; the context if None.
        tokens: Tokens of each text that are read; all if None.

    Raises:
        InputError: If a text or the model cannot be read, or a text is too short.
    """
    loaded = model if isinstance(model, LanguageModel) else model_to_judge(model)
    reading = Reading(context, stride, tokens)
    return [perplexity(loaded, text, reading) for text in texts_to_judge(texts)]

"""`autoprune llm prune`: a method takes a share away."""

from __future__ import annotations

from autoprune.llm.jobs.plan import language_plan
from autoprune.llm.jobs.run import LanguageResult, language_run
from autoprune.llm.jobs.settings import LanguageSettings
from autoprune.llm.methods.registry import METHODS
from autoprune.llm.models.base import LanguageModel
from autoprune.pipeline.plan.base import Plan
from autoprune.pipeline.reporter import Reporter
from autoprune.run.flags import Flags

__all__ = ["prune_plan", "prune_run"]


def prune_run(
    settings: LanguageSettings,
    flags: Flags | None = None,
    reporter: Reporter | None = None,
    given: LanguageModel | None = None,
) -> LanguageResult:
    """Prune a language model in a run's folder, going on where the run stopped.

    Args:
        settings: What is pruned, and how.
        flags: Whether to go on with a run that exists, or to replace it.
        reporter: Shows progress; says nothing if None.
        given: The model itself, where it was handed over in Python.

    Raises:
        InputError: If something that was handed over is wrong; nothing is left of a run that had not begun.
    """
    return language_run(settings, METHODS.get(settings.method)(), flags, reporter, given)


def prune_plan(
    settings: LanguageSettings, reporter: Reporter | None = None, given: LanguageModel | None = None
) -> Plan:
    """What `prune_run` would do, once all that was handed over has been tried; see `language_plan`."""
    return language_plan(settings, METHODS.get(settings.method)(), reporter, given)

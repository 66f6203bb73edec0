"""`autoprune llm compress`: a search within a budget."""

from __future__ import annotations

from autoprune.llm.jobs.compress_settings import CompressSettings
from autoprune.llm.jobs.plan import language_plan
from autoprune.llm.jobs.run import LanguageResult, language_run
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.search.method import SearchMethod
from autoprune.pipeline.plan.base import Plan
from autoprune.pipeline.reporter import Reporter
from autoprune.run.flags import Flags

__all__ = ["compress_plan", "compress_run"]


def compress_run(
    settings: CompressSettings,
    flags: Flags | None = None,
    reporter: Reporter | None = None,
    given: LanguageModel | None = None,
) -> LanguageResult:
    """Search for the best language model within a budget in a run's folder, going on where the run stopped.

    Args:
        settings: The budget, and who searches.
        flags: Whether to go on with a run that exists, or to replace it.
        reporter: Shows progress; says nothing if None.
        given: The model itself, where it was handed over in Python.

    Raises:
        InputError: If something that was handed over is wrong; nothing is left of a run that had not begun.
        BudgetError: If nothing meets the budget.
        TargetError: If the target is not available.
    """
    return language_run(settings, SearchMethod(settings.plan), flags, reporter, given)


def compress_plan(
    settings: CompressSettings, reporter: Reporter | None = None, given: LanguageModel | None = None
) -> Plan:
    """What `compress_run` would do, once all that was handed over has been tried; see `language_plan`."""
    return language_plan(settings, SearchMethod(settings.plan), reporter, given)

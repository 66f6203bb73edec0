"""What one call of a job from Python says: the network, its data, the settings, and how the run's folder is treated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Unpack, cast, overload

from torch import nn

from autoprune.evaluation import Evaluate
from autoprune.models import uncompiled
from autoprune.pipeline.from_python import HandedOver, budget_settings
from autoprune.pipeline.jobs.base import Result
from autoprune.pipeline.plan.base import Plan
from autoprune.pipeline.reporter import Reporter, Silent
from autoprune.pipeline.task import Loss
from autoprune.pipeline.watching import Callback, watched
from autoprune.run.experiment import Experiment
from autoprune.run.flags import Flags
from autoprune.run.keywords import SettingKeywords, merged_settings
from autoprune.training.own_loop import FineTune

__all__ = ["Call", "JobKeywords", "Plannable", "Settings", "plannable"]

Settings = Experiment | Mapping[str, Any] | str | Path
"""An experiment, of which only what was set counts; a mapping; or an experiment file."""


class JobKeywords(SettingKeywords, total=False):
    """What every job takes from Python beside the network and the run, all of it optional.

    Attributes:
        train: Batches to fine-tune on: (inputs, labels), or what `loss` understands with the input first. They have
            the size that the loader gives them. Without the three loaders, `data` names the data.
        search: Batches on which candidates are scored.
        test: Batches that are touched once, at the end.
        example_input: One input, (1, ...), or a tuple or mapping of several; default the first of `train`.
        budget: `latency<=50%` (the default), `latency<=2.5ms`, `flops<=50%`, `params<=100k`, `energy<=50%`; or
            `accuracy_drop<=0.5`, the fastest network that loses at most half a percentage point on the search split.
            The same can be said as `latency="50%"`. A list of them, of one kind, is a sweep's.
        settings: An `Experiment`, a mapping or an experiment file; keywords win over it. A network or loaders that are
            handed over stand in for those that it names.
        loss: Own training loss of (output, batch), or `package.module:function`; default cross-entropy and
            distillation.
        evaluate: Own score of (model, batches), or `package.module:function`; default top-1 accuracy. It is called
            `score` and maximised unless the settings say more: `score="PSNR"`, `direction="minimize"`,
            `score_format="{:.1f} dB"`; `score="accuracy"` for a share of right answers.
        finetune: Own fine-tuning loop of (model, constraint, epochs) that returns the model, in place of the built-in
            one (docs/training.md); or its `package.module:name`.
        resume: Go on with the run where it stopped.
        overwrite: Replace the run.
        talk: Reporter for progress and messages.
        callbacks: Functions of (progress, event), or one, called at every step of the job
            (`autoprune.pipeline.watching`). `progress.stop()` ends it in good order, as the setting `time_limit` does.
    """

    train: Iterable[Any] | None
    search: Iterable[Any] | None
    test: Iterable[Any] | None
    example_input: Any
    budget: str | Sequence[str] | None
    settings: Settings | None
    loss: Loss | str | None
    evaluate: Evaluate | str | None
    finetune: FineTune | str | None
    resume: bool
    overwrite: bool
    talk: Reporter | None
    callbacks: Callback | Sequence[Callback] | None


class Plannable(Protocol):
    """A job from Python that gives back its result, or with `dry_run=True` its plan."""

    @overload
    def __call__(
        self,
        model: nn.Module | str | Path | None = None,
        *,
        run: str | Path | None = None,
        dry_run: Literal[False] = False,
        **keywords: Unpack[JobKeywords],
    ) -> Result: ...

    @overload
    def __call__(
        self,
        model: nn.Module | str | Path | None = None,
        *,
        run: str | Path | None = None,
        dry_run: Literal[True],
        **keywords: Unpack[JobKeywords],
    ) -> Plan: ...


def plannable(job: Callable[..., Result | Plan]) -> Plannable:
    """The same function: what it gives back is known to type checkers from `dry_run`."""
    return cast(Plannable, job)


@dataclass(frozen=True)
class Call:
    """The keywords of a call, sorted.

    Attributes:
        handed: Objects that stand in for what settings would name.
        settings: Everything that was said about settings, in one mapping.
        flags: How the run's folder is treated.
        shown: Who shows the progress.
        callbacks: Who else hears of it.
    """

    handed: HandedOver
    settings: dict[str, Any]
    flags: Flags
    shown: Reporter
    callbacks: tuple[Callback, ...]

    @classmethod
    def of(cls, model: nn.Module | str | None, keywords: Mapping[str, Any]) -> Call:
        """Sort the keywords of a call.

        Args:
            model: The network, or its name.
            keywords: As `JobKeywords` has them; any other name is taken for a setting.

        Raises:
            InputError: If the experiment file or the budget cannot be read.
        """
        rest = dict(keywords)
        if callable(rest.get("callbacks")):  # one function is a list of one
            rest["callbacks"] = (rest["callbacks"],)
        objects = {name: rest.pop(name, None) for name in ("train", "search", "test", "example_input")}
        objects |= {name: rest.pop(name, None) for name in ("loss", "evaluate", "finetune")}
        flags = Flags(rest.pop("resume", False), rest.pop("overwrite", False))
        shown, callbacks = rest.pop("talk", None) or Silent(), rest.pop("callbacks", None) or ()
        inside = uncompiled(model) if isinstance(model, nn.Module) else model
        return cls(HandedOver(inside, **objects), _settings(rest), flags, shown, tuple(callbacks))

    def watched(self, experiment: Experiment) -> Reporter:
        """The reporter, of which the callbacks hear; the time limit counts from now on."""
        return watched(self.shown, experiment, self.callbacks)


def _settings(rest: dict[str, Any]) -> dict[str, Any]:
    """Keywords that are settings, over the settings that `settings` holds."""
    settings, budget = rest.pop("settings", None), rest.pop("budget", None)
    if budget is not None:
        rest |= budget_settings(budget)
    return merged_settings(settings, rest)

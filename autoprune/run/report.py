"""What a run's files hold, read without locking or changing them: a page can be made while the run goes on."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from autoprune.errors import InputError, RunError
from autoprune.foundations.files import read_json, read_yaml, require_plain, shortened
from autoprune.foundations.json_lines import read_rows
from autoprune.run.score import Direction, ScoreSpec
from autoprune.run.trainings import TrainingOutcome
from autoprune.space import Policy, first_fault

__all__ = [
    "REPORT_SCHEMA",
    "SEVERAL",
    "Figures",
    "Outcome",
    "Report",
    "dense_widths",
    "episode_cost",
    "episode_score",
    "read_episodes",
    "read_report",
    "read_settings_file",
]

SEVERAL = "budgets"
"""The kind of what episodes cost under several budgets: the share of its limit that the tightest takes."""

REPORT_SCHEMA: Literal["autoprune.report/1"] = "autoprune.report/1"

_CONFIG = ConfigDict(frozen=True, extra="allow", populate_by_name=True, allow_inf_nan=False)


class Figures(BaseModel):
    """What one network does; None is "not measured", never 0."""

    model_config = _CONFIG

    accuracy: float | None = Field(default=None, description="top-1 on the test split, a fraction")
    score: float | None = Field(default=None, description="another score than accuracy, on the test split")
    score_name: str | None = Field(default=None, description="what that score is called")
    direction: Direction | None = Field(default=None, description="whether larger or smaller is better")
    latency_ms: float | None = Field(default=None, description="measured on the target")
    latency_ms_predicted: float | None = Field(default=None, description="by the latency table")
    latency_spread: float | None = Field(default=None, description="of the measured latency, as a share")
    latency_stable: bool | None = Field(default=None, description="the timing protocol's stopping rule was met")
    flops: int | float | None = Field(default=None, description="multiply-accumulates of one input")
    params: int | float | None = Field(default=None, description="parameters")
    energy_mj: float | None = Field(default=None, description="of one call, in millijoules")
    energy_label: str | None = Field(default=None, description="`modelled (...)` or `measured (...)`")
    accuracy_seeds: list[float] | None = Field(default=None, description="the accuracy, one a fine-tuning seed")
    accuracy_mean: float | None = Field(default=None, description="mean of these")
    accuracy_std: float | None = Field(default=None, description="sample standard deviation of these")
    score_seeds: list[float] | None = Field(default=None, description="another score, one a fine-tuning seed")
    score_mean: float | None = Field(default=None, description="mean of these")
    score_std: float | None = Field(default=None, description="sample standard deviation of these")

    @classmethod
    def of_scores(cls, spec: ScoreSpec, scores: Sequence[float], **costs: Any) -> Figures:
        """What a network does, by its score, one a fine-tuning seed, and its costs."""
        known: dict[str, Any] = {"accuracy": None, spec.key: scores[0]}
        if not spec.is_accuracy:
            known |= {"score_name": spec.name, "direction": spec.direction}
        seeds: dict[str, Any] = {}
        if len(scores) > 1:
            seeds = {"seeds": list(scores), "mean": statistics.fmean(scores), "std": statistics.stdev(scores)}
        return cls(**known, **costs, **{f"{spec.key}_{name}": value for name, value in seeds.items()})

    @property
    def seeds(self) -> list[float]:
        """The score, whatever it is, one a fine-tuning seed; empty where there was only one."""
        return self.accuracy_seeds or self.score_seeds or []

    @property
    def mean(self) -> float | None:
        """Mean score over fine-tuning seeds, or the one score there is."""
        if self.seeds:
            return statistics.fmean(self.seeds)
        return self.score if self.accuracy is None else self.accuracy

    @property
    def spread(self) -> float | None:
        """Sample standard deviation of the score over fine-tuning seeds; None for fewer than two."""
        return statistics.stdev(self.seeds) if len(self.seeds) > 1 else None


class Outcome(BaseModel):
    """The budget, and whether it was met; limit and measured in the budget's unit."""

    model_config = _CONFIG

    kind: str = "latency"
    requested: str | None = None
    limit: float | None = None
    measured: float | None = None
    met: bool | None = None
    predicted_limit: float | None = Field(
        default=None, description="what policies might be predicted to cost in the search: on the scale of their costs"
    )
    target: str | None = Field(default=None, description="where it was measured, if not on the run's own target")
    latency: Outcome | None = Field(default=None, description="of a bisection by accuracy: its last job's budget")

    @property
    def name(self) -> str:
        """What tells it from the others of a run."""
        return f"{self.kind}@{self.target}" if self.target else self.kind

    @property
    def in_search(self) -> Outcome:
        """The budget that the episodes were searched under, its limit on the scale of their predicted costs.

        A share of the dense latency is held against the dense network as the last session measured it, which may lie a
        quarter off the table's.
        """
        own = self.latency or self
        return own.model_copy(update={"limit": own.limit if own.predicted_limit is None else own.predicted_limit})


class Report(BaseModel):
    """`report.json`: what came out of a run; written and read by this model.

    The fields are in the order in which the file has them; what is not set is not written.
    """

    model_config = _CONFIG

    schema_: Literal["autoprune.report/1"] = Field(default=REPORT_SCHEMA, alias="schema")
    model: Any = Field(default=None, description="what the user calls the network")
    weights: Any = Field(default=None, description="where the dense weights come from")
    data: Any = Field(default=None, description="name of the data set")
    decisions: Any = Field(default=None, description="units of the dense network by coupled group and block")
    images: Any = Field(default=None, description="images by split")
    score_name: str | None = Field(default=None, description="what networks are judged by, if not accuracy")
    direction: Direction | None = Field(default=None, description="whether larger or smaller values of it are better")
    score_format: str | None = Field(default=None, description="how a value of it is written")
    target: Any = None
    device: Any = Field(default=None, description="the target's fingerprint")
    seed: int | None = None
    recipe: Any = Field(default=None, description="how networks were trained: optimiser, rates, and why these")
    dense: Figures = Figures()
    pruned: Figures = Figures()
    finetuned: Figures = Figures()
    baselines: dict[str, Figures] = Field(default_factory=dict)
    budget: Outcome = Outcome()
    budgets: list[Outcome] = Field(default_factory=list, description="all budgets, where there are several")
    latency_table: Any = Field(default=None, description="errors of the latency table's predictions")
    agent: str | None = None
    episodes: int | None = None
    score_correlation: Any = Field(default=None, description="Spearman's, of scores before and after fine-tuning")
    fine_tuning: list[TrainingOutcome] = Field(
        default_factory=list, description="before and after each fine-tuning, the delivered network's first"
    )
    chosen: Any = Field(default=None, description="decision -> kept units of the delivered policy")
    progressive: Any = Field(default=None, description="how a progressive run came about")
    seconds: dict[str, float | None] = Field(default_factory=dict)

    @field_validator("dense", "pruned", "finetuned", "budget", "baselines", "seconds", mode="before")
    @classmethod
    def _nothing_is_empty(cls, value: Any) -> Any:
        return {} if value is None else value

    @field_validator("baselines", mode="before")
    @classmethod
    def _no_figures_are_empty(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {name: {} if figures is None else figures for name, figures in value.items()}

    def to_json(self) -> dict[str, Any]:
        """The content of `report.json`."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    @classmethod
    def of(cls, content: Mapping[str, Any], where: str = "the report") -> Report:
        """A report from `report.json`'s content.

        Raises:
            InputError: If a value is of the wrong kind; the first fault is named.
        """
        if isinstance(content, Report):
            return content
        try:
            return cls.model_validate(dict(content))
        except ValidationError as error:
            raise InputError(f"{where} is not a report: {first_fault(error)}") from error

    @property
    def score_spec(self) -> ScoreSpec:
        """What networks are judged by."""
        return ScoreSpec.of_fields(self.score_name, self.direction, self.score_format)

    @property
    def outcomes(self) -> list[Outcome]:
        """Every budget."""
        return self.budgets or [self.budget]

    @property
    def searched(self) -> Outcome:
        """The budget on the scale of the episodes' predicted costs; of several, the share that the tightest takes."""
        return Outcome(kind=SEVERAL, limit=1.0) if self.budgets else self.budget.in_search

    @property
    def networks(self) -> list[tuple[str, Figures]]:
        """The networks that the report knows, named for people, the dense one first."""
        own = [("dense", self.dense), ("pruned", self.pruned), ("fine-tuned", self.finetuned)]
        return own + [(f"{name} baseline", figures) for name, figures in self.baselines.items()]

    @property
    def speedup(self) -> float | None:
        """Dense over small latency, both measured; fine-tuning changes no shape, so either small network serves."""
        small = self.finetuned.latency_ms if self.finetuned.latency_ms is not None else self.pruned.latency_ms
        return None if self.dense.latency_ms is None or not small else self.dense.latency_ms / small

    @property
    def gain(self) -> float | None:
        """Score after fine-tuning minus the dense network's, in its unit; of accuracy a difference of fractions."""
        small, dense = self.finetuned.mean, self.dense.mean
        return None if small is None or dense is None else small - dense

    @property
    def total_seconds(self) -> float | None:
        """How long the run took: the stage `total` if there is one, else the sum of the stages."""
        if self.seconds.get("total") is not None:
            return self.seconds["total"]
        known = [value for value in self.seconds.values() if value is not None]
        return sum(known) if known else None


def read_report(run: str | Path) -> Report:
    """The report of a finished run.

    Raises:
        RunError: If there is no such folder or no report in it.
        InputError: If the report is damaged.
    """
    run = Path(run)
    path = run / "report.json"
    if not run.is_dir():
        raise RunError(f"there is no run at {run}")
    if not path.is_file():
        raise RunError(f"{run} holds no report.json; the run is not finished, go on with --resume")
    content = read_json(path, "report")
    if content.get("schema") != REPORT_SCHEMA:
        schema = shortened(repr(content.get("schema")))
        raise InputError(f"{path} is not a report: its schema is {schema}, not {REPORT_SCHEMA!r}")
    return Report.of(content, str(path))


def read_episodes(run: str | Path) -> list[dict[str, Any]]:
    """The finished episodes of a run, in order, each with its `cost`; none if there is no file.

    A torn last line is left out.

    Raises:
        InputError: If the file cannot be read, or a line that is not the last is damaged.
    """
    path = Path(run) / "episodes.jsonl"
    rows = []
    for number, row in enumerate(read_rows(path).rows):
        for name in ("episode", "accuracy", "score", "predicted_cost", "cost", "reward", "seconds"):
            if not _is_figure(row.get(name)):
                value = shortened(repr(row[name]))
                raise InputError(f"{path}: line {number + 1} is damaged: {name} is {value}, not a number")
        try:
            require_plain(row)
        except ValueError as error:
            raise InputError(f"{path}: line {number + 1} is damaged: {error}") from error
        rows.append({"episode": number, **row, "cost": episode_cost(row)})
    return rows


def _is_figure(value: object) -> bool:
    """Whether a value can be drawn: a finite number, or nothing."""
    return value is None or (isinstance(value, int | float) and math.isfinite(value))


def episode_cost(row: Mapping[str, Any]) -> float | None:
    """An episode's cost as the search knew it, in the budget's unit; None if the row has none."""
    value = row.get("predicted_cost", row.get("cost"))
    return None if value is None else float(value)


def episode_score(row: Mapping[str, Any]) -> float | None:
    """An episode's score, accuracy or another; None if the row has none."""
    return row.get("accuracy") if row.get("score") is None else row["score"]


def read_settings_file(run: str | Path) -> dict[str, Any]:
    """`experiment.yaml` as it is (`settings`, `environment`, ...), not validated; empty if there is none.

    A report is made of old runs too, whose settings this version may no longer know.

    Raises:
        InputError: If the file is not YAML.
    """
    path = Path(run) / "experiment.yaml"
    if not path.exists():
        return {}
    content = read_yaml(path, "experiment file")
    if not isinstance(content, dict):
        return {}
    return content if "settings" in content else {"settings": content}


def dense_widths(report: Report, policy: Policy | None) -> dict[str, int]:
    """Dense units by decision, as far as a run's files say.

    Taken from the report's own `decisions` (name -> units), else from the weights' shapes in the policy's fingerprint
    of the model (a decision is named by its first producer).
    """
    decisions = report.decisions
    if isinstance(decisions, Mapping):
        return {str(name): width for name, width in decisions.items() if isinstance(width, int)}
    return _widths_of(policy) if policy is not None else {}


def _widths_of(policy: Policy) -> dict[str, int]:
    """Rows of the weight of every decision's first producer; left out where they cannot be its units."""
    known = policy.model.get("fingerprint", policy.model)
    layers = known.get("layers") if isinstance(known, Mapping) else None
    widths = {}
    for layer in layers if isinstance(layers, list) else []:
        match layer:
            case [str(name), str(_), {"weight": [int(rows), *_]}] if name in policy.choices:
                if rows >= max(policy.choices[name], *(1 + i for i in (policy.kept or {}).get(name, [0]))):
                    widths[name] = rows
    return widths

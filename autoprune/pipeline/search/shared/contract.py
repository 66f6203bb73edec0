"""What all processes of a study have to agree on: settings, and fingerprints of what settings do not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch

from autoprune.errors import RunError
from autoprune.foundations.digests import content_digest
from autoprune.foundations.files import shortened
from autoprune.models import device_of
from autoprune.models.precision import bf16_is_fast
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.task import has_data_of_python
from autoprune.run.experiment import Experiment
from autoprune.techniques.homes.base import CandidateScore, ScoreJob
from autoprune.techniques.homes.inline import Inline

__all__ = ["Scoring", "fingerprints", "joined_settings", "refuse_other", "shared_settings"]

_LOCAL = (*Experiment.may_differ, "train_threads", "weights")
"""Settings that each process has its own of."""

_NAMES_OF_CODE = ("model", "data", "loss", "evaluate", "criterion", "candidate_weights", "techniques", "optimizer")
"""Settings that may name a Python function, which is imported by whoever scores."""


@dataclass(frozen=True)
class Scoring:
    """What a candidate is scored with.

    Attributes:
        problem: The network, its decisions, its images, the weights of candidates.
        score: Scores one candidate.
    """

    problem: Problem
    score: CandidateScore


def shared_settings(experiment: Experiment) -> dict[str, Any]:
    """The settings that all processes share, as JSON values."""
    return experiment.model_dump(mode="json", exclude=set(_LOCAL))


def fingerprints(scoring: Scoring | None = None) -> dict[str, str | float]:
    """What scores depend on beside the settings, by name; without a network what is known before there is one.

    The last is the score of one candidate, every width halved: it differs where anything does that has no name.
    """
    found: dict[str, str | float] = {"autoprune": _version(), "torch": torch.__version__}
    if scoring is None:
        return found
    problem, task = scoring.problem, scoring.problem.task
    space, order = problem.space, problem.ranking
    half = space.complete({d.name: d.at(0.5) for d in space.decisions})
    return found | {
        "precision": "bfloat16" if bf16_is_fast(device_of(task.model)) else "float32",
        "weights": content_digest(task.model.state_dict()),
        "splits": content_digest(task.search_parts[0]),
        "space": content_digest([repr(space.decisions), dict(space.ties)]),
        "order of units": content_digest({name: list(order[name]) for name in order}),
        "score of a probe": Inline(scoring.score, threads=1).score(ScoreJob(half)).estimate.value,
    }


def refuse_other(study: str, theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    """Refuse a process whose scores would not be the study's.

    Raises:
        RunError: Names the first fingerprint that differs.
    """
    for name, value in mine.items():
        if theirs.get(name) != value:
            raise RunError(
                f"this worker's {name} is {value}, the study {study} has {theirs.get(name)}: its scores would be others"
            )


def joined_settings(given: Experiment, contract: Mapping[str, Any]) -> Experiment:
    """A worker's settings: the study's, with what each process has its own of.

    Args:
        given: What the worker was given; what it was not given comes from the study.
        contract: The study's.

    Raises:
        RunError: If one differs; or the study names Python code that the worker was not given, which is not imported
            on the word of a store.
    """
    name, shared = given.study_name, Experiment.build(contract["settings"])
    own = given.model_fields_set - set(_LOCAL)
    for setting in sorted(own):
        was, wanted = getattr(shared, setting), getattr(given, setting)
        if was != wanted:
            raise RunError(f"the study {name} has {setting} = {was}, not {wanted}; leave it out, or join another study")
    if has_data_of_python(shared) and "data" not in own:
        raise RunError(f"the data of the study {name} was handed over in Python; join it with autoprune.work(...)")
    for setting in _NAMES_OF_CODE:
        value = getattr(shared, setting)
        if setting not in own and value is not None and _is_code(value):
            option = setting.replace("_", "-")
            raise RunError(
                f"the study {name} has {setting} = {shortened(value)}, which is code; a worker imports only what it is"
                f" given: add --{option} {shortened(value)}"
            )
    kept = {name: getattr(given, name) for name in _LOCAL if name != "run"}
    return shared.replace(**kept, batch=contract["batch"], target="torch", threads=1, precision=None)


def _is_code(value: str) -> bool:
    module, colon, _ = value.partition(":")
    return bool(colon) and module != "folder"


def _version() -> str:
    try:
        return metadata.version("autoprune")
    except metadata.PackageNotFoundError:
        return "unknown"

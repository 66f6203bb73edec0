"""Which settings each job reads; without torch, so that the command line can offer them quickly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoprune.run.experiment import BUDGETS, Experiment, option_group
from autoprune.run.settings import RecipeSettings

__all__ = [
    "CODESIGN",
    "DYNAMIC",
    "LOTTERY",
    "OF_CODESIGN",
    "OF_DYNAMIC",
    "OF_LOTTERY",
    "OF_ONE_JOB",
    "OF_PROGRESSIVE",
    "OF_QUANTIZE",
    "OF_SEARCH",
    "OF_SENSITIVITY",
    "OF_SPARSIFY",
    "OF_SPARSITY",
    "PROGRESSIVE",
    "QUANTIZE",
    "SENSITIVITY",
    "SPARSIFY",
    "analysis_settings",
]

PROGRESSIVE = "progressive"
"""The job's name; it has no agent, and its runs have this name where others name theirs."""

SENSITIVITY = "sensitivity"
"""What runs of sensitivity analyses have where others name their agent."""

OF_SPARSITY = tuple(name for name in Experiment.model_fields if option_group(name) == "Sparsity")
"""Settings that only sparsification has."""

_OF_TICKETS = tuple(name for name in Experiment.model_fields if option_group(name) == "Lottery")

_OF_EXITS = tuple(name for name in Experiment.model_fields if option_group(name) == "Early exits")

_OF_CHIPS = tuple(name for name in Experiment.model_fields if option_group(name) == "Co-design")

_OF_INTEGERS = tuple(name for name in Experiment.model_fields if option_group(name) == "Quantization")

OF_ONE_JOB = (
    *(name for name in Experiment.model_fields if option_group(name) == "Progressive"),
    *OF_SPARSITY,
    *_OF_TICKETS,
    *_OF_EXITS,
    *_OF_CHIPS,
    *_OF_INTEGERS,
)
"""Settings of single jobs (progressive pruning, sparsification, ..., accelerators), which mean nothing to others."""

OF_SEARCH = tuple(name for name in Experiment.model_fields if name not in OF_ONE_JOB)
"""Settings of the jobs in which an agent searches."""

_OF_AGENTS = (
    "agent",
    "episodes",
    "warmup",
    "fidelity",
    "batch",
    "workers",
    "storage",
    "study",
    "lease",
    "ray",
    "front",
    "warm_start",
    "finalists",
    "accuracy_drop",
    "schedule",
    "schedule_steps",
    "slim",
)

OF_PROGRESSIVE = tuple(
    name
    for name in Experiment.model_fields
    if name not in (*_OF_AGENTS, *OF_SPARSITY, *_OF_TICKETS, *_OF_EXITS, *_OF_CHIPS, *_OF_INTEGERS)
)
"""Settings of progressive pruning, which has no agent."""

SPARSIFY = "sparsify"
"""What runs of sparsification have where others name their agent."""

_OF_COSTS = (
    "granularity",
    "techniques",
    "kinds",
    "tie",
    "candidate_weights",
    "elastic_epochs",
    "table",
    "finetune_seeds",
)

OF_SPARSIFY = tuple(
    name
    for name in Experiment.model_fields
    if name not in (*_OF_AGENTS, *_OF_COSTS, *BUDGETS, "recipe") or name == "schedule_steps"
    if name in OF_SPARSITY or name not in OF_ONE_JOB
)
"""Settings of sparsification, which has neither agent nor budget; `recipe` has another meaning there."""

LOTTERY = "lottery"
"""What runs of lottery ticket studies have where others name their agent."""

_NOT_OF_LOTTERY = (
    "weights",
    "criterion",
    "cap",
    "finetune",
    "finetune_epochs",
    "recipe",
    "distil",
    "distil_features",
    "ema",
    "mixup",
)

OF_LOTTERY = tuple(
    name
    for name in Experiment.model_fields
    if name not in (*_OF_AGENTS, *_OF_COSTS, *BUDGETS, *_NOT_OF_LOTTERY) or name == "workers"
    if name in _OF_TICKETS or name not in OF_ONE_JOB
)
"""Settings of a study of lottery tickets, all of whose trainings are from first weights and from labels."""

_OF_TRAINING_AFTER = ("finetune", "finetune_epochs", "finetune_seeds")

OF_SENSITIVITY = tuple(name for name in OF_SEARCH if name not in (*_OF_AGENTS, *_OF_TRAINING_AFTER, "time_limit"))
"""Settings of a sensitivity analysis, which searches nothing and fine-tunes nothing."""

DYNAMIC = "dynamic"
"""What runs with early exits have where others name their agent."""

OF_DYNAMIC = (
    *("model", "weights", "data", "data_dir", "inputs", "target", "threads", "timing"),
    *_OF_EXITS,
    *("kinds", "agent", "episodes", "warmup", "granularity", "criterion", "candidate_weights", "finetune_epochs"),
    *("optimizer", "lr", "weight_decay", "distil"),
    *("batch_size", "train_threads", "seed", "time_limit", "run"),
)
"""Settings of early exits, which are put on a trained network; those of a search are for `--kinds channels,exit`."""

QUANTIZE = "quantize"
"""What runs of quantization have where others name their agent."""

OF_QUANTIZE = (
    *("model", "weights", "data", "data_dir", "inputs", "evaluate", "score", "direction", "score_format"),
    *("target", "threads", "target_batch", "timing"),
    *_OF_INTEGERS,
    *("loss", "finetune_epochs", "optimizer", "lr", "weight_decay", "clip", "label_smoothing", "distil"),
    *("batch_size", "train_threads", "seed", "time_limit", "run"),
)
"""Settings of a quantization; those of training are for one with integers."""


CODESIGN = "codesign"
"""The name of the job that searches a network and its accelerator together."""

OF_CODESIGN = (
    *("model", "weights", "data", "data_dir", "score", "direction", "score_format", "loss", "evaluate", "inputs"),
    *_OF_CHIPS,
    *("accuracy_drop", "agent", "episodes", "warmup", "criterion", "skip"),
    *("train_epochs", "finetune_epochs", "batch_size", "train_threads", "device"),
    *(name for name in RecipeSettings.model_fields if name != "slim"),
    *("seed", "time_limit", "run"),
)
"""Settings of such a search; its device is the accelerator, and its budget the accuracy that may be lost."""


def analysis_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a sensitivity analysis: no agent, and of the budget its kind alone, so that none is out of reach.

    >>> analysis_settings({"model": "resnet20", "flops": "30%"})
    {'model': 'resnet20', 'flops': '100%', 'agent': 'sensitivity'}
    """
    rest = {name: value for name, value in settings.items() if name not in BUDGETS}
    given = next((name for name in BUDGETS if settings.get(name) is not None), "latency")
    if given == "budget":
        kind = str(settings["budget"]).replace("<=", "=").partition("=")[0]
        return rest | {"budget": f"{kind}=100%", "agent": SENSITIVITY}
    return rest | {"latency" if given == "accuracy_drop" else given: "100%", "agent": SENSITIVITY}

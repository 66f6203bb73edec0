"""The report of a sparsification: zeros, parameters removed, bytes on disk and measured latency are four figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.cost.metrics import Timing
from autoprune.hardware.sparse_kernels.choice import no_kernels
from autoprune.models.copying import duplicate
from autoprune.models.sizes import parameter_count, zero_count
from autoprune.pipeline.finish.fine_tuning import reported_score
from autoprune.pipeline.jobs.settings import SPARSIFY
from autoprune.pipeline.jobs.sparsify.recipes import Pruned, Work, with_masks
from autoprune.pipeline.problem import PERMUTATION
from autoprune.run.report import REPORT_SCHEMA, Figures, Report
from autoprune.run.stopwatch import rounded_seconds
from autoprune.run.trainings import TrainingOutcome
from autoprune.techniques.sparsity.tensors import weights_of

__all__ = ["Networks", "damages", "sparse_report"]


_NOT_CALLED = "no linear layer or convolution of its own has it, which kernels could run"


@dataclass(frozen=True, eq=False)
class Networks:
    """The networks that are compared.

    Attributes:
        dense: The trained network.
        masked: The same under its masks, not trained.
        sparse: The finished one.
        outcome: What its training did; None if there was none, or it began from scratch.
        baselines: By name; under masks, not trained, BatchNorm re-estimated as for one-shot. Those whose names end in
            `_trained` were trained under their masks as long as the finished one.
    """

    dense: nn.Module
    masked: Pruned
    sparse: Pruned
    outcome: TrainingOutcome | None
    baselines: Mapping[str, Pruned]


def sparse_report(
    work: Work,
    networks: Networks,
    timings: Mapping[str, Timing],
    lost: Mapping[str, float],
    kernels: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The content of `report.json`; scores every network on the test split.

    Args:
        work: What was done.
        networks: What came of it.
        timings: Of `dense` and `finetuned`.
        lost: See `damages`.
        kernels: See `kernel_rows`.
    """
    problem, task = work.problem, work.problem.task
    files = {name: problem.run.file(f"{name}.safetensors").stat().st_size for name in ("dense", "pruned", "finetuned")}
    dense = _figures(work, networks.dense, timings["dense"], files["dense"])
    before = _figures(work, networks.masked.network, timings["finetuned"], files["pruned"])
    after = _figures(work, networks.sparse.network, timings["finetuned"], files["finetuned"])
    baselines = {name: _figures(work, each.network, None, None) for name, each in networks.baselines.items()}
    report = Report(
        schema=REPORT_SCHEMA,
        model=task.name,
        weights=task.weights_origin,
        data=task.data.name,
        images=dict(task.data.counts),
        target=problem.target.label,
        device=problem.target.fingerprint(),
        seed=problem.experiment.seed,
        recipe=problem.recipe.to_json(),
        dense=dense,
        pruned=before,
        finetuned=after,
        baselines=baselines,
        agent=SPARSIFY,
        fine_tuning=[] if networks.outcome is None else [networks.outcome],
        seconds=dict(rounded_seconds(problem.run)),
    )
    content = report.model_copy(update=task.scored_as.fields).to_json()
    content |= {
        "masked": content["pruned"],
        "sparse": content["finetuned"],
        "layers": _layers(work, networks, lost, kernels),
    }
    return content | {"sparsity": _asked(work, networks)}


def _asked(work: Work, networks: Networks) -> dict[str, Any]:
    experiment = work.problem.experiment
    return {
        "pattern": work.chosen.pattern.name,
        "criterion": experiment.criterion if experiment.masks is None else None,
        "masks": experiment.masks,
        "weight_update": experiment.weight_update,
        "recipe": experiment.sparse_recipe,
        "from_scratch": experiment.sparse_recipe == "sr-ste" and work.fresh is not None,
        "notes": dict(networks.masked.notes),
        "permutation": _permutation(work),
    }


def _permutation(work: Work) -> dict[str, Any] | None:
    """What the new order of units brought; the orders themselves are in the policy."""
    found = work.problem.run.recall(PERMUTATION)
    return None if found is None else {name: value for name, value in found.items() if name != "orders"}


def _figures(work: Work, network: nn.Module, timing: Timing | None, size: int | None) -> Figures:
    task = work.problem.task
    known: dict[str, Any] = {}
    if timing is not None:
        known = {"latency_ms": timing.ms, "latency_spread": timing.spread, "latency_stable": timing.stable}
    scores = [reported_score(task, network, task.data.test)]
    counts = {"params": parameter_count(network), "zeros": zero_count(network), "bytes": size}
    return Figures.of_scores(task.scored_as, scores, **known, **counts)


def _layers(
    work: Work, networks: Networks, lost: Mapping[str, float], kernels: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """A row for every weight of two dimensions or more, in forward order, then those that stay dense."""
    known = weights_of(work.problem.analysis)
    reason = _NOT_CALLED if kernels else no_kernels(work.problem.target)
    dense = {name: p.detach() for name, p in networks.dense.named_parameters()}
    sparse = {name: p.detach() for name, p in networks.sparse.network.named_parameters()}
    rows = []
    for name in (*known.weights, *known.refused):
        masked = name in work.chosen.assigned
        mask = networks.masked.masks.get(name)
        rows.append(
            {
                "name": name,
                "shape": list(dense[name].shape),
                "pattern": work.chosen.pattern.name if masked else None,
                "density": float((sparse[name] != 0).double().mean()),
                "removed": None if mask is None else _removed(dense[name], mask),
                "damage": lost.get(name),
                "chosen": "dense",
                "latency_dense_ms": None,
                "latency_sparse_ms": None,
                "reason": reason if masked else work.chosen.refused.get(name, "it is none of the chosen weights"),
            }
            | (dict(kernels.get(name, {})) if masked else {})
            | {"name": name}
        )
    return rows


def _removed(weight: Tensor, mask: Tensor) -> float:
    """Share of the squared magnitude of a weight that its mask takes."""
    squares = weight.double().square()
    return float(squares[~mask.to(weight.device)].sum() / squares.sum().clamp_min(torch.finfo(torch.float64).tiny))


def damages(work: Work, masks: Mapping[str, Tensor]) -> dict[str, float]:
    """What the score on the search split loses if one weight alone is masked, others dense; negative where it gains."""
    task = work.problem.task
    part, _ = task.search_parts
    found = {}
    with work.reporter.stage("search", "scoring each layer's mask alone", len(masks)) as bar:
        whole = task.merit(task.model, part)
        for number, (name, mask) in enumerate(masks.items(), start=1):
            alone = with_masks(duplicate(task.model), {name: mask}).network
            found[name] = whole - task.merit(alone, part)
            bar.update(number)
    return found

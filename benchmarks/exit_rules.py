"""Kinds of confidence side by side, and whether a promised loss holds on new inputs: ResNet-20 on Fashion-MNIST.

python benchmarks/exit_rules.py --splits 100                     # --errors 3 bounds by three standard errors
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autoprune.dynamic_networks.batches import labels_of
from autoprune.dynamic_networks.flow import flow_of
from autoprune.dynamic_networks.stages import cut_at
from autoprune.dynamic_networks.thresholds import NEVER, Answers, Choice, Limits, PathTimes, Z, choices_of, leaving_at
from autoprune.early_exit.confidence.registry import CONFIDENCES
from autoprune.early_exit.fit import Cut, answers_of, fitted_heads
from autoprune.early_exit.heads import ExitHead, HeadTraining
from autoprune.early_exit.places import places_of
from autoprune.pipeline.task import load_task
from autoprune.run.experiment import Experiment

# Of docs/dynamic.md: shares of the dense network's time at the eight places.
_TIMES = PathTimes(
    1.0,
    (0.143, 0.263, 0.388, 0.482, 0.587, 0.702, 0.790, 0.901),
    (0.051, 0.029, 0.020, 0.036, 0.026, 0.021, 0.031, 0.024),
)
_WORST = 1.10
_FIXED = (0, 3, 5)  # exits of the greedy rule
_GREEDY = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99)  # thresholds of a coordinate search over a fixed grid


def main() -> None:
    """Heads are trained once; then two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=20_000, help="training samples of the heads")
    parser.add_argument("--splits", type=int, default=100, help="random splits of the second table")
    parser.add_argument("--inputs", default="1000,5000", help="of a split, that thresholds are chosen on")
    parser.add_argument("--promises", default="0.25,0.5,1", help="of the second table, in percentage points")
    parser.add_argument("--errors", type=float, default=Z, help="standard errors from the estimated loss to its bound")
    parser.add_argument("--no-kinds", dest="kinds", action="store_false", help="leave the first table out")
    parser.add_argument("--kept", type=Path, help="file that keeps logits for another call")
    given = parser.parse_args()
    logits, labels, searched, heads = _known(given)
    if given.kinds:
        _kinds(logits, labels, searched, heads)
    cases = itertools.product(map(int, given.inputs.split(",")), map(float, given.promises.split(",")))
    print("\n| inputs | promise | broken | mean | greedy point estimate: broken | mean |\n|---|---|---|---|---|---|")
    for inputs, points in cases if given.splits else ():
        print(_promise(logits, labels, heads, given, inputs, points / 100), flush=True)


def _known(given: argparse.Namespace) -> tuple[Tensor, Tensor, int, list[ExitHead]]:
    """Logits of all heads and of the network (places + 1, N, classes), search split first; the labels."""
    if given.kept is not None and given.kept.exists():
        logits, labels, searched, scorers = torch.load(given.kept, weights_only=True)
        heads = [ExitHead((1,), logits.shape[2], scored=True) for _ in scorers]
        for head, (weight, bias) in zip(heads, scorers, strict=True):
            head.scorer.weight.data, head.scorer.bias.data = weight, bias
        return logits, labels, searched, heads
    settings = {
        "model": "resnet20",
        "data": "fashion-mnist",
        "latency": "100%",
        "agent": "dynamic",
        "run": "exit-rules",
    }
    task = load_task(Experiment(**settings))
    flow = flow_of(task.model.eval(), task.example)
    cut = Cut(task.model, flow, places_of(flow), task.reader)
    start = time.process_time()
    heads = fitted_heads(cut, task.data.train, HeadTraining(seed=given.seed), most=given.samples)
    print(f"heads: {time.process_time() - start:.1f} CPU seconds, {', '.join(place.name for place in cut.places)}")
    parts = [_logits(cut, heads, batches) for batches in (task.data.search, task.data.test)]
    logits, labels = torch.cat([part[0] for part in parts], 1), torch.cat([part[1] for part in parts])
    if given.kept is not None:
        scorers = [(head.scorer.weight.data, head.scorer.bias.data) for head in heads]
        torch.save((logits, labels, len(parts[0][1]), scorers), given.kept)
    return logits, labels, len(parts[0][1]), heads


def _logits(cut: Cut, heads: Sequence[ExitHead], batches: Iterable[Any]) -> tuple[Tensor, Tensor]:
    stages, rows, labels = cut_at(cut.flow, [place.node for place in cut.places]), [], []
    with torch.no_grad():
        for batch in batches:
            *values, last = cut.values(stages, batch)
            rows.append(torch.stack([*(head(value) for head, value in zip(heads, values, strict=True)), last]))
            labels.append(labels_of(last, batch))
    return torch.cat(rows, 1), torch.cat(labels)


def _solved(answers: Answers, drop: float, errors: float = Z) -> Choice | None:
    found = choices_of(answers, _TIMES, Limits(drop, _WORST, errors=errors))
    return min(found, key=lambda each: each.mean_ms, default=None)


def _outcome(answers: Answers, kind: str, places: Sequence[int], thresholds: Sequence[float]) -> tuple[float, float]:
    """Mean time and points lost."""
    taken = leaving_at(answers.sure(kind, places), thresholds)
    right = answers.right[np.array([*places, len(answers.right) - 1])[taken], np.arange(len(taken))]
    return float(_TIMES.of(places)[taken].mean()), 100 * float(answers.right[-1].mean() - right.mean())


def _kinds(logits: Tensor, labels: Tensor, searched: int, heads: Sequence[ExitHead]) -> None:
    search = answers_of(logits[:, :searched], labels[:searched], heads)
    test = answers_of(logits[:, searched:], labels[searched:], heads)
    print("\n| promise | confidence | mean, search | mean, test | lost, test | CPU s |\n|---|---|---|---|---|---|")
    for drop, kind in itertools.product((0.0025, 0.005, 0.01), (*CONFIDENCES, "all")):
        start = time.process_time()
        found = _solved(search if kind == "all" else search.only([kind]), drop)
        seconds = time.process_time() - start
        if found is None:
            print(f"| {100 * drop:g} | {kind} | - | - | - | {seconds:.1f} |")
            continue
        mean, lost = _outcome(test, found.confidence, found.places, found.thresholds)
        name = f"all ({found.confidence})" if kind == "all" else kind
        print(f"| {100 * drop:g} | {name} | {found.mean_ms:.1%} | {mean:.1%} | {lost:.2f} | {seconds:.1f} |")


def _promise(
    logits: Tensor, labels: Tensor, heads: Sequence[ExitHead], given: argparse.Namespace, inputs: int, drop: float
) -> str:
    """How often the loss on all other inputs is above the promise, and the mean time there."""
    ours, others = [], []
    for split in range(given.splits):
        order = torch.randperm(logits.shape[1], generator=torch.Generator().manual_seed(split))
        known, new = (answers_of(logits[:, rows], labels[rows], heads) for rows in (order[:inputs], order[inputs:]))
        found = _solved(known, drop, given.errors)
        ours.append((1.0, 0.0) if found is None else _outcome(new, found.confidence, found.places, found.thresholds))
        others.append(_outcome(new, "max", _FIXED, _greedy(known, _FIXED, drop)))
    cells = [f"{_broken(each, drop):.0%} | {np.mean([mean for mean, _ in each]):.1%}" for each in (ours, others)]
    return f"| {inputs:,} | {100 * drop:g} | {' | '.join(cells)} |"


def _broken(outcomes: Sequence[tuple[float, float]], drop: float) -> float:
    return float(np.mean([lost > 100 * drop for _, lost in outcomes]))


def _greedy(answers: Answers, places: Sequence[int], drop: float) -> list[float]:
    """Each exit in turn gets the lowest threshold of a fixed grid that keeps the estimated loss."""
    thresholds = [NEVER] * len(places)
    for number in range(len(places)):
        for threshold in sorted(_GREEDY):
            tried = [*thresholds[:number], threshold, *thresholds[number + 1 :]]
            if _outcome(answers, "max", places, tried)[1] <= 100 * drop:
                thresholds = tried
                break
    return thresholds


if __name__ == "__main__":
    main()

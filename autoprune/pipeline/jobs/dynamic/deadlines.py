"""Exits for calls with a deadline each: where they lie, within what each path ends, and what is right by then."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from autoprune.dynamic_networks.thresholds import NEVER, Answers, Choice, Limits, PathTimes, leaving_at, solved
from autoprune.early_exit.network import thresholds_within
from autoprune.early_exit.onnx_file import Parts, nested_file
from autoprune.errors import BudgetError
from autoprune.hardware.targets.local import LocalTarget
from autoprune.hardware.targets.stream import calls_of
from autoprune.pipeline.jobs.dynamic.figures import END
from autoprune.run.settings import DynamicSettings

__all__ = ["anytime_candidates", "anytime_rows", "deadlines_of"]

QUANTILE = 0.999
"""Share of the calls that end by a path's deadline."""

TOLERANCE = 1.02
"""A call that takes so many times its deadline is not late: clocks and processors are not more exact."""

Floats = NDArray[np.float64]


def anytime_candidates(answers: Answers, times: PathTimes, settings: DynamicSettings) -> list[Choice]:
    """Sets of exits of growing accuracy, the best set first.

    The best has the highest accuracy on the search split on average over all deadlines up to the longest allowed path;
    a call whose deadline is before the first exit has no answer. Thresholds let inputs leave before their deadline
    where the allowed loss permits it.

    Raises:
        BudgetError: If no set keeps the longest path.
    """
    worst = settings.limit_ms("worst", times.dense) or times.dense
    limits = Limits(settings.max_drop / 100, worst, None, settings.exits)
    ranked = sorted(_sets(answers, times, limits), key=lambda each: -each[0])
    if not ranked:
        shortest = times.dense + min(times.passed)
        raise BudgetError(f"with one exit the longest path takes {shortest:.4g} ms; raise --worst", shortest)
    return [_with_thresholds(answers, places, times.of(places), limits) for _, places in ranked]


def _sets(answers: Answers, times: PathTimes, limits: Limits) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Mean accuracy over the deadlines, and the places."""
    accuracy = answers.right.mean(1)
    count = len(accuracy) - 1
    for size in range(1, min(limits.exits, count) + 1):
        for places in itertools.combinations(range(count), size):
            path, right = times.of(places), accuracy[[*places, count]]
            if path.max() <= limits.worst and bool((np.diff(right[:-1]) > 0).all()):
                yield float(right @ np.diff([*path, limits.worst])) / limits.worst, places


def _with_thresholds(answers: Answers, places: tuple[int, ...], path: Floats, limits: Limits) -> Choice:
    found = [solved(answers, kind, places, path, limits) for kind in answers.confidences]
    kept = [each for each in found if each is not None]
    if kept:
        return min(kept, key=lambda each: each.mean_ms)
    shut = (*[0.0] * len(places), 1.0)
    return Choice(places, next(iter(answers.confidences)), (NEVER,) * len(places), shut, float(path[-1]), 0.0, 0.0)


def deadlines_of(
    target: LocalTarget, parts: Parts, confidence: str, inputs: Sequence[Sequence[Tensor]]
) -> list[dict[str, float]]:
    """For every path the time within which 99.9 % of its calls end, and how many of other calls keep it.

    Each path is forced upon all inputs. The first half of them sets the deadlines, the second half is checked.

    Args:
        target: Where; it must call networks in this process.
        parts: The network and its heads.
        confidence: Its kind.
        inputs: Batches of one, in any order.
    """
    exits = len(parts.heads)
    forced = [[0.0 if k == taken else NEVER for k in range(exits)] for taken in range(exits + 1)]
    files = [nested_file(parts, confidence, thresholds) for thresholds in forced]
    half = len(inputs) // 2
    first, second = (np.array(calls_of(target, files, part)[0]) * 1e3 for part in (inputs[:half], inputs[half:]))
    limits = np.maximum.accumulate(np.quantile(first, QUANTILE, axis=1))
    kept = (second <= TOLERANCE * limits[:, None]).mean(1)
    return [{"deadline_ms": float(ms), "kept": float(share)} for ms, share in zip(limits, kept, strict=True)]


def anytime_rows(
    choice: Choice, names: Sequence[str], test: Answers, deadlines: Sequence[dict[str, float]]
) -> list[dict[str, Any]]:
    """For every deadline the thresholds that keep it, and the accuracy on the test split.

    Args:
        choice: The exits.
        names: Of the places.
        test: What they are judged on.
        deadlines: As `deadlines_of` gives them.
    """
    sure, ends = test.sure(choice.confidence, choice.places), [*choice.places, len(test.right) - 1]
    rows = []
    for last, timed in enumerate(deadlines):
        thresholds = thresholds_within(choice.thresholds, last)
        taken = leaving_at(sure, thresholds)
        right = test.right[np.array(ends)[taken], np.arange(sure.shape[1])]
        place = names[choice.places[last]] if last < len(choice.places) else END
        rows.append({"place": place, **timed, "thresholds": list(thresholds), "accuracy": float(right.mean())})
    return rows

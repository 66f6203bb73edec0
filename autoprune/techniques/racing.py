"""Multi-fidelity scoring: a candidate that is clearly worse than its rival is given up after a part of the images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from scipy.stats import hypergeom
from torch import Tensor, nn

from autoprune.models.outputs import with_changed_tensors
from autoprune.run.score import Estimate
from autoprune.techniques.homes.base import Home, Scored, ScoreJob
from autoprune.techniques.scoring import Scorer

__all__ = ["PartialScore", "Race", "chance_at_most", "shuffled"]

Right = Callable[[nn.Module, Iterable[Any]], Tensor]
"""Which images of some batches a network classifies rightly, bool (images,)."""

_LOOKS = (1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4)
"""Shares of the images after which a candidate may be given up."""
_FEWEST = 32
"""Images below which nothing is decided."""
_MOST = 64
"""Answers of policies that are kept, those of the best ones; as many as there can be finalists."""


class PartialScore:
    """Scores a candidate by its accuracy, and stops where it is clearly below a rival's on the same images.

    The images come in one random order, drawn once. At each look only those images count on which one of the two is
    right and the other wrong (a sign test, paired by image, for draws without replacement; `chance_at_most`). A policy
    is given up where the chance of so few wins is below the error divided by the number of looks, so that one that is
    as good as its rival on all images is lost with at most that error.

    What is given up gets an estimate below the rival's score: the rival's accuracy on all images, less the difference
    on those that were seen.

    Args:
        scorer: Makes the networks.
        images: Batches in random order, as `shuffled` gives them.
        right: What is counted.
        error: Chance at most with which a policy as good as its rival is given up.

    Attributes:
        count: Images in all.
    """

    def __init__(self, scorer: Scorer, images: Sequence[Any], right: Right, error: float) -> None:
        self._scorer, self._right = scorer, right
        self._parts = _parts(images)
        self.count = self._parts[-1][0]
        self._error = error / max(1, len(self._parts) - 1)

    def __call__(self, job: ScoreJob) -> Scored:
        """Score of a policy; an estimate if it is clearly worse than the rival whose answers it is compared with."""
        network, against = self._scorer.network(job.choices), job.against
        answers, start = torch.zeros(0, dtype=torch.bool), time.perf_counter()
        for end, batches in self._parts:
            answers = torch.cat([answers, self._right(network, batches)])
            if against is not None and end < self.count and self._is_worse(answers, against):
                behind = (int(against[:end].sum()) - int(answers.sum())) / end
                estimate = Estimate(max(0.0, _mean(against) - behind), end / self.count)
                return Scored(estimate, answers, time.perf_counter() - start)
        return Scored(Estimate(_mean(answers)), answers, time.perf_counter() - start)

    def _is_worse(self, answers: Tensor, against: Tensor) -> bool:
        seen = against[: len(answers)]
        won, lost = int((answers & ~seen).sum()), int((~answers & seen).sum())
        return won < lost and chance_at_most(won, won + lost, int((~against).sum())) <= self._error


class Race:
    """Scores policies against a rival, of which it knows which images it classifies rightly.

    Args:
        home: Where candidates are scored, by `PartialScore`.
        count: Images in all.

    Attributes:
        seen: Images that candidates were scored on so far, in this process.
        spared: Images that were not needed.
        seconds: Time that scoring on the images took, of all processes together.
    """

    def __init__(self, home: Home, count: int) -> None:
        self._home, self._count = home, count
        self._answers: dict[tuple[tuple[str, int], ...], Tensor] = {}
        self.seen = self.spared = 0
        self.seconds = 0.0

    def __call__(self, choices: Mapping[str, int], rival: Mapping[str, int] | None = None) -> Estimate:
        """Score of a policy; an estimate if it is clearly worse than its rival.

        Args:
            choices: Kept units by decision.
            rival: A policy that was scored on all images; None scores on all images, too.
        """
        job = self._job(choices, rival)
        found = self._home.score(job)
        answers = found.answers
        assert answers is not None  # images are what is counted
        self.seconds += found.seconds
        self.seen, self.spared = self.seen + len(answers), self.spared + self._count - len(answers)
        if found.estimate.share == 1:
            self._keep(job, answers)
        return found.estimate

    def begin(self, policies: Sequence[Mapping[str, int]], rival: Mapping[str, int] | None) -> None:
        """Policies that will be asked for, all with the same rival."""
        self._home.begin([self._job(choices, rival) for choices in policies])

    @property
    def spared_seconds(self) -> float:
        """Time that the images that were not needed would have taken, at the speed of the others."""
        return self.seconds * self.spared / max(1, self.seen)

    def _job(self, choices: Mapping[str, int], rival: Mapping[str, int] | None) -> ScoreJob:
        return ScoreJob(choices, None if rival is None else self._known(rival))

    def _known(self, rival: Mapping[str, int]) -> Tensor:
        """The rival's answers; a resumed search has to take them anew."""
        job = ScoreJob(rival)
        if job.key not in self._answers:
            answers = self._home.score(job).answers
            assert answers is not None  # images are what is counted
            self._keep(job, answers)
        return self._answers[job.key]

    def _keep(self, job: ScoreJob, answers: Tensor) -> None:
        self._answers[job.key] = answers
        if len(self._answers) > _MOST:
            worst = min(self._answers, key=lambda each: (each == job.key, int(self._answers[each].sum())))
            del self._answers[worst]


def chance_at_most(won: int, drawn: int, wrong: int) -> float:
    """Bound on the chance that a policy as good as its rival wins so few of the images on which the two differ.

    Over all images such a policy wins at least as often as it loses, and it wins at most where the rival is wrong. So
    there are at most 2 `wrong` images on which they differ, of which it wins half or more; the chance of at most `won`
    wins among the `drawn` of them seen so far, without replacement, is largest if there are as many as that.

    Args:
        won: Images seen on which the policy alone is right.
        drawn: Images seen on which one of the two alone is right.
        wrong: Images, of all, on which the rival is wrong.

    >>> round(chance_at_most(2, 20, 1000), 6), chance_at_most(2, 20, 9)
    (0.000189, 0.0)
    """
    return 0.0 if drawn > 2 * wrong else float(hypergeom.cdf(won, 2 * wrong, wrong, drawn))


def shuffled(batches: Sequence[Any], seed: int = 0) -> list[Any] | None:
    """The images of some batches in one random order, in batches of the largest one's size.

    Args:
        batches: Tuples, lists or dicts of tensors that can be joined.
        seed: Of the order.

    Returns:
        None if the batches are of another kind: then nothing is known about a part of them.
    """
    columns = [_columns(batch) for batch in batches]
    if not columns or not all(columns) or len({_form(each) for each in columns}) > 1:
        return None
    whole = [torch.cat(parts) for parts in zip(*columns, strict=True)]
    order = torch.randperm(len(whole[0]), generator=torch.Generator().manual_seed(seed))
    size = max(len(each[0]) for each in columns)
    found = []
    for start in range(0, len(order), size):
        part = order[start : start + size]
        items = iter([column[part.to(column.device)] for column in whole])
        found.append(with_changed_tensors(batches[0], lambda _, items=items: next(items)))  # type: ignore[misc]
    return found


def _columns(batch: Any) -> list[Tensor]:
    """The tensors of a batch, one row an image; none of a batch of another kind."""
    items = list(batch.values()) if isinstance(batch, dict) else batch
    if not isinstance(items, tuple | list) or not items:
        return []
    tensors = [each for each in items if isinstance(each, Tensor) and each.ndim]
    return tensors if len(tensors) == len(items) and len({len(each) for each in tensors}) == 1 else []


def _form(columns: Sequence[Tensor]) -> tuple[Any, ...]:
    return tuple((each.shape[1:], each.dtype, each.device) for each in columns)


def _parts(images: Sequence[Any]) -> list[tuple[int, list[Any]]]:
    """(Images up to here, batches since the last look), the last part with all images."""
    count = sum(len(_columns(batch)[0]) for batch in images)
    ends = [end for share in _LOOKS if (end := round(share * count)) >= _FEWEST]
    parts, first = [], 0
    for end in [*ends, count]:
        parts.append((end, _between(images, first, end)))
        first = end
    return parts


def _between(images: Sequence[Any], first: int, end: int) -> list[Any]:
    """The images number `first` up to `end`, in batches."""
    found, start = [], 0
    for batch in images:
        size = len(_columns(batch)[0])
        low, high = max(first - start, 0), min(end - start, size)
        if low < high:
            found.append(with_changed_tensors(batch, lambda t, low=low, high=high: t[low:high]))  # type: ignore[misc]
        start += size
    return found


def _mean(answers: Tensor) -> float:
    return int(answers.sum()) / len(answers)

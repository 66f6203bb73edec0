"""Which exits to take and from which confidence on: solved exactly from answers that are kept of the search split."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Answers",
    "Choice",
    "Limits",
    "PathTimes",
    "Reach",
    "Rows",
    "Times",
    "choices_of",
    "leaving_at",
    "loss_bound",
    "most_accurate",
    "solved",
]

NEVER = 2.0
"""A threshold that no confidence reaches."""

LEVELS = 41
"""Thresholds that are tried at each exit: so many quantiles of its confidences."""

Z = 3.75
"""Standard errors between the estimated loss and its bound: the choice is among thousands of thresholds, of which the
luckiest is taken. With three of them promises of a quarter and half a point were broken in 9 and 8 % of 100 splits,
with these in 1 and 2 % (`benchmarks/exit_rules.py`)."""

_NORMAL_FROM = 2000  # samples; of fewer the bound is that of binomial counts

Floats = NDArray[np.float64]


class Rows(Protocol):
    """Confidences at places: an array, or what is computed once it is known which places are exits."""

    def __getitem__(self, places: list[int]) -> Floats:
        """Of some places, ascending, (exits, inputs)."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What every head, and the network itself, answer to the same inputs.

    Attributes:
        confidences: Kind of confidence -> (places, inputs), or what gives the rows of some places.
        right: Whether each answer is right, bool (places + 1, inputs); the network's own last.
        labels: The class of each input, int64 (inputs,); None where nobody asks for it.
        reference: Whether the network that losses count from is right, bool (inputs,), where that is another one than
            the one with exits; None where it is the same.
    """

    confidences: Mapping[str, Rows]
    right: NDArray[np.bool_]
    labels: NDArray[np.int64] | None = None
    reference: NDArray[np.bool_] | None = None

    @property
    def dense(self) -> NDArray[np.bool_]:
        """Whether the network that losses count from is right, bool (inputs,)."""
        return self.right[-1] if self.reference is None else self.reference

    def sure(self, kind: str, places: Sequence[int]) -> Floats:
        """Confidences of a kind where some places are exits, (exits, inputs)."""
        return self.confidences[kind][list(places)]

    def only(self, kinds: Collection[str]) -> Answers:
        """The same with some kinds of confidence."""
        kept = {name: rows for name, rows in self.confidences.items() if name in kinds}
        return Answers(kept, self.right, self.labels, self.reference)


class Reach(Protocol):
    """What can be reached on the device at best."""

    @property
    def dense(self) -> float:
        """Milliseconds of the network itself."""

    @property
    def least(self) -> float:
        """The shortest path of all."""

    @property
    def least_worst(self) -> float:
        """The least that a longest path can take."""


class Times(Reach, Protocol):
    """What paths cost on the device, whatever they are."""

    def of(self, places: Sequence[int]) -> Floats:
        """Milliseconds of each path where some places are used, in order; the path to the end last."""


@dataclass(frozen=True)
class PathTimes:
    """What leaving at a place costs on the device, as measured.

    Attributes:
        dense: Milliseconds of the network that shares are of.
        leaves: Of an input that leaves at each place, no other exit being there.
        passed: What an exit adds to the time of an input that goes on.
        whole: Milliseconds of the network with all exits shut, heads left out; None where it is the dense one.
    """

    dense: float
    leaves: tuple[float, ...]
    passed: tuple[float, ...]
    whole: float | None = None

    @property
    def end(self) -> float:
        """Of an input that meets no exit."""
        return self.dense if self.whole is None else self.whole

    @property
    def least(self) -> float:
        """The shortest path of all."""
        return min(self.leaves)

    @property
    def least_worst(self) -> float:
        """The least that a longest path can take: one exit is passed."""
        return self.end + min(self.passed)

    def of(self, places: Sequence[int]) -> Floats:
        """Milliseconds of each path with exits at some places, in order; the path to the end last."""
        before = np.cumsum([0.0, *(self.passed[place] for place in places)])
        path: Floats = before + np.array([*(self.leaves[place] for place in places), self.end])
        return path


@dataclass(frozen=True)
class Limits:
    """What a choice must keep.

    Attributes:
        loss: Largest loss of accuracy, a fraction, that the bound may reach.
        worst: Longest path, in milliseconds.
        p95: The time that 95 % of the inputs may not exceed, in milliseconds; None for any.
        exits: Most exits.
        errors: Standard errors between the estimated loss and its bound.
    """

    loss: float
    worst: float
    p95: float | None = None
    exits: int = 3
    errors: float = Z


@dataclass(frozen=True)
class Choice:
    """Exits with their thresholds.

    Attributes:
        places: By number.
        confidence: Its kind.
        thresholds: An input leaves at the first exit whose confidence is at least this.
        shares: Of the inputs on each path, the one to the end last.
        mean_ms: Expected time of a call.
        loss: Accuracy lost on these inputs, a fraction; negative where accuracy is gained.
        bound: What the loss on new inputs of the same kind will not exceed.
    """

    places: tuple[int, ...]
    confidence: str
    thresholds: tuple[float, ...]
    shares: tuple[float, ...]
    mean_ms: float
    loss: float
    bound: float


def leaving_at(confidences: Floats, thresholds: Sequence[float]) -> NDArray[np.int64]:
    """The exit that each input takes, by number, the end last; NaN never leaves.

    Args:
        confidences: (exits, inputs).
        thresholds: One an exit.
    """
    leaves = confidences >= np.asarray(thresholds, dtype=float)[:, None]
    end = np.ones((1, confidences.shape[1]), dtype=bool)
    found: NDArray[np.int64] = np.concatenate([leaves, end]).argmax(0)
    return found


def loss_bound(lost: Any, gained: Any, inputs: int, z: float = Z) -> Any:
    """An upper confidence bound of the accuracy lost, from the inputs that only one of two networks gets right.

    The comparison is paired: inputs on which both are right, or both wrong, say nothing and add no noise. From 2,000
    inputs on the difference counts as normal; of fewer the two counts are bounded as binomial ones (Clopper and
    Pearson), half the risk each.

    Args:
        lost: Inputs that the whole network alone gets right; a number or an array.
        gained: Inputs that the early exits alone get right.
        inputs: All inputs.
        z: Standard errors, or for few inputs the risk that a normal variable exceeds so many.

    Returns:
        A fraction, of the same shape.
    """
    lost, gained = np.asarray(lost), np.asarray(gained)
    if inputs >= _NORMAL_FROM:
        difference = (lost - gained) / inputs
        # One event more than was seen: none seen does not prove that there is none.
        variance = np.maximum((lost + gained + 1) / inputs - difference**2, 0)
        return difference + z * np.sqrt(variance / inputs)
    from scipy.stats import beta, norm

    risk = float(norm.sf(z)) / 2
    counts = np.arange(inputs + 1)
    upper = np.append(beta.ppf(1 - risk, counts[:-1] + 1, inputs - counts[:-1]), 1.0)
    lower = np.insert(beta.ppf(risk, counts[1:], inputs - counts[1:] + 1), 0, 0.0)
    return upper[lost] - lower[gained]


def choices_of(answers: Answers, times: Times, limits: Limits) -> Iterator[Choice]:
    """For every set of places and kind of confidence the thresholds of least expected time within the limits."""
    count = len(answers.right) - 1
    for size in range(1, min(limits.exits, count) + 1):
        for places in itertools.combinations(range(count), size):
            path = times.of(places)
            if path.max() > limits.worst:
                continue
            for kind in answers.confidences:
                found = solved(answers, kind, places, path, limits)
                if found is not None:
                    yield found


def solved(answers: Answers, kind: str, places: Sequence[int], path: Floats, limits: Limits) -> Choice | None:
    """The thresholds of least expected time for given exits; None if none keeps the limits.

    Args:
        answers: Of the search split.
        kind: Of confidence.
        places: The exits, ascending.
        path: Milliseconds of each path, that to the end last.
        limits: On loss and p95; the longest path is given.
    """
    found = _best(answers, kind, places, path, limits)
    return None if found is None else Choice(tuple(places), kind, *found)


def most_accurate(answers: Answers, kind: str, places: Sequence[int], path: Floats, most: float) -> Choice | None:
    """The thresholds with which most inputs are right, of those whose mean is short enough; None if none is.

    Args:
        answers: Of the search split.
        kind: Of confidence.
        places: The exits, ascending.
        path: Milliseconds of each path, that to the end last.
        most: Longest mean, in milliseconds.
    """
    grid = _Grid.of(answers, kind, places)
    mean = np.tensordot(path, grid.shares, 1)
    if not (mean <= most).any():
        return None
    at = np.unravel_index(np.where(mean <= most, grid.lost - grid.gained, np.inf).argmin(), mean.shape)
    return Choice(tuple(places), kind, *grid.at(at, mean))


def _best(
    answers: Answers, kind: str, places: Sequence[int], path: Floats, limits: Limits
) -> tuple[tuple[float, ...], tuple[float, ...], float, float, float] | None:
    """Thresholds, shares, mean, loss and bound of the best tuple on the grid; None if none is within the limits."""
    grid = _Grid.of(answers, kind, places)
    mean = np.tensordot(path, grid.shares, 1)
    allowed = loss_bound(grid.lost, grid.gained, grid.inputs, limits.errors) <= limits.loss
    if limits.p95 is not None:
        allowed &= np.tensordot((path > limits.p95).astype(float), grid.shares, 1) <= 0.05
    if not allowed.any():
        return None
    return grid.at(np.unravel_index(np.where(allowed, mean, np.inf).argmin(), mean.shape), mean, limits.errors)


@dataclass(frozen=True, eq=False)
class _Grid:
    """What every tuple of thresholds on a grid does.

    Attributes:
        levels: The thresholds of each exit, ascending; one further each is never reached.
        shares: Of the inputs on each path, (exits + 1, *levels + 1).
        lost: Inputs that the network alone gets right, of the shape levels + 1.
        gained: Inputs that only the early exits get right.
        inputs: All.
    """

    levels: list[Floats]
    shares: Floats
    lost: NDArray[np.int64]
    gained: NDArray[np.int64]
    inputs: int

    @classmethod
    def of(cls, answers: Answers, kind: str, places: Sequence[int]) -> _Grid:
        """Count every tuple."""
        confidences, inputs = answers.sure(kind, places), answers.right.shape[1]
        grids = [_grid(row) for row in confidences]
        levels = np.stack(
            [np.where(np.isnan(row), 0, np.searchsorted(grid, row, "right")) for row, grid in _rows(confidences, grids)]
        )
        counts, lost, gained = _tables(levels, answers, places, [len(grid) for grid in grids])
        return cls(grids, counts / inputs, lost, gained, inputs)

    def at(
        self, place: tuple[Any, ...], mean: Floats, errors: float = Z
    ) -> tuple[tuple[float, ...], tuple[float, ...], float, float, float]:
        """Thresholds, shares, mean, loss and bound of one tuple."""
        thresholds = tuple(
            float(grid[number]) if number < len(grid) else NEVER
            for grid, number in zip(self.levels, place, strict=True)
        )
        lost, gained = self.lost[place], self.gained[place]
        bound = float(loss_bound(lost, gained, self.inputs, errors))
        shares = tuple(float(share[place]) for share in self.shares)
        return thresholds, shares, float(mean[place]), float((lost - gained) / self.inputs), bound


def _rows(confidences: Floats, grids: Sequence[Floats]) -> Iterator[tuple[Floats, Floats]]:
    return zip(confidences, grids, strict=True)


def _grid(confidences: Floats) -> Floats:
    """Quantiles of an exit's confidences, ascending; the threshold that nothing reaches is not among them."""
    finite = confidences[np.isfinite(confidences)]
    if not len(finite):
        return np.array([1.0])
    found: Floats = np.unique(np.quantile(finite, np.linspace(0, 1, LEVELS), method="higher"))
    return found


def _tables(
    levels: NDArray[np.int64], answers: Answers, places: Sequence[int], sizes: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """For every tuple of thresholds the inputs on each path, and those lost and gained by leaving early.

    An input of level l at an exit leaves there under the thresholds 0 to l - 1 of its grid. So the inputs that leave
    at the second exit under (s, t) are those with a first level of at most s and a second above t: a sum over a corner
    of a histogram.

    Args:
        levels: (exits, inputs), 0 to the grid's length.
        answers: Who is right, and what losses count from.
        places: The exits.
        sizes: Lengths of the grids; one further threshold each is never reached.

    Returns:
        int64 (exits + 1, *grids + 1), and two of shape grids + 1.
    """
    exits, right, dense = len(places), answers.right, answers.dense
    shape = tuple(size + 1 for size in sizes)
    counts = np.zeros((exits + 1, *shape), dtype=np.int64)
    lost, gained = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)

    def leaving(number: int, chosen: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        found = _leaving(levels[: number + 1], chosen, shape[: number + 1])
        return found.reshape(*shape[: number + 1], *[1] * (exits - number - 1))

    for number, place in enumerate(places):
        counts[number] += leaving(number, None)
        lost += leaving(number, dense & ~right[place])
        gained += leaving(number, ~dense & right[place])
    counts[exits] = right.shape[1] - counts[:exits].sum(0)
    if answers.reference is not None:  # else those who go to the end lose nothing
        for at_end, into in ((dense & ~right[-1], lost), (~dense & right[-1], gained)):
            into += int(at_end.sum()) - sum(leaving(number, at_end) for number in range(exits))
    return counts, lost, gained


def _leaving(levels: NDArray[np.int64], chosen: NDArray[np.bool_] | None, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Of the chosen inputs those that pass all exits but the last of these, and leave there, by thresholds."""
    if chosen is not None:
        levels = levels[:, chosen]
    flat = np.ravel_multi_index(tuple(levels), shape)
    histogram = np.bincount(flat, minlength=math.prod(shape)).reshape(shape)
    for axis in range(len(shape) - 1):
        histogram = histogram.cumsum(axis)  # level <= threshold: it passes
    reached = np.flip(np.flip(histogram, -1).cumsum(-1), -1)  # level >= l
    leaving = np.zeros_like(reached)
    leaving[..., :-1] = reached[..., 1:]  # level > threshold: it leaves
    return leaving

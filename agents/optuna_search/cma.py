"""CMA-ES with margin (Hamano et al., GECCO 2022) over numbered options, learning from executed points.

Optuna's own CMA-ES keeps a pickle of its optimiser in the study and learns from what it asked for. This one keeps
nothing: it plays the study's trials again, each with its own seed, which takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from cmaes import CMAwM
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

__all__ = ["CmaSampler"]

_SIGMA = 0.2  # first standard deviation, where a decision's options lie from 0 to 1
_BEST = 0.2  # share of the warm-up whose mean the distribution starts from

Point = NDArray[np.float64]


class CmaSampler(BaseSampler):
    """CMA-ES for studies whose trials may have run otherwise than it asked.

    Where a trial ran as asked, the optimiser learns from the continuous sample behind it, as CMA-ES with margin does;
    where the action mask changed it, from the executed point.

    Args:
        seed: Seed of a trial, by its number.
        warmup: How many trials come first that it did not choose; it starts from the best of them.
    """

    def __init__(self, seed: Callable[[int], int], warmup: int) -> None:
        self._seed, self._warmup = seed, warmup

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every parameter of the trials so far that leaves a choice; none before the first trial."""
        finished = _finished(study)
        known = finished[0].distributions if finished else {}
        return {
            name: each for name, each in known.items() if isinstance(each, IntDistribution) and each.low < each.high
        }

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Option numbers of all parameters at once."""
        if not search_space:
            return {}
        names = list(search_space)
        lows, spans = _range(list(search_space.values()))
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        trials = [(t.number, (_values(t, names) - lows) / spans, sign * float(t.value)) for t in _finished(study)]  # type: ignore[arg-type]  # finished
        first, own = trials[: self._warmup], trials[self._warmup :]
        optimiser = self._started([(x, y) for _, x, y in first], spans)
        generation: list[tuple[Point, float]] = []
        for number, executed, value in own:
            optimiser.reseed_rng(self._seed(number))
            asked, sample = optimiser.ask()
            generation.append((sample if np.allclose(asked, executed) else executed, value))
            if len(generation) == optimiser.population_size:
                optimiser.tell(generation)
                generation = []
        optimiser.reseed_rng(self._seed(trial.number))
        asked, _ = optimiser.ask()
        options = np.rint(asked * spans + lows).astype(int).tolist()
        return dict(zip(names, options, strict=True))

    def _started(self, first: Sequence[tuple[Point, float]], spans: Point) -> CMAwM:
        dimensions = len(spans)
        best = sorted(first, key=lambda pair: pair[1])[: max(1, round(_BEST * len(first)))]
        mean = np.mean([x for x, _ in best], axis=0) if best else np.full(dimensions, 0.5)
        bounds = np.tile([0.0, 1.0], (dimensions, 1))
        return CMAwM(mean=mean, sigma=_SIGMA, bounds=bounds, steps=1 / spans, seed=self._seed(0))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A parameter without a choice, or before the first trial: anything."""
        assert isinstance(param_distribution, IntDistribution)
        generator = np.random.default_rng([self._seed(trial.number), *param_name.encode()])
        return int(generator.integers(param_distribution.low, param_distribution.high + 1))


def _finished(study: Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _range(distributions: Sequence[BaseDistribution]) -> tuple[Point, Point]:
    """Lowest option numbers, and how many steps there are to the highest, each of shape (D,)."""
    pairs = [(each.low, each.high - each.low) for each in distributions if isinstance(each, IntDistribution)]
    lows, spans = zip(*pairs, strict=True)
    return np.asarray(lows, dtype=np.float64), np.asarray(spans, dtype=np.float64)


def _values(trial: FrozenTrial, names: Sequence[str]) -> Point:
    return np.asarray([trial.params[name] for name in names], dtype=np.float64)

"""Agents against each other at an equal number of evaluations: best score so far, from a cold and from a warm start.

    python benchmarks/solvers.py --out solvers --like runs/some-search
    python benchmarks/solvers.py --out solvers --report          # what has been run so far
    python benchmarks/solvers.py --out solvers --like runs/some-search --predicted 1000 --seeds 0,1,2   # in minutes

Every agent searches the same network under the same budget, by the same score: all images of the search split's part
that episodes have (no racing), candidates' weights as in a search. Cold is without solvers' answers; warm starts with
them, as a search does. Scores are deterministic, so each policy is scored once for all agents, and kept in the folder;
an agent's evaluations are counted as if it were alone: its episodes, repeated policies included. The scores of single
cuts that the solvers, and through their answers the warm starts, need beforehand are stated beside them.
One JSON file a search, so that a run goes on where it was stopped; several processes may share the folder.

With --predicted N policies are not scored but predicted, by a Gaussian process of the logarithms of the widths that
is fitted to the scores in the folder (where there are fewer than N, random policies are scored first). A tenth of them
is held out of another fit, which says how good the predictions are. The best policy of every search is really scored.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from autoprune import agents
from autoprune.agents.solvers.base import SolverAgent
from autoprune.envs import Curves, PruningEnv, ScoreMemory, amc_features, largest_uniform, spend_budget
from autoprune.pipeline.jobs.lifecycle import opened_run
from autoprune.pipeline.jobs.search import prepare
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.reporter import Silent
from autoprune.pipeline.search.candidates import scorer_of
from autoprune.pipeline.search.single_cuts import SingleCuts, score_single_cuts
from autoprune.pipeline.task import load_task
from autoprune.run.experiment import Experiment
from autoprune.space import SearchSpace
from autoprune.techniques.scoring import Scorer

AGENTS = "random,evolution,optuna,ddpg,exact,greedy,netadapt"
SOLVERS = ("exact", "greedy", "netadapt")
SHOWN = (1, 10, 25, 50, 100, 150, 200, 300)
POINTS = 4  # options of each decision that are scored alone, as in a search


@dataclass(frozen=True)
class Setting:
    """What is compared."""

    out: Path
    experiment: Mapping[str, str]
    like: Path | None
    share: int
    agents: tuple[str, ...]
    starts: tuple[str, ...]
    seeds: tuple[int, ...]
    episodes: int
    predicted: int = 0


class Scores:
    """Scores in the folder, of any process; each policy is scored once."""

    def __init__(self, folder: Path, score: Scorer) -> None:
        self._score, self._own = score, folder / f"scores-{os.getpid()}.jsonl"
        rows = [json.loads(line) for path in folder.glob("scores-*.jsonl") for line in path.read_text().splitlines()]
        self._known = {_key(row["choices"]): float(row["score"]) for row in rows}

    def __call__(self, choices: Mapping[str, int]) -> float:
        """The score of a policy, complete or not."""
        key = _key(choices)
        if key not in self._known:
            self._known[key] = self._score(choices)
            with self._own.open("a") as file:
                file.write(json.dumps({"choices": dict(choices), "score": self._known[key]}) + "\n")
        return self._known[key]

    @property
    def known(self) -> list[tuple[dict[str, int], float]]:
        """Every policy that has a score, in one order whoever scored it."""
        return [(dict(key), score) for key, score in sorted(self._known.items())]


class Predicted:
    """Scores predicted from others: a Gaussian process with a squared-exponential kernel on log widths.

    Args:
        space: The decisions.
        known: Policies and their scores, at least two; those of the same scale alone.
    """

    LENGTH, VARIANCE, NOISE = 2.0, 0.01, 1e-4

    def __init__(self, space: SearchSpace, known: Sequence[tuple[Mapping[str, int], float]]) -> None:
        self._space = space
        self._rows = np.stack([self._row(choices) for choices, _ in known])
        values = np.array([score for _, score in known])
        self._mean = float(values.mean())
        kernel = self._kernel(self._rows) + self.NOISE * np.eye(len(values))
        self._weights = np.linalg.solve(kernel, values - self._mean)

    def __call__(self, choices: Mapping[str, int]) -> float:
        """The predicted score of a policy."""
        return self._mean + float(self._kernel(self._row(choices)[None])[0] @ self._weights)

    def _row(self, choices: Mapping[str, int]) -> np.ndarray:
        full = self._space.complete(choices)
        return np.log([full[d.name] / d.width for d in self._space.decisions])

    def _kernel(self, rows: np.ndarray) -> np.ndarray:
        distances = ((rows[:, None] - self._rows[None]) ** 2).sum(axis=-1)
        return self.VARIANCE * np.exp(-distances / (2 * self.LENGTH**2))


def predictor(problem: Problem, scores: Scores, count: int) -> Predicted:
    """A predictor from `count` scores at least; says what it is worth on a tenth of them that it has not seen."""
    number, cost = 0, problem.cost

    def within() -> list[tuple[dict[str, int], float]]:
        return [(choices, score) for choices, score in scores.known if cost.cost(choices) <= problem.limit]

    while len(known := within()) < count:
        rng = np.random.default_rng([2**20, number])
        scores(spend_budget(cost, problem.limit, rng, fallback=cost.least()[1]))
        number += 1
    held = np.random.default_rng(0).permutation(len(known))[: len(known) // 10].tolist()
    seen = Predicted(problem.space, [each for n, each in enumerate(known) if n not in held])
    pairs = np.array([(seen(known[n][0]), known[n][1]) for n in held])
    error, correlation = np.sqrt(np.mean((pairs[:, 0] - pairs[:, 1]) ** 2)), np.corrcoef(pairs.T)[0, 1]
    print(
        f"predicted from {len(known)} scores: off by {100 * error:.2f} points (root mean square), r = {correlation:.3f}"
    )
    return Predicted(problem.space, known)


def _key(choices: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(choices.items()))


@contextmanager
def problem_of(setting: Setting) -> Iterator[Problem]:
    """The dense network, ranked, under the budget; each process has a run of its own."""
    place = {"run": str(setting.out / f"run-{os.getpid()}"), "latency": f"{setting.share}%"}
    experiment = Experiment.build({**setting.experiment, **place})
    with opened_run(experiment, resume=True, like=setting.like) as folder:
        yield prepare(load_task(experiment), folder, Silent())


def environment(problem: Problem, score: Scores | Predicted, cuts: SingleCuts) -> PruningEnv:
    """A fresh environment, whose memory knows nothing."""
    features = amc_features(problem.analysis, problem.space)
    curves: Curves = cuts.curves(problem.space, problem.task.scored_as)
    return PruningEnv(problem.space, problem.cost, problem.limit, ScoreMemory(score), features, curves=curves)


def answers(problem: Problem, env: PruningEnv) -> list[dict[str, int]]:
    """What warm starts play first: the uniform policy and each solver's answer."""
    uniform = largest_uniform(problem.cost, problem.limit)
    solvers = (agents.get(name)(env, episodes=1) for name in SOLVERS)
    found = [agent.answers()[0] for agent in solvers if isinstance(agent, SolverAgent)]
    return [dict(key) for key in dict.fromkeys(_key(each) for each in ([uniform] if uniform else []) + found)]


def search(setting: Setting) -> None:
    """Every search that has no file yet, seed by seed."""
    setting.out.mkdir(parents=True, exist_ok=True)
    jobs = [(a, start, seed) for seed in setting.seeds for start in setting.starts for a in setting.agents]
    with problem_of(setting) as problem:
        scores = Scores(setting.out, scorer_of(problem))
        cuts = score_single_cuts(problem, scores, POINTS, Silent())
        score = predictor(problem, scores, setting.predicted) if setting.predicted else scores
        for name, start, seed in jobs:
            path = setting.out / f"{name.replace('/', '-')}_{start}_{seed}.json"
            if path.exists() or (start == "warm" and not agents.get(name).uses_seed_policies):
                continue
            env, began = environment(problem, score, cuts), time.process_time()
            seed_policies = answers(problem, env) if start == "warm" else ()
            made = agents.get(name)(
                env, episodes=setting.episodes, seed=seed, seed_policies=seed_policies, **agents.options_of(name)
            )
            records = agents.run_search(made, setting.episodes, lambda _: None)
            beside = path.with_suffix(".part")
            row = {"scores": [r.value for r in records], "cpu_seconds": time.process_time() - began}
            row |= {"really": scores(agents.best(records)[0].choices)} if setting.predicted else {}
            beside.write_text(json.dumps(row))
            beside.replace(path)
            print(name, start, seed, f"{max(row['scores']):.4f}", f"{row['cpu_seconds']:.0f} CPU s", flush=True)


def report(out: Path) -> str:
    """Mean over the seeds of the best score so far, and when an agent passes random's best and reaches exact's."""
    found: dict[tuple[str, str], dict[int, np.ndarray]] = {}
    really: dict[tuple[str, str], list[float]] = {}
    for path in sorted(out.glob("*_*_*.json")):
        name, start, seed = path.stem.rsplit("_", 2)
        row = json.loads(path.read_text())
        best = np.maximum.accumulate(row["scores"])
        really.setdefault((name, start), []).append(row.get("really", row["scores"][int(np.argmax(row["scores"]))]))
        found.setdefault((name, start), {})[int(seed)] = best
    count = max((len(best) for each in found.values() for best in each.values()), default=0)
    shown = [n for n in SHOWN if n <= count]
    heads = "  ".join(f"{n:>6}" for n in shown)
    lines = [f"agent                 start  seeds  {heads}  really  passes random's best at  reaches exact's best at"]
    for (name, start), runs in sorted(found.items(), key=lambda item: -_mean(item[1], count)):
        values = "  ".join(f"{100 * _mean(runs, n):6.2f}" for n in shown)
        passes = [_first(best, _last(found, "random", seed), over=True) for seed, best in runs.items()]
        reaches = [_first(best, _last(found, "exact", seed), over=False) for seed, best in runs.items()]
        values += f"  {100 * float(np.mean(really[name, start])):6.2f}"
        lines.append(f"{name:20}  {start:5}  {len(runs):5}  {values}  {_places(passes):>23}  {_places(reaches):>23}")
    return "\n".join(lines)


def _mean(runs: Mapping[int, np.ndarray], n: int) -> float:
    return float(np.mean([best[min(n, len(best)) - 1] for best in runs.values()]))


def _last(found: Mapping[tuple[str, str], Mapping[int, np.ndarray]], name: str, seed: int) -> float:
    best = found.get((name, "cold"), {}).get(seed)
    return float("inf") if best is None else float(best[-1])


def _first(best: np.ndarray, wanted: float, *, over: bool) -> int | None:
    there = best > wanted if over else best >= wanted
    return int(np.argmax(there)) + 1 if there.any() else None


def _places(places: Sequence[int | None]) -> str:
    return ", ".join("never" if place is None else str(place) for place in places)


def main() -> None:
    """Search what is missing, then report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--target", default="onnxruntime")
    parser.add_argument("--like", type=Path, help="run whose latency table is taken over")
    parser.add_argument("--share", type=int, default=30, help="of the dense latency, in percent")
    parser.add_argument("--agents", default=AGENTS)
    parser.add_argument("--starts", default="cold,warm")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--predicted", type=int, default=0, help="predict scores from at least so many of them")
    parser.add_argument("--report", action="store_true", help="only report")
    given = parser.parse_args()
    experiment = {n: getattr(given, n) for n in ("model", "data", "target")}
    names, starts = tuple(given.agents.split(",")), tuple(given.starts.split(","))
    seeds = tuple(map(int, given.seeds.split(",")))
    setting = Setting(
        given.out.absolute(), experiment, given.like, given.share, names, starts, seeds, given.episodes, given.predicted
    )
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "0")) or torch.get_num_threads())
    if not given.report:
        search(setting)
    print(report(setting.out))


if __name__ == "__main__":
    main()

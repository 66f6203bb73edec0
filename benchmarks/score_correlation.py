"""How well the score of each kind of candidates' weights foretells accuracy after fine-tuning.

    python benchmarks/score_correlation.py --out scores --images 6000 --epochs 2
    python benchmarks/score_correlation.py --out scores --report          # what has been run so far

For every share of the budget, random policies that spend it (the first one is uniform) are scored with every kind of
weights on the search split, then fine-tuned from the same start (`--start`) by the same short recipe on the same part
of the training images, and scored on the test split. One JSON file a policy, so that a run goes on where it was
stopped; the network of all widths is trained once, in the run's folder. Reported are Kendall's and Spearman's rank
correlation with the result, the seconds that a score takes and those that fitting takes once.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau, spearmanr
from torch import Tensor

from autoprune.envs import largest_uniform, spend_budget
from autoprune.evaluation import accuracy
from autoprune.pipeline.finish.all_widths import train_all_widths
from autoprune.pipeline.jobs.lifecycle import opened_run
from autoprune.pipeline.jobs.search import prepare
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.reporter import Silent
from autoprune.pipeline.task import load_task
from autoprune.reconstruction.candidate_weights import CandidateWeights, Fitting
from autoprune.reconstruction.registry import CANDIDATE_WEIGHTS
from autoprune.run.experiment import Experiment
from autoprune.techniques.scoring import Scorer
from autoprune.training import Trainer
from autoprune.training.epochs import InEpochs


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    out: Path
    experiment: Mapping[str, Any]
    budget: str
    shares: tuple[int, ...]
    kinds: tuple[str, ...]
    start: str
    policies: int
    images: int
    epochs: int


@contextmanager
def problem_at(share: int, setting: Setting) -> Iterator[Problem]:
    """The dense network, ranked, under a share of the budget; its training images cut down to the part that is used."""
    run = {"run": str(setting.out / f"run-{share}"), setting.budget: f"{share}%", "candidate_weights": setting.start}
    experiment = Experiment.build({**setting.experiment, **run})
    first = setting.out / f"run-{setting.shares[0]}"  # what does not depend on the budget is taken over from there
    with opened_run(experiment, resume=True, like=first if first.exists() else None) as folder:
        task = load_task(experiment)
        train: Any = task.data.train
        chosen = torch.randperm(len(train.images), generator=torch.Generator().manual_seed(0))[: setting.images]
        train.images, train.labels = train.images[chosen], train.labels[chosen]
        yield prepare(task, folder, Silent())


def policies_of(problem: Problem, count: int) -> list[dict[str, int]]:
    """The uniform policy, then random ones that spend the budget; all different."""
    uniform = largest_uniform(problem.cost, problem.limit)
    least = problem.cost.least()[1]
    found = {} if uniform is None else {str(uniform): dict(uniform)}
    for number in range(50 * count):
        if len(found) >= count:
            break
        drawn = spend_budget(problem.cost, problem.limit, np.random.default_rng([0, number]), fallback=least)
        found.setdefault(str(drawn), dict(drawn))
    return list(found.values())


def scorers_of(problem: Problem, setting: Setting) -> tuple[dict[str, Scorer], dict[str, float]]:
    """A scorer for each kind of weights, and the seconds that fitting it took."""
    task = problem.task
    scorers, seconds = {}, {}

    def all_widths() -> Mapping[str, Tensor]:
        return train_all_widths(problem, Silent())

    for kind in setting.kinds:
        start = time.perf_counter()
        made: Callable[[Fitting], CandidateWeights] = CANDIDATE_WEIGHTS.get(kind)
        weights = made(Fitting(task.model, task.data.calibration, task.reader, all_widths))
        seconds[kind] = time.perf_counter() - start
        networks = problem.stack.candidates(task.model)
        scorers[kind] = Scorer(networks, weights, task.search_parts[0], task.score)
    return scorers, seconds


def fine_tuned(problem: Problem, choices: Mapping[str, int], setting: Setting) -> float:
    """Test accuracy after the fine-tuning that all policies get."""
    task, small = problem.task, problem.prepared(choices)
    recipe = problem.recipe.plain(setting.epochs, problem.experiment.seed)
    Trainer(small, InEpochs(task.data.train, first=100_003), recipe, teacher=task.model, reader=task.reader).run()
    return accuracy(small, task.data.test, bf16=False)


def measure(share: int, setting: Setting) -> None:
    """Every policy of a share that has no file yet."""
    folder = setting.out / str(share)
    folder.mkdir(parents=True, exist_ok=True)
    with problem_at(share, setting) as problem:
        scorers: dict[str, Scorer] = {}
        for number, choices in enumerate(policies_of(problem, setting.policies)):
            path = folder / f"{number:03}.json"
            if path.exists():
                continue
            if not scorers:
                scorers, seconds = scorers_of(problem, setting)
                kept = folder / "fitting.json"  # a training that is read back takes no time: the first figure counts
                kept.exists() or kept.write_text(json.dumps(seconds))
            row: dict[str, Any] = {"choices": choices, "scores": {}, "seconds": {}}
            for kind, scorer in scorers.items():
                start = time.perf_counter()
                row["scores"][kind] = scorer(choices)
                row["seconds"][kind] = time.perf_counter() - start
            row["finetuned"] = fine_tuned(problem, choices, setting)
            beside = path.with_suffix(".part")
            beside.write_text(json.dumps(row))
            beside.replace(path)
            print(
                share, number, {k: round(v, 4) for k, v in row["scores"].items()}, f"{row['finetuned']:.4f}", flush=True
            )


def report(out: Path) -> str:
    """A line for every share and kind of what is in the folder."""
    lines = ["share  weights        policies  Kendall  Spearman  mean score  s a score  s to fit"]
    for folder in sorted((each for each in out.iterdir() if each.name.isdigit()), key=lambda each: -int(each.name)):
        rows = [json.loads(path.read_text()) for path in sorted(folder.glob("[0-9]*.json"))]
        fitting = json.loads((folder / "fitting.json").read_text()) if rows else {}
        for kind in rows[0]["scores"] if rows else ():
            known = [row for row in rows if kind in row["scores"]]
            scores, results = [r["scores"][kind] for r in known], [r["finetuned"] for r in known]
            seconds = float(np.median([row["seconds"][kind] for row in known]))
            lines.append(
                f"{folder.name:>4}%  {kind:13}  {len(known):8}  {kendalltau(scores, results).statistic:7.2f}"
                f"  {spearmanr(scores, results).statistic:8.2f}  {100 * np.mean(scores):8.1f} %"
                f"  {seconds:9.2f}  {fitting.get(kind, float('nan')):8.1f}"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, then report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--data-dir")
    parser.add_argument("--train-epochs", type=int, help="of the dense training, where no weights ship")
    parser.add_argument("--budget", default="latency", choices=("latency", "flops", "params"))
    parser.add_argument("--target", default="onnxruntime")
    parser.add_argument("--criterion", default="l1")
    parser.add_argument("--shares", default="50,30")
    parser.add_argument("--kinds", default="recalibrated,reconstructed,elastic")
    parser.add_argument("--start", default="reconstructed", help="weights that every fine-tuning starts from")
    parser.add_argument("--policies", type=int, default=20)
    parser.add_argument("--images", type=int, default=6000, help="training images that are used")
    parser.add_argument("--epochs", type=int, default=2, help="of fine-tuning")
    parser.add_argument("--elastic-epochs", type=int, default=5)
    parser.add_argument("--report", action="store_true", help="only report")
    given = parser.parse_args()
    names = ("model", "data", "data_dir", "train_epochs", "target", "criterion", "elastic_epochs")
    experiment = {name: value for name in names if (value := getattr(given, name)) is not None}
    kinds, shares = tuple(given.kinds.split(",")), tuple(map(int, given.shares.split(",")))
    amounts = (given.start, given.policies, given.images, given.epochs)
    setting = Setting(given.out.absolute(), experiment, given.budget, shares, kinds, *amounts)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "0")) or torch.get_num_threads())
    if not given.report:
        for share in setting.shares:
            measure(share, setting)
    print(report(setting.out))


if __name__ == "__main__":
    main()

"""What candidates cost: processor seconds and time for many of them, and the share of forward passes.

    OMP_NUM_THREADS=1 python benchmarks/candidate_speed.py
    python benchmarks/candidate_speed.py --weights recalibrated --candidates 60
    python benchmarks/candidate_speed.py --processes 2          # one process, then two, as `--workers 2` scores

ResNet-20 on Fashion-MNIST with its shipped weights, random policies that spend 30 % of the multiply-accumulates,
scored as a search scores them: candidates' weights, then all images of the search split's part that episodes have
(`--fidelity full`), or as many as racing wants. Forward passes are the scoring and, of the candidates' weights, what
the passes take without them: the network is run once more on the same calibration images, which counts nowhere else.
With --processes N the same policies are scored on all images in rounds of 8, once in this process with one thread and
once by N processes of one thread; the scores have to be the same. The processor seconds of the processes include their
start.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from autoprune.cost.macs import macs_cost
from autoprune.criteria.ranking import ranking
from autoprune.data import load
from autoprune.envs import RacingMemory, ScoreMemory, spend_budget
from autoprune.evaluation import Judge, accuracy, right_answers
from autoprune.graph import analyse
from autoprune.models import load_weights, resnet20
from autoprune.models.inputs.reader import AS_IT_COMES
from autoprune.pipeline.task import shipped_weights, split_search_set
from autoprune.reconstruction.candidate_weights import CandidateWeights, Fitting, Slices
from autoprune.reconstruction.refit import IMAGES
from autoprune.reconstruction.registry import CANDIDATE_WEIGHTS
from autoprune.space import STRUCTURED
from autoprune.techniques.homes.base import Home, ScoreJob
from autoprune.techniques.homes.inline import Inline
from autoprune.techniques.homes.pool import Pool
from autoprune.techniques.racing import PartialScore, Race, shuffled
from autoprune.techniques.registry import techniques_of
from autoprune.techniques.scoring import Scorer, WholeScore
from autoprune.techniques.space import space_of
from autoprune.techniques.stack import Stack, StackCandidates


class Timed(CandidateWeights):
    """Other candidates' weights, and what they and their forward passes take."""

    def __init__(self, inner: CandidateWeights, images: torch.Tensor, *, refits: bool) -> None:
        self._inner, self._images, self._refits = inner, images, refits
        self.seconds = self.passes = 0.0

    def prepare(self, small: nn.Module, slices: Slices) -> None:
        """Prepare the network as the inner weights do."""
        start = time.process_time()
        self._inner.prepare(small, slices)
        between = time.process_time()
        self.seconds += between - start
        if self._refits:
            with torch.no_grad():
                small.eval()(self._images)
            self.passes += time.process_time() - between
        else:  # nothing but passes
            self.passes += between - start


@dataclass(frozen=True)
class Subject:
    """What is scored, and on what.

    Attributes:
        networks: Candidates of the trained network.
        policies: Random ones that spend the budget.
        batches: The search split's part that episodes have.
        calibration: Batches that candidates' weights are made from.
        kind: Makes the candidates' weights.
        model: The dense network.
    """

    networks: StackCandidates
    policies: list[dict[str, int]]
    batches: list[Any]
    calibration: list[Any]
    kind: Callable[[Fitting], CandidateWeights]
    model: nn.Module

    def weights(self) -> CandidateWeights:
        """Fresh candidates' weights, with whatever is made once for all candidates still to be made."""
        return self.kind(Fitting(self.model, self.calibration))


def subject(weights: str, count: int) -> Subject:
    """ResNet-20 on Fashion-MNIST, and `count` policies."""
    data, model = load("fashion-mnist", None), resnet20(in_channels=1).eval()
    shipped = shipped_weights("resnet20", "fashion-mnist")
    if shipped is None:
        raise SystemExit("the shipped weights are missing")
    load_weights(model, shipped)
    analysis = analyse(model, data.example)
    space = space_of(analysis, target="onnxruntime")
    cost = macs_cost(analysis, space)
    stack = Stack(techniques_of((STRUCTURED,)), analysis, space).with_fitted(STRUCTURED, ranking(model, analysis))
    policies = [
        spend_budget(cost, 0.3 * cost.dense, np.random.default_rng([0, number]), fallback=cost.least()[1])
        for number in range(count)
    ]
    batches, _ = split_search_set(data.search)
    kind: Callable[[Fitting], CandidateWeights] = CANDIDATE_WEIGHTS.get(weights)
    return Subject(stack.candidates(model), policies, list(batches), list(data.calibration), kind, model)


def profile(it: Subject, weights: str, finalists: int) -> None:
    """Print what candidates take, on all images and with racing."""
    images = torch.cat([batch[0] for batch in it.calibration])[:IMAGES]
    mixed = shuffled(it.batches)
    assert mixed is not None
    for fidelity in ("full", "racing"):
        timed = Timed(it.weights(), images, refits=weights == "reconstructed")
        scorer = Scorer(it.networks, timed, it.batches, accuracy)
        partial = PartialScore(scorer, mixed, right_answers, 0.01)
        race = RacingMemory(Race(Inline(partial), partial.count), finalists)
        memory = ScoreMemory(scorer) if fidelity == "full" else race
        start, cpu = time.perf_counter(), time.process_time()
        best = max(memory(choices) for choices in it.policies)
        extra = timed.passes if weights == "reconstructed" else 0.0
        took, processor = time.perf_counter() - start, time.process_time() - cpu - extra
        forward = 1 - (timed.seconds - min(timed.passes, timed.seconds)) / processor
        print(
            f"{fidelity}: {memory.evaluations} candidates, {took:.0f} s, of the processor {processor:.0f} s"
            f" ({processor / memory.evaluations:.2f} s each: weights {timed.seconds / memory.evaluations:.2f} s),"
            f" forward passes {forward:.0%}, best score {best:.2%}, load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


def against(weights: str, count: int, processes: int) -> None:
    """Print what one process of one thread and several of them take for the same policies."""
    torch.set_num_threads(1)
    it = subject(weights, count)
    judge = Judge(accuracy, AS_IT_COMES)
    score = WholeScore(Scorer(it.networks, it.weights(), it.batches, judge.score))
    jobs = [ScoreJob(choices) for choices in it.policies]
    found = []
    with TemporaryDirectory() as folder:
        for number in (1, processes):
            home = (
                Inline(score, threads=1) if number == 1 else Pool(score, number, Path(folder) / "score.pt", "ResNet-20")
            )
            start, cpu = time.perf_counter(), _processor_seconds()
            with home:
                found.append(_in_rounds(home, jobs))
                took = time.perf_counter() - start
            cpu = _processor_seconds() - cpu
            print(f"{number} processes: {count} candidates, {took:.0f} s, of the processor {cpu:.0f} s", flush=True)
    print("the scores are the same:", found[0] == found[1])


def _in_rounds(home: Home, jobs: Sequence[ScoreJob], batch: int = 8) -> list[float]:
    scores = []
    for first in range(0, len(jobs), batch):
        home.begin(jobs[first : first + batch])
        scores += [home.score(job).estimate.value for job in jobs[first : first + batch]]
    return scores


def _processor_seconds() -> float:
    """Of this process and of those that it has waited for."""
    return sum(each.ru_utime + each.ru_stime for each in map(getrusage, (RUSAGE_SELF, RUSAGE_CHILDREN)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=300)
    parser.add_argument("--weights", default="reconstructed", choices=("reconstructed", "recalibrated"))
    parser.add_argument("--finalists", type=int, default=6)
    parser.add_argument("--processes", type=int, help="compare so many processes with one")
    given = parser.parse_args()
    if given.processes:
        against(given.weights, given.candidates, given.processes)
        return
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "0")) or torch.get_num_threads())
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f} at the start")
    profile(subject(given.weights, given.candidates), given.weights, given.finalists)


if __name__ == "__main__":
    main()

"""What a study costs in each storage, and how many workers it takes: measured rows, and a simulation on paper.

    python -m benchmarks.storage journal:/tmp/study
    python -m benchmarks.storage sqlite:////tmp/study.db
    python -m benchmarks.storage postgresql+psycopg2://USER@HOST/DATABASE

Times are CPU seconds of this process, and wall seconds beside them, so that a busy machine does not change the first.
"""

from __future__ import annotations

import argparse
import time
import uuid
from collections.abc import Callable

import optuna
import torch

from autoprune.pipeline.search.shared.mirror import storage_of
from autoprune.run.score import Estimate
from autoprune.storage.board import Board
from autoprune.storage.registry import open_store
from autoprune.storage.urls import StorageUrl
from autoprune.techniques.homes.base import Scored, ScoreJob
from autoprune.techniques.homes.packing import job_to_json, key_of, scored_to_json

DECISIONS, IMAGES = 20, 6_000


def timed(what: str, count: int, work: Callable[[], None]) -> float:
    """Do it, and print what one of `count` took.

    Returns:
        CPU milliseconds of one.
    """
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"{what}: {1000 * cpu / count:.3f} ms CPU, {1000 * wall / count:.3f} ms wall each, {count / wall:,.0f}/s")
    return 1000 * cpu / count


def measured(url: str, count: int) -> tuple[float, float, float]:
    """CPU milliseconds of a worker's facts of one candidate, of the coordinator's for it, and of Optuna's trial."""
    study = f"benchmark-{uuid.uuid4().hex[:8]}"
    jobs = [ScoreJob({f"conv{d}": (n + d) % 64 for d in range(DECISIONS)}) for n in range(count)]
    rows = {key_of(job): job_to_json(job) for job in jobs}
    found = scored_to_json(Scored(Estimate(0.9), torch.rand(IMAGES) > 0.1, 0.5))
    with open_store(url, study) as store, open_store(url, study) as other:
        worker, coordinator = Board(store), Board(other)
        coordinator.begin({"id": "benchmark"})
        keys = list(rows)

        def publish() -> None:
            for first in range(0, count, 8):
                coordinator.write("wanted", jobs={key: rows[key] for key in keys[first : first + 8]})

        def work() -> None:
            for key in keys:
                worker.write("lease", key=key, worker="benchmark", seconds=60.0)
                worker.refresh()
                worker.write("result", key=key, worker="benchmark", scored=found)

        def collect() -> None:
            for _ in keys:
                coordinator.refresh()

        published = timed("published by the coordinator, in rounds of 8", count, publish)
        taken = timed("leased, read back and handed in by a worker", count, work)
        collected = timed("read by the coordinator", count, collect)
        timed(f"a study of {count} candidates opened", 1, Board(open_store(url, study)).refresh)
    return taken, published + collected, shown(url, study, min(count, 200))


def shown(url: str, study: str, count: int) -> float:
    """CPU milliseconds of one episode in Optuna's study, which the coordinator writes in the background."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kept = optuna.create_study(storage=storage_of(StorageUrl.parse(url)), study_name=study, directions=["maximize"] * 2)
    trials = [
        optuna.trial.create_trial(
            params={f"conv{d}": (n + d) % 64 for d in range(DECISIONS)},
            distributions={f"conv{d}": optuna.distributions.IntDistribution(0, 64) for d in range(DECISIONS)},
            values=[0.9, n],
            user_attrs={"episode": n, "agent": "benchmark", "reward": 0.9, "warmup": False},
            constraints={"flops<=50%": -0.01},
        )
        for n in range(count)
    ]
    return timed("an episode in Optuna's study", count, lambda: [kept.add_trial(trial) for trial in trials] and None)


def on_paper(
    worker_ms: float, coordinator_ms: float, trial_ms: float, workers: int, seconds: float, batch: int
) -> None:
    """Rows that so many workers would write, and which part gives way first.

    Args:
        worker_ms: CPU milliseconds of a worker's facts of one candidate.
        coordinator_ms: Of the coordinator's.
        trial_ms: Of an episode in Optuna's study.
        workers: How many.
        seconds: That scoring one candidate takes.
        batch: Candidates of a round.
    """
    busy = min(workers, batch)
    rate = busy / (seconds + worker_ms / 1000)
    print(
        f"{workers:,} workers, candidates of {seconds:g} s, rounds of {batch:,}: {rate:,.1f} candidates/s,"
        f" {2 * rate:,.1f} facts/s; a worker spends {worker_ms / 1000 / seconds:.2%} of its time on the study,"
        f" the coordinator {coordinator_ms / 1000 * rate:.1%} of a processor on facts and"
        f" {trial_ms / 1000 * rate:.0%} on Optuna's study"
    )


def main() -> None:
    """Measure one storage, then compute what it would take."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("storage")
    parser.add_argument("--candidates", type=int, default=1000)
    options = parser.parse_args()
    costs = measured(options.storage, options.candidates)
    for workers, batch in ((10, 16), (100, 128), (1000, 1024)):
        on_paper(*costs, workers, 2.0, batch)
        on_paper(*costs, workers, 60.0, batch)


if __name__ == "__main__":
    main()

"""Candidates in several processes: the scores of one process, whatever happens to the others."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from autoprune.cost.macs import macs_cost
from autoprune.criteria.ranking import ranking
from autoprune.envs import spend_budget
from autoprune.errors import InputError
from autoprune.evaluation import Judge, accuracy
from autoprune.graph import analyse
from autoprune.models.inputs.reader import AS_IT_COMES
from autoprune.reconstruction.candidate_weights import Fitting, Reconstructed
from autoprune.run.score import Estimate
from autoprune.space import STRUCTURED
from autoprune.techniques.homes.base import Scored, ScoreJob
from autoprune.techniques.homes.inline import Inline
from autoprune.techniques.homes.pool import Pool
from autoprune.techniques.racing import PartialScore, shuffled
from autoprune.techniques.registry import techniques_of
from autoprune.techniques.scoring import Scorer
from autoprune.techniques.space import space_of
from autoprune.techniques.stack import Stack
from tests.support.paths import importing
from tests.support.scores import Failing, Fatal
from tests.support.tiny_job import Tiny, images


def policies(count):
    """Random policies, and what scores them: a trained network's candidates, refitted, on images in random order."""
    torch.manual_seed(0)
    model = Tiny().eval()
    analysis = analyse(model, torch.zeros(1, 1, 8, 8))
    space = space_of(analysis)
    stack = Stack(techniques_of(("structured",)), analysis, space).with_fitted(STRUCTURED, ranking(model, analysis))
    pixels, labels = images(600, 1).tensors
    batches = list(zip(pixels.split(100), labels.split(100), strict=True))
    weights = Reconstructed(Fitting(model, batches[:2]))
    judge = Judge(accuracy, AS_IT_COMES)
    scorer = Scorer(stack.candidates(model), weights, batches, judge.score)
    score = PartialScore(scorer, shuffled(batches), judge.right_answers, 0.01)
    cost = macs_cost(analysis, space)
    drawn = [spend_budget(cost, 0.4 * cost.dense, np.random.default_rng(n)) for n in range(count)]
    return drawn, score


def gone(pid):
    """Whether a process has ended, within seconds."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def plain(found):
    return found.estimate, found.answers.tolist()


@pytest.mark.slow  # two processes import the whole engine; tests/pipeline/test_workers.py is the quick form
def test_scores_are_those_of_one_thread_here_and_nothing_is_left_behind(tmp_path):
    drawn, score = policies(6)
    here = Inline(score, threads=1)
    best = max((here.score(ScoreJob(choices)) for choices in drawn), key=lambda found: found.estimate.value)
    jobs = [ScoreJob(choices) for choices in drawn[:3]] + [ScoreJob(choices, best.answers) for choices in drawn[3:]]
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "score.pt").write_bytes(b"half of what a killed process wrote")
    with Pool(score, 2, tmp_path / "checkpoint" / "score.pt", "the network") as pool:
        pool.begin(jobs)
        assert [plain(pool.score(job)) for job in jobs] == [plain(here.score(job)) for job in jobs]
        pids = pool.pids
        assert len(set(pids)) == 2 and os.getpid() not in pids
    assert all(map(gone, pids)) and not any((tmp_path / "checkpoint").iterdir())
    assert plain(pool.score(jobs[0])) == plain(here.score(jobs[0]))  # closed: in this process


def test_what_a_dead_process_was_scoring_is_scored_again_and_failures_are_reported_here(tmp_path):
    flag = tmp_path / "go"
    with Pool(Failing(flag), 2, tmp_path / "score.pt", "the network") as pool:
        jobs = [ScoreJob({"n": n}) for n in (7, 1, 2, 13)]
        pool.begin(jobs)
        assert pool.score(jobs[1]).estimate.value == 1
        before = pool.pids
        os.kill(before[0], signal.SIGKILL)  # it waits with candidate 7
        flag.touch()
        assert [pool.score(job).estimate.value for job in (jobs[2], jobs[0])] == [2, 7]
        assert gone(before[0]) and len(pool.pids) == 2 and before[0] not in pool.pids
        with pytest.raises(InputError, match="thirteen cannot be scored"):
            pool.score(jobs[3])


def test_what_cannot_be_sent_is_refused_in_one_line(tmp_path):
    pool = Pool(lambda job: Scored(Estimate(1.0)), 2, tmp_path / "score.pt", "the network mine:net")
    with pytest.raises(InputError, match=r"--workers 2: the network mine:net .* use --workers 1$") as caught:
        pool.begin([ScoreJob({"n": 1})])
    assert "\n" not in str(caught.value) and not any(tmp_path.iterdir())


@pytest.mark.slow  # three processes in turn
def test_processes_that_die_again_and_again_end_the_search(tmp_path):
    with Pool(Fatal(), 1, tmp_path / "score.pt", "the network") as pool:
        job = ScoreJob({"n": 1})
        pool.begin([job])
        with pytest.raises(InputError, match=r"3 processes ended before they scored a candidate \(exit code 9"):
            pool.score(job)
        pids = pool.pids
    assert all(map(gone, pids))


ORPHANS = """
import sys, time
from pathlib import Path
from autoprune.techniques.homes.base import ScoreJob
from autoprune.techniques.homes.pool import Pool
from tests.support.scores import Failing
if __name__ == "__main__":
    pool = Pool(Failing(sys.argv[1]), 2, Path(sys.argv[2]), "the network")
    pool.begin([ScoreJob({"n": 1}), ScoreJob({"n": 2}), ScoreJob({"n": 7})])  # the last one takes until it is killed
    pool.score(ScoreJob({"n": 1}))
    pool.score(ScoreJob({"n": 2}))
    print(*pool.pids, flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_no_process_outlives_a_parent_that_is_killed(tmp_path):
    arguments = [sys.executable, "-c", ORPHANS, str(tmp_path / "go"), str(tmp_path / "score.pt")]
    with subprocess.Popen(arguments, env=importing(), stdout=subprocess.PIPE, text=True) as parent:
        pids = [int(word) for word in parent.stdout.readline().split()]
        parent.kill()
    assert len(pids) == 2 and all(map(gone, pids))

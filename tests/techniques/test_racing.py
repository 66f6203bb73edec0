"""Candidates that are given up early: how often wrongly, with what score, and that a resumed search decides alike."""

import pytest
import torch
from scipy.stats import binom, hypergeom

from autoprune.envs import RacingMemory
from autoprune.techniques.homes.inline import Inline
from autoprune.techniques.racing import PartialScore, Race, chance_at_most, shuffled

IMAGES = 800


class Answers:
    """Policies that are their answers: policy {"n": k} is right where row k says so."""

    def __init__(self, table):
        self.table, self.made = table, 0

    def network(self, choices):
        self.made += 1
        return self.table[choices["n"]]

    def right(self, network, batches):
        return network[torch.cat([batch[0] for batch in batches])]


def race(table, error=0.01, order=None):
    answers = Answers(table)
    images = [(each,) for each in (torch.arange(table.shape[1]) if order is None else order).split(100)]
    score = PartialScore(answers, images, answers.right, error)
    return Race(Inline(score), score.count)


def drawn(rates, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(len(rates), IMAGES, generator=draw) < torch.tensor(rates)[:, None]


@pytest.mark.parametrize("drawn_", [5, 17, 40, 120])
def test_the_bound_holds_however_many_images_differ(drawn_):
    """Whatever the policy wins of what differs in all, as long as it is no worse than its rival."""
    for wrong in (drawn_, 2 * drawn_, 20 * drawn_):
        for won in range(drawn_ // 2):
            bound = chance_at_most(won, drawn_, wrong)
            if bound > 0.05:
                break
            for wins in range(max(1, drawn_ // 2), wrong + 1, max(1, wrong // 40)):
                for losses in {wins, wins - 1, wins // 2}:
                    if wins + losses >= drawn_:
                        assert hypergeom.cdf(won, wins + losses, wins, drawn_) <= bound * (1 + 1e-9)
            assert bound <= binom.cdf(won, drawn_, 0.5)
    assert chance_at_most(drawn_ // 2, drawn_, drawn_) > 0.4 and chance_at_most(0, drawn_, drawn_ // 2 - 1) == 0


def test_a_policy_as_good_as_its_rival_is_lost_as_rarely_as_is_said():
    table = torch.zeros(2, IMAGES, dtype=torch.bool)
    table[0, : IMAGES // 2], table[1, IMAGES // 2 :] = True, True  # equal, and no image in common
    lost = 0
    for seed in range(400):
        order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(seed))
        lost += race(table, error=0.1, order=order)({"n": 1}, {"n": 0}).share < 1
    assert 0 < lost <= 40


def test_what_is_clearly_worse_gets_an_estimate_below_the_rivals_score():
    table = drawn([0.9, 0.6, 0.88])
    running = race(table)
    rival, worse, near = (running({"n": n}, against) for n, against in ((0, None), (1, {"n": 0}), (2, {"n": 0})))
    exact = table.float().mean(1).tolist()
    assert (rival.value, rival.share) == (pytest.approx(exact[0]), 1.0)
    assert worse.share < 0.5 and worse.value < rival.value and abs(worse.value - exact[1]) < 0.12
    assert (near.value, near.share) == (pytest.approx(exact[2]), 1.0)
    assert running.spared == round((1 - worse.share) * IMAGES) and running.seen == 3 * IMAGES - running.spared


def test_the_best_are_those_of_the_whole_images_and_a_resumed_memory_decides_alike():
    table = drawn(torch.rand(80, generator=torch.Generator().manual_seed(3)).mul(0.5).add(0.4).tolist())
    exact = {n: int(row.sum()) / IMAGES for n, row in enumerate(table)}
    memory = RacingMemory(race(table), place=3)
    rows = [(memory({"n": n}), memory.share({"n": n})) for n in range(len(table))]
    leaders = sorted(exact, key=lambda n: -exact[n])[:3]
    assert sorted(range(80), key=lambda n: -rows[n][0])[:3] == leaders
    assert all(rows[n] == (exact[n], 1.0) for n in leaders)
    assert sum(share for _, share in rows) < 0.6 * len(rows)
    for stop in (1, 20, 50):
        again = RacingMemory(race(table), place=3)
        for n, row in enumerate(rows[:stop]):
            again.remember({"n": n}, *row)
        assert [(again({"n": n}), again.share({"n": n})) for n in range(len(table))] == rows


def test_images_are_mixed_once_and_only_where_batches_can_be_joined():
    batches = [(torch.arange(n, n + 40).float(), torch.arange(n, n + 40)) for n in (0, 40, 80)] + [
        (torch.arange(120, 130).float(), torch.arange(120, 130))
    ]
    mixed = shuffled(batches)
    images, labels = (torch.cat(column) for column in zip(*mixed, strict=True))
    assert torch.equal(images.long(), labels) and sorted(labels.tolist()) == list(range(130))
    assert [len(batch[1]) for batch in mixed] == [40, 40, 40, 10] and labels.tolist() != list(range(130))
    assert torch.equal(shuffled([{"x": x, "labels": y} for x, y in batches])[0]["labels"], mixed[0][1])
    assert shuffled([(torch.zeros(4, 3), ["a", "b", "c", "d"])]) is None
    assert shuffled([(torch.zeros(4, 3), torch.zeros(4)), (torch.zeros(4, 5), torch.zeros(4))]) is None

"""Thresholds: the exact solver against trying everything, the bound against independent formulas."""

import itertools
import math

import numpy as np
import pytest
import torch

from autoprune.dynamic_networks.thresholds import (
    NEVER,
    Answers,
    Limits,
    PathTimes,
    Z,
    choices_of,
    leaving_at,
    loss_bound,
)
from autoprune.early_exit.confidence.base import Seen
from autoprune.early_exit.confidence.learned import fit_scorer, new_scorer
from autoprune.early_exit.confidence.registry import ALONE, confidence_named, confidences_named
from autoprune.errors import InputError

TIMES = PathTimes(1.0, (0.2, 0.5, 0.8), (0.02, 0.03, 0.01))


def drawn(inputs=400, places=3, seed=0):
    """Heads that are more often right where they are surer, later ones more often."""
    draw = np.random.default_rng(seed)
    hard = draw.random(inputs)
    sure = np.clip(1 - hard + 0.2 * draw.standard_normal((places, inputs)), 0, 1)
    skill = np.linspace(0.7, 0.95, places + 1)[:, None]
    right = draw.random((places + 1, inputs)) < np.where(hard < 0.6, 0.5 + skill / 2, skill)
    return Answers({"max": sure}, right)


def brute_force(answers, places, limits):
    """Least expected time over every tuple of 41 quantiles and `never`, each replayed by itself."""
    sure, inputs = answers.confidences["max"][list(places)], answers.right.shape[1]
    grids = [[*np.unique(np.quantile(row, np.linspace(0, 1, 41), method="higher")), NEVER] for row in sure]
    path = TIMES.of(places)
    best = math.inf
    for thresholds in itertools.product(*grids):
        taken = leaving_at(sure, thresholds)
        rows = np.array([*places, len(answers.right) - 1])[taken]
        right, end = answers.right[rows, np.arange(inputs)], answers.right[-1]
        bound = loss_bound(int((end & ~right).sum()), int((~end & right).sum()), inputs)
        if bound <= limits.loss:
            best = min(best, float(path[taken].mean()))
    return best


@pytest.mark.parametrize("loss", [0.06, 0.12])
def test_no_tuple_of_thresholds_is_better_than_the_solvers(loss):
    answers, limits = drawn(300), Limits(loss, worst=2.0, exits=2)
    found = {choice.places: choice for choice in choices_of(answers, TIMES, limits)}
    for places in ((0,), (1,), (1, 2)):
        least = brute_force(answers, places, limits)
        assert found[places].mean_ms == pytest.approx(least)


def test_what_a_choice_says_is_what_its_thresholds_do():
    answers = drawn(2500)
    for choice in choices_of(answers, TIMES, Limits(0.05, worst=2.0)):
        taken = leaving_at(answers.confidences["max"][list(choice.places)], choice.thresholds)
        shares = [float((taken == number).mean()) for number in range(len(choice.places) + 1)]
        assert choice.shares == pytest.approx(shares)
        rows = np.array([*choice.places, 3])[taken]
        right = answers.right[rows, np.arange(2500)]
        assert choice.loss == pytest.approx(float(answers.right[-1].mean() - right.mean()))
        assert choice.loss <= choice.bound <= 0.05
        assert choice.mean_ms == pytest.approx(float(TIMES.of(choice.places)[taken].mean()))


def test_the_worst_path_and_the_tail_are_kept():
    answers = drawn(2500)
    assert {c.places for c in choices_of(answers, TIMES, Limits(0.5, worst=1.025))} == {(0,), (2,)}
    for choice in choices_of(answers, TIMES, Limits(0.5, worst=2.0, p95=0.6)):
        late = [share for share, ms in zip(choice.shares, TIMES.of(choice.places), strict=True) if ms > 0.6]
        assert sum(late) <= 0.05


def test_a_path_pays_for_the_exits_before_it():
    assert TIMES.of((0, 2)) == pytest.approx([0.2, 0.82, 1.03])


def test_the_bound_of_few_samples_is_binomial():
    """By hand: with none of n lost the bound of Clopper and Pearson is 1 - risk^(1/n)."""
    risk = 0.5 * math.erfc(Z / math.sqrt(2)) / 2
    assert float(loss_bound(0, 0, 500)) == pytest.approx(1 - risk ** (1 / 500))
    assert float(loss_bound(10, 0, 500)) > 10 / 500
    assert float(loss_bound(500, 0, 500)) == 1.0


def test_the_bound_of_many_samples_is_paired():
    lost, gained, n = 40, 10, 5000
    p = (lost - gained) / n
    deviation = math.sqrt(((lost + gained + 1) / n - p * p) / n)
    assert float(loss_bound(lost, gained, n)) == pytest.approx(p + Z * deviation)
    assert float(loss_bound(lost, gained, n, z=2.0)) == pytest.approx(p + 2 * deviation)


@pytest.mark.parametrize("inputs", [1000, 3000])
def test_the_promised_loss_holds_on_new_inputs(inputs):
    """100 draws: thresholds chosen on one half, the loss counted on 20,000 further inputs."""
    broken = 0
    for seed in range(100):
        answers = drawn(inputs + 20_000, 2, seed)
        search = Answers({"max": answers.confidences["max"][:, :inputs]}, answers.right[:, :inputs])
        times = PathTimes(1.0, (0.3, 0.6), (0.02, 0.02))
        found = list(choices_of(search, times, Limits(0.05, worst=2.0, exits=2)))
        choice = min(found, key=lambda each: each.mean_ms)
        sure = answers.confidences["max"][list(choice.places), inputs:]
        rows = np.array([*choice.places, 2])[leaving_at(sure, choice.thresholds)]
        new = answers.right[:, inputs:]
        broken += bool(new[-1].mean() - new[rows, np.arange(20_000)].mean() > 0.05)
    assert broken <= 5


def test_what_is_not_a_number_never_leaves():
    sure = np.array([[np.nan, 0.9, 0.1]])
    assert leaving_at(sure, [0.0]).tolist() == [1, 0, 0]


@pytest.mark.parametrize("name", ALONE)
def test_the_surest_logits_have_confidence_one_and_even_ones_none(name):
    kind = confidence_named(name)
    sure, even, bad = torch.tensor([[200.0, -200.0, 0.0]]), torch.zeros(1, 3), torch.tensor([[float("nan"), 0, 0]])
    assert float(kind.of(Seen(sure))) == pytest.approx(1.0)
    assert float(kind.of(Seen(even))) == pytest.approx(1 / 3 if name == "max" else 0.0, abs=1e-6)
    assert not bool(kind.of(Seen(bad)) >= 0.0)


def test_entropy_by_hand():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    by_hand = -(0.5 * math.log(0.5) + 0.5 * math.log(0.25)) / math.log(3)
    assert float(confidence_named("entropy").of(Seen(logits))) == pytest.approx(1 - by_hand)


def test_patience_counts_the_exits_in_a_row_that_agree():
    """Four inputs at three exits: the same class; a change at the second; at the third; no number at the first."""
    said = [[2, 2, 2], [1, 2, 2], [0, 0, 1], [None, 1, 1]]
    kind, before, found = confidence_named("patience"), None, []
    for place in range(3):
        rows = [
            [math.nan] * 3 if row[place] is None else [5.0 * (row[place] == each) for each in range(3)] for row in said
        ]
        seen = Seen(torch.tensor(rows), before=before)
        found.append(kind.of(seen))
        before = kind.carried(seen)
    first, second, third = (each.tolist() for each in found)
    assert first[:3] == [0.5, 0.5, 0.5] and math.isnan(first[3])
    assert second == [0.75, 0.5, 0.75, 0.5]
    assert third == [0.875, 0.75, 0.5, 0.75]


def test_the_learned_score_is_a_probability_of_being_right_and_tells_better_than_chance():
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (4000,), generator=draw)
    hard = torch.rand(4000, 1, generator=draw)
    logits = torch.randn(4000, 4, generator=draw) + 6 * (1 - hard) * torch.nn.functional.one_hot(labels, 4)
    scorer = new_scorer(4)
    fit_scorer(scorer, logits[:2000], labels[:2000])
    with torch.no_grad():
        found = confidence_named("learned").of(Seen(logits[2000:], scorer))
    right = logits[2000:].argmax(1) == labels[2000:]
    for low, high in itertools.pairwise((0.0, 0.5, 0.8, 0.95, 1.0)):
        mine = (found >= low) & (found < high)
        assert float(right[mine].float().mean()) == pytest.approx(float(found[mine].mean()), abs=0.1)
    assert float(found[right].mean()) > float(found[~right].mean()) + 0.2


def test_several_kinds_are_named_and_an_unknown_one_is_refused():
    assert confidences_named("margin, max,margin") == ("margin", "max")
    assert set(confidences_named("all")) == {"max", "margin", "entropy", "patience", "learned"}
    with pytest.raises(InputError, match=r"'margins'; did you mean 'margin'"):
        confidences_named("max,margins")

"""A cascade of two networks: who asks the second one, what it costs, and what it is right on."""

import numpy as np
import pytest
import torch
from torch import nn

from autoprune.dynamic_networks.thresholds import Answers
from autoprune.models.inputs.reader import AS_IT_COMES
from autoprune.pipeline.jobs.dynamic.cascade import cascade_answers, cascade_of


def answers(sure, small, dense):
    row = np.array([sure], dtype=float)
    return Answers({"max": row, "margin": row}, np.array([small, dense], dtype=bool))


def test_the_small_network_answers_where_it_is_sure_and_both_times_are_paid_for_the_rest():
    count = 4000
    sure = np.linspace(0, 1, count)
    easy = sure >= 0.5
    search = answers(sure, easy, np.ones(count))
    found = cascade_of(search, search, 0.2, 0.01)
    assert found["accuracy"] >= 0.99 and found["promised_drop"] <= 0.01
    assert 0.45 < found["share"] <= 0.51
    expected = 0.2 + (1 - found["share"])  # all pay for the small one, the rest for the dense one, too
    assert found["mean_share"] == pytest.approx(expected)
    test = answers(sure[::-1].copy(), easy, np.ones(count))
    assert cascade_of(search, test, 0.2, 0.01)["accuracy"] == pytest.approx(1 - found["share"], abs=0.02)


def test_where_no_threshold_pays_the_reason_is_given():
    count = 4000
    useless = answers(np.linspace(0, 1, count), np.zeros(count), np.ones(count))
    found = cascade_of(useless, useless, 0.3, 0.005)
    assert set(found) == {"reason"}
    assert "no threshold is faster" in found["reason"]


def test_answers_are_those_of_the_two_networks():
    torch.manual_seed(0)
    small, dense = nn.Linear(3, 2), nn.Linear(3, 2)
    x, y = torch.randn(10, 3), torch.randint(0, 2, (10,))
    found = cascade_answers(small, dense, AS_IT_COMES, [(x[:6], y[:6]), (x[6:], y[6:])])
    with torch.no_grad():
        assert found.right.tolist() == [(net(x).argmax(1) == y).tolist() for net in (small, dense)]
        assert found.confidences["max"][0] == pytest.approx(small(x).softmax(1).amax(1).double().numpy())

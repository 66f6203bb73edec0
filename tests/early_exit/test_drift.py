"""Inputs that leave elsewhere than expected are reported, others are not."""

import numpy as np
import pytest
import torch
from torch import nn

from autoprune.dynamic_networks.drift import WINDOW, Drift
from autoprune.dynamic_networks.flow import flow_of
from autoprune.early_exit.files import load_network, save_network
from autoprune.early_exit.heads import ExitHead
from autoprune.early_exit.network import DynamicNetwork, Exit
from autoprune.early_exit.places import places_of
from autoprune.errors import InputError

SHARES = (0.5, 0.25, 0.15, 0.1)
EXPECTED = (5000, 2500, 1500, 1000)


def net():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 4),
    )


def drawn(shares, windows, seed=0):
    return np.random.default_rng(seed).choice(len(shares), size=WINDOW * windows, p=shares).tolist()


def test_inputs_of_the_same_kind_are_hardly_ever_reported():
    drift = Drift(EXPECTED)
    found = [drift.add(drawn(SHARES, 1, seed)) for seed in range(1000)]
    assert sum(found) <= 3  # one in ten thousand is expected


def test_a_small_search_split_is_no_more_certain_than_the_window():
    samples = [np.bincount(drawn(SHARES, 1, seed), minlength=4).tolist() for seed in range(1000)]
    found = [Drift(sample).add(drawn(SHARES, 1, 1000 + seed)) for seed, sample in enumerate(samples)]
    assert sum(found) <= 3


@pytest.mark.parametrize("shares", [(0.3, 0.2, 0.2, 0.3), (0.2, 0.2, 0.1, 0.5), (0.8, 0.1, 0.05, 0.05)])
def test_inputs_that_leave_elsewhere_are_reported_within_a_window(shares):
    assert np.mean([Drift(EXPECTED).add(drawn(shares, 1, seed)) for seed in range(200)]) >= 0.99


def test_it_is_said_once_until_it_is_over():
    drift = Drift(EXPECTED)
    changed, usual = drawn((0.2, 0.2, 0.1, 0.5), 1), drawn(SHARES, 1, 5)
    assert [drift.add(part) for part in (changed, changed, usual, changed)] == [True, False, False, True]


def test_a_path_that_nobody_was_expected_on_may_be_taken_now_and_then():
    drift = Drift((600, 400, 0))
    assert not drift.add([0] * 119 + [1] * 79 + [2] * 2)
    assert drift.add([0] * 100 + [1] * 60 + [2] * 40)


@pytest.fixture
def network():
    torch.manual_seed(0)
    model = net().eval()
    flow = flow_of(model, torch.zeros(1, 1, 8, 8))
    place = places_of(flow)[0]
    exits, heads = [Exit(place.name, place.node, 0.0)], [ExitHead(place.shape, 4).eval()]
    return model, DynamicNetwork(flow, exits, heads, "max", expected=(100, 100), deadlines_ms=(1.0, 2.0)).eval()


def test_a_network_warns_and_still_does_after_it_was_stored(network, tmp_path):
    model, dynamic = network
    save_network(dynamic, model, tmp_path)
    loaded = load_network(net(), torch.zeros(1, 1, 8, 8), tmp_path)
    assert loaded.drift.expected == dynamic.drift.expected and loaded.deadlines_ms == (1.0, 2.0)
    with pytest.warns(UserWarning, match="the last 200 inputs do not leave where"), torch.no_grad():
        loaded(torch.zeros(WINDOW, 1, 8, 8))  # all of them leave at the exit


def test_a_number_for_every_path_is_asked_for(network):
    _, dynamic = network
    with pytest.raises(InputError, match="a number of inputs for each"):
        DynamicNetwork(dynamic._flow, dynamic.exits, list(dynamic.heads), "max", expected=(1,))

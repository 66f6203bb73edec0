"""Files of dynamic networks: what was written is read back, and what is wrong is said in a line that names the file."""

import json

import pytest
import torch
from torch import nn

from autoprune.dynamic_networks.files import NetworkFile, expected_in
from autoprune.dynamic_networks.flow import flow_of
from autoprune.dynamic_networks.module import DynamicModule
from autoprune.errors import InputError

FILE = NetworkFile("own.json", "autoprune.own/1", "file of halves")


class Halves(DynamicModule):
    """Inputs with a positive sum take the second path."""

    def _run(self, flat, samples):
        return self.flow.module(*flat), (flat[0].sum(1) > 0).long()


@pytest.fixture(scope="module")
def dense():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(3, 4).eval()


@pytest.fixture(scope="module")
def network(dense):
    return Halves(flow_of(dense, torch.zeros(1, 3)), 2, (30, 70))


def test_weights_content_and_expected_numbers_are_read_back(dense, network, tmp_path):
    FILE.write(network, dense, tmp_path, {"threshold": 0.5})
    content = FILE.read(tmp_path)
    assert content == {"schema": "autoprune.own/1", "threshold": 0.5, "expected": [30, 70]}
    assert expected_in(content) == (30, 70)
    other = nn.Linear(3, 4)
    before = other.weight.clone()
    loaded = FILE.weights(other, tmp_path)
    assert torch.equal(loaded.weight, dense.weight) and torch.equal(other.weight, before)


def test_a_network_that_expects_nothing_says_so(dense, network, tmp_path):
    FILE.write(Halves(network.flow, 2), dense, tmp_path, {})
    assert expected_in(FILE.read(tmp_path)) == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "file of halves"),
        ("[]", "file of halves"),
        ({}, r"is no file of halves: KeyError\('threshold'\)"),
        ({"threshold": "half"}, "is no file of halves: ValueError"),
        ({"threshold": None}, "is no file of halves: TypeError"),
        ({"threshold": 0.5, "expected": 3}, "is no file of halves: TypeError"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_that_names_the_file(content, words, tmp_path):
    (tmp_path / "own.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=words) as caught:
        found = FILE.read(tmp_path)
        with FILE.fields(tmp_path):
            _, _ = float(found["threshold"]), expected_in(found)
    assert "own.json" in str(caught.value) and "\n" not in str(caught.value)


def test_a_refusal_inside_names_the_file_too(tmp_path):
    with pytest.raises(InputError, match=r"own\.json: there are 2 paths"), FILE.fields(tmp_path):
        raise InputError("there are 2 paths")


def test_weights_that_do_not_fit_are_refused(dense, network, tmp_path):
    FILE.write(network, dense, tmp_path, {})
    with pytest.raises(InputError, match=r"network\.safetensors"):
        FILE.weights(nn.Linear(3, 5), tmp_path)

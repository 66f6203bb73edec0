"""`autoprune inspect --json`: what programs are told about a model's decisions."""

import json

import pytest

STRANGE = """
import torch
from torch import nn

class Strange(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 4, 1)

    def forward(self, x):
        x = torch.cumsum(self.a(x), 1)  # a line that a person can look up
        return self.c(torch.relu(self.b(x))).mean((2, 3))

def net():
    return Strange()
"""


def told(autoprune, *options, model="tests.support.tiny_job:network"):
    outcome = autoprune("inspect", "--model", model, "--shape", "1,8,8", "--json", *options)
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_members_of_every_decision(autoprune):
    rows = {d["name"]: d for d in told(autoprune)["decisions"]}
    first = rows["conv1"]
    assert (first["kind"], first["width"], first["options"]) == ("channels", 16, list(range(1, 17)))
    members = {(m["tensor"], m["dim"]): m for m in first["members"]}
    assert members["conv1.weight", 0]["role"] == "producer"
    assert members["conv2.weight", 1]["role"] == "consumer"
    assert {m["tensor"] for m in first["members"] if m["role"] == "carrier"} == {
        "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var",
    }  # fmt: skip
    assert all(m["positions"] == 1 for m in first["members"])


def test_a_width_that_a_norm_runs_over_says_that_no_zeroing_equals_its_cut(autoprune, folder):
    (folder / "normed.py").write_text(
        "from torch import nn\n\n\n"
        "def net():\n"
        "    return nn.Sequential(\n"
        "        nn.Flatten(), nn.Linear(64, 12), nn.LayerNorm(12), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 4)\n"
        "    )\n"
    )
    oracles = {d["name"]: d["oracle"] for d in told(autoprune, model="normed:net")["decisions"]}
    assert oracles == {"1": "normalised", "3": "zero"}


def test_frozen_layers_have_the_operator_and_the_users_line(autoprune, folder):
    (folder / "strange.py").write_text(STRANGE)
    content = told(autoprune, model="strange:net")
    line = 1 + STRANGE.splitlines().index("        x = torch.cumsum(self.a(x), 1)  # a line that a person can look up")
    assert "cumsum" in content["frozen"]["a"]
    assert f"strange.py:{line}" in content["frozen"]["a"]
    assert [d["name"] for d in content["decisions"]] == ["b"]


def test_wishes_are_shown_as_a_search_would_have_them(autoprune):
    content = told(autoprune, "--tie", "[ci]*n*[2r]", "--cap", "conv1=50%", "--granularity", "channels=4")
    first, tied = content["decisions"]
    assert first["options"] == [8, 12, 16]
    assert tied["tied"] == {"conv2": 1, "inner": 1}
    assert {m["tensor"] for m in tied["members"]} >= {"conv2.weight", "inner.weight", "outer.weight"}
    assert told(autoprune, "--skip", "conv1")["frozen"]["conv1"] == "skipped by 'conv1'"


def test_blocks_and_what_they_hold(autoprune):
    content = told(autoprune, "--kinds", "channels,block", model="resnet20")
    block = next(d for d in content["decisions"] if d["kind"] == "block")
    assert (block["options"], block["members"]) == ([0, 1], [])
    inner = next(d for d in content["decisions"] if d["name"] == "layer1.0.conv1")
    assert inner["within"] == [["layer1.0"]]
    whole = {b["name"]: b for b in content["blocks"]}["layer1.0"]
    assert whole["params"] == 2 * (16 * 16 * 9 + 2 * 16)
    assert whole["flops"] == 2 * 16 * 16 * 9 * 64


@pytest.mark.parametrize("wrong", [["--kinds", "chanels"], ["--tie", "x"], ["--cap", "conv1"], ["--granularity", "0"]])
def test_wrong_wishes_are_one_line(autoprune, wrong):
    outcome = autoprune("inspect", "--model", "tests.support.tiny_job:network", "--shape", "1,8,8", *wrong)
    assert (outcome.code, outcome.lines) == (2, 1), outcome.err

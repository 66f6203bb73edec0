"""Dropped blocks in a latency table: their layers cost nothing, before and after the file."""

import json

import pytest
import torch

from autoprune.errors import InputError
from autoprune.graph import analyse, cut
from autoprune.hardware import LatencyTable, profile
from autoprune.models import resnet20
from autoprune.space import SpaceConstraints
from autoprune.techniques.space import space_of
from tests.support.targets.formula_target import MadeUpTarget

_X = torch.zeros(1, 3, 16, 16)


@pytest.fixture(scope="module")
def case():
    model, target = resnet20(), MadeUpTarget()
    analysis = analyse(model, _X)
    space = space_of(analysis, SpaceConstraints(granularity=16, kinds=("channels", "block")))
    return model, analysis, target, profile(model, analysis, space, _X, target)


def truth(case, choices) -> float:
    model, analysis, target, _ = case
    small = cut(model, analysis, {name: range(kept) for name, kept in choices.items()})
    return json.loads(target.pack(small, _X))["ms"]


def test_exact_where_the_device_is_additive(case) -> None:
    table = case[3]
    for seed in range(5):
        choices = table.space.random(seed).choices
        assert 0 in choices.values()
        assert table.predict(choices) == pytest.approx(truth(case, choices), rel=2e-3)
    assert table.error.mean < 2e-3


def test_networks_without_some_blocks_are_among_those_that_are_timed(case) -> None:
    table = case[3]
    for role in ("fit", "held-out"):
        dropped = [
            sum(run.choices[d.name] == 0 for d in table.space.decisions) for run in table.runs if run.role == role
        ]
        assert 0 in dropped
        assert max(dropped) > 3
    assert all(run.choices == table.space.complete(run.choices) for run in table.runs)


def test_the_file_keeps_blocks(case, tmp_path) -> None:
    table = case[3]
    table.save(tmp_path / "table.json")
    again = LatencyTable.load(tmp_path / "table.json")
    assert again.space.decisions == table.space.decisions
    assert again.operators == table.operators
    choices = table.space.random(9).choices
    assert again.predict(choices) == table.predict(choices)
    content = json.loads((tmp_path / "table.json").read_text())
    content["slots"][1]["blocks"] = ["conv1"]
    (tmp_path / "table.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="no block"):
        LatencyTable.load(tmp_path / "table.json")


def test_only_layers_that_run_are_visited(case) -> None:
    _, analysis, _, table = case
    without = {block.name: 0 for block in analysis.blocks}
    timed = [operator for operator in table.operators if not operator.blocks]
    assert set(table.visited([without])) == {operator.at(table.space.complete(without)).key for operator in timed}
    assert len(table.visited([without])) < len(table.visited([table.space.dense]))

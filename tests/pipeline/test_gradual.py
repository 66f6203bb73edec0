"""Gradual pruning: the networks on the way, what is carried through a cut, exact resumption, equal epochs."""

import itertools
import json

import pytest
import torch
from torch import nn

import autoprune
from autoprune.errors import InputError
from autoprune.graph import analyse, cut, index_map
from autoprune.pipeline.finish import trainings
from autoprune.pipeline.finish.gradual import _inside, _take_values
from autoprune.pipeline.finish.stages import policy_between, stages_of
from autoprune.pipeline.jobs.progressive.current import expand_to_dense
from autoprune.space import BLOCK, Decision
from autoprune.techniques.structured.optimizer_state import carry_state, slice_optimizer
from tests.pipeline.test_watching import QUICK, same
from tests.support.tiny_job import images, network

WIDE = Decision("a", 64, tuple(range(8, 65, 8)))
FINE = Decision("b", 20, tuple(range(1, 21)))
BRANCH = Decision("c", 1, (0, 1), kind=BLOCK)
FINAL = {"a": 16, "b": 4, "c": 0}


def test_cubic_and_iterative_policies_by_hand():
    # Zhu and Gupta, equation 1: 1 - (1 - t)^3 of 48 and 16 units at t = 1/4, 1/2, 3/4: 27.75, 42, 47.25; 9.25, 14, ...
    cubic = stages_of([WIDE, FINE, BRANCH], FINAL, 24, "cubic", 4)
    assert [stage.choices for stage in cubic] == [
        {"a": 40, "b": 11, "c": 0}, {"a": 24, "b": 6, "c": 0}, {"a": 16, "b": 4, "c": 0},
    ]  # fmt: skip
    assert [stage.until for stage in cubic] == [4, 8, 24]  # the third is the last already
    even = stages_of([WIDE, FINE, BRANCH], FINAL, 24, "iterative", 4)
    assert [tuple(stage.choices.values()) for stage in even] == [(56, 16, 1), (40, 12, 1), (32, 8, 0), (16, 4, 0)]
    assert [stage.until for stage in even] == [4, 8, 12, 24]


@pytest.mark.parametrize("schedule", ["one-shot", "iterative", "cubic"])
@pytest.mark.parametrize(("epochs", "steps"), [(1, 4), (2, 4), (7, 3), (40, 9)])
def test_networks_only_shrink_and_the_epochs_are_those_asked_for(schedule, epochs, steps):
    stages = stages_of([WIDE, FINE, BRANCH], FINAL, epochs, schedule, steps)
    assert stages[-1].choices == FINAL and stages[-1].until == epochs
    assert len(stages) <= min(epochs, steps) and (schedule != "one-shot" or len(stages) == 1)
    for before, after in itertools.pairwise(stages):
        assert before.until < after.until and before.choices != after.choices
        assert all(after.choices[name] <= before.choices[name] for name in FINAL)


def test_a_policy_that_lies_on_no_grid_is_reached_all_the_same():
    assert policy_between([WIDE], {"a": 64}, 0.5) == {"a": 64}
    assert policy_between([Decision("a", 64, (64,))], {"a": 64}, 1.0) == {"a": 64}
    assert policy_between([WIDE], {"a": 12}, 1.0) == {"a": 16}  # never below the policy


def step(model, optimizer):
    pictures, labels = images(32, 3).tensors
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(pictures), labels).backward()
    optimizer.step()


@pytest.mark.parametrize("make", [lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), torch.optim.AdamW])
def test_a_second_cut_is_the_first_ones_weights_and_momentum(make):
    torch.manual_seed(0)
    dense = network()
    analysis = analyse(dense, torch.zeros(1, 1, 8, 8))
    order = {group.name: torch.randperm(group.width).tolist() for group in analysis.groups}
    wide, narrow = ({name: sorted(units[: len(units) * n // 4]) for name, units in order.items()} for n in (3, 1))
    middle = cut(dense, analysis, wide)
    optimizer = make(middle.parameters())
    step(middle, optimizer), step(middle, optimizer)
    whole = expand_to_dense(dense, analysis, wide, middle)  # the other road: through the dense network's shapes
    expected = cut(whole, analysis, narrow)
    small, slices = cut(dense, analysis, narrow), _inside(index_map(analysis, wide), index_map(analysis, narrow))
    _take_values(middle, small, slices)
    assert same(small.state_dict(), expected.state_dict())
    goal = make(small.parameters())
    carry_state(optimizer, middle, goal, small, slices)
    again = analyse(middle, torch.zeros(1, 1, 8, 8))  # and by the middle network's own analysis
    own = {name: [wide[name].index(unit) for unit in units] for name, units in narrow.items()}
    sliced = slice_optimizer(optimizer, middle, expected, again, own)
    for mine, theirs in zip(small.parameters(), expected.parameters(), strict=True):
        assert same(
            {k: v for k, v in goal.state[mine].items() if isinstance(v, torch.Tensor)},
            {k: v for k, v in sliced.state[theirs].items() if isinstance(v, torch.Tensor)},
        )


JOB = QUICK | {"finalists": 1, "finetune_epochs": 6, "schedule": "iterative", "schedule_steps": 3, "agent": "uniform"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trainings, "_SAVE_EVERY", -1.0)
    return tmp_path


def ended(epoch):
    """A callback that ends the job when so many epochs of fine-tuning are done."""

    def callback(progress, event):
        if progress.stage == "finetune" and event.kind == "advanced" and progress.done == epoch:
            progress.stop()

    return callback


@pytest.mark.parametrize("recipe", ["default", "strong"])
def test_resumed_is_uninterrupted_before_at_and_after_a_cut(folder, recipe):
    whole = autoprune.compress(settings=JOB, recipe=recipe, run="runs/whole")
    for epoch in (1, 2, 3, 5):
        first = autoprune.compress(settings=JOB, recipe=recipe, run=f"runs/{epoch}", callbacks=[ended(epoch)])
        assert not first.finished
        assert list((folder / f"runs/{epoch}/checkpoint").glob("tuned-*.pt"))
        result = autoprune.compress(settings=JOB, recipe=recipe, run=f"runs/{epoch}", resume=True)
        assert result.finished and same(result.model.state_dict(), whole.model.state_dict())


def test_all_schedules_reach_the_policy_in_the_same_epochs(folder):
    weights, policies = {}, {}
    for schedule in ("one-shot", "iterative", "cubic"):
        epochs = []

        def count(progress, event, epochs=epochs):
            if event.kind == "epoch" and progress.stage == "finetune":
                epochs.append(event.values["epoch"])

        result = autoprune.compress(settings=JOB, schedule=schedule, run=f"runs/{schedule}", callbacks=[count])
        assert epochs == [1, 2, 3, 4, 5, 6]
        weights[schedule] = result.model.state_dict()
        policies[schedule] = result.policy.kept
        assert json.loads((folder / f"runs/{schedule}/report.json").read_text())["finetuned"]["accuracy"] > 0.5
    assert policies["one-shot"] == policies["iterative"] == policies["cubic"]
    assert not same(weights["one-shot"], weights["iterative"])
    assert not same(weights["cubic"], weights["iterative"])


def test_what_cannot_be_done_in_steps_is_refused(folder):
    with pytest.raises(InputError, match="--schedule cubic is of the built-in fine-tuning"):
        autoprune.compress(settings=JOB | {"schedule": "cubic"}, finetune=lambda model, constraint, epochs: model)
    with pytest.raises(InputError, match="only one-shot is possible"):
        autoprune.compress(
            settings=JOB | {"techniques": "structured,tests.extensions.magnitude_masks:Magnitude"}, run="runs/x"
        )
    assert not (folder / "runs").exists()

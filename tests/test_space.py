"""Decisions, spaces, policies and budgets refuse nonsense at the door and survive their files."""

import json

import numpy as np
import pytest

from autoprune.cost.budget import Budget
from autoprune.errors import InputError
from autoprune.space import Decision, Policy, SearchSpace

SPACE = SearchSpace((Decision("a", 8, (4, 8)), Decision("b", 12, (4, 8, 12))), model={"name": "toy"})


@pytest.mark.parametrize("options", [(), (0, 8), (4,), (8, 4), (4, 4, 8)])
def test_a_decision_refuses_options_that_do_not_ascend_to_its_width(options):
    with pytest.raises(InputError, match="options"):
        Decision("a", 8, options)


def test_choices_and_option_numbers_are_inverse():
    choices = {"a": 4, "b": 8}
    assert list(SPACE.indices(choices)) == [0, 1]
    assert SPACE.choices(SPACE.indices(choices)) == choices


def test_unnamed_decisions_stay_dense():
    assert SPACE.policy({"b": 4}).choices == {"a": 8, "b": 4}


def test_wrong_choices_name_the_nearest_right_one():
    with pytest.raises(InputError, match="nearest option is 8"):
        SPACE.policy({"a": 7})
    with pytest.raises(InputError, match="no decision is named 'bb'; did you mean 'b'"):
        SPACE.policy({"bb": 4})


@pytest.mark.parametrize("units", ["8", True, 8.5, float("nan"), None, [8]])
def test_what_is_no_whole_number_of_units_is_refused_as_such(units):
    with pytest.raises(InputError, match=r"decision 'a': .* is not a whole number of units"):
        SPACE.policy({"a": units})


def test_numbers_of_units_may_be_numpys():
    assert SPACE.policy({"a": np.int64(4)}).choices == {"a": 4, "b": 12}


def test_uniform_rounds_to_the_nearest_option():
    assert SPACE.uniform(0.7).choices == {"a": 4, "b": 8}  # 5.6 of 8, 8.4 of 12
    assert SPACE.uniform(1.0).choices == SPACE.dense
    with pytest.raises(InputError, match="share of units"):
        SPACE.uniform(0)


def test_random_is_repeatable_and_varies_with_the_seed():
    assert SPACE.random(3) == SPACE.random(3)
    assert len({tuple(SPACE.random(s).choices.values()) for s in range(20)}) > 3


def test_a_policy_comes_back_from_its_file_as_it_was(tmp_path):
    policy = Policy(choices={"a": 2}, kept={"a": [1, 5]}, criterion="l1", predicted={"latency_ms": 0.5}, seed=1)
    path = tmp_path / "policy.json"
    policy.save(path)
    assert Policy.load(path) == policy
    assert json.loads(path.read_text())["schema"] == "autoprune.policy/1"
    assert [p.name for p in tmp_path.iterdir()] == ["policy.json"]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"choices": {"a": 0}}', '{"choices": {"a": 1}, "kept": {"a": [1, 2]}}', '{"choise": {}}',
     '{"choices": {"a": 2}, "kept": {"a": [2, 1]}}', '{"schema": "autoprune.policy/9", "choices": {}}', "\xff"],
)  # fmt: skip
def test_a_file_that_is_no_policy_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "policy.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError) as caught:
        Policy.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "text", "dense", "limit"),
    [("latency", "50%", 3.0, 1.5), ("latency", "2.5ms", 3.0, 2.5), ("latency", "800us", 3.0, 0.8),
     ("flops", "20M", 1.0, 20e6), ("params", "1.5k", 1.0, 1500.0), ("flops", "33.3 %", 1000.0, 333.0)],
)  # fmt: skip
def test_budgets_are_read_in_the_units_people_write(kind, text, dense, limit):
    assert Budget.parse(kind, text).limit(dense) == pytest.approx(limit)


@pytest.mark.parametrize(
    ("kind", "text"),
    [("latency", "0%"), ("latency", "101%"), ("latency", "-1ms"), ("latency", "5"), ("flops", "5ms"), ("speed", "5%"),
     ("latency", "1e999ms"), ("latency", "")],
)  # fmt: skip
def test_budgets_that_make_no_sense_are_refused(kind, text):
    with pytest.raises(InputError):
        Budget.parse(kind, text)


def test_a_budget_can_be_written_as_one_string():
    assert Budget.from_text("latency<=50%") == Budget.parse("latency", "50%")
    with pytest.raises(InputError, match="latency<=50%"):
        Budget.from_text("latency 50%")

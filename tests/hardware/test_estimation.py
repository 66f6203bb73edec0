"""Layers that were not measured: a family of which two were measured has the steps that whole networks show."""

import numpy as np
import pytest

from autoprune.cost.least_squares import errors_of
from autoprune.hardware.tables import estimation
from autoprune.hardware.tables.estimation import by_step_functions
from autoprune.hardware.tables.step_function import StepFunction
from autoprune.models import resnet20
from tests.support.targets.formula_case import Case


def test_known_steps_are_kept_where_two_points_show_none() -> None:
    inputs, outputs, ms = [4, 32], [4, 32], [1.0 + 4 * 16, 1.0 + 32 * 32]  # stairs of 16 in the outputs
    shown = StepFunction.learn(inputs, outputs, ms, steps=(1, 16))
    assert (shown.input_step, shown.output_step) == (1, 16)
    assert shown([8, 8], [20, 32]).tolist() == pytest.approx([1.0 + 8 * 32] * 2, rel=0.01)
    alone = StepFunction.learn(inputs, outputs, ms)
    assert alone([8], [20])[0] != alone([8], [32])[0]


@pytest.fixture(scope="module")
def case() -> Case:
    return Case(resnet20())


@pytest.fixture(scope="module")
def exact(case):
    return case.profile()


def with_two_of_each_family(table) -> None:
    """Leave the widest and the narrowest layer of each family measured, and estimate the others."""
    families: dict[str, list] = {}
    for layer in table.layers().values():
        families.setdefault(layer.family, []).append(layer)
    kept = set()
    for members in families.values():
        ordered = sorted(members, key=lambda layer: layer.inputs * layer.outputs)
        kept |= {ordered[0].key, ordered[-1].key}
    table.entries = {key: entry for key, entry in table.entries.items() if key in kept}
    table.add(by_step_functions(table))


def test_two_measured_layers_of_a_family_and_the_networks_steps_predict_networks(case, exact, monkeypatch) -> None:
    policies = [case.space.random(seed).choices for seed in range(20)]
    truth = np.array([case.truth(choices) for choices in policies])

    def error() -> float:
        with_two_of_each_family(exact)
        return errors_of(np.array([exact.predict(choices) for choices in policies]), truth).mean

    shown = error()
    assert exact.estimated > 0.8 * len(exact.entries)
    monkeypatch.setattr(estimation, "_FEW", 0)
    alone = error()
    assert shown < 0.03 and shown < 0.5 * alone


def test_networks_are_not_asked_where_layers_show_their_steps(case, monkeypatch) -> None:
    table = case.profile()
    missing = [key for key, layer in table.layers().items() if layer.kind == "conv"][::3]
    for key in missing:
        del table.entries[key]
    monkeypatch.setattr(estimation, "_FEW", 3)
    monkeypatch.setattr(estimation, "learn_tile", lambda *_: pytest.fail("networks were asked"))
    assert set(by_step_functions(table)) == set(missing)


def test_without_networks_a_family_has_steps_of_its_own(case) -> None:
    table = case.profile()
    table.runs = []
    with_two_of_each_family(table)
    assert table.estimated == len(table.entries) - sum(e.source == "measured" for e in table.entries.values()) > 0

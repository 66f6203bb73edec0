"""A latency table on a target whose latencies are known by formula: exact, resumable, reusable, honest."""

import hashlib
import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoprune.cost.least_squares import errors_of, fit_factors
from autoprune.errors import InputError, TargetError
from autoprune.graph import analyse
from autoprune.hardware import (
    LatencyTable,
    Layer,
    Measurement,
    ProfileSettings,
    Protocol,
    check_fingerprint,
    profile,
)
from autoprune.hardware.tables.entries import measure_layers
from autoprune.hardware.tables.step_function import StepFunction
from autoprune.hardware.tables.tiles import NO_TILE, Tile, executed, learn_tile
from autoprune.hardware.timing.effort import EFFORTS
from autoprune.models import mobilenet_v2, resnet20
from autoprune.space import Decision, SearchSpace
from tests.support.targets.formula_case import Case, X
from tests.support.targets.formula_target import CONSTANT, GAIN, MadeUpTarget, WholeNetworksOnly, stairs


@pytest.fixture(scope="module")
def case() -> Case:
    return Case(resnet20())


@pytest.fixture(scope="module")
def table(case) -> LatencyTable:
    return case.profile()


def test_exact_where_the_device_is_additive(case, table) -> None:
    for seed in range(5):
        choices = case.space.random(seed + 100).choices
        assert table.predict(choices) == pytest.approx(case.truth(choices), rel=2e-3)
    assert table.error.mean < 2e-3 and table.error.n == 6
    assert table.macs_error.mean > 5 * table.error.mean  # stairs are not multiply-accumulates
    assert table.complete and table.estimated == 0


def test_the_correction_is_found(table) -> None:
    assert table.factors["3x3"] == pytest.approx(GAIN["3x3"], rel=0.01)
    assert table.factors["constant"] == pytest.approx(CONSTANT, rel=0.15)


def test_depthwise_and_pointwise_too() -> None:
    case = Case(mobilenet_v2(width=0.25))
    table = case.profile()
    choices = case.space.random(7).choices
    assert table.predict(choices) == pytest.approx(case.truth(choices), rel=0.01)
    assert any("depthwise" in key for key in table.entries)


def test_the_cost_model_prices_many_policies_as_one_by_one(case, table) -> None:
    policies = [case.space.random(seed).choices for seed in range(50)]
    together = table.cost().costs(np.stack([case.space.indices(choices) for choices in policies]))
    assert together.tolist() == pytest.approx([table.predict(choices) for choices in policies])
    assert table.cost().unit == "ms" and table.cost().kind == "latency"
    assert table.predict(case.space.uniform(0.5)) == table.predict(case.space.uniform(0.5).choices)


def test_saved_and_loaded_is_the_same(case, table, tmp_path) -> None:
    table.save(tmp_path / "table.json")
    loaded = LatencyTable.load(tmp_path / "table.json")
    choices = case.space.random(3).choices
    assert loaded.predict(choices) == table.predict(choices)
    assert (loaded.error, loaded.macs_error, loaded.factors) == (table.error, table.macs_error, table.factors)
    assert loaded.space.decisions == table.space.decisions and loaded.operators == table.operators
    content = json.loads((tmp_path / "table.json").read_text())
    assert content["schema"] == "autoprune.latency_table/1" and content["unit"] == "ms"
    assert content["accuracy"]["error"]["mean"] == table.error.mean
    assert "networks" in table.summary() or "error on" in table.summary()


def test_interrupted_and_resumed_is_uninterrupted(case, table, tmp_path) -> None:
    broken = MadeUpTarget()
    broken.breaks_after = 400  # of about 800 timings
    saved: list[Path] = []

    def checkpoint(unfinished: LatencyTable) -> None:
        unfinished.save(tmp_path / "part.json")
        saved.append(tmp_path / "part.json")

    with pytest.raises(TargetError, match="cable"):
        profile(case.model, case.analysis, case.space, X, broken, checkpoint=checkpoint)
    part = LatencyTable.load(saved[-1])
    assert 0 < len(part.entries) < len(table.entries) and not part.complete
    with pytest.raises(InputError, match="not finished"):
        part.predict({})
    again = MadeUpTarget()
    resumed = profile(case.model, case.analysis, case.space, X, again, known=part)
    assert resumed.entries == table.entries and resumed.runs == table.runs
    assert not set(again.timed_layers[1:]) & set(part.entries)  # the first is the empty graph


def test_a_finished_table_leaves_nothing_to_measure(case, table) -> None:
    idle = MadeUpTarget()
    same = profile(case.model, case.analysis, case.space, X, idle, known=table)
    assert idle.timed_layers == [] and idle.timed_networks == 0
    assert same.predict({}) == table.predict({})


def test_another_model_reuses_layers_but_not_networks(table) -> None:
    case = Case(resnet20(classes=7))
    new = case.profile(known=table)
    assert case.target.timed_networks == 2 * 18
    assert {key.split()[0] for key in case.target.timed_layers[1:]} == {"linear"}
    assert new.error.mean < 2e-3


def test_too_many_layers_are_sampled_and_the_rest_estimated(case, table) -> None:
    target = MadeUpTarget()
    few = ProfileSettings(most_entries=150)
    sampled = profile(case.model, case.analysis, case.space, X, target, settings=few)
    assert sampled.complete and sampled.estimated > 300
    assert sampled.error.mean < 0.02  # the stairs were learned
    choices = case.space.random(11).choices
    measured = sampled.measure_missing([choices], target)
    assert measured > 0 and sampled.measure_missing([choices], target) == 0
    exact = sum(sampled.entries[operator.at(choices).key].ms for operator in sampled.operators)
    assert exact == pytest.approx(sum(stairs(operator.at(choices)) for operator in sampled.operators), abs=1e-5)


def test_a_device_without_layers_is_priced_by_multiply_accumulates() -> None:
    case = Case(resnet20(), WholeNetworksOnly())
    table = case.profile()
    assert table.complete and table.estimated == len(table.entries) and case.target.timed_layers == []
    assert 0 < table.error.mean < 0.3
    assert table.error.mean < 0.5 * table.macs_error.mean  # its stairs of 16 outputs were found out
    assert table.measure_missing([{}], case.target) == 0


@pytest.mark.parametrize("kind", ["conv", "linear"])
def test_a_device_that_times_only_some_kinds_of_layers_is_priced_by_multiply_accumulates_too(kind, monkeypatch) -> None:
    """Whichever kind of layer comes first must not decide."""
    whole = MadeUpTarget.pack_layer
    monkeypatch.setattr(
        MadeUpTarget, "pack_layer", lambda self, layer, n: None if layer.kind == kind else whole(self, layer, n)
    )
    case = Case(resnet20(), MadeUpTarget())
    assert case.profile().complete and case.target.timed_layers == []


class Misleading(MadeUpTarget):
    """Networks take what their multiply-accumulates say; layers alone take anything."""

    def pack(self, model, example):
        total = 0.02 + 2e-7 * macs_of(model, example)
        return json.dumps({"ms": total}).encode()

    def pack_layer(self, layer, copies):
        chance = hashlib.sha256(layer.key.encode()).digest()[0] / 64
        return json.dumps({"ms": 0.003 + copies * chance * 1e-7 * layer.macs}).encode()


def macs_of(model, example) -> float:
    return float(analyse(model, example, validate=False).macs())


def test_a_table_no_better_than_multiply_accumulates_is_not_used_and_says_so(tmp_path) -> None:
    case = Case(resnet20(), Misleading())
    table = case.profile()
    assert table.error.mean > table.macs_error.mean and table.is_by_macs
    choices = case.space.random(3).choices
    assert table.predict(choices) == pytest.approx(case.truth(choices), rel=0.01)
    assert "priced by multiply-accumulates" in table.summary()
    assert table.error_figures()["predicted_by"] == "multiply-accumulates"
    table.save(tmp_path / "table.json")
    assert LatencyTable.load(tmp_path / "table.json").predict(choices) == table.predict(choices)


def test_a_table_that_is_better_is_used(table) -> None:
    assert not table.is_by_macs and "priced by" not in table.summary()
    assert table.error_figures()["predicted_by"] == "layers"


def test_the_error_has_its_confidence_interval() -> None:
    """By hand: errors of 1, 2, 3 and 6 % have the mean 3 %, the deviation 2.16 %, and t = 3.182."""
    found = errors_of(np.array([1.01, 0.98, 1.03, 1.06]), np.ones(4))
    assert (found.mean, found.worst) == (pytest.approx(0.03), pytest.approx(0.06))
    assert found.high - found.mean == pytest.approx(3.182 * 0.021602 / 2, rel=1e-3)
    assert found.low == 0.0
    assert errors_of(np.array([1.01]), np.ones(1)).high == pytest.approx(0.01)


def test_the_networks_of_the_error_are_timed_last_and_those_of_the_fit_first(case) -> None:
    class Ordered(MadeUpTarget):
        def __init__(self) -> None:
            super().__init__()
            self.order: list[str] = []

        def time(self, payloads, protocol, progress=None):
            self.order += ["network" if b"layer" not in payload else "layer" for payload in payloads]
            return super().time(payloads, protocol, progress)

    target = Ordered()
    profile(case.model, case.analysis, case.space, X, target)
    first, last = target.order.index("layer"), len(target.order) - target.order[::-1].index("layer")
    assert target.order[:first] == ["network"] * 24 and target.order[last:] == ["network"] * 12


def test_when_the_time_is_over_the_rest_is_estimated(case) -> None:
    """A few layers of every family are measured even then, and the least number of networks."""
    target = MadeUpTarget()
    bounded = profile(case.model, case.analysis, case.space, X, target, settings=ProfileSettings(seconds=0.0))
    families = {layer.family for layer in bounded.layers().values()}
    measured = {layer.family for key, layer in bounded.layers().items() if bounded.source(key) == "measured"}
    policies = [run.choices for run in bounded.runs_of("fit")]
    kept = [sum(choices.values()) / sum(case.space.dense.values()) for choices in policies]
    assert policies[0] == case.space.dense and min(kept) < 0.4 and sorted(kept)[-2] > 0.7  # spread all the same
    assert bounded.complete and measured == families and bounded.estimated > 300
    assert len(target.timed_layers) <= 2 * (2 * len(families)) + 1 and target.timed_networks == 8 + 4


def test_every_effort_is_a_profile() -> None:
    seconds = {name: ProfileSettings.of(effort).seconds for name, effort in EFFORTS.items()}
    assert seconds == {"quick": 30.0, "normal": 120.0, "careful": math.inf}
    normal = EFFORTS["normal"]
    assert normal.of_job(60.0) == 120.0 and normal.of_job(4000.0) == pytest.approx(1000.0)  # a fifth of 5000
    assert normal.of_profile < 120.0 and EFFORTS["careful"].of_job(1.0) == math.inf


def test_tiles_are_found_out_where_there_are_some() -> None:
    draw = np.random.default_rng(0)
    shape = {"size": (8, 8), "out_size": (8, 8), "kernel": (3, 3), "stride": (1, 1), "padding": (1, 1)}
    widths = draw.integers(1, 64, (14, 4))
    networks = [[Layer("conv", int(i), int(o), **shape) for i, o in itertools.pairwise(row)] for row in widths]
    for tile in (Tile(1, 1), Tile(1, 16), Tile(8, 4)):
        ms = np.array([0.01 + 1e-7 * sum(executed(layer, tile) for layer in network) for network in networks])
        found, error = learn_tile(networks, ms)
        assert found == tile and error < 1e-6
    noise = np.array([0.01 + 1e-7 * sum(layer.macs for layer in network) for network in networks])
    assert learn_tile(networks, noise * draw.uniform(0.97, 1.03, 14))[0] == NO_TILE


def test_multiply_accumulates_of_whole_tiles_by_hand() -> None:
    conv = Layer("conv", 6, 20, size=(4, 4), out_size=(4, 4), kernel=(3, 3), stride=(1, 1), padding=(1, 1))
    assert executed(conv, Tile(4, 16)) == pytest.approx(8 * 32 * 9 * 16)
    assert executed(replace(conv, inputs=20, groups=20), Tile(4, 16)) == pytest.approx(32 * 9 * 16)  # depthwise
    assert executed(replace(conv, groups=2), Tile(4, 16)) == pytest.approx(2 * 4 * 16 * 9 * 16)  # 3 of 6, 10 of 20
    assert executed(Layer("elementwise", 6, 6), Tile(4, 16)) == 0


def test_a_refit_learns_from_further_networks(case) -> None:
    table = case.profile()
    slow = [(case.space.random(seed).choices, 2 * case.truth(case.space.random(seed).choices)) for seed in range(40)]
    before = table.predict(slow[0][0])
    table.refit(slow)
    assert table.predict(slow[0][0]) > 1.3 * before
    assert sum(run.role == "search" for run in table.runs) == 40
    with pytest.raises(InputError, match="positive"):
        table.refit([({}, float("nan"))])


def test_a_layer_measured_in_a_slow_spell_is_measured_again(case, table) -> None:
    class Hiccup(MadeUpTarget):
        def time(self, payloads, protocol, progress=None):
            first = len(self.timed_layers) < 300
            results = super().time(payloads, protocol, progress)
            if not first:
                return results
            wrong = range(11, len(results), 24)  # a few four-copy graphs look slow
            return [
                type(r)(r.ms * 1.9, r.spread, r.n, r.clock, r.stable) if i in wrong else r
                for i, r in enumerate(results)
            ]

    found = profile(case.model, case.analysis, case.space, X, Hiccup())
    far = [key for key in found.entries if abs(found.entries[key].ms - table.entries[key].ms) > 1e-4]
    assert far == []


def test_a_table_from_elsewhere_is_refused_with_the_difference(case, table) -> None:
    other = MadeUpTarget()
    other.version = "2"
    with pytest.raises(InputError, match=r"runtime = 'formula 1', here it is 'formula 2'"):
        profile(case.model, case.analysis, case.space, X, other, known=table)
    with pytest.raises(InputError, match="profile again"):
        table.measure_missing([{}], other)
    check_fingerprint(table.fingerprint, case.target.fingerprint())


def test_progress_never_runs_backwards(case) -> None:
    seen: dict[str, list[tuple[int, int]]] = {}
    case.profile(progress=lambda done, total, what: seen.setdefault(what, []).append((done, total)))
    assert {"layers", "networks exported"} <= set(seen)
    for steps in seen.values():
        assert steps == sorted(steps) and all(0 <= done <= total for done, total in steps)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("schema",), "autoprune.policy/1", "schema"),
        (("unit",), "s", "unit"),
        (("entries", "first", "ms"), -1.0, "0 ms or more"),
        (("entries", "first", "source"), "guessed", "estimated"),
        (("runs", 0, "ms"), 0, "a run of 0"),
        (("runs", 0, "choices"), {"nobody": 3}, "nobody"),
        (("slots",), [{"name": "x"}], "not a usable"),
        (("protocol", "entries"), {"speed": 1}, "not a usable"),
    ],
)
def test_nonsense_in_the_file_is_named(table, tmp_path, path, value, words) -> None:
    table.save(tmp_path / "table.json")
    content = json.loads((tmp_path / "table.json").read_text())
    place = content
    for step in path[:-1]:
        place = place[next(iter(place))] if step == "first" else place[step]
    place[path[-1]] = value
    (tmp_path / "bad.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=words):
        LatencyTable.load(tmp_path / "bad.json")


def test_a_space_of_another_model_is_refused(case) -> None:
    other = SearchSpace((Decision("nobody", 8, (4, 8)),))
    with pytest.raises(InputError, match="no group of 8 units"):
        profile(case.model, case.analysis, other, X, MadeUpTarget())


def test_stairs_are_learned_from_a_sample() -> None:
    draw = np.random.default_rng(0)
    pairs = [(4 * int(i), 4 * int(o)) for i, o in draw.integers(1, 17, size=(40, 2))]
    truth = {(i, o): 0.01 + 1e-4 * i * math.ceil(o / 16) * 16 for i in range(4, 65, 4) for o in range(4, 65, 4)}
    learned = StepFunction.learn([i for i, _ in pairs], [o for _, o in pairs], [truth[p] for p in pairs])
    predicted = learned([i for i, _ in truth], [o for _, o in truth])
    assert learned.output_step == 16
    np.testing.assert_allclose(predicted, list(truth.values()), rtol=1e-6)


def test_factors_that_the_runs_cannot_tell_apart_stay_near_one() -> None:
    sums = np.array([[1.0, 2.0, 0.0, 0.0], [2.0, 4.0, 0.0, 0.0], [3.0, 6.0, 0.0, 0.0]])  # always together
    factors = fit_factors(sums, sums.sum(axis=1) * 1.2 + 0.1)
    assert factors[:2] == pytest.approx([1.2, 1.2], abs=0.15) and factors[4] == pytest.approx(0.1, abs=0.05)


def test_what_a_value_was_measured_under_stands_beside_it(case, tmp_path) -> None:
    class Told(MadeUpTarget):
        def time(self, payloads, protocol, progress=None):
            told = {"blocks": 3, "preemptions": 2, "page_faults": None, "load": 0.5, "energy_mj": 7.0}
            return [replace(r, n=10, conditions=told) for r in super().time(payloads, protocol, progress)]

    path = tmp_path / "table.json"
    profile(case.model, case.analysis, case.space, X, Told()).save(path)
    content = json.loads(path.read_text())
    conv = next(entry for key, entry in content["entries"].items() if key.startswith("conv"))
    assert conv["conditions"] == {"clock": "formula", "n": 20, "blocks": 6, "preemptions": 4, "load": 0.5}  # 1 and 4
    assert {run["conditions"]["n"] for run in content["runs"]} == {10}
    again = LatencyTable.load(path)
    again.save(tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == content


def test_a_batch_of_layers_fits_into_memory() -> None:
    big = Layer("conv", 64, 64, batch=32, size=(112, 112), out_size=(112, 112), kernel=(3, 3), stride=(1, 1),
                padding=(1, 1), dilation=(1, 1))  # fmt: skip
    layers = [replace(big, outputs=outputs) for outputs in range(16, 64)]
    target, seen = MadeUpTarget(), []
    batches = measure_layers(layers, target, target, None, Protocol.entries())
    for batch in batches:
        seen += batch
        numbers = sum(32 * 112 * 112 * (64 + layer.outputs) * 5 for layer in layers if layer.key in batch)
        assert numbers < 300_000_000 or len(batch) == 1
    assert seen == [layer.key for layer in layers]


def test_a_policy_that_was_timed_twice_stays_two_runs(case) -> None:
    table = case.profile()
    table.runs.append(table.runs[-1])
    other = LatencyTable(table.space, table.operators, table.fingerprint)
    other.merge(table)
    assert [run.ms for run in other.runs] == [run.ms for run in table.runs]
    other.merge(table)
    assert len(other.runs) == len(table.runs)


def test_a_refit_keeps_what_the_measurement_was_taken_under(case) -> None:
    table = case.profile()
    measured = Measurement(5.0, 0.01, 40, "cpu", False, {"load": 3.0, "device": {"cpu": "x"}})
    table.refit([({}, measured)])
    run = table.runs[-1]
    assert (run.ms, run.spread, run.role) == (5.0, 0.01, "search")
    assert run.conditions == {"clock": "cpu", "n": 40, "stable": False, "load": 3.0}

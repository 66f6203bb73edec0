"""Step by step to a budget: what comes back fits it, every step adds up, the weights are those that were carried."""

import base64
import itertools
import json
import re
from dataclasses import replace

import pytest
import torch

import autoprune
from autoprune.errors import BudgetError, InputError, RunError
from autoprune.evaluation import accuracy
from autoprune.graph import analyse, cut
from autoprune.models import read_weights
from autoprune.pipeline.jobs.progressive.current import expand_to_dense
from tests.support.listener import Heard
from tests.support.verdicts import missed

# Milliseconds by a formula: calling so small a network takes a real runtime nine tenths of the time.
STILL = {"step": "25%", "finetune_epochs": 1, "target": "tests.support.tiny_job:Formula"}


def progressive(model, loaders, **settings):
    return autoprune.progressive(model, **loaders, **{**STILL, **settings})


def rows_of(folder):
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(trained, loaders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "quarters"
    return progressive(trained, loaders, budget="latency<=80%", step="7%", seed=1, run=folder), folder


def test_the_budget_is_met_as_measured_and_reported(finished, trained, loaders):
    result, folder = finished
    budget, small = result.report["budget"], result.report["finetuned"]
    assert budget["met"] is True
    assert budget["measured"] == small["latency_ms"] <= budget["limit"]
    assert budget["limit"] == pytest.approx(0.8 * result.report["dense"]["latency_ms"])
    assert small["accuracy"] == accuracy(result.model, loaders["test"], bf16=False) > 0.5  # chance is 0.25
    assert small["params"] == autoprune.params(result.model) < autoprune.params(trained)
    assert small["flops"] == autoprune.flops(result.model, torch.zeros(1, 1, 8, 8))
    assert json.loads((folder / "report.json").read_text()) == result.report


def test_every_step_falls_by_what_it_had_to_or_was_shrunk_further(finished):
    _, folder = finished
    rows = rows_of(folder)
    assert [row["step"] for row in rows] == list(range(len(rows)))
    assert rows[0]["over"] == pytest.approx(1 / 0.8)
    for number, (before, row) in enumerate(itertools.pairwise(rows)):
        share = 0.07 * max(0.96**number, 0.25)
        assert row["goal"] == pytest.approx(max(0.99, before["over"] - share * rows[0]["over"]))
        assert row["over"] == pytest.approx(row["latency_ms"] / (0.8 * row["dense_ms"]))
        fell = (before["over"] - row["over"]) / (before["over"] - row["goal"])
        assert fell >= 0.75 or len(row["timed"]) == 3
        assert row["shrunk"] == [n for n, units in row["choices"].items() if units < before["choices"][n]] != []
        assert all(set(row["kept"][n]) <= set(before["kept"][n]) for n in row["kept"])
        assert all(len(row["kept"][n]) == units for n, units in row["choices"].items())
    assert rows[-1]["over"] <= 0.99 < rows[-2]["over"]


def test_measured_winners_refined_the_table(finished):
    _, folder = finished
    table = autoprune.LatencyTable.load(folder / "latency_table.json")
    refit = [run.choices for run in table.runs if run.role == "search"]
    assert all(choices in refit for row in rows_of(folder) for choices in row["timed"])


def test_policy_dense_weights_and_final_weights_rebuild_what_was_delivered(finished, trained):
    result, folder = finished
    last = rows_of(folder)[-1]
    assert (result.policy.choices, result.policy.kept) == (last["choices"], last["kept"])
    raw = autoprune.load(folder / "policy.json", folder / "dense.safetensors", model=trained)
    assert {n: t.shape for n, t in raw.state_dict().items()} == {
        n: t.shape for n, t in result.model.state_dict().items()
    }
    assert all(torch.equal(raw.state_dict()[n], t) for n, t in read_weights(folder / "pruned.safetensors").items())
    again = autoprune.load(folder / "policy.json", folder / "finetuned.safetensors", model=trained)
    images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(images), result.model(images))


def test_one_seed_gives_one_result_and_the_network_that_was_given_stays(finished, trained, loaders, tmp_path):
    result, folder = finished
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    again = progressive(trained, loaders, budget="latency<=80%", step="7%", seed=1, run=tmp_path / "again")
    assert all(torch.equal(before[name], tensor) for name, tensor in trained.state_dict().items())
    timings = ("seconds", "signals")
    for ours, theirs in zip(rows_of(tmp_path / "again"), rows_of(folder), strict=True):
        assert {k: v for k, v in ours.items() if k not in timings} == {
            k: v for k, v in theirs.items() if k not in timings
        }
    assert all(torch.equal(t, result.model.state_dict()[n]) for n, t in again.model.state_dict().items())


def test_the_page_shows_the_trajectory_and_which_signals_are_modelled_or_absent(finished):
    from autoprune.reports import write_html

    _, folder = finished
    page = write_html(folder).read_text()
    assert "Trajectory" in page
    assert "This run holds no episodes" not in page
    for words in ("predicted", "measured", "modelled: bytes over time", "absent", "no RAPL"):
        assert words in page
    pictures = [base64.b64decode(one).decode() for one in re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)]
    assert any("goal of the step" in picture for picture in pictures)
    assert list((folder / "tensorboard").glob("events*"))


@pytest.mark.parametrize("budget", ["flops<=50%", "params<=40%"])
def test_counts_are_met_exactly_and_carried_weights_are_the_result_without_a_last_fine_tuning(trained, loaders, budget):
    result = progressive(trained, loaders, budget=budget, finetune_epochs=0, step_batches=3)
    figures = {
        "flops": autoprune.flops(result.model, torch.zeros(1, 1, 8, 8)),
        "params": autoprune.params(result.model),
    }
    assert result.report["budget"]["measured"] == figures[budget.split("<=")[0]] <= result.report["budget"]["limit"]
    assert result.report["finetuned"]["accuracy"] > result.report["pruned"]["accuracy"]  # the steps trained it
    assert result.report["progressive"]["all_epochs"] == -(-3 * result.report["progressive"]["steps"] // 8)
    assert result.run is None


def test_a_throttling_device_is_waited_for_and_the_step_says_so(trained, loaders, tmp_path, monkeypatch):
    answers = iter(["the processor slows down for heat", "still hot", None])
    monkeypatch.setattr("autoprune.hardware.sensors.telemetry.Sensors.throttled", lambda self: next(answers, None))
    monkeypatch.setattr("autoprune.pipeline.jobs.progressive.device_watch._INTERVAL", 0.01)
    talk, folder = Heard(), tmp_path / "hot"
    result = progressive(trained, loaders, budget="flops<=75%", finetune_epochs=0, run=folder, talk=talk)
    rows = rows_of(folder)
    assert rows[0]["throttled"]["reason"] == "the processor slows down for heat"
    assert rows[0]["throttled"]["over"] is True
    assert 0.01 < rows[0]["throttled"]["seconds"] < 5
    assert [row["throttled"] for row in rows[1:]] == [None] * (len(rows) - 1)
    assert any("throttles (the processor slows down for heat); waiting" in said for said in talk.said)
    assert result.report["progressive"]["paused_steps"] == [0]
    from autoprune.reports import write_html

    assert "Step 0: the device throttled (the processor slows down for heat)" in write_html(folder).read_text()


def test_the_wait_is_bounded_and_the_measurement_taken_all_the_same(trained, loaders, tmp_path, monkeypatch):
    monkeypatch.setattr("autoprune.hardware.sensors.telemetry.Sensors.throttled", lambda self: "no cooling")
    monkeypatch.setattr("autoprune.pipeline.jobs.progressive.device_watch._INTERVAL", 0.01)
    monkeypatch.setattr("autoprune.pipeline.jobs.progressive.device_watch._PATIENCE", 0.03)
    result = progressive(trained, loaders, budget="flops<=75%", finetune_epochs=0, run=tmp_path / "hot")
    assert result.report["budget"]["met"]
    assert all(row["throttled"]["over"] is False for row in rows_of(tmp_path / "hot"))


def test_a_finished_network_that_misses_the_budget_is_pruned_further(trained, loaders, tmp_path, monkeypatch):
    from autoprune.pipeline.jobs.progressive import job

    real = job.verify

    def missed_once(problem, choices, network, uniform, attempt, reporter):
        timings, verdict = real(problem, choices, network, uniform, attempt, reporter)
        return timings, missed(verdict, 1.05) if attempt == 0 else verdict

    monkeypatch.setattr(job, "verify", missed_once)
    talk = Heard()
    result = progressive(trained, loaders, budget="flops<=75%", finetune_epochs=0, run=tmp_path / "twice", talk=talk)
    assert any("takes 105.0% of the budget as measured; it is pruned further" in said for said in talk.said)
    rows = rows_of(tmp_path / "twice")
    first = next(row for row in rows if row["over"] <= 1)
    assert rows[-1]["over"] <= 0.995 * first["over"] / 1.05
    assert result.policy.choices == rows[-1]["choices"] != first["choices"]


def test_a_cut_network_in_dense_shapes_is_cut_to_itself_and_computes_the_same(trained):
    example = torch.zeros(1, 1, 8, 8)
    analysis = analyse(trained, example)
    draw = torch.Generator().manual_seed(3)
    for width in (1, 3):
        kept = {g.name: sorted(torch.randperm(g.width, generator=draw)[:width].tolist()) for g in analysis.groups}
        small = cut(trained, analysis, kept)
        with torch.no_grad():  # as a training would
            for tensor in small.parameters():
                tensor.add_(torch.rand(tensor.shape, generator=draw))
        big = expand_to_dense(trained, analysis, kept, small)
        again = cut(big, analysis, kept)
        assert all(torch.equal(again.state_dict()[n], t) for n, t in small.state_dict().items())
        images = torch.randn(3, 1, 8, 8, generator=draw)
        assert torch.allclose(big(images), small(images), atol=1e-5)


def test_memory_traffic_and_energy_are_modelled_and_say_so(finished):
    """Bytes of the dense network by hand: weights, inputs and outputs of its convolutions and its linear layer."""
    _, folder = finished
    row = rows_of(folder)[0]
    signals, seconds = row["signals"], row["latency_ms"] * 1e-3
    weights = 8 * 9 + 8 + 16 * 8 * 9 + 16 * 16 * 9 + 256 * 4 + 4
    activations = (64 + 8 * 64) + (8 * 64 + 16 * 16) + (16 * 16 + 16 * 16) + (256 + 4)
    assert signals["bandwidth_gbs"]["source"] == "modelled: bytes over time"
    moved = signals["bandwidth_gbs"]["value"] * 1e9 * seconds / 4
    assert weights + activations <= moved <= 1.25 * (weights + activations)  # and the addition's
    assert signals["energy_mj"]["source"].startswith("modelled")
    assert signals["energy_mj"]["value"] > rows_of(folder)[-1]["signals"]["energy_mj"]["value"] > 0
    assert signals["temperature_c"]["value"] is None or signals["temperature_c"]["value"] > 0


def test_blocks_may_go_and_tied_layers_shrink_together(trained, loaders, tmp_path):
    folder = tmp_path / "wishes"
    settings = {"kinds": ("block", "channels"), "tie": ("conv*",), "budget": "params<=40%", "finetune_epochs": 0}
    result = progressive(trained, loaders, run=folder, **settings)
    assert result.report["budget"]["measured"] == autoprune.params(result.model) <= result.report["budget"]["limit"]
    again = autoprune.load(folder / "policy.json", folder / "finetuned.safetensors", model=trained)
    images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(images), result.model(images))


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"budget": "flops<=0.1%"}, BudgetError, "least reachable"),
        ({"budget": "latency<=1%"}, BudgetError, "least reachable"),
        ({"budget": "accuracy_drop<=1%"}, InputError, "autoprune compress"),
        ({"step": "0%"}, InputError, "such as 2.5%"),
        ({"step": "0.05"}, InputError, "such as 2.5%"),
        ({"step_decay": 1.5}, InputError, "step_decay"),
    ],
)
def test_what_is_refused_at_the_start_leaves_no_folder(trained, loaders, tmp_path, settings, error, text):
    with pytest.raises(error, match=text):
        progressive(trained, loaders, run=tmp_path / "r", **settings)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_exists_is_refused(finished, trained, loaders):
    with pytest.raises(RunError, match="--resume"):
        progressive(trained, loaders, run=finished[1])


def test_a_wait_in_an_earlier_turn_of_a_step_is_told(trained, loaders, tmp_path, monkeypatch):
    from autoprune.pipeline.jobs.progressive import steps

    answers = iter([None, "hot", None])  # before the dense network, and in the first turn of the first step
    monkeypatch.setattr("autoprune.hardware.sensors.telemetry.Sensors.throttled", lambda self: next(answers, None))
    monkeypatch.setattr("autoprune.pipeline.jobs.progressive.device_watch._INTERVAL", 0.01)
    real, measured = steps.ProgressiveSearch._verdict, []

    def too_slow_at_first(self, choices, timing):
        measured.append(choices)
        found = real(self, choices, timing)
        late = 0.2 if len(measured) == 2 else 0.0  # the first is the dense network
        return replace(found, measured=found.measured + late * found.limit)

    monkeypatch.setattr(steps.ProgressiveSearch, "_verdict", too_slow_at_first)
    result = progressive(trained, loaders, budget="flops<=75%", finetune_epochs=0, run=tmp_path / "hot")
    rows = rows_of(tmp_path / "hot")
    assert len(rows[1]["timed"]) > 1 and rows[1]["throttled"]["reason"] == "hot"
    assert 1 in result.report["progressive"]["paused_steps"]


def test_this_machine_s_sensors_say_nothing_of_a_device_elsewhere(trained, loaders, tmp_path, monkeypatch):
    monkeypatch.setattr("autoprune.hardware.sensors.telemetry.Sensors.throttled", lambda self: "this machine is hot")
    progressive(
        trained, loaders, budget="flops<=75%", target="tests.support.tiny_job:Elsewhere", run=tmp_path / "board"
    )
    row = rows_of(tmp_path / "board")[0]
    assert row["throttled"] is None
    for name in ("temperature_c", "frequency_mhz", "power_w", "load"):
        assert (row["signals"][name]["value"], row["signals"][name]["source"]) == (
            None,
            "the device is not this machine",
        )

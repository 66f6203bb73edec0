"""`lottery --forms`: a ticket as whole channels, as N:M and as compressed rows; trained again, timed, reported."""

import json
import re

import pytest
import torch
from torch import nn

import autoprune
from autoprune.errors import InputError
from autoprune.graph import analyse
from autoprune.hardware.contract.protocol import Protocol
from autoprune.hardware.sparse_kernels.csr import CsrLinear, timed_csr, with_csr
from autoprune.models import parameter_count
from autoprune.pipeline.jobs.lottery.levels import Level
from autoprune.reports.lottery import density_rows, form_rows, lottery_lines
from autoprune.space import Policy
from autoprune.techniques.space import space_of
from autoprune.techniques.sparsity.ticket import read_ticket
from autoprune.techniques.structured.alive import units_alive
from autoprune.techniques.structured.refill import refilled
from tests.pipeline.test_lottery import study, weights_of
from tests.support.tiny_job import Tiny

EXACT = "tests.support.tiny_job:Exact"
SETTINGS = {"rounds": 2, "rate": 0.5, "controls": "", "forms": "channels,nm=2:4,csr", "form_rounds": [2]}
SETTINGS |= {"target": EXACT, "per": "global", "timing": "quick"}
CHANNELS = ("channels", "uniform-widths", "random-widths")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forms") / "run"
    return study(folder, **SETTINGS), folder


def test_every_form_is_trained_and_timed(done):
    result, folder = done
    forms = result.report["lottery"]["forms"]
    assert set(forms["latency_ms"]) == {"dense", "ticket", *CHANNELS, "2:4"}
    assert all(ms > 0 for ms in forms["latency_ms"].values())
    assert all(len(forms[name]["accuracies"]) == 2 for name in (*CHANNELS, "2:4"))
    assert {row["name"] for row in forms["csr"]["layers"]} == {
        name for name, module in Tiny().named_modules() if type(module) is nn.Linear
    }
    header, *rows = form_rows(json.loads((folder / "report.json").read_text()))
    assert header[0] == "form" and [row[0] for row in rows][:6] == ["dense", "ticket", *CHANNELS, "2:4"]
    assert all(len(row) == len(header) for row in rows)


def test_channels_take_what_was_promised_and_others_as_long(done):
    """The target's formula is that of a table, but for the last digits of a fit."""
    result, folder = done
    forms = result.report["lottery"]["forms"]
    taken, said = forms["latency_ms"], forms["promised_ms"]
    assert set(said) == {"dense", *CHANNELS}
    assert all(taken[name] == pytest.approx(said[name], rel=0.03) for name in said)
    assert all(said[name] <= said["channels"] * (1 + 1e-9) < said["dense"] for name in CHANNELS)
    assert (folder / "checkpoint/profile-2.json").exists()  # the table, as that of a search
    widths = {name: forms[name]["widths"] for name in CHANNELS}
    assert widths["uniform-widths"] != widths["channels"] != widths["random-widths"]
    for name in CHANNELS:
        policy = Policy.load(folder / f"forms/{name}/policy.json")
        kept = {group: len(units) for group, units in policy.kept.items()}
        assert {group: [kept[group], width] for group, (_, width) in widths[name].items()} == widths[name]
    lines = " ".join(lottery_lines(json.loads((folder / "report.json").read_text())))
    assert re.search(r"channels of the ticket: \S+ ms promised by .*, \S+ ms measured \(.0\.0%\)", lines)


def test_widths_of_as_long_start_from_the_same_weights_and_order(done):
    """A unit that the narrower of two forms keeps, the wider one keeps, too; both start from step k's weights."""
    _, folder = done
    ticket, policies = read_ticket(folder / "tickets/seed-0.safetensors"), {}
    for name in CHANNELS:
        policies[name] = Policy.load(folder / f"forms/{name}/policy.json").kept
    for group in policies["channels"]:
        first, *others = sorted((set(kept[group]) for kept in policies.values()), key=len)
        assert all(first <= other for other in others)
    rows = [json.loads(line) for line in (folder / "forms/rounds.jsonl").read_text().splitlines()]
    steps = {(row["arm"], row["steps"]) for row in rows if row["arm"] in CHANNELS}
    assert {count for _, count in steps} == {8 - ticket.rewind} and len(steps) == 3


def test_every_density_has_its_units_and_its_times(done):
    """The last round's tickets are trained in all forms, too, though an earlier one may be handed over."""
    result, folder = done
    whole, *others = result.report["lottery"]["densities"]
    assert whole["density"] == 1.0 and all(alive == units for alive, units in whole["units_alive"].values())
    assert set(whole["latency_ms"]) == {"dense"} and [one["round"] for one in others] == [1, 2]
    for one in others:
        assert set(one["latency_ms"]) == {"dense", "ticket", "channels", "2:4"}
        assert one["csr"]["csr_ms"] > 0 and all(0 <= alive <= n for alive, n in one["units_alive"].values())
    assert others[1]["latency_ms"]["channels"] < others[0]["latency_ms"]["channels"]  # by the target's formula
    assert set(others[1]["forms"]) == {*CHANNELS, "2:4"} and len(others[1]["forms"]["2:4"]["accuracies"]) == 2
    assert 0 <= others[1]["forms"]["2:4"]["before_retraining"] <= 1
    header, *rows = density_rows(json.loads((folder / "report.json").read_text()))
    assert header[2:6] == ["units alive", "ticket, ms", "channels, ms", "2:4, ms"] and len(rows) == 3
    assert all(len(row) == len(header) for row in rows)


def test_tensorboard_has_a_run_an_arm_over_density(done):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result, folder = done
    events = EventAccumulator(str(folder / "tensorboard/density/ticket")).Reload()
    drawn = {event.step: event.value for event in events.Scalars("density/accuracy")}
    rounds = result.report["rounds"]
    assert drawn == {round(1e4 * one["density"]): pytest.approx(one["ticket"]["accuracy_mean"]) for one in rounds}
    tags = EventAccumulator(str(folder / "tensorboard")).Reload().Tags()["scalars"]
    assert {"lottery/latency_ms/channels", "lottery/latency_ms/csr", "lottery/units_alive/conv1"} <= set(tags)


def test_a_unit_without_a_way_in_or_out_is_dead_and_takes_others_with_it():
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    analysis = analyse(net, torch.zeros(1, 4))
    masks = {f"{n}.weight": torch.ones_like(net[n].weight, dtype=torch.bool) for n in (0, 2, 4)}
    assert units_alive(analysis, masks) == {"0": 3, "2": 3}
    masks["0.weight"][0] = False  # nothing makes unit 0 of the first layer
    masks["4.weight"][:, 1] = False  # nothing reads unit 1 of the second
    assert units_alive(analysis, masks) == {"0": 2, "2": 2}
    masks["2.weight"][:] = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.bool)
    assert units_alive(analysis, masks) == {"0": 1, "2": 1}  # one dead neighbour each; the third is a way through
    assert units_alive(analysis, {"2.weight": torch.zeros(3, 3, dtype=torch.bool)}) == {"0": 0, "2": 0}
    assert masks["0.weight"][1:].all()  # the masks are left as they are


def test_rounds_of_forms_that_there_are_not_are_refused(tmp_path):
    for wrong, message in (("5", "there is no round 5 of 2"), ("first", "write delivered, all, or rounds")):
        with pytest.raises(InputError, match=message):
            study(tmp_path / "run", **(SETTINGS | {"form_rounds": wrong}))
    assert not (tmp_path / "run").exists()


def test_channels_are_an_ordinary_policy_of_no_more_parameters_than_the_ticket(done):
    result, folder = done
    number = result.report["lottery"]["delivered_round"]
    masks = read_ticket(folder / "tickets/seed-0.safetensors").masks(number)
    left = parameter_count(Tiny()) - sum(int((~mask).sum()) for mask in masks.values())
    policy = Policy.load(folder / "forms/channels/policy.json")
    network = autoprune.load(policy, weights=folder / "forms/channels/finetuned.safetensors", model=Tiny())
    assert parameter_count(network) == result.report["lottery"]["forms"]["channels"]["params"] <= left


def test_n_of_m_lies_within_the_ticket_and_says_what_it_loses(done):
    result, folder = done
    forms, number = result.report["lottery"]["forms"], result.report["lottery"]["delivered_round"]
    masks = read_ticket(folder / "tickets/seed-0.safetensors").masks(number)
    network = Tiny()
    autoprune.models.load_weights(network, folder / "forms/2:4/finetuned.safetensors")
    for name in weights_of(Tiny()):
        assert not bool(network.get_parameter(name).detach()[~masks[name]].any())
    held = autoprune.sparsity.check(network, "2:4")
    assert any(held.values()) and 0 < forms["2:4"]["magnitude_lost"] < 0.5 and 0 < forms["2:4"]["groups_over"] < 1


@pytest.mark.slow
def test_forms_that_were_killed_end_as_whole_ones(done, tmp_path, monkeypatch):
    finish = Level.finish

    def killed(self, row):
        if self.arm == "2:4" and self.seed == 0:
            raise KeyboardInterrupt
        finish(self, row)

    monkeypatch.setattr(Level, "finish", killed)
    with pytest.raises((KeyboardInterrupt, autoprune.AutopruneError)):
        study(tmp_path / "run", **SETTINGS)
    monkeypatch.setattr(Level, "finish", finish)
    resumed = study(tmp_path / "run", resume=True, **SETTINGS).report["lottery"]["forms"]
    whole = done[0].report["lottery"]["forms"]
    assert {name: resumed[name] for name in (*CHANNELS, "2:4")} == {name: whole[name] for name in (*CHANNELS, "2:4")}
    assert resumed["promised_ms"] == whole["promised_ms"]


def test_a_form_that_there_is_not_is_named(tmp_path):
    with pytest.raises(InputError, match="there is no form '4:2'; there are channels, csr and N:M"):
        study(tmp_path / "run", forms="4:2")
    assert not (tmp_path / "run").exists()


def test_units_with_the_most_weights_left_are_refilled():
    net = nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 4))
    analysis = analyse(net, torch.zeros(1, 10))
    space = space_of(analysis)
    mask = torch.zeros(8, 10, dtype=torch.bool)
    mask[2], mask[5], mask[6, :3] = True, True, True
    choices, kept = refilled(analysis, space, {"0.weight": mask}, parameters=8 * 4 + 4 + 8 + int(mask.sum()))
    (name,) = choices
    assert choices[name] == 4  # 4 x 10 + 4 weights and biases, 4 x 4 + 4 behind: 64 of 67
    assert {2, 5, 6} < set(kept[name]) and kept[name] == sorted(kept[name])
    assert refilled(analysis, space, {"0.weight": mask}, 1)[0][name] == 1  # the least there is


def test_compressed_rows_compute_the_same():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 8, bias=False)).eval()
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.weight *= torch.rand_like(layer.weight) < 0.1
    for x in (torch.randn(3, 64), torch.randn(2, 5, 64)):
        assert torch.allclose(with_csr(net, ["0", "2"])(x), net(x), atol=1e-5)
    assert isinstance(with_csr(net, ["2"])[2], CsrLinear) and isinstance(net[2], nn.Linear)
    quick = Protocol(block=0.004, warmup=1, least_blocks=3, most_blocks=4, closing=0)
    found = timed_csr(net, torch.randn(1, 64), quick)
    assert [row["name"] for row in found["layers"]] == ["0", "2"]
    assert found["layers"][0]["density"] == pytest.approx(0.1, abs=0.02)
    assert found["chosen"] == [row["name"] for row in found["layers"] if row["csr_ms"] < row["dense_ms"]]


def test_the_plan_counts_the_trainings_and_writes_nothing(tmp_path, monkeypatch, capsys):
    from autoprune.cli.main import run

    monkeypatch.chdir(tmp_path)
    words = ["lottery", "--model", "tests.support.tiny_job:network", "--data", "tests.support.tiny_job:loaders"]
    words += ["--target", "tests.support.tiny_job:Formula", "--rounds", "4", "--seeds", "2", "--train-epochs", "2"]
    words += ["--controls", "reinit,random", "--as", "channels,csr", "--transfer", "adamw", "--run", "study"]
    assert run([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "28 trainings" in said and "6 trainings" in said and "16 trainings" in said  # 2 x 14, 2 x 3, 2 x (4 + 4)
    assert not (tmp_path / "runs").exists()
    assert run([*words, "--form-rounds", "1,2,3,4", "--dry-run"]) == 0
    assert re.search(r"\b24 trainings", capsys.readouterr().out)  # --as is another name of --forms: 2 x 4 x 3
    assert run([*words, "--rewind", "100000", "--dry-run"]) == 2
    assert "--rewind 100000 is past the training's" in capsys.readouterr().err

"""`lottery`: exact rounds, paired arms, nothing revived, a killed study that ends as a whole one, wrong input."""

import json
import math
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import autoprune
from autoprune.errors import AutopruneError, InputError
from autoprune.masks.ladder import kept_after
from autoprune.pipeline.jobs.lottery import study as studies
from autoprune.pipeline.jobs.lottery.figures import StudyRows, comparisons, delivered_round
from autoprune.pipeline.jobs.lottery.levels import Level
from autoprune.run.score import ACCURACY
from autoprune.techniques.sparsity.ticket import read_ticket
from tests.support.tiny_job import Tiny, images

ALL = "reinit,shuffled,random,finetune,lr-rewind"
FORMULA = "tests.support.tiny_job:Formula"


def loaders():
    return {part: DataLoader(images(n, seed), batch_size=16) for part, n, seed in
            (("train", 64, 0), ("search", 32, 1), ("test", 32, 2))}  # fmt: skip


def coloured():
    return tuple(DataLoader([(torch.randn(3, 8, 8), n % 2) for n in range(8)], batch_size=4) for _ in range(3))


def study(run, *, resume=False, model=None, **settings):
    given = {"rounds": 2, "rate": 0.3, "seeds": 2, "rewind": 3, "train_epochs": 2, "controls": ALL, "target": FORMULA}
    return autoprune.lottery(
        Tiny() if model is None else model, **loaders(), run=run, resume=resume, train_threads=1, **(given | settings)
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lottery") / "run"
    return study(folder), folder


def weights_of(model):
    return {name: p.detach() for name, p in model.named_parameters() if p.ndim > 1}


def test_every_round_keeps_what_the_formula_says_and_tickets_are_nested(done):
    result, folder = done
    sizes = {name: w.numel() for name, w in weights_of(Tiny()).items()}
    for seed in (0, 1):
        ticket = read_ticket(folder / f"tickets/seed-{seed}.safetensors")
        assert sorted(ticket.rounds) == [0, 1, 2] and ticket.rewind == 3 and ticket.about["seed"] == seed
        for number, masks in ticket.rounds.items():
            assert {name: int(mask.sum()) for name, mask in masks.items()} == {
                name: kept_after(size, 0.3, number) for name, size in sizes.items()
            }
        for name in sizes:
            assert bool((ticket.rounds[2][name] <= ticket.rounds[1][name]).all())
    rounds = result.report["rounds"]
    assert [one["round"] for one in rounds] == [0, 1, 2] and rounds[0]["density"] == 1.0
    total = sum(sizes.values())
    assert rounds[2]["density"] == pytest.approx(sum(kept_after(n, 0.3, 2) for n in sizes.values()) / total)
    for arm in ("ticket", *ALL.split(",")):
        assert all(len(one[arm]["accuracies"]) == 2 for one in rounds)
        assert rounds[2][arm]["density"] == pytest.approx(rounds[2]["density"])
    steps = {arm: rounds[1][arm]["steps"] for arm in ("ticket", *ALL.split(","))}
    assert steps == {"ticket": 5, "shuffled": 5, "random": 5, "finetune": 5, "lr-rewind": 5, "reinit": 8}


def test_what_is_handed_over_is_a_ticket_with_nothing_revived(done):
    result, folder = done
    number = result.report["lottery"]["delivered_round"]
    masks = read_ticket(folder / "tickets/seed-0.safetensors").masks(number)
    for name, weight in weights_of(result.model).items():
        assert bool((weight[~masks[name]] == 0).all())
    loaded = autoprune.load(folder, model=Tiny())
    assert all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), result.model.state_dict().values(),
                                                 strict=True))  # fmt: skip
    assert result.report["finetuned"]["zeros"] >= sum(int((~mask).sum()) for mask in masks.values())
    assert (folder / "report.json").exists() and json.loads((folder / "report.json").read_text()) == result.report
    dense = Tiny()
    dense.load_state_dict(autoprune.models.read_weights(folder / "dense.safetensors"))
    cut = autoprune.apply(dense, result.policy, torch.zeros(1, 1, 8, 8))
    pruned = autoprune.models.read_weights(folder / "pruned.safetensors")
    assert all(torch.equal(tensor, pruned[name]) for name, tensor in cut.state_dict().items())


@contextmanager
def killed_at_row(after):
    """What is done in it ends before this row is written: its training was for nothing."""
    finish, count = Level.finish, iter(range(100))

    def killed(self, row):
        if next(count) == after:
            raise KeyboardInterrupt
        finish(self, row)

    with pytest.MonkeyPatch.context() as patch, pytest.raises((KeyboardInterrupt, AutopruneError)):
        patch.setattr(Level, "finish", killed)
        yield


@pytest.mark.parametrize("after", [1, 4, 9])
def test_a_study_that_was_killed_ends_as_a_whole_one(done, tmp_path, after):
    whole, _ = done
    with killed_at_row(after):
        study(tmp_path / "run")
    resumed = study(tmp_path / "run", resume=True)
    assert resumed.report["rounds"] == whole.report["rounds"]
    assert resumed.policy == whole.policy


def test_one_seed_trained_alone_is_that_seed_of_a_study(done, tmp_path):
    whole, _ = done
    alone = study(tmp_path / "run", seeds=1, seed=1, controls="random")
    for one, other in zip(alone.report["rounds"], whole.report["rounds"], strict=True):
        assert one["ticket"]["accuracies"] == other["ticket"]["accuracies"][1:]
        assert one["random"]["accuracies"] == other["random"]["accuracies"][1:]


def test_pruning_over_all_layers_and_layers_that_are_skipped(tmp_path):
    result = study(tmp_path / "run", seeds=1, controls="", per="global", skip="fc")
    ticket = read_ticket(tmp_path / "run/tickets/seed-0.safetensors")
    sizes = {name: w.numel() for name, w in weights_of(Tiny()).items() if name != "fc.weight"}
    assert set(ticket.masks()) == set(sizes)
    for number in (1, 2):
        kept = sum(int(mask.sum()) for mask in ticket.rounds[number].values())
        assert kept == kept_after(sum(sizes.values()), 0.3, number)
    assert int((dict(result.model.named_parameters())["fc.weight"] == 0).sum()) == 0


def test_differences_are_paired_and_two_seeds_are_not_judged():
    def rows(seeds):
        for seed in range(seeds):
            base = {"seed": seed, "density": 1.0, "early_score": 0.9, "early_step": 1, "steps": 8, "validation": 0.9}
            yield base | {"arm": "dense", "round": 0, "score": 0.9 + 0.02 * seed}
            yield base | {"arm": "ticket", "round": 1, "score": 0.9 + 0.02 * seed, "validation": 0.9}
            yield base | {"arm": "random", "round": 1, "score": 0.8 + 0.02 * seed + 0.001 * (seed % 2)}
            yield base | {"arm": "ticket", "round": 2, "score": 0.5, "validation": 0.5}
            yield base | {"arm": "random", "round": 2, "score": 0.5}

    three = StudyRows(list(rows(3)), ACCURACY, ("random",))
    found = {(one["round"], one["against"]): one for one in comparisons(three)}
    paired = found[1, "random"]  # 0.1, 0.099, 0.1: the spread over seeds is ten times that of the differences
    assert paired["mean"] == pytest.approx(0.299 / 3) and paired["said"] == "above" and paired["positive"] == 3
    spread = 0.001 / math.sqrt(3)
    assert paired["half"] == pytest.approx(4.302652729749464 * spread / math.sqrt(3))
    assert found[1, "dense"]["said"] == "not clear" and found[2, "dense"]["said"] == "below"
    assert delivered_round(three) == (1, True)
    two = comparisons(StudyRows(list(rows(2)), ACCURACY, ("random",)))
    assert {one["said"] for one in two} == {"not judged: 2 of 3 seeds"}


def test_instability_is_the_fall_between_two_trainings_from_one_state(tmp_path, monkeypatch):
    result = study(tmp_path / "run", rounds=1, seeds=1, controls="", stability=[7, 0])
    found = result.report["lottery"]["stability"]
    assert [one["step"] for one in found] == [0, 7]
    rows = [json.loads(line) for line in (tmp_path / "run/stability.jsonl").read_text().splitlines()]
    for row, one in zip(rows, found, strict=True):
        assert len(row["merits"]) == 30 and row["barrier"] >= 0
        assert row["barrier"] == pytest.approx((row["merits"][0] + row["merits"][-1]) / 2 - min(row["merits"]))
        assert one["stable"] == (one["barrier_mean"] < 0.02)
    (tmp_path / "run/report.json").unlink()
    monkeypatch.setattr("autoprune.pipeline.jobs.lottery.stability.Stability._row", lambda *_: pytest.fail("again"))
    assert (
        study(tmp_path / "run", rounds=1, seeds=1, controls="", stability="0,7", resume=True).report["lottery"][
            "stability"
        ]
        == found
    )


def test_two_networks_of_other_valleys_have_a_barrier():
    """Two units that exchange their places compute the same, and the network half-way does not."""
    from autoprune.pipeline.jobs.lottery.networks import Networks
    from autoprune.pipeline.jobs.lottery.stability import Stability
    from autoprune.pipeline.reporter import Reporter
    from autoprune.pipeline.task import Task
    from autoprune.run.experiment import Experiment

    def net(order):
        made = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
        with torch.no_grad():
            for layer, weight in ((made[1], torch.tensor([[3.0, -3.0], [-3.0, 3.0]])[order]),
                                  (made[3], torch.tensor([[1.0, -1.0], [-1.0, 1.0]])[:, order])):  # fmt: skip
                layer.weight.copy_(weight)
                layer.bias.zero_()
        return made

    batch = (torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1]))
    data = autoprune.data.DataSet("two", [batch], [batch], [batch], [batch], 2, (2,), batch[0][:1])
    task = Task("net", net([0, 1]), data, False)
    settings = Experiment.build({"model": "net", "data": "two"})
    analysis = Stability(Networks(task, settings), None, None, Reporter())
    merits = [analysis._merit(net([0, 1]), net([1, 0]), share) for share in (0.0, 0.5, 1.0)]
    assert merits[0] == merits[2] == 1.0 and merits[1] == 0.5


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.scale = nn.Conv2d(1, 4, 3), nn.Parameter(torch.ones(1))
        self.head = nn.Linear(4, 4)

    def forward(self, x):
        return self.head(self.scale * self.inner(x).mean((2, 3)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rewind": 8}, "--rewind 8 is past the training's 8 steps"),
        ({"stability": "0,8"}, "--stability 8 is past the training's 8 steps"),
        ({"stability": "a"}, "write steps with commas"),
        ({"rate": 1.0}, "rate: Input should be less than 1"),
        ({"controls": "reinit,noise"}, "there is no control 'noise'"),
        ({"layer_rate": "fc"}, "write PATTERN=RATE"),
        ({"layer_rate": "fc9=0.1"}, "--layer-rate fc9 meets no layer; there are conv1"),
        ({"layer_rate": "fc=0.1", "per": "global"}, "all layers together have one rate"),
        ({"skip": "*"}, "no weight of .* can be pruned"),
        ({"transfer": "adamax"}, "there is no data set 'adamax'"),
        ({"transfer": "sgd"}, "--transfer sgd: the study itself trains with sgd"),
        ({"rate": 0.0}, "rate: Input should be greater than 0"),
        ({"forms": "channel"}, "there is no form 'channel'; there are channels, csr and N:M"),
        (
            {"forms": "channels", "skip": ("conv*", "inner", "outer")},
            "--forms channels: nothing in .* can be narrower .fc",
        ),
        (
            {"transfer": "tests.pipeline.test_lottery:coloured"},
            r"its inputs are \[3, 8, 8\], and the network is for \[1,",
        ),
        ({"transfer": "digits"}, "outputs of shape .* digits has 10 classes"),
        ({"controls": "small"}, "can be built narrower, one of the zoo"),
        ({"model": Own()}, r"the network \(Own\) has weights and no reset_parameters"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        study(tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_the_command_its_page_and_its_tensorboard(tmp_path, monkeypatch, capsys):
    from autoprune.cli.main import run

    monkeypatch.chdir(tmp_path)
    command = ["lottery", "--model", "lenet_300_100", "--data", "digits", "--rounds", "1", "--seeds", "1",
               "--layer-rate", "fc3=0.1", "--controls", "small,random", "--train-epochs", "1", "--train-threads", "1",
               "--target", FORMULA, "--run", "t"]  # fmt: skip
    assert run(command) == 0
    out = capsys.readouterr().out
    assert "ticket \N{MINUS SIGN} random" in out and "not judged with fewer than three seeds" in out
    report = json.loads((tmp_path / "runs/t/report.json").read_text())
    ticket = read_ticket(tmp_path / "runs/t/tickets/seed-0.safetensors")
    assert {name: int(mask.sum()) for name, mask in ticket.masks().items()} == {
        "fc1.weight": 256 * 300 * 8 // 10, "fc2.weight": 24_000, "fc3.weight": 900,
    }  # fmt: skip
    page = (tmp_path / "runs/t/report.html").read_text()
    assert ("<h2>Tickets</h2>" in page and "early" in page) or "least validation loss" in page
    assert list((tmp_path / "runs/t/tensorboard").glob("events*"))
    assert report["rounds"][1]["small"]["density"] == 1.0
    assert run(["lottery", "--run", "t", "--resume"]) == 0
    assert autoprune.load(tmp_path / "runs/t")(torch.zeros(1, 1, 16, 16)).shape == (1, 10)


def test_the_narrow_network_has_as_many_parameters_as_the_ticket():
    from autoprune.pipeline.jobs.lottery.networks import Networks
    from autoprune.pipeline.task import load_task
    from autoprune.run.experiment import Experiment

    settings = Experiment.build({"model": "lenet_300_100", "data": "digits"})
    networks = Networks(load_task(settings), settings)
    for wanted in (60_000, 20_000, 5_000):
        found = autoprune.params(networks.small(wanted, 0))
        assert abs(found - wanted) < 0.03 * wanted
    assert studies.FINETUNING < 1


def rows_of(folder):
    rows = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    return {(row["seed"], row["arm"], row["round"]): {k: v for k, v in row.items() if k != "seconds"} for row in rows}


@pytest.mark.parametrize("broken", [pytest.param(False, marks=pytest.mark.slow), True])
def test_seeds_in_processes_come_to_the_same(done, tmp_path, monkeypatch, broken):
    """Where the network cannot be sent, and where it can; every row is written once, by this process."""
    whole, folder = done
    model = Tiny()
    if broken:
        model.unsent = lambda: None  # cannot be pickled
    else:
        monkeypatch.setattr(studies.SeedStudy, "carry_out", lambda self: None)  # nothing is left to be done here
    result = study(tmp_path / "run", model=model, workers=2)
    assert rows_of(tmp_path / "run") == rows_of(folder)
    assert len((tmp_path / "run/rounds.jsonl").read_text().splitlines()) == len(rows_of(folder))
    assert result.report["rounds"] == whole.report["rounds"] and result.policy == whole.policy
    assert not list((tmp_path / "run/checkpoint").glob("*.pt"))

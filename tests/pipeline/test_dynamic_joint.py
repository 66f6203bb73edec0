"""`dynamic --kinds channels,exit`: widths and exits in one search, thresholds solved for every candidate."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import autoprune
from autoprune.cli.main import run
from autoprune.cost.additive import AdditiveCost
from autoprune.cost.metrics.expected import PlannedExit
from autoprune.cost.terms import CostEntry
from autoprune.dynamic_networks.flow import flow_of
from autoprune.dynamic_networks.thresholds import Answers, Limits, PathTimes, choices_of, leaving_at, most_accurate
from autoprune.early_exit.fit import Cut
from autoprune.early_exit.places import places_of
from autoprune.errors import InputError, UnsupportedModelError
from autoprune.models.inputs.reader import AS_IT_COMES
from autoprune.pipeline.jobs.dynamic.joint.candidates import JointScore
from autoprune.pipeline.jobs.dynamic.joint.hooks import seen_by_hooks
from autoprune.pipeline.jobs.dynamic.joint.prepared import _offered
from autoprune.pipeline.jobs.dynamic.joint.ridge import Pooled, pooled, ridge_answers
from autoprune.pipeline.jobs.dynamic.joint.settings import width_experiment
from autoprune.pipeline.jobs.dynamic.joint.training import trained_together
from autoprune.pipeline.jobs.dynamic.static import static_experiment
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.experiment import Experiment
from autoprune.space import Decision, SearchSpace
from autoprune.training import TrainSettings
from tests.early_exit.nets import Functional
from tests.pipeline.test_dynamic import deep
from tests.support.exits import share_of


def drawn(seed=0, inputs=300):
    draw = np.random.default_rng(seed)
    sure = draw.random((2, inputs))
    right = draw.random((3, inputs)) < np.concatenate([0.3 + 0.7 * sure, np.full((1, inputs), 0.8)])
    return Answers({"max": sure}, right, None, draw.random(inputs) < 0.9)


def replayed(answers, thresholds):
    taken = leaving_at(answers.confidences["max"], thresholds)
    return taken, answers.right[taken, np.arange(len(taken))]


def tuples(answers):
    grids = [
        [*np.unique(np.quantile(row, np.linspace(0, 1, 41), method="higher")), 2.0]
        for row in answers.sure("max", (0, 1))
    ]
    return itertools.product(*grids)


PATH = np.array([0.3, 0.6, 1.0])


def test_losses_count_from_the_reference_at_the_end_too():
    answers = drawn()
    for choice in choices_of(answers, PathTimes(1.2, (0.3, 0.6), (0.0, 0.0), 1.0), Limits(1.0, worst=2.0)):
        rows = np.array([*choice.places, 2])
        taken = leaving_at(answers.sure("max", choice.places), choice.thresholds)
        right = answers.right[rows[taken], np.arange(300)]
        assert choice.loss == pytest.approx(answers.reference.mean() - right.mean())


def test_no_thresholds_within_the_mean_are_more_accurate_than_the_solvers():
    answers = drawn()
    found = most_accurate(answers, "max", (0, 1), PATH, 0.55)
    best = max(
        right.mean()
        for taken, right in (replayed(answers, each) for each in tuples(answers))
        if PATH[taken].mean() <= 0.55
    )
    taken, right = replayed(answers, found.thresholds)
    assert right.mean() == pytest.approx(best)
    assert found.mean_ms == pytest.approx(PATH[taken].mean()) and found.mean_ms <= 0.55
    assert most_accurate(answers, "max", (0, 1), PATH, 0.2) is None


def test_heads_by_ridge_regression_are_the_least_squares_of_one_larger_system():
    draw = torch.Generator().manual_seed(0)
    x, others = torch.randn(50, 6, generator=draw).double(), torch.randn(20, 6, generator=draw).double()
    labels = torch.randint(0, 3, (50,), generator=draw)
    train = Pooled((x.float(),), torch.zeros(50, 3), labels)
    search = Pooled((others.float(),), torch.zeros(20, 3), torch.zeros(20, dtype=torch.int64))
    answers = ridge_answers(train, search)
    mean, scale = x.mean(0), x.std(0, unbiased=False)
    targets = 10.0 * torch.nn.functional.one_hot(labels, 3).double()
    rows = torch.cat([(x - mean) / scale, (0.5**0.5) * torch.eye(6).double()])  # 1e-2 * 50 samples
    wanted = torch.cat([targets - targets.mean(0), torch.zeros(6, 3).double()])
    logits = (others - mean) / scale @ torch.linalg.lstsq(rows, wanted).solution + targets.mean(0)
    top = logits.softmax(1).topk(2, 1).values
    assert answers.sure("margin", (0,))[0] == pytest.approx((top[:, 0] - top[:, 1]).numpy(), abs=1e-4)
    assert answers.right[0].tolist() == (logits.argmax(1) == 0).tolist()


def cut_of(model):
    flow = flow_of(model, torch.zeros(1, 1, 8, 8))
    return Cut(model, flow, places_of(flow), AS_IT_COMES)


def test_places_that_no_module_ends_at_are_not_offered():
    cut = cut_of(deep().eval())
    assert seen_by_hooks(cut) == list(cut.places)
    assert seen_by_hooks(cut_of(Functional().eval())) == []
    with pytest.raises(UnsupportedModelError, match="no place at which it can be left is the output of a module"):
        _offered(cut_of(Functional().eval()))


def test_a_candidate_is_worth_its_accuracy_within_the_mean(loaders):
    """The score, against replaying the thresholds that it was solved with; and without exits the network's own."""
    model = deep().eval()
    places = seen_by_hooks(cut_of(model))[:2]
    space = SearchSpace((Decision("w", 2, (1, 2)),))
    stages = [
        AdditiveCost("latency", "ms", space, [CostEntry("s", ("w",), lambda kept: kept[:, 0] / 2)]) for _ in range(3)
    ]
    exits = [PlannedExit(f"{place.name}.exit", 0, 0.5, 0.1, 0.05) for place in places]
    train, search = list(loaders["train"]), list(loaders["search"])
    scorer = SimpleNamespace(network=lambda _: model)
    score = JointScore(scorer, places, exits, stages, train, search, AS_IT_COMES, 1.8, 2)
    found = score({"w": 2, exits[0].name: 0, exits[1].name: 0})
    answers = ridge_answers(*(pooled(model, places, each, AS_IT_COMES) for each in (train, search)))
    times = score.times({"w": 2}, (0, 1))
    assert times.of((0, 1)) == pytest.approx([1.1, 2.15, 3.1])
    best = max(
        float(answers.right[-1].mean() - each.loss)
        for places in ((0,), (1,), (0, 1))
        if (each := most_accurate(answers, "margin", places, times.of(places), 1.8)) is not None
    )
    assert found == pytest.approx(best)
    assert found > answers.right[-1].mean()  # heads have learned, the network has not
    alone = score({"w": 1, exits[0].name: 1, exits[1].name: 1})
    assert alone == pytest.approx(answers.right[-1].mean())


def test_trained_together_exits_and_end_learn_and_are_read_back(loaders, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, teacher = deep(), deep()
    places = seen_by_hooks(cut_of(teacher.eval()))[:1]
    data = SimpleNamespace(**loaders, example=torch.zeros(1, 1, 8, 8), sample=None)
    task = Task("deep", teacher, data, True)
    settings = TrainSettings(epochs=6, optimizer="adamw", lr=2e-3, distil_weight=0.0, bf16=False)
    names = list(model.state_dict())
    before = ridge_answers(*(pooled(model.eval(), places, loaders[each], AS_IT_COMES) for each in ("train", "search")))
    trained = trained_together(model, places, task, settings, tmp_path / "w.safetensors", Reporter())
    after = ridge_answers(*(pooled(trained, places, loaders[each], AS_IT_COMES) for each in ("train", "search")))
    assert after.right[-1].mean() > before.right[-1].mean() + 0.2
    assert after.right[0].mean() > 0.7
    assert list(trained.state_dict()) == names
    again = trained_together(deep(), places, task, settings, tmp_path / "w.safetensors", Reporter())
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in again.state_dict().items())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--kinds", "exit", "--mean-latency", "50%"], "--kinds channels,exit"),
        (["--kinds", "channels", "--mean-latency", "50%"], "--kinds channels,exit"),
        (["--kinds", "channels,exit"], "give --mean-latency"),
        (["--agent", "optuna"], "an agent only with --kinds"),
        (["--kinds", "channels,exit", "--mean-latency", "50%", "--agent", "optunna"], "optuna"),
        (["--confidence", "patients"], "patience"),
        (["--confidence", "max", "--method", "skip"], "only exits have several kinds"),
    ],
)
def test_wrong_wishes_end_in_a_line(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["dynamic", "--model", "resnet20", "--data", "digits", "--run", "r", *words]) == 2
    told = capsys.readouterr().err.strip()
    assert said in told and "Traceback" not in told and told.count("\n") < 2
    assert not (tmp_path / "runs").exists()


def test_the_static_network_beside_it_has_no_exits_to_decide_on():
    experiment = Experiment(kinds=("channels", "exit"), mean_latency="50%", run="r")
    assert static_experiment(experiment, 0.5).kinds == width_experiment(experiment).kinds == ("channels",)


def test_other_jobs_have_no_exits_to_decide_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["compress", "--model", "resnet20", "--data", "digits", "--latency", "50%", "--kinds", "channels,exit"]
    assert run([*words, "--run", "r"]) == 2
    assert "autoprune dynamic --kinds channels,exit" in capsys.readouterr().err


@pytest.mark.slow
def test_widths_and_exits_end_to_end_and_are_loaded(loaders, tmp_path):
    pytest.importorskip("onnxruntime")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = deep()
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        for _ in range(3):
            for images, labels in loaders["train"]:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(images), labels).backward()
                optimizer.step()
    folder = tmp_path / "run"
    settings = {"kinds": "channels,exit", "mean_latency": "60%", "max_drop": 30.0, "worst": "1000%", "timing": "quick"}
    settings |= {
        "episodes": 8,
        "agent": "optuna",
        "finetune_epochs": 3,
        "optimizer": "adamw",
        "lr": 1e-3,
        "static_episodes": 0,
    }
    result = autoprune.dynamic(model.eval(), **loaders, run=folder, **settings)
    report = result.report
    assert report["dynamic"] is True and report["mean_share"] <= 0.62
    assert sum(p.numel() for p in autoprune.load(folder, model=deep()).parts.parameters()) > 0
    images = next(iter(loaders["test"]))[0]
    with torch.no_grad():
        logits, taken = result.model.answers(images)
        same, alike = autoprune.load(folder, model=deep()).answers(images)
    assert torch.equal(logits, same) and taken.tolist() == alike.tolist()
    right = torch.cat([result.model(x).argmax(1) == y for x, y in loaders["test"]]).float().mean()
    assert report["accuracy"] == pytest.approx(float(right), abs=share_of(256))
    again = autoprune.dynamic(model, **loaders, run=folder, **settings, resume=True)
    assert again.report["exits"] == report["exits"]
    with pytest.raises(InputError, match="weights of its own"):
        autoprune.load(folder, weights=folder / "dense.safetensors", model=deep())

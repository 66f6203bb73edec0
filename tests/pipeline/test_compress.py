"""The main job from Python: what comes back fits the budget, the files agree with it, and one seed gives one result."""

import json
import math

import pytest
import torch

import autoprune
from autoprune.agents import AGENTS, Agent
from autoprune.errors import BudgetError, InputError, RunError, TargetError
from autoprune.evaluation import accuracy
from autoprune.models import read_weights
from autoprune.pipeline.task import split_search_set


def compress(model, loaders, **settings):
    settings = {"budget": "flops<=40%", "target": "torch", "episodes": 12, "finetune_epochs": 3, **settings}
    return autoprune.compress(model, **loaders, **settings)


@pytest.fixture(scope="module")
def finished(trained, loaders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "quarters"
    return compress(trained, loaders, run=folder, agent="ddpg"), folder


def test_the_small_network_meets_the_budget_by_an_independent_count(finished, trained):
    result, _ = finished
    example = torch.zeros(1, 1, 8, 8)
    assert autoprune.flops(result.model, example) <= 0.4 * autoprune.flops(trained, example)
    assert result.report["budget"]["met"] is True
    assert result.report["budget"]["measured"] == autoprune.flops(result.model, example)
    assert result.report["finetuned"]["params"] == autoprune.params(result.model)


def test_reported_accuracies_are_those_of_the_networks_on_the_test_split(finished, trained, loaders):
    result, _ = finished
    assert result.report["finetuned"]["accuracy"] == accuracy(result.model, loaders["test"], bf16=False)
    assert result.report["dense"]["accuracy"] == accuracy(trained, loaders["test"], bf16=False)
    assert result.report["finetuned"]["accuracy"] > 0.7  # chance is 0.25
    assert {"dense", "pruned", "finetuned", "baselines", "budget", "seconds", "seed"} <= result.report.keys()
    assert result.report["baselines"]["uniform"]["flops"] <= result.report["budget"]["limit"]


def test_the_users_network_is_left_as_it_was(trained, loaders, finished):
    assert not trained.training
    assert trained.conv1.weight.shape == (8, 1, 3, 3)
    assert all(p.grad is None or p.grad.shape == p.shape for p in trained.parameters())


def test_files_of_the_run_say_what_the_result_says(finished):
    result, folder = finished
    assert json.loads((folder / "report.json").read_text()) == result.report
    assert autoprune.Policy.load(folder / "policy.json") == result.policy
    rows = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    assert [row["episode"] for row in rows] == list(range(12))
    limit = 0.4 * result.report["dense"]["flops"]
    assert all(row["predicted_cost"] <= limit for row in rows)
    assert list((folder / "tensorboard").glob("events*"))
    assert list((folder / "policies").glob("*.json"))


def test_the_policy_rebuilds_the_raw_cut_bit_for_bit_and_the_run_the_final_network(finished, trained):
    result, folder = finished
    raw = autoprune.load(folder / "policy.json", folder / "dense.safetensors", model=trained)
    for name, tensor in read_weights(folder / "pruned.safetensors").items():
        assert torch.equal(raw.state_dict()[name], tensor), name
    again = autoprune.load(folder / "policy.json", folder / "finetuned.safetensors", model=trained)
    images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(images), result.model(images))


def test_one_seed_gives_one_result(trained, loaders, finished, tmp_path):
    result, _ = finished
    again = compress(trained, loaders, run=tmp_path / "again", agent="ddpg")
    assert again.policy.model_copy(update={"measured": {}}) == result.policy.model_copy(update={"measured": {}})
    for name, tensor in again.model.state_dict().items():
        assert torch.equal(tensor, result.model.state_dict()[name]), name


def test_a_finished_search_is_resumed_without_evaluating_again(trained, loaders, finished, tmp_path, monkeypatch):
    _, folder = finished
    monkeypatch.setattr("autoprune.techniques.scoring.Scorer.network", lambda *_: pytest.fail("evaluated again"))
    result = compress(trained, loaders, run=folder, agent="ddpg", resume=True)
    assert (
        json.loads((folder / "report.json").read_text())["finetuned"]["accuracy"]
        == result.report["finetuned"]["accuracy"]
    )


@pytest.mark.parametrize("agent", ["random", "optuna", "uniform"])
@pytest.mark.parametrize("budget", ["params<=30%", "flops<=60%"])
def test_other_agents_and_budgets(trained, loaders, agent, budget):
    result = compress(trained, loaders, agent=agent, budget=budget, finetune_epochs=1, finalists=2)
    assert result.report["budget"]["met"]
    assert result.report["budget"]["measured"] <= result.report["budget"]["limit"]
    assert result.run is None


def test_without_fine_tuning_the_delivered_network_scores_as_the_search_scored_it(trained, loaders, tmp_path):
    result = compress(trained, loaders, agent="optuna", episodes=4, finetune_epochs=0, run=tmp_path / "r", finalists=1)
    episodes, _ = split_search_set(loaders["search"])
    rows = [json.loads(line) for line in (tmp_path / "r" / "episodes.jsonl").read_text().splitlines()]
    scored = {tuple(row["choices"].values()): row["accuracy"] for row in rows}
    assert accuracy(result.model, episodes) == scored[tuple(result.policy.choices.values())]


def test_own_loss_and_evaluation(trained, loaders):
    seen = []

    def loss(output, batch):
        return torch.nn.functional.mse_loss(output.softmax(1), torch.nn.functional.one_hot(batch[1], 4).float())

    def evaluate(model, batches):
        seen.append(model)
        with torch.no_grad():
            return -sum(float(loss(model(x), (x, y))) for x, y in batches)

    result = compress(trained, loaders, agent="random", loss=loss, evaluate=evaluate, episodes=4, finetune_epochs=1)
    assert seen
    assert -4 < result.report["finetuned"]["score"] < 0


def test_a_latency_budget_is_met_as_measured(trained, loaders, tmp_path, monkeypatch):
    # By a formula: calling so small a network takes a real runtime nine tenths of the time.
    settings = {
        "budget": "latency<=80%",
        "target": "tests.support.tiny_job:Formula",
        "agent": "random",
        "finetune_epochs": 1,
    }
    result = compress(trained, loaders, run=tmp_path / "l", **settings)
    budget = result.report["budget"]
    assert budget["measured"] <= budget["limit"]
    assert budget["limit"] == pytest.approx(0.8 * result.report["dense"]["latency_ms"])
    assert budget["measured"] == result.report["finetuned"]["latency_ms"]
    table = autoprune.LatencyTable.load(tmp_path / "l" / "latency_table.json")
    assert table.predict(result.policy) == pytest.approx(result.report["finetuned"]["latency_ms_predicted"])


class Timid(Agent):
    """Always asks for the thinnest network, far below any budget."""

    name = "timid"

    def _plan(self, k):
        return self._episode(k, {decision.name: decision.options[0] for decision in self.env.space.decisions})


@pytest.mark.parametrize("budget", ["flops<=60%", "latency<=80%"])
def test_what_a_search_leaves_of_the_budget_is_spent(trained, loaders, monkeypatch, request, budget):
    AGENTS.register("timid", Timid)
    request.addfinalizer(lambda: AGENTS.unregister("timid"))
    monkeypatch.setattr("tests.support.tiny_job._chance", lambda _: 0.0)  # layers add up
    settings = {"agent": "timid", "episodes": 2, "target": "tests.support.tiny_job:Formula", "granularity": 1}

    def width(model, batches):
        return sum(p.numel() for p in model.parameters()) / 1e4  # a wider network is always better

    result = compress(trained, loaders, budget=budget, finetune_epochs=0, evaluate=width, **settings)
    spent = result.report["budget"]["measured"] / result.report["budget"]["limit"]
    assert 0.95 <= spent <= 1


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"budget": "flops<=0.1%"}, BudgetError, "least reachable"),
        ({"budget": "speed<=1%"}, InputError, "unknown budget"),
        ({"agent": "ddgp"}, InputError, "did you mean 'ddpg'"),
        ({"target": "onnxruntme"}, InputError, "onnxruntime"),
        ({"skip": ["conv9"]}, InputError, "conv9"),
        ({"episodes": 0}, InputError, "episodes"),
    ],
)
def test_what_is_refused_at_the_start_leaves_no_folder(trained, loaders, tmp_path, settings, error, text):
    with pytest.raises(error, match=text) as caught:
        compress(trained, loaders, run=tmp_path / "r", **settings)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_exists_is_refused(trained, loaders, finished):
    _, folder = finished
    before = (folder / "report.json").read_bytes()
    with pytest.raises(RunError, match="--resume"):
        compress(trained, loaders, run=folder)
    assert (folder / "report.json").read_bytes() == before


def test_skipped_layers_stay(trained, loaders):
    result = compress(
        trained, loaders, skip=["conv1"], budget="flops<=60%", agent="random", episodes=4, finetune_epochs=0
    )
    assert result.model.conv1.weight.shape[0] == 8
    assert "conv1" not in result.policy.choices


def test_a_target_that_is_not_there_is_exit_4(trained, loaders, monkeypatch):
    monkeypatch.setattr(
        "autoprune.hardware.targets.torch.eager.TorchTarget.available", lambda self: "no torch; install it"
    )
    with pytest.raises(TargetError, match="no torch"):
        compress(trained, loaders)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_network_on_a_gpu_is_compressed_there(trained, loaders, tmp_path):
    import copy

    result = compress(copy.deepcopy(trained).cuda(), loaders, agent="random", episodes=3, run=tmp_path / "r")
    assert next(result.model.parameters()).is_cuda and result.report["budget"]["met"]
    assert autoprune.load(tmp_path / "r", model=trained).conv1.weight.shape == result.model.conv1.weight.shape


@pytest.mark.parametrize("seed", range(4))
def test_nobody_ends_below_the_uniform_baseline_where_nothing_is_fine_tuned(seed, trained, loaders):
    """One random episode is seldom a good policy."""

    def widths(model, batches):
        return sum(math.log(p.numel()) for p in model.parameters()) / 1000

    settings = {"agent": "random", "episodes": 1, "finetune_epochs": 0, "evaluate": widths, "seed": seed}
    report = compress(trained, loaders, **settings).report
    assert report["finetuned"]["score"] >= report["baselines"]["uniform"]["score"]

"""Dropped blocks in costs, action mask and environment: priced as the network that is really cut, decided once."""

import itertools
import json

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3
from torch import nn

from autoprune import agents
from autoprune.agents import run_search
from autoprune.cost import AdditiveCost, CostEntry, FeasibleActions
from autoprune.cost.completion import Completions
from autoprune.cost.energy import energy_cost
from autoprune.cost.macs import macs_cost
from autoprune.cost.params import params_cost
from autoprune.criteria.ranking import kept_units, ranking
from autoprune.envs import PruningEnv, ScoreMemory, amc_features, largest_uniform, spend_budget
from autoprune.errors import InputError, PolicyMismatchError
from autoprune.graph import analyse, cut
from autoprune.models import ZOO
from autoprune.space import BLOCK, KINDS, Decision, Policy, SearchSpace, SpaceConstraints
from autoprune.techniques.space import space_of
from autoprune.techniques.structured.apply import check_fit

X = torch.zeros(1, 3, 16, 16)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return ZOO["resnet20"](width=0.5).eval()


@pytest.fixture(scope="module")
def analysis(model):
    return analyse(model, X)


@pytest.fixture(scope="module")
def space(analysis) -> SearchSpace:
    return space_of(analysis, SpaceConstraints(granularity=2, kinds=("channels", "block")))


def counted(model: nn.Module) -> tuple[int, int]:
    """Multiply-accumulates while the network runs, and its parameters."""
    total = 0

    def count(module, inputs, output):
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(X)
    return total, sum(p.numel() for p in model.parameters())


def test_blocks_are_opt_in_and_stand_before_their_widths(analysis, space) -> None:
    assert not any(d.traits.gates for d in space_of(analysis).decisions)
    assert {d.kind for d in space_of(analysis, SpaceConstraints(kinds=[BLOCK])).decisions} == {BLOCK}
    names = list(space.names)
    for decision in space.decisions:
        for name in itertools.chain.from_iterable(decision.within):
            assert names.index(name) < names.index(decision.name)
    assert [d.name for d in space.decisions if d.traits.gates] == [block.name for block in analysis.blocks]
    assert [d.name for d in space.decisions if not d.traits.gates] == [group.name for group in analysis.groups]


def test_prices_are_those_of_the_network_that_is_cut(model, analysis, space) -> None:
    macs, params = macs_cost(analysis, space), params_cost(analysis, space)
    order = ranking(model, analysis)
    for seed in range(6):
        choices = space.random(seed).choices
        small = cut(model, analysis, kept_units(order, choices))
        assert (macs.cost(choices), params.cost(choices)) == counted(small)
        assert (analysis.macs(choices), analysis.param_total(choices)) == counted(small)


def test_widths_within_a_dropped_block_cost_nothing_and_have_one_name(analysis, space) -> None:
    costs = [macs_cost(analysis, space), params_cost(analysis, space), energy_cost(analysis, space)]
    narrow, wide = ({"layer1.1": 0, "layer1.1.conv1": units} for units in (2, 8))
    assert space.policy(narrow) == space.policy(wide)
    assert space.policy(wide).choices["layer1.1.conv1"] == 8
    raw = space.indices({})
    for cost in costs:
        rows = np.repeat(raw[None], 4, axis=0)
        rows[:, space.names.index("layer1.1")] = 0
        rows[:, space.names.index("layer1.1.conv1")] = np.arange(4)
        prices = cost.costs(rows)
        assert (prices == prices[0]).all()
        assert prices[0] < cost.dense
        assert all(space.choices(row) == space.complete(wide) for row in rows)


def test_the_wall_is_exact_with_blocks(analysis) -> None:
    space = space_of(
        analysis, SpaceConstraints(granularity=8, kinds=("channels", "block"), skip=["layer2.*", "layer3.[01].*"])
    )
    cost = macs_cost(analysis, space)
    sizes = [len(d.options) for d in space.decisions]
    rows = np.array(list(itertools.product(*map(range, sizes))))
    prices = cost.costs(rows)
    completions = Completions(cost)
    assert completions.exact
    draw = np.random.default_rng(0)
    for row in draw.permutation(rows)[:12]:
        for step in range(len(sizes)):
            reach = (rows[:, :step] == row[:step]).all(axis=1)
            wanted = [prices[reach & (rows[:, step] == option)].min() for option in range(sizes[step])]
            assert completions.ahead(row[:step], row, np.inf)[0] == pytest.approx(wanted)


def test_episodes_with_blocks_stay_inside_and_are_canonical(analysis, space) -> None:
    cost = macs_cost(analysis, space)
    asked = []
    memory = ScoreMemory(lambda choices: asked.append(choices) or 0.5)
    env = PruningEnv(space, cost, 0.3 * cost.dense, memory, amc_features(analysis, space))
    draw = np.random.default_rng(1)
    for _ in range(30):
        env.reset()
        done = False
        while not done:
            _, _, done, _, info = env.step(draw.uniform(-1, 1, 1).astype(np.float32))
            decision = space[info["decision"]]
            assert decision.matters(info["choices"]) or info["kept"] == decision.width
        assert env.outcome.cost <= 0.3 * cost.dense
        assert env.outcome.choices == space.complete(env.outcome.choices)
        assert info["accounting"]["rest"] == 0
    assert any(0 in choices.values() for choices in asked)


def test_a_policy_that_differs_within_a_dropped_block_is_not_scored_again(analysis, space) -> None:
    cost = macs_cost(analysis, space)
    env = PruningEnv(space, cost, np.inf, lambda choices: 0.5)
    for inner in (-1.0, 0.3):
        env.reset()
        for decision in space.decisions:
            action = {"layer2.1": -1.0, "layer2.1.conv1": inner}.get(decision.name, 1.0)
            env.step(np.array([action], dtype=np.float32))
    assert env.memory.evaluations == 1
    assert env.outcome.repeated


def test_both_checkers_accept_a_space_with_blocks(analysis, space) -> None:
    cost = macs_cost(analysis, space)
    features = amc_features(analysis, space)
    block, first = (features[space.names.index(name)] for name in ("layer1.0", "layer1.0.conv1"))
    assert block[4:].tolist() == [0, 0]
    assert block[1:4].tolist() == first[1:4].tolist()
    env = PruningEnv(space, cost, 0.5 * cost.dense, lambda choices: 0.5, features)
    check_env(env, skip_render_check=True)
    check_env_sb3(env)


@pytest.mark.parametrize("name", agents.AGENTS)
def test_every_agent_plays_and_resumes_with_blocks(name, analysis, space) -> None:
    cost = macs_cost(analysis, space)

    def agent():
        env = PruningEnv(space, cost, 0.4 * cost.dense, lambda choices: sum(choices.values()) / 1000)
        return agents.get(name)(env, episodes=8, warmup=4, seed=3)

    whole = run_search(agent(), 8, lambda record: None)
    assert all(r.predicted_cost <= 0.4 * cost.dense and space.complete(r.choices) == r.choices for r in whole)
    resumed = run_search(agent(), 8, lambda record: None, rows=whole[:5])
    assert [r.choices for r in resumed] == [r.choices for r in whole]


def test_random_policies_spend_the_budget_and_drop_blocks(analysis, space) -> None:
    cost = macs_cost(analysis, space)
    dropped = []
    for seed in range(12):
        choices = spend_budget(cost, 0.4 * cost.dense, np.random.default_rng(seed))
        assert choices == space.complete(choices)
        assert cost.cost(choices) <= 0.4 * cost.dense
        for decision in space.decisions:
            higher = [option for option in decision.options if option > choices[decision.name]][:1]
            assert all(cost.cost({**choices, decision.name: option}) > 0.4 * cost.dense for option in higher)
        dropped.append(sum(choices[d.name] == 0 for d in space.decisions))
    assert max(dropped) > 0
    assert min(dropped) < max(dropped)
    uniform = largest_uniform(cost, 0.4 * cost.dense)
    assert all(uniform[d.name] == 1 for d in space.decisions if d.traits.gates)
    assert all(space.uniform(0.1).choices[d.name] == 1 for d in space.decisions if d.traits.gates)


def test_the_cheapest_network_has_no_block_left(space, analysis) -> None:
    least, choices = macs_cost(analysis, space).least()
    assert all(choices[d.name] == 0 for d in space.decisions if d.traits.gates)
    assert FeasibleActions(macs_cost(analysis, space), least).known_policy == choices


def test_policies_with_blocks_are_files_that_are_checked(analysis, space, tmp_path, model) -> None:
    choices = space.complete({"layer1.1": 0, "layer3.2.conv1": 4})
    policy = space.policy(choices, kept=kept_units(ranking(model, analysis), choices))
    policy.save(tmp_path / "policy.json")
    assert Policy.load(tmp_path / "policy.json") == policy
    check_fit(analysis, policy)
    content = json.loads((tmp_path / "policy.json").read_text())
    assert content["kept"]["layer1.1"] == []
    assert content["kinds"]["layer1.1"] == "block"
    for change, message in (
        ({"kinds": {}}, "at least one must stay"),
        ({"choices": {**choices, "layer1.0": 2}}, "1 or 0"),
        ({"kinds": {**policy.kinds, "layer9": "block"}}, "layer9"),
    ):
        (tmp_path / "policy.json").write_text(json.dumps({**content, **change, "kept": None}))
        with pytest.raises(InputError, match=message):
            Policy.load(tmp_path / "policy.json")
    with pytest.raises(PolicyMismatchError, match=r"layer1\.0"):
        check_fit(analysis, policy.model_copy(update={"kinds": {}}))


def test_skipping_a_layer_keeps_its_block(analysis) -> None:
    space = space_of(analysis, SpaceConstraints(kinds=KINDS, skip=["layer1.1.conv2", "layer2.2"]))
    assert "layer1.1" not in space.names
    assert "layer2.2" not in space.names
    assert space["layer2.2.conv1"].within == ()
    assert "skipped" in space.frozen["layer1.1"]
    with pytest.raises(InputError, match="did you mean 'block'"):
        space_of(analysis, SpaceConstraints(kinds=["blocks"]))


def test_nonsense_is_refused() -> None:
    for decision in (("b", 2, (0, 2), "block"), ("c", 2, (0, 2), "channels")):
        with pytest.raises(InputError):
            Decision(*decision)
    with pytest.raises(InputError, match="no block decision"):
        SearchSpace((Decision("c", 2, (1, 2), within=(("b",),)),))


def test_a_width_in_two_blocks_matters_until_both_are_gone() -> None:
    within = (("a",), ("b",))
    space = SearchSpace((Decision("a", 1, (0, 1), "block"), Decision("w", 4, (1, 4), within=within),
                         Decision("b", 1, (0, 1), "block")))  # fmt: skip
    assert space.complete({"a": 0, "w": 1})["w"] == 1
    assert space.complete({"a": 0, "b": 0, "w": 1})["w"] == 4
    cost = AdditiveCost("flops", "MACs", space, [CostEntry("x", ("w",), lambda w: w[:, 0].astype(float))])
    env = PruningEnv(space, cost, np.inf, lambda choices: 0.5)
    env.reset()
    for _ in range(3):
        env.step(np.array([-1.0], dtype=np.float32))
    assert env.outcome.choices == {"a": 0, "w": 4, "b": 0}

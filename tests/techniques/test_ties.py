"""What users say about a space: caps, ties, granularity by kind. A tied policy is priced as the network it cuts."""

import pytest
import torch
from torch import nn

import autoprune
from autoprune.cost.energy import energy_cost
from autoprune.cost.macs import macs_cost
from autoprune.cost.params import params_cost
from autoprune.errors import InputError
from autoprune.graph import analyse, cut
from autoprune.hardware.tables.lowering import priced_operators
from autoprune.space import Decision, SearchSpace, SpaceConstraints
from autoprune.space.constraints import parsed_caps, parsed_granularity
from autoprune.techniques.space import space_of

X = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Staged(nn.Module):
    """Two stages with inner widths 12, 18 and 24, and a linear layer behind."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.one = nn.ModuleDict({"inner": nn.Conv2d(16, 12, 3, padding=1), "outer": nn.Conv2d(12, 16, 1)})
        self.two = nn.ModuleDict({"inner": nn.Conv2d(16, 18, 3, padding=1), "outer": nn.Conv2d(18, 16, 1)})
        self.three = nn.ModuleDict({"inner": nn.Conv2d(16, 24, 3, padding=1), "outer": nn.Conv2d(24, 16, 1)})
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        for block in (self.one, self.two, self.three):
            x = x + block["outer"](torch.relu(block["inner"](x)))
        return self.fc(x.mean((2, 3)))


@pytest.fixture(scope="module")
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Staged().eval()


@pytest.fixture(scope="module")
def analysis(net):
    return analyse(net, X)


def test_a_tie_is_one_decision_of_common_steps(analysis):
    space = space_of(analysis, SpaceConstraints(tie=["*.inner"]))
    assert [(d.name, d.width, d.options) for d in space.decisions] == [
        ("stem", 16, tuple(range(1, 17))),
        ("one.inner", 6, (1, 2, 3, 4, 5, 6)),
    ]
    assert space.ties == {"one.inner": {"one.inner": 2, "two.inner": 3, "three.inner": 4}}
    assert space.units({"one.inner": 2}) == {"stem": 16, "one.inner": 4, "two.inner": 6, "three.inner": 8}


def test_only_steps_that_every_member_allows_are_options(analysis):
    assert space_of(analysis, SpaceConstraints(tie=["*.inner"], granularity=4)).decisions[1].options == (
        4,
        6,
    )  # 8, 12, 16
    assert space_of(analysis, SpaceConstraints(tie=["*.inner"], cap=["three.inner=0.5"])).decisions[1].options == (
        3,
        4,
        5,
        6,
    )
    with pytest.raises(InputError, match=r"12, 18, 24 units have no common share below 1; lower --granularity"):
        space_of(analysis, SpaceConstraints(tie=["*.inner"], granularity=8))


@pytest.mark.parametrize("steps", range(1, 7))
def test_the_price_is_the_cut_networks(net, analysis, steps):
    space = space_of(analysis, SpaceConstraints(tie=["*.inner"]))
    choices = {"one.inner": steps, "stem": 2 + steps}
    small = cut(net, analysis, {name: range(units) for name, units in space.units(choices).items()})
    own = analyse(small, X, validate=False)
    assert macs_cost(analysis, space).cost(choices) == own.macs()
    assert params_cost(analysis, space).cost(choices) == sum(p.numel() for p in small.parameters())
    nothing = SearchSpace((), {}, {})
    assert energy_cost(analysis, space).cost(choices) == pytest.approx(energy_cost(own, nothing).cost({}))
    layers = [slot.at(space.complete(choices)) for slot in priced_operators(analysis, space, 1, ())]
    assert layers == [slot.at({}) for slot in priced_operators(own, nothing, 1, ())]


def test_a_tied_policy_names_every_group_and_is_applied_without_knowing_of_ties(net, analysis):
    space = space_of(analysis, SpaceConstraints(tie=["*.inner"]))
    policy = space.policy({"one.inner": 1})
    assert policy.choices == {"stem": 16, "one.inner": 2, "two.inner": 3, "three.inner": 4}
    small = autoprune.apply(net, policy, X)
    assert [small.one.inner.out_channels, small.three.inner.out_channels] == [2, 4]
    assert space.complete(policy.choices) == {"stem": 16, "one.inner": 1}
    assert params_cost(analysis, space).cost(policy.choices) == sum(p.numel() for p in small.parameters())
    assert space.uniform(0.5).choices == {"stem": 8, "one.inner": 6, "two.inner": 9, "three.inner": 12}
    drawn = space.random(3).choices
    assert drawn["one.inner"] / 12 == drawn["two.inner"] / 18 == drawn["three.inner"] / 24


def test_tied_groups_that_keep_different_shares_are_refused(analysis):
    space = space_of(analysis, SpaceConstraints(tie=["*.inner"]))
    halves = {"one.inner": 1, "two.inner": 1.5, "three.inner": 2}
    for wrong in ({"one.inner": 2, "two.inner": 6, "three.inner": 4}, {"two.inner": 3}, {"two.inner": "3"}, halves):
        with pytest.raises(InputError, match="tied keep one share"):
            space.complete(wrong)


def test_a_tables_file_keeps_the_ties(net, tmp_path):
    from autoprune.hardware import LatencyTable, ProfileSettings, profile
    from tests.support.targets.adding_target import Adding

    analysis = analyse(net, X)
    space = space_of(analysis, SpaceConstraints(tie=["*.inner"]))
    table = profile(net, analysis, space, X, Adding(), settings=ProfileSettings(fit_runs=8, held_out_runs=4))
    table.save(tmp_path / "table.json")
    again = LatencyTable.load(tmp_path / "table.json")
    assert again.space.ties == space.ties
    policy = space.policy({"one.inner": 2})
    assert again.predict(policy) == pytest.approx(table.predict({"one.inner": 2}))
    assert again.predict(policy) < again.predict({})


def test_caps_bound_what_is_removed(analysis):
    space = space_of(analysis, SpaceConstraints(cap=["*.inner=0.5", "two.inner=25%"]))
    least = {d.name: d.options[0] for d in space.decisions}
    assert least == {"stem": 1, "one.inner": 6, "two.inner": 14, "three.inner": 12}
    assert space_of(analysis, SpaceConstraints(cap=["stem=0"]))["stem"].options == (16,)
    with pytest.raises(InputError, match=r"--cap four: no decision on a width has such a name"):
        space_of(analysis, SpaceConstraints(cap=["four=0.5"]))


@pytest.mark.parametrize("wrong", ["stem", "stem=1", "stem=-0.1", "stem=half", "=0.5", "stem=120%"])
def test_caps_that_are_none_are_refused(wrong):
    with pytest.raises(InputError, match="write PATTERN=SHARE"):
        parsed_caps([wrong])


def test_ties_that_are_none_are_refused(analysis):
    with pytest.raises(InputError, match=r"--tie one.inner means one.inner; a tie needs two"):
        space_of(analysis, SpaceConstraints(tie=["one.inner"]))
    with pytest.raises(InputError, match=r"--tie four means nothing"):
        space_of(analysis, SpaceConstraints(tie=["four"]))
    with pytest.raises(InputError, match=r"two.inner is tied by '\*.inner' and by 't\*'"):
        space_of(analysis, SpaceConstraints(tie=["*.inner", "t*"]))


def test_granularity_by_kind(analysis):
    assert parsed_granularity(4) == (4, {})
    assert parsed_granularity("4") == (4, {})
    assert parsed_granularity(None) == (None, {})
    space = space_of(analysis, SpaceConstraints(granularities={"channels": 6}))
    assert space["three.inner"].options == (6, 12, 18, 24)
    assert space_of(analysis, SpaceConstraints(granularities={"heads": 2})) == space_of(analysis)
    for wrong in ("x", "0", "heads=0", "heads", "heds=1", "heads=1,", "channels=8.5"):
        with pytest.raises(InputError, match="--granularity"):
            parsed_granularity(wrong)


def test_kinds_are_checked_and_chosen(analysis):
    assert len(space_of(analysis, SpaceConstraints(kinds=["heads"]))) == 0
    with pytest.raises(InputError, match="unknown kind"):
        space_of(analysis, SpaceConstraints(kinds=["chanels"]))


def test_decisions_of_other_kinds_are_tied_apart():
    from autoprune.techniques.structured.ties import tie_up

    decisions = [Decision("a", 4, (2, 4)), Decision("b", 8, (4, 8), "heads"), Decision("c", 6, (3, 6))]
    left, ties = tie_up(decisions, ["*"], lambda name, pattern: True)
    assert [d.name for d in left] == ["a", "b"]
    assert ties == {"a": {"a": 2, "c": 3}}

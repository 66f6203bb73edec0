"""Units in another order: the function stays, and N of every M neighbours keep more."""

import itertools

import pytest
import torch
from torch import nn

from autoprune.criteria.registry import criterion_of
from autoprune.errors import InputError, PolicyMismatchError
from autoprune.graph import analyse
from autoprune.graph.surgery.reorder import reordered
from autoprune.masks.n_of_m import NofM
from autoprune.masks.order import best_order, kept_of
from autoprune.space import Policy
from autoprune.techniques.apply import apply, in_order
from autoprune.techniques.base import Calibration
from autoprune.techniques.registry import techniques_of
from autoprune.techniques.space import space_of
from autoprune.techniques.sparsity.permutation import permutation, wished
from autoprune.techniques.sparsity.reorder import reorder
from autoprune.techniques.stack import Stack


class Residual(nn.Module):
    """A stream that three layers add to, norms, attention, a concatenation and a flattened map."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.branch = nn.Sequential(nn.Conv2d(16, 24, 1), nn.GELU(), nn.Conv2d(24, 16, 3, padding=1))
        self.scale = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.left, self.right = nn.Linear(16, 12), nn.Linear(16, 20)
        self.join = nn.Linear(32, 8)
        self.head = nn.Linear(8 * 16, 3)

    def forward(self, x):
        x = self.norm(self.stem(x))
        x = (x + self.branch(x)).flatten(2).transpose(1, 2)
        y = self.scale(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = self.join(torch.cat([self.left(x).relu(), self.right(x).relu()], dim=2))
        return self.head(x.transpose(1, 2).flatten(1))


class Ramp(nn.Module):
    """Where it is steep, each channel has its own factor, which is no tensor of the network."""

    steep = False

    def __init__(self):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(4, 16), nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x):
        x = self.first(x).relu()
        if self.steep:
            x = x * torch.arange(16, dtype=x.dtype)
        return self.last(self.middle(x).relu())


def best_of_all(matrix, pattern):
    """What the best split of 8 columns into two groups of four keeps, by trying all 35."""
    splits = ([0, *rest] for rest in itertools.combinations(range(1, 8), 3))
    return max(kept_of(matrix[:, [*one, *(set(range(8)) - set(one))]], pattern) for one in splits)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_the_search_finds_the_optimum_where_all_orders_can_be_tried(n, seed):
    matrix = torch.randn(12, 8, generator=torch.Generator().manual_seed(seed)).abs()
    order = best_order(matrix, NofM(n, 4))
    assert order.after == pytest.approx(best_of_all(matrix, NofM(n, 4)), rel=1e-12)
    assert order.complete


@pytest.mark.parametrize(("columns", "n", "m"), [(64, 2, 4), (30, 4, 8), (7, 1, 2), (4, 2, 4), (3, 2, 4), (16, 4, 4)])
def test_an_order_keeps_what_it_says_names_each_column_once_and_is_the_same_again(columns, n, m):
    matrix = torch.randn(24, columns, generator=torch.Generator().manual_seed(columns)).abs()
    order = best_order(matrix, NofM(n, m))
    masked = matrix[:, order.places].double()[None]
    assert float((masked * NofM(n, m).mask(masked)).sum()) == pytest.approx(order.after)
    assert order.after >= order.before == pytest.approx(kept_of(matrix, NofM(n, m)))
    assert torch.equal(order.places.sort().values, torch.arange(columns))
    assert torch.equal(best_order(matrix, NofM(n, m)).places, order.places)


def test_no_time_leaves_the_order_as_it_was_and_says_so():
    order = best_order(torch.rand(64, 64), NofM(2, 4), seconds=0)
    assert torch.equal(order.places, torch.arange(64))
    assert not order.complete


def test_a_network_in_another_order_is_the_same_function_and_keeps_more():
    torch.manual_seed(0)
    model, example = Residual().eval(), torch.randn(2, 2, 4, 4)
    found = reorder(model, analyse(model, example), example, NofM(2, 4))
    with torch.no_grad():
        expected, outputs = model.double()(example.double()), found.model.double()(example.double())
    torch.testing.assert_close(outputs, expected, rtol=1e-9, atol=1e-11)
    assert {"stem", "branch.0", "left", "right"} <= found.orders.keys()
    assert found.complete
    assert found.gain > 0.01
    kept = {}
    for name, network in (("before", model), ("after", found.model)):
        layers = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d) and m is not network.stem]
        matrices = [layer.weight.detach().movedim(1, -1).flatten(0, -2).abs() for layer in layers]
        matrices.append(network.attention.in_proj_weight.detach().abs())
        kept[name] = sum(kept_of(matrix, NofM(2, 4)) for matrix in matrices)
    assert found.after - found.before == pytest.approx(kept["after"] - kept["before"], rel=1e-9)


def test_an_order_that_would_change_the_function_is_left_out_with_a_reason():
    torch.manual_seed(0)
    model, example = Ramp().eval(), torch.randn(2, 4)
    analysis = analyse(model, example)
    assert reorder(model, analysis, example, NofM(2, 4)).orders.keys() == {"first", "middle"}
    model.steep = True  # as if the engine had overlooked it
    found = reorder(model, analysis, example, NofM(2, 4))
    assert found.orders.keys() == {"middle"}
    assert found.refused == {"first": "the network computes something else in that order"}
    torch.testing.assert_close(found.model(example), model(example))


def test_saliencies_and_weights_may_be_given():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    analysis, example = analyse(model, torch.randn(2, 4)), torch.randn(2, 4)
    alike = {"2.weight": torch.ones(16, 16)}
    found = reorder(model, analysis, example, NofM(2, 4), saliencies=alike, weights=["2.weight"])
    assert found.orders == {}
    assert found.refused == {"0": "no order keeps more", "2": "no weight reads its units as neighbours"}
    assert found.before == found.after == 16 * 8


def test_an_order_names_each_unit_once():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    analysis = analyse(model, torch.randn(2, 4))
    with pytest.raises(InputError, match="must name each of its 8 units once"):
        reordered(model, analysis, {"0": torch.zeros(8, dtype=torch.int64)})


def test_a_policy_says_the_order_and_refuses_one_of_another_network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    example = torch.randn(2, 4)
    analysis = analyse(model, example)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1)).tolist()
    moved = in_order(model, analysis, {"0": order})
    assert torch.equal(moved[0].weight, model[0].weight[order]) and torch.equal(
        moved[2].weight, model[2].weight[:, order]
    )
    torch.testing.assert_close(moved(example), model(example))
    assert in_order(model, analysis, {}) is model
    policy = Policy(choices={}, orders={"0": order})
    assert Policy.model_validate_json(policy.model_dump_json(by_alias=True)) == policy
    with pytest.raises(PolicyMismatchError, match="orders 16 units of 4, of which this model has none"):
        in_order(model, analysis, {"4": order})
    with pytest.raises(ValueError, match="the order of 0 must name each of its units once"):
        Policy(choices={}, orders={"0": [0, 0, 1]})


def test_a_search_of_widths_and_masks_is_about_the_network_in_its_new_order(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    example = torch.randn(2, 4)
    analysis, techniques = analyse(model, example), techniques_of(["structured", "nm@m=4+permute=5"])
    space, calibration = space_of(analysis, techniques=techniques), Calibration(criterion_of("l1"))
    technique = wished(techniques)
    assert technique.ordered_for == NofM(2, 4)
    found = permutation(technique, model, analysis, space, calibration, example)
    assert found["gain"] > 0.005 and found["orders"].keys() == {"0", "2"}
    stack = Stack(techniques, analysis, space).fit(in_order(model, analysis, found["orders"]), calibration)
    choices = space.complete(space.dense | {"0": 9, "2.weight": 2, "4.weight": 1})
    small = stack.apply(in_order(model, analysis, found["orders"]), choices)
    stack.policy(choices, orders=found["orders"]).save(tmp_path / "policy.json")
    again = apply(model, Policy.load(tmp_path / "policy.json"), example)
    assert torch.equal(again(example), small(example)) and small[0].out_features == 9

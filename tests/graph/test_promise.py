"""Right, or refused with a true reason; never wrong, never a crash, the user's objects untouched: for drawn networks.

The dense network that a cut one must equal is made here, without what autoprune says of its groups: from the cut
network's own weights it is read off which units each layer still reads, and hooks hide the others from it.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor, nn

from autoprune.errors import UnsupportedModelError
from autoprune.graph import Analysis, analyse, cut, tensors_of
from autoprune.models.copying import isolated
from tests.support.nets.drawn import Drawn, Plan, Step, plans

LAYERS = (nn.Linear, nn.Conv2d)
QUIETLY = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@settings(QUIETLY, max_examples=20)
@given(plan=plans())
def test_right_or_refused_and_nothing_touched(plan: Plan) -> None:
    keep_the_promise(plan)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(QUIETLY, max_examples=500)
@given(plan=plans())
def test_right_or_refused_and_nothing_touched_for_many(plan: Plan) -> None:
    keep_the_promise(plan)


def keep_the_promise(plan: Plan) -> None:
    """Analyse and cut the plan's network four times."""
    torch.manual_seed(0)
    net, store = Drawn(plan), dict[str, Any]()
    net.hook(store)
    if plan.ran:
        call(net, net.example())
    example, before = net.example(), Untouched(net, store)
    try:
        analysis = analyse(net, example)
    except UnsupportedModelError as error:
        assert 1 <= len(str(error).splitlines()) <= 2
        analysis = None
    before.check(net, store, example)
    for seed in range(4) if analysis is not None else ():
        kept = at_random(analysis, seed)
        small = cut(net, analysis, kept)
        before.check(net, store, example)
        held = dict(store)
        with torch.random.fork_rng():
            check_cut(net, small, analysis, kept)
        store.clear(), store.update(held)  # what is delivered keeps the user's hooks, which write to the user's dict


def test_the_test_sees_a_network_that_is_cut_wrongly() -> None:
    layers = (("conv", 8), ("relu", 2), ("residual", 4))
    plan = Plan(layers, "tensor", "none", "one", train=False, dtype=torch.float32, batch=2, ran=False)
    torch.manual_seed(0)
    net = Drawn(plan).double()
    analysis = analyse(net, net.example().double())
    assert {group.name: group.width for group in analysis.groups} == {"stem": 4, "steps.0.a": 8, "steps.2.a": 4}
    small = cut(net, analysis, {"steps.0.a": [1, 6]})
    assert_is_the_dense_network_without_its_units(isolated(net), small)
    with torch.no_grad():
        small.steps[0].a.bias += 0.01
    with pytest.raises(AssertionError, match="not close"):
        assert_is_the_dense_network_without_its_units(isolated(net), small)


def check_cut(net: Drawn, small: nn.Module, analysis: Analysis, kept: dict[str, list[int]]) -> None:
    """Modes, precision and values of a cut network."""
    assert [module.training for module in small.modules()] == [module.training for module in net.modules()]
    assert {p.dtype for p in small.parameters()} == {net.plan.dtype}
    call(small, net.example())
    precise = isolated(net).double().redraw()  # so that each number is another one
    assert_is_the_dense_network_without_its_units(precise, cut(precise, analysis, kept))


def call(net: nn.Module, example: Any) -> Any:
    if isinstance(example, dict):
        return net(**example)
    return net(*example) if isinstance(example, tuple) else net(example)


def at_random(analysis: Analysis, seed: int) -> dict[str, list[int]]:
    """Every width at a random option."""
    rng = np.random.default_rng(seed)
    kept = {}
    for group in analysis.groups:
        size = int(rng.integers(group.least, group.width + 1))
        kept[group.name] = rng.permutation(group.width)[:size].tolist()
    return kept


class Untouched:
    """All of the user's that must be the same afterwards."""

    def __init__(self, net: Drawn, store: dict[str, Any]) -> None:
        self.state = copy.deepcopy(net.state_dict())
        self.random = torch.get_rng_state()
        self.held = self.holds(net, store)
        self.example = net.example()

    @staticmethod
    def holds(net: Drawn, store: dict[str, Any]) -> list[Any]:
        modules = list(net.modules())
        hooks = [list(module._forward_hooks.items()) for module in modules]
        modes = [(type(module), module.training, sorted(vars(module))) for module in modules]
        objects = [(key, id(value)) for held in (net.seen, store) for key, value in held.items()]
        return [hooks, modes, objects, [p.requires_grad for p in net.parameters()]]

    def check(self, net: Drawn, store: dict[str, Any], example: Any) -> None:
        assert torch.equal(torch.get_rng_state(), self.random)
        assert self.holds(net, store) == self.held
        assert all(p.grad is None for p in net.parameters())
        assert net.state_dict().keys() == self.state.keys()
        assert all(torch.equal(tensor, self.state[name]) for name, tensor in net.state_dict().items())
        leaves, spec = torch.utils._pytree.tree_flatten(example)
        first, at_first = torch.utils._pytree.tree_flatten(self.example)
        assert spec == at_first
        assert all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in zip(leaves, first, strict=True))


def assert_is_the_dense_network_without_its_units(dense: Drawn, small: nn.Module) -> None:
    """The cut network's outputs are those of the dense one from whose layers the dropped units are hidden."""
    hide(dense, small)
    double = torch.utils._pytree.tree_map_only(Tensor, Tensor.double, dense.example())
    with torch.no_grad():
        wanted, got = (tensors_of(call(net.eval(), copy.deepcopy(double))) for net in (dense, small))
    torch.testing.assert_close(got, wanted, rtol=1e-8, atol=1e-8)


def hide(dense: nn.Module, small: nn.Module) -> None:
    """From each layer of the dense network, hide what the same layer of the small one no longer reads."""
    for (_, layer), (_, cut_) in zip(dense.named_modules(), small.named_modules(), strict=True):
        if isinstance(layer, nn.MultiheadAttention):
            hide_heads(layer, cut_)
        elif is_norm(layer) and cut_.weight.shape != layer.weight.shape:
            layer.forward = over_kept(layer, cut_)  # type: ignore[method-assign]
        elif isinstance(layer, LAYERS) and cut_.weight.shape[1] != layer.weight.shape[1]:
            axis = 1 if isinstance(layer, nn.Conv2d) else -1
            lost = torch.tensor(lost_inputs(layer.weight, cut_.weight, getattr(layer, "groups", 1)))
            layer.register_forward_pre_hook(
                lambda _, args, axis=axis, lost=lost: (args[0].index_fill(axis, lost, 0.0), *args[1:])
            )


def is_norm(layer: nn.Module) -> bool:
    return isinstance(layer, nn.LayerNorm | nn.GroupNorm) or (isinstance(layer, Step) and layer.kind == "mean")


def lost_inputs(weight: Tensor, small: Tensor, groups: int) -> list[int]:
    """The inputs of a layer that it no longer reads; the groups of a convolution each lose their own."""
    size, lost = weight.shape[1], []
    for group, (one, other) in enumerate(zip(weight.chunk(groups), small.chunk(groups), strict=True)):
        lost += [group * size + place for place in np.setdiff1d(range(size), columns(one, other)).tolist()]
    return lost


def columns(weight: Tensor, small: Tensor) -> list[int]:
    """Which columns of a weight a cut layer has: those whose numbers it holds, for the rows that it has."""
    rows = matches(weight.flatten(1), small.flatten(1), lambda a, b: set(b.tolist()) <= set(a.tolist()))
    return matches(
        weight[rows].transpose(0, 1).flatten(1), small.transpose(0, 1).flatten(1), lambda a, b: torch.equal(a, b)
    )


def matches(all_: Tensor, some: Tensor, same: Any) -> list[int]:
    """For each line of ``some`` in order, the first line of ``all_`` behind the last one that is the same."""
    found: list[int] = []
    for line in some:
        start = found[-1] + 1 if found else 0
        found.append(next(place for place in range(start, len(all_)) if same(all_[place], line)))
    return found


def over_kept(layer: Any, cut_: Any) -> Any:
    """A norm over the units that are kept only."""
    at = torch.tensor(matches(layer.weight.reshape(-1, 1), cut_.weight.reshape(-1, 1), torch.equal))
    axis = -1 if isinstance(layer, nn.LayerNorm) else 1
    return lambda x: torch.zeros_like(x).index_copy(axis, at, cut_(x.index_select(axis, at)))


def hide_heads(dense: Any, small: Any) -> None:
    """The small attention's output columns tell its heads, its input columns the units that it reads."""
    for weight, cut_ in ((dense.out_proj.weight, small.out_proj.weight), (dense.in_proj_weight, small.in_proj_weight)):
        if weight.shape[1] != cut_.shape[1]:
            with torch.no_grad():
                weight[:, lost_inputs(weight, cut_, 1)] = 0

"""Every pattern: the groups a person finds, and cut = silenced dense = selected, bit for bit where it must be."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from autoprune import search_space
from autoprune.errors import InputError
from autoprune.graph import Analysis, Selector, analyse, cut, tensors_of, zero
from tests.support.cut_checks import assert_only_silenced, drawn
from tests.support.nets.ambiguous import AMBIGUOUS_CASES
from tests.support.nets.computed_weights import COMPUTED_CASES
from tests.support.nets.forms import FORM_CASES
from tests.support.nets.norms import NORM_CASES, UNSEEN_CASES, with_norms
from tests.support.nets.parts import PARTS_CASES
from tests.support.nets.plain import CASES as PLAIN_CASES
from tests.support.nets.shapes import SHAPE_CASES
from tests.support.nets.untouched import UNTOUCHED_CASES
from tests.support.nets.weights import WEIGHT_CASES

CASES = {**PLAIN_CASES, **FORM_CASES, **NORM_CASES, **UNSEEN_CASES, **SHAPE_CASES, **WEIGHT_CASES, **AMBIGUOUS_CASES}
CASES |= {**COMPUTED_CASES, **UNTOUCHED_CASES, **PARTS_CASES}
# products that no module's hook sees
BARE = (
    "standardised",
    "doubled_weight",
    "hyper",
    "attention",
    "einsum",
    "scores",
    "cosine_head",
    "matrices",
    "conv_1d",
    "only_tied",
    "tied_decoder",
    *COMPUTED_CASES,
)

_built: dict[str, tuple[nn.Module, Tensor, Analysis]] = {}


def built(name: str) -> tuple[nn.Module, Tensor, Analysis]:
    """The net with random weights and statistics (f(0) != 0 everywhere), once a session."""
    if name not in _built:
        case, generator = CASES[name], torch.Generator().manual_seed(1)
        net = case.build()
        with torch.no_grad():
            for key, tensor in net.state_dict(keep_vars=True).items():
                if tensor.is_floating_point():
                    drawn = torch.rand(tensor.shape, generator=generator)
                    tensor.copy_(drawn + 0.5 if key.endswith("var") else (drawn - 0.5) if tensor.dim() > 1 else drawn)
        x = torch.randn(case.shape, generator=generator)
        _built[name] = net.eval().double(), x.double(), analyse(net, x.double())
    return _built[name]


@pytest.mark.parametrize("name", CASES)
def test_groups_are_those_a_person_finds(name: str) -> None:
    case, (_, _, analysis) = CASES[name], built(name)
    assert {group.name: group.width for group in analysis.groups} == dict(case.groups)
    for layer, reason in case.frozen.items():
        assert reason in analysis.frozen[layer]


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=8, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10_000), granularity=st.sampled_from([1, 8]))
def test_cut_is_zeroed_and_selected(name: str, seed: int, granularity: int) -> None:
    net, x, analysis = built(name)
    kept = drawn(analysis, seed, granularity)
    small, silent = cut(net, analysis, kept), zero(net, analysis, kept)
    assert_only_silenced(net, silent, analysis, kept)
    with torch.no_grad():
        out = tensors_of(small(x))
        if name not in UNSEEN_CASES:
            expected = with_norms(silent, CASES[name], kept, {g.name: g.width for g in analysis.groups})(x)
            loose = 1e-5 if name == "rms_hand" else 1e-9  # it casts to single precision
            torch.testing.assert_close(out, tensors_of(expected), rtol=loose, atol=loose)
        selected = tensors_of(Selector(net, analysis).select(kept)(x))
        assert all(map(torch.equal, selected, out))
    widths = {name: len(units) for name, units in kept.items()}
    assert analysis.param_total(widths) == sum(p.numel() for p in small.parameters())
    if name not in BARE:
        assert analysis.macs(widths) == counted_macs(small, x)


def counted_macs(net: nn.Module, x: Tensor) -> int:
    """Multiply-accumulates of all convolutions, linear layers and matrix parameters, counted by hooks."""
    total = 0

    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, Tensor)
        if isinstance(module, nn.Linear):
            total += output.numel() * module.in_features
        elif isinstance(module, nn.modules.conv._ConvTransposeNd):
            total += args[0].numel() * module.out_channels // module.groups * math.prod(module.kernel_size)
        elif isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            total += output.numel() * module.in_channels // module.groups * math.prod(module.kernel_size)

    handles = [
        module.register_forward_hook(hook)
        for module in net.modules()
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
    ]
    with torch.no_grad():
        net(x)
    for handle in handles:
        handle.remove()
    matrix = getattr(net, "matrix", None)
    return total + (matrix.numel() if isinstance(matrix, Tensor) else 0)


@pytest.mark.parametrize("name", CASES)
def test_ops_have_the_shapes_that_run(name: str) -> None:
    """Every torch module's recorded output shape is the one its hook sees in the cut network; and repr agrees."""
    net, x, analysis = built(name)
    kept = drawn(analysis, 3)
    small = cut(net, analysis, kept)
    widths = analysis.widths({name: len(units) for name, units in kept.items()})
    seen: dict[str, list[tuple[tuple[int, ...], tuple[int, ...]]]] = {}

    def watch(path: str, module: nn.Module) -> None:
        def hook(_: nn.Module, args: tuple[Tensor, ...], output: object) -> None:
            if isinstance(output, Tensor):
                seen.setdefault(path, []).append((tuple(args[0].shape), tuple(output.shape)))

        module.register_forward_hook(hook)

    for path, module in small.named_modules():
        if type(module).__module__.startswith("torch.nn.") and not any(module.children()):
            watch(path, module)
    with torch.no_grad():
        small(x)
    for op in analysis.ops:
        alone = len([other for other in analysis.ops if other.name == op.name]) == len(seen.get(op.name, ()))
        if alone and op.inputs:  # a module of several operators has no one output
            shapes = [
                tuple(s if isinstance(s, int) else s(widths) for s in shape) for shape in (op.inputs[0], op.output)
            ]
            assert tuple(shapes) in seen[op.name], op.name
    for path, module in small.named_modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            rows, columns = module.weight.shape[:2]
            if module.transposed:
                rows, columns = columns * module.groups, rows // module.groups
            assert (module.out_channels, module.in_channels) == (rows, columns * module.groups), path
        if isinstance(module, nn.Linear):
            assert (module.out_features, module.in_features) == tuple(module.weight.shape)


def test_a_unit_that_has_no_deviation_alone_keeps_company() -> None:
    net, x, analysis = built("deviation")
    assert [group.least for group in analysis.groups] == [2, 1]
    space = search_space(net.float(), x.float())
    assert {d.name: d.options[0] for d in space.decisions} == {"a": 2, "b": 1}
    net.double()
    with pytest.raises(InputError, match="a: at least 2 of its 8 units must be kept, not 1"):
        cut(net, analysis, {"a": [3]})
    with pytest.raises(InputError, match="a: cannot keep 1 of 8 units, 2 at least"):
        analysis.widths({"a": 1})


def test_a_failed_proof_names_the_users_line() -> None:
    _, _, analysis = built("numbered_view")
    assert re.fullmatch(r"its forward fails once cut: RuntimeError: .* at plain\.py:\d+", analysis.frozen["b"])

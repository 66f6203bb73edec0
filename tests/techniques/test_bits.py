"""Bits as decisions: which layers decide together, what both formats cost, and that rounding is what a file does."""

import itertools

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from autoprune import agents
from autoprune.cost.macs import macs_cost
from autoprune.cost.params import bytes_cost
from autoprune.criteria.registry import criterion_of
from autoprune.envs import PruningEnv, amc_features
from autoprune.errors import InputError, PolicyMismatchError
from autoprune.export.onnx import to_onnx
from autoprune.export.onnx_network import opened_file
from autoprune.graph import analyse
from autoprune.hardware import get_target, measure
from autoprune.hardware.tables.correction import GROUPS, LOADS
from autoprune.hardware.tables.lowering import measurable, priced_operators
from autoprune.hardware.tables.operator import PricedOperator
from autoprune.hardware.tables.pricing import latency_cost
from autoprune.models.copying import duplicate
from autoprune.pipeline.bench.compare import bench
from autoprune.quantization.affine import activation_numbers
from autoprune.quantization.mixed import float_nodes
from autoprune.quantization.observe import histograms
from autoprune.quantization.qdq import QuantizationPlan, with_integers
from autoprune.quantization.ranges import RANGES
from autoprune.quantization.rounding import input_ranges, integer_layers, rounded_layers, without_rounding
from autoprune.quantization.scheme import Scheme
from autoprune.quantization.sites import sites_of
from autoprune.space import Policy, SpaceConstraints
from autoprune.techniques.apply import apply
from autoprune.techniques.base import Calibration
from autoprune.techniques.formats.coupled import coupled_layers
from autoprune.techniques.registry import technique_of, techniques_of
from autoprune.techniques.space import space_of
from autoprune.techniques.stack import Stack
from autoprune.testing.technique import check_technique

X = torch.zeros(1, 1, 8, 8)


class Residual(nn.Module):
    """Two layers whose outputs are added, one in between, one behind."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.inner = nn.Conv2d(8, 12, 3, padding=1)
        self.outer = nn.Conv2d(12, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x)
        x = torch.relu(x + self.outer(torch.relu(self.inner(x))))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    model = Residual()
    with torch.no_grad():
        for _ in range(3):  # BatchNorm's statistics
            model(torch.randn(32, 1, 8, 8))
    return model.eval()


@pytest.fixture(scope="module")
def images():
    return torch.from_numpy(np.random.default_rng(1).standard_normal((64, 1, 8, 8)).astype(np.float32))


@pytest.fixture(scope="module")
def floats(net):
    pytest.importorskip("onnxruntime")
    return onnx.load_from_string(to_onnx(net, X, dynamic_batch=True))


def stack_of(model, kinds, names=("structured", "bits"), **limits):
    analysis, techniques = analyse(model, X), techniques_of(names)
    return Stack(
        techniques, analysis, space_of(analysis, SpaceConstraints(kinds=kinds, **limits), techniques=techniques)
    )


@pytest.fixture(scope="module")
def fitted(net, images):
    batches = [(images, torch.zeros(64, dtype=torch.long))]
    return stack_of(net, ("channels", "bits")).fit(net, Calibration(criterion_of("l1"), batches))


def test_what_is_added_decides_together_and_bits_stand_behind_their_width(net):
    space = stack_of(net, ("channels", "bits")).space
    assert space.names == ("stem.0", "stem.0.bits", "inner", "inner.bits", "head.bits")
    assert space["stem.0.bits"].options == (8, 32)
    alone = stack_of(net, ("bits",), skip=("inner",)).space
    assert alone.names == ("stem.0.bits", "head.bits") and alone.frozen["inner.bits"] == "skipped by 'inner'"


class Mixed(nn.Module):
    """Layers that compute with float32 whatever is wished: called twice, transposed, with a computed weight."""

    def __init__(self):
        super().__init__()
        self.twice = nn.Conv2d(4, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 6, 2, 2)
        self.beside = nn.Conv2d(4, 6, 1)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(6, 4, 1))

    def forward(self, x):
        x = x.expand(-1, 4, -1, -1)
        x = self.twice(torch.relu(self.twice(x)))
        y = self.up(x) + nn.functional.interpolate(self.beside(x), scale_factor=2.0)
        return self.normed(y).mean((2, 3))


def test_layers_without_integers_are_refused_with_the_reason():
    frozen = stack_of(Mixed().eval(), ("channels", "bits")).space.frozen
    assert frozen["twice.bits"] == "it is called more than once"
    assert frozen["up.bits"] == "a transposed convolution has no integer kernel here"
    assert frozen["beside.bits"] == "its outputs are added to those of up, which computes with float32"
    assert "whose weight is a parameter" in frozen["normed.bits"]


class Called(nn.Module):
    """Layers that are called for nothing, by keyword, or not at all, while their weight is read."""

    def __init__(self):
        super().__init__()
        self.stem, self.unused = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.first, self.second = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.read, self.head = nn.Conv2d(8, 8, 1), nn.Linear(8, 4)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        self.unused(x)
        x = torch.relu(self.second(torch.relu(self.first(x))))
        x = torch.relu(nn.functional.conv2d(x, self.read.weight, self.read.bias))
        return self.head(input=x.mean((2, 3)))


@pytest.fixture(scope="module")
def called(images):
    torch.manual_seed(0)
    net, batches = Called().eval(), [(images, torch.zeros(64, dtype=torch.long))]
    return net, stack_of(net, ("bits",)).fit(net, Calibration(criterion_of("l1"), batches))


def test_a_layer_whose_weight_another_module_reads_stays_float32(called):
    _, fitted = called
    assert set(fitted.space.names) == {"stem.bits", "first.bits", "second.bits", "head.bits"}
    assert fitted.space.frozen["read.bits"] == "its weight is read by another module, which does not call it"
    attention = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True).eval()
    known = coupled_layers(analyse(attention, torch.zeros(1, 5, 8)))
    assert "does not call it" in known.refused["self_attn.out_proj"] and "linear1.bits" in known.groups


def test_a_layer_that_is_called_by_keyword_rounds_as_any_other(called, images):
    net, fitted = called
    small = fitted.apply(net, {"head.bits": 8})
    known = integer_layers(small)["head"]
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert known is not None and known[1] > 0
        assert torch.equal(small.head(input=x), small.head(x)) and not torch.equal(small.head(x), net.head(x))
        assert torch.equal(without_rounding(small)(images), net(images))


@pytest.mark.parametrize("name", ["stem", "first", "second", "head"])
def test_integers_come_to_the_layer_that_is_named_though_another_is_called_for_nothing(called, name):
    net, _ = called
    sites = sites_of(onnx.load_from_string(to_onnx(net, X, dynamic_batch=True)))
    (node,) = {site.node for site in sites.layers} - set(float_nodes(net, X, sites, [name]))
    (own,) = (sites.constants[site.weight] for site in sites.layers if site.node == node)
    assert np.allclose(own, net.get_submodule(name).weight.detach().numpy())


def test_a_policy_rounds_the_layers_it_names_and_its_file_does_so_again(net, images, fitted, tmp_path):
    choices = {"inner.bits": 8, "head.bits": 8, "inner": 8}
    small = fitted.apply(net, choices)
    assert set(integer_layers(small)) == {"inner", "head"} and small.inner.out_channels == 8
    policy = fitted.policy(choices)
    policy.save(tmp_path / "policy.json")
    again = apply(net, Policy.load(tmp_path / "policy.json"), X)
    with torch.no_grad():
        assert torch.equal(small(images), again(images))
        plain = without_rounding(small)
        assert not integer_layers(plain) and not torch.equal(plain(images), small(images))
        assert torch.equal(plain(images), fitted.apply(net, {"inner": 8})(images))
        assert torch.equal(fitted.apply(net, {})(images), net(images))


def test_a_layer_that_integers_enclose_computes_with_integers(net, fitted):
    """Onnxruntime makes integers of it whatever the file says."""
    assert fitted.settled({"stem.0.bits": 8})["inner.bits"] == 8
    assert set(integer_layers(fitted.apply(net, {"stem.0.bits": 8}))) == {"stem.0", "inner", "outer"}
    for choices in ({"inner.bits": 8, "head.bits": 8}, {"stem.0.bits": 8, "inner.bits": 8}):  # what is added, the last
        assert fitted.settled(choices) == fitted.space.complete(choices)


def test_a_rounding_layer_computes_with_the_integers_of_its_range(net, images):
    known = (-1.5, 2.0)
    rounding = rounded_layers(net, {"inner": known})
    x = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    numbers = activation_numbers(*known, Scheme())
    steps = np.clip(np.rint(x.numpy() / np.float32(numbers.scale)) + numbers.zero, 0, 255)
    weight = net.inner.weight.detach().numpy()
    scales = np.abs(weight).reshape(12, -1).max(1).reshape(12, 1, 1, 1) / 127
    rounded = torch.from_numpy((np.rint(weight / scales) * scales).astype(np.float32))
    inputs = torch.from_numpy(((steps - numbers.zero) * numbers.scale).astype(np.float32))
    with torch.no_grad():
        expected = nn.functional.conv2d(inputs, rounded, net.inner.bias, padding=1)
        assert torch.allclose(rounding.inner(x), expected, atol=1e-5)
    assert torch.equal(rounding.inner.weight, net.inner.weight) and list(rounding.state_dict()) == list(
        net.state_dict()
    )


def test_a_layer_has_its_own_weight_back_after_a_call_that_fails(net):
    rounding = rounded_layers(net, {"inner": None})
    with pytest.raises(RuntimeError):
        rounding.inner(torch.zeros(1, 3, 8, 8))
    assert rounding.inner.weight is dict(rounding.named_parameters())["inner.weight"]


def test_gradients_pass_the_rounding(net, images):
    rounding = rounded_layers(net, input_ranges(net, ["inner", "head"], [(images, None)]))
    rounding(images).sum().backward()
    assert all(
        float(p.grad.abs().sum()) > 0 for p in (rounding.inner.weight, rounding.head.weight, rounding.stem[0].weight)
    )


@pytest.mark.parametrize("integers", [("stem.0", "outer"), ("inner", "head"), ("stem.0", "inner", "outer", "head")])
def test_a_mixed_file_computes_what_the_rounding_network_does(net, images, floats, integers):
    sites = sites_of(floats)
    stay = float_nodes(net, X, sites, integers)
    assert len(stay) == 4 - len(integers)
    scheme = Scheme(reduced=True)  # 7 bits of a weight, so that no processor saturates
    seen = histograms(floats, sites.tensors, [[images.numpy()]])
    ranges = {name: RANGES["minmax"](each, scheme) for name, each in seen.items()}
    content = with_integers(floats, QuantizationPlan(scheme, ranges, stay))
    with torch.no_grad():
        dense = net(images)
        rounded = rounded_layers(net, input_ranges(net, integers, [(images, None)]))(images)
    file = torch.from_numpy(np.array(opened_file(content)([images.numpy()])[0]))
    spread = float(dense.max() - dense.min())
    assert float((file - rounded).abs().max()) < 0.05 * spread and not torch.equal(rounded, dense)


def test_a_target_without_integers_refuses_to_time_rounding(net, fitted):
    small = fitted.apply(net, {"inner.bits": 8})
    with pytest.raises(InputError, match=r"torch has no integer kernels.* 1 layer with integers, among them inner"):
        measure([net, small], X, get_target("torch"))
    with pytest.raises(InputError, match="could time it: torch: torch has no integer kernels"):
        bench(net, small, X, "torch", repetitions=1, timing="quick")


def test_packed_networks_have_integers_in_the_layers_that_round(net, fitted):
    pytest.importorskip("onnxruntime")
    from autoprune.quantization.for_timing import file_for_timing

    small = fitted.apply(net, {"inner.bits": 8})
    nodes = onnx.load_from_string(file_for_timing(small, X, Scheme, whole=False)).graph.node
    weights = [node for node in nodes if node.op_type == "DequantizeLinear" and node.output[0].endswith("_weight")]
    assert len(weights) == 1
    plain = onnx.load_from_string(file_for_timing(net, X, Scheme, whole=False)).graph.node
    assert not any(node.op_type == "QuantizeLinear" for node in plain)


def ms_of(layer):
    """Made-up milliseconds: integers are four times as fast, a border costs its elements."""
    if layer.kind in ("quantize", "dequantize"):
        return 0.01 * layer.inputs
    return 0.0 if not layer.macs else layer.inputs * layer.outputs * (0.25 if layer.variant == "int8" else 1.0)


def cost_of(stack):
    fused = get_target("onnxruntime").fused
    operators = priced_operators(stack.analysis, stack.space, 1, fused, measurable(stack.effects, {"int8"}))
    factors = dict.fromkeys(GROUPS, 1.0) | dict.fromkeys(LOADS, 0.0) | {"constant": 0.0}
    return operators, latency_cost(stack.space, operators, ms_of, factors)


def test_prices_are_of_the_kernels_that_a_policy_executes_and_of_the_borders_between(net):
    stack = stack_of(net, ("channels", "bits"))
    operators, cost = cost_of(stack)
    layers = 1 * 8, 8 * 12, 12 * 8, 8 * 4
    assert cost.dense == pytest.approx(sum(layers))
    every = {"stem.0.bits": 8, "inner.bits": 8, "head.bits": 8}
    assert cost.cost(every) == pytest.approx(sum(layers) / 4 + 0.01 * 1)  # the image alone is quantized
    inner = layers[0] + layers[1] / 4 + layers[2] + layers[3]
    assert cost.cost({"inner.bits": 8}) == pytest.approx(inner + 0.01 * (8 + 12))  # inwards, and back
    outer = layers[0] / 4 + layers[1] + layers[2] / 4 + layers[3]
    assert cost.cost({"stem.0.bits": 8}) == pytest.approx(outer + 0.01 * (1 + 8 + 12 + 8))
    assert cost.cost({"stem.0.bits": 8, "inner": 4}) == pytest.approx(
        8 / 4 + 8 * 4 + 4 * 8 / 4 + 32 + 0.01 * (1 + 8 + 4 + 8)
    )
    stored = [PricedOperator.from_json(each.to_json(), stack.space) for each in operators]
    assert tuple(stored) == operators


def test_the_cheapest_policy_over_widths_and_bits_is_found(net):
    _, cost = cost_of(stack_of(net, ("channels", "bits"), granularity=4))
    every = list(itertools.product(*(range(len(d.options)) for d in cost.space.decisions)))
    least, choices = cost.least()
    assert least == pytest.approx(float(cost.costs(np.array(every)).min())) and cost.cost(choices) == pytest.approx(
        least
    )


@pytest.mark.parametrize("name", ["random", "ddpg", "optuna", "evolution", "exact", "greedy", "uniform"])
def test_every_agent_decides_on_widths_and_bits_within_the_budget(net, name):
    """The score falls with what is taken of each decision, so that every one of them matters."""
    stack = stack_of(net, ("channels", "bits"), granularity=4)
    _, cost = cost_of(stack)

    def score(choices):
        return sum(choices[d.name] / d.width for d in cost.space.decisions) / len(cost.space)

    limit = 0.4 * cost.dense
    env = PruningEnv(cost.space, cost, limit, score, amc_features(stack.analysis, cost.space))
    agent = agents.get(name)(env, episodes=8, warmup=4, seed=0)
    records = agents.run_search(agent, 8, lambda record: None)
    assert records and all(record.predicted_cost <= limit for record in records)
    assert any(record.choices[d.name] == 8 for record in records for d in cost.space.decisions if d.kind == "bits")


def test_a_target_without_the_kernel_prices_every_layer_in_float32(net):
    stack = stack_of(net, ("channels", "bits"))
    assert not measurable(stack.effects, get_target("torch").variants)
    operators = priced_operators(stack.analysis, stack.space, 1, (), {})
    assert {each.layer.variant for each in operators} == {""} and not any(each.when for each in operators)


def test_bits_and_patterns_of_weights_save_together(net):
    stack = stack_of(net, ("channels", "nm", "bits"), ("structured", "nm@n=2", "bits"))
    flops = macs_cost(stack.analysis, stack.space, stack.effects)
    pattern = {"inner.weight": 2}
    assert (
        flops.cost({**pattern, "inner.bits": 8}) == flops.cost(pattern) < flops.dense == flops.cost({"inner.bits": 8})
    )
    size = bytes_cost(stack.analysis, stack.space, stack.effects)
    weight = 4 * 12 * 8 * 9
    assert size.dense - size.cost({"inner.bits": 8}) == pytest.approx(weight * 3 / 4)
    assert size.cost({**pattern, "inner.bits": 8}) == size.cost(
        {"inner.bits": 8}
    )  # the smaller of both ways to write it


def test_where_bits_cannot_serve_the_reason_is_said():
    bits = technique_of("bits")
    assert "no integer kernels" in bits.refusal(get_target("torch"), ["latency"])
    assert "leave the precision out" in bits.refusal(get_target("openvino@int8"), ["latency"])
    assert "save latency and bytes" in bits.refusal(get_target("openvino"), ["flops"])
    assert bits.refusal(get_target("onnxruntime"), ["flops", "latency"]) is None


def test_damaged_policies_are_refused(net, fitted):
    part = next(part for part in fitted.policy({"inner.bits": 8}).further)
    for update in ({"payload": {"ranges": {"inner": [1.0, "x"]}}}, {"payload": {"ranges": {"head": [0.0, 1.0]}}}):
        with pytest.raises(PolicyMismatchError, match="ranges"):
            technique_of("bits").check(fitted.analysis, part.model_copy(update=update))
    other = part.model_copy(update={"choices": {"missing.bits": 8}})
    with pytest.raises(PolicyMismatchError, match=r"missing\.bits"):
        technique_of("bits").check(fitted.analysis, other)


def test_activations_that_are_not_finite_name_their_layer(net, images):
    broken = duplicate(net)
    with torch.no_grad():
        broken.stem[0].weight.fill_(float("nan"))
    with pytest.raises(InputError, match="inner"):
        input_ranges(broken, ["inner"], [(images, None)])


def test_the_technique_keeps_the_contract(net, images):
    batches = [(images, torch.zeros(64, dtype=torch.long))]
    check_technique(technique_of("bits"), net, X, batches, limits=SpaceConstraints(kinds=("bits",)), policies=2)

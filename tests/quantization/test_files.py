"""Files with integers: what they compute, which layers do, and that one plan is one file."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from autoprune.errors import InputError, UnsupportedModelError
from autoprune.export.onnx import to_onnx
from autoprune.export.onnx_network import OnnxNetwork, opened_file, with_fixed_batch
from autoprune.hardware import get_target
from autoprune.quantization.affine import activation_numbers, quantized_weight, rounded
from autoprune.quantization.fake import fake_quantized
from autoprune.quantization.names import layer_names
from autoprune.quantization.observe import histograms
from autoprune.quantization.qdq import QuantizationPlan, with_integers
from autoprune.quantization.ranges import RANGES
from autoprune.quantization.scheme import SCHEMES, Scheme
from autoprune.quantization.sites import sites_of
from tests.support.nets.whole_models import MODELS

EXACT = Scheme(reduced=True)  # 7 bits of a weight: no processor saturates

pytest.importorskip("onnxruntime")


class Branching(nn.Module):
    """A residual branch, a concatenation, a pooling, a clipped activation, and two outputs' worth of linear layers."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.inner = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.side = nn.Conv2d(8, 4, 1)
        self.pool = nn.MaxPool2d(2)
        self.hidden = nn.Linear(12 * 16, 16)
        self.last = nn.Linear(16, 4)

    def forward(self, x):
        x = self.first(x)
        x = torch.relu(x + self.inner(x))
        x = self.pool(torch.cat([x, torch.relu(self.side(x))], 1))
        return self.last(torch.relu(self.hidden(x.flatten(1))))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    model = Branching()
    with torch.no_grad():
        for _ in range(3):  # BatchNorm's statistics
            model(torch.randn(32, 1, 8, 8))
    return model.eval()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).standard_normal((64, 1, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def floats(net):
    return onnx.load_from_string(to_onnx(net, torch.zeros(1, 1, 8, 8), dynamic_batch=True))


@pytest.fixture(scope="module")
def ranges(floats, images):
    found = histograms(floats, sites_of(floats).tensors, [[images[:32]], [images[32:]]])
    return {name: RANGES["minmax"](each, EXACT) for name, each in found.items()}


def test_layers_have_their_modules_names_in_order(net, floats):
    sites = sites_of(floats)
    names = layer_names(net, torch.zeros(1, 1, 8, 8), len(sites.layers))
    assert names == ["first.0", "inner", "side", "hidden", "last"]
    joins = {site.op for site in sites.all if site.weight is None}
    assert joins == {"Add", "Concat", "MaxPool"}


@pytest.mark.parametrize("scheme", [s for s in SCHEMES.values() if s.weights == "s8"], ids=lambda s: s.name)
@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_both_runtimes_answer_as_float32_does_but_for_a_few_steps(floats, ranges, images, scheme, name):
    target = get_target(name)
    if target.available():
        pytest.skip(target.available())
    expected = opened_file(floats.SerializeToString())([images])[0]
    found = target.caller(with_integers(floats, QuantizationPlan(scheme, ranges)))([images])[0]
    size = np.abs(expected).max()
    assert 1e-4 < np.abs(found - expected).max() / size < (0.12 if scheme.reduced else 0.06)
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.9


def test_one_layer_computes_exactly_what_its_integers_say(images):
    torch.manual_seed(0)
    layer = nn.Linear(64, 8)
    model = onnx.load_from_string(to_onnx(nn.Sequential(nn.Flatten(), layer).eval(), torch.zeros(1, 1, 8, 8)))
    model = onnx.load_from_string(with_fixed_batch(model.SerializeToString(), 1))
    site = sites_of(model).layers[0]
    limits = (-4.0, 4.0)
    file = with_integers(model, QuantizationPlan(EXACT, dict.fromkeys((*site.inputs, site.output), limits)))
    found = opened_file(file)([images[:1]])[0]
    numbers = activation_numbers(*limits, EXACT)
    weight = layer.weight.detach().numpy()
    integers = quantized_weight(weight, 0, EXACT, layer.bias.detach().numpy(), numbers.scale)
    x = rounded(images[:1].reshape(1, 64).astype(np.float64), *limits, EXACT)
    expected = x @ (integers.values * integers.scales[:, None].astype(np.float64)).T + layer.bias.detach().numpy()
    assert found == pytest.approx(expected, abs=1e-4)


def test_weights_are_stored_in_bytes_and_one_plan_is_one_file(floats, ranges):
    plan = QuantizationPlan(EXACT, ranges)
    file = with_integers(floats, plan)
    assert file == with_integers(floats, plan)
    kinds = {t.name: t.data_type for t in onnx.load_from_string(file).graph.initializer if len(t.dims) > 1}
    assert len(kinds) == 5 and set(kinds.values()) == {onnx.TensorProto.INT8}
    onnx.checker.check_model(onnx.load_from_string(file))


def test_layers_stay_float32_where_that_is_asked_and_what_joins_them_too(floats, ranges, net):
    sites = sites_of(floats)
    names = dict(zip(layer_names(net, torch.zeros(1, 1, 8, 8), 5), sites.layers, strict=True))
    active = {site.op for site in sites.active([names["inner"].node]) if site.weight is None}
    assert active == set()  # the sum reads `inner`, the concatenation the sum, the pooling the concatenation
    active = {site.op for site in sites.active([names["side"].node]) if site.weight is None}
    assert active == {"Add"}
    file = onnx.load_from_string(with_integers(floats, QuantizationPlan(EXACT, ranges, [names["inner"].node])))
    left = {t.name for t in file.graph.initializer if len(t.dims) > 1 and t.data_type == onnx.TensorProto.FLOAT}
    assert left == {names["inner"].weight}


def test_the_largest_of_integers_are_integers_of_the_same_range(floats, ranges):
    (pool,) = (site for site in sites_of(floats).all if site.op == "MaxPool")
    apart = {**ranges, pool.output: (0.0, 100.0)}
    stored = onnx.load_from_string(with_integers(floats, QuantizationPlan(EXACT, apart))).graph.initializer
    scales = {tensor.name: float(onnx.numpy_helper.to_array(tensor)) for tensor in stored if not tensor.dims}
    assert scales[f"{pool.output}_scale"] == scales[f"{pool.inputs[0]}_scale"]


def test_activations_that_are_no_numbers_are_named(floats, images):
    broken = images.copy()
    broken[40, 0, 3, 3] = np.nan
    tensors = sites_of(floats).tensors
    with pytest.raises(InputError, match=rf"activations of {tensors[0]} are not finite on calibration batch 2"):
        histograms(floats, tensors, [[broken[:32]], [broken[32:]]])


def test_a_network_without_layers_is_refused():
    model = onnx.load_from_string(to_onnx(nn.Softmax(1).eval(), torch.zeros(1, 4)))
    with pytest.raises(InputError, match="no layer of this network can compute with integers"):
        with_integers(model, QuantizationPlan(EXACT, {}))


def test_a_file_is_a_network_that_can_be_copied_and_timed_but_not_trained(floats, images):
    import copy

    network = OnnxNetwork(floats.SerializeToString())
    first = network(torch.from_numpy(images))
    assert torch.equal(copy.deepcopy(network)(torch.from_numpy(images)), first)
    assert list(network.parameters()) == []
    payload = get_target("onnxruntime").pack(network, torch.zeros(2, 1, 8, 8))
    assert next(d.dim_value for d in onnx.load_from_string(payload).graph.input[0].type.tensor_type.shape.dim) == 2


@pytest.mark.parametrize("scheme", [s for s in SCHEMES.values() if s.weights == "s8"], ids=lambda s: s.name)
@pytest.mark.parametrize("stays", [(), (1,), (2, 3)])
def test_the_torch_graph_rounds_as_the_file_does(net, floats, ranges, images, scheme, stays):
    layers = [site.node for number, site in enumerate(sites_of(floats).layers) if number in stays]
    plan = QuantizationPlan(scheme, ranges, layers)
    graph = fake_quantized(net, torch.zeros(1, 1, 8, 8), floats, plan)
    expected = opened_file(with_integers(floats, plan))([images])[0]
    with torch.no_grad():
        found = graph(torch.from_numpy(images)).numpy()
    plain = opened_file(floats.SerializeToString())([images])[0]
    off, lost = np.abs(found - expected).mean(), np.abs(plain - expected).mean()
    assert off < 0.25 * lost and (found.argmax(1) == expected.argmax(1)).mean() >= 0.98


def test_a_graph_has_gradients_through_its_rounding_and_gives_its_weights_back_to_the_file(net, floats, ranges, images):
    plan = QuantizationPlan(EXACT, ranges)
    graph = fake_quantized(net, torch.zeros(1, 1, 8, 8), floats, plan)
    graph(torch.from_numpy(images)).square().mean().backward()
    own = dict(graph.named_parameters())
    assert all(float(own[weight].grad.abs().max()) > 0 for weight, _ in graph.weights.values())
    before = opened_file(floats.SerializeToString())([images])[0]
    assert opened_file(graph.into(floats).SerializeToString())([images])[0] == pytest.approx(before, abs=1e-4)
    with torch.no_grad():
        own[graph.weights[sites_of(floats).layers[-1].node][0]].mul_(2.0)
        own[graph.weights[sites_of(floats).layers[-1].node][1]].mul_(2.0)
    assert opened_file(graph.into(floats).SerializeToString())([images])[0] == pytest.approx(2 * before, abs=1e-4)


def test_a_graph_with_other_operators_than_the_file_is_refused(floats, ranges):
    with pytest.raises(UnsupportedModelError, match="cannot be trained with integers: its file computes Conv"):
        fake_quantized(nn.Flatten(), torch.zeros(1, 1, 8, 8), floats, QuantizationPlan(EXACT, ranges))


class Tokens(nn.Module):
    """Linear layers over tokens, whose biases the file adds by operators of their own, and a LayerNorm."""

    def __init__(self, width):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(8, width), nn.LayerNorm(width), nn.Linear(width, 4)

    def forward(self, x):
        return self.last(torch.relu(self.norm(self.first(x[:, 0])))).mean(1)


@pytest.mark.parametrize("width", [16, 8])  # of 8 by 8 no shape says which way round the file has it
def test_only_what_the_file_takes_back_is_trained(images, width):
    torch.manual_seed(0)
    tokens = Tokens(width).eval()
    file = onnx.load_from_string(to_onnx(tokens, torch.zeros(1, 1, 8, 8), dynamic_batch=True))
    found = histograms(file, sites_of(file).tensors, [[images]])
    plan = QuantizationPlan(EXACT, {name: RANGES["minmax"](each, EXACT) for name, each in found.items()})
    graph = fake_quantized(tokens, torch.zeros(1, 1, 8, 8), file, plan)
    with torch.no_grad():
        for parameter in graph.parameters():
            if parameter.requires_grad:
                parameter.mul_(1.5)
        expected = graph(torch.from_numpy(images)).numpy()
    after = opened_file(with_integers(graph.into(file), plan))([images])[0]
    assert np.abs(after - expected).max() < 0.02 * np.abs(expected).max()
    assert not any(p.requires_grad for name, p in graph.named_parameters() if "norm" in name)


def test_the_projections_of_attention_compute_with_integers():
    pytest.importorskip("transformers")
    found = MODELS["ViT"]
    vit, draw = found.build(), np.random.default_rng(2)
    images = draw.standard_normal((8, 3, 32, 32)).astype(np.float32)
    model = onnx.load_from_string(to_onnx(vit, found.example(), dynamic_batch=True))
    sites = sites_of(model)
    weighted = [name for name, module in vit.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    assert sorted(layer_names(vit, found.example(), len(sites.layers))) == sorted(weighted)
    ranges = {
        name: RANGES["minmax"](each, EXACT) for name, each in histograms(model, sites.tensors, [[images]]).items()
    }
    file = with_integers(model, QuantizationPlan(EXACT, ranges))
    integers = [t for t in onnx.load_from_string(file).graph.initializer if len(t.dims) in (2, 4) and t.data_type == 3]
    assert len(integers) == len(weighted)
    expected = opened_file(model.SerializeToString())([images])[0]
    assert np.abs(opened_file(file)([images])[0] - expected).max() < 0.1 * np.ptp(expected)

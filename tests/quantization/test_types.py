"""`int8` as a precision of targets: types by a probe, networks and layers in integers."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from autoprune.errors import InputError, TargetError
from autoprune.hardware import Layer, get_target
from autoprune.hardware.targets.integer_types import integer_types, remember_types
from autoprune.quantization.scheme import Scheme
from tests.support.targets.integers import ByBytes

pytest.importorskip("onnxruntime")


class Saturating(ByBytes):
    """Sums of pairs of products end at 16 bits, as on a processor without VNNI: weights of 8 bits give less."""

    least = 64

    def caller(self, payload):
        largest = [
            np.abs(onnx.numpy_helper.to_array(tensor).astype(int)).max()
            for tensor in onnx.load_from_string(payload).graph.initializer
            if tensor.name.endswith("_weight_q")
        ]
        call = super().caller(payload)
        return (lambda fed: [out / 2 for out in call(fed)]) if max(largest, default=0) >= self.least else call


def probed(target, tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path))
    return integer_types(target, {"target": target.name, "device": f"{type(target).__name__} {tmp_path}"})


def test_the_fastest_types_are_kept_for_the_device(tmp_path, monkeypatch):
    assert probed(ByBytes(), tmp_path, monkeypatch) == Scheme()
    monkeypatch.setattr(ByBytes, "time", None)  # it is not asked again
    assert probed(ByBytes(), tmp_path, monkeypatch) == Scheme()
    remember_types({"device": "another"}, Scheme(reduced=True))
    assert integer_types(ByBytes(), {"device": "another"}) == Scheme(reduced=True)


def test_types_whose_sums_saturate_are_left_out(tmp_path, monkeypatch):
    assert probed(Saturating(), tmp_path, monkeypatch) == Scheme(reduced=True)


def test_a_runtime_without_right_sums_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Saturating, "least", 1)
    with pytest.raises(TargetError, match="'by-bytes' gives wrong sums with every type of integers"):
        probed(Saturating(), tmp_path, monkeypatch)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_networks_are_packed_in_integers_and_answer_alike(name):
    target = get_target(f"{name}@int8")
    if target.available():
        pytest.skip(target.available())
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)).eval()
    x = torch.randn(2, 3, 12, 12)
    payload = target.pack(net, x)
    assert {"QuantizeLinear", "DequantizeLinear"} <= {n.op_type for n in onnx.load_from_string(payload).graph.node}
    with torch.no_grad():
        expected = net(x).numpy()
    assert np.abs(target.compute(payload, x.numpy()) - expected).max() < 0.1 * np.abs(expected).max()
    assert target.fingerprint()["types"] == "U8S8 reduced" and target.fingerprint()["precision"] == "int8"
    assert "types" not in get_target(name).fingerprint()


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    "layer",
    [
        Layer("conv", 16, 24, 1, (8, 8), (8, 8), (3, 3), (1, 1), (1, 1), (1, 1)),
        Layer("conv", 16, 16, 2, (8, 8), (4, 4), (3, 3), (2, 2), (1, 1), (1, 1), groups=16, bias=False),
        Layer("linear", 32, 10, batch=2),
        Layer("elementwise", 8, 8, 1, (4, 4), (4, 4)),
    ],
    ids=lambda layer: layer.kind,
)
def test_layers_run_alone_in_integers(name, layer):
    target = get_target(f"{name}@int8")
    if target.available():
        pytest.skip(target.available())
    for copies in (0, target.copies(layer)):
        target.load(target.pack_layer(layer, copies))()
    plain = get_target(name).pack_layer(layer, target.copies(layer))
    assert (target.pack_layer(layer, target.copies(layer)) == plain) == (layer.macs == 0)


def test_a_network_without_layers_is_timed_as_it_is():
    target = get_target("onnxruntime@int8")
    payload = target.pack(nn.ReLU(), torch.randn(1, 8))
    assert [node.op_type for node in onnx.load_from_string(payload).graph.node] == ["Relu"]


def test_other_targets_have_no_such_precision():
    with pytest.raises(InputError, match="target 'torch' has no precision 'int8'; it knows f32, bf16"):
        get_target("torch@int8")

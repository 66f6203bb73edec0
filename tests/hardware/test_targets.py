"""Every runtime of this machine: the right network runs, more work takes longer, the fingerprint says where."""

import json

import pytest
import torch
from torch import nn

from autoprune.errors import InputError, TargetError
from autoprune.export.onnx import to_onnx
from autoprune.hardware import Layer, Protocol, get_target, measure

_NAMES = ("torch", "onnxruntime", "openvino")
_CLOCKS = {"openvino": "process"}  # the others compute in the calling thread
_QUICK = Protocol(block=0.01, warmup=2, least_blocks=3, most_blocks=10, agreement=0.1)


def _net(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 10),
    )


@pytest.mark.parametrize("name", _NAMES)
def test_a_wider_network_is_slower_and_says_how_it_was_measured(name) -> None:
    thin, wide = measure([_net(16), _net(64)], torch.zeros(1, 3, 32, 32), get_target(name), _QUICK)
    assert wide.ms > 2 * thin.ms > 0
    assert thin.clock == _CLOCKS.get(name, "cpu") and thin.n >= 9 and json.dumps(thin.to_json())
    assert {"preemptions", "page_faults", "load", "blocks"} <= set(thin.conditions)
    assert thin.conditions["peak_memory_mb"] > 10 and thin.conditions["load_s"] > 0
    assert thin.conditions["device"] == get_target(name).fingerprint()


@pytest.mark.parametrize("name", _NAMES)
def test_layers_alone(name) -> None:
    target = get_target(name)
    square = {"size": (16, 16), "out_size": (16, 16), "stride": (1, 1), "dilation": (1, 1)}
    layers = [
        Layer("conv", 16, 16, kernel=(3, 3), padding=(1, 1), **square),
        Layer("conv", 64, 64, kernel=(3, 3), padding=(1, 1), **square),
        Layer("conv", 64, 64, kernel=(3, 3), padding=(1, 1), groups=64, **square),
        Layer("linear", 64, 10),
        Layer("elementwise", 64, 64, size=(16, 16), out_size=(16, 16)),
        Layer("pool", 64, 64, size=(16, 16), out_size=(1, 1)),
        Layer("pool", 64, 64, size=(16, 16), out_size=(8, 8), kernel=(2, 2), stride=(2, 2), padding=(0, 0)),
    ]
    payloads = [target.pack_layer(layer, max(1, target.copies(layer))) for layer in layers]
    results = target.time([target.pack_layer(layers[0], 0), *payloads], _QUICK)
    empty, thin, wide, depthwise, *_ = (result.ms for result in results)
    # A linear layer of 640 weights takes a few hundredths of what calling openvino does: other work hides them.
    assert empty < min(thin, wide, depthwise) and all(result.ms > 0.8 * empty for result in results)
    assert wide > 3 * thin and depthwise < wide  # 16 times and a 64th of the multiply-accumulates


def test_onnx_with_an_open_batch_dimension() -> None:
    import onnxruntime

    model, x = _net(8).eval(), torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(to_onnx(model, x[:1], dynamic_batch=True))
    for batch in (1, 5):
        (output,) = session.run(None, {session.get_inputs()[0].name: x[:batch].numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(output), model(x[:batch]), rtol=1e-4, atol=1e-5)


def test_nothing_to_measure_and_a_network_that_cannot_be_exported() -> None:
    with pytest.raises(InputError, match="no network"):
        measure([], torch.zeros(1), get_target("torch"))

    class Fickle(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum().item() > 0 else -x

    with pytest.raises(InputError, match="cannot trace"):
        measure([Fickle()], torch.zeros(1), get_target("torch"))


def test_an_extra_that_is_missing_is_named(monkeypatch) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found(name))
    with pytest.raises(TargetError, match=r"onnxscript not installed; pip install 'autoprune\[onnx\]'"):
        measure([_net(8)], torch.zeros(1, 3, 8, 8), get_target("onnxruntime"))

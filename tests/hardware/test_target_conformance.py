"""What every target of this machine must do: the same network, the same tests; those that are not here say why."""

import json

import pytest
import torch
from torch import nn

from autoprune.hardware import TARGETS, LocalTarget, Protocol, get_target, measure
from autoprune.hardware.contract.target import load_class
from autoprune.models import resnet20

_FEW = Protocol(block=0.002, warmup=1, least_blocks=3, most_blocks=3)  # two threads on a busy machine crawl
_CLOCKS = {"openvino": "process", "cuda": "cuda-events", "cuda-graphs": "cuda-events", "onnxruntime-cuda": "wall"}
# Compiling or lowering takes them ten seconds and more; two spinning threads of torch wait for each other as long.
_SLOW = ("torch-compile", "executorch", "torch@threads=2")
_GPU = ("cuda", "cuda-graphs", "onnxruntime-cuda", "onnxruntime-tensorrt")

# How far the outputs may lie from PyTorch's, as a share of the largest; the options under which that is looked at.
_SAME = {
    "torch": 1e-4,
    "torch@channels_last": 1e-4,
    "torch@bf16": 3e-2,
    "torch-compile": 1e-4,
    "onnxruntime": 1e-4,
    "openvino": 1e-4,
    "openvino@channels_last": 1e-4,
    "openvino@bf16": 3e-2,
    "executorch": 1e-4,
    "cuda": 1e-3,
    "cuda@f16+channels_last": 3e-2,
    "onnxruntime-cuda": 1e-3,
}


def _marks(spec):
    name = spec.split("@")[0]
    return [pytest.mark.slow] * (spec in _SLOW or name in _SLOW) + [pytest.mark.gpu] * (name in _GPU)


def _marked(specs):
    return [pytest.param(spec, marks=_marks(spec)) for spec in specs]


def _target(spec: str) -> LocalTarget:
    target = get_target(spec)
    assert isinstance(target, LocalTarget)
    if (missing := target.available()) is not None:
        pytest.skip(missing)
    return target


def _net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4))


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_is_here_or_says_in_one_line_what_to_do(name) -> None:
    missing = get_target(name).available()
    assert missing is None or (missing and "\n" not in missing and ("install" in missing or "check" in missing))


@pytest.mark.parametrize("spec", _marked([*TARGETS, *(f"{name}@threads=2" for name in TARGETS)]))
def test_a_network_is_timed_and_left_as_it_was(spec) -> None:
    target = _target(spec)
    model = _net().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    (result,) = measure([model], torch.zeros(1, 3, 8, 8), target, _FEW)
    assert 0 < result.ms < 1e4 and result.n >= 15
    assert result.clock == _CLOCKS.get(target.name, "cpu") or (target.threads > 1 and result.clock == "wall")
    assert json.loads(json.dumps(result.to_json())) == result.to_json()
    assert result.conditions["load_s"] > 0 and (result.conditions["peak_memory_mb"] or 99) > 1
    assert result.conditions["device"] == target.fingerprint()
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    found = target.fingerprint()
    assert found["target"] == target.name and found["threads"] == str(target.threads) and found["precision"] == "f32"
    assert all(isinstance(value, str) and value for value in found.values())
    assert load_class(target.path())(**target.settings()).fingerprint() == found  # what the worker makes of it


@pytest.mark.parametrize("spec", _marked(_SAME))
def test_a_runtime_computes_what_pytorch_computes(spec) -> None:
    target = _target(spec)
    model, x = resnet20(in_channels=1).eval(), torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    output = target.compute(target.pack(model, x), x.numpy())
    with torch.no_grad():
        expected = model(x)
    assert output is not None and output.shape == expected.shape
    difference = (torch.from_numpy(output) - expected).abs().max() / expected.abs().max()
    assert difference < _SAME[spec]
    assert target.precision == "f32" or difference > 1e-5  # another number format, not the same one by another name


@pytest.mark.parametrize("spec", ["onnxruntime", "openvino"])
def test_a_batch_takes_longer_than_an_image(spec) -> None:
    target, net = _target(spec), resnet20(in_channels=1)
    one, eight = (target.pack(net, torch.zeros(n, 1, 28, 28)) for n in (1, 8))
    short, long = target.time([one, eight], _FEW)
    assert long.ms > 3 * short.ms

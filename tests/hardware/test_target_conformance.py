"""What every target of this machine must do: the same network, the same tests; those that are not here say why."""

import pytest
import torch

from autoprune.hardware import TARGETS, LocalTarget, Protocol, get_target
from autoprune.models import resnet20
from autoprune.testing.target import TargetTests

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


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_is_here_or_says_what_to_install_or_check(name) -> None:
    missing = get_target(name).available()
    assert missing is None or "install" in missing or "check" in missing


@pytest.mark.parametrize("spec", _marked([*TARGETS, *(f"{name}@threads=2" for name in TARGETS)]))
class TestShipped(TargetTests):
    @pytest.fixture(autouse=True)
    def _named(self, spec):
        self.spec = spec

    def target(self) -> LocalTarget:
        return get_target(self.spec)

    def check(self, target, result) -> None:
        assert result.n >= 15 and target.fingerprint()["precision"] == "f32"
        assert result.clock == _CLOCKS.get(target.name, "cpu") or (target.threads > 1 and result.clock == "wall")
        assert result.conditions["load_s"] > 0 and (result.conditions["peak_memory_mb"] or 99) > 1


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

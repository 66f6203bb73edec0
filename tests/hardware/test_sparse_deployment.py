"""Putting a 2:4 network on a GPU, with a CPU in its place: what is converted, timed, compared and handed over."""

import pytest
import torch
from torch import nn

from autoprune.errors import InputError
from autoprune.hardware import Protocol
from autoprune.hardware.sparse_kernels.deployment import deploy, fastest
from autoprune.hardware.timing.clocks import WallClock
from autoprune.masks.assigned import Assigned
from autoprune.masks.compressed import TWO_OF_FOUR, compress, decompress
from autoprune.masks.planes import PLAIN
from tests.hardware.test_sparse_choice import HOPPER, PretendGpu

QUICK = Protocol(block=1e-3, warmup=1, least_blocks=3, most_blocks=3, closing=0)


class CpuInItsPlace(PretendGpu):
    """Layers by a formula, networks on the CPU."""

    precisions = ("bf16", "f32")
    device = "cpu"

    def clock(self):
        return WallClock()


def network():
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(64, 512, 3), nn.ReLU(), nn.Flatten(), nn.Linear(512, 16), nn.Linear(16, 16))
    for layer in (made[0], made[3]):
        layer.weight.data *= Assigned(PLAIN, TWO_OF_FOUR).mask(layer.weight.detach().abs())
    return made


def packed(weight, backend):
    return decompress(compress(weight))


X = torch.randn(16, 64, 3, 3, generator=torch.Generator().manual_seed(1))


def deployed(convert, target=None):
    return deploy(
        network(), X, target or CpuInItsPlace(), repetitions=2, protocol=QUICK, gpu=lambda: HOPPER, convert=convert
    )


def test_layers_that_pay_are_converted_and_the_fastest_network_is_handed_over():
    found = deployed(packed)
    assert {layer.name: layer.chosen for layer in found.layers} == {"0": "sparse", "3": "dense", "4": "dense"}
    assert found.latency_ms.keys() == {"dense", "sparse", "chosen"}
    assert found.runs == fastest(found.latency_ms)
    with torch.no_grad():
        expected = network().bfloat16()(X.bfloat16())
        torch.testing.assert_close(found.model(X.bfloat16()), expected, rtol=5e-2, atol=5e-2)


def test_a_conversion_that_computes_something_else_leaves_the_network_dense():
    found = deployed(lambda weight, backend: 2 * weight)
    assert [layer.chosen for layer in found.layers] == ["dense", "dense", "dense"]
    assert "multiplies to something else" in found.layers[0].reason
    with torch.no_grad():
        assert torch.equal(found.model(X.bfloat16()), network().bfloat16()(X.bfloat16()))


def test_a_precision_without_kernels_is_refused_in_one_line():
    with pytest.raises(InputError, match="no 2:4 kernels for f32; name pretend-gpu@f16 or pretend-gpu@bf16"):
        deployed(packed, CpuInItsPlace(precision="f32"))

"""Conversion to sparse kernels loses nothing and computes nothing else; convolutions as products."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import autoprune
from autoprune.errors import AutopruneError, InputError, TargetError
from autoprune.hardware.sparse_kernels.choice import LayerChoice
from autoprune.hardware.sparse_kernels.conversion import converted, converted_by_first, gpu_here, torch_conversion
from autoprune.hardware.sparse_kernels.deployment import with_sparse_kernels
from autoprune.hardware.sparse_kernels.products import ConvolutionAsProduct, matrix_of
from autoprune.masks.assigned import Assigned
from autoprune.masks.compressed import TWO_OF_FOUR, compress, decompress
from autoprune.masks.planes import PLAIN


def sparse(weight):
    return weight * Assigned(PLAIN, TWO_OF_FOUR).mask(weight.abs())


def matrix(dtype=torch.bfloat16):
    return sparse(torch.randn(32, 64, generator=torch.Generator().manual_seed(0))).to(dtype)


def packed(weight, backend):
    """Another conversion: there and back in the layout of files."""
    return decompress(compress(weight))


def test_a_converted_matrix_multiplies_to_the_same():
    given, rows = matrix(), torch.randn(5, 64).bfloat16()
    assert torch.equal(functional.linear(rows, converted(given, "cutlass", packed)), functional.linear(rows, given))


def test_a_weight_that_is_not_two_of_four_is_refused_before_anything_is_lost():
    asked = []
    broken = matrix()
    broken[3, 4:8] = 1
    with pytest.raises(InputError, match="would lose values: 4 weights of output 3, inputs 4 to 7") as raised:
        converted(broken, "cutlass", lambda *given: asked.append(given))
    assert asked == []
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int8])
def test_dtypes_without_kernels_are_named(dtype):
    with pytest.raises(InputError, match=r"no 2:4 kernels for .* use a matrix of f16, bf16"):
        converted(matrix(torch.float32).to(dtype), "cutlass", packed)


@pytest.mark.parametrize("wrong", [lambda w, _: w.roll(1, 0), lambda w, _: w * float("nan"), lambda w, _: 1.1 * w])
def test_a_conversion_that_computes_something_else_is_seen(wrong):
    with pytest.raises(AutopruneError, match="multiplies to something else"):
        converted(matrix(), "cusparselt", wrong)


def test_the_next_back_end_is_tried_and_every_reason_given():
    def only_cutlass(weight, backend):
        if backend == "cusparselt":
            raise RuntimeError("cuSPARSELt not supported on your machine.")
        return packed(weight, backend)

    assert converted_by_first(matrix(), ("cusparselt", "cutlass"), only_cutlass)[1] == "cutlass"
    with pytest.raises(TargetError, match="not supported on your machine"):
        converted_by_first(matrix(), ("cusparselt",), only_cutlass)


def test_torchs_own_conversion_is_asked_for_the_back_end_and_its_flag_put_back(monkeypatch):
    flags = []
    kind = torch.sparse.SparseSemiStructuredTensor
    monkeypatch.setattr(torch.sparse, "to_sparse_semi_structured", lambda w: flags.append(kind._FORCE_CUTLASS) or w)
    torch_conversion(matrix(), "cutlass")
    torch_conversion(matrix(), "cusparselt")
    assert flags == [True, False]
    assert kind._FORCE_CUTLASS is False


@settings(max_examples=40, deadline=None)
@given(
    spatial=st.integers(1, 3),
    channels=st.integers(1, 5),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    bias=st.booleans(),
    extra=st.integers(0, 4),
)
def test_a_convolution_as_a_product_computes_the_same(
    spatial, channels, kernel, stride, padding, dilation, bias, extra
):
    kind = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[spatial]
    layer = kind(channels, 3, kernel, stride, padding, dilation, bias=bias).double()
    image = torch.randn(2, channels, *[dilation * (kernel - 1) + 1 + extra + i for i in range(spatial)]).double()
    with torch.no_grad():
        torch.testing.assert_close(ConvolutionAsProduct(layer)(image), layer(image))


def test_groups_of_a_convolution_are_groups_of_its_matrix():
    weight = sparse(torch.randn(8, 12, 3, 3))
    assert TWO_OF_FOUR.fault(PLAIN.of(matrix_of(weight))) is None


def network():
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 16)).bfloat16()
    for layer in (made[0], made[3]):
        layer.weight.data = sparse(layer.weight.data)
    return made.eval()


def choices(*chosen):
    return [LayerChoice(name, "sparse" if name in chosen else "dense", backends=("cutlass",)) for name in "03"]


@pytest.mark.parametrize("chosen", ["", "0", "3", "03"])
def test_a_network_with_converted_layers_computes_the_same_and_the_given_one_stays(chosen):
    given, x = network(), torch.randn(4, 16, 3, 3).bfloat16()
    before = {name: value.clone() for name, value in given.state_dict().items()}
    made, layers = with_sparse_kernels(given, choices(*chosen), packed)
    with torch.no_grad():
        torch.testing.assert_close(made(x), given(x), rtol=2e-2, atol=2e-2)
    assert [layer.chosen for layer in layers] == ["sparse" if name in chosen else "dense" for name in "03"]
    assert isinstance(made[0], ConvolutionAsProduct) == ("0" in chosen)
    assert all(torch.equal(given.state_dict()[name], value) for name, value in before.items())


def test_a_layer_that_cannot_be_converted_stays_dense_and_says_why():
    def fails(weight, backend):
        raise RuntimeError("out of kernels")

    given = network()
    made, layers = with_sparse_kernels(given, choices("0", "3"), fails)
    assert [layer.chosen for layer in layers] == ["dense", "dense"]
    assert "out of kernels" in layers[0].reason
    assert torch.equal(made[3].weight, given[3].weight)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_deployment_ends_with_one_line():
    for ask in (gpu_here, lambda: autoprune.sparsity.deploy(network(), torch.zeros(1, 16, 3, 3))):
        with pytest.raises(TargetError) as raised:
            ask()
        assert raised.value.exit_code == 4
        assert "\n" not in str(raised.value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with sparse tensor cores")
def test_on_a_gpu_torchs_kernels_compute_the_same():
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("sparse tensor cores begin with compute capability 8.0")
    weight = sparse(torch.randn(256, 512)).to("cuda", torch.float16)
    model = nn.Sequential(nn.Linear(512, 256), nn.Unflatten(1, (256, 1, 1)), nn.Conv2d(256, 64, 1))
    for layer in (model[0], model[2]):
        layer.weight.data = sparse(layer.weight.data)
    found = autoprune.sparsity.deploy(model, torch.randn(64, 512), "cuda@f16")
    assert set(found.latency_ms) == {"dense", "sparse", "chosen"}  # all of them compute the same
    assert found.latency_ms[found.runs] == min(found.latency_ms.values())
    assert [layer.pair is not None for layer in found.layers] == [True, True]
    rows = torch.randn(64, 512).to(weight)
    names = ("cusparselt", "cutlass")
    torch.testing.assert_close(
        functional.linear(rows, converted_by_first(weight, names)[0]),
        functional.linear(rows, weight),
        rtol=1e-2,
        atol=1e-1,
    )

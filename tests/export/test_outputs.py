"""Networks whose output is no tensor are timed and exported by the tensor that counts."""

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import autoprune
from autoprune.errors import UnsupportedModelError
from autoprune.export.formats import export_onnx, export_pt2
from autoprune.export.onnx import to_onnx_for_timing
from autoprune.models import output_of, with_tensor_output
from tests.support.nets.exported import AsDataclass, AsDict, Mixed, Shifting, stirred

EXAMPLE = torch.zeros(1, 3, 8, 8)


@pytest.fixture(params=[AsDataclass, AsDict], ids=lambda kind: kind.__name__)
def network(request):
    return stirred(request.param(), 1)


def expected(model, images):
    with torch.inference_mode():
        output = model(images)
        counts = output["logits"] if isinstance(output, dict) else output.logits
        assert torch.equal(output_of(output), counts)
    return counts


@pytest.mark.parametrize("target", ["torch", "onnxruntime"])
def test_both_targets_time_it(network, target):
    assert autoprune.measure(network, EXAMPLE, target).ms > 0


@pytest.mark.parametrize("batch", [1, 3])
def test_both_exports_give_the_output_that_counts(network, tmp_path, batch):
    images = torch.randn(batch, 3, 8, 8, generator=torch.Generator().manual_seed(batch))
    export_onnx(network, EXAMPLE, tmp_path / "n.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "n.onnx", providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"x": images.numpy()})
    assert len(outputs) == 1
    torch.testing.assert_close(torch.from_numpy(outputs[0]), expected(network, images), rtol=1e-4, atol=1e-4)
    export_pt2(network, EXAMPLE, tmp_path / "n.pt2")
    program = torch.export.load(tmp_path / "n.pt2")
    torch.testing.assert_close(program.module()(images), expected(network, images), rtol=1e-4, atol=1e-4)
    assert program.state_dict.keys() == network.state_dict().keys()


def test_the_graph_that_is_timed_has_that_output_alone(network):
    graph = onnx.load_from_string(to_onnx_for_timing(network, EXAMPLE)).graph
    assert [[d.dim_value for d in o.type.tensor_type.shape.dim] for o in graph.output] == [[1, 5]]


def test_the_network_itself_keeps_its_output_and_mode():
    model = AsDataclass().train()
    single = with_tensor_output(model)
    assert model.training and not single.training
    assert isinstance(single(EXAMPLE), torch.Tensor)
    assert not isinstance(model(EXAMPLE.repeat(2, 1, 1, 1)), torch.Tensor)


@pytest.mark.parametrize("target", ["torch", "onnxruntime"])
def test_a_network_that_writes_to_its_input_leaves_the_callers_alone(tmp_path, target):
    network, images = stirred(Shifting(), 1), torch.ones(1, 3, 8, 8)
    assert autoprune.measure(network, images, target).ms > 0
    export_onnx(network, images, tmp_path / "n.onnx")
    export_pt2(network, images, tmp_path / "n.pt2")
    assert torch.equal(images, torch.ones(1, 3, 8, 8))


def test_a_norm_over_tokens_is_exported_as_it_is(tmp_path):
    network = nn.Sequential(nn.Linear(5, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 2))
    network, tokens = stirred(network, 1), torch.randn(3, 9, 5, generator=torch.Generator().manual_seed(1))
    export_onnx(network, tokens[:1], tmp_path / "n.onnx")
    for written in ((tmp_path / "n.onnx").read_bytes(), to_onnx_for_timing(network, tokens)):
        session = onnxruntime.InferenceSession(written, providers=["CPUExecutionProvider"])
        found = session.run(None, {session.get_inputs()[0].name: tokens.numpy()})[0]
        torch.testing.assert_close(torch.from_numpy(found), network(tokens).detach(), rtol=1e-4, atol=1e-4)


def test_what_onnxruntime_does_not_take_is_an_error_of_ours(tmp_path):
    with pytest.raises(UnsupportedModelError, match=r"onnxruntime does not take .*bfloat16"):
        export_onnx(stirred(Mixed(), 1), EXAMPLE, tmp_path / "n.onnx")
    assert not list(tmp_path.iterdir())

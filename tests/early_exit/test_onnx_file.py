"""The file that skips: the answers of the network in torch, at every exit; every branch owns its weights."""

import numpy as np
import pytest
import torch

from autoprune.dynamic_networks.flow import flow_of
from autoprune.dynamic_networks.onnx_nodes import captured_weights
from autoprune.early_exit.confidence.registry import CONFIDENCES
from autoprune.early_exit.heads import ExitHead
from autoprune.early_exit.network import DynamicNetwork, Exit
from autoprune.early_exit.onnx_file import nested_file, parts_of
from autoprune.early_exit.places import places_of
from autoprune.export.onnx import to_onnx_for_timing
from autoprune.hardware import get_target
from tests.early_exit.nets import dividing
from tests.support.tiny_job import Tiny, images

ORT = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def built():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Tiny().eval()
        flow = flow_of(model, torch.zeros(1, 1, 8, 8))
        places = places_of(flow)[:2]
        heads = [ExitHead(place.shape, 4, scored=True).eval() for place in places]
    return model, flow, places, heads, parts_of(flow, [place.node for place in places], heads, for_timing=True)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_each_image_takes_the_exit_and_has_the_answer_that_it_has_in_torch(built, confidence, runtime):
    _, flow, places, heads, parts = built
    x = images(60, 3).tensors[0]
    thresholds, paths = dividing(flow, places, heads, confidence, x)
    exits = [Exit(place.name, place.node, t) for place, t in zip(places, thresholds, strict=True)]
    logits, taken = DynamicNetwork(flow, exits, heads, confidence).answers(x)
    assert set(taken.tolist()) == paths
    if get_target(runtime).available() is not None:
        pytest.skip(get_target(runtime).available())
    call = get_target(runtime).caller(nested_file(parts, confidence, thresholds))
    for row, image in enumerate(x):
        answer, exit_number = call([image[None].numpy()])
        assert int(exit_number[0]) == int(taken[row])
        assert np.allclose(answer[0], logits[row].detach().numpy(), atol=1e-5)


def test_with_shut_exits_it_gives_what_the_runtime_gives_for_the_network(built):
    model, _, _, _, parts = built
    x = images(8, 4).tensors[0]
    target = get_target("onnxruntime")
    shut = target.caller(nested_file(parts, "max", [2.0, 2.0]))
    dense = target.caller(to_onnx_for_timing(model, x[:1]))
    for image in x:
        assert np.abs(shut([image[None].numpy()])[0] - dense([image[None].numpy()])[0]).max() < 1e-6


def test_no_branch_takes_its_weights_from_outside(built):
    content = nested_file(built[4], "max", [0.5, 0.5])
    assert captured_weights(content) == []
    import onnx

    model = onnx.load_from_string(content)
    choice = next(node for node in model.graph.node if node.op_type == "If")
    branch = next(each.g for each in choice.attribute if each.name == "else_branch")
    moved = [each for each in branch.initializer if len(each.dims) > 1]
    assert moved
    model.graph.initializer.extend(moved)
    del branch.initializer[:]
    assert set(captured_weights(model.SerializeToString())) >= {each.name for each in moved}


def test_thresholds_are_inputs_with_defaults(built):
    import onnxruntime

    content = nested_file(built[4], "max", [2.0, 2.0])
    options = onnxruntime.SessionOptions()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    x = np.zeros((1, 1, 8, 8), dtype=np.float32)
    assert [value.name for value in session.get_inputs()] == ["x"]
    zero = np.zeros(1, dtype=np.float32)
    assert session.run(None, {"x": x})[1].tolist() == [2]
    assert session.run(None, {"x": x, "threshold_1": zero})[1].tolist() == [1]
    assert session.run(None, {"x": x, "threshold_0": zero})[1].tolist() == [0]


def test_logits_that_are_not_finite_never_leave_the_file(built):
    _, flow, places, heads, _ = built
    broken = ExitHead(places[0].shape, 4, scored=True)
    with torch.no_grad():
        broken.linear.bias[0] = float("nan")
    parts = parts_of(flow, [place.node for place in places], [broken, heads[1]], for_timing=True)
    for kind in CONFIDENCES:
        call = get_target("onnxruntime").caller(nested_file(parts, kind, [0.0, 0.0]))
        assert int(call([np.zeros((1, 1, 8, 8), dtype=np.float32)])[1][0]) == 1

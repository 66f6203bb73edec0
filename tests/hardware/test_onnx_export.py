"""The fast export is the plain one: same outputs in the runtime."""

import numpy as np
import onnxruntime
import pytest
import torch

from autoprune.export.onnx import to_onnx, to_onnx_for_timing
from autoprune.models import mobilenet_v2, resnet20


def run(content, images):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]


@pytest.mark.parametrize("builder", [resnet20, mobilenet_v2])
def test_both_exports_compute_what_the_network_computes(builder):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = builder(in_channels=1).train()
        images = torch.randn(1, 1, 28, 28)
        model(images.repeat(4, 1, 1, 1))  # other statistics than the initial ones
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    contents = [to_onnx_for_timing(model, images), to_onnx(model, images)]
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    with torch.inference_mode():
        expected = model.eval()(images).numpy()
    for content in contents:
        np.testing.assert_allclose(run(content, images), expected, rtol=1e-3, atol=1e-4)


def test_a_dynamic_batch_takes_any_batch():
    model = resnet20(in_channels=1).eval()
    content = to_onnx(model, torch.zeros(1, 1, 16, 16), dynamic_batch=True)
    for batch in (1, 5):
        assert run(content, torch.zeros(batch, 1, 16, 16)).shape == (batch, 10)


def test_what_the_fast_way_cannot_trace_goes_the_plain_way(monkeypatch):
    calls = []
    plain = torch.onnx.export

    def export(*arguments, dynamo, **settings):
        calls.append(dynamo)
        if not dynamo:
            raise RuntimeError("gone")
        return plain(*arguments, dynamo=dynamo, **settings)

    monkeypatch.setattr(torch.onnx, "export", export)
    content = to_onnx_for_timing(resnet20(in_channels=1).eval(), torch.zeros(1, 1, 16, 16))
    assert calls == [False, True]
    assert run(content, torch.zeros(1, 1, 16, 16)).shape == (1, 10)

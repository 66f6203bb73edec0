"""Stages and the reference router: the nested file's answers, without `If` and without this package."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from autoprune.dynamic_networks.flow import flow_of
from autoprune.dynamic_networks.router import Router
from autoprune.dynamic_networks.staged import save_stages
from autoprune.early_exit.confidence.registry import CONFIDENCES
from autoprune.early_exit.heads import ExitHead
from autoprune.early_exit.onnx_file import nested_file, parts_of
from autoprune.early_exit.places import places_of
from autoprune.early_exit.staged import exit_stages
from autoprune.hardware import get_target
from tests.early_exit.nets import dividing
from tests.support.tiny_job import Tiny, images

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def built():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Tiny().eval()
        flow = flow_of(model, torch.zeros(1, 1, 8, 8))
        places = places_of(flow)[:2]
        heads = [ExitHead(place.shape, 4, scored=True).eval() for place in places]
    return flow, places, heads, parts_of(flow, [place.node for place in places], heads, for_timing=True)


@pytest.fixture
def saved(built, tmp_path):
    thresholds, _ = dividing(*built[:3], "margin", images(60, 3).tensors[0])
    save_stages(exit_stages(built[3], "margin", thresholds), "margin", (0.4, 0.3, 0.3), tmp_path / "stages")
    return tmp_path / "stages"


@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_the_router_gives_what_the_nested_file_gives(built, confidence, tmp_path):
    x = images(60, 3).tensors[0]
    thresholds, paths = dividing(*built[:3], confidence, x)
    save_stages(exit_stages(built[3], confidence, thresholds), confidence, (0.4, 0.3, 0.3), tmp_path / "stages")
    router = Router(tmp_path / "stages")
    nested = get_target("onnxruntime").caller(nested_file(built[3], confidence, thresholds))
    taken = []
    for image in x:
        logits, exit_number = router({"x": image[None].numpy()})
        expected, path = nested([image[None].numpy()])
        assert exit_number == int(path[0])
        assert np.allclose(logits, expected, atol=1e-5)
        taken.append(exit_number)
    assert set(taken) == paths


def test_the_router_runs_where_this_package_is_not(saved):
    script = (
        "import sys, numpy; from router import Router;"
        "print(Router('.')({'x': numpy.zeros((1, 1, 8, 8), dtype='float32')})[1]);"
        "print([name for name in sys.modules if name in ('torch', 'onnx', 'autoprune')])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=saved, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(Router(saved)({"x": np.zeros((1, 1, 8, 8), dtype=np.float32)})[1]), "[]"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["stages"][0]["choices"][0].update(at_least=-1), r"stages\[0\]\.choices\[0\]\.at_least is -1"),
        (lambda c: c["stages"][1]["choices"][0].update(at_least=float("nan")), r"stages\[1\].*at_least is nan"),
        (
            lambda c: c["stages"][1]["otherwise"].update(next=1),
            r"stages\[1\] is followed by stage 1, which is no",
        ),
        (
            lambda c: c["stages"][2]["otherwise"].update(next=3),
            r"stages\[2\] is followed by stage 3, which is no",
        ),
        (lambda c: c.update(schema="autoprune.router/1"), "the schema is 'autoprune.router/1', not"),
        (lambda c: c["stages"][1].update(sha256="0"), r"stage_1\.onnx: not the file that router\.json"),
    ],
)
def test_an_edited_file_is_refused_in_a_line(saved, change, words):
    path = saved / "router.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=words) as caught:
        Router(saved)
    assert "\n" not in str(caught.value)


def test_another_file_is_refused(saved):
    stage = saved / "stage_1.onnx"
    stage.write_bytes(stage.read_bytes() + b"\0")
    with pytest.raises(ValueError, match=r"stage_1\.onnx: not the file that router\.json"):
        Router(saved)


def test_a_threshold_that_is_raised_in_the_file_keeps_inputs_in(saved):
    path = saved / "router.json"
    content = json.loads(path.read_text())
    before, x = Router(saved), images(60, 3).tensors[0]
    assert {before({"x": image[None].numpy()})[1] for image in x} == {0, 1, 2}
    for stage in content["stages"][:-1]:
        stage["choices"][0]["at_least"] = 2
    path.write_text(json.dumps(content))
    after = Router(saved)
    assert {after({"x": image[None].numpy()})[1] for image in x} == {2}


def test_logits_that_are_not_finite_go_on(built, tmp_path):
    flow, places, heads, _ = built
    broken = ExitHead(places[0].shape, 4, scored=True)
    with torch.no_grad():
        broken.linear.bias[0] = float("nan")
    parts = parts_of(flow, [place.node for place in places], [broken, heads[1]], for_timing=True)
    save_stages(exit_stages(parts, "max", [0.0, 0.0]), "max", (0.0, 1.0, 0.0), tmp_path / "stages")
    assert Router(tmp_path / "stages")({"x": np.zeros((1, 1, 8, 8), dtype=np.float32)})[1] == 1

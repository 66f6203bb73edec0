"""A network of several widths: each row takes the width that its scores say, in torch and in the file."""

import numpy as np
import pytest
import torch
from torch import nn

from autoprune.dynamic_networks.flow import flow_of
from autoprune.dynamic_networks.onnx_nodes import captured_weights
from autoprune.dynamic_networks.staged import save_stages
from autoprune.dynamic_networks.stages import cut_at
from autoprune.early_exit.heads import HeadTraining
from autoprune.errors import InputError, UnsupportedModelError
from autoprune.hardware import get_target
from autoprune.switching.gate import WidthGate, fit_gate
from autoprune.switching.network import SwitchNetwork, Width, tail_of
from autoprune.switching.onnx_file import switch_file, width_parts
from autoprune.switching.staged import width_stages
from tests.support.routing import paths_as_the_file, routed
from tests.support.tiny_job import images

NODE = "relu"


class Net(nn.Module):
    """A stem that all widths share, and a rest of so many channels."""

    def __init__(self, width):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.rest, self.out = nn.Conv2d(4, width, 3, stride=2), nn.Linear(width, 4)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        return self.out(torch.relu(self.rest(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def built():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        nets = [Net(width).eval() for width in (2, 4, 8)]
        for net in nets:
            net.stem.load_state_dict(nets[-1].stem.state_dict())
        gate = WidthGate((4, 8, 8), 2).eval()
        gate.out.weight.data.mul_(8)
    flow, *smalls = [flow_of(net, torch.zeros(1, 1, 8, 8)) for net in (nets[-1], *nets[:-1])]
    trunk = cut_at(flow, [NODE])[0]
    return nets, flow, gate, [tail_of(flow, NODE, trunk, small) for small in smalls]


def switched(built, thresholds):
    _, flow, gate, tails = built
    widths = [Width(f"w{n}", tail, t) for n, (tail, t) in enumerate(zip(tails, thresholds, strict=True))]
    return SwitchNetwork(flow, NODE, gate, widths).eval()


def middling(built, x):
    """Thresholds at which every width is taken by some of the inputs."""
    scores = np.array([list(row.values()) for row in switched(built, (0.5, 0.5)).explain(x)])
    first = float(np.quantile(scores[:, 0], 0.6))
    rest = scores[scores[:, 0] < first, 1]
    return first + 1e-6, float(np.median(rest)) + 1e-6


def test_each_row_has_the_answer_of_the_network_of_its_width(built):
    nets, x = built[0], images(60, 3).tensors[0]
    thresholds = middling(built, x)
    network = switched(built, thresholds)
    with torch.no_grad():
        logits, taken = network.answers(x)
        for row, number in enumerate(taken.tolist()):
            assert torch.allclose(logits[row], nets[number](x[row : row + 1])[0], atol=1e-6)
            assert torch.allclose(logits[row], network(x[row : row + 1])[0], atol=1e-6)
    scores = [list(row.values()) for row in network.explain(x)]
    expected = [next((n for n in range(2) if row[n] >= thresholds[n]), 2) for row in scores]
    assert taken.tolist() == expected
    assert set(expected) == {0, 1, 2}


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_file_takes_the_same_widths_and_its_branches_own_their_weights(built, runtime):
    if get_target(runtime).available() is not None:
        pytest.skip(get_target(runtime).available())
    _, flow, gate, tails = built
    x = images(60, 3).tensors[0]
    thresholds = middling(built, x)
    with torch.no_grad():
        logits, taken = switched(built, thresholds).answers(x)
    content = switch_file(width_parts(flow, NODE, gate, tails, for_timing=True), thresholds)
    assert captured_weights(content) == []
    call = get_target(runtime).caller(content)
    found = [call([image[None].numpy()]) for image in x]
    assert [int(path[0]) for _, path in found] == taken.tolist()
    assert np.allclose(np.concatenate([answer for answer, _ in found]), logits.numpy(), atol=1e-5)


def test_the_router_takes_the_widths_that_the_file_takes(built, tmp_path):
    pytest.importorskip("onnxruntime")
    _, flow, gate, tails = built
    x = images(60, 3).tensors[0]
    thresholds = middling(built, x)
    parts = width_parts(flow, NODE, gate, tails, for_timing=True)
    save_stages(width_stages(parts, thresholds), "gate", (0.4, 0.3, 0.3), tmp_path / "stages")
    taken = paths_as_the_file(tmp_path / "stages", switch_file(parts, thresholds), x)
    assert set(taken) == {0, 1, 2}


def test_the_router_takes_the_whole_network_where_scores_are_no_numbers(built, tmp_path):
    pytest.importorskip("onnxruntime")
    nets, flow, gate, tails = built
    broken = gate.only((0, 1))
    with torch.no_grad():
        broken.out.bias[:] = float("nan")
        x = images(1, 5).tensors[0]
        parts = width_parts(flow, NODE, broken, tails, for_timing=True)
        save_stages(width_stages(parts, (0.0, 0.0)), "gate", (0.0, 0.0, 1.0), tmp_path / "stages")
        logits, path = routed(tmp_path / "stages")({"x": x.numpy()})
        assert path == 2
        assert np.allclose(logits, nets[-1](x).numpy(), atol=1e-5)


def test_scores_that_are_no_numbers_take_the_whole_network(built):
    nets, flow, gate, tails = built
    broken = gate.only((0, 1))
    with torch.no_grad():
        broken.out.bias[:] = float("nan")
    x = images(4, 5).tensors[0]
    network = SwitchNetwork(flow, NODE, broken, [Width("a", tails[0], 0.0), Width("b", tails[1], 0.0)]).eval()
    with torch.no_grad():
        assert network.answers(x)[1].tolist() == [2] * 4
        assert torch.allclose(network(x), nets[-1](x), atol=1e-6)


def test_a_gate_of_some_widths_gives_their_scores(built):
    gate, features = built[2], torch.randn(5, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(gate.only((1,))(features), gate(features)[:, 1:])


def test_a_gate_learns_which_inputs_a_width_is_right_on():
    draw = torch.Generator().manual_seed(0)
    features = 3 + 2 * torch.randn(256, 6, generator=draw)  # far from zero: the normalisation is folded in
    wanted = torch.stack([(features[:, 0] > 3).float(), (features[:, 1] > 3).float()], 1)
    gate = WidthGate((6,), 2)
    fit_gate(gate, features, wanted, HeadTraining(epochs=40, batch=32, lr=1e-2, distil=0.0))
    with torch.no_grad():
        right = ((gate(features) > 0.5) == (wanted > 0.5)).float().mean()
    assert right > 0.9


def test_a_network_with_another_trunk_is_refused(built):
    _, flow, _, _ = built
    other = flow_of(Net(2).eval(), torch.zeros(1, 1, 8, 8))
    with torch.no_grad():
        other.module.stem.bias.add_(1)
    with pytest.raises(UnsupportedModelError, match="something else up to relu"):
        tail_of(flow, NODE, cut_at(flow, [NODE])[0], other)


def test_thresholds_below_zero_are_refused(built):
    with pytest.raises(InputError, match="the threshold of w0 is -1"):
        switched(built, (-1, 0.5))

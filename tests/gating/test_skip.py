"""A network that skips: blocks as the analysis has them, rows that are answered as alone, a file that does the same."""

import numpy as np
import pytest
import torch
from torch import nn

from autoprune.dynamic_networks.flow import flow_of
from autoprune.dynamic_networks.onnx_nodes import captured_weights
from autoprune.dynamic_networks.staged import save_stages
from autoprune.dynamic_networks.stages import cut_at, run_stages
from autoprune.dynamic_networks.thresholds import NEVER, Limits
from autoprune.errors import InputError, UnsupportedModelError
from autoprune.gating.blocks import residuals_of, without
from autoprune.gating.gate import BlockGate, straight_through
from autoprune.gating.network import SkipNetwork, segments_of
from autoprune.gating.onnx_file import skip_file, skip_parts
from autoprune.gating.staged import skip_stages
from autoprune.gating.sweep import GateTimes, Split, Sweep, choices_at
from autoprune.gating.training import GateLoss, SoftSkips, bounds_at
from autoprune.graph import analyse
from autoprune.hardware import get_target
from tests.early_exit.nets import Masked, Skipping
from tests.support.routing import paths_as_the_file, routed
from tests.support.tiny_job import images


class Branch(nn.Module):
    """x + f(x), with a ReLU behind it or without."""

    def __init__(self, relu):
        super().__init__()
        self.a, self.b, self.relu = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1), relu

    def forward(self, x):
        total = x + self.b(torch.relu(self.a(x)))
        return torch.relu(total) if self.relu else total


class Net(nn.Module):
    """A stem, three blocks, a classifier."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(Branch(True), Branch(False), Branch(True))
        self.out = nn.Linear(6, 4)

    def forward(self, x):
        return self.out(self.blocks(torch.relu(self.stem(x))).mean((2, 3)))

    def computing(self, x, opened):
        """The same with the named blocks alone, written out."""
        x = torch.relu(self.stem(x))
        for block, runs in zip(self.blocks, opened, strict=True):
            x = block(x) if runs else (torch.relu(x) if block.relu else x)
        return self.out(x.mean((2, 3)))


@pytest.fixture(scope="module")
def built():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Net().eval()
        flow = flow_of(model, torch.zeros(1, 1, 8, 8))
        blocks = residuals_of(flow)
        gates = [BlockGate((6, 4, 4)).eval() for _ in blocks]
        for gate in gates:
            gate.out.weight.data.mul_(20)
    x = images(60, 3).tensors[0]
    return model, flow, blocks, gates, x


@pytest.fixture(scope="module")
def network(built):
    """Thresholds at which every gate skips for some inputs."""
    _, flow, blocks, gates, x = built
    thresholds: list[float] = []
    for number in range(len(blocks)):
        later = [0.0] * (len(blocks) - number)
        free = SkipNetwork(flow, blocks, gates, [*thresholds, *later]).eval()
        scores = []
        hook = gates[number].register_forward_hook(lambda _, __, out, into=scores: into.append(out))
        with torch.no_grad():
            free(x)
        hook.remove()
        thresholds.append(float(torch.cat(scores).median()) + 1e-6)
    return SkipNetwork(flow, blocks, gates, thresholds).eval()


def test_the_blocks_are_those_that_could_be_dropped(built):
    model, _, blocks, _, _ = built
    assert [block.name for block in blocks] == ["blocks.0", "blocks.1", "blocks.2"]
    assert {block.name for block in analyse(model, torch.zeros(1, 1, 8, 8)).blocks} == {b.name for b in blocks}
    assert [block.relu for block in blocks] == [True, False, True]


def test_a_network_without_a_block_is_refused():
    with pytest.raises(UnsupportedModelError, match="no block that could be skipped"):
        residuals_of(flow_of(Skipping(), torch.zeros(1, 1, 8, 8)))


def test_each_row_is_what_its_blocks_alone_compute(built, network):
    model, _, _, _, x = built
    with torch.no_grad():
        logits, opened = network.decisions(x)
        assert opened.float().mean(0).min() > 0 and opened.float().mean(0).max() < 1
        for row, runs in enumerate(opened.tolist()):
            assert torch.allclose(logits[row], model.computing(x[row : row + 1], runs)[0], atol=1e-6)
        assert torch.equal(network.answers(x)[1], opened.sum(1))
    assert network.explain(x[:1]) == [dict(zip(("blocks.0", "blocks.1", "blocks.2"), opened[0].tolist(), strict=True))]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_file_computes_the_same_blocks_and_its_branches_own_their_weights(built, network, runtime):
    if get_target(runtime).available() is not None:
        pytest.skip(get_target(runtime).available())
    _, flow, blocks, gates, x = built
    content = skip_file(skip_parts(flow, segments_of(flow, blocks), gates, for_timing=True), network.thresholds)
    assert captured_weights(content) == []
    call = get_target(runtime).caller(content)
    with torch.no_grad():
        logits, taken = network.answers(x)
    found = [call([image[None].numpy()]) for image in x]
    assert [int(count[0]) for _, count in found] == taken.tolist()
    assert np.allclose(np.concatenate([answer for answer, _ in found]), logits.numpy(), atol=1e-5)


def test_the_router_computes_the_blocks_that_the_file_computes(built, network, tmp_path):
    pytest.importorskip("onnxruntime")
    _, flow, blocks, gates, x = built
    parts = skip_parts(flow, segments_of(flow, blocks), gates, for_timing=True)
    save_stages(skip_stages(parts, network.thresholds), "gate", (0.25,) * 4, tmp_path / "stages")
    taken = paths_as_the_file(tmp_path / "stages", skip_file(parts, network.thresholds), x)
    assert len(set(taken)) > 1
    assert [len(stage["choices"]) for stage in routed(tmp_path / "stages").stages] == [1, 0, 1, 0, 1, 0, 0]


def test_the_router_skips_nothing_where_scores_are_no_numbers(built, tmp_path):
    pytest.importorskip("onnxruntime")
    model, flow, blocks, _, x = built
    broken = [BlockGate((6, 4, 4)).eval() for _ in blocks]
    for gate in broken:
        nn.init.constant_(gate.out.bias, float("nan"))
    parts = skip_parts(flow, segments_of(flow, blocks), broken, for_timing=True)
    save_stages(skip_stages(parts, [NEVER] * 3), "gate", (0.0, 0.0, 0.0, 1.0), tmp_path / "stages")
    logits, path = routed(tmp_path / "stages")({"x": x[:1].numpy()})
    with torch.no_grad():
        assert path == 3
        assert np.allclose(logits, model(x[:1]).numpy(), atol=1e-5)


def test_a_part_between_two_blocks_is_computed_with_the_gate_behind_it(tmp_path):
    pytest.importorskip("onnxruntime")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 6, 3), Branch(False), nn.Conv2d(6, 6, 3), Branch(True), nn.Flatten()).eval()
    x = images(4, 5).tensors[0]
    flow = flow_of(model, x[:1])
    blocks = residuals_of(flow)
    assert len(blocks) == 2
    gates = [BlockGate((6, 6, 6)).eval(), BlockGate((6, 4, 4)).eval()]
    parts = skip_parts(flow, segments_of(flow, blocks), gates, for_timing=True)
    for number, thresholds in enumerate(([0.0, 0.0], [NEVER, 0.0], [0.0, NEVER], [NEVER, NEVER])):
        folder = tmp_path / str(number)
        save_stages(skip_stages(parts, thresholds), "gate", (0.5, 0.25, 0.25), folder)
        logits, path = routed(folder)({parts.inputs[0][0]: x[:1].numpy()})
        with torch.no_grad():
            expected, taken = SkipNetwork(flow, blocks, gates, thresholds).eval().answers(x[:1])
        assert path == int(taken)
        assert np.allclose(logits, expected.numpy(), atol=1e-4)


def test_scores_that_are_no_numbers_skip_nothing(built):
    model, flow, blocks, _, x = built
    broken = [BlockGate((6, 4, 4)).eval() for _ in blocks]
    for gate in broken:
        nn.init.constant_(gate.out.bias, float("nan"))
    with torch.no_grad():
        assert torch.allclose(SkipNetwork(flow, blocks, broken, [NEVER] * 3).eval()(x), model(x), atol=1e-6)


def test_blocks_that_are_left_out_are_those_that_are_never_computed(built):
    model, flow, blocks, _, x = built
    for gone in ((0,), (1,), (0, 2), (0, 1, 2)):
        less = without(flow, [blocks[each] for each in gone])
        with torch.no_grad():
            found = run_stages(cut_at(less, []), [x])
            assert torch.allclose(found, model.computing(x, [k not in gone for k in range(3)]), atol=1e-6)
    with torch.no_grad():
        assert torch.equal(run_stages(cut_at(flow, []), [x]), model(x))  # the network itself stays


def test_gates_are_drawn_with_their_probabilities_and_learn():
    logits = torch.full((20_000, 1), 1.0, requires_grad=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = straight_through(logits, 1.0)
    assert set(drawn.detach().unique().tolist()) <= {0.0, 1.0}
    assert float(drawn.detach().mean()) == pytest.approx(1 / (1 + np.exp(-1.0)), abs=0.02)
    drawn.sum().backward()
    assert float(logits.grad.min()) > 0


def test_no_gate_may_be_open_or_shut_for_all_at_first():
    outputs = [torch.zeros(4, 2), torch.tensor([[1.0, 0.0]] * 4), torch.zeros(4, 2), torch.tensor(0.0)]
    batch = (torch.zeros(4, 1), torch.zeros(4, dtype=torch.int64))
    first = GateLoss(0.5, (0.5, 0.5))(outputs, batch)
    last = GateLoss(0.5, (0.5, 0.5))([*outputs[:3], torch.tensor(1.0)], batch)
    assert float(first - last) == pytest.approx(10 * 0.5**2)
    assert bounds_at(0.1, 0.6)[0] > bounds_at(0.2, 0.6)[0] > bounds_at(0.3, 0.6)[0]


def test_in_training_the_soft_network_is_the_one_that_its_drawn_gates_say(built):
    model, flow, blocks, gates, x = built
    soft = SoftSkips(model.forward, flow, segments_of(flow, blocks), gates, lambda flat: model(*flat), 10).train()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        logits, opened, taught, done = soft(x)
    for row, runs in enumerate((opened > 0.5).tolist()):
        assert torch.allclose(logits[row], model.computing(x[row : row + 1], runs)[0], atol=1e-5)
    assert torch.allclose(taught, model(x)) and float(done) == pytest.approx(0.1)


TIMES = GateTimes(10.0, 12.0, (8.0, 10.0), 6.0)


def test_times_add_up_and_a_gate_pays_from_its_break_even():
    assert TIMES.saved.tolist() == [4.0, 2.0] and TIMES.a_gate == 1.0
    assert TIMES.break_even == (0.25, 0.5)
    assert TIMES.of(np.array([[True, True], [False, True], [False, False]])).tolist() == [12.0, 8.0, 6.0]
    own = TIMES.only((1,), (0,))  # the first block takes a third of the time
    assert (own.opened, own.without[0], own.shut) == pytest.approx((10 * 2 / 3 + 1, 10 * 2 / 3 - 1, 10 * 2 / 3 - 1))


def test_the_fastest_threshold_that_keeps_the_loss_is_found():
    opened = np.ones((2, 400, 2), dtype=bool)
    opened[1, :200, 0] = False  # at the second threshold half of the inputs skip the first block
    right = np.ones((2, 400), dtype=bool)
    sweep = Sweep((0.0, 0.5), right, opened, np.ones(400, dtype=bool), np.zeros(400, dtype=np.int64))
    (found,) = choices_at(sweep, TIMES, Limits(0.05, 12.0))
    assert found.places == (0,) and found.thresholds == (0.5,)  # the second gate is open for all: it has none
    assert found.mean_ms == pytest.approx(11.0 - 4.0 / 2)
    own = TIMES.only((0,))
    timed = [own.opened, *own.without, own.shut]
    assert np.dot(timed, found.shares) == pytest.approx(found.mean_ms)
    right[1, :100] = False
    assert not list(choices_at(sweep, TIMES, Limits(0.05, 12.0)))
    assert Split.of(opened[1]) == Split((0,), ())


def test_a_threshold_that_is_no_number_is_refused(built):
    _, flow, blocks, gates, _ = built
    with pytest.raises(InputError, match=r"the threshold at blocks\.1 is nan"):
        SkipNetwork(flow, blocks, gates, [0.5, float("nan"), 0.5])


@pytest.mark.slow
def test_a_transformer_skips_its_branches_under_a_mask_that_they_read(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Masked().eval()
        tokens = torch.randint(0, 30, (8, 7))
        gates = [BlockGate((7, 16)).eval() for _ in range(4)]
    mask = torch.ones(8, 7, dtype=torch.int64)
    mask[:4, 5:] = 0
    flow = flow_of(model, (tokens[:1], mask[:1]))
    blocks = residuals_of(flow)
    assert [block.name.split("/")[0] for block in blocks] == ["layers.0", "layers.0", "layers.1", "layers.1"]
    for gate in gates:
        gate.out.weight.data.mul_(20)
        gate.out.bias.data.zero_()
    with torch.no_grad():
        assert torch.allclose(
            SkipNetwork(flow, blocks, gates, [0.0] * 4).eval()(tokens, mask), model(tokens, mask), atol=1e-5
        )
        network = SkipNetwork(flow, blocks, gates, [0.5] * 4).eval()
        logits, taken = network.answers(tokens, mask)
    parts = skip_parts(flow, network.segments, gates)
    call = get_target("onnxruntime").caller(skip_file(parts, network.thresholds))
    found = [call([tokens[row : row + 1].numpy(), mask[row : row + 1].numpy()]) for row in range(8)]
    assert [int(count[0]) for _, count in found] == taken.tolist()
    assert np.allclose(np.concatenate([answer for answer, _ in found]), logits.numpy(), atol=1e-5)
    save_stages(skip_stages(parts, network.thresholds), "gate", (0.2,) * 5, tmp_path / "stages")
    router = routed(tmp_path / "stages")
    given = [{"tokens": tokens[row : row + 1].numpy(), "mask": mask[row : row + 1].numpy()} for row in range(8)]
    assert [router(each)[1] for each in given] == taken.tolist()
    assert np.allclose(np.concatenate([router(each)[0] for each in given]), logits.numpy(), atol=1e-5)

"""The dynamic network: exits shut it is the network; a batch gives what its rows give; heads learn."""

import pytest
import torch
from torch import nn

from autoprune.dynamic_networks.flow import flow_of
from autoprune.early_exit.fit import Cut, answers_on, fitted_heads
from autoprune.early_exit.heads import ExitHead, HeadTraining, has_head
from autoprune.early_exit.network import DynamicNetwork, Exit
from autoprune.early_exit.places import places_of
from autoprune.errors import InputError, UnsupportedModelError
from autoprune.models.inputs.reader import AS_IT_COMES
from tests.early_exit.nets import Fixed, Masked
from tests.support.tiny_job import Tiny, images, loaders


def made(threshold=0.5, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Tiny().eval()
        flow = flow_of(model, torch.zeros(1, 1, 8, 8))
        places = places_of(flow)[:2]
        heads = [ExitHead(place.shape, 4).eval() for place in places]
    exits = [Exit(place.name, place.node, threshold) for place in places]
    return model, DynamicNetwork(flow, exits, heads, "max").eval()


def pictures(count=32):
    return images(count, 5).tensors[0]


def test_with_its_exits_shut_it_answers_as_the_network_does():
    model, dynamic = made(threshold=2.0)
    x = pictures()
    logits, taken = dynamic.answers(x)
    assert torch.equal(logits, model(x))
    assert taken.tolist() == [2] * len(x)


def test_a_batch_gives_what_its_rows_give_alone():
    _, dynamic = made(threshold=0.31)
    x = pictures(64)
    logits, taken = dynamic.answers(x)
    assert len(set(taken.tolist())) > 1
    alone = [dynamic.answers(row[None]) for row in x]
    assert torch.cat([one[1] for one in alone]).tolist() == taken.tolist()
    assert torch.allclose(torch.cat([one[0] for one in alone]), logits, atol=1e-5)


def test_who_leaves_has_the_answer_of_that_head_and_is_counted():
    model, dynamic = made(threshold=0.0)
    x = pictures()
    logits, taken = dynamic.answers(x)
    assert dynamic.counts == [len(x), 0, 0]
    first = torch.relu(model.bn1(model.conv1(x)))
    assert torch.allclose(logits, dynamic.heads[0](first), atol=1e-6)
    assert taken.tolist() == [0] * len(x)


def test_each_exit_says_how_sure_it_is():
    _, dynamic = made()
    x = pictures(3)
    found = dynamic.explain(x)
    with torch.no_grad():
        sure = dynamic.heads[0](dynamic.stages[0](None, (x,))).softmax(1).amax(1)
    assert [row[dynamic.exits[0].place] for row in found] == pytest.approx(sure.tolist())


def test_logits_that_are_not_finite_never_leave():
    _, dynamic = made(threshold=0.0)
    with torch.no_grad():
        dynamic.heads[0].linear.bias[1] = float("nan")
    _, taken = dynamic.answers(pictures(4))
    assert taken.tolist() == [1] * 4


def test_several_inputs_are_regrouped_together():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Masked().eval()
        tokens, mask = torch.randint(1, 30, (9, 7)), (torch.rand(9, 7) < 0.8).long()
        mask[:, 0] = 1
        flow = flow_of(model, {"tokens": tokens[:1], "mask": mask[:1]})
        place = places_of(flow)[0]
        head = ExitHead(place.shape, 3).eval()
    sure = DynamicNetwork(flow, [Exit(place.name, place.node, 0.0)], [head], "max").explain(tokens=tokens, mask=mask)
    middle = sorted(row[place.name] for row in sure)[4]
    dynamic = DynamicNetwork(flow, [Exit(place.name, place.node, middle)], [head], "max")
    logits, taken = dynamic.answers(tokens=tokens, mask=mask)
    assert sorted(taken.tolist()) == [0] * 5 + [1] * 4
    stay = taken == 1
    assert torch.allclose(logits[stay], model(tokens, mask)[stay], atol=1e-5)


def test_a_network_for_one_sample_is_run_row_by_row():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = Fixed().eval(), torch.randn(5, 6)
    flow = flow_of(model, x[:1])
    place = places_of(flow)[0]
    dynamic = DynamicNetwork(flow, [Exit(place.name, place.node, 2.0)], [ExitHead(place.shape, 3)], "margin")
    assert torch.allclose(dynamic(x), torch.cat([model(row[None]) for row in x]), atol=1e-6)


def test_heads_learn_and_the_network_stays():
    model, _ = made()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flow = flow_of(model, torch.zeros(1, 1, 8, 8))
    cut = Cut(model, flow, places_of(flow), AS_IT_COMES)
    train, search, _ = loaders()
    heads = fitted_heads(cut, train, HeadTraining(epochs=30, distil=0.0, seed=0))
    answers = answers_on(cut, heads, search)
    assert answers.right[:-1].mean(1).min() > 0.8  # a bright corner is easily seen; chance is 0.25
    assert answers.right[-1].mean() < 0.6  # the network itself was never trained
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_heads_that_learn_from_the_network_agree_with_it():
    model, _ = made()
    flow = flow_of(model, torch.zeros(1, 1, 8, 8))
    cut = Cut(model, flow, places_of(flow)[-1:], AS_IT_COMES)
    (head,) = fitted_heads(cut, loaders()[0], HeadTraining(epochs=60, distil=1.0, weight_decay=0.0))
    x = pictures(64)
    with torch.no_grad():
        values = cut.values(_stages(cut), (x, None))
        gap = (head(values[0]).log_softmax(1) - model(x).log_softmax(1)).abs().max()
    assert float(gap) < 0.25


def _stages(cut):
    from autoprune.dynamic_networks.stages import cut_at

    return cut_at(cut.flow, [place.node for place in cut.places])


@pytest.mark.parametrize("size", [1, 3, 4, 5, 7, 14, 15, 28, 32, 57])
def test_a_map_is_pooled_to_at_most_four_cells_a_side_that_cover_it(size):
    head = ExitHead((2, size, size), 3)
    cells = min(size, 4)
    x = torch.zeros(1, 2, size, size, requires_grad=True)
    reduced = head.reduced(x)
    assert reduced.shape == (1, 2 * cells * cells)
    reduced.sum().backward()
    assert bool((x.grad[0, 0, :1, :1] > 0).all())
    assert float((x.grad > 0).float().mean()) > 0.8


@pytest.mark.parametrize("shape", [(7,), (5, 6), (3, 9, 9), (3, 5, 9, 9)])
def test_every_kind_of_value_has_a_head(shape):
    assert has_head(shape)
    assert ExitHead(shape, 4)(torch.zeros(2, *shape)).shape == (2, 4)


def test_a_value_that_is_too_wide_has_none():
    assert not has_head((2_000, 8, 8))
    with pytest.raises(UnsupportedModelError, match="no head"):
        ExitHead((2_000, 8, 8), 4)


@pytest.mark.parametrize("threshold", [-0.1, float("nan"), float("inf")])
def test_a_threshold_that_is_none_is_refused(threshold):
    with pytest.raises(InputError, match="threshold at layer1"):
        Exit("layer1", "relu", threshold)


def test_output_that_is_no_classification_is_refused():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    flow = flow_of(model, torch.zeros(1, 1, 8, 8))
    cut = Cut(model, flow, places_of(flow), AS_IT_COMES)
    with pytest.raises(InputError, match="for classification"):
        fitted_heads(cut, loaders()[0], HeadTraining())

"""Places for exits: found in any code, named by blocks, refused where a tensor is alive; parts equal the whole."""

import pytest
import torch
from torch import nn

from autoprune.dynamic_networks.flow import flow_of
from autoprune.dynamic_networks.stages import cut_at, run_stages
from autoprune.early_exit.places import places_of
from autoprune.errors import InputError, UnsupportedModelError
from autoprune.models import build
from autoprune.models.outputs import output_of
from tests.early_exit.nets import Fixed, Functional, Masked, Skipping
from tests.support.nets.whole_models import MODELS


def seeded(build_one):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_one().eval()


def test_blocks_of_a_residual_network_are_places_in_forward_order():
    network = build("resnet20", in_channels=1, classes=10, image_size=28, seed=0).eval()
    places = places_of(flow_of(network, torch.zeros(1, 1, 28, 28)))
    assert [place.name for place in places] == [
        *("layer1.0", "layer1.1", "layer1", "layer2.0", "layer2.1", "layer2", "layer3.0", "layer3.1")
    ]
    assert [place.shape for place in places[2:4]] == [(16, 28, 28), (32, 14, 14)]
    shares = [place.share for place in places]
    assert shares == sorted(shares)
    assert all(0 < share < 1 for share in shares)


def test_fewer_places_keep_the_first_and_the_ends_of_blocks():
    network = build("resnet20", in_channels=1, classes=10, image_size=28, seed=0).eval()
    places = places_of(flow_of(network, torch.zeros(1, 1, 28, 28)), 3)
    assert len(places) == 3
    assert places[0].name == "layer1.0"


def test_functional_code_in_place_is_cut_and_its_parts_equal_the_whole():
    network, x = seeded(Functional), torch.randn(3, 1, 8, 8)
    flow = flow_of(network, x[:1])
    places = places_of(flow)
    assert len(places) == 3
    stages = cut_at(flow, [place.node for place in places])
    given = x.clone()
    assert torch.equal(run_stages(stages, (given,)), network(x))
    assert torch.equal(given, x)


def test_a_mask_is_carried_to_every_stage():
    network = seeded(Masked)
    tokens, mask = torch.randint(1, 30, (4, 7)), torch.ones(4, 7, dtype=torch.long)
    mask[0, 3:], mask[2, 5:] = 0, 0
    flow = flow_of(network, {"tokens": tokens[:1], "mask": mask[:1]})
    places = places_of(flow)
    assert [place.name for place in places if place.is_block]
    stages = cut_at(flow, [place.node for place in places])
    flat = flow.flat({"mask": mask, "tokens": tokens})  # in another order
    assert torch.allclose(run_stages(stages, flat), network(tokens=tokens, mask=mask), atol=1e-5)
    assert not torch.allclose(run_stages(stages, (tokens, torch.ones_like(mask))), network(tokens, mask), atol=1e-3)


def test_a_tensor_that_is_alive_everywhere_is_named():
    with pytest.raises(UnsupportedModelError, match=r"cannot be left early: what relu computes"):
        places_of(flow_of(seeded(Skipping), torch.zeros(1, 1, 8, 8)))


def test_a_network_of_one_layer_has_no_place():
    with pytest.raises(UnsupportedModelError, match="too little of its work"):
        places_of(flow_of(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), torch.zeros(1, 4, 4)))


def test_a_forward_for_one_sample_is_cut_too():
    network, x = seeded(Fixed), torch.randn(1, 6)
    flow = flow_of(network, x)
    assert flow.one_by_one
    stages = cut_at(flow, [place.node for place in places_of(flow)])
    assert torch.equal(run_stages(stages, (x,)), network(x))


def test_other_inputs_than_those_it_was_made_for_are_refused():
    flow = flow_of(seeded(Functional), torch.zeros(1, 1, 8, 8))
    with pytest.raises(InputError, match="was made for a call with"):
        flow.flat({"x": torch.zeros(1, 1, 8, 8)})


QUICK = ("ViT", "BERT", "DINOv2", "ConvNeXt")
SLOW = [name for name in MODELS if name not in QUICK]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(each, marks=pytest.mark.slow) for each in SLOW)])
def test_parts_of_networks_of_others_equal_the_whole(name):
    model, example = MODELS[name].build(), MODELS[name].example()
    flow = flow_of(model, example)
    try:
        places = places_of(flow)
    except UnsupportedModelError as error:
        assert "cannot be left early" in str(error)
        return
    stages = cut_at(flow, [place.node for place in places])
    call = flow.example
    with torch.no_grad():
        whole = output_of(call.run(model))
        assert torch.allclose(run_stages(stages, flow.flat(call)), whole, atol=1e-5 * float(whole.abs().max() + 1))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["Swin", "BEiT", "PVT"])
def test_what_is_spread_over_the_samples_without_reading_them_stops_no_exit(name):
    """Masks of shifted windows, relative positions and class tokens depend on how many samples there are, not on them:
    the stage behind a place computes them again."""
    model = MODELS[name].build()
    flow = flow_of(model, MODELS[name].example())
    places = places_of(flow)
    assert places[0].share < 0.3
    assert len(places) >= 4
    stages, call = cut_at(flow, [place.node for place in places]), flow.example
    with torch.no_grad():
        whole = output_of(call.run(model))
        assert torch.allclose(run_stages(stages, flow.flat(call)), whole, atol=1e-5 * float(whole.abs().max() + 1))


def test_a_number_that_is_read_off_an_input_is_alive_beside_every_place():
    class Counting(nn.Module):
        """Scales its answer with how many of its numbers are positive."""

        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(*(nn.Linear(8, 8) for _ in range(4)))

        def forward(self, x):
            positive = (x > 0).sum(1, keepdim=True) * self.layers[0].weight[0, 0]
            return self.layers(x) * positive

    torch.manual_seed(0)
    with pytest.raises(UnsupportedModelError, match="mul"):
        places_of(flow_of(Counting().eval(), torch.randn(1, 8)))

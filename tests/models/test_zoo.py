"""The zoo: shapes, and the counts that the papers and an independent formula give."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from autoprune import flops, models
from autoprune.cost.macs import macs_cost
from autoprune.criteria.ranking import kept_units, ranking
from autoprune.errors import InputError
from autoprune.graph import analyse, cut
from autoprune.techniques.space import space_of


def counted_macs(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of one image, from the shapes that really pass."""
    total = 0

    def hook(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        total += output[0].numel() * module.weight[0].numel()  # type: ignore[union-attr, operator, index]

    handles = [m.register_forward_hook(hook) for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    with torch.no_grad():
        model.eval()(torch.zeros(1, *shape))
    for handle in handles:
        handle.remove()
    return total


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("width", "millions"), [(1.0, 568.74), (0.75, 325.40)])
def test_mobilenet_v1_costs_what_its_paper_says(width: float, millions: float) -> None:
    model = models.mobilenet_v1(classes=1000, width=width)
    assert round(counted_macs(model, (3, 224, 224)) / 1e6, 2) == millions


def test_amcs_half_of_mobilenet_v1_costs_what_its_widths_say() -> None:
    # The widths that AMC (He et al. 2018) publishes for 50 % of the operations.
    widths = [24, 48, 96, 80, 192, 200, 328, 352, 368, 360, 328, 400, 736, 752]
    model, image = models.mobilenet_v1(classes=1000), torch.zeros(1, 3, 224, 224)
    analysis = analyse(model, image, validate=False)
    space = space_of(analysis, grid=1)
    policy = space.policy(dict(zip(space.names, widths, strict=True)))
    assert macs_cost(analysis, space).cost(policy.choices) == 293_870_000
    assert flops(cut(model, analysis, kept_units(ranking(model, analysis), policy.choices)), image) == 293_870_000


def test_mobilenet_v2_has_its_published_size() -> None:
    model = models.mobilenet_v2(classes=1000)
    assert parameters(model) == 3_504_872
    assert round(counted_macs(model, (3, 224, 224)) / 1e6, 2) == 300.77


@pytest.mark.parametrize(("name", "blocks"), [("resnet20", 3), ("resnet32", 5), ("resnet56", 9), ("plain20", 3)])
def test_cifar_nets_follow_the_formula(name: str, blocks: int) -> None:
    # He et al. 4.2, layer by layer: 3x3 convolutions with two BatchNorm values a channel, then the linear layer.
    residual = name.startswith("resnet")
    size, macs, inputs = 32, 3 * 16 * 9 * 32 * 32, 16
    count = 3 * 16 * 9 + 2 * 16
    for stage, channels in enumerate((16, 32, 64)):
        size //= 2 if stage else 1
        weights = 9 * (inputs * channels + (2 * blocks - 1) * channels * channels)
        shortcut = inputs * channels if residual and stage else 0
        macs += (weights + shortcut) * size * size
        count += weights + 2 * channels * 2 * blocks + (shortcut + 2 * channels if shortcut else 0)
        inputs = channels
    model = models.ZOO[name]()
    assert parameters(model) == count + 64 * 10 + 10
    assert counted_macs(model, (3, 32, 32)) == macs + 64 * 10
    assert sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in model.modules()) == 6 * blocks + 2 + 2 * residual


def test_vgg_follows_the_formula() -> None:
    channels = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    sizes = [32, 32, 16, 16, 8, 8, 8, 4, 4, 4, 2, 2, 2]
    weights = [9 * a * b for a, b in pairwise(channels)]
    model = models.vgg16_bn()
    assert parameters(model) == sum(weights) + 2 * sum(channels[1:]) + 512 * 10 + 10
    expected = sum(w * s * s for w, s in zip(weights, sizes, strict=True)) + 5120
    assert counted_macs(model, (3, 32, 32)) == expected


@pytest.mark.parametrize("name", models.ZOO)
@pytest.mark.parametrize("pixels", [16, 28, 32])
def test_every_net_takes_small_images_and_any_width(name: str, pixels: int) -> None:
    size = {"image_size": pixels} if name in ("lenet_300_100", "conv2", "conv4", "conv6") else {}
    model = models.ZOO[name](in_channels=1, classes=7, width=0.25, **size).eval()
    assert model(torch.zeros(2, 1, pixels, pixels)).shape == (2, 7)


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_small_form_keeps_parameters_and_pixels(name: str) -> None:
    usual = models.build(name, image_size=224)
    small = models.build(name, image_size=28)
    assert parameters(small) == parameters(usual) == parameters(models.build(name))
    seen: list[torch.Size] = []
    small.avgpool.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    small.eval()(torch.zeros(1, 3, 32, 32))
    assert seen[0][2:] == (4, 4)


def test_names_are_the_usual_ones() -> None:
    names = dict(models.resnet20().named_modules())
    for name in ("conv1", "bn1", "layer1.0.conv1", "layer1.0.bn2", "layer3.2.conv2", "layer2.0.downsample.0", "fc"):
        assert name in names
    assert "layer1.0.downsample" not in names  # same shape: the identity, as in the paper


def test_projection_only_where_the_shape_changes() -> None:
    assert not any("downsample" in name for name, _ in models.plain20().named_parameters())


def test_building_is_reproducible_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (models.build("plain20", seed=seed).state_dict() for seed in (5, 5, 6))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


def test_first_weights_are_he_normal() -> None:
    weight = models.build("resnet20", seed=0).layer3[2].conv2.weight
    assert float(weight.detach().std()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)


@pytest.mark.parametrize("wrong", [{"in_channels": 0}, {"classes": 0}, {"width": 0.0}, {"width": float("nan")}])
@pytest.mark.parametrize("name", models.ZOO)
def test_impossible_sizes_are_refused(name: str, wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        models.ZOO[name](**wrong)


def test_exported_names_are_sorted_and_exist() -> None:
    assert models.__all__ == sorted(models.__all__, key=lambda name: (not name.isupper(), name))
    assert all(hasattr(models, name) for name in models.__all__)


@pytest.mark.parametrize(
    ("name", "sizes", "weights"),
    [
        ("lenet_300_100", {"in_channels": 1, "image_size": 28}, 266_200),
        ("conv2", {}, 4_300_992),
        ("conv4", {}, 2_425_024),
        ("conv6", {}, 2_261_184),
    ],
)
def test_the_lottery_tickets_networks_have_their_sizes(name, sizes, weights):
    model = models.build(name, **sizes, seed=0)
    assert sum(p.numel() for p in model.parameters() if p.ndim > 1) == weights
    pixels = sizes.get("image_size", 32)
    channels = sizes.get("in_channels", 3)
    assert model(torch.zeros(2, channels, pixels, pixels)).shape == (2, 10)
    odd = models.build(name, in_channels=channels, image_size=17, classes=3)
    assert odd(torch.zeros(1, channels, 17, 17)).shape == (1, 3)


def test_an_image_that_the_poolings_use_up_is_refused():
    with pytest.raises(InputError, match="image_size is 7; the network needs at least 8 pixels"):
        models.conv6(image_size=7)

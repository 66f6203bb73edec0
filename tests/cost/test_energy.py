"""Energy of a policy equals what is counted, operator by operator, while the network that is really cut runs."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from autoprune.cost.energy import MODELLED, Coefficients, energy_cost, fit_energy
from autoprune.errors import InputError
from autoprune.graph import Analysis, analyse, cut
from autoprune.models import ZOO
from autoprune.space import Decision, SearchSpace, SpaceConstraints
from autoprune.techniques.space import space_of

DISTINCT = Coefficients(macs=3.0, weight_bytes=50.0, input_bytes=7.0, output_bytes=11.0, number=2, constant=0.25)


class Counter(TorchDispatchMode):
    """Counts picojoules of the operators that run, from tensors' sizes alone."""

    def __init__(self, coefficients: Coefficients) -> None:
        super().__init__()
        self.c = coefficients
        self.picojoules = 0.0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__.rstrip("_")
        if name in ("convolution", "addmm", "add", "mean", "max_pool2d_with_indices", "cat"):
            tensors = [a for a in args if isinstance(a, torch.Tensor)] + [t for a in args if type(a) is list for t in a]
            tensors = [t for t in tensors if isinstance(t, torch.Tensor)]
            output = result[0] if isinstance(result, tuple) else result
            weights: list[torch.Tensor] = []
            if name == "convolution":
                tensors, weights = tensors[:1], tensors[1:]
                self.picojoules += self.c.macs * output.numel() * weights[0][0].numel()
            elif name == "addmm":  # bias, input, transposed weight
                weights, tensors = [tensors[0], tensors[2]], [tensors[1]]
                self.picojoules += self.c.macs * output.numel() * weights[1].shape[0]
            number = self.c.number
            self.picojoules += self.c.weight_bytes * number * sum(w.numel() for w in weights)
            self.picojoules += self.c.input_bytes * number * sum(t.numel() for t in tensors)
            self.picojoules += self.c.output_bytes * number * output.numel()
        return result


def counted(model: nn.Module, x: torch.Tensor, coefficients: Coefficients) -> float:
    """Millijoules of one call."""
    with torch.no_grad(), Counter(coefficients) as counter:
        model.eval()(x)
    return counter.picojoules * 1e-9 + coefficients.constant


def space_of_quarters(analysis: Analysis) -> SearchSpace:
    return SearchSpace(
        tuple(
            Decision(g.name, g.width, tuple(sorted({max(1, g.width * k // 4) for k in (1, 2, 3, 4)})))
            for g in analysis.groups
        )
    )


@pytest.fixture(scope="module", params=[("resnet20", 0.5), ("mobilenet_v2", 0.25), ("vgg16_bn", 0.125)])
def net(request: pytest.FixtureRequest) -> tuple[nn.Module, torch.Tensor, Analysis, SearchSpace]:
    name, width = request.param
    model, x = ZOO[name](in_channels=3, width=width), torch.zeros(1, 3, 32, 32)
    analysis = analyse(model, x, validate=False)
    return model, x, analysis, space_of_quarters(analysis)


def test_equal_to_a_count_on_the_cut_network(net) -> None:
    model, x, analysis, space = net
    cost = energy_cost(analysis, space, DISTINCT)
    assert cost.dense == pytest.approx(counted(model, x, DISTINCT), rel=1e-12)
    for seed in range(3):
        choices = space.random(seed).choices
        small = cut(model, analysis, {name: range(kept) for name, kept in choices.items()})
        assert cost.cost(choices) == pytest.approx(counted(small, x, DISTINCT), rel=1e-12)


def test_a_batch_reads_the_weights_once(net) -> None:
    model, x, analysis, space = net
    cost = energy_cost(analysis, space, DISTINCT, batch=3)
    assert cost.dense == pytest.approx(counted(model, torch.cat([x] * 3), DISTINCT), rel=1e-12)


def test_one_convolution_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1, bias=False))
    analysis = analyse(model, torch.zeros(1, 2, 5, 5), validate=False)
    space = SearchSpace((Decision("0", 4, (1, 2, 4)),))
    found = energy_cost(analysis, space).cost({"0": 2})
    first = 4.6 * 25 * 2 * 18 + 162.5 * 4 * (2 * 18 + 2) + 12.5 * 4 * (2 * 25) + 12.5 * 4 * (2 * 25)
    second = 4.6 * 25 * 2 + 162.5 * 4 * 2 + 12.5 * 4 * (2 * 25) + 12.5 * 4 * 25
    assert found == pytest.approx((first + second) * 1e-9, rel=1e-12)


def test_modelled_is_labelled_and_half_the_bytes_cost_less() -> None:
    full, half = Coefficients.modelled(), Coefficients.modelled("bf16")
    assert full.label == MODELLED and full.number == 4 and half.number == 2 and half.macs < full.macs
    with pytest.raises(InputError, match="from 0 up"):
        Coefficients(-1.0, 0.0, 0.0, 0.0)
    with pytest.raises(InputError, match="from 0 up"):
        Coefficients(float("nan"), 0.0, 0.0, 0.0)


def test_pickles_and_is_monotone(net) -> None:
    _, _, analysis, space = net
    cost = pickle.loads(pickle.dumps(energy_cost(analysis, space)))
    assert cost.kind == "energy" and cost.unit == "mJ" and cost.label == MODELLED
    least, choices = cost.least()
    assert choices == {d.name: d.options[0] for d in space.decisions} and least < cost.dense


def _policies(space: SearchSpace, n: int) -> list[dict[str, int]]:
    return [dict(space.dense), *(dict(space.random(seed).choices) for seed in range(n - 1))]


def test_fitted_on_measurements_it_predicts_others(net) -> None:
    """A machine whose energy is linear, in other proportions than the literature's, is found out."""
    _, _, analysis, space = net
    truth = energy_cost(analysis, space, Coefficients(40.0, 300.0, 20.0, 90.0, constant=1.5))
    noise = np.random.default_rng(0)
    runs = [(choices, truth.cost(choices) * noise.uniform(0.995, 1.005)) for choices in _policies(space, 14)]
    fitted = fit_energy(analysis, space, runs, "RAPL")
    assert fitted.label == "measured (RAPL)"
    others = [dict(space.random(seed).choices) for seed in range(100, 120)]
    off = [abs(fitted.cost(choices) / truth.cost(choices) - 1) for choices in others]
    assert max(off) < 0.03


def test_a_fit_refuses_too_few_and_nonsense(net) -> None:
    _, _, analysis, space = net
    runs = [(choices, 1.0) for choices in _policies(space, 8)]
    with pytest.raises(InputError, match="at least 8"):
        fit_energy(analysis, space, runs[:7], "RAPL")
    with pytest.raises(InputError, match="must be positive"):
        fit_energy(analysis, space, [*runs[:7], (runs[7][0], 0.0)], "RAPL")


def test_a_dropped_block_costs_nothing() -> None:
    model, x = ZOO["resnet20"](in_channels=3, width=0.5), torch.zeros(1, 3, 32, 32)
    analysis = analyse(model, x, validate=False)
    space = space_of(analysis, SpaceConstraints(granularity=2, kinds=("channels", "block")))
    cost = energy_cost(analysis, space, DISTINCT)
    for seed in range(3):
        choices = space.random(seed).choices
        assert any(choices[d.name] == 0 for d in space.decisions)
        small = cut(model, analysis, {name: range(kept) for name, kept in space.units(choices).items()})
        assert cost.cost(choices) == pytest.approx(counted(small, x, DISTINCT), rel=1e-12)

"""A forward that draws random numbers: the proof gives every run the same ones, and takes none away."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoprune.graph import analyse, cut, zero
from tests.support.nets.plain import Net


def drawing(norm: Callable[[], nn.Module]) -> nn.Module:
    """Attention over sampled keys, say: three of the tokens, drawn anew in every run."""

    def body(n: Net, x: Tensor) -> Tensor:
        y = n.norm(n.a(x))
        return n.b(F.relu(y[:, torch.randint(5, (3,))])) + torch.rand(4)

    return Net(body, a=nn.Linear(12, 16), norm=norm(), b=nn.Linear(16, 4)).eval()


def test_a_width_that_is_normalised_over_is_found_though_the_forward_draws() -> None:
    net, x = drawing(lambda: nn.LayerNorm(16)), torch.randn(2, 5, 12)
    before = torch.get_rng_state()
    assert {group.name: group.width for group in analyse(net, x).groups} == {"a": 16}
    assert torch.equal(before, torch.get_rng_state())


def test_a_cut_network_draws_what_the_silenced_one_draws() -> None:
    torch.manual_seed(0)
    net, x = drawing(nn.ReLU), torch.randn(2, 5, 12)
    analysis = analyse(net, x)
    assert {group.name: group.width for group in analysis.groups} == {"a": 16}
    outputs = []
    for small in (cut(net, analysis, {"a": [1, 4, 7]}), zero(net, analysis, {"a": [1, 4, 7]})):
        torch.manual_seed(3)
        with torch.no_grad():
            outputs.append(small(x))
    torch.testing.assert_close(*outputs)

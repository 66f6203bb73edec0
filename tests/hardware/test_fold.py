"""A folded network computes what the network computed, with fewer operators."""

import torch
from torch import nn

from autoprune.hardware import fold_batch_norm


def _randomised(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
            if module.affine:
                nn.init.normal_(module.weight, generator=generator)
                nn.init.normal_(module.bias, generator=generator)
    return model


def _norms(graph_module: torch.fx.GraphModule) -> int:
    return sum(node.target is torch.ops.aten.batch_norm.default for node in graph_module.graph.nodes)


def _agree(model: nn.Module, x: torch.Tensor, norms_left: int) -> None:
    folded = fold_batch_norm(model, x)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), model.eval()(x), rtol=1e-4, atol=1e-4)
    assert _norms(folded) == norms_left


class _Tied(nn.Module):
    """One convolution, two BatchNorms: each fold needs weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.first, self.second = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.conv(self.first(self.conv(x)).relu()))


class _Branching(nn.Module):
    """The convolution's output is read twice, so its BatchNorm must stay."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return self.norm(y) + y


def test_convolutions_with_and_without_bias_groups_and_affine() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.BatchNorm2d(8, affine=False),
        nn.Conv2d(8, 12, 3, padding="same", groups=4),
        nn.BatchNorm2d(12, eps=0.1),
        nn.Flatten(),
        nn.Linear(12 * 16, 6, bias=False),
        nn.BatchNorm1d(6),
    )
    _agree(_randomised(model), torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)), 0)


def test_a_shared_convolution_folds_twice() -> None:
    _agree(_randomised(_Tied()), torch.randn(1, 4, 5, 5, generator=torch.Generator().manual_seed(1)), 0)


def test_what_cannot_be_folded_stays() -> None:
    x = torch.randn(1, 4, 5, 5, generator=torch.Generator().manual_seed(1))
    _agree(_randomised(_Branching()), x, 1)
    _agree(_randomised(nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1))), x, 1)
    _agree(nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)), x, 1)


def test_a_norm_over_another_dimension_than_the_layer_makes_stays() -> None:
    x = torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(1))
    tokens = _randomised(nn.Sequential(nn.Linear(5, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 2)))
    _agree(tokens, x, 1)  # over nine tokens of nine features each
    _agree(tokens, x[:, 0], 0)  # over nine features
    rows = _randomised(nn.Sequential(nn.Conv2d(2, 9, 1), nn.BatchNorm1d(9)))
    _agree(rows, x, 1)  # one image of nine rows, without a batch dimension


def test_the_model_is_left_as_it_was_and_nothing_unread_remains() -> None:
    model = _randomised(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded = fold_batch_norm(model, torch.randn(1, 3, 8, 8))
    assert model.training and all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert {tuple(value.shape) for value in folded.state_dict().values()} == {(4, 3, 3, 3), (4,)}

"""The gate: how probable it is that each narrow width answers an input rightly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.early_exit.heads import ExitHead, HeadTraining
from autoprune.foundations.seeding import seeded

__all__ = ["WidthGate", "fit_gate"]

_HIDDEN = 32


class WidthGate(nn.Module):
    """Scores from a value inside the network, which is pooled as an exit's head pools it.

    Args:
        shape: Sizes of the value for one sample.
        widths: Scores.

    Raises:
        UnsupportedModelError: If such a value cannot be read.
    """

    def __init__(self, shape: Sequence[int], widths: int) -> None:
        super().__init__()
        self.hidden = ExitHead(shape, _HIDDEN)
        self.out = nn.Linear(_HIDDEN, widths)

    def forward(self, features: Tensor) -> Tensor:
        """Probabilities (N, widths)."""
        return self.of_reduced(self.hidden.reduced(features))

    def of_reduced(self, inputs: Tensor) -> Tensor:
        """The same from what `hidden.reduced` gave, (N, inputs of the first layer)."""
        scores: Tensor = self.out(self.hidden.linear(inputs).relu()).sigmoid()
        return scores

    def only(self, widths: Sequence[int]) -> WidthGate:
        """A gate with some of the scores."""
        small = WidthGate(self.hidden.shape, len(widths))
        small.hidden.load_state_dict(self.hidden.state_dict())
        with torch.no_grad():
            small.out.weight.copy_(self.out.weight[list(widths)])
            small.out.bias.copy_(self.out.bias[list(widths)])
        return small.eval()


def fit_gate(gate: WidthGate, inputs: Tensor, wanted: Tensor, training: HeadTraining) -> None:
    """Train a gate; the inputs are normalised for it, and the normalisation is folded into its first layer.

    Args:
        gate: Trained in place.
        inputs: What `hidden.reduced` gave for each sample, float32 (N, inputs).
        wanted: Probability that each width gives to the right class, (N, widths). Whether a width is right would say
            little: it was trained on these samples, and is right nearly always.
        training: How.
    """
    mean, scale = inputs.mean(0), inputs.std(0, unbiased=False).clamp_min(1e-6)
    normal = (inputs - mean) / scale
    with seeded(training.seed):
        fresh = WidthGate(gate.hidden.shape, wanted.shape[1])
        gate.load_state_dict(fresh.state_dict())
        steps = max(1, training.epochs * -(-len(inputs) // training.batch))
        optimizer = torch.optim.AdamW(gate.parameters(), training.lr, weight_decay=training.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(training.epochs):
            for rows in torch.split(torch.randperm(len(inputs)), training.batch):
                loss = functional.binary_cross_entropy(gate.of_reduced(normal[rows]), wanted[rows])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
    with torch.no_grad():
        linear = gate.hidden.linear
        weight = linear.weight / scale
        linear.bias.sub_(weight @ mean)
        linear.weight.copy_(weight)

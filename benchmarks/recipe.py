"""How a small vision transformer is fine-tuned by each optimiser and rate after half of every width is cut; digits.

python benchmarks/recipe.py
"""

from __future__ import annotations

import statistics

import torch
from torch import Tensor, nn

import autoprune
from autoprune.data import DataSet, load
from autoprune.evaluation import accuracy
from autoprune.run.experiment import Experiment
from autoprune.training import Recipe, Trainer
from autoprune.training.epochs import InEpochs

SEEDS, DENSE_EPOCHS, EPOCHS = 3, 60, 15
RECIPES = [("sgd", 0.05), ("sgd", 0.2), ("adamw", 5e-4), ("adamw", 1e-3), ("adamw", 2e-3), ("adamw", 4e-3)]


class Block(nn.Module):
    """Attention of 4 heads and a perceptron over tokens (N, 16, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(32), nn.LayerNorm(32)
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
        self.fc1, self.fc2 = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, 16, 32) to tokens."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, 4, 8)).permute(2, 0, 3, 1, 4)
        x = x + self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm2(x))))


class Vit(nn.Module):
    """Three blocks over the 16 patches of an image (N, 1, 16, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.place = nn.Conv2d(1, 32, 4, 4), nn.Parameter(torch.randn(1, 16, 32) * 0.02)
        self.blocks = nn.Sequential(Block(), Block(), Block())
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Images to logits (N, 10)."""
        return self.head(self.norm(self.blocks(self.patch(x).flatten(2).transpose(1, 2) + self.place)).mean(1))


def compare(data: DataSet, seed: int) -> dict[str, float]:
    """Test accuracy of the dense network, and of its half by each recipe."""
    torch.manual_seed(seed)
    model = Vit()
    dense = Recipe.chosen(Experiment(lr=1.5e-3), attention=True).dense(DENSE_EPOCHS, seed)
    Trainer(model, InEpochs(data.train, seed * 1000), dense).run()
    found = {"dense": accuracy(model, data.test)}
    policy = autoprune.search_space(model, data.example).uniform(0.5)
    for name, lr in RECIPES:
        small = autoprune.apply(model, policy)
        settings = Recipe.chosen(Experiment(optimizer=name, lr=lr), attention=True).finetune(EPOCHS, seed)
        Trainer(small, InEpochs(data.train, seed * 1000 + 500), settings, teacher=model).run()
        found[f"{name} {lr:g}"] = accuracy(small, data.test)
    return found


def main() -> None:
    """Print a line a recipe: mean and sample standard deviation over the seeds."""
    torch.set_num_threads(1)
    data = load("digits")
    runs = [compare(data, seed) for seed in range(SEEDS)]
    for name in runs[0]:
        scores = [100 * run[name] for run in runs]
        print(f"{name:12} {statistics.mean(scores):.1f} +- {statistics.stdev(scores):.1f} %")


if __name__ == "__main__":
    main()

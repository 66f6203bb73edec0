"""Regression, judged by an error that is to be minimised: the progress of diabetes (scikit-learn's data).

From Python: `python -m examples.regression`. From the command line:

    autoprune compress --model examples.regression:network --data examples.regression:loaders \
        --loss examples.regression:loss --evaluate examples.regression:rmse --score RMSE --direction minimize \
        --score-format '{:.1f} units' --params 40% --agent random --episodes 20 --train-epochs 30 \
        --finetune-epochs 5 --run regression
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

__all__ = ["loaders", "loss", "main", "network", "rmse"]

MEAN, SPREAD = 152.0, 77.0  # of the targets; the network learns them standardised


def network() -> nn.Module:
    """A perceptron of three layers, not trained."""
    return nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))


def loaders() -> tuple[DataLoader[tuple[Tensor, ...]], ...]:
    """Loaders of train, search and test: ten standardised figures of a patient, and the progress after a year."""
    found = load_diabetes()
    inputs = torch.as_tensor(found.data, dtype=torch.float32) * len(found.data) ** 0.5
    targets = torch.as_tensor(found.target, dtype=torch.float32)[:, None]
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    parts = order.split([242, 100, 100])
    return tuple(
        DataLoader(TensorDataset(inputs[part], targets[part]), batch_size=32, shuffle=number == 0)
        for number, part in enumerate(parts)
    )


def loss(output: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean squared error of standardised targets."""
    return nn.functional.mse_loss(output, (batch[1] - MEAN) / SPREAD)


def rmse(model: nn.Module, loader: DataLoader[tuple[Tensor, ...]]) -> float:
    """Root of the mean squared error, in the target's own unit."""
    with torch.no_grad():
        squares = [(model(inputs) * SPREAD + MEAN - targets).square() for inputs, targets in loader]
    return float(torch.cat(squares).mean().sqrt())


def main() -> None:
    """Train the dense network, then compress it to 40 % of its parameters."""
    import autoprune

    torch.manual_seed(0)
    train, search, test = loaders()
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, weight_decay=1e-2)
    for _ in range(30):
        for batch in train:
            optimizer.zero_grad()
            loss(model(batch[0]), batch).backward()
            optimizer.step()
    result = autoprune.compress(
        model,
        train=train,
        search=search,
        test=test,
        budget="params<=40%",
        loss=loss,
        evaluate=rmse,
        score="RMSE",
        direction="minimize",
        score_format="{:.1f} units",
        agent="random",
        episodes=20,
        finetune_epochs=5,
    )
    for name in ("dense", "finetuned"):
        figures = result.report[name]
        print(f"{name}: RMSE {figures['score']:.1f}, {figures['params']:,} parameters")  # noqa: T201


if __name__ == "__main__":
    main()

"""A task that is learned in seconds: which quarter of a small image is bright."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Quarters(nn.Module):
    """Two convolutions with a residual stage and a linear head; 4 classes."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.conv3 = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(16)
        self.fc = nn.Linear(16 * 16, 4)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        x = torch.relu(x + self.bn3(self.conv3(x)))
        return self.fc(x.flatten(1))


def quarters(count, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (count,), generator=generator)
    images = torch.randn(count, 1, 8, 8, generator=generator)
    for image, label in zip(images, labels, strict=True):
        row, column = 4 * (int(label) // 2), 4 * (int(label) % 2)
        image[0, row : row + 4, column : column + 4] += 0.8
    return TensorDataset(images, labels)


@pytest.fixture(scope="session")
def loaders():
    return {
        "train": DataLoader(quarters(512, 0), batch_size=64, shuffle=True),
        "search": DataLoader(quarters(256, 1), batch_size=64),
        "test": DataLoader(quarters(256, 2), batch_size=64),
    }


@pytest.fixture(scope="session")
def trained(loaders):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Quarters()
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(6):
            for images, labels in loaders["train"]:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(images), labels).backward()
                optimizer.step()
    return model.eval()

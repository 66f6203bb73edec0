"""A data source of another package: stripes that run up or down, drawn when asked for."""

import torch

from autoprune.data import Augmentation, DataSource, Images, from_images, split


class Stripes(DataSource):
    def locate(self, data_dir):
        return None

    def splits(self, files, *, batch_size, seed):
        noise = torch.randint(0, 60, (400, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
        labels = torch.arange(400) % 2
        lines = (torch.arange(8) % 2 * 150).to(torch.uint8)
        images = noise + torch.where(labels.view(-1, 1, 1, 1) == 0, lines.view(1, 1, 1, 8), lines.view(1, 1, 8, 1))
        dealt = split(labels.numpy(), {"test": 80, "search": 80, "calibration": 40}, "stripes")
        parts = {name: Images(images[chosen], labels[chosen]) for name, chosen in dealt.items()}
        return from_images(
            "stripes", parts, classes=2, augment=Augmentation(), batch_size=batch_size, seed=seed, dense_epochs=2
        )


def net():
    """Small enough to be trained in a second."""
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )

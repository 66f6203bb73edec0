"""Segmentation with a loss and a score of its own: bright shapes on a noisy ground, judged by intersection over union.

From Python: `python -m examples.segmentation`. From the command line:

    autoprune compress --model examples.segmentation:network --data examples.segmentation:loaders \
        --loss examples.segmentation:loss --evaluate examples.segmentation:iou --score IoU \
        --flops 50% --agent random --episodes 20 --train-epochs 4 --finetune-epochs 2 --run segmentation
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

__all__ = ["Segmenter", "iou", "loaders", "loss", "main", "network"]


class Segmenter(nn.Module):
    """A small U-Net: half the resolution inside, and a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.coarse = nn.Sequential(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU())
        self.merged = nn.Sequential(nn.Conv2d(48, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Conv2d(16, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 1, H, W) of images (N, 1, H, W)."""
        fine = self.fine(images)
        coarse = F.interpolate(self.coarse(fine), scale_factor=2.0)
        return self.head(self.merged(torch.cat([fine, coarse], 1)))


def network() -> nn.Module:
    """The network, not trained."""
    return Segmenter()


def _shapes(count: int, seed: int) -> DataLoader[tuple[Tensor, ...]]:
    """Images (N, 1, 16, 16) with a bright rectangle each, and its mask (N, 1, 16, 16)."""
    draw = torch.Generator().manual_seed(seed)
    top, left = torch.randint(0, 8, (2, count, 1, 1), generator=draw)
    height, width = torch.randint(4, 8, (2, count, 1, 1), generator=draw)
    row, column = torch.arange(16).view(1, -1, 1), torch.arange(16).view(1, 1, -1)
    inside = (row >= top) & (row < top + height) & (column >= left) & (column < left + width)
    masks = inside.float()[:, None]
    images = masks + 0.8 * torch.randn(masks.shape, generator=draw)
    return DataLoader(TensorDataset(images, masks), batch_size=32, shuffle=seed == 0)


def loaders() -> tuple[DataLoader[tuple[Tensor, ...]], ...]:
    """Loaders of train, search and test."""
    return _shapes(512, 0), _shapes(128, 1), _shapes(128, 2)


def loss(output: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Binary cross-entropy with the mask, plus one minus the soft Dice coefficient."""
    mask = batch[1]
    found = output.sigmoid()
    dice = 2 * (found * mask).sum() / (found.sum() + mask.sum())
    return F.binary_cross_entropy_with_logits(output, mask) + 1 - dice


def iou(model: nn.Module, loader: DataLoader[tuple[Tensor, ...]]) -> float:
    """Intersection over union of all pixels of a split."""
    both = either = 0
    with torch.no_grad():
        for images, masks in loader:
            found, truth = model(images) > 0, masks > 0
            both += int((found & truth).sum())
            either += int((found | truth).sum())
    return both / max(either, 1)


def main() -> None:
    """Train the dense network, then compress it to half of its multiply-accumulates."""
    import autoprune

    torch.manual_seed(0)
    train, search, test = loaders()
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(4):
        for batch in train:
            optimizer.zero_grad()
            loss(model(batch[0]), batch).backward()
            optimizer.step()
    result = autoprune.compress(
        model,
        train=train,
        search=search,
        test=test,
        budget="flops<=50%",
        loss=loss,
        evaluate=iou,
        score="IoU",
        agent="random",
        episodes=20,
        finetune_epochs=2,
    )
    for name in ("dense", "finetuned"):
        figures = result.report[name]
        print(f"{name}: IoU {figures['score']:.3f}, {figures['flops']:,} MACs")  # noqa: T201


if __name__ == "__main__":
    main()

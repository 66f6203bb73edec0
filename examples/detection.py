"""A detector's output of several tensors: class scores and boxes of one object an image, from two images at once.

The network returns a mapping of tensors, which the loss and the score are handed as it is; and it has two inputs, an
image and a mask of what may be looked at, which the keys of the batch name. From Python:
`python -m examples.detection`. From the command line:

    autoprune compress --model examples.detection:network --data examples.detection:loaders \
        --loss examples.detection:loss --evaluate examples.detection:precision --score 'AP at 0.5' \
        --flops 50% --agent random --episodes 20 --train-epochs 8 --finetune-epochs 3 --run detection
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

__all__ = ["Detector", "loaders", "loss", "main", "network", "precision"]

Batch = Mapping[str, Tensor]


class Detector(nn.Module):
    """Convolutions, and two heads: which class, and where (left, top, right, bottom, as shares of the image)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 16, 32, 32)
        layers = [
            nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU())
            for before, after in pairwise(widths)
        ]
        self.trunk = nn.Sequential(*layers)
        self.hidden = nn.Linear(32 * 4, 64)
        self.scores, self.boxes = nn.Linear(64, 2), nn.Linear(64, 4)

    def forward(self, image: Tensor, visible: Tensor) -> dict[str, Tensor]:
        """Scores (N, 2) and boxes (N, 4) of images (N, 1, 16, 16) and masks of the same shape."""
        hidden = self.hidden(self.trunk(image * visible).flatten(1)).relu()
        return {"logits": self.scores(hidden), "boxes": self.boxes(hidden).sigmoid()}


def network() -> nn.Module:
    """The network, not trained."""
    return Detector()


def _scenes(count: int, seed: int) -> DataLoader[dict[str, Tensor]]:
    """A filled or an empty square in a noisy image whose right edge is hidden."""
    draw = torch.Generator().manual_seed(seed)
    kind = torch.randint(0, 2, (count,), generator=draw)
    size = torch.randint(5, 9, (count,), generator=draw)
    corner = (torch.rand(count, 2, generator=draw) * (15 - size)[:, None]).long()
    image = 0.3 * torch.randn(count, 1, 16, 16, generator=draw)
    for number, ((x, y), side) in enumerate(zip(corner.tolist(), size.tolist(), strict=True)):
        image[number, 0, y : y + side, x : x + side] += 1.0
        if kind[number]:
            image[number, 0, y + 1 : y + side - 1, x + 1 : x + side - 1] -= 1.0
    visible = torch.ones(16, 16)
    visible[:, -1] = 0
    boxes = torch.cat([corner, corner + size[:, None]], 1) / 16
    rows = [{"image": image[i], "visible": visible[None], "boxes": boxes[i], "labels": kind[i]} for i in range(count)]
    return DataLoader(rows, batch_size=32, shuffle=seed == 0)  # type: ignore[arg-type]  # a list is a data set


def loaders() -> Sequence[DataLoader[dict[str, Tensor]]]:
    """Loaders of train, search and test."""
    return _scenes(768, 0), _scenes(160, 1), _scenes(160, 2)


def loss(output: dict[str, Tensor], batch: Batch) -> Tensor:
    """Cross-entropy of the class, plus five times the mean distance of the box's edges."""
    return F.cross_entropy(output["logits"], batch["labels"]) + 5 * F.l1_loss(output["boxes"], batch["boxes"])


def precision(model: nn.Module, loader: DataLoader[dict[str, Tensor]]) -> float:
    """Share of images whose class is right, and whose box overlaps the true one by half of their union or more."""
    right = count = 0
    with torch.no_grad():
        for batch in loader:
            output = model(batch["image"], batch["visible"])
            hit = _overlap(output["boxes"], batch["boxes"]) >= 0.5
            right += int((hit & (output["logits"].argmax(1) == batch["labels"])).sum())
            count += len(hit)
    return right / count


def _overlap(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes (N, 4), (N,)."""
    inner = torch.minimum(one[:, 2:], other[:, 2:]) - torch.maximum(one[:, :2], other[:, :2])
    both = inner.clamp(min=0).prod(1)
    areas = [(box[:, 2:] - box[:, :2]).clamp(min=0).prod(1) for box in (one, other)]
    return both / (areas[0] + areas[1] - both)


def main() -> None:
    """Train the dense network, then compress it to half of its multiply-accumulates."""
    import autoprune

    torch.manual_seed(0)
    train, search, test = loaders()
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(8):
        for batch in train:
            optimizer.zero_grad()
            loss(model(batch["image"], batch["visible"]), batch).backward()
            optimizer.step()
    result = autoprune.compress(
        model,
        train=train,
        search=search,
        test=test,
        budget="flops<=50%",
        loss=loss,
        evaluate=precision,
        score="AP at 0.5",
        agent="random",
        episodes=20,
        finetune_epochs=3,
    )
    for name in ("dense", "finetuned"):
        figures = result.report[name]
        print(f"{name}: AP at 0.5 {figures['score']:.3f}, {figures['flops']:,} MACs")  # noqa: T201


if __name__ == "__main__":
    main()

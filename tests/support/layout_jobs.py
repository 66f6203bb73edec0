"""What a process does under test_layout.py: `python layout_jobs.py JOB ...`; each job says its name at its end."""

import itertools
import sys

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

LAST = torch.channels_last


class Net(nn.Module):
    """A 1x1 convolution with stride 2 of 4 channels in and 16 out: the fault."""

    def __init__(self, channels=1):
        super().__init__()
        self.a = nn.Conv2d(channels, 4, 3, padding=1)
        self.n = nn.BatchNorm2d(4)
        self.d, self.b = nn.Conv2d(4, 16, 1, 2), nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 4)

    def between(self, x):
        return x

    def forward(self, x):
        x = self.between(self.n(self.a(x)))
        return self.head(self.b(self.d(x).relu()).relu().mean((2, 3)))


class Permuting(Net):
    """As ConvNeXt does: channels last for a linear layer, and back by strides alone."""

    def between(self, x):
        return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


class Checkpointed(Permuting):
    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=False)


def batches(channels=1, last=False, count=2):
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(128) % 4
    x = torch.randn(128, 28, 28, channels, generator=draw) + y[:, None, None, None]
    x = x.permute(0, 3, 1, 2).contiguous()
    return [(x.contiguous(memory_format=LAST) if last else x, y)] * count


def trained(model, data, **given):
    from autoprune.evaluation import accuracy
    from autoprune.reconstruction.batch_norm import reestimate_batch_norm
    from autoprune.training import TrainSettings, train

    formats = [each.stride() for each in model.parameters()]
    train(model, data, settings=TrainSettings(epochs=1, lr=0.01), **given)
    reestimate_batch_norm(model, data)
    accuracy(model, data)
    assert all(bool(torch.isfinite(each).all()) for each in model.parameters())
    assert [each.stride() for each in model.parameters()] == formats


def scripted():
    from autoprune.training import TrainSettings, train

    model = torch.jit.trace(Net(), batches()[0][0])
    train(model, batches(), settings=TrainSettings(epochs=1, lr=0.01))


def by_hand():
    """A user's own loop, under the guard that the documentation names."""
    from autoprune.models.layout import canonical_convolutions

    model = Net(3).to(memory_format=LAST)
    with canonical_convolutions():
        model(batches(3, last=True)[0][0]).sum().backward()


def compressed():
    import warnings

    import autoprune

    warnings.simplefilter("ignore")
    model, data = Net(3).to(memory_format=LAST), batches(3, last=True)
    result = autoprune.compress(
        model, train=data, search=data, test=data, budget="flops<=80%", target="torch", agent="random", episodes=2,
        warmup=1, finetune_epochs=1, skip=("a", "d"),
    )  # fmt: skip
    assert result.model.b.weight.is_contiguous(memory_format=LAST)
    assert not result.model.b.weight.is_contiguous()


JOBS = {
    "grey images": lambda: trained(Net(), batches()),
    "model in channels_last": lambda: trained(Net(3).to(memory_format=LAST), batches(3)),
    "images in channels_last": lambda: trained(Net(3), batches(3, last=True)),
    "forward that permutes": lambda: trained(Permuting(3), batches(3)),
    "checkpointed forward": lambda: trained(Checkpointed(3), batches(3)),
    "teacher in channels_last": lambda: trained(Net(3), batches(3), teacher=Net(3).to(memory_format=LAST)),
    "scripted module": scripted,
    "own loop": by_hand,
    "compress": compressed,
}


def fuzz(seed, count):
    """Small networks of odd widths, kernels, strides, images and layouts, each trained for two steps."""
    draw = torch.Generator().manual_seed(seed)

    def one_of(*values):
        return values[int(torch.randint(len(values), (), generator=draw))]

    for _ in range(count):
        channels, size = one_of(1, 3), one_of(2, 7, 14, 28)
        widths = [channels, *(1 + int(each) for each in torch.randint(16, (3,), generator=draw))]
        layers = []
        for inputs, outputs in itertools.pairwise(widths):
            kernel = one_of(1, 1, 3)
            layers += [nn.Conv2d(inputs, outputs, kernel, one_of(1, 2, 2), padding=kernel // 2), nn.ReLU()]
        model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 4))
        if one_of(True, False):
            model = model.to(memory_format=LAST)
        data = [(torch.randn(64, size, size, channels).permute(0, 3, 1, 2), torch.arange(64) % 4)]
        if one_of(True, False):
            data = [(data[0][0].contiguous(), data[0][1])]
        print(seed, widths, size, flush=True)
        trained(model, data)


if __name__ == "__main__":
    torch.manual_seed(0)
    for name in sys.argv[1:]:
        fuzz(*map(int, name.split()[1:])) if name.startswith("fuzz") else JOBS[name]()
        print(name, flush=True)

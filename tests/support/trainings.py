"""Small trainings that other processes can do, some of which do not come to their end."""

import os
import signal
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from autoprune.training import Trainer, TrainSettings
from autoprune.training.epochs import InEpochs
from tests.support.tiny_job import images


class Norms(nn.Sequential):
    """A convolution with BatchNorm, and a head."""

    def __init__(self):
        super().__init__(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4))


class Plain(nn.Sequential):
    """A convolution and a head: what a batch gives does not depend on the other images in it."""

    def __init__(self):
        super().__init__(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4))


class Deadly:
    """Batches whose reader is killed in an epoch, so many times in all.

    Args:
        batches: Of every epoch.
        epoch: From 0, in which it is killed before the first batch.
        marks: An empty folder.
        times: How often.
    """

    def __init__(self, batches, epoch, marks, times=1):
        self.batches, self.deadly, self.marks, self.times, self.epoch = batches, epoch, Path(marks), times, 0

    def set_epoch(self, epoch):
        self.epoch = epoch
        self.batches.set_epoch(epoch)

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        dead = len(list(self.marks.iterdir()))
        if self.epoch == self.deadly and dead < self.times:
            (self.marks / str(dead)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return iter(self.batches)


def epochs_of(seed, size=32):
    return InEpochs(DataLoader(images(96, 3), batch_size=size, shuffle=True, generator=torch.Generator()), first=seed)


def trainer(seed, batches=None, network=Norms, teacher=None, loss=None, **settings):
    """A training of a network that is always the same, on batches of its own order."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = network()
    small = {"epochs": 3, "lr": 0.05, "warmup_epochs": 0.0, "ema": 0.5, "seed": seed, "bf16": False}
    chosen = TrainSettings(**(small | settings))
    return Trainer(model, batches or epochs_of(seed), chosen, teacher=teacher, loss=loss)

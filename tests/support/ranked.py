"""A job for torchrun: slow batches, one of whose readers can be killed; and a comparison of trainings."""

import os
import signal
import sys
import time
from pathlib import Path

import torch

from tests.support import tiny_job
from tests.support.trainings import Norms, Plain, trainer


class Slow:
    """Batches that take time, and kill the process of rank 1 once, in an epoch.

    Args:
        batches: A loader.
    """

    def __init__(self, batches):
        self.batches = batches
        self.dataset, self.batch_size, self.generator = batches.dataset, batches.batch_size, batches.generator

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        yield from self._in_time()

    def _in_time(self):
        for batch in self.batches:
            time.sleep(float(os.environ.get("AUTOPRUNE_TEST_SLOWNESS", "0")))
            _die_once()
            yield batch


def _die_once():
    """Kill the process of rank 1 once there is a checkpoint to go on from, if the environment says so."""
    mark, folder = os.environ.get("AUTOPRUNE_TEST_MARK"), os.environ.get("AUTOPRUNE_TEST_CHECKPOINT")
    if mark is None or folder is None or os.environ["RANK"] != "1" or Path(mark).exists():
        return
    if list(Path(folder).glob("*.pt")):
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)


def loaders():
    train, search, test = tiny_job.loaders()
    return Slow(train), search, test


def main():
    """Train two networks with all ranks, and print how far they are from one process."""
    from autoprune.pipeline.finish.group import assist, leading, run_together

    if os.environ["RANK"] != "0":
        return assist()
    with leading():
        for network in (Plain, Norms):
            together, alone = (trainer(0, network=network, teacher=network()) for _ in range(2))
            alone.load_state_dict(together.state_dict())
            alone.teacher = alone.objective.teacher = together.teacher
            run_together(together, None, print)
            alone.run()
            pairs = zip(together.model.state_dict().values(), alone.model.state_dict().values(), strict=True)
            print(network.__name__, max(float((own - other).abs().max()) for own, other in pairs))
            images, labels = tiny_job.images(512, 9).tensors
            with torch.no_grad():
                found = [each.model.eval()(images).argmax(1).eq(labels).float().mean() for each in (together, alone)]
            print("accuracies", *map(float, found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

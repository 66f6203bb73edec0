"""A search that takes workers: slow scores, so that there is something to share out."""

import os
import time

from autoprune.evaluation import accuracy

SETTINGS = {
    "model": "tests.support.tiny_job:network",
    "data": "tests.support.tiny_job:loaders",
    "target": "tests.support.tiny_job:Formula",
    "flops": "40%",
    "granularity": 1,
    "train_epochs": 1,
    "train_threads": 1,
    "agent": "evolution",
    "batch": 8,
}


def slow(model, batches):
    """Accuracy, after as many seconds as the environment says."""
    time.sleep(float(os.environ.get("AUTOPRUNE_TEST_SLOWNESS", "0")))
    return accuracy(model, batches)


def options(**changes):
    """The settings as words of the command line."""
    settings = SETTINGS | changes
    return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]

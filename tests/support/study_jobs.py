"""A search that takes workers: slow scores, so that there is something to share out."""

import os
import time
from pathlib import Path

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


_calls = {"mark": 0, "wait": 0}


def slow(model, batches):
    """Accuracy, after as many seconds as the environment says; the coordinator gives a worker time to have its part."""
    mark, wanted = os.environ.get("AUTOPRUNE_TEST_MARK"), os.environ.get("AUTOPRUNE_TEST_WAIT")
    _calls["mark"] += mark is not None
    _calls["wait"] += wanted is not None
    if mark and _calls["mark"] >= 3:  # more than the probe of one that joins
        Path(mark).touch()
    if wanted and _calls["wait"] >= 10:  # the study is there by now
        end = time.monotonic() + 2
        while not Path(wanted).exists() and time.monotonic() < end:
            time.sleep(0.02)
    time.sleep(float(os.environ.get("AUTOPRUNE_TEST_SLOWNESS", "0")))
    return accuracy(model, batches)


def options(**changes):
    """The settings as words of the command line."""
    settings = SETTINGS | changes
    return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]

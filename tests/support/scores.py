"""Scores that a process can be sent, light to import there: one that waits and fails on demand, one that is fatal."""

import os
import time
from pathlib import Path

from autoprune.errors import InputError
from autoprune.run.score import Estimate
from autoprune.techniques.homes.base import Scored


class Failing:
    """A candidate's number is its score; 13 fails, and 7 waits until a file is there."""

    def __init__(self, flag):
        self.flag = Path(flag)

    def __call__(self, job):
        number = job.choices["n"]
        if number == 13:
            raise InputError("thirteen cannot be scored")
        while number == 7 and not self.flag.exists():
            time.sleep(0.02)
        return Scored(Estimate(float(number)))


class Fatal:
    """A score that ends its process."""

    def __call__(self, job):
        os._exit(9)

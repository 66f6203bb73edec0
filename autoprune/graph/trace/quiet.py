"""Running user code and exporters without their warnings, log lines and random draws."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import torch
from torch.distributions import Distribution

__all__ = ["quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """Neither warnings, log lines, what exporters print nor the global random state escape from what runs inside.

    Nor do distributions check their arguments: it cannot be traced, and random weights may make a scale negative.
    """
    previous = logging.root.manager.disable
    checks = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    logging.disable(logging.ERROR)  # torch logs a traceback of what it also raises
    try:
        with warnings.catch_warnings(), torch.random.fork_rng():
            warnings.simplefilter("ignore")
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                yield
    finally:
        Distribution.set_default_validate_args(checks)
        logging.disable(previous)

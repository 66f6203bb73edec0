"""Running user code and exporters without their warnings, log lines and random draws."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import torch

__all__ = ["quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """Neither warnings, log lines, what exporters print nor the global random state escape from what runs inside."""
    previous = logging.root.manager.disable
    logging.disable(logging.ERROR)  # torch logs a traceback of what it also raises
    try:
        with warnings.catch_warnings(), torch.random.fork_rng():
            warnings.simplefilter("ignore")
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                yield
    finally:
        logging.disable(previous)

"""Running user code and exporters without their warnings, log lines and random draws."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch.distributions import Distribution

__all__ = ["quiet"]


def _uncompiled() -> AbstractContextManager[Any]:
    """A compiled model runs as the module that it wraps: compiling each try of a proof would take minutes."""
    is_in_use = "torch._dynamo" in sys.modules  # importing it takes a second
    return torch.compiler.set_stance("force_eager") if is_in_use else nullcontext()


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
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), _uncompiled():
                yield
    finally:
        Distribution.set_default_validate_args(checks)
        logging.disable(previous)

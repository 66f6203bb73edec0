"""`transformers`, imported when it is needed, and kept from writing to the screen and from the network."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from autoprune.errors import InputError, MissingExtraError, one_line

__all__ = ["quiet", "reading", "require", "transformers"]


def transformers() -> Any:
    """The library.

    Raises:
        MissingExtraError: If it is not installed.
    """
    return require("transformers")


def require(package: str) -> Any:
    """A package of the extra `llm`.

    Raises:
        MissingExtraError: If it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "llm") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the library's progress bars, log lines and warnings; what it says of errors it raises."""
    logging = transformers().utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Around a call of the library that reads a user's files: whatever it raises is an error in one line.

    Args:
        what: The files for the message: "the model in models/mine".

    Raises:
        InputError: Whatever the library raised.
    """
    try:
        with quiet():
            yield
    except (InputError, KeyboardInterrupt):
        raise
    except Exception as error:  # the library raises whatever a damaged file makes of it
        raise InputError(f"cannot read {what}: {one_line(error)}") from error

"""Every error that autoprune raises on purpose.

```
AutopruneError                 exit 1   a fault of ours
├── InputError                 exit 2   what was handed over is wrong
│   ├── UnsupportedModelError           the model cannot be analysed at all
│   ├── PolicyMismatchError             the policy was made for another model
│   ├── RunError                        the run exists, is locked, or cannot be read
│   ├── StoreError                      the store of a shared study cannot be reached
│   └── MissingExtraError               an optional dependency is not installed
├── BudgetError                exit 3   no network in the search space meets the budget
├── TargetError                exit 4   the target is not available, or failed while it measured
└── Interrupted                exit 130 stopped by the user; resumable
    └── Stopped                         by a time limit or a callback, in good order
```

A message is one or two lines: what is wrong, where, and what to do.
"""

from __future__ import annotations

__all__ = [
    "AutopruneError",
    "BudgetError",
    "InputError",
    "Interrupted",
    "MissingExtraError",
    "PolicyMismatchError",
    "RunError",
    "Stopped",
    "StoreError",
    "TargetError",
    "UnsupportedModelError",
    "first_line",
    "one_line",
]


class AutopruneError(Exception):
    """Base of the family; on its own, a fault of ours."""

    exit_code = 1


class InputError(AutopruneError):
    """What the user handed over is wrong."""

    exit_code = 2


class UnsupportedModelError(InputError):
    """The model cannot be analysed at all; the message says what to change."""


class PolicyMismatchError(InputError):
    """The policy was made for another model; the message names the first layer that differs."""


class RunError(InputError):
    """A run directory exists already, is in use, or does not hold what is needed."""


class StoreError(InputError):
    """The store of a study that several processes share cannot be reached, read or written to."""


class MissingExtraError(InputError):
    """An optional dependency is missing; the message says which extra to install."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; install it with: pip install 'autoprune[{extra}]'")


class BudgetError(AutopruneError):
    """No network in the search space meets the budget.

    Attributes:
        least: The least reachable cost, in the budget's unit; None when unknown.
    """

    exit_code = 3

    def __init__(self, message: str, least: float | None = None) -> None:
        super().__init__(message)
        self.least = least


class TargetError(AutopruneError):
    """The target is not available on this machine, or failed while it measured."""

    exit_code = 4


class Interrupted(AutopruneError):
    """Stopped by the user after everything was saved."""

    exit_code = 130


class Stopped(Interrupted):
    """Ended in good order by the user's time limit or callback; resumable, and the best so far is kept."""


def one_line(error: BaseException, most: int = 300) -> str:
    """An exception in one line, for a message: its type, and its text, whose end is left out where it is long.

    >>> one_line(ValueError("two\\nlines"))
    'ValueError: two lines'
    """
    text = " ".join(str(error).split())
    text = text if len(text) <= most else f"{text[: most - 3]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of an exception's text; its type where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)

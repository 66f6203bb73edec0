"""What every block of settings is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from autoprune.errors import InputError

__all__ = ["Settings", "joined", "setting", "valid"]

Value = TypeVar("Value")


def setting(default: Any, description: str, **limits: Any) -> Any:
    """A setting: its default and its documentation."""
    return Field(default=default, description=description, **limits)


class Settings(BaseModel):
    """Base of every block.

    Attributes:
        panel: The heading under which the command line's help shows the block.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    panel: ClassVar[str]

    @field_validator("*")
    @classmethod
    def _text_can_be_a_name(cls, value: Any) -> Any:
        if any("\0" in text for text in (value if isinstance(value, tuple) else (value,)) if isinstance(text, str)):
            raise ValueError("a setting cannot hold the character of number 0")
        return value


def joined(value: Any) -> Any:
    """Several agents or amounts, as a list or with commas, in the form with commas."""
    several = isinstance(value, list | tuple) and value and all(isinstance(each, str) for each in value)
    return ",".join(value) if several else value


def valid(read: Callable[[], Value]) -> Value:
    """The value of a setting; an error of ours becomes a fault that is reported with the others."""
    try:
        return read()
    except InputError as error:
        raise ValueError(str(error)) from error

"""Settings of a whole run: made of plain values or read from a file, with faults in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import ValidationError

from autoprune.errors import InputError
from autoprune.foundations.files import read_yaml, shortened
from autoprune.foundations.names import nearest_name
from autoprune.run.settings.base import Settings
from autoprune.storage.urls import redacted

__all__ = ["StoredSettings"]

_LISTED = 8  # faults of one file; further ones are counted


class StoredSettings(Settings):
    """All settings of a kind of run.

    Attributes:
        may_differ: Settings that a run may go on with though they are others than it was started with.
    """

    may_differ: ClassVar[tuple[str, ...]] = ("run",)

    def replace(self, **changes: Any) -> Self:
        """The same settings with some changed, validated again."""
        return self.build({**self.model_dump(), **changes})

    @classmethod
    def build(cls, settings: Mapping[str, Any]) -> Self:
        """Settings from plain values.

        Raises:
            InputError: If keys or values are wrong; all faults are named at once.
        """
        try:
            return cls.model_validate(dict(settings))
        except ValidationError as error:
            faults = [cls._fault(f) for f in error.errors(include_url=False)]
            more = [f"{len(faults) - _LISTED} more faults"] if len(faults) > _LISTED else []
            raise InputError("; ".join([*faults[:_LISTED], *more])) from error

    @classmethod
    def read(cls, path: str | Path, overrides: Mapping[str, Any]) -> Self:
        """Settings from a YAML file, with some overridden.

        Raises:
            InputError: If the file cannot be read, is no mapping, or holds wrong keys or values.
        """
        content = read_yaml(path, "experiment file")
        settings = content.get("settings", content) if isinstance(content, dict) else content
        if not isinstance(settings, dict):
            raise InputError(f"{path} should hold settings, a line each, such as 'model: resnet20'")
        settings = {str(key).replace("-", "_"): value for key, value in settings.items()}
        try:
            return cls.build({**cls._kept_of_file(settings, overrides), **overrides})
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    @classmethod
    def _kept_of_file(cls, settings: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a file that overrides leave in force."""
        return settings

    @classmethod
    def _fault(cls, fault: Any) -> str:
        name = shortened(".".join(str(part) for part in fault["loc"]))
        if fault["type"] == "extra_forbidden":
            return f"there is no setting {name!r}; {nearest_name(name, cls.model_fields)}"
        message = str(fault["msg"]).removeprefix("Value error, ")
        said = redacted(f"{message}, not {shortened(repr(fault['input']))}")
        return f"{name}: {said}" if name else message

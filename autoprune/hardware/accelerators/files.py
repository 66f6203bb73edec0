"""Accelerators as YAML files: read, with what is wrong in one line, and written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from autoprune.errors import InputError
from autoprune.foundations.files import read_yaml, write_text
from autoprune.foundations.names import nearest_name
from autoprune.hardware.accelerators.base import SCHEMA, Accelerator
from autoprune.hardware.accelerators.registry import CHIP_FILES, CHIPS, TEMPLATES

__all__ = ["accelerator_of", "load_accelerator", "save_accelerator"]


def load_accelerator(source: str | Path) -> Accelerator:
    """The accelerator of a name, or of a file.

    Args:
        source: One of `CHIPS`, or the path of a YAML file.

    Raises:
        InputError: If there is no such chip or file, or the file does not describe one.

    >>> load_accelerator("eie").lanes
    64
    """
    if str(source) in CHIPS:
        source = CHIP_FILES / f"{source}.yaml"
    elif Path(source).suffix not in (".yaml", ".yml") and not Path(source).is_file():
        raise InputError(
            f"there is no accelerator {str(source)!r}, and no such file; {nearest_name(str(source), CHIPS)}"
        )
    content = read_yaml(source, "accelerator")
    if not isinstance(content, dict):
        raise InputError(f"{source} is no accelerator: it should hold keys such as 'schema: {SCHEMA}'")
    try:
        return accelerator_of(content)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def accelerator_of(content: Mapping[str, Any]) -> Accelerator:
    """The accelerator that a file's content describes.

    Raises:
        InputError: If it describes none.
    """
    if content.get("schema") != SCHEMA:
        raise InputError(f"the schema should be {SCHEMA}, not {content.get('schema')!r:.60}")
    template = content.get("template")
    if not isinstance(template, str):
        raise InputError(f"the key 'template' should name one of {', '.join(TEMPLATES)}")
    kind = TEMPLATES.get(template)
    if not (isinstance(kind, type) and issubclass(kind, Accelerator)):
        raise InputError(f"the template {template!r} is no subclass of Accelerator")
    return kind.build(content)


def save_accelerator(accelerator: Accelerator, path: str | Path) -> None:
    """Write an accelerator to a file that `load_accelerator` reads."""
    write_text(path, yaml.safe_dump(accelerator.content(), sort_keys=False, allow_unicode=True))

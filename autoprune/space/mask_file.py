"""Masks of a policy in a file beside it, bit-packed, where they would make the policy's own file large."""

from __future__ import annotations

import base64
import glob
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.errors import InputError
from autoprune.foundations.files import replacing, shortened

__all__ = ["LARGE", "masks_beside", "masks_read", "without_others"]

LARGE = 2**20
"""Characters of packed masks that a policy's own file holds; more go into a file beside it."""

_KEY = "masks_file"  # of a technique's payload, in place of `masks`


def masks_beside(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The content of a policy's file; large masks are written beside it, under a name that their digest is part of.

    Args:
        content: What the file is to say, its masks included.
        path: The policy's file.
    """
    parts = list(content.get("techniques", ()))
    texts = {_named(part, name): text for part in parts for name, text in part["payload"].get("masks", {}).items()}
    if sum(map(len, texts.values())) <= LARGE:
        return dict(content)
    from safetensors.numpy import save

    raw = save({name: np.frombuffer(base64.b64decode(text), np.uint8) for name, text in texts.items()})
    digest = hashlib.sha256(raw).hexdigest()
    name = f"{path.stem}.masks-{digest[:16]}.safetensors"
    with replacing(path.parent / name) as temporary:
        temporary.write_bytes(raw)
    return {**content, "techniques": [_referring(part, {"name": name, "sha256": digest}) for part in parts]}


def without_others(content: Mapping[str, Any], path: Path) -> None:
    """Remove the masks of policies that this file held before."""
    named = {_reference(part).get("name") for part in content.get("techniques", ())}
    for old in path.parent.glob(f"{glob.escape(path.stem)}.masks-*.safetensors"):
        if old.name not in named:
            old.unlink(missing_ok=True)


def masks_read(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The inverse of `masks_beside`.

    Raises:
        InputError: If the file of the masks is missing, or not the one that belongs to the policy.
    """
    parts = content.get("techniques")
    if not isinstance(parts, list) or not any(_reference(part) for part in parts):
        return dict(content)
    return {**content, "techniques": [_resolved(part, path) if _reference(part) else part for part in parts]}


def _named(part: Mapping[str, Any], name: str) -> str:
    return f"{part['technique']}:{name}"


def _reference(part: Any) -> Mapping[str, Any]:
    """What a part says of the file of its masks; empty if nothing."""
    payload = part.get("payload") if isinstance(part, dict) else None
    found = payload.get(_KEY) if isinstance(payload, dict) else None
    return found if isinstance(found, dict) else {}


def _referring(part: Mapping[str, Any], reference: Mapping[str, str]) -> dict[str, Any]:
    payload = dict(part["payload"])
    if payload.pop("masks", None):
        payload[_KEY] = dict(reference)
    return {**part, "payload": payload}


def _resolved(part: Mapping[str, Any], path: Path) -> dict[str, Any]:
    reference = _reference(part)
    texts = {
        name.partition(":")[2]: base64.b64encode(held.tobytes()).decode("ascii")
        for name, held in _file(reference, path).items()
        if name.startswith(_named(part, ""))
    }
    payload = {name: value for name, value in part["payload"].items() if name != _KEY}
    return {**part, "payload": payload | {"masks": texts}}


def _file(reference: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    from safetensors.numpy import load

    name = reference.get("name")
    if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
        raise InputError(f"{path} is not a policy: {shortened(repr(name))} is no file of masks beside it")
    try:
        raw = (path.parent / name).read_bytes()
    except OSError as error:
        raise InputError(f"{path} keeps its masks in {shortened(name)} beside it, which cannot be read") from error
    if hashlib.sha256(raw).hexdigest() != reference.get("sha256"):
        raise InputError(f"{path.parent / name} does not hold the masks of {path.name}; copy both files together")
    try:
        found: Mapping[str, Any] = load(raw)
    except Exception as error:
        raise InputError(f"{path.parent / name} is damaged") from error
    return found

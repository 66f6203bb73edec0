"""A network's weights as the tensors of a file: as they are, or those of the pattern 2:4 compressed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from autoprune.errors import InputError
from autoprune.foundations.files import shortened
from autoprune.masks.compressed import Compressed, compress, decompress, why_not_compressed
from autoprune.masks.planes import PLAIN, Planes

__all__ = ["METADATA_KEY", "compressed_layout", "dense_layout"]

METADATA_KEY = "autoprune.layout"
"""Of a file's metadata, which says there which of its tensors belong together."""

_SCHEMA = "autoprune.compressed/1"
_VALUES, _POSITIONS = ":values", ":positions"  # behind a parameter's name
_WAYS_ROUND = (PLAIN, Planes(inputs=0, outputs=1))  # the second: transformers' Conv1D
_FIELDS = {"shape", "outputs", "inputs"}


def compressed_layout(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file, and its metadata; whatever is 2:4 is compressed, everything else is as it is.

    Args:
        weights: A state dict.

    Returns:
        Names and tensors: `NAME:values` and `NAME:positions` in place of a weight of the pattern; and the metadata.

    Raises:
        InputError: If none of the weights is 2:4.
    """
    tensors, known = {}, {}
    for name, weight in weights.items():
        found = _smaller(weight)
        if found is None:
            tensors[name] = weight
            continue
        tensors[name + _VALUES], tensors[name + _POSITIONS] = found.values, found.positions
        known[name] = {"shape": list(found.sizes), "outputs": found.planes.outputs, "inputs": found.planes.inputs}
    if not known:
        raise InputError("the layout compressed holds 2:4 weights, and this network has none; write it dense")
    return tensors, {METADATA_KEY: json.dumps({"schema": _SCHEMA, "weights": known})}


def _smaller(weight: Tensor) -> Compressed | None:
    """The weight compressed the first way round in which it is 2:4; None where it is not, or would not be smaller."""
    planes = next((each for each in _WAYS_ROUND if why_not_compressed(weight, each) is None), None)
    if planes is None:
        return None
    found = compress(weight, planes)
    return found if found.bytes < weight.numel() * weight.element_size() else None


def dense_layout(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None, where: str) -> dict[str, Tensor]:
    """The inverse of `compressed_layout`; tensors of a file in the dense layout come back as they are.

    Args:
        tensors: What the file holds.
        metadata: Of the file.
        where: The file, for messages.

    Raises:
        InputError: If the file is damaged, or of a schema that is not known here.
    """
    if not metadata or METADATA_KEY not in metadata:
        return dict(tensors)
    found = dict(tensors)
    for name, about in _weights_named(metadata[METADATA_KEY], where).items():
        try:
            values, positions = found.pop(name + _VALUES), found.pop(name + _POSITIONS)
            planes = Planes(inputs=about["inputs"], outputs=about["outputs"])
            found[name] = decompress(Compressed(values, positions, tuple(about["shape"]), planes))
        except KeyError:
            raise InputError(f"{where} is damaged: it lacks values or positions of {shortened(name)}") from None
        except InputError as error:
            raise InputError(f"{where} is damaged: {shortened(name)}: {error}") from error
    return found


def _weights_named(text: str, where: str) -> dict[str, dict[str, Any]]:
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("schema") != _SCHEMA:
        known = content.get("schema") if isinstance(content, dict) else content
        raise InputError(f"{where} has a layout of the schema {shortened(repr(known))}; this version reads {_SCHEMA}")
    weights = content.get("weights")
    if not isinstance(weights, dict) or not all(_is_described(each) for each in weights.values()):
        raise InputError(f"{where} is damaged: its metadata does not say which weights are compressed")
    return weights


def _is_described(about: object) -> bool:
    if not isinstance(about, dict) or about.keys() != _FIELDS or not isinstance(about["shape"], list):
        return False
    numbers = (*about["shape"], about["outputs"], about["inputs"])
    if not all(type(number) is int and number >= 0 for number in numbers):
        return False
    return {about["outputs"], about["inputs"]} == {0, 1} and len(about["shape"]) > 1 and min(about["shape"]) > 0

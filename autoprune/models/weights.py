"""Weights in files: safetensors, or a checkpoint that holds nothing but tensors."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from autoprune.errors import InputError
from autoprune.foundations.files import replacing
from autoprune.masks.layouts import compressed_layout, dense_layout
from autoprune.masks.reading import plain_weights
from autoprune.models.checkpoint import aligned, weights_among

__all__ = ["LAYOUTS", "Layout", "load_weights", "read_weights", "save_weights", "weights_for"]

Layout = Literal["dense", "compressed"]
"""How weights lie in a file."""

LAYOUTS: tuple[Layout, ...] = ("dense", "compressed")


def save_weights(state_dict: Mapping[str, Tensor], path: Path, layout: Layout = "dense") -> None:
    """Writes weights as safetensors, whole or not at all.

    Args:
        state_dict: Names and tensors, of any device; shared tensors are written once for each name.
        path: Missing folders are made.
        layout: `dense`, zeros included, which any code reads; or `compressed`: weights of the pattern 2:4 without
            their zeros, which `read_weights` fills in again.

    Raises:
        InputError: If the folder cannot be written, or the layout is `compressed` and no weight is 2:4.
    """
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state_dict.items()}
    metadata: dict[str, str] | None = None
    if layout == "compressed":
        tensors, metadata = compressed_layout(tensors)
    with replacing(path) as beside:
        beside.write_bytes(safetensors.torch.save(tensors, metadata))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads weights from a safetensors file, or from a torch checkpoint, without running code of the file.

    A checkpoint may be the state dict itself or hold it, as trainers do: under "state_dict", "model", "net", ...; of
    averaged weights ("state_dict_ema", "model_ema") and plain ones the averaged are taken. The names are the file's:
    `weights_for` fits them to a model. Weights in the compressed layout come back with their zeros; those that
    `torch.nn.utils.prune` stores with a mask come back masked.

    Raises:
        InputError: If the file is missing, is neither, would run code when unpickled, or has values that are NaN.
    """
    return plain_weights(_stored(Path(path)))[0]


def _stored(path: Path) -> dict[str, Tensor]:
    """A file's tensors under its own names; see `read_weights`."""
    if not path.is_file():
        raise InputError(f"there is no weights file {path}")
    try:
        weights = _from_safetensors(path) if _is_safetensors(path) else _from_checkpoint(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    for name, tensor in weights.items():
        if tensor.is_floating_point() and bool(torch.isnan(tensor).any()):
            raise InputError(f"{path}: {name} has values that are not a number (NaN); the training had diverged")
    return weights


def load_weights(model: nn.Module, path: Path) -> None:
    """Puts a file's weights into a model, every one of them.

    Raises:
        InputError: As `weights_for`; or if a tensor has another shape, or a parameter values that are infinite: the
            first one is named. The model is then as it was.
    """
    weights, own = weights_for(model, path), model.state_dict()
    for name, tensor in own.items():
        if weights[name].shape != tensor.shape:
            raise InputError(
                f"{path}: {name} is {list(weights[name].shape)} but the model's is {list(tensor.shape)}; "
                "is it for another model, or other data?"
            )
    for name, _ in model.named_parameters():  # a buffer may be a mask of minus infinity
        if name in weights and bool(torch.isinf(weights[name]).any()):
            raise InputError(f"{path}: {name} has infinite values; the training had diverged")
    model.load_state_dict(weights)


def weights_for(model: nn.Module, path: Path) -> dict[str, Tensor]:
    """Reads weights under a model's own names; a prefix that a trainer has put before all of them is taken off.

    A model that `torch.nn.utils.prune` holds masked gets weights and masks as the file has them.

    Raises:
        InputError: As `read_weights`; if a name is missing or unknown: the first one is named.
    """
    stored, own = _stored(Path(path)), list(model.state_dict())
    return aligned(stored if prune.is_pruned(model) else plain_weights(stored)[0], own, path)


def _is_safetensors(path: Path) -> bool:
    # By content where the name does not say: eight bytes of header length, then JSON. torch's files are zip
    # archives (PK) or pickles (0x80).
    with path.open("rb") as stream:
        start = stream.read(9)
    return path.suffix == ".safetensors" or (start[8:] == b"{" and start[:1] not in (b"P", b"\x80"))


def _from_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        loaded: dict[str, Tensor] = safetensors.torch.load_file(path)
        with safetensors.safe_open(path, framework="pt") as opened:
            metadata = opened.metadata()
    except safetensors.SafetensorError as error:
        raise InputError(f"{path} is not a safetensors file, or is damaged: {error}") from error
    return dense_layout(loaded, metadata, str(path))


def _from_checkpoint(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about pickle protocols: it reads them, or fails below
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "nsupported" not in str(error):  # a torn pickle names no forbidden global or instruction
            raise InputError(f"{path} is neither a safetensors file nor a torch checkpoint, or is damaged") from error
        raise InputError(
            f"{path} holds more than tensors, and reading it could run code; "
            "save model.state_dict() alone, best as safetensors"
        ) from error
    except (RuntimeError, EOFError, ValueError, LookupError, AttributeError) as error:
        raise InputError(f"{path} is neither a safetensors file nor a torch checkpoint, or is damaged") from error
    return weights_among(content, path)

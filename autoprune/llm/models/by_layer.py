"""Models whose blocks differ in their sizes, which no config of their class can say.

The folder has the config of the class, all weights in one safetensors file, and `layers.json`: which numbers of which
modules are other ones than the class makes (widths of linear layers, heads). A model is made from these by its class,
without memory for weights, whose numbers and weights are then put in. `from_pretrained` refuses such a folder.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.foundations.files import read_json, write_json
from autoprune.llm.models.library import quiet, require, transformers
from autoprune.llm.models.tensors import set_tensor
from autoprune.models.pretrained import is_pretrained, numbers_of, shapes_of, stock_model

__all__ = [
    "Numbers",
    "differs_by_layer",
    "is_by_layer",
    "load_by_layer",
    "made_by_layer",
    "numbers_apart",
    "save_by_layer",
]

SCHEMA = "autoprune.layers/1"

_FILE, _WEIGHTS = "layers.json", "model.safetensors"

Numbers = Mapping[str, float]
"""Qualified name of a module's attribute -> its value."""


def is_by_layer(path: Path) -> bool:
    """Whether a folder holds a model whose blocks differ."""
    return (path / _FILE).is_file()


def differs_by_layer(network: nn.Module) -> bool:
    """Whether a network has other shapes than its class makes from its config."""
    if not is_pretrained(network):
        return False
    config: Any = network.config
    stock = stock_model(network, config)
    return stock is not None and shapes_of(stock) != shapes_of(network)


def numbers_apart(network: nn.Module) -> dict[str, float]:
    """The numbers of a network's modules that its class would make otherwise from its config."""
    config: Any = network.config
    stock = stock_model(network, config)
    own = {} if stock is None else numbers_of(stock)
    return {name: value for name, value in numbers_of(network).items() if name in own and own[name] != value}


def made_by_layer(make: Callable[[], nn.Module], state: Mapping[str, Tensor], numbers: Numbers) -> nn.Module:
    """A network of a class with these weights, which it shares, in whatever shapes they have.

    Args:
        make: Makes the network of the class, of whatever sizes.
        state: Name -> tensor; tied ones may be left out.
        numbers: What its modules have otherwise.

    Raises:
        InputError: If weights are missing, or have names that the class has not.
    """
    with torch.random.fork_rng(devices=[]), quiet(), require("accelerate").init_empty_weights(include_buffers=False):
        network: Any = make()
    known = set(network.state_dict())
    unknown = sorted(set(state) - known)
    if unknown:
        raise InputError(f"{type(network).__name__} has no {unknown[0]}")
    for name, tensor in state.items():
        set_tensor(network, name, tensor)
    network.requires_grad_(requires_grad=True).tie_weights()
    empty = sorted(name for name, tensor in network.named_parameters() if tensor.is_meta)
    if empty:
        raise InputError(f"{len(empty)} of the model's weights are missing: {empty[0]}, ...")
    for name, value in numbers.items():
        path, _, own = name.rpartition(".")
        setattr(network.get_submodule(path), own, value)
    made: nn.Module = network.eval()
    return made


def save_by_layer(network: nn.Module, folder: Path) -> None:
    """Write a network into a folder that is there, as `load_by_layer` reads it."""
    wide: Any = network
    config = copy.deepcopy(wide.config)
    config.architectures = [type(network).__name__]
    config.dtype = next(network.parameters()).dtype
    config.save_pretrained(folder)
    if wide.generation_config is not None:
        wide.generation_config.save_pretrained(folder)
    tensors: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in network.state_dict().items():
        tensors.setdefault(tensor.data_ptr(), (name, tensor.contiguous()))
    save_file(dict(tensors.values()), folder / _WEIGHTS, {"format": "pt"})
    write_json(folder / _FILE, {"schema": SCHEMA, "numbers": numbers_apart(network)})


def load_by_layer(path: Path, dtype: torch.dtype | None) -> nn.Module:
    """The network in a folder.

    Raises:
        InputError: If the folder's files do not make one.
    """
    said = read_json(path / _FILE, "sizes of layers")
    if said.get("schema") != SCHEMA or not isinstance(said.get("numbers"), dict):
        raise InputError(f"{path / _FILE} is no list of sizes of layers of this version ({SCHEMA})")
    library = transformers()
    config = library.AutoConfig.from_pretrained(path, local_files_only=True)
    with safe_open(path / _WEIGHTS, framework="pt") as content:
        state = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 - no mapping
    network: Any = made_by_layer(lambda: library.AutoModelForCausalLM.from_config(config), state, said["numbers"])
    if (path / "generation_config.json").is_file():
        network.generation_config = library.GenerationConfig.from_pretrained(path, local_files_only=True)
    made: nn.Module = network if dtype is None else network.to(dtype)
    return made

"""A dynamic network on disk: the dense network's weights, and a JSON file that says how the input chooses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from autoprune.dynamic_networks.module import DynamicModule
from autoprune.errors import InputError
from autoprune.foundations.files import read_json, write_json
from autoprune.models import load_weights, save_weights
from autoprune.models.copying import duplicate

__all__ = ["NetworkFile", "expected_in"]

_WEIGHTS = "network.safetensors"


@dataclass(frozen=True)
class NetworkFile:
    """The JSON file of one kind of dynamic network; a run that has it hands over such a network.

    Attributes:
        name: Of the file in a run.
        schema: Of its content.
        what: What it should be, such as "file of exits", for errors.
    """

    name: str
    schema: str
    what: str

    def write(self, network: DynamicModule, weights: nn.Module, folder: Path, content: Mapping[str, Any]) -> None:
        """Write weights and content; what else the network needs is written before, because this file marks the run.

        Args:
            network: Says how many inputs are expected on each path.
            weights: The network of the dense one's form that the dynamic one was made of.
            folder: The run.
            content: What is its own.
        """
        save_weights(weights.state_dict(), folder / _WEIGHTS)
        expected = [] if network.drift is None else list(network.drift.expected)
        write_json(folder / self.name, {"schema": self.schema, **content, "expected": expected})

    def read(self, folder: Path) -> dict[str, Any]:
        """The content.

        Raises:
            InputError: If the file is missing, or no JSON object.
        """
        return read_json(folder / self.name, self.what)

    def weights(self, dense: nn.Module, folder: Path) -> nn.Module:
        """A copy of the dense network with the weights of a run.

        Args:
            dense: With any weights; left as it is.
            folder: The run.

        Raises:
            InputError: If they are missing or do not fit.
        """
        model = duplicate(dense).eval()
        load_weights(model, folder / _WEIGHTS)
        return model

    @contextmanager
    def fields(self, folder: Path) -> Iterator[None]:
        """Say in one line what is wrong in the fields that are read inside.

        Raises:
            InputError: If a field is missing, or not what it should be; the file is named.
        """
        path = folder / self.name
        try:
            yield
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is no {self.what}: {error!r}") from error


def expected_in(content: Mapping[str, Any]) -> tuple[int, ...]:
    """Number of the search split's inputs on each path; empty where nothing is expected."""
    return tuple(int(count) for count in content["expected"])

"""An agent's state as it travels: tensors and plain JSON values in one file, nothing pickled."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise

from autoprune.errors import RunError
from autoprune.foundations.files import parse_json, replacing

__all__ = ["AgentState"]


@dataclass(frozen=True)
class AgentState:
    """The state of an agent between two episodes.

    Attributes:
        tensors: By name; weights, optimiser moments, replay.
        values: JSON values; `history` holds the rows of all episodes played.
    """

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def episode(self) -> int:
        """The number of episodes played when the state was taken."""
        return len(self.values.get("history", ()))

    def save(self, path: str | Path) -> None:
        """Write the state to one file, replacing it atomically."""
        tensors = {name: tensor.detach().contiguous().clone() for name, tensor in self.tensors.items()}
        content = serialise(tensors, metadata={"values": json.dumps(self.values, allow_nan=False)})
        with replacing(path) as temporary:  # safetensors' own writer raises no OSError when the disk is full
            temporary.write_bytes(content)

    @classmethod
    def load(cls, path: str | Path) -> AgentState:
        """Read a state.

        Raises:
            RunError: If the file is missing, damaged or something else.
        """
        try:
            with safe_open(str(path), framework="pt") as content:
                values = parse_json((content.metadata() or {})["values"])
                tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118  # not a dict
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise RunError(f"{path} is not an agent's state: {error}") from error
        if not isinstance(values, dict) or not isinstance(values.get("history", []), list):
            raise RunError(f"{path} is not an agent's state: its values are not an object with a history")
        return cls(tensors, values)

"""A lottery ticket in a file: the masks of every round, and the weights from which each is trained.

A safetensors file, readable by any program without running code of it: `weights.NAME` is the network's state after k
steps, `masks.ROUND.NAME` the mask of a weight as bits, eight to a byte, first in the highest. Its metadata hold, as
JSON under `ticket`, what else repeats the training: k, the steps and the schedule, seed, model and data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from autoprune.errors import InputError, PolicyMismatchError
from autoprune.foundations.files import replacing, shortened
from autoprune.graph.fingerprint import fingerprint, first_difference
from autoprune.masks.packing import packed_bits, unpacked_bits
from autoprune.models.copying import duplicate

__all__ = ["TICKET_SCHEMA", "Ticket", "is_ticket", "read_ticket", "save_ticket"]

TICKET_SCHEMA = "autoprune.ticket/1"
"""What the metadata of a ticket say first."""

_WEIGHTS, _MASKS = "weights.", "masks."


@dataclass(frozen=True, eq=False)
class Ticket:
    """Masks and the weights that they lie on.

    Attributes:
        start: The network's state after `rewind` steps, by name.
        rounds: Round -> name of a weight -> bool, of its shape: what is left after so many prunings.
        rewind: Steps of dense training before `start`; 0 for the first weights.
        about: Fingerprint of the layers (`model`), and what repeats the training, as JSON values.
    """

    start: Mapping[str, Tensor]
    rounds: Mapping[int, Mapping[str, Tensor]]
    rewind: int
    about: Mapping[str, Any]

    def masks(self, number: int | None = None) -> Mapping[str, Tensor]:
        """The masks of a round; of the last one if none is named.

        Raises:
            InputError: If the ticket has no such round.
        """
        chosen = max(self.rounds, default=0) if number is None else number
        if chosen not in self.rounds:
            known = ", ".join(map(str, sorted(self.rounds))) or "none"
            raise InputError(f"the ticket has no round {chosen}; it has {known}")
        return self.rounds[chosen]

    def network(self, model: nn.Module, number: int | None = None) -> nn.Module:
        """A copy of a network with the ticket's weights under its masks, ready to be trained from step `rewind`.

        Args:
            model: Of the architecture that the ticket was found in.
            number: Which round; the last one if not given.

        Raises:
            PolicyMismatchError: If it is another architecture; the first layer that differs is named.
            InputError: If the ticket has no such round.
        """
        self.check(model)
        network, masks = duplicate(model), self.masks(number)
        network.load_state_dict(dict(self.start))
        with torch.no_grad():
            for name, mask in masks.items():
                parameter = network.get_parameter(name)
                parameter.masked_fill_(~mask.to(parameter.device), 0)
        return network

    def check(self, model: nn.Module) -> None:
        """Refuse a network of another architecture.

        Raises:
            PolicyMismatchError: Naming the first layer that differs.
        """
        found = self.about.get("model")
        difference = first_difference(found if isinstance(found, Mapping) else {}, fingerprint(model))
        if difference is not None:
            raise PolicyMismatchError(f"the ticket was found in another network: {difference}")


def save_ticket(ticket: Ticket, path: Path) -> None:
    """Write a ticket, whole or not at all."""
    tensors = {f"{_WEIGHTS}{name}": t.detach().cpu().contiguous().clone() for name, t in ticket.start.items()}
    for number, masks in ticket.rounds.items():
        for name, mask in masks.items():
            bits = bytearray(packed_bits(mask))
            tensors[f"{_MASKS}{number}.{name}"] = torch.frombuffer(bits, dtype=torch.uint8)
    content = {"schema": TICKET_SCHEMA, "rewind": ticket.rewind, **ticket.about}
    with replacing(path) as beside:
        beside.write_bytes(safetensors.torch.save(tensors, {"ticket": json.dumps(content, sort_keys=True)}))


def is_ticket(path: Path) -> bool:
    """Whether a file is a ticket, and not weights alone."""
    try:
        return _metadata(path) is not None
    except InputError:
        return False


def read_ticket(path: Path) -> Ticket:
    """Read what `save_ticket` wrote.

    Raises:
        InputError: If the file is missing, is no ticket, or is damaged.
    """
    about = _metadata(path)
    if about is None:
        raise InputError(f"{path} holds no ticket")
    tensors = safetensors.torch.load_file(path)
    start = {name.removeprefix(_WEIGHTS): t for name, t in tensors.items() if name.startswith(_WEIGHTS)}
    rounds: dict[int, dict[str, Tensor]] = {}
    for name, bits in tensors.items():
        if not name.startswith(_MASKS):
            continue
        number, _, weight = name.removeprefix(_MASKS).partition(".")
        if not number.isdecimal() or weight not in start or bits.dtype != torch.uint8:
            raise InputError(f"{path}: {shortened(repr(name))} is no mask of the ticket's weights")
        try:
            mask = unpacked_bits(bits.numpy().tobytes(), start[weight].shape)
        except InputError as error:
            raise InputError(f"{path}: the mask of {weight} is damaged: {error}") from error
        rounds.setdefault(int(number), {})[weight] = mask
    rewind = about.pop("rewind", None)
    if type(rewind) is not int or rewind < 0:
        raise InputError(f"{path}: the ticket does not say the step that its weights are of")
    return Ticket(start, rounds, rewind, about)


def _metadata(path: Path) -> dict[str, Any] | None:
    """What a file says of its ticket; None if it is a file of weights alone."""
    if not path.is_file():
        raise InputError(f"there is no ticket {path}")
    try:
        with safetensors.safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("ticket")
        content = None if text is None else json.loads(text)
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is no ticket, or is damaged") from error
    if content is None:
        return None
    if not isinstance(content, dict) or content.pop("schema", None) != TICKET_SCHEMA:
        raise InputError(f"{path}: the ticket is not {TICKET_SCHEMA}; a newer autoprune may read it")
    return content

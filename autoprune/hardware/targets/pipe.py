"""A device of the user's own behind a pipe: a phone over `adb shell`, a board over `ssh`, a simulator."""

from __future__ import annotations

import abc
import base64
import importlib.util
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from autoprune.errors import TargetError
from autoprune.hardware.contract.conditions import Conditions
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.contract.protocol import Measurement, Protocol, summarise
from autoprune.hardware.contract.target import Progress, Target, Timer
from autoprune.hardware.timing.json_lines import JsonLinesProcess

if TYPE_CHECKING:
    from torch import nn

__all__ = ["PipeTarget"]


class PipeTarget(Target):
    """A device reached through a program that reads requests and writes answers, a JSON object a line.

    A subclass says how the program is started (`command`), and `name`; docs/targets.md holds the conversation. Networks
    travel as ONNX; a device that runs something else overrides `pack` and `pack_layer`.

    Attributes:
        patience: Seconds without a line from the device after which it counts as hanging. It may say
            `{"alive": [done, all]}` while it works.
    """

    patience: ClassVar[float] = 60.0

    @abc.abstractmethod
    def command(self) -> list[str]:
        """The program that talks to the device, with its arguments: `["ssh", "board", "python3 worker.py"]`."""

    def available(self) -> str | None:
        """None when onnx is installed and the device answers."""
        missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
        if missing and type(self).pack is PipeTarget.pack:
            return f"{', '.join(missing)} not installed; pip install 'autoprune[onnx]'"
        try:
            self._about()
        except TargetError as error:
            return str(error)
        return None

    def versions(self) -> dict[str, str]:
        """What the device says of itself: its name, its runtime and version."""
        return self._about()

    def fingerprint(self) -> dict[str, str]:
        """The device, not the machine that this program runs on."""
        options = {"threads": str(self.threads), "precision": self.precision, "memory_format": self.memory_format}
        return {"target": self.name, **self._about(), **options}

    def pack(self, model: nn.Module, example: Any) -> bytes:
        """The network as ONNX, BatchNorm folded."""
        from autoprune.export.onnx import to_onnx_for_timing

        return to_onnx_for_timing(model, example)

    def pack_layer(self, layer: Layer, copies: int) -> bytes | None:
        """An ONNX graph of one layer, `copies` times over."""
        from autoprune.hardware.targets.onnx.layers import layer_graph

        return layer_graph(layer, copies)

    def copies(self, layer: Layer) -> int:
        """Four copies for everything but pools: the difference to one holds no call and no change of layout."""
        return 1 if layer.kind == "pool" else 4

    @contextmanager
    def session(self) -> Iterator[Timer]:
        """One run of the program, for several batches."""
        with self._started() as (process, _):
            yield _Device(process, f"target {self.name!r}")

    def time(
        self, payloads: Sequence[bytes], protocol: Protocol, progress: Progress | None = None
    ) -> list[Measurement]:
        """Time packed networks on the device, interleaved."""
        with self.session() as timer:
            return timer.time(payloads, protocol, progress)

    @contextmanager
    def _started(self) -> Iterator[tuple[JsonLinesProcess, dict[str, str]]]:
        """The program running, and what the device says of itself."""
        who = f"target {self.name!r}"
        with JsonLinesProcess(who, self.command(), patience=self.patience) as process:
            about = process.ask({"hello": "autoprune/1", "threads": self.threads}, "ready")
            if not isinstance(about, dict) or not about or not all(isinstance(v, str) for v in about.values()):
                raise TargetError(
                    f"{who} answered nonsense: 'ready' should hold names and versions, not {about!r:.100}"
                )
            yield process, about

    def _about(self) -> dict[str, str]:
        """What the device says of itself, asked once."""
        known: dict[str, str] | None = getattr(self, "_known", None)
        if known is None:
            with self._started() as (_, known):
                self._known = known
        return dict(known)


class _Device:
    """The timer of one conversation."""

    def __init__(self, process: JsonLinesProcess, who: str) -> None:
        self._process = process
        self._who = who

    def time(
        self, payloads: Sequence[bytes], protocol: Protocol, progress: Progress | None = None
    ) -> list[Measurement]:
        """Send networks and turn the blocks that come back into measurements.

        Raises:
            TargetError: If the device failed, hung, or answered nonsense.
        """
        networks = [base64.b64encode(payload).decode("ascii") for payload in payloads]
        request = {"time": networks, "protocol": protocol.to_json()}
        answer = self._process.answer(request, "blocks", progress)
        results = self._of_every_network(answer["blocks"], len(payloads), "results")
        energy: list[Any] = [None] * len(payloads)
        if answer.get("energy_mj") is not None:
            energy = self._of_every_network(answer["energy_mj"], len(payloads), "energies")
        source = answer.get("energy_source", "the device says nothing about energy")
        return [
            self._measurement(blocks, protocol, Conditions(energy_mj=self._energy(mj), energy_source=str(source)))
            for blocks, mj in zip(results, energy, strict=True)
        ]

    def _of_every_network(self, values: object, networks: int, what: str) -> list[Any]:
        if not isinstance(values, list) or len(values) != networks:
            count = f"{len(values)} {what}" if isinstance(values, list) else f"{values!r:.60}"
            raise TargetError(f"{self._who} answered nonsense: {count} for {networks} networks")
        return values

    def _energy(self, value: object) -> float | None:
        if value is not None and not _is_positive(value):
            raise TargetError(f"{self._who} answered nonsense: an energy of {value!r:.40} mJ")
        return value  # type: ignore[return-value]  # a number, or None

    def _measurement(self, blocks: object, protocol: Protocol, conditions: Conditions) -> Measurement:
        if not isinstance(blocks, list) or not blocks or not all(_is_positive(value) for value in blocks):
            raise TargetError(f"{self._who} answered nonsense: latencies {str(blocks)[:100]} (ms, a list of blocks)")
        value, spread, stable = summarise(blocks, protocol)
        conditions = replace(conditions, blocks=len(blocks))
        return Measurement(value, round(spread, 5), len(blocks), "device", stable, conditions)


def _is_positive(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 < value < 1e9

"""What is known of a device and runtime, whatever the model: layers by key, in a file that many profiles extend.

A layer's key says what the runtime executes, not where it comes from, so two models that use the same layer share its
entry. How a network's layers add up is the model's own and stays in its latency table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoprune.errors import InputError, one_line
from autoprune.foundations.files import read_json, shortened, write_json
from autoprune.foundations.locks import exclusive
from autoprune.hardware.contract.protocol import Protocol
from autoprune.hardware.tables.entries import MOST_MS, Entry

__all__ = ["DEVICE_TABLE_SCHEMA", "DeviceTable", "better", "check_fingerprint"]

DEVICE_TABLE_SCHEMA = "autoprune.device_table/1"
_MODEL_TABLE = "autoprune.latency_table/"  # a model's own latency table is read too


def check_fingerprint(table: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Refuse latencies that were taken elsewhere.

    Args:
        table: The fingerprint stored in the table.
        here: The target's own.

    Raises:
        InputError: If they differ; names the first difference.
    """
    for name in (*here, *(name for name in table if name not in here)):
        if table.get(name) != here.get(name):
            raise InputError(
                f"the latency table was measured with {name} = {table.get(name)!r}, here it is {here.get(name)!r}; "
                "profile again on this target"
            )


def better(old: Entry | None, new: Entry) -> Entry:
    """Which of two entries of one layer is kept: measured before estimated, stable before unstable, then the newer."""
    if old is None:
        return new
    rank = (new.source == "measured", new.stable), (old.source == "measured", old.stable)
    return new if rank[0] >= rank[1] else old


@dataclass
class DeviceTable:
    """Measured layers of one device and runtime.

    Attributes:
        fingerprint: Device and runtime.
        entries: Layer key -> measured latency, call overhead and layout changes taken off.
        overhead: Milliseconds of an empty call.
        protocol: How the entries were timed.
    """

    fingerprint: Mapping[str, str]
    entries: dict[str, Entry] = field(default_factory=dict)
    overhead: float = 0.0
    protocol: Protocol = field(default_factory=Protocol.entries)

    def merge(self, fingerprint: Mapping[str, str], entries: Mapping[str, Entry]) -> int:
        """Take in what was measured elsewhere on the same device.

        Args:
            fingerprint: Of the device on which it was measured.
            entries: By layer key; estimated ones are left out.

        Returns:
            How many layers were not known before.

        Raises:
            InputError: If the device is another one; names the difference.
        """
        check_fingerprint(fingerprint, self.fingerprint)
        before = len(self.entries)
        for key, entry in entries.items():
            if entry.source == "measured":
                self.entries[key] = better(self.entries.get(key), entry)
        return len(self.entries) - before

    @classmethod
    def load(cls, path: str | Path) -> DeviceTable:
        """Read a device table, or the measured layers of a model's latency table.

        Raises:
            InputError: If the file is missing or is neither.
        """
        content = read_json(path, "device table")
        schema = content.get("schema")
        own = schema == DEVICE_TABLE_SCHEMA
        if not own and not str(schema).startswith(_MODEL_TABLE):
            raise InputError(
                f"{path} is not a device table: its schema is {shortened(repr(schema))}, not {DEVICE_TABLE_SCHEMA!r}"
            )
        try:
            return cls._of(content, own)
        except (InputError, KeyError, TypeError, ValueError, AttributeError) as error:
            what = shortened(str(error), 300) if isinstance(error, InputError) else one_line(error)
            raise InputError(f"{path} is not a usable device table: {what}") from error

    @classmethod
    def _of(cls, content: Mapping[str, Any], own: bool) -> DeviceTable:
        if content["unit"] != "ms":
            raise InputError(f"the unit is {shortened(repr(content['unit']))}, not 'ms'")
        overhead = float(content["overhead"])
        if not 0 <= overhead <= MOST_MS:
            raise InputError(f"an empty call of {overhead} ms")
        entries = {str(key): Entry(**entry) for key, entry in content["entries"].items()}
        return cls(
            {str(name): str(value) for name, value in content["device"].items()},
            {key: entry for key, entry in entries.items() if entry.source == "measured"},
            overhead,
            Protocol.from_json(content["protocol"] if own else content["protocol"]["entries"]),
        )

    @classmethod
    def open(cls, path: str | Path | None, fingerprint: Mapping[str, str]) -> DeviceTable:
        """The device table in a file, or an empty one where there is none yet.

        Args:
            path: None is an empty table, too.
            fingerprint: Of the target that it is wanted for.

        Raises:
            InputError: If the file holds something else, or was measured elsewhere; names the difference.
        """
        if path is None or not Path(path).exists():
            return cls(dict(fingerprint))
        table = cls.load(path)
        check_fingerprint(table.fingerprint, fingerprint)
        return table

    def extend(self, path: str | Path) -> bool:
        """Write into a file what it does not hold yet; what another process has added in the meantime stays.

        Returns:
            False if the file is a model's latency table, which is read but stays as it is.

        Raises:
            InputError: If the file is no device table, is of another device, or cannot be written.
        """
        path = Path(path)
        with _locked(path):
            if path.exists():
                if str(read_json(path, "device table").get("schema")).startswith(_MODEL_TABLE):
                    return False
                stored = DeviceTable.load(path)
                stored.merge(self.fingerprint, self.entries)
                self.entries = stored.entries
            write_json(path, self.to_json())
        return True

    def to_json(self) -> dict[str, Any]:
        """The file's content."""
        return {
            "schema": DEVICE_TABLE_SCHEMA,
            "unit": "ms",
            "device": dict(self.fingerprint),
            "protocol": self.protocol.to_json(),
            "overhead": self.overhead,
            "entries": {key: self.entries[key].to_json() for key in sorted(self.entries)},
        }


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file: reading, merging and writing it is one step."""
    try:
        with exclusive(path.with_name(f".{path.name}.lock")):
            yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error

"""The JSON file of a latency table, and everything that can be wrong with one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.errors import InputError, one_line
from autoprune.foundations.files import read_json, shortened, write_json
from autoprune.hardware.contract.layer import whole
from autoprune.hardware.contract.protocol import Protocol
from autoprune.hardware.tables.correction import Run
from autoprune.hardware.tables.entries import MOST_MS, Entry
from autoprune.hardware.tables.operator import Slot
from autoprune.space import Decision, SearchSpace

if TYPE_CHECKING:
    from autoprune.hardware.tables.latency_table import LatencyTable

__all__ = ["TABLE_SCHEMA", "read_table", "write_table"]

TABLE_SCHEMA = "autoprune.latency_table/1"
_ROLES = ("fit", "held-out", "search")
_LEAST_MS = 1e-9  # of a whole network; shares of less would not be finite


def write_table(table: LatencyTable, path: str | Path) -> None:
    """Write a table as JSON, atomically; an unfinished one too, so that profiling can go on from it."""
    finished = table.complete
    write_json(
        path,
        {
            "schema": TABLE_SCHEMA,
            "unit": "ms",
            "device": dict(table.fingerprint),
            "protocol": {name: protocol.to_json() for name, protocol in table.protocols.items()},
            "model": dict(table.space.model),
            "decisions": [
                {
                    "name": d.name,
                    "kind": d.kind,
                    "width": d.width,
                    "options": list(d.options),
                    "within": [list(p) for p in d.within],
                }
                for d in table.space.decisions
            ],
            "frozen": dict(table.space.frozen),
            "ties": {name: dict(groups) for name, groups in table.space.ties.items()},
            "slots": [slot.to_json() for slot in table.slots],
            "overhead": table.overhead,
            "planned": table.planned,
            "entries": {key: entry.to_json() for key, entry in table.entries.items()},
            "runs": [run.to_json() for run in table.runs],
            "correction": table.factors if finished else None,
            "accuracy": table.error_figures() if finished else None,
        },
    )


def read_table(path: str | Path) -> dict[str, Any]:
    """Read a table and check it: the keyword arguments of `LatencyTable`, which fits its correction again.

    Raises:
        InputError: If the file is missing, of another schema, or holds nonsense.
    """
    content = read_json(path, "latency table")
    if content.get("schema") != TABLE_SCHEMA:
        schema = shortened(repr(content.get("schema")))
        raise InputError(f"{path} is not a latency table: its schema is {schema}, not {TABLE_SCHEMA!r}")
    if content.get("unit") != "ms":
        raise InputError(f"{path}: the unit of a latency table is 'ms', not {shortened(repr(content.get('unit')))}")
    try:
        return _fields(content)
    except InputError as error:
        raise InputError(f"{path} is not a usable latency table: {shortened(str(error), 300)}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is not a usable latency table: {one_line(error)}") from error


def _fields(content: Mapping[str, Any]) -> dict[str, Any]:
    space = SearchSpace(
        tuple(
            Decision(
                str(d["name"]),
                whole(d["width"], "a decision's width", least=1),
                tuple(whole(option, "an option") for option in d["options"]),
                str(d["kind"]),
                tuple(tuple(map(str, place)) for place in d.get("within", ())),
            )
            for d in content["decisions"]
        ),
        dict(content["frozen"]),
        dict(content["model"]),
        {
            str(name): {str(group): whole(each, "a tie's units", least=1) for group, each in groups.items()}
            for name, groups in content.get("ties", {}).items()
        },
    )
    slots = tuple(map(Slot.from_json, content["slots"]))
    for slot in slots:
        _check_widths(slot, space)
    overhead = float(content["overhead"])
    if not 0 <= overhead <= MOST_MS:
        raise InputError(f"an empty call of {overhead} ms")
    protocols = {name: Protocol(**content["protocol"][name]) for name in ("entries", "networks")}
    return {
        "space": space,
        "slots": slots,
        "fingerprint": {str(name): str(value) for name, value in content["device"].items()},
        "entries": {str(key): Entry(**entry) for key, entry in content["entries"].items()},
        "runs": [_run(run, space) for run in content["runs"]],
        "overhead": overhead,
        "protocols": protocols,
        "planned": whole(content.get("planned", 1), "the number of networks", least=1),
    }


def _check_widths(slot: Slot, space: SearchSpace) -> None:
    """Refuse a slot whose widths depend on unknown decisions, or can be 0, or that goes with what is no block."""
    for name in slot.blocks:
        if not space[name].traits.gates:
            raise InputError(f"{slot.name[:40]!r} goes with {name[:40]!r}, which is no block")
    for form in (slot.inputs, slot.outputs, slot.groups):
        least = form({name: space[name].options[0] for name in form.scope})
        whole(least, f"the least width of {slot.name[:40]!r}", least=1)


def _run(content: Mapping[str, Any], space: SearchSpace) -> Run:
    choices, told = space.complete(content["choices"]), dict(content.get("conditions", {}))
    run = Run(choices, float(content["ms"]), float(content["spread"]), str(content["role"]), told)
    if not _LEAST_MS <= run.ms <= MOST_MS or run.role not in _ROLES:
        raise InputError(f"a run of {run.ms} ms in the role {run.role[:40]!r}")
    return run

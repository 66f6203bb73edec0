"""The JSON file of a latency table, and everything that can be wrong with one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.errors import InputError, one_line
from autoprune.foundations.files import read_json, shortened, write_json
from autoprune.hardware.contract.layer import whole
from autoprune.hardware.contract.protocol import Protocol
from autoprune.hardware.tables.content import TableContent
from autoprune.hardware.tables.correction import Run
from autoprune.hardware.tables.entries import MOST_MS, Entry, require_reference
from autoprune.hardware.tables.errors import PredictionErrors
from autoprune.hardware.tables.operator import PricedOperator
from autoprune.space import Decision, SearchSpace

__all__ = ["TABLE_SCHEMA", "read_table", "write_table"]

TABLE_SCHEMA = "autoprune.latency_table/1"
_OPERATORS = "slots"  # the key of the operators in the file
_ROLES = ("fit", "held-out", "search")
_LEAST_MS = 1e-9  # of a whole network; shares of less would not be finite


def write_table(
    content: TableContent,
    path: str | Path,
    *,
    correction: Mapping[str, float] | None = None,
    errors: PredictionErrors | None = None,
) -> None:
    """Write a table as JSON, atomically; an unfinished one too, so that profiling can go on from it.

    Args:
        content: What was measured.
        path: The file.
        correction: The fitted factors, for people; None in an unfinished table. They are fitted again when it is read.
        errors: How wrong the predictions are, likewise.
    """
    write_json(
        path,
        {
            "schema": TABLE_SCHEMA,
            "unit": "ms",
            "device": dict(content.fingerprint),
            "protocol": {name: protocol.to_json() for name, protocol in content.protocols.items()},
            "model": dict(content.space.model),
            "decisions": [_decision_to_json(decision) for decision in content.space.decisions],
            "frozen": dict(content.space.frozen),
            "ties": {name: dict(groups) for name, groups in content.space.ties.items()},
            _OPERATORS: [operator.to_json() for operator in content.operators],
            "overhead": content.overhead,
            "planned": content.planned,
            "entries": {key: entry.to_json() for key, entry in content.entries.items()},
            "runs": [run.to_json() for run in content.runs],
            "correction": None if correction is None else dict(correction),
            "accuracy": None if errors is None else errors.to_json(),
        },
    )


def read_table(path: str | Path) -> TableContent:
    """Read a table and check it.

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
        return _content(content)
    except InputError as error:
        raise InputError(f"{path} is not a usable latency table: {shortened(str(error), 300)}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is not a usable latency table: {one_line(error)}") from error


def _content(content: Mapping[str, Any]) -> TableContent:
    space = SearchSpace(
        tuple(map(_decision_from_json, content["decisions"])),
        dict(content["frozen"]),
        dict(content["model"]),
        {
            str(name): {str(group): whole(each, "a tie's units", least=1) for group, each in groups.items()}
            for name, groups in content.get("ties", {}).items()
        },
    )
    operators = tuple(PricedOperator.from_json(each, space) for each in content[_OPERATORS])
    for operator in operators:
        _check_widths(operator, space)
    overhead = float(content["overhead"])
    if not 0 <= overhead <= MOST_MS:
        raise InputError(f"an empty call of {overhead} ms")
    return TableContent(
        space=space,
        operators=operators,
        fingerprint={str(name): str(value) for name, value in content["device"].items()},
        entries={str(key): Entry(**entry) for key, entry in content["entries"].items()},
        runs=[_run(run, space) for run in content["runs"]],
        overhead=overhead,
        protocols={name: Protocol.from_json(content["protocol"][name]) for name in ("entries", "networks")},
        planned=whole(content.get("planned", 1), "the number of networks", least=1),
    )


def _decision_to_json(decision: Decision) -> dict[str, Any]:
    return {
        "name": decision.name,
        "kind": decision.kind,
        "width": decision.width,
        "options": list(decision.options),
        "within": [list(place) for place in decision.within],
    }


def _decision_from_json(content: Mapping[str, Any]) -> Decision:
    return Decision(
        str(content["name"]),
        whole(content["width"], "a decision's width", least=1),
        tuple(whole(option, "an option") for option in content["options"]),
        str(content["kind"]),
        tuple(tuple(map(str, place)) for place in content.get("within", ())),
    )


def _check_widths(operator: PricedOperator, space: SearchSpace) -> None:
    """Refuse an operator whose widths depend on unknown decisions, or can be 0, or that goes with what is no block."""
    for name in operator.blocks:
        if not space[name].traits.gates:
            raise InputError(f"{operator.name[:40]!r} goes with {name[:40]!r}, which is no block")
    for name, option in operator.when:
        if option not in space[name].options:
            raise InputError(f"{operator.name[:40]!r} goes with {option} of {name[:40]!r}, which is no option of it")
    for width in (operator.inputs, operator.outputs, operator.groups):
        least = width({name: space[name].options[0] for name in width.scope})
        whole(least, f"the least width of {operator.name[:40]!r}", least=1)


def _run(content: Mapping[str, Any], space: SearchSpace) -> Run:
    choices, conditions = space.complete(content["choices"]), dict(content.get("conditions", {}))
    require_reference(conditions)
    run = Run(choices, float(content["ms"]), float(content["spread"]), str(content["role"]), conditions)
    if not _LEAST_MS <= run.ms <= MOST_MS or run.role not in _ROLES:
        raise InputError(f"a run of {run.ms} ms in the role {run.role[:40]!r}")
    return run

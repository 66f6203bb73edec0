"""Runs a network stage by stage as its `router.json` says, for runtimes without `If`: onnxruntime and NumPy alone.

A stage is a file. Behind it comes the first of its `choices` that holds of its output `sure`, else `otherwise`: the
next stage, which takes the outputs named in `passes` as its inputs, or null where the stage's logits are the answer.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

SCHEMA = "autoprune.router/2"


class Router:
    """The network in a folder with `router.json`; called with inputs by name, it gives logits and the path taken."""

    def __init__(self, folder: str | Path) -> None:
        path = Path(folder) / "router.json"
        content = json.loads(path.read_text())
        if content.get("schema") != SCHEMA:
            raise ValueError(f"{path}: the schema is {content.get('schema')!r}, not {SCHEMA!r}")
        self.stages: list[dict[str, Any]] = content["stages"]
        self.sessions: list[Any] = []
        for number, stage in enumerate(self.stages):
            _check(stage, f"{path}: stages[{number}]", range(number + 1, len(self.stages)))
            model = (path.parent / stage["file"]).read_bytes()
            if hashlib.sha256(model).hexdigest() != stage["sha256"]:
                raise ValueError(
                    f"{path.parent / stage['file']}: not the file that router.json was written for (sha256)"
                )
            self.sessions.append(onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]))

    def __call__(self, inputs: dict[str, Any]) -> tuple[Any, int]:
        """Logits (1, classes) of one input, and the number of its path."""
        number: int | None = 0
        path = 0
        passed: dict[str, Any] = {}
        found: dict[str, Any] = {}
        while number is not None:
            stage, session = self.stages[number], self.sessions[number]
            names = [each.name for each in session.get_outputs()]
            given = {name: inputs[name] for name in stage["inputs"]} | passed
            found = dict(zip(names, session.run(names, given), strict=True))
            step = next((each for each in stage["choices"] if _holds(each, found["sure"])), stage["otherwise"])
            path += step["path"]
            passed = {name: found[output] for output, name in step["passes"].items()}
            number = step["next"]
        return found["logits"], path


def _holds(choice: dict[str, Any], sure: Any) -> bool:
    """Whether a choice is taken, as the one file compares: in float32, and never of what is no number."""
    value = sure.reshape(-1)[choice["score"]]
    if "below" in choice:
        return bool(value < np.float32(choice["below"]))
    return bool(value >= np.float32(choice["at_least"]))


def _check(stage: dict[str, Any], where: str, later: range) -> None:
    """Refuse a threshold that is none, and a step that does not lead on."""
    for number, choice in enumerate(stage["choices"]):
        kind = "below" if "below" in choice else "at_least"
        if not 0 <= choice[kind] < np.inf:
            raise ValueError(f"{where}.choices[{number}].{kind} is {choice[kind]}, no finite number from 0 on")
    for step in (*stage["choices"], stage["otherwise"]):
        if step["next"] is not None and step["next"] not in later:
            raise ValueError(f"{where} is followed by stage {step['next']}, which is no later one")

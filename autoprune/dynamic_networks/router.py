"""Runs a network with early exits stage by stage, for runtimes without `If`: onnxruntime and NumPy alone."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


class Router:
    """The network in a folder with `router.json`; called with inputs by name, it gives logits and the exit taken."""

    def __init__(self, folder: str | Path) -> None:
        path = Path(folder) / "router.json"
        self.stages = json.loads(path.read_text())["stages"]
        self.sessions: list[Any] = []
        for number, stage in enumerate(self.stages):
            content = (path.parent / stage["file"]).read_bytes()
            if hashlib.sha256(content).hexdigest() != stage["sha256"]:
                raise ValueError(
                    f"{path.parent / stage['file']}: not the file that router.json was written for (sha256)"
                )
            if not (stage["threshold"] is None or 0 <= stage["threshold"] < np.inf):
                raise ValueError(
                    f"{path}: stages[{number}].threshold is {stage['threshold']}, no finite number from 0 on"
                )
            self.sessions.append(onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]))

    def __call__(self, inputs: dict[str, Any]) -> tuple[Any, int]:
        """Logits (1, classes) of one input, and the number of the exit."""
        carried: dict[str, Any] = {}
        for stage, session in zip(self.stages[:-1], self.sessions[:-1], strict=True):
            found = session.run(None, {name: inputs[name] for name in stage["inputs"]} | carried)
            if found[1][0] >= stage["threshold"]:  # what is no number goes on
                return found[0], self.stages.index(stage)
            carried = dict(zip(("features", "carried"), found[2:], strict=False))
        last = {name: inputs[name] for name in self.stages[-1]["inputs"]} | carried
        return self.sessions[-1].run(None, last)[0], len(self.stages) - 1

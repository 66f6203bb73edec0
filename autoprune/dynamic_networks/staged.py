"""A dynamic network as one ONNX file a stage, and what says which comes next: for runtimes without `If`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autoprune.dynamic_networks.onnx_nodes import Inputs, inlined, onnx_package
from autoprune.export.opset import OPSET
from autoprune.foundations.files import replacing, write_json

__all__ = ["STAGES", "Branch", "StageFile", "Step", "answering_stage", "save_stages", "stage_model", "value_like"]

STAGES = "stages"
"""The folder of a run."""


@dataclass(frozen=True)
class Step:
    """What comes behind a stage.

    Attributes:
        next: The number of the next stage; None where the stage's logits are the answer.
        path: Is added to the number of the path, which begins at 0.
        passes: Output of the stage -> input of the next one.
    """

    next: int | None
    path: int = 0
    passes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Branch:
    """A step that is taken where a score is on one side of a threshold, and never where it is no number.

    Attributes:
        step: What comes then.
        threshold: Of the score.
        score: Which of the numbers in `sure` it is.
        below: Whether the score has to be below the threshold; else it has to reach it.
    """

    step: Step
    threshold: float
    score: int = 0
    below: bool = False

    def content(self) -> dict[str, Any]:
        """As `router.json` has it."""
        kind = "below" if self.below else "at_least"
        return {"score": self.score, kind: self.threshold, **asdict(self.step)}


@dataclass(frozen=True, eq=False)
class StageFile:
    """One stage.

    Attributes:
        model: The file's content.
        inputs: Which of the network's inputs it reads, by name.
        otherwise: What comes where none of the choices holds.
        choices: The first that holds is taken.
    """

    model: bytes
    inputs: tuple[str, ...]
    otherwise: Step
    choices: tuple[Branch, ...] = ()


def stage_model(
    nodes: Sequence[Any], weights: Sequence[Any], passed: Sequence[Any], read: Inputs, outputs: Sequence[Any]
) -> bytes:
    """The content of a stage's file.

    Args:
        nodes: In order.
        weights: That they read.
        passed: Inputs from the stage before.
        read: Inputs of the network.
        outputs: What it leaves.
    """
    onnx = onnx_package()
    helper = onnx.helper
    given = [*passed, *(helper.make_tensor_value_info(*each) for each in read)]
    graph = helper.make_graph(list(nodes), "stage", given, list(outputs), list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def answering_stage(model: Any, read: Inputs, classes: int) -> StageFile:
    """The stage that computes a part from `features` on to the logits, with which it ends.

    Args:
        model: The part, exported.
        read: Inputs of the network.
        classes: Logits.
    """
    helper, kinds = onnx_package().helper, onnx_package().TensorProto
    names = tuple(each[0] for each in read)
    nodes, weights = inlined(model, "stage_", ["features", *names], "logits")
    logits = helper.make_tensor_value_info("logits", kinds.FLOAT, [1, classes])
    features = value_like(model.graph.input[0], "features")
    return StageFile(stage_model(nodes, weights, [features], read, [logits]), names, Step(None))


def value_like(like: Any, name: str) -> Any:
    """A value of the same type and sizes under another name."""
    found = type(like)()
    found.CopyFrom(like)
    found.name = name
    return found


def save_stages(stages: Sequence[StageFile], confidence: str, shares: Sequence[float], folder: Path) -> None:
    """Write a file for every stage, `router.json`, and `router.py`, which runs them without this package.

    Args:
        stages: The first one begins.
        confidence: What kind of number `sure` is.
        shares: Of the search split's inputs on each path.
        folder: Made if it is not there.
    """
    folder.mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = []
    for number, stage in enumerate(stages):
        name = f"stage_{number}.onnx"
        _write(folder / name, stage.model)
        rows.append(
            {
                "file": name,
                "sha256": hashlib.sha256(stage.model).hexdigest(),
                "inputs": list(stage.inputs),
                "choices": [each.content() for each in stage.choices],
                "otherwise": asdict(stage.otherwise),
            }
        )
    content = {"schema": "autoprune.router/2", "confidence": confidence, "expected_shares": list(shares)}
    write_json(folder / "router.json", content | {"stages": rows})
    _write(folder / "router.py", (Path(__file__).parent / "router.py").read_bytes())


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)

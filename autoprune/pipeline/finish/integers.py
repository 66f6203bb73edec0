"""The file of a network of which layers compute with integers: what a run hands over, and is judged by."""

from __future__ import annotations

import numpy as np
import onnx
from torch import nn

from autoprune.errors import InputError
from autoprune.export.onnx import to_onnx
from autoprune.export.onnx_network import OnnxNetwork
from autoprune.hardware import LocalTarget
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.task import Task
from autoprune.quantization.mixed import float_nodes
from autoprune.quantization.observe import Fed, histograms
from autoprune.quantization.qdq import QuantizationPlan, with_integers
from autoprune.quantization.ranges import RANGES
from autoprune.quantization.rounding import integer_layers, without_rounding
from autoprune.quantization.sites import sites_of

__all__ = ["calibration_of", "with_its_integers"]

CALIBRATION_IMAGES = 256
"""Images that say the ranges of activations."""
_METHOD = "minmax"  # of ranges, as the search rounds


def with_its_integers(problem: Problem, network: nn.Module) -> nn.Module:
    """A network as the file that the target computes; itself where no layer computes with integers.

    Ranges are those of the network's own activations on the calibration split, whatever the search rounded to.

    Args:
        problem: Its target and data.
        network: Fine-tuned; left as it is.

    Raises:
        UnsupportedModelError: If it cannot be exported with a dynamic batch.
    """
    rounding, target = integer_layers(network), problem.target
    if not rounding or not isinstance(target, LocalTarget):
        return network
    plain = without_rounding(network)
    model = onnx.load_from_string(to_onnx(plain, problem.task.example, dynamic_batch=True))
    sites, scheme = sites_of(model), target.integer_scheme
    floats = float_nodes(plain, problem.task.example, sites, rounding)
    seen = histograms(model, sites.tensors, calibration_of(problem.task, plain))
    ranges = {name: RANGES[_METHOD](each, scheme) for name, each in seen.items()}
    content = with_integers(model, QuantizationPlan(scheme, ranges, floats))
    return OnnxNetwork(content, target.caller(content))


def calibration_of(task: Task, network: nn.Module, most: int = CALIBRATION_IMAGES) -> list[Fed]:
    """The first images of the calibration split, as the ONNX file takes them.

    Args:
        task: Its data.
        network: Says which parts of a batch are inputs.
        most: Images.

    Raises:
        InputError: If there are none, or all of them are of one class.
    """
    fed: list[Fed] = []
    seen, classes = 0, set()
    for batch in task.data.calibration:
        if seen >= most:
            break
        call = task.reader.call(network, batch)
        call = call.first(min(call.batch, most - seen))
        seen += call.batch
        labels = batch[1] if isinstance(batch, tuple | list) and len(batch) == 2 else None
        if task.data.classes > 1 and labels is not None:
            classes |= set(np.unique(np.asarray(labels)).tolist())
        fed.append([tensor.detach().cpu().numpy() for tensor in call.tensors()])
    if not seen:
        raise InputError(f"the calibration split of {task.data.name} is empty; ranges need images")
    if len(classes) == 1 and seen > 1:
        raise InputError(
            f"the {seen} calibration images of {task.data.name} are all of class {classes.pop()}; ranges would fit that"
            " class alone: shuffle the training data, or give more --calibration-images"
        )
    return fed

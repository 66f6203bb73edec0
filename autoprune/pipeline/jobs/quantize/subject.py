"""What is quantized: a trained network as it came, or the network of a finished run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from torch import nn

from autoprune.errors import InputError
from autoprune.export.onnx import to_onnx
from autoprune.export.onnx_network import OnnxNetwork
from autoprune.models import load_weights
from autoprune.models.inputs.example import described
from autoprune.pipeline.jobs.settings import QUANTIZE
from autoprune.pipeline.load import load
from autoprune.pipeline.task import Task
from autoprune.quantization.names import layer_names
from autoprune.quantization.rounding import without_rounding
from autoprune.quantization.sites import Sites, sites_of
from autoprune.run.experiment import Experiment
from autoprune.space import Policy

__all__ = ["FloatFile", "Subject", "float_file", "subject_of"]


@dataclass(frozen=True, eq=False)
class Subject:
    """Networks before quantization.

    Attributes:
        dense: Nothing pruned, float32.
        network: What is quantized; the dense one itself where nothing was pruned.
        policy: What makes it of the dense one.
    """

    dense: nn.Module
    network: nn.Module
    policy: Policy

    @property
    def pruned(self) -> bool:
        """Whether the network is another one than the dense."""
        return self.network is not self.dense


@dataclass(frozen=True, eq=False)
class FloatFile:
    """The network as ONNX in float32.

    Attributes:
        content: The file, with a dynamic batch, BatchNorm folded.
        model: The same, read.
        sites: What of it can compute with integers.
        names: Node of a layer -> name of its module.
    """

    content: bytes
    model: onnx.ModelProto
    sites: Sites
    names: dict[str, str]


def subject_of(task: Task, experiment: Experiment) -> Subject:
    """The networks that a job starts from.

    Raises:
        InputError: If there are no trained weights, or the run's network has been quantized already.
    """
    if experiment.from_run is None:
        if not task.trained:
            raise InputError(f"{task.name} has no trained weights; give --weights, or train it first")
        about = {"name": task.name, "arguments": task.arguments, "example": described(task.example)}
        network = task.model.eval()
        return Subject(network, network, Policy(model=about, choices={}, agent=QUANTIZE, seed=experiment.seed))
    run = Path(experiment.from_run)
    small = without_rounding(load(run))  # types and layers are chosen anew
    if isinstance(small, OnnxNetwork):
        raise InputError(f"{run} is quantized already")
    if (run / "dense.safetensors").exists():
        load_weights(task.model, run / "dense.safetensors")
    return Subject(task.model.eval(), small.eval(), Policy.load(run / "policy.json"))


def float_file(network: nn.Module, example: Any) -> FloatFile:
    """Export a network, and look for what can compute with integers.

    Raises:
        UnsupportedModelError: If it cannot be exported.
        InputError: If nothing can.
    """
    content = to_onnx(network, example, dynamic_batch=True)
    model = onnx.load_from_string(content)
    sites = sites_of(model)
    if not sites.layers:
        raise InputError("no layer of this network can compute with integers: it has no convolution or matrix product")
    names = layer_names(network, example, len(sites.layers))
    known = {site.node: name or site.node for site, name in zip(sites.layers, names, strict=True)}
    return FloatFile(content, model, sites, known)

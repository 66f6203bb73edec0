"""Sparsification without data: masks by what the weights themselves say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from autoprune.criteria.registry import criterion_of
from autoprune.errors import InputError
from autoprune.graph import analyse
from autoprune.models.sizes import parameter_count, zero_count
from autoprune.pipeline.finish.deliver import Result
from autoprune.run.experiment import Experiment
from autoprune.techniques.apply import in_order
from autoprune.techniques.base import Calibration
from autoprune.techniques.registry import techniques_of
from autoprune.techniques.space import space_of
from autoprune.techniques.sparsity.permutation import permutation, wished
from autoprune.techniques.stack import Stack

__all__ = ["masked_alone"]


def masked_alone(model: nn.Module, example: Any, settings: Mapping[str, Any]) -> Result:
    """A network under masks of its own weights, not trained; nothing is scored or timed.

    Args:
        model: Left as it is.
        example: One input.
        settings: As `sparsify_settings` gives them.

    Raises:
        InputError: If data is needed for what is asked, or there is no example.
    """
    known = {name: value for name, value in settings.items() if name in Experiment.model_fields}
    experiment = Experiment.build({**known, "model": "handed over", "data": "none"})
    criterion = criterion_of(experiment.criterion)
    wants_data = experiment.sparse_recipe != "one-shot" or bool(criterion.needs) or experiment.weight_update != "none"
    if wants_data:
        raise InputError(
            f"the recipe {experiment.sparse_recipe} with the criterion {experiment.criterion} needs data: give train,"
            " search and test, or name the data"
        )
    if experiment.masks is not None:
        raise InputError("masks= are kept by a run with data: give train, search and test")
    if example is None:
        raise InputError("give the network's input: autoprune.sparsify(model, example_input=x)")
    analysis, techniques = analyse(model, example), techniques_of(experiment.technique_names)
    if experiment.pattern.endswith(("-both", "-global")):
        raise InputError(f"the pattern {experiment.pattern} is chosen with data at hand only; give the three loaders")
    space = space_of(analysis, experiment.constraints, techniques=techniques)
    if not len(space):
        shown = "; ".join(f"{name}: {why}" for name, why in list(space.frozen.items())[:3])
        raise InputError(f"no weight of the network can have the pattern {experiment.pattern} ({shown})")
    stack, calibration = Stack(techniques, analysis, space), Calibration(criterion)
    technique, order, source = wished(techniques), None, model
    if technique is not None:
        order = permutation(technique, model, analysis, space, calibration, example)
        source = in_order(model, analysis, order["orders"])
    stack = stack.fit(source, calibration)
    choices = {decision.name: decision.options[0] for decision in space.decisions}
    sparse = stack.apply(source, choices)
    nothing = {"accuracy": None, "latency_ms": None}
    figures = {"params": parameter_count(sparse), "zeros": zero_count(sparse), "bytes": None}
    report = {
        "dense": nothing | figures | {"zeros": zero_count(model)},
        "masked": nothing | figures,
        "sparse": nothing | figures,
    }
    orders = None if order is None else order.pop("orders") or None
    policy = stack.policy(choices, criterion=criterion.name, orders=orders)
    return Result(sparse.eval(), policy, report | {"sparsity": {"permutation": order}})

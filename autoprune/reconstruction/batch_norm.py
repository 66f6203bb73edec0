"""Statistics that a cut network needs afresh."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from autoprune.errors import InputError
from autoprune.foundations.user_code import UserCode, path_of
from autoprune.models.inputs.reader import AS_IT_COMES, BatchReader
from autoprune.models.layout import computing
from autoprune.models.modes import in_mode
from autoprune.models.precision import device_of

__all__ = ["reestimate_batch_norm"]


def reestimate_batch_norm(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    bf16: bool | None = None,
    reader: BatchReader = AS_IT_COMES,
    only: Container[str] | None = None,
) -> None:
    """Replaces every BatchNorm's running statistics by those of the given batches, in place.

    A network whose channels were removed runs on the dense network's means and variances, which are wrong for it;
    its score then says little about its accuracy after fine-tuning. Re-estimated statistics restore the rank order
    (EagleEye, Li et al., ECCV 2020, section 3.3). Each image counts the same (a cumulative average weighted by the
    batches' sizes), so that neither the momentum nor a small last batch matters.

    Args:
        model: Its weights and every module's mode stay as they are.
        batches: (images, ...) each, of the training distribution, without augmentation.
        bf16: Compute in bfloat16; None where the processor has instructions for it.
        reader: Which parts of a batch are the inputs.
        only: Names of the modules whose statistics are replaced; None for all.

    Raises:
        InputError: If there are BatchNorms and no batches.
    """
    modules = [module for name, module in model.named_modules() if only is None or name in only]
    norms = [m for m in modules if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    network = UserCode(f"the network {path_of(model)}")
    momenta = [norm.momentum for norm in norms]
    device, count = device_of(model), 0
    try:
        with in_mode(model), torch.no_grad(), computing(device, bf16):
            for norm in norms:
                norm.reset_running_stats()
                norm.train()
            for batch in batches:
                inputs = reader.call(model, batch).map(lambda tensor: tensor.to(device))
                count += inputs.batch
                for norm in norms:
                    norm.momentum = inputs.batch / count
                with network:
                    inputs.run(model)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    if not count:
        raise InputError("there are no calibration images to re-estimate BatchNorm statistics on")

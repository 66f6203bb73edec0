"""The scales of BatchNorm, which Network Slimming draws to zero and ranks units by (Liu et al., ICCV 2017)."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["trained_scales"]


def trained_scales(model: nn.Module) -> list[nn.Parameter]:
    """The scales (units,) of every BatchNorm that has them and trains them, each once."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    return [norm.weight for norm in norms if isinstance(norm.weight, nn.Parameter) and norm.weight.requires_grad]

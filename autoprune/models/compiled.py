"""Models that `torch.compile` has wrapped: what is inside."""

from __future__ import annotations

import sys
from typing import Any

from torch import nn

__all__ = ["uncompiled"]


def uncompiled(model: nn.Module) -> nn.Module:
    """The module that a compiled model wraps, itself and not a copy; any other module as it is.

    A compiled model is one module around the user's, whose layers then all have other names; every copy of it is
    compiled anew, which takes a minute a network where hundreds are tried.
    """
    library: Any = sys.modules.get("torch._dynamo.eval_frame")  # not imported: no model is compiled without it
    while library is not None and isinstance(model, library.OptimizedModule):
        model = model.get_submodule("_orig_mod")
    return model

"""What every cut has to agree with: policies drawn at random, and what `zero` may change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from autoprune.graph import Analysis

Kept = Mapping[str, Sequence[int]]


def drawn(analysis: Analysis, seed: int, granularity: int = 1) -> dict[str, list[int]]:
    """Units to keep: each group loses a ratio between 0 and 0.9, rounded up to whole granules, units at random."""
    rng = np.random.default_rng(seed)
    kept = {}
    for group in analysis.groups:
        size = max(1.0, group.width * (1 - rng.uniform(0, 0.9)))
        units = min(group.width, max(group.least, int(np.ceil(size / granularity)) * granularity))
        kept[group.name] = rng.permutation(group.width)[:units].tolist()
    return kept


def assert_only_silenced(dense: nn.Module, silent: nn.Module, analysis: Analysis, kept: Kept) -> None:
    """Dense shapes; each element is the dense one or 0; as many units are silent as the policy drops."""
    before, after = tensors(dense), tensors(silent)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert after[name].shape == tensor.shape
        changed = after[name] != tensor
        assert not after[name][changed].any(), name
    for group in analysis.groups:
        silences = np.ones(group.width, np.bool_)
        for member in group.silencers:
            along = after[member.tensor].movedim(member.dim, 0)
            lines = along.reshape(len(along), -1).abs().sum(1)
            silences &= (lines[member.positions].sum(1) == 0).numpy()
        dropped = group.width - len(kept.get(group.name, range(group.width)))
        assert silences.sum() == dropped, group.name


def tensors(net: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by name."""
    return {**dict(net.named_parameters()), **dict(net.named_buffers())}

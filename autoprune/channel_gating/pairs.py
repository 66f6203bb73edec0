"""Convolutions whose channels only one other convolution reads: an input may do without some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from autoprune.dynamic_networks.flow import Flow, node_name, sizes_of
from autoprune.errors import UnsupportedModelError

__all__ = ["ChannelPair", "pairs_of", "path_of_count", "paths_of"]

_CONV = torch.ops.aten.conv2d.default

_CHANNEL_BY_CHANNEL = frozenset(
    {
        torch.ops.aten.batch_norm.default,
        torch.ops.aten.relu.default,
        torch.ops.aten.relu_.default,
        torch.ops.aten.hardtanh.default,
        torch.ops.aten.leaky_relu.default,
        torch.ops.aten.silu.default,
        torch.ops.aten.gelu.default,
        torch.ops.aten.hardswish.default,
        torch.ops.aten.dropout.default,
        torch.ops.aten.max_pool2d.default,
        torch.ops.aten.avg_pool2d.default,
    }
)

_TENTHS = 10


@dataclass(frozen=True)
class ChannelPair:
    """A convolution, and the one that alone reads its channels.

    Attributes:
        name: The module of the first.
        first: Its value in the graph.
        second: The value of the one behind it.
        shape: Sizes of what the first reads, for one sample (C, H, W).
        width: Channels between the two.
    """

    name: str
    first: str
    second: str
    shape: tuple[int, ...]
    width: int

    def at(self, share: float) -> int:
        """Channels of a share of them, at least one."""
        return max(1, min(self.width, -int(-share * self.width // 1)))


def pairs_of(flow: Flow) -> tuple[ChannelPair, ...]:
    """The pairs in forward order; no convolution is in two of them.

    Args:
        flow: The network.

    Raises:
        UnsupportedModelError: If there is none.
    """
    found: list[ChannelPair] = []
    for node in flow.nodes:
        if not _is_conv(node) or any(pair.second == node.name for pair in found):
            continue
        second, shape, width = _reader(node), sizes_of(node.all_input_nodes[0]), sizes_of(node)
        if second is not None and shape is not None and width is not None:
            found.append(ChannelPair(node_name(node), node.name, second.name, shape, width[0]))
    if not found:
        raise UnsupportedModelError(
            "this network has no channels that an input could do without: there are no two 2-D convolutions of which"
            " the second alone reads the first"
        )
    return tuple(found)


def paths_of(widths: Sequence[int], caps: Sequence[int]) -> int:
    """Paths of a network in which no more than so many channels of each width are kept."""
    return int(path_of_count(sum(caps), sum(widths))) + 1


def path_of_count(kept: Any, total: int) -> Any:
    """The path of inputs that keep so many channels of all: in tenths, rounded up, from 0 on."""
    return (_TENTHS * kept + total - 1) // total - 1


def _is_conv(node: fx.Node) -> bool:
    groups = node.args[6] if len(node.args) > 6 else 1
    return bool(node.target is _CONV and not node.kwargs and groups == 1)


def _reader(node: fx.Node) -> fx.Node | None:
    """The convolution that alone reads a value, operators that treat channels one by one passed over."""
    while len(node.users) == 1:
        (user,) = node.users
        if user.args[0] is not node:
            return None
        if _is_conv(user):
            return user
        if user.target not in _CHANNEL_BY_CHANNEL:
            return None
        node = user
    return None

"""The contract of a gatherer, and what all of them watch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack

from torch import Tensor, nn

from autoprune.criteria.known import TensorStatistics

__all__ = ["Gatherer", "Layer", "layers_of", "weight_name"]

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


class Gatherer(ABC):
    """Sums over the batches of one pass: `watch`, then one `add` a batch, then `statistics`.

    Args:
        model: In evaluation mode while it is watched; left as it is.
    """

    @abstractmethod
    def __init__(self, model: nn.Module) -> None: ...

    def watch(self, hooks: ExitStack) -> None:  # noqa: B027 - not every gatherer looks at activations
        """Set hooks on the layers; `hooks` takes them off again."""

    def add(self, loss: Callable[[], Tensor]) -> None:  # noqa: B027 - not every gatherer looks at the loss
        """A batch has gone through the network; `loss` gives its loss, with history where the pass keeps one."""

    @abstractmethod
    def statistics(self, batches: int) -> dict[str, TensorStatistics]:
        """What was found, by qualified name of the parameter; fields of other gatherers are None."""


def layers_of(model: nn.Module) -> dict[str, Layer]:
    """The convolutions and linear layers by name."""
    return {name: m for name, m in model.named_modules() if isinstance(m, Layer)}


def weight_name(layer: str) -> str:
    """The parameter's name: `weight` where the model itself is the layer."""
    return f"{layer}.weight".lstrip(".")

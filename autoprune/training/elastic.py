"""One network trained as a network of all widths: the sandwich rule, the whole one as teacher of the narrow ones."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from autoprune.errors import InputError
from autoprune.graph import Analysis, Selector, index_map
from autoprune.graph.surgery.slicer import take
from autoprune.models.outputs import output_of
from autoprune.models.own_loss import own_loss
from autoprune.training.losses import Loss, cross_entropy, distillation

__all__ = ["AllWidths", "Kept", "SandwichLoss"]

Kept = Callable[[Mapping[str, int]], Mapping[str, Sequence[int]]]
"""Units by decision -> indices of the kept units by coupled group; narrower widths keep a part of wider ones' units."""


class AllWidths(nn.Module):
    """A network that is run at four widths in every training step (Yu and Huang, ICCV 2019, section 3.1).

    In training its output is a list: of the whole network, of the narrowest, of one at a ratio drawn for all decisions
    together, of one whose every decision is drawn. All have the same parameters, of which the narrow ones read the kept
    part. BatchNorm normalises each by its own batch; the running statistics are those of the whole network, so whoever
    cuts has to re-estimate them. In evaluation mode the output is the whole network's.

    Args:
        network: Trained in place.
        analysis: Its groups and blocks.
        kept: Which units stay at which widths.
        options: Decision -> widths that it may have, ascending, the whole one last.

    Raises:
        InputError: If the network has recurrent layers, whose weights cannot be exchanged for a step.
    """

    def __init__(
        self, network: nn.Module, analysis: Analysis, kept: Kept, options: Mapping[str, Sequence[int]]
    ) -> None:
        super().__init__()
        recurrent = [name for name, module in network.named_modules() if isinstance(module, nn.RNNBase)]
        if recurrent:
            raise InputError(
                f"the recurrent layer {recurrent[0]} cannot be trained at several widths at once; use"
                " --candidate-weights reconstructed"
            )
        self.network = network
        self._analysis, self._kept = analysis, kept
        self._options = {name: tuple(widths) for name, widths in options.items()}
        self._selector = Selector(network, analysis)
        outputs = functools.wraps(network.forward)(lambda *given, **named: self._outputs(*given, **named))
        self.forward = outputs  # a batch is read by the names of the network's own parameters

    def _outputs(self, *given: Any, **named: Any) -> Any:
        whole = self.network(*given, **named)
        if not self.training:
            return whole
        return [whole, *(self._narrow(choices, given, named) for choices in self._drawn())]

    def _drawn(self) -> list[dict[str, int]]:
        """Three policies; what is random comes from torch's global generator, which the trainer seeds every epoch."""
        ratio, *each = torch.rand(1 + len(self._options)).tolist()
        return [
            {name: widths[0] for name, widths in self._options.items()},
            {name: _at(widths, ratio) for name, widths in self._options.items()},
            {name: _at(widths, own) for (name, widths), own in zip(self._options.items(), each, strict=True)},
        ]

    def _narrow(self, choices: Mapping[str, int], given: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        kept = self._kept(choices)
        shell, slices = self._selector.select(kept), index_map(self._analysis, kept)
        shell.train()
        own = dict(self.network.named_parameters())
        tensors = {name: take(own[name], slices.get(name, ())) for name, _ in shell.named_parameters() if name in own}
        return functional_call(shell, tensors, given, dict(named))


class SandwichLoss:
    """The loss of the outputs of `AllWidths`.

    The whole network learns from the labels, the others from its outputs as they are (in-place distillation at
    temperature 1). By a loss of the user's own all learn from the batch.

    Args:
        own: The user's loss of (output, batch).
    """

    def __init__(self, own: Loss | None = None) -> None:
        self._own = own

    def __call__(self, outputs: Sequence[Any], batch: Any) -> Tensor:
        """The sum over the widths, a scalar."""
        if self._own is not None:
            return torch.stack([own_loss(self._own, output, batch) for output in outputs]).sum()
        whole, *others = (output_of(output) for output in outputs)
        soft = [distillation(narrow, whole.detach(), 1.0) for narrow in others]
        return torch.stack([cross_entropy(whole, batch), *soft]).sum()


def _at(widths: Sequence[int], share: float) -> int:
    """The width at a share in [0, 1) of the way from the narrowest to the widest.

    >>> _at((4, 8, 12, 16), 0.0), _at((4, 8, 12, 16), 0.6), _at((4, 8, 12, 16), 0.99)
    (4, 12, 16)
    """
    return widths[int(share * len(widths))]

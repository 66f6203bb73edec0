"""One run of a proof: the user's own forward on a cut copy against the dense network with those units silent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from autoprune.graph.analysis import Analysis, Index
from autoprune.graph.coupling.norms import NormLine
from autoprune.graph.proof.comparison import difference
from autoprune.graph.proof.network_copy import SEED, Shadow, call
from autoprune.graph.proof.reference import Reference
from autoprune.graph.proof.visibility import Sight
from autoprune.graph.surgery.slicer import Slicer
from autoprune.graph.surgery.weight_sharing import Selector
from autoprune.graph.trace.export import Trace
from autoprune.graph.trace.source_lines import exception_line, raised

__all__ = ["Runs"]


class Runs:
    """Runs of cut copies of one network.

    Args:
        shadow: A copy of the dense model; put back after every run.
        analysis: Its groups and blocks.
        traced: The trace that the analysis was read off.
        norms: Its operators that normalise over groups' units.

    Attributes:
        sees: Whether the network can be run with gradients, as far as is known.
    """

    def __init__(self, shadow: Shadow, analysis: Analysis, traced: Trace, norms: Sequence[NormLine]) -> None:
        self.sees = True
        self._normalised = {group.name for group in analysis.groups if group.oracle == "normalised"}
        self._slicer = Slicer(analysis)
        self._selector = Selector(shadow.network, analysis, shadow.read_only)
        self._tensors = {**dict(shadow.network.named_parameters()), **dict(shadow.network.named_buffers())}
        self._looks = torch.Generator().manual_seed(SEED)
        self.resize(shadow, traced, norms)

    def resize(self, shadow: Shadow, traced: Trace, norms: Sequence[NormLine]) -> None:
        """Run at the size of this shadow's example from now on."""
        self._shadow = shadow
        self._reference = Reference(traced, norms, self._tensors)

    def distrust(self) -> str:
        """Why the widths that are normalised over cannot be proven; empty where the reference is the user's forward."""
        torch.manual_seed(SEED)
        try:
            with self._shadow.computing():
                got = self._reference.run(self._shadow.example, {})
        except Exception as error:  # noqa: BLE001 - traced for one precision and run in another
            return f"its norms cannot be run over some units only: {exception_line(error)}"
        if difference(got, self._shadow.outputs, self._shadow.tolerance):
            return "its norms cannot be checked: the traced graph differs from the model's forward"
        return ""

    def wrong(self, kept: Mapping[str, Index]) -> str | None:
        """None when the cut network equals the silenced one; else what went wrong."""
        wanted = self._wanted(kept)
        try:
            network = self._selected(kept)
            with self._shadow.computing():
                got = call(network, self._shadow.example)
        except Exception as error:  # noqa: BLE001 - the user's forward may raise anything on a cut network
            return f"its forward fails once cut: {raised(error)}"
        return difference(got, wanted, self._shadow.tolerance)

    def seen(self, kept: Mapping[str, Index]) -> set[str] | None:
        """The groups that show in the output when all of these are cut; None where it is not the wanted one."""
        wanted = self._wanted(kept)
        network = self._selected(kept)
        try:
            sight = Sight(self._slicer, kept, dict(network.named_parameters()))
            with torch.enable_grad(), self._shadow.computing():
                outputs = call(network, self._shadow.example, with_history=True)
                if difference([t.detach() for t in outputs], wanted, self._shadow.tolerance):
                    return None
                return sight.seen(outputs, self._shadow.tolerance, self._looks)
        except Exception:  # noqa: BLE001 - a forward that fails once cut, or that cannot be run with gradients
            if self.wrong(kept) is not None:
                return None
            self.sees = False
            return set()

    def _selected(self, kept: Mapping[str, Index]) -> nn.Module:
        return self._selector.select({name: units.tolist() for name, units in kept.items()})

    def _wanted(self, kept: Mapping[str, Index]) -> list[torch.Tensor]:
        """The dense network's outputs, its readers being silenced; norms over a width see what is kept of it."""
        with self._shadow.silenced(self._tensors, self._slicer.silenced(kept)), self._shadow.computing():
            if self._normalised.isdisjoint(kept):
                return call(self._shadow.network, self._shadow.example)
            torch.manual_seed(SEED)
            return self._reference.run(self._shadow.example, kept)

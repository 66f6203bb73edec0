"""Values at places, read by hooks: of a candidate of other widths nothing has to be exported again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from autoprune.dynamic_networks.stages import cut_at
from autoprune.early_exit.fit import Cut
from autoprune.early_exit.places import Place

__all__ = ["module_at", "seen_by_hooks", "values_at"]


def module_at(place: Place) -> str:
    """The module whose output a place is, if it is a module's."""
    return place.name.partition("/")[0]


@contextmanager
def values_at(model: nn.Module, places: Sequence[Place]) -> Iterator[dict[int, Tensor]]:
    """While the context is open, what the last forward pass left at each place, by number."""
    found: dict[int, Tensor] = {}

    def keep(number: int, output: Tensor) -> None:
        found[number] = output

    handles = [
        model.get_submodule(module_at(place)).register_forward_hook(
            lambda _module, _inputs, output, number=number: keep(number, output)
        )
        for number, place in enumerate(places)
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def seen_by_hooks(cut: Cut) -> list[Place]:
    """The places that are the output of a module as it stands, as one pass of an example shows."""
    modules = dict(cut.model.named_modules())
    named = [(number, place) for number, place in enumerate(cut.places) if module_at(place) in modules]
    call = cut.flow.example
    stages = cut_at(cut.flow, [place.node for place in cut.places])
    with torch.no_grad(), values_at(cut.model, [place for _, place in named]) as hooked:
        features: Tensor | None = None
        exact = []
        for stage in stages:
            features = stage(features, cut.flow.flat(call))
            exact.append(features)
        call.run(cut.model)
        return [
            place
            for at, (number, place) in enumerate(named)
            if isinstance(hooked.get(at), Tensor)
            and hooked[at].shape == exact[number].shape
            and torch.allclose(hooked[at], exact[number], rtol=1e-4, atol=1e-5)
        ]

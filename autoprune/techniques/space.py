"""From a model to its search space: the decisions of every technique of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from autoprune.graph import Analysis, analyse
from autoprune.hardware import Target, get_target
from autoprune.hardware.grid.widths import Grid
from autoprune.models import uncompiled
from autoprune.space import STRUCTURED, Decision, SearchSpace, SpaceConstraints
from autoprune.techniques.base import Offer, OptionGrid, Technique
from autoprune.techniques.registry import techniques_of

__all__ = ["search_space", "space_of"]


def search_space(
    model: nn.Module,
    example_input: Any,
    target: str | None = None,
    granularity: int | str | None = None,
    skip: Sequence[str] | str = (),
    kinds: Sequence[str] | str | None = None,
    cap: Sequence[str] | str = (),
    tie: Sequence[str] | str = (),
) -> SearchSpace:
    """What can be pruned in a model: one decision for every coupled group of units, and if wanted for every block.

    Args:
        model: Any module that `torch.export` can trace, left as it is; of one that `torch.compile` wraps, the
            network inside.
        example_input: What its forward takes, with a batch dimension first.
        target: Runtime whose grid of widths the options follow; None for every multiple of `granularity`.
        granularity: Kept channels are multiples of this; default 1, or what suits the target. A unit may be several
            channels (one for each group of a grouped convolution), and then fewer units make up a multiple. By kind,
            `heads=2,channels=8`, it counts heads and so on; kinds that are not named follow the target.
        skip: Names or patterns (`layer1.*`) of layers that stay as they are.
        kinds: Which kinds of decisions there are, of `autoprune.space.KINDS`; default every width. With `block`,
            residual branches can be dropped whole.
        cap: `PATTERN=SHARE`: of the decisions that are meant at most this share of the units is removed.
        tie: Patterns: the widths of a kind that one means keep one common share of their units, as one decision.

    Raises:
        UnsupportedModelError: If the model cannot be traced.
        InputError: If the target or a kind is unknown, the granularity is below 1, or a pattern matches nothing, or
            nothing that can be tied.
    """
    limits = SpaceConstraints.parse(granularity, skip, kinds, cap, tie)
    return space_of(analyse(uncompiled(model), example_input, blocks=limits.gates), limits, target=target)


def space_of(
    analysis: Analysis,
    limits: SpaceConstraints | None = None,
    *,
    target: str | Target | None = None,
    grid: Grid | int | None = None,
    name: str | None = None,
    techniques: Sequence[Technique[Any]] | None = None,
) -> SearchSpace:
    """The search space of an analysed model.

    Args:
        analysis: The dense network's.
        limits: What the user wants of it; by default nothing in particular.
        target: Runtime whose grid of widths the options follow.
        grid: The grid, where it is known already; by default that of the user's granularity, or the target's.
        name: What the user calls the model.
        techniques: Whose decisions; by default the structured one's.

    Raises:
        InputError: If the target or a kind is unknown, the granularity is below 1, or a pattern matches nothing, or
            nothing that can be tied.
    """
    limits = limits or SpaceConstraints()
    device = get_target(target) if isinstance(target, str) else target
    _ = limits.chosen, limits.caps  # refuses nonsense also where nothing can be pruned
    widths = OptionGrid.of(device, limits.granularity if grid is None else grid)
    decisions: list[Decision] = []
    refused: dict[str, str] = {}
    ties: dict[str, Mapping[str, int]] = {}
    for technique in techniques or techniques_of([STRUCTURED]):
        offer = technique.decisions(analysis, limits, widths)
        decisions = _placed(decisions, offer)
        refused |= offer.refused
        ties |= offer.ties
    return SearchSpace(tuple(decisions), refused, _about(analysis, name), ties)


def _placed(decisions: Sequence[Decision], offer: Offer) -> list[Decision]:
    """The decisions so far and a technique's, each behind the one that it names, else at the end."""
    names = {decision.name for decision in decisions}
    beside: dict[str, list[Decision]] = {}
    rest: list[Decision] = []
    for decision in offer.decisions:
        before = offer.behind.get(decision.name)
        (beside.setdefault(before, []) if before in names else rest).append(decision)
    return [each for known in decisions for each in (known, *beside.get(known.name, ()))] + rest


def _about(analysis: Analysis, name: str | None) -> dict[str, Any]:
    """What a policy says of its model: with it and the weights, the policy is enough."""
    about: dict[str, Any] = {"name": name, "fingerprint": dict(analysis.fingerprint)}
    if len(analysis.example_shapes) == 1 and analysis.example_shape:
        about["example"] = [1, *analysis.example_shape[1:]]
        if analysis.example_dtypes[0] != "float32":
            about["example_dtype"] = analysis.example_dtypes[0]
    return about

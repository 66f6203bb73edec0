"""From a model to its search space, and from a policy to the smaller network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from autoprune.criteria.norm import kept_units, ranking
from autoprune.errors import InputError, PolicyMismatchError
from autoprune.graph import Analysis, Group, analyse, cut, first_difference, zero
from autoprune.hardware import Target, get_target
from autoprune.hardware.grid.widths import MOST_OPTIONS, Grid, grid_of, options
from autoprune.space import BLOCK, CHANNELS, Decision, Policy, SearchSpace, checked_kinds
from autoprune.space.constraints import parsed_caps, parsed_granularity
from autoprune.techniques.structured.branches import touches_block, with_block_decisions
from autoprune.techniques.structured.pretrained_config import follow_config
from autoprune.techniques.structured.ties import capped, tie_up

__all__ = ["apply", "check_fit", "search_space", "space_of", "with_kept"]


def search_space(
    model: nn.Module,
    example_input: Any,
    target: str | None = None,
    granularity: int | str | None = None,
    skip: Sequence[str] = (),
    kinds: Sequence[str] | None = None,
    cap: Sequence[str] = (),
    tie: Sequence[str] = (),
) -> SearchSpace:
    """What can be pruned in a model: one decision for every coupled group of units, and if wanted for every block.

    Args:
        model: Any module that `torch.export` can trace; left as it is.
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
    analysis, (granule, granules) = analyse(model, example_input), parsed_granularity(granularity)
    return space_of(
        analysis, target=target, granularity=granule, granules=granules, skip=skip, kinds=kinds, cap=cap, tie=tie
    )


def space_of(
    analysis: Analysis,
    *,
    target: str | Target | None = None,
    granularity: int | Grid | None = None,
    skip: Sequence[str] = (),
    name: str | None = None,
    kinds: Sequence[str] | None = None,
    granules: Mapping[str, int] | None = None,
    cap: Sequence[str] = (),
    tie: Sequence[str] = (),
) -> SearchSpace:
    """The search space of an analysed model; see `search_space`, whose granularity by kind is `granules` here."""
    chosen, caps = checked_kinds(kinds), parsed_caps(cap)
    device = get_target(target) if isinstance(target, str) else target
    grid = grid_of(device, granularity)  # refuses nonsense also where nothing can be pruned
    most = MOST_OPTIONS if device is not None else None
    frozen = dict(analysis.frozen)
    decisions = []
    for group in analysis.groups:
        pattern = next((p for p in skip if _touches(group, p)), None)
        if pattern is not None:
            frozen[group.name] = f"skipped by {pattern!r}"
            continue
        if group.kind not in chosen:
            frozen[group.name] = f"its units are {group.kind}, which is none of the kinds chosen"
            continue
        decisions.append(Decision(group.name, group.width, _widths(group, device, grid, most, granules), group.kind))
    if BLOCK in chosen:
        decisions, solid = with_block_decisions(analysis, decisions, skip)
        frozen |= solid
    _check_skips(analysis, skip)

    def touches(decision: str, pattern: str) -> bool:
        return decision not in blocks and _touches(analysis.group(decision), pattern)

    blocks = {decision.name for decision in decisions if decision.is_block}
    decisions, ties = tie_up(capped(decisions, caps, touches), tie, touches)
    about: dict[str, Any] = {"name": name, "fingerprint": dict(analysis.fingerprint)}
    if len(analysis.example_shapes) == 1 and analysis.example_shape:
        about["example"] = [1, *analysis.example_shape[1:]]  # with it and the weights, the policy is enough
        if analysis.example_dtypes[0] != "float32":
            about["example_dtype"] = analysis.example_dtypes[0]
    return SearchSpace(tuple(decisions), frozen, about, ties)


def _widths(
    group: Group, device: Target | None, grid: Grid, most: int | None, granules: Mapping[str, int] | None
) -> tuple[int, ...]:
    """The options of a group: on the grid, or on the one that the user named for its kind, which counts its units."""
    positions, named = _channels_of_a_unit(group), (granules or {}).get(group.kind)
    if named is None:
        return options(group.width, device, grid, most, positions=positions)
    return options(group.width, device, named, most, positions=positions if group.kind == CHANNELS else 1)


def _check_skips(analysis: Analysis, skip: Sequence[str]) -> None:
    for pattern in skip:
        if not any(_touches(group, pattern) for group in analysis.groups) and not any(
            touches_block(block, pattern) for block in analysis.blocks
        ):
            raise InputError(f"--skip {pattern}: no prunable layer has such a name; see autoprune inspect")


def _channels_of_a_unit(group: Group) -> int:
    """Channels that the group's first producer gives for one unit: several where a grouped convolution reads them."""
    return next((int(m.positions.shape[1]) for m in group.members if m.makes), 1)


def _touches(group: Group, pattern: str) -> bool:
    return any(fnmatchcase(layer, pattern) for layer in (group.name, *group.producers))


def with_kept(model: nn.Module, analysis: Analysis, policy: Policy, criterion: str = "l1") -> Policy:
    """The same policy with the indices of the kept units filled in, by a criterion on the dense weights."""
    if policy.kept is not None:
        return policy
    kept = kept_units(ranking(model, analysis, criterion), policy.choices)
    return policy.model_copy(update={"kept": kept, "criterion": criterion})


def check_fit(analysis: Analysis, policy: Policy) -> None:
    """Refuse a policy that was made for another model.

    Raises:
        PolicyMismatchError: Naming the first layer, or else the first decision, that differs.
    """
    fingerprint = policy.model.get("fingerprint")
    if isinstance(fingerprint, dict):
        difference = first_difference(fingerprint, analysis.fingerprint)
        if difference is not None:
            raise PolicyMismatchError(f"the policy was made for another model: {difference}")
    widths = analysis.widths()
    blocks = {block.name for block in analysis.blocks}
    for name, units in policy.choices.items():
        if name not in widths:
            raise PolicyMismatchError(f"the policy decides on {name!r}, which this model does not have or cannot prune")
        if (name in blocks) != (policy.kinds.get(name) == BLOCK):
            raise PolicyMismatchError(
                f"the policy takes {name!r} for something else than this model has under that name"
            )
        if units > widths[name]:
            raise PolicyMismatchError(f"the policy keeps {units} units of {name!r}, which has {widths[name]}")
    for name, indices in (policy.kept or {}).items():
        if indices and indices[-1] >= widths[name]:
            raise PolicyMismatchError(f"the policy keeps unit {indices[-1]} of {name!r}, which has {widths[name]}")


def apply(
    model: nn.Module, policy: Policy, example_input: Any, *, zero: bool = False, criterion: str | None = None
) -> nn.Module:
    """The network that a policy makes of a model.

    Args:
        model: The dense network; left as it is.
        policy: If it does not name the kept units, those of greatest importance in `model` are kept.
        example_input: What the model's forward takes.
        zero: Keep the dense shapes and set weights to zero instead: what the smaller network must equal. Where a norm
            runs over a pruned width (LayerNorm, RMSNorm, part of a GroupNorm) no zeroing is equal, since the dense norm
            sees the dropped units; the cut is proved another way there (`inspect --json` says `oracle: normalised`).
        criterion: How units are ranked where the policy does not name them; default the policy's own, else `l1`.

    Returns:
        A new module, in the dense one's mode, precision and device. The config of a `transformers` model says its new
        widths, where one config can.

    Raises:
        PolicyMismatchError: If the policy was made for another model.
    """
    analysis = analyse(model, example_input)
    check_fit(analysis, policy)
    kept = with_kept(model, analysis, policy, criterion or policy.criterion or "l1").kept or {}
    if zero:
        return _zero(model, analysis, kept)
    small = cut(model, analysis, kept)
    follow_config(small, analysis, {name: len(units) for name, units in kept.items()})
    return small


_zero = zero  # `apply` has an argument of that name

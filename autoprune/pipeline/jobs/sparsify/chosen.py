"""What sparsification is asked for, as settings of a run and as patterns of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from autoprune.errors import InputError
from autoprune.masks.assigned import Assigned, masks_of
from autoprune.masks.base import Graded, Pattern, ShareOfZeros
from autoprune.masks.blocks import Blocks
from autoprune.masks.both_ways import NofMBothWays
from autoprune.masks.groups.hierarchy import HierarchicalNofM
from autoprune.masks.n_of_m import NofM
from autoprune.masks.packing import packed
from autoprune.masks.parsing import pattern_of
from autoprune.masks.unstructured import Unstructured
from autoprune.pipeline.jobs.settings import SPARSIFY
from autoprune.pipeline.problem import Problem
from autoprune.run.experiment import BUDGETS
from autoprune.run.settings.training import PERMUTE_SECONDS
from autoprune.space import KEPT, NM, ZEROS, Policy
from autoprune.techniques.sparsity.masked import MaskTechnique
from autoprune.techniques.sparsity.tensors import weights_of
from autoprune.techniques.sparsity.zeros import STEPS

__all__ = ["ChosenWeights", "chosen_weights", "policy_of", "sparsify_settings"]

RECIPES = ("one-shot", "asp", "gradual", "sr-ste", "regularised")


def sparsify_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run: no agent, no budget in the way, and the technique that records the pattern's masks.

    Args:
        settings: As the user gave them. `recipe` is how the network is trained here (`sparse_recipe` in files), and
            `criterion` may be `sparsegpt`, which is Wanda's with new weights.

    Raises:
        InputError: If the pattern or the recipe is none.
    """
    rest = {name: value for name, value in settings.items() if name not in BUDGETS}
    recipe = rest.pop("recipe", None)
    if recipe is not None:
        if recipe not in RECIPES:
            raise InputError(f"unknown recipe {recipe!r} of sparsification; write {', '.join(RECIPES)}")
        rest["sparse_recipe"] = recipe
    if rest.get("criterion") == "sparsegpt":
        rest |= {"criterion": "wanda", "weight_update": "sparsegpt"}
    pattern = pattern_of(str(rest.get("pattern") or "2:4"))
    technique, kind = _technique(pattern)
    if rest.get("permute"):
        if not isinstance(pattern, NofM):
            raise InputError(f"--permute is for patterns of N:M along the inputs, such as 2:4, not for {pattern.name}")
        technique += f"+permute={rest.get('permute_seconds') or PERMUTE_SECONDS}"
    own = {"techniques": technique, "kinds": (kind,), "granularity": 1, "flops": "100%", "agent": SPARSIFY}
    return rest | {"pattern": pattern.name} | own


def _technique(pattern: Pattern) -> tuple[str, str]:
    """The technique with its settings, and its kind of decisions."""
    if isinstance(pattern, NofM | NofMBothWays):
        if pattern.n == pattern.m:
            raise InputError(
                f"the pattern {pattern.name} keeps every weight; write fewer than {pattern.m} of {pattern.m}"
            )
        return f"nm@m={pattern.m}+n={pattern.n}", NM.name
    if isinstance(pattern, Blocks | Unstructured):
        if not pattern.zeros:
            raise InputError(f"the pattern {pattern.name} keeps every weight; write a share of zeros above 0")
        block = f"block={pattern.rows}x{pattern.columns}+" if isinstance(pattern, Blocks) else ""
        return f"zeros@{block}keep={_thousandths(1 - pattern.zeros)}", ZEROS.name
    if isinstance(pattern, HierarchicalNofM):
        return _kept(pattern, pattern.density((1, 1, pattern.inner.m * pattern.outer.m)))
    if isinstance(pattern, ShareOfZeros):
        return _kept(pattern, 1 - pattern.zeros)
    raise InputError(f"no technique records masks of the pattern {pattern.name}")


def _kept(pattern: Graded, share: float) -> tuple[str, str]:
    if not 0 < share < 1:
        raise InputError(f"the pattern {pattern.name} keeps every weight; write one that keeps fewer")
    return f"{KEPT.technique}@pattern={pattern.family}+keep={share!r}", KEPT.name


def _thousandths(share: float) -> int:
    return min(max(round(share * STEPS), 1), STEPS - 1)


@dataclass(frozen=True)
class ChosenWeights:
    """The weights that get masks.

    Attributes:
        pattern: What they are to have.
        assigned: Name of a weight -> its pattern, and how it lies in memory.
        refused: Name of a weight -> why it stays dense.
    """

    pattern: Pattern
    assigned: Mapping[str, Assigned]
    refused: Mapping[str, str]


def chosen_weights(problem: Problem) -> ChosenWeights:
    """The weights of a network that can have the run's pattern.

    Raises:
        InputError: If there is none.
    """
    pattern = pattern_of(problem.experiment.pattern)
    known = weights_of(problem.analysis)
    offered = {name: Assigned(known.weights[name].planes, pattern) for name in problem.space.names}
    reasons = {name: one.why_not(known.weights[name].sizes) for name, one in offered.items()}
    assigned = {name: one for name, one in offered.items() if reasons[name] is None}
    refused = dict(problem.space.frozen) | {name: reason for name, reason in reasons.items() if reason is not None}
    if not assigned:
        shown = "; ".join(f"{name}: {why}" for name, why in list(refused.items())[:3])
        raise InputError(f"no weight of {problem.task.name} can have the pattern {pattern.name} ({shown})")
    return ChosenWeights(pattern, assigned, refused)


def policy_of(problem: Problem, masks: Mapping[str, Tensor]) -> Policy:
    """The policy that rebuilds a network with these masks from the dense weights."""
    technique = problem.stack.techniques[0]
    assert isinstance(technique, MaskTechnique)  # as `sparsify_settings` wants it
    asked = {d.name: d.options[0] if d.name in masks else d.width for d in problem.space.decisions}
    policy = problem.policy(asked, SPARSIFY)
    part = policy.further[0]
    # Masks over all tensors together, and whole blocks of uneven size, leave each tensor a share of its own.
    choices = (
        asked
        if technique.exact
        else {**asked, **{name: _thousandths(float(m.double().mean())) for name, m in masks.items()}}
    )
    payload = part.payload | {"masks": {name: packed(mask) for name, mask in masks.items()}}
    return policy.model_copy(update={"further": (part.model_copy(update={"choices": choices, "payload": payload}),)})


def magnitude_masks(chosen: ChosenWeights, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Masks of the largest weights."""
    return masks_of(chosen.assigned, {name: weights[name].detach().abs() for name in chosen.assigned})

"""Techniques: a model and a policy in, a smaller network out; what is kept, and how a candidate is scored."""

from autoprune.pruning.criteria import CRITERIA, importance, kept_units, ranking
from autoprune.pruning.optimizer import slice_optimizer
from autoprune.pruning.recalibrate import reestimate_batch_norm
from autoprune.pruning.scoring import Scorer
from autoprune.pruning.structured import apply, check_fit, search_space, space_of, with_kept

__all__ = [
    "CRITERIA",
    "Scorer",
    "apply",
    "check_fit",
    "importance",
    "kept_units",
    "ranking",
    "reestimate_batch_norm",
    "search_space",
    "slice_optimizer",
    "space_of",
    "with_kept",
]

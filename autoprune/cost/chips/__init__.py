"""Costs of policies on many chips at once: a table of each chip, and for every policy the chip that suits it best."""

from autoprune.cost.chips.best import BestChip
from autoprune.cost.chips.chosen import ChosenChip
from autoprune.cost.chips.objectives import OBJECTIVES, Objective
from autoprune.cost.chips.tables import ChipSums, ChipTables

__all__ = ["OBJECTIVES", "BestChip", "ChipSums", "ChipTables", "ChosenChip", "Objective"]

"""The accelerators' templates by name, and the chips that ship as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoprune.foundations.registry import Registry

__all__ = ["CHIPS", "CHIP_FILES", "TEMPLATES"]

# Each is a subclass of `Accelerator`, which is checked by `load_accelerator`.
TEMPLATES: Registry[Any] = Registry(
    "accelerator template",
    {
        "eie": "autoprune.hardware.accelerators.templates.eie:Eie",
        "balanced": "autoprune.hardware.accelerators.templates.balanced:Balanced",
        "systolic": "autoprune.hardware.accelerators.templates.systolic:Systolic",
    },
    "autoprune.accelerators",
)

CHIP_FILES = Path(__file__).parent / "chips"

CHIPS = tuple(sorted(path.stem for path in CHIP_FILES.glob("*.yaml")))
"""Names of the chips that ship."""

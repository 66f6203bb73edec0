"""The folder of the user's cache in which downloads, and what was measured of this machine, are kept."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """The package's folder in the user's cache.

    $AUTOPRUNE_CACHE, else autoprune/ in $XDG_CACHE_HOME, else in ~/.cache.
    """
    own = os.environ.get("AUTOPRUNE_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "autoprune"

"""The environment's names for Gymnasium; both the environment and Gymnasium are imported when they are first used."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["CODESIGN_ENV_ID", "DISCRETE_ENV_ID", "ENV_ID", "register", "register_with_gymnasium"]

ENV_ID = "autoprune/Pruning-v0"
DISCRETE_ENV_ID = "autoprune/PruningDiscrete-v0"
CODESIGN_ENV_ID = "autoprune/Codesign-v0"


def register() -> None:
    """Register the environment, its discrete form, and the one that chooses a chip first, once."""
    import gymnasium
    from gymnasium.envs.registration import WrapperSpec

    home = "autoprune.envs:PruningEnv"
    if ENV_ID not in gymnasium.registry:
        gymnasium.register(id=ENV_ID, entry_point=home)
    if DISCRETE_ENV_ID not in gymnasium.registry:
        discrete = WrapperSpec("DiscreteActions", "autoprune.envs:DiscreteActions", {})
        gymnasium.register(id=DISCRETE_ENV_ID, entry_point=home, additional_wrappers=(discrete,))
    if CODESIGN_ENV_ID not in gymnasium.registry:
        gymnasium.register(id=CODESIGN_ENV_ID, entry_point="autoprune.envs:CodesignEnv")


def register_with_gymnasium() -> None:
    """Register the environment now if Gymnasium is imported, else as soon as it is.

    Importing Gymnasium takes a fifth of a second, a third of `autoprune --help`.
    """
    if hasattr(sys.modules.get("gymnasium"), "register"):
        register()
    elif not any(isinstance(finder, _GymnasiumFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _GymnasiumFinder())


class _GymnasiumFinder(MetaPathFinder):
    """Wraps the loader of Gymnasium, the first time that it is looked for."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "gymnasium" or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader)
        return spec


class _RegisteringLoader(Loader):
    """Loads Gymnasium as another loader does, then registers the environment."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        register()

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)  # resources and source, which `inspect` and `importlib.resources` ask for

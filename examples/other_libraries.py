"""Other libraries train on the pruning environment: stable-baselines3's PPO, SAC, TD3; sb3-contrib's MaskablePPO.

    python -m examples.other_libraries --algorithm ppo --steps 2048

It plays a toy network whose best policy is known by enumeration, and prints what was found beside it. MaskablePPO needs
`pip install sb3-contrib`.
"""

from __future__ import annotations

import argparse
import importlib
from typing import Any

import gymnasium

import autoprune.envs

ALGORITHMS = {
    "ppo": ("stable_baselines3", "PPO", "autoprune/PruningDiscrete-v0", {"n_steps": 64, "batch_size": 32}),
    "maskable-ppo": ("sb3_contrib", "MaskablePPO", "autoprune/PruningDiscrete-v0", {"n_steps": 64, "batch_size": 32}),
    "sac": ("stable_baselines3", "SAC", "autoprune/Pruning-v0", {"learning_starts": 64}),
    "td3": ("stable_baselines3", "TD3", "autoprune/Pruning-v0", {"learning_starts": 64}),
}
"""Where each is, which form of the environment it plays, and settings that suit a small problem."""


class BestSoFar(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Keeps the best policy that any episode executed."""

    best: tuple[float, dict[str, int]] | None = None
    most: float = 0.0  # the highest cost of any episode

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One decision; at the end of an episode its score is compared."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if terminated:
            self.most = max(self.most, info["cost"])
            if self.best is None or info["accuracy"] > self.best[0]:
                self.best = info["accuracy"], info["choices"]
        return observation, reward, terminated, truncated, info


def train(algorithm: str, steps: int, seed: int = 0) -> tuple[autoprune.envs.Toy, BestSoFar, Any]:
    """Train one algorithm; the problem, the environment with its best policy, and the trained model."""
    module, name, env_id, settings = ALGORITHMS[algorithm]
    problem = autoprune.envs.toy(decisions=5)
    env = BestSoFar(
        gymnasium.make(env_id, space=problem.space, cost=problem.cost, limit=problem.limit, score=problem.score)
    )
    kind = getattr(importlib.import_module(module), name)
    model = kind("MlpPolicy", env, seed=seed, device="cpu", gamma=1.0, **settings)
    model.learn(steps)
    return problem, env, model


def main(arguments: list[str] | None = None) -> None:
    """Train as the command line says, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--algorithm", choices=ALGORITHMS, default="ppo")
    parser.add_argument("--steps", type=int, default=2048, help="decisions taken in training")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    problem, env, _ = train(given.algorithm, given.steps, given.seed)
    assert env.best is not None  # an episode has five decisions
    accuracy, choices = env.best
    print(f"found:   {accuracy:.4f}  {choices}")  # noqa: T201  # it is a program
    print(f"optimum: {problem.optimum()[0]:.4f}  {problem.optimum()[1]}")  # noqa: T201


if __name__ == "__main__":
    main()

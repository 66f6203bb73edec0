"""Networks of a study: first weights by seed, narrower ones of a wanted size, and which of their weights are pruned."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property

from torch import nn

from autoprune.errors import InputError
from autoprune.foundations.seeding import seeded
from autoprune.graph import Analysis, analyse
from autoprune.hardware.grid.widths import Grid
from autoprune.models import ZOO, build, parameter_count
from autoprune.models.copying import duplicate
from autoprune.pipeline.device import target_of
from autoprune.pipeline.task import Task, training_device
from autoprune.run.experiment import Experiment
from autoprune.space import SearchSpace, SpaceConstraints
from autoprune.techniques.space import space_of
from autoprune.techniques.sparsity.tensors import weights_of
from autoprune.training import TrainSettings
from autoprune.training.epochs import Remembered
from autoprune.training.recipe import Recipe

__all__ = ["Networks"]

_ANOTHER = 1_000_003  # added to a seed where other first weights are wanted


@dataclass(frozen=True, eq=False)
class Networks:
    """Makes the networks of a study.

    Attributes:
        task: Names the network; its own weights play no part.
        experiment: The settings.
    """

    task: Task
    experiment: Experiment
    _widths: dict[int, float] = field(default_factory=dict)

    @cached_property
    def analysis(self) -> Analysis:
        """The network's operators; nothing is cut, so nothing is proved."""
        return analyse(self.task.model, self.task.example, validate=False, blocks=False)

    @cached_property
    def proven(self) -> tuple[Analysis, SearchSpace]:
        """Couplings that may be cut, and widths on the target's grid; takes time."""
        return self._cuttable, self._widths_on(None)

    @cached_property
    def _cuttable(self) -> Analysis:
        return analyse(self.task.model, self.task.example)

    def _widths_on(self, grid: Grid | None) -> SearchSpace:
        limits = SpaceConstraints.parse(None, self.experiment.skip, None, (), ())  # the study's are of single weights
        target = target_of(self.experiment)
        return space_of(self._cuttable, limits, target=target, grid=grid, name=self.task.name)

    def require_widths(self) -> None:
        """Refuse a network that has no channels to spare, on the grid that the target is expected to have.

        Raises:
            InputError: If nothing can be narrower.
            UnsupportedModelError: If the network cannot be analysed.
        """
        space = self._widths_on(Grid.expected(target_of(self.experiment)))
        if not len(space):
            why = "; ".join(f"{name}: {reason}" for name, reason in list(space.frozen.items())[:3])
            raise InputError(f"--forms channels: nothing in {self.task.name} can be narrower ({why}); leave it out")

    @cached_property
    def schedule(self) -> TrainSettings:
        """The training of every arm: that of a dense network, from labels alone."""
        experiment = self.experiment
        recipe = Recipe.chosen(experiment, attention=self.analysis.has_attention)
        epochs = experiment.train_epochs or self.task.data.dense_epochs
        return replace(recipe.dense(epochs, experiment.seed), fused=True)

    @cached_property
    def rates(self) -> dict[str, float]:
        """Name of every weight that is pruned -> its rate.

        Raises:
            InputError: If there is none, or a pattern of a rate meets no layer.
        """
        skip, own = self.experiment.skip, self.experiment.layer_rates
        known = weights_of(self.analysis).weights.values()
        for pattern, _ in own:
            if not any(_meets(pattern, w.name, w.layer) for w in known):
                raise InputError(
                    f"--layer-rate {pattern} meets no layer; there are {', '.join(w.layer for w in known)}"
                )
        found = {}
        for weight in known:
            if any(_meets(pattern, weight.name, weight.layer) for pattern in skip):
                continue
            rates = [rate for pattern, rate in own if _meets(pattern, weight.name, weight.layer)]
            found[weight.name] = rates[-1] if rates else self.experiment.rate
        if not found:
            raise InputError(f"no weight of {self.task.name} can be pruned: it has no linear layer or convolution left")
        return found

    def batches(self, seed: int) -> Remembered:
        """What all arms of a seed learn from: the same images in the same order."""
        return Remembered(self.task.data.train, (seed + 1) * 100_003, self.schedule.epochs)

    def fresh(self, seed: int, *, another: bool = False) -> nn.Module:
        """The network with the first weights of a seed; or with others, which no seed of a study has.

        Raises:
            InputError: If a layer of a network that was handed over cannot draw first weights.
        """
        draw = seed + _ANOTHER if another else seed
        if self.task.remake is not None:
            made = build(self.experiment.model, **self.task.arguments, seed=draw)
        else:
            made = duplicate(self.task.model)
            with seeded(draw):
                _draw_anew(made)
        return made.to(training_device(self.experiment.device))

    def small(self, parameters: int, seed: int) -> nn.Module:
        """A narrower network of the zoo, with as many parameters as near as its width allows.

        Raises:
            InputError: If the network is none of the zoo.
        """
        name = self.experiment.model
        if name not in ZOO or self.task.remake is None:
            raise InputError(
                f"the control small needs a network that can be built narrower, one of the zoo ({', '.join(ZOO)});"
                f" leave it out of --controls for {self.task.name}"
            )
        if parameters not in self._widths:
            self._widths[parameters] = self._width_for(parameters)
        made = self._built(self._widths[parameters], seed)
        return made.to(training_device(self.experiment.device))

    def _built(self, width: float, seed: int) -> nn.Module:
        return build(self.experiment.model, **self.task.arguments, width=width, seed=seed)

    def _width_for(self, parameters: int) -> float:
        """By halving: sizes grow with the width."""

        def size(width: float) -> int:
            return parameter_count(self._built(width, 0))

        low, high = 1e-6, 1.0
        for _ in range(20):
            middle = (low + high) / 2
            low, high = (low, middle) if size(middle) > parameters else (middle, high)
        return min((low, high), key=lambda width: abs(size(width) - parameters))


def _meets(pattern: str, *names: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in names)


def _draw_anew(network: nn.Module) -> None:
    """Let every layer draw first weights, from torch's generator."""
    for name, module in network.named_modules():
        if not any(True for _ in module.parameters(recurse=False)):
            continue
        reset = getattr(module, "reset_parameters", None)
        if not callable(reset):
            raise InputError(
                f"{name or 'the network'} ({type(module).__name__}) has weights and no reset_parameters(), so it cannot"
                " start from other first weights; name a function that builds the network (--model package.module:name)"
            )
        reset()

"""The latency table of a model on a target: entries a layer, a correction, and how wrong its predictions are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoprune.cost.additive import AdditiveCost, Step
from autoprune.cost.least_squares import Errors, Prior, errors_of, fit_factors, fit_macs
from autoprune.errors import InputError
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.contract.protocol import Measurement
from autoprune.hardware.contract.target import Target
from autoprune.hardware.tables.content import Choices, TableContent
from autoprune.hardware.tables.correction import GROUPS, LOADS, Run, loads_of
from autoprune.hardware.tables.device_table import DeviceTable, better, check_fingerprint
from autoprune.hardware.tables.entries import Entry, call_overhead, measure_layers, times_layers
from autoprune.hardware.tables.errors import PredictionErrors
from autoprune.hardware.tables.file import read_table, write_table
from autoprune.hardware.tables.pricing import latency_cost
from autoprune.space import Policy

__all__ = ["LatencyTable"]

_FIT = ("fit", "search")
_ROLES = (*_FIT, "held-out")
_PRIOR_OF_FORMATS = Prior(0.2, 0.1)  # twice as many classes on as few runs
_UNKNOWN = -1.0  # in place of a reference's time that was not looked up yet
_EXACT = 0.005  # below, a table is good enough whatever multiply-accumulates say

Progress = Callable[[int, int, str], None]  # (done, all, what)


def _silent(done: int, total: int, what: str) -> None:
    return None


@dataclass
class LatencyTable(TableContent):
    """Prices policies of one model on one target: the measurements, with a correction fitted on whole networks."""

    def __post_init__(self) -> None:
        self._cost: AdditiveCost | None = None
        self._quiet: float | None = _UNKNOWN
        self._by_macs: bool | None = None

    @property
    def quiet(self) -> float | None:
        """As of the content; looked up once."""
        if self._quiet is _UNKNOWN:
            self._quiet = super().quiet
        return self._quiet

    # Filling it.

    def add(self, entries: Mapping[str, Entry]) -> None:
        """Take entries in, in place of what was known of the same layers."""
        self.entries.update(entries)
        self._forget()

    def merge(self, known: DeviceTable | LatencyTable) -> int:
        """Take over what another table has measured of these layers on the same device.

        Networks that were timed end to end are taken over from a table of the same model and space only.

        Returns:
            How many layers were not measured before.

        Raises:
            InputError: If it was measured elsewhere; names the difference.
        """
        check_fingerprint(known.fingerprint, self.fingerprint)
        wanted = self.layers()
        found = {key: each for key, each in known.entries.items() if key in wanted and each.source == "measured"}
        new = sum(self.source(key) != "measured" for key in found)
        self.add({key: better(self.entries.get(key), each) for key, each in found.items()})
        self.overhead = self.overhead or known.overhead
        if isinstance(known, LatencyTable) and known.operators == self.operators:
            same = (known.space.model, known.space.decisions) == (self.space.model, self.space.decisions)
            mine = list(self.runs)
            for run in known.runs if same else ():  # equal ones may be two: a small space has one policy twice
                if run in mine:
                    mine.remove(run)
                else:
                    self.add_runs([run])
        return new

    def add_runs(self, runs: Iterable[Run]) -> None:
        """Take in networks that were timed end to end."""
        self.runs.extend(runs)
        self._forget()

    def measure_missing(
        self,
        choices: Iterable[Choices],
        target: Target,
        progress: Progress = _silent,
        *,
        seconds: float = math.inf,
    ) -> int:
        """Measure exactly those layers of given policies that were only estimated, as far as the time goes.

        Args:
            choices: The policies that matter: what a search visits.
            target: The target of this table.
            progress: Called with (measured layers, all layers, what).
            seconds: After these no further batch of layers is begun; the first one is.

        Returns:
            How many layers were measured.

        Raises:
            InputError: If the target has another fingerprint.
            TargetError: If the target failed.
        """
        check_fingerprint(self.fingerprint, target.fingerprint())
        layers = self.visited(choices)
        missing = [layer for key, layer in layers.items() if self.source(key) != "measured"]
        if not missing or not times_layers(target, self.layers().values()):
            return 0
        protocol, measured = self.protocols["entries"].within(seconds), 0
        with target.session() as timer:
            overhead = call_overhead(timer, target, missing[0], protocol)
            batches = measure_layers(
                missing, target, timer, overhead, protocol, lambda done, total: progress(done, total, "layers")
            )
            for batch in batches:
                self.add(batch)
                measured += len(batch)
        return measured

    def refit(self, pairs: Sequence[tuple[Choices | Policy, float | Measurement]]) -> None:
        """Fit the correction again with further networks that were timed end to end.

        Args:
            pairs: Policy (or its choices) and what it was measured to take: a measurement, or bare milliseconds.

        Raises:
            InputError: If a policy does not fit the space or a latency is not positive.
        """
        for policy, taken in pairs:
            measured = taken if isinstance(taken, Measurement) else None
            ms = taken.ms if isinstance(taken, Measurement) else taken
            if not (np.isfinite(ms) and ms > 0):
                raise InputError(f"a measured latency must be positive, not {ms} ms")
            spread, conditions = (measured.spread, measured.stored_conditions()) if measured else (0.0, {})
            self.add_runs([Run(self.space.complete(_choices(policy)), float(ms), spread, "search", conditions)])

    # What it says.

    def cost(self) -> AdditiveCost:
        """The cost model in milliseconds; look-ups in arrays, so that pricing takes microseconds.

        By multiply-accumulates alone where the layers predict no better; see `is_by_macs`.

        Raises:
            InputError: If the table is not finished.
        """
        if self._cost is None:
            by_layers = (self.ms_of, self.factors)
            self._cost = latency_cost(
                self.space, self.operators, *(self._macs_alone() if self.is_by_macs else by_layers)
            )
        return self._cost

    @property
    def is_by_macs(self) -> bool:
        """Whether the layers predict networks that were timed at another time no better than multiply-accumulates.

        Never where number formats are decided on, which multiply-accumulates do not know.
        """
        if self._by_macs is None and self._has_formats:
            self._by_macs = False
        if self._by_macs is None:
            table, macs = self.error, self.macs_error
            self._by_macs = bool(table and macs and table.mean > _EXACT and table.mean >= macs.mean)
        return self._by_macs

    def _macs_alone(self) -> tuple[Callable[[Layer], float], dict[str, float]]:
        """Prices of layers in proportion to their multiply-accumulates, and the constant of a call."""
        runs = self.runs_of(*_ROLES)
        slope, constant = fit_macs(self._macs([run.choices for run in runs]), self._ms(runs))
        factors = dict.fromkeys(GROUPS, 1.0) | dict.fromkeys(LOADS, 0.0) | {"constant": float(constant)}
        return lambda layer: float(slope) * layer.macs, factors

    def predict(self, policy: Choices | Policy) -> float:
        """Predicted milliseconds of a policy; decisions that are not named are dense."""
        return self.cost().cost(_choices(policy))

    def marginal(self, choices: Choices | Policy) -> dict[str, Step]:
        """Milliseconds that one option less, and one more, of every decision would change; see `AdditiveCost`."""
        return self.cost().marginal(_choices(choices))

    @property
    def factors(self) -> dict[str, float]:
        """The correction: a factor for every class of layers, milliseconds a million weights fetched, and a `constant`.

        Fitted on every network that was timed end to end. Those on which errors are reported are among them, but not
        in the fit whose errors are reported.
        """
        return self._fitted(*_ROLES)

    @property
    def error(self) -> Errors | None:
        """Error of the predictions on networks that the correction never saw; None without such networks."""
        runs = self.runs_of("held-out")
        if not runs or not self.runs_of(*_FIT):
            return None
        prices = np.array([self._fitted(*_FIT)[name] for name in (*GROUPS, *LOADS, "constant")])
        sums = np.concatenate([self._sums(runs), self._loads(runs), np.ones((len(runs), 1))], axis=1)
        return errors_of(sums @ prices, self._ms(runs))

    @property
    def macs_error(self) -> Errors | None:
        """The same error for a fit on multiply-accumulates alone, from the same runs by the same procedure."""
        held_out = self.runs_of("held-out")
        if not held_out or not self.runs_of(*_FIT):
            return None
        return errors_of(self.by_macs([run.choices for run in held_out], _FIT), self._ms(held_out))

    def by_macs(self, choices: Sequence[Choices], roles: Sequence[str] = _ROLES) -> NDArray[np.float64]:
        """Milliseconds of full sets of choices, predicted by multiply-accumulates alone: the baseline."""
        fit = self.runs_of(*roles)
        slope, constant = fit_macs(self._macs([run.choices for run in fit]), self._ms(fit))
        return np.asarray(slope * self._macs(choices) + constant, dtype=np.float64)

    def _fitted(self, *roles: str) -> dict[str, float]:
        """The correction from networks in some roles."""
        runs = self.runs_of(*roles)
        if not runs:
            raise InputError("the latency table is not finished: no network was timed end to end; profile again")
        prior = _PRIOR_OF_FORMATS if self._has_formats else Prior()
        fitted = fit_factors(self._sums(runs), self._ms(runs), self._loads(runs), prior)
        return {name: float(value) for name, value in zip((*GROUPS, *LOADS, "constant"), fitted, strict=True)}

    def errors(self) -> PredictionErrors:
        """How much was measured and how far predictions are from measurements."""
        fitted_on = len(self.runs_of(*_FIT))
        target = self.fingerprint.get("target")
        found = self.error, self.macs_error, self.is_by_macs
        return PredictionErrors(target, len(self.entries), self.estimated, fitted_on, *found)

    def error_figures(self) -> dict[str, Any]:
        """The errors as JSON values; see `PredictionErrors`."""
        return self.errors().to_json()

    def summary(self) -> str:
        """One line for people; see `PredictionErrors`."""
        return self.errors().summary()

    # The file.

    def save(self, path: str | Path) -> None:
        """Write the table as JSON, atomically."""
        finished = self.complete
        correction, errors = (self.factors, self.errors()) if finished else (None, None)
        write_table(self, path, correction=correction, errors=errors)

    @classmethod
    def load(cls, path: str | Path) -> LatencyTable:
        """Read a table.

        Raises:
            InputError: If the file is missing or is not a latency table.
        """
        content = read_table(path)
        return cls(**{each.name: getattr(content, each.name) for each in fields(content)})

    # Inside.

    @property
    def _has_formats(self) -> bool:
        return any(operator.when for operator in self.operators)

    def _forget(self) -> None:
        self._cost, self._quiet, self._by_macs = None, _UNKNOWN, None

    def _ms(self, runs: Sequence[Run]) -> NDArray[np.float64]:
        return np.array([self.ms_of_run(run) for run in runs])

    def _sums(self, runs: Sequence[Run]) -> NDArray[np.float64]:
        """Milliseconds of the entries by class, shape (runs, classes)."""
        sums = np.zeros((len(runs), len(GROUPS)))
        for row, run in enumerate(runs):
            for operator, layer in self.executed(run.choices):
                sums[row, GROUPS.index(operator.layer.group)] += self.ms_of(layer)
        return sums

    def _loads(self, runs: Sequence[Run]) -> NDArray[np.float64]:
        """Millions of weights fetched, shape (runs, loads)."""
        rows = [[loads_of(layer) for _, layer in self.executed(run.choices)] for run in runs]
        return np.array([np.sum(row, axis=0) if row else np.zeros(len(LOADS)) for row in rows]).reshape(-1, len(LOADS))

    def _macs(self, choices: Sequence[Choices]) -> NDArray[np.float64]:
        return np.array([float(sum(layer.macs for _, layer in self.executed(each))) for each in choices])


def _choices(policy: Choices | Policy) -> Choices:
    return policy.choices if isinstance(policy, Policy) else policy

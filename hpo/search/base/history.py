"""History: what a worker knows of its study, kept up to date from changes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from hpo.search.base.curves import Curves, State
from hpo.search.base.param_encoding import Encoder

_GROWTH = 1.5
_STATES = {
    TrialState.WAITING: State.WAITING,
    TrialState.COMPLETE: State.COMPLETE,
    TrialState.PRUNED: State.PRUNED,
    TrialState.FAIL: State.FAILED,
}


@dataclass(frozen=True)
class ObservedTrial:
    """One trial as the database has it.

    Attributes:
        number: Its number.
        state: Where it stands.
        params: Its params; empty while they are not drawn.
        planned: Params that it will have when its objective asks for them; empty where a trial has
            all of its params at once, or where nothing was planned.
        values: The objective by epoch, counted from 1; non-finite values tell that it diverged.
        epoch_stop: Epoch to which it is, or was last, assigned; 0 if that is not known.
        final: Value of a complete trial.
        diverged: Whether it ended because its loss became NaN or infinite.
    """

    number: int
    state: State
    params: Mapping[str, Any]
    values: Mapping[int, float]
    epoch_stop: int = 0
    final: float | None = None
    diverged: bool = False
    planned: Mapping[str, Any] = field(default_factory=dict)


def state_of(state: TrialState, *, is_leased: bool = True) -> State:
    """Returns where a trial of Optuna's stands.

    Args:
        state: Its state.
        is_leased: Whether a worker holds it now, if it is RUNNING.
    """
    return _STATES.get(state, State.RUNNING if is_leased else State.PAUSED)


def row_of(trial: FrozenTrial, *, is_leased: bool = True, epoch_stop: int = 0) -> ObservedTrial:
    """Returns what a trial of Optuna's says.

    Args:
        trial: The trial; of several objectives none is taken as its value.
        is_leased: Whether a worker holds it now, if it is RUNNING.
        epoch_stop: The epoch to which its lease goes.
    """
    values = trial.values or []
    value = values[0] if len(values) == 1 and trial.state == TrialState.COMPLETE else None
    return ObservedTrial(
        number=trial.number,
        state=state_of(trial.state, is_leased=is_leased),
        params=trial.params,
        values={step: v for step, v in trial.intermediate_values.items() if step > 0},
        epoch_stop=epoch_stop,
        final=value,
        diverged=trial.state == TrialState.PRUNED and not trial.intermediate_values,
    )


class History:
    """Gathers rows and single reports; not for several threads.

    Args:
        encoder: The study's searched parameters.
        horizon: Most epochs of one trial.
        maximize: Whether larger values are better.
    """

    def __init__(self, encoder: Encoder, horizon: int, maximize: bool) -> None:
        self.encoder = encoder
        self.horizon = horizon
        self.maximize = maximize
        self._n = 0
        self._arrays = _empty(0, max(horizon, 1), len(encoder))
        self._params: list[Mapping[str, Any]] = []

    def put(self, row: ObservedTrial) -> None:
        """Enters a trial, or replaces what was known of it."""
        self._reserve(row.number + 1)
        i, sign, a = row.number, 1.0 if self.maximize else -1.0, self._arrays
        a["states"][i] = row.state
        a["targets"][i] = row.epoch_stop
        a["finals"][i] = math.nan if row.final is None else sign * row.final
        a["diverged"][i] |= row.diverged
        if row.params != self._params[i]:
            # An objective asks for one after another, and may ask for other ranges than planned.
            a["points"][i] = self.encoder.encode([row.params])[0]
            self._params[i] = row.params
        for epoch, value in row.values.items():
            self._report(i, epoch, sign * value)

    def report(self, number: int, epoch: int, value: float) -> None:
        """Enters one epoch of a trial that is known; a second report of it changes nothing."""
        self._report(number, epoch, value if self.maximize else -value)

    def reach(self, number: int, epoch: int, value: float) -> None:
        """Enters the value of a trial that has come to the epoch to which it was assigned."""
        self._reserve(number + 1)
        self._arrays["states"][number] = State.RUNNING
        self._arrays["targets"][number] = epoch
        self.report(number, epoch, value)

    def curves(self) -> Curves:
        """Returns what is known now; later reports do not change it."""
        n, a = self._n, self._arrays
        # Numbers may be missing where another worker's newest trial has not been read yet.
        known = np.flatnonzero(a["states"][:n] >= 0)
        epochs = a["epochs"][known]
        n_columns = int(epochs.max(initial=0))
        return Curves(
            numbers=known.astype(np.int64),
            states=a["states"][known],
            epochs=epochs,
            targets=a["targets"][known],
            values=a["values"][known, :n_columns],
            finals=a["finals"][known],
            diverged=a["diverged"][known],
            points=a["points"][known],
            horizon=self.horizon,
            maximize=self.maximize,
        )

    def _report(self, i: int, epoch: int, value: float) -> None:
        a = self._arrays
        if not 1 <= epoch <= a["values"].shape[1]:
            return
        a["epochs"][i] = max(a["epochs"][i], epoch)
        if not math.isfinite(value):
            a["diverged"][i] = True
        elif math.isnan(a["values"][i, epoch - 1]):
            a["values"][i, epoch - 1] = value

    def _reserve(self, n: int) -> None:
        capacity = len(self._arrays["states"])
        if n > capacity:
            size = max(n, int(capacity * _GROWTH), 64)
            bigger = _empty(size, max(self.horizon, 1), len(self.encoder))
            for name, array in self._arrays.items():
                bigger[name][:capacity] = array
            self._arrays = bigger
        self._n = max(self._n, n)
        self._params += [{}] * (self._n - len(self._params))


def _empty(n: int, n_epochs: int, n_params: int) -> dict[str, Any]:
    return {
        "states": np.full(n, -1, dtype=np.int64),
        "epochs": np.zeros(n, dtype=np.int64),
        "targets": np.zeros(n, dtype=np.int64),
        "values": np.full((n, n_epochs), np.nan),
        "finals": np.full(n, np.nan),
        "diverged": np.zeros(n, dtype=bool),
        "points": np.full((n, n_params), np.nan),
    }

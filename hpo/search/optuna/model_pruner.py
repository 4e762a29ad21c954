"""The model of freeze-thaw as a pruner of Optuna's: which trials of an objective are hopeless."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace

from optuna import Study
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from hpo.search.base.curves import Ints
from hpo.search.base.decisions import Note
from hpo.search.model.freeze_thaw import FreezeThaw, Settings
from hpo.search.optuna.inferred_space import found
from hpo.search.optuna.model_sampler import encoder_for, sign_of
from hpo.search.optuna.reported_values import Reports
from hpo.search.optuna.study_curves import epoch_before, epoch_of, reported_curves
from hpo.spec.space.search_space import SearchSpace

_FEWEST_REPORTED = 8
# Where the rungs are changes with what others report: so many times as many reports of the trial
# are worth a new look.
_GROWN = 1.4
_MOST_LOOKS = 1024
_FRESH = 1.25


@dataclass(frozen=True)
class Look:
    """What a look at all trials tells about the next one.

    Attributes:
        steps: Those that trials had reported at.
        rungs: Epochs at which trials are judged, as counted by these steps.
        n_reports: Of the trial, at that time.
    """

    steps: Ints
    rungs: tuple[int, ...]
    n_reports: int

    def is_due_again(self, trial: FrozenTrial) -> bool:
        """Tells whether the trial's latest report is worth looking at all trials again."""
        n = len(trial.intermediate_values)
        if n > self.n_reports and n >= math.ceil(_GROWN * self.n_reports):
            return True
        before, now = (
            epoch_before(trial, self.steps),
            epoch_of(max(trial.intermediate_values), self.steps),
        )
        return any(before < rung <= now for rung in self.rungs)


class Recollection:
    """What the model has learnt before, but for when it should look at everything afresh.

    Going on from hyperparameters that explained few trials it may never leave them, though others
    explain all trials far better: then it takes what it sees for noise.
    """

    def __init__(self) -> None:
        self._fresh_at = 0
        self.memory: Note = {}

    def at(self, number: int) -> Note:
        """Returns the memory for the decision about a trial."""
        if number >= self._fresh_at:
            self._fresh_at = int(number * _FRESH) + 1
            self.memory = {}
        return self.memory


class ModelPruner(BasePruner):
    """Stops a trial that will hardly become the best one, by the same model.

    It decides at rungs. Between them it does not even look at the other trials, but for a look
    now and then by which it learns where the rungs are.

    Args:
        space: The parameters and their conditions, where they are known beforehand. An empty one
            is found by what the trials ask for.
        settings: How to search.
    """

    def __init__(self, space: SearchSpace | None = None, settings: Settings | None = None) -> None:
        self._space = space or SearchSpace()
        self._settings = settings or Settings()
        self._known = Recollection()
        self._reports = Reports()
        self._looks: dict[Hashable, Look] = {}

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Tells whether to stop a trial after what it has reported."""
        if trial.last_step is None:
            return False
        # Studies number their trials alike.
        key = (trial.number, trial.datetime_start)
        look = self._looks.pop(key, None)
        if look is not None and not look.is_due_again(trial):
            self._looks[key] = look
            return False
        is_hopeless, self._looks[key] = self._judged(study, trial)
        while len(self._looks) > _MOST_LOOKS:
            self._looks.pop(next(iter(self._looks)))
        return is_hopeless

    def _judged(self, study: Study, trial: FrozenTrial) -> tuple[bool, Look]:
        """Looks at all trials; returns the answer, and when to look again."""
        trials = study.get_trials(deepcopy=False)
        steps = self._reports.steps(trials)
        blind = Look(steps, (), len(trial.intermediate_values))
        if sum(bool(one.intermediate_values) for one in trials) <= _FEWEST_REPORTED:
            return False, blind
        kinds = found(trials)
        if not kinds:
            return False, blind
        encoder = encoder_for(self._space, kinds, trials)
        curves = reported_curves(trials, encoder, sign_of(study), self._reports)
        model = FreezeThaw(encoder, self._settings)
        memory, before = self._known.at(trial.number), epoch_before(trial, steps)
        hopeless, self._known.memory = model.hopeless(curves, [trial.number], memory, [before])
        return hopeless[0], replace(blind, rungs=model.rungs(curves)[:-1])

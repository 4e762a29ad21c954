"""Study forecast: the likely gain of more trials. Loads PyTorch and takes about a second."""

from __future__ import annotations

from hpo.report.study_queries import Subject
from hpo.search.base.history import History, row_of
from hpo.search.base.param_encoding import Encoder
from hpo.search.model.forecast import Forecast, forecast
from hpo.search.optuna.study_search import Search
from hpo.store.db.database import Database
from hpo.store.optuna.storage import Storage


def outlook(db: Database, subject: Subject) -> Forecast | None:
    """Returns the surrogate model's forecast of a study's next trials.

    Returns:
        The outlook; None for several objectives, for a study that Optuna created, and while no
        trial has a value.
    """
    spec = subject.spec
    if spec is None or len(spec.directions) > 1 or not len(spec.space):
        return None
    trials = Search(spec, Storage(db)).trials()
    steps = max((max(t.intermediate_values, default=0) for t in trials), default=0)
    # An objective defines its own steps.
    horizon = spec.budget.epochs if spec.declares_epochs else max(1, steps)
    history = History(Encoder.of_space(spec.space), horizon, spec.directions[0] == "maximize")
    for trial in trials:
        history.put(row_of(trial))
    return forecast(spec, history.curves())

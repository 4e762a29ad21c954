"""A finished or running study as Python code sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import HpoError
from hpo.run.artifacts import Artifacts
from hpo.search.distributions import complete
from hpo.spec.study import StudySpec
from hpo.store import studies
from hpo.store.database import Database
from hpo.store.storage import Storage

if TYPE_CHECKING:
    import optuna
    import pandas

    from hpo.train.task import Task


@dataclass(frozen=True)
class Best:
    """The best complete trial of a study.

    Attributes:
        number: Counted within the study from 0.
        value: Its objective, measured on validation data.
        params: Value of every parameter, the fixed ones included.
        epoch: The epoch that reached the value; None for an Optuna objective.
        test: Metrics on test data, which the search never sees.
        model: File with the weights of that epoch, where this machine has it.
    """

    number: int
    value: float
    params: Mapping[str, Any]
    epoch: int | None
    test: Mapping[str, float]
    model: Path | None


class Study:
    """Reads a study from its database.

    Args:
        db: The database.
        name: The study's name.
        artifacts: Root folder of the study's files, if it is not the default one.
    """

    def __init__(self, db: Database, name: str, artifacts: str | None = None) -> None:
        self._db = db
        self.name = name
        self._root = artifacts

    @property
    def spec(self) -> StudySpec:
        """The study's description."""
        return studies.load(self._db, self.name).spec

    @property
    def state(self) -> str:
        """``active``, ``paused``, ``stopped`` or ``done``."""
        return studies.load(self._db, self.name).state

    @property
    def optuna(self) -> optuna.Study:
        """The Optuna study itself: for plots, importances and whatever else Optuna offers."""
        import optuna

        return optuna.load_study(study_name=self.name, storage=Storage(self._db))

    @property
    def trials(self) -> pandas.DataFrame:
        """One row a trial, with its state, value, params and attributes."""
        return self.optuna.trials_dataframe()

    @property
    def best(self) -> Best:
        """The best complete trial.

        Raises:
            HpoError: No trial is complete yet, or the study has several objectives.
        """
        study = self.optuna
        if len(study.directions) > 1:
            raise HpoError(
                f"{self.name} has several objectives, so no single best trial",
                hint="study.optuna.best_trials is the Pareto front",
            )
        try:
            trial = study.best_trial
        except ValueError:
            raise HpoError(f"{self.name} has no complete trial yet") from None
        assert trial.value is not None
        attrs = trial.user_attrs
        return Best(
            number=trial.number,
            value=trial.value,
            params=complete(trial.params, self.spec.space) or trial.params,
            epoch=attrs.get("best_epoch"),
            test={name: v for name, v in attrs.items() if name.startswith("test_")},
            model=self._artifacts.find_model(trial.number),
        )

    @property
    def _artifacts(self) -> Artifacts:
        return Artifacts.of(studies.load(self._db, self.name).files, self._db.url, self._root)

    def predict(self, x: Any, task: Task | None = None) -> pandas.DataFrame:
        """Predicts samples that the study has not seen, by the best trial as it was tested.

        Models of several folds and seeds predict together, by the mean of their outputs.

        Args:
            x: Samples as the task's data has its features; of ``tabular`` a table like the study's,
                with or without the target.
            task: The study's task, where it is code of a file: that runs only where it is given.

        Returns:
            A row a sample: the probability of each class, or the numbers of a regression.

        Raises:
            HpoError: There is no best trial, or no model of it on this machine.
            TaskError: The task cannot be loaded, its code raises, or columns are missing.
        """
        from hpo.run.predicting import predictions
        from hpo.tasks.resolve import resolve

        record, model = studies.load(self._db, self.name), self.best.model
        spec = record.spec
        if model is None or spec.task is None:
            raise HpoError(f"{self.name} has no model of its best trial here")
        if task is None:
            task = resolve(spec.task, spec.task_options, Path(record.base_dir or "."))
        return predictions(task, spec.validation, model, x)

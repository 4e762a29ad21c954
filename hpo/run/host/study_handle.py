"""Study handle: a finished or running study for Python code."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import HpoError, SpecError
from hpo.run.files.artifacts import Artifacts, identity_of
from hpo.run.host import notebook
from hpo.run.link.trial_seeds import seed_of
from hpo.search.base.distributions import complete
from hpo.spec.study_spec import StudySpec
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.optuna.storage import Storage
from hpo.store.rows.held_out_metrics import PREFIX, test_metrics
from hpo.store.studies import study_records
from hpo.store.studies.study_records import StudyRecord

if TYPE_CHECKING:
    import optuna
    import pandas
    from optuna.trial import FrozenTrial

    from hpo.run.files.prediction import TrainedModel
    from hpo.train.task import Task


@dataclass(frozen=True)
class BestTrial:
    """The best complete trial of a study.

    Attributes:
        number: Counted within the study from 0.
        value: Its objective, measured on validation data.
        params: Value of every parameter, the fixed ones included.
        epoch: The epoch that reached the value; None for an Optuna objective.
        test: Metrics on test data, which the search never sees; empty while the study runs.
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

    def __repr__(self) -> str:
        try:
            return f"<Study {notebook.summary(self._db, self._record).text}>"
        except HpoError as error:
            return f"<Study {self.name}: {error.message}>"

    def _repr_html_(self) -> str:
        """Returns the study as a notebook shows it."""
        return notebook.card(notebook.summary(self._db, self._record))

    def watch(self, interval_s: float = 1.0) -> None:
        """Shows the study in a notebook while it runs anywhere, until it ends.

        An interrupt of the notebook ends the watching, not the study.

        Args:
            interval_s: Seconds between two looks at whether it has ended.
        """
        draw = notebook.live_display(self._db, self._record)
        with contextlib.suppress(KeyboardInterrupt):
            while self.state in ("active", "paused"):
                if draw is not None:
                    draw()
                time.sleep(interval_s)
        if draw is not None:
            draw()

    @property
    def _record(self) -> StudyRecord:
        return study_records.load(self._db, self.name)

    @property
    def spec(self) -> StudySpec:
        """The study's description."""
        return study_records.load(self._db, self.name).spec

    @property
    def state(self) -> str:
        """``active``, ``paused``, ``stopped`` or ``done``."""
        return study_records.load(self._db, self.name).state

    @property
    def optuna(self) -> optuna.Study:
        """The Optuna study itself: for plots, importances and whatever else Optuna offers."""
        import optuna

        return optuna.load_study(study_name=self.name, storage=Storage(self._db))

    @property
    def trials(self) -> pandas.DataFrame:
        """One row a trial, with its state, value, params and attributes, without test metrics."""
        frame = self.optuna.trials_dataframe()
        hidden = f"user_attrs_{PREFIX}"
        return frame[[name for name in frame.columns if not str(name).startswith(hidden)]]

    @property
    def best(self) -> BestTrial:
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
        found = self._found(trial)
        shows_test = self.state in ("done", "stopped")
        return replace(found, test=test_metrics(trial.user_attrs)) if shows_test else found

    def _found(self, trial: FrozenTrial) -> BestTrial:
        """Returns a complete trial, without metrics on test data."""
        assert trial.value is not None
        return BestTrial(
            number=trial.number,
            value=trial.value,
            params=complete(trial.params, self.spec.space) or trial.params,
            epoch=trial.user_attrs.get("best_epoch"),
            test={},
            model=self._artifacts.find_model(trial.number),
        )

    def _complete_trial(self, number: int) -> BestTrial:
        """Returns any complete trial, without metrics on test data.

        Raises:
            SpecError: There is no such trial, or it is not complete.
        """
        storage = Storage(self._db)
        study_id = storage.get_study_id_from_name(self.name)
        try:
            trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, number)
        except KeyError:
            n = storage.get_n_trials(study_id)
            there = f"its trials are 0 to {n - 1}" if n else "it has none"
            raise SpecError(f"{self.name} has no trial {number}; {there}") from None
        trial = storage.get_trial(trial_id)
        if trial.state.name != "COMPLETE":
            raise SpecError(
                f"trial {number} of {self.name} is {trial.state.name}; only a complete one has a "
                "model"
            )
        return self._found(trial)

    @property
    def _artifacts(self) -> Artifacts:
        return Artifacts.of(study_records.load(self._db, self.name), self._db.url, self._root)

    def load_model(
        self, task: Task | None = None, allow: Sequence[str] = (), trial: int | None = None
    ) -> TrainedModel:
        """Loads the models of the best trial, to predict with.

        Args:
            task: The study's task, where it is code of a file: that runs only where it is given.
            allow: In place of ``task``: references of code that may run here.
            trial: Number of another trial, whose model must be on this machine.

        Raises:
            SpecError: There is no such trial, or it is not complete.
            HpoError: There is no best trial, or no model of it on this machine.
            TaskError: The task cannot be loaded, or its code raises.
        """
        from hpo.run.files import prediction
        from hpo.run.files.older_models import completed
        from hpo.tasks.code.resolve import Allow, resolve

        record = study_records.load(self._db, self.name)
        best = self.best if trial is None else self._complete_trial(trial)
        spec, path = record.spec, best.model
        if spec.command is not None:
            folder = self._artifacts.trial_folder(best.number)
            raise HpoError(
                f"{self.name} runs a command, whose models are its script's own",
                hint=f"the best trial's folder is {folder}",
            )
        if spec.task is None:
            raise HpoError(f"{self.name} runs an objective, and has no model to predict with")
        if path is None and trial is not None:
            raise HpoError(
                f"{self.name} has no model of trial {trial} here",
                hint="a study keeps the model of its best trial only",
            )
        if path is None:
            raise HpoError(
                f"{self.name} has no model of its best trial here",
                hint="it lies where the trial was trained, unless machines share --artifacts",
            )
        base_dir = Path.cwd() if allow else Path(record.base_dir or ".")
        saved = prediction.read_model(path)
        seed = seed_of(self._db, spec.seed, record.study_id, best.number)
        _require_model_of(saved, path, best, record, seed)
        if not prediction.is_complete(saved):
            code = Allow(tuple(allow))
            task = task or resolve(spec.task, spec.task_options, base_dir, code)
            saved = completed(saved, path, task, spec)
        return prediction.trained_model(path, saved, task, base_dir, Allow(tuple(allow)))

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
        return self.load_model(task).predict(x)


def open(
    name: str | None = None, *, storage: str | None = None, artifacts: str | None = None
) -> Study:
    """Opens a study of a database, to look at it and to predict with it; it runs nothing.

    Args:
        name: Of the study; may be left out where the database holds only one.
        storage: URL of the database; by default ``$HPO_STORAGE``, else ``sqlite:///hpo.db``.
        artifacts: Folder for checkpoints and models, if not the default one.

    Raises:
        SpecError: There is no such study, or several and none was named.
        StoreError: The database cannot be used, or Optuna alone made the study.
    """
    try:
        db = open_database(storage)
    except HpoError:
        if name is not None:
            study_records.refuse_optunas_own(storage, name)
        raise
    if name is None:
        known = study_records.names(db)
        if len(known) != 1:
            several = f"several studies: {', '.join(known[:10])}" if known else "no study"
            raise SpecError(f"{db.masked_url} has {several}; name one: hpo.open(NAME)")
        name = known[0]
    return Study(db, study_records.load(db, name).name, artifacts)


def _require_model_of(
    saved: Mapping[str, Any], path: Path, best: BestTrial, record: StudyRecord, seed: int
) -> None:
    """Refuses the file of another trial, or of another study.

    Raises:
        HpoError: It says that it is one, or its params or values are not the trial's.
    """
    spec = record.spec
    about = saved.get("trial")
    if about is not None:
        known = (about.get("study_id"), about.get("number"), about.get("seed"))
        is_it = known == (identity_of(record), best.number, seed)
    else:
        # Older versions wrote no names, but what the trial reached.
        reached = saved.get("metrics", {}).get(spec.metrics[0])
        is_it = reached == best.value and saved.get("epoch") == best.epoch
    params = saved.get("params", {})
    if not is_it or any(params.get(name) != value for name, value in best.params.items()):
        whose = f"; it is trial {about.get('number')} of {about.get('study')}" if about else ""
        raise HpoError(
            f"{path} is not the model of trial {best.number} of {record.name}{whose}",
            hint=f"was it copied there, or written by another database? `hpo predict {path} FILE` "
            "predicts with it all the same",
        )

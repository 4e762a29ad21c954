"""The command ``hpo predict``: predicts new rows with the models of a study or of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hpo.cli.gc_pause import quickly
from hpo.cli.messages import say
from hpo.cli.options import Command, OutputFile, format_option, storage_option
from hpo.cli.output import emit, writing
from hpo.errors import SpecError, did_you_mean
from hpo.report.study_queries import find
from hpo.report.text.text_tables import TextColumn, by_key
from hpo.store.db.opening import open_database

if TYPE_CHECKING:
    from pandas import DataFrame

    from hpo.run.files.prediction import TrainedModel

N_SHOWN: Final = 20
ENDINGS: Final = ("csv", "parquet")
ARRAYS: Final = ".npy"
MODEL: Final = ".pt"


@click.command(cls=Command)
@click.argument("words", nargs=-1, metavar="[STUDY|MODEL] FILE")
@storage_option
@click.option(
    "-o",
    "--output",
    type=OutputFile(ENDINGS),
    metavar="FILE",
    help=f"File to write every row to; its ending is the format: {' or '.join(ENDINGS)}.",
)
@click.option(
    "--artifacts",
    metavar="FOLDER",
    type=click.Path(file_okay=False),
    help="Folder of the models, if it is not the default one.",
)
@click.option(
    "--allow",
    multiple=True,
    metavar="REFERENCE",
    help="Allow the study's task to run here, if its code is in a file.",
)
@format_option()
def predict(
    words: Sequence[str],
    storage: str | None,
    output: Path | None,
    artifacts: str | None,
    allow: Sequence[str],
    form: str,
) -> None:
    """Predict new samples with the models of the best trial.

    FILE is a table (.csv, .tsv or .parquet) with the columns of the study's table, with or without
    the target. For a task whose samples are arrays it is a .npy file. The output has the
    probability of each class, or the predicted numbers of a regression.

    MODEL is a model file (.pt), whose path `hpo best` shows, or a copy of it. It needs neither the
    study's database nor its data.
    """
    name, path = _subject_and_file(words)
    # Checked first, because it is fast and loading the model is not.
    array = _read_array(path) if path.suffix.lower() == ARRAYS else None
    model = _loaded(name, storage, artifacts, tuple(allow))
    found = _with_predictions(model.predict(_read(path, model) if array is None else array))
    if output is not None:
        _write(found, output)
        return
    rows: list[dict[str, Any]] = found.to_dict("records")
    shown = rows[:N_SHOWN] if form == "table" else rows
    emit(form, [_column(key, found[key]) for key in found], shown)
    if len(shown) < len(rows):
        say(f" ... and {len(rows) - len(shown)} more; -o FILE.csv writes all of them")


def _subject_and_file(words: Sequence[str]) -> tuple[str | None, Path]:
    if not 1 <= len(words) <= 2:
        raise SpecError(
            f"expected a study and a file, or a file alone; found {len(words)} words",
            hint="hpo predict STUDY new.csv",
        )
    if words[-1].lower().endswith(MODEL):
        raise SpecError(
            f"{words[-1]} is a model file; the rows to predict must follow it",
            hint=f"hpo predict {words[-1]} new.csv",
        )
    return (words[0] if len(words) == 2 else None), Path(words[-1])


def _loaded(
    name: str | None, storage: str | None, artifacts: str | None, allow: tuple[str, ...]
) -> TrainedModel:
    """Loads the models of a study's best trial, or the models of a file."""
    is_file = name is not None and name.lower().endswith(MODEL)
    if name is not None and is_file:
        # PyTorch takes a second to load: not for a mistyped name.
        require_model_file(name)
        with quickly():
            from hpo.run.files.prediction import load_model
        return load_model(name, allow=allow)
    db = open_database(storage)
    subject = find(db, name)
    with quickly():
        from hpo.run.host.study_handle import Study
    return Study(db, subject.name, artifacts).load_model(allow=allow)


def require_model_file(name: str) -> None:
    """Refuses the name of a model file that is not there.

    Raises:
        SpecError: It names the nearest one.
    """
    if not Path(name).is_file():
        raise SpecError(f"no file {name}{_near(Path(name))}")


def _near(path: Path) -> str:
    files = path.parent.glob(f"*{MODEL}") if path.parent.is_dir() else ()
    return did_you_mean(path.name, [file.name for file in files])


def _read(path: Path, model: TrainedModel) -> Any:
    """Reads a table in the form that the models' task takes.

    Raises:
        SpecError: The file does not exist, or does not hold samples.
    """
    from hpo.tasks.tables.table_files import read_table

    own = getattr(model.task, "read", None)
    try:
        return own(path) if callable(own) else read_table(path)
    except SpecError as error:
        # The problems' keys name options of the study's own table.
        reasons = "; ".join(problem.message for problem in error.problems)
        raise SpecError(reasons or str(error)) from error


def _read_array(path: Path) -> Any:
    import numpy as np
    import torch

    try:
        found = np.load(path, allow_pickle=False)
        return torch.from_numpy(found)
    except FileNotFoundError as error:
        raise SpecError(f"no file {path}") from error
    except (OSError, ValueError, TypeError, EOFError) as error:
        reason = str(error).partition("\n")[0]
        raise SpecError(f"{path} does not hold an array of numbers: {reason}") from error


def _with_predictions(found: DataFrame) -> DataFrame:
    """Returns a table of predictions: row number from 1, prediction, probabilities."""
    from pandas import DataFrame, RangeIndex

    numbers: dict[str, Any] = {"row": range(1, len(found) + 1)}
    if isinstance(found.columns, RangeIndex):
        # No classes: the predicted numbers; a regression usually has one.
        names = ["prediction"] if found.shape[1] == 1 else [f"output {i}" for i in found]
        numbers |= {name: found[i].to_numpy() for name, i in zip(names, found, strict=True)}
    else:
        numbers["prediction"] = found.idxmax(axis=1).to_numpy()
        numbers |= {f"p({name})": found[name].to_numpy() for name in found}
    return DataFrame(numbers)


def _column(key: str, values: Any) -> TextColumn:
    """Returns a column of a table, with short probabilities and full numbers of a regression."""
    is_share = key.startswith("p(")
    if is_share or values.dtype.kind != "f":
        return by_key(key, right=True)
    return TextColumn(key, lambda row: f"{row[key]:.12g}", right=True)


def _write(found: DataFrame, path: Path) -> None:
    with writing(path):
        if path.suffix.lower() == ".csv":
            found.to_csv(path, index=False)
        else:
            found.to_parquet(path, index=False)
    say(f"wrote {path}, {len(found)} rows")

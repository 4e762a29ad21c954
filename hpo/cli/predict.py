"""``hpo predict``: rows that a study has not seen, by the models of its best trial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hpo.cli.loading import quickly
from hpo.cli.messages import say
from hpo.cli.options import Command, OutputFile, format_option, storage_option
from hpo.cli.output import emit, writing
from hpo.errors import HpoError, SpecError
from hpo.report.queries import find
from hpo.report.tables import by_key
from hpo.store.database import Database

if TYPE_CHECKING:
    from pandas import DataFrame

    from hpo.spec.study import StudySpec

N_SHOWN: Final = 20
ENDINGS: Final = ("csv", "parquet")
ARRAYS: Final = ".npy"


@click.command(cls=Command)
@click.argument("words", nargs=-1, metavar="[STUDY] FILE")
@storage_option
@click.option(
    "-o",
    "--output",
    type=OutputFile(ENDINGS),
    metavar="FILE",
    help=f"Where to, with every row; the ending is the format: {' or '.join(ENDINGS)}.",
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
    help="The study's task, if it is code of a file: it runs only where it is allowed.",
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
    """Predict new samples with the best trial's models, as they were tested.

    FILE is a table with the columns of the study's own, with or without its target: .csv, .tsv
    or .parquet. For a task whose samples are arrays it is a .npy file. The probability of each
    class is told, or the numbers of a regression.
    """
    name, path = _study_and_file(words)
    db = Database.open(storage)
    subject = find(db, name)
    # PyTorch takes a second to load: not for a mistyped name.
    with quickly():
        from hpo.run.study import Study
        from hpo.store import studies
        from hpo.tasks.resolve import Allow, resolve

    study, record = Study(db, subject.name, artifacts), studies.load(db, subject.name)
    spec = record.spec
    if spec.task is None:
        raise HpoError(f"{subject.name} runs an objective, and has no model to predict with")
    samples = _read(path, spec)
    base_dir = Path.cwd() if allow else Path(record.base_dir or ".")
    task = resolve(spec.task, spec.task_options, base_dir, Allow(tuple(allow)))
    found = _with_predictions(study.predict(samples, task=task))
    if output is not None:
        _write(found, output)
        return
    rows: list[dict[str, Any]] = found.to_dict("records")
    shown = rows[:N_SHOWN] if form == "table" else rows
    emit(form, [by_key(key, right=True) for key in found], shown)
    if len(shown) < len(rows):
        say(f" ... and {len(rows) - len(shown)} more; -o FILE.csv writes all of them")


def _study_and_file(words: Sequence[str]) -> tuple[str | None, Path]:
    if not 1 <= len(words) <= 2:
        raise SpecError(
            f"a study and a file are wanted, or a file alone; found {len(words)} words",
            hint="hpo predict STUDY new.csv",
        )
    return (words[0] if len(words) == 2 else None), Path(words[-1])


def _read(path: Path, spec: StudySpec) -> Any:
    """Reads samples as the study's task takes them.

    Raises:
        SpecError: There is no such file, or it does not hold samples.
    """
    if path.suffix.lower() == ARRAYS:
        return _read_array(path)
    from hpo.tasks.tables import read_table

    options = spec.task_options
    try:
        is_own = spec.task != "tabular"
        return read_table(
            path, options.get("separator"), options.get("encoding"), as_text=not is_own
        )
    except SpecError as error:
        # It speaks of the study's own table.
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
        raise SpecError(f"{path} holds no array of numbers: {reason}") from error


def _with_predictions(found: DataFrame) -> DataFrame:
    """Returns a table of predictions: the row counted from 1, what it is, and how sure that is."""
    from pandas import DataFrame, RangeIndex

    numbers: dict[str, Any] = {"row": range(1, len(found) + 1)}
    if isinstance(found.columns, RangeIndex):
        # No classes: the numbers themselves, of which a regression mostly has one.
        names = ["prediction"] if found.shape[1] == 1 else [f"output {i}" for i in found]
        numbers |= {name: found[i].to_numpy() for name, i in zip(names, found, strict=True)}
    else:
        numbers["prediction"] = found.idxmax(axis=1).to_numpy()
        numbers |= {f"p({name})": found[name].to_numpy() for name in found}
    return DataFrame(numbers)


def _write(found: DataFrame, path: Path) -> None:
    with writing(path):
        if path.suffix.lower() == ".csv":
            found.to_csv(path, index=False)
        else:
            found.to_parquet(path, index=False)
    say(f"wrote {path}, {len(found)} rows")

"""The command ``hpo export``: writes a trained model as a folder that predicts without hpo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo.cli.commands.predict import MODEL, require_model_file
from hpo.cli.gc_pause import quickly
from hpo.cli.messages import say, warn
from hpo.cli.options import Command, storage_option
from hpo.errors import SpecError, TaskError
from hpo.report.study_queries import find
from hpo.run.exporting.folder_files import require_free
from hpo.store.db.opening import open_database
from hpo.store.studies import provenance

if TYPE_CHECKING:
    from hpo.run.exporting.export_folder import Exported
    from hpo.run.files.prediction import TrainedModel
    from hpo.spec.study_spec import StudySpec


@dataclass(frozen=True)
class _Chosen:
    """The model to export, with what a card tells of its study."""

    model: TrainedModel
    name: str
    test: Mapping[str, float] = field(default_factory=dict)
    search: str = ""


@click.command(cls=Command)
@click.argument("name", required=False, metavar="[STUDY|MODEL]")
@storage_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="New folder; one that holds other files is refused.",
)
@click.option(
    "--trial",
    type=click.IntRange(min=0),
    metavar="N",
    help="Trial to export, if it is not the best one; its model must be on this machine.",
)
@click.option("--onnx", is_flag=True, help="Write the model as ONNX, too.")
@click.option(
    "--mlflow",
    metavar="URI",
    help="Register the model in MLflow: sqlite:///mlflow.db, a folder, or a server's URL.",
)
@click.option(
    "--artifacts",
    metavar="FOLDER",
    type=click.Path(file_okay=False),
    help="Folder of the study's models, if it is not the default one.",
)
@click.option(
    "--allow",
    multiple=True,
    metavar="REFERENCE",
    help="Allow the study's task to run here, if its code is in a file.",
)
def export(
    name: str | None,
    storage: str | None,
    output: Path,
    trial: int | None,
    onnx: bool,
    mlflow: str | None,
    artifacts: str | None,
    allow: Sequence[str],
) -> None:
    """Export the best trial's model as a folder that predicts without hpo.

    The folder has the weights (safetensors), the whole model with its preprocessing (torch.export),
    params and metrics, a model card, and predict.py, which needs PyTorch alone.

    MODEL is a model file (.pt), whose path `hpo best` shows, or a copy of it.
    """
    # Checked first, because it is fast and loading PyTorch and the model is not.
    require_free(output)
    chosen = _chosen(name, storage, trial, artifacts, tuple(allow))
    from hpo.run.exporting.export_folder import export_model
    from hpo.run.exporting.mlflow_registry import register, require_mlflow

    if mlflow is not None:
        require_mlflow()
    made = export_model(chosen.model, output, onnx=onnx, test=chosen.test, search=chosen.search)
    _tell(made)
    if mlflow is not None:
        say(register(made, chosen.model, chosen.name, mlflow))
    if made.missing:
        raise TaskError(
            f"the export is incomplete: {made.missing[0]}",
            details=[f"  {m}" for m in made.missing[1:]],
            hint=f"what {output} holds can be used; its README.md says how",
        )


def _chosen(
    name: str | None,
    storage: str | None,
    trial: int | None,
    artifacts: str | None,
    allow: tuple[str, ...],
) -> _Chosen:
    if name is not None and name.lower().endswith(MODEL):
        if trial is not None:
            raise SpecError("--trial is of a study; a model file holds one trial")
        require_model_file(name)
        with quickly():
            from hpo.run.files.prediction import load_model
        model = load_model(name, allow=allow)
        return _Chosen(model, str(model.saved["trial"]["study"]))
    db = open_database(storage)
    subject = find(db, name)
    with quickly():
        from hpo.run.host.study_handle import Study
    study = Study(db, subject.name, artifacts)
    model = study.load_model(allow=allow, trial=trial)
    is_best = trial is None or trial == study.best.number
    with db.read() as conn:
        commits = [one.commit for one in provenance.read(conn, subject.study_id).environments]
    search = _search(study.spec, [commit for commit in commits if commit])
    return _Chosen(model, subject.name, study.best.test if is_best else {}, search)


def _search(spec: StudySpec, commits: Sequence[str]) -> str:
    """Says how the params of a study are searched, and at which commits of git."""
    budget = {k: v for k, v in spec.budget.model_dump().items() if v is not None}
    size = ", ".join(f"{k} {v}" for k, v in budget.items())
    at = f"; git commit {', '.join(dict.fromkeys(commits))}" if commits else ""
    return f"sampler {spec.sampler.name}, pruner {spec.pruner.name}, seed {spec.seed}; {size}{at}"


def _tell(made: Exported) -> None:
    replaced = ", in place of an earlier export" if made.replaced else ""
    say(f"wrote {made.folder}{replaced}: {', '.join(made.files)}")
    for note in made.notes:
        warn(note)

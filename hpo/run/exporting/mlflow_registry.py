"""MLflow registry: an export as a run and a registered model of MLflow."""

from __future__ import annotations

import io
import logging
import os
from contextlib import redirect_stderr
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from hpo.errors import HpoError
from hpo.run.exporting.export_folder import Exported
from hpo.run.exporting.folder_files import SCRIPT
from hpo.run.files.prediction import TrainedModel


def require_mlflow() -> None:
    """Makes sure that MLflow is installed.

    Raises:
        HpoError: It is not.
    """
    if find_spec("mlflow") is None:
        raise HpoError("--mlflow needs MLflow", hint="install it with: pip install 'hpo[mlflow]'")


def register(made: Exported, model: TrainedModel, name: str, uri: str) -> str:
    """Registers an export, with the params and metrics of its trial.

    Args:
        made: The export.
        model: What it was made of.
        name: Of the study: the experiment and the registered model are called so.
        uri: Of the tracking server or store: ``sqlite:///FILE``, a folder, ``http://...``.

    Returns:
        A line that says what was registered.

    Raises:
        HpoError: MLflow refuses it.
    """
    # Set before MLflow is imported: a command sends nothing elsewhere.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    for library in ("mlflow", "alembic"):
        logging.getLogger(library).setLevel(logging.ERROR)
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        with redirect_stderr(io.StringIO()):
            version = _registered(mlflow, made, model, name)
    except (MlflowException, OSError, ValueError, ImportError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise HpoError(f"MLflow at {_masked(uri)} refuses the model: {reason}") from error
    return f"registered {name}, version {version}, in MLflow at {_masked(uri)}"


def _registered(mlflow: Any, made: Exported, model: TrainedModel, name: str) -> str:
    trial = model.saved["trial"]
    mlflow.set_experiment(name)
    with mlflow.start_run(run_name=f"{name} trial {trial['number']}") as run:
        mlflow.log_params(dict(model.params.asdict()))
        mlflow.log_metrics({k: float(v) for k, v in model.saved.get("metrics", {}).items()})
        mlflow.set_tags({f"hpo.{k}": str(v) for k, v in trial.items()})
        mlflow.log_artifacts(str(made.folder), "export")
        if SCRIPT not in made.files:
            client = mlflow.MlflowClient()
            if not client.search_registered_models(f"name = '{name}'"):
                client.create_registered_model(name)
            source = f"{run.info.artifact_uri}/export"
            return str(client.create_model_version(name, source, run.info.run_id).version)
        info = mlflow.pyfunc.log_model(
            name="model",
            loader_module=Path(SCRIPT).stem,
            data_path=str(made.folder),
            code_paths=[str(made.folder / SCRIPT)],
            pip_requirements=[f"torch>={model.saved['versions']['torch'].partition('+')[0]}"],
            registered_model_name=name,
        )
        return str(info.registered_model_version)


def _masked(uri: str) -> str:
    """Returns a URI without its password."""
    try:
        return make_url(uri).render_as_string(hide_password=True)
    except ArgumentError:
        return uri

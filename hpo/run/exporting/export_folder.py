"""Export folder: a trained model as files that predict without hpo."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomlkit
import torch
from safetensors.torch import save
from torch import Tensor

from hpo.errors import HpoError
from hpo.run.exporting.folder_files import (
    ABOUT,
    CARD,
    FORMAT,
    ONNX,
    PROGRAM,
    SCRIPT,
    require_free,
)
from hpo.run.exporting.graph_inputs import GraphInputs, graph_inputs
from hpo.run.exporting.model_card import model_card
from hpo.run.exporting.model_program import (
    ModelProgram,
    NotExportableError,
    program_of,
    require_equal,
    require_onnx,
    write_onnx,
)
from hpo.run.exporting.prediction_graph import PredictionGraph, ending_of
from hpo.run.exporting.script_assembly import predict_script
from hpo.run.files.prediction import TrainedModel


@dataclass(frozen=True)
class Exported:
    """A folder that was written.

    Attributes:
        folder: It.
        files: Names of its files, the card first.
        missing: What it lacks, a line each.
        notes: What a user should know besides.
        replaced: Whether it had an earlier export.
    """

    folder: Path
    files: tuple[str, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    replaced: bool


@dataclass
class _Parts:
    """What has been made of a model so far."""

    program: ModelProgram | None = None
    inputs: GraphInputs | None = None
    output: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def export_model(
    model: TrainedModel,
    folder: Path,
    *,
    onnx: bool = False,
    test: Mapping[str, float] | None = None,
    search: str = "",
) -> Exported:
    """Writes a folder with a trained model: weights, program, script, card.

    Args:
        model: The models of a trial.
        folder: A new or empty folder, or one of an earlier export, which is replaced.
        onnx: Whether to write the model as ONNX, too.
        test: Metrics on test data, for the card.
        search: How the params were searched, for the card.

    Returns:
        What was written. A model that ``torch.export`` refuses has weights and a card all the same.

    Raises:
        SpecError: The folder holds other files.
        HpoError: It cannot be written, or ONNX is not installed.
        TaskError: The task's code raises.
    """
    is_replaced = require_free(folder)
    if onnx:
        require_onnx()
    parts = _parts_of(model)
    about = _about(model, parts) | {"test": dict(test or {}), "search": search}
    with _writing(folder) as draft:
        files = _write_weights(model, draft, parts)
        if parts.program is not None:
            parts.program.save(draft / PROGRAM)
            script = predict_script(version("hpo"))
            (draft / SCRIPT).write_text(script, encoding="utf-8")
            files = [SCRIPT, PROGRAM, *files]
        if onnx and parts.program is not None and parts.inputs is not None:
            try:
                write_onnx(parts.program, parts.inputs, draft / ONNX)
                files.append(ONNX)
            except NotExportableError as error:
                (draft / ONNX).unlink(missing_ok=True)
                parts.missing.append(f"no {ONNX}: {error}")
        about["missing"] = [*parts.missing, *parts.notes]
        text = json.dumps(about, indent=1, default=_as_plain) + "\n"
        (draft / ABOUT).write_text(text, encoding="utf-8")
        files = [CARD, *files, ABOUT]
        today = datetime.now(UTC).strftime("%Y-%m-%d")
        (draft / CARD).write_text(model_card(about, files, today), encoding="utf-8")
    return Exported(folder, tuple(files), tuple(parts.missing), tuple(parts.notes), is_replaced)


def _parts_of(model: TrainedModel) -> _Parts:
    """Makes the program, and notes what cannot be made."""
    parts, task = _Parts(), model.task
    ending, kind, unfinished = ending_of(model)
    inputs = graph_inputs(model)
    name = f"{type(task).__name__}."
    graph = PredictionGraph(
        inputs.features, list(model.networks()), ending, model.params.get("precision", "float32")
    ).eval()
    graph.requires_grad_(False)
    parts.inputs = inputs
    try:
        with torch.inference_mode():
            n_columns = graph(*inputs.probe(2).inputs).shape[1]
        is_named = len(model.classes) == n_columns
        if kind == "probabilities" and not is_named:
            raise NotExportableError(f"{n_columns} outputs for {len(model.classes)} classes")
        numbered = [f"output {i}" for i in range(n_columns)]
        columns = list(model.classes) if is_named else numbered
        parts.output = {"kind": kind, "columns": columns if n_columns > 1 else ["prediction"]}
        program = program_of(graph, inputs)
        require_equal(program, model, inputs)
        parts.program = program
        if not program.is_any_size:
            inputs.spec["rows_at_once"] = 1
    except NotExportableError as error:
        parts.missing.append(f"no {PROGRAM} and no {SCRIPT}, because torch.export fails: {error}")
        return parts
    if inputs.missing:
        parts.missing.append(
            f"the preprocessing ({inputs.missing}) is not in {PROGRAM}; "
            "samples must be preprocessed"
        )
    if unfinished:
        parts.missing.append(
            f"the targets' units ({unfinished}) are not in {PROGRAM}; its numbers are transformed"
        )
    if task.has_own("samples") and "columns" not in inputs.spec:
        parts.notes.append(f"{name}samples() is not in {SCRIPT}; it takes what samples() returns")
    return parts


def _write_weights(model: TrainedModel, draft: Path, parts: _Parts) -> list[str]:
    names = []
    for i, state in enumerate(model.states, 1):
        name = f"weights-{i}.safetensors" if len(model.states) > 1 else "weights.safetensors"
        tensors = {k: v.contiguous().clone() for k, v in state.items() if isinstance(v, Tensor)}
        left_out = sorted(state.keys() - tensors.keys())
        if left_out:
            parts.notes.append(f"{name} lacks {', '.join(left_out)}, which are no tensors")
        (draft / name).write_bytes(save(tensors, metadata={"format": "pt"}))
        names.append(name)
    return names


def _about(model: TrainedModel, parts: _Parts) -> dict[str, Any]:
    saved = model.saved
    assert parts.inputs is not None
    return {
        "format": FORMAT,
        "trial": dict(saved["trial"]),
        "task": {
            "reference": saved["task"]["reference"],
            "options": _shareable(saved["task"]["options"]),
        },
        "params": dict(saved["params"]),
        "metric": list(saved.get("metric", ())),
        "metrics": dict(saved.get("metrics", {})),
        "epoch": saved.get("epoch"),
        "data": dict(saved["data"]),
        "validation": dict(saved["validation"]),
        "versions": dict(saved.get("versions", {})),
        "torch": torch.__version__.partition("+")[0],
        "classes": list(model.classes),
        "n_models": len(model.states),
        "input": parts.inputs.spec,
        "output": parts.output or {"kind": "outputs", "columns": []},
    }


def _shareable(options: str) -> dict[str, Any]:
    """Returns the options of a task, with the names of files in place of their paths."""
    found = tomlkit.parse(options).unwrap()
    return {
        name: Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
        for name, value in found.items()
    }


def _as_plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, Tensor) else str(value)


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[Path]:
    """Gives a folder to write to, which takes the place of another when all is written.

    Raises:
        HpoError: The disk refuses it.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as place:
            draft = Path(place, "new")
            draft.mkdir()
            yield draft
            if folder.is_dir():
                folder.rename(Path(place, "old"))
            draft.rename(folder)
    except OSError as error:
        raise HpoError(f"{folder} cannot be written: {error.strerror or error}") from error

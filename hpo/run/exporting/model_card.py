"""Model card: the README.md of an export, for a reader who has neither hpo nor the study."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

_MOST_ROWS: Final = 200
_LONGEST: Final = 200
_SHOWN_CATEGORIES: Final = 12
_FILES: Final[Mapping[str, str]] = {
    "predict.py": "predicts new samples; it needs torch alone",
    "model.pt2": "the whole model, with its preprocessing: `torch.export.load` reads it",
    "model.onnx": "the same for ONNX Runtime",
    "model.json": "params, metrics, classes, and how samples are read",
}


def model_card(about: Mapping[str, Any], files: Sequence[str], made_on: str) -> str:
    """Returns the text of a card, in Markdown.

    Args:
        about: What ``model.json`` holds.
        files: Names of the files of the folder.
        made_on: Day of the export, as YYYY-MM-DD.
    """
    trial = about["trial"]
    title = f"# {_text(trial['study'])}, trial {trial['number']}"
    parts = [title, _summary(about)]
    parts += _section("Not in this export", [f"- {_text(one)}" for one in about["missing"]])
    parts += _section("Use", _use(about, files))
    parts += _section("Inputs", _inputs(about["input"]))
    parts += _section("Outputs", _outputs(about))
    parts += _section("Metrics", _metrics(about))
    parts += _section("Params", _table(("param", "value"), about["params"].items()))
    parts += _section("How it was made", _history(about, made_on))
    parts += _section("Files", [f"- `{n}`: {_purpose(n)}" for n in files[1:]])
    return "\n\n".join(parts) + "\n"


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "\n".join(lines)] if lines else []


def _summary(about: Mapping[str, Any]) -> str:
    data, n = about["data"], about["n_models"]
    what = "A classifier" if data["kind"] == "classification" else "A regression"
    models = f"an ensemble of {n} models, by the mean of their outputs" if n > 1 else "one model"
    (metric, *_) = about["metric"] or ["the objective"]
    value = about["metrics"].get(metric)
    reached = "" if value is None else f" Its {_text(metric)} is {_number(value)}."
    return f"{what}: {models}.{reached} The hyperparameters were chosen by hpo."


def _use(about: Mapping[str, Any], files: Sequence[str]) -> list[str]:
    if "predict.py" not in files:
        return [
            "The weights fit a module with the same layers:",
            "",
            "```python",
            "from safetensors.torch import load_file",
            "",
            f'model.load_state_dict(load_file("{_first_weights(files)}"))',
            "```",
        ]
    example = {"table": "new.csv", "array": "new.npy"}[about["input"]["kind"]]
    if "images" in about["input"]:
        example = "folder_of_images"
    return [
        f"torch {_text(about['torch'])} or newer is all that it needs"
        + (", and Pillow for images:" if "images" in about["input"] else ":"),
        "",
        "```",
        f"python predict.py {example}",
        "```",
        "",
        "```python",
        "from predict import ExportedModel",
        "",
        'model = ExportedModel(".")',
        f'model.predict(model.read("{example}"))  # a tensor, a row a sample',
        "```",
    ]


def _inputs(spec: Mapping[str, Any]) -> list[str]:
    if spec["kind"] != "table":
        rows = [
            (one["name"], f"{['N', *one['shape']]}".replace("'", ""), one["dtype"])
            for one in spec.get("tensors", ())
        ]
        lines = _table(("tensor", "shape", "type"), rows)
        if "images" in spec:
            size, colours = spec["images"]["size"], spec["images"]["grayscale"]
            kind = "grayscale" if colours else "RGB"
            lines += ["", f"Pixels from 0 to 1 of {kind} images of {size} x {size} pixels."]
        return lines
    rows = []
    for name, reading in spec["columns"].items():
        known = reading["known"] if reading["kind"] == "text" else None
        shown = ", ".join((known or [])[:_SHOWN_CATEGORIES])
        more = " ..." if known and len(known) > _SHOWN_CATEGORIES else ""
        kind = "category" if reading["kind"] == "text" else reading["kind"]
        rows.append((name, kind, shown + more))
    return [
        "A table with these columns, in any order; others are ignored. An empty cell is missing.",
        "",
        *_table(("column", "kind", "categories"), rows),
    ]


def _outputs(about: Mapping[str, Any]) -> list[str]:
    kind, columns = about["output"]["kind"], about["output"]["columns"]
    if kind == "probabilities":
        return [f"The probability of each class: {', '.join(map(_text, columns))}."]
    if kind == "numbers":
        return [f"{len(columns)} number{'s' * (len(columns) > 1)}, in the targets' units."]
    return [f"{len(columns)} outputs, as the task's own loss takes them."]


def _metrics(about: Mapping[str, Any]) -> list[str]:
    lines = _table(("metric", "value"), about["metrics"].items())
    if about["test"]:
        lines += [
            "",
            "On test data, which nothing was chosen by:",
            "",
            *_table(("metric", "value"), about["test"].items()),
        ]
    return lines


def _history(about: Mapping[str, Any], made_on: str) -> list[str]:
    trial, data, validation = about["trial"], about["data"], about["validation"]
    split = ", ".join(f"{k} {v}" for k, v in validation.items() if v is not None)
    entries = {
        "study": f"{trial['study']} ({trial['study_id']})",
        "trial, seed": f"{trial['number']}, {trial['seed']}",
        "epoch": about["epoch"],
        "task": about["task"]["reference"],
        "task options": ", ".join(f"{k} = {v!r}" for k, v in about["task"]["options"].items()),
        "search": about["search"],
        "validation": split,
        "data": f"{data.get('n_rows', '?')} samples, checksum {data['checksum']}",
        "versions": ", ".join(f"{k} {v}" for k, v in about["versions"].items()),
        "exported": made_on,
    }
    return _table(("", ""), ((k, v) for k, v in entries.items() if v not in (None, "")))


def _purpose(name: str) -> str:
    return _FILES.get(name, "weights, by the names of a state dict")


def _first_weights(files: Sequence[str]) -> str:
    return next(name for name in files if name.endswith(".safetensors"))


def _table(titles: Sequence[str], rows: Any) -> list[str]:
    found = [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    if not found:
        return []
    more = [f"\n{len(found) - _MOST_ROWS:,} more are in `model.json`."]
    head = [f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}"]
    return [*head, *found[:_MOST_ROWS], *(more if len(found) > _MOST_ROWS else [])]


def _cell(value: Any) -> str:
    return _number(value) if isinstance(value, float) else _text(value)


def _number(value: float) -> str:
    return f"{value:.6g}"


def _text(value: Any) -> str:
    """Returns text in which nothing is markup, on one line."""
    line = "".join(c if c.isprintable() else " " for c in str(value))[:_LONGEST]
    return re.sub(r"([\\`*{}\[\]<>|&~$]|(?<!\w)_|_(?!\w))", r"\\\1", line)

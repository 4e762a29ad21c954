"""Script assembly: one ``predict.py`` of the modules that it needs, without hpo."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import hpo.tasks.tables as tables
from hpo.run.exporting import standalone

_HEAD: Final = '''"""Predicts new samples with the model of this folder; it needs torch alone.

    python predict.py FILE [-o OUT.csv]

or, in Python, ``ExportedModel(folder).predict(samples)``. Written by hpo {version}.
"""

from __future__ import annotations

import warnings

# PyTorch warns where NumPy is not installed.
warnings.filterwarnings("ignore", message="Failed to initialize NumPy")

'''
_FUTURE: Final = "__future__"


def predict_script(version: str) -> str:
    """Returns the code of ``predict.py``.

    Args:
        version: Of hpo, which the script names.
    """
    # Names by their module; modules themselves have none.
    imports: dict[str, set[str]] = {"": set()}
    bodies = [_body(path.read_text("utf-8"), imports) for path in _modules()]
    lines = [f"from {m} import {', '.join(sorted(ns))}" for m, ns in imports.items() if m]
    plain = [f"import {name}" for name in imports.pop("")]
    head = _HEAD.format(version=version) + "\n".join(sorted(plain) + sorted(lines))
    return "\n\n\n".join([head, *bodies]) + "\n"


def _modules() -> list[Path]:
    """Returns the files of the modules, each behind those that it imports."""
    readings, own = Path(tables.__path__[0]), Path(standalone.__path__[0])
    return [
        readings / "numerals.py",
        readings / "plain_dates.py",
        own / "csv_rows.py",
        own / "row_features.py",
        own / "array_files.py",
        own / "exported_model.py",
    ]


def _body(source: str, imports: dict[str, set[str]]) -> str:
    """Returns a module's code without its docstring and imports, which are added to ``imports``."""
    lines, tree = source.splitlines(), ast.parse(source)
    left_out: set[int] = set()
    for node in tree.body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not isinstance(node, ast.Import | ast.ImportFrom) and not is_docstring:
            continue
        assert node.end_lineno is not None
        left_out |= set(range(node.lineno, node.end_lineno + 1))
        if isinstance(node, ast.Import):
            imports[""] |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not _is_left_out(str(node.module)):
            names = {alias.name for alias in node.names}
            imports[str(node.module)] = imports.get(str(node.module), set()) | names
    kept = [line for number, line in enumerate(lines, 1) if number not in left_out]
    return "\n".join(kept).strip("\n")


def _is_left_out(module: str) -> bool:
    return module == _FUTURE or module.partition(".")[0] == "hpo"

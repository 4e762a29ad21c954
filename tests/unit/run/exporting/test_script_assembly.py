"""The script of an export is one file of Python that knows no hpo."""

from __future__ import annotations

import ast
import sys
from collections import Counter

from hpo.run.exporting.script_assembly import predict_script


def test_it_imports_torch_and_the_standard_library_alone() -> None:
    found = set()
    for node in ast.walk(ast.parse(predict_script("1.2"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).partition(".")[0])
    assert found - sys.stdlib_module_names == {"torch", "PIL"}


def test_no_name_is_defined_twice() -> None:
    names: Counter[str] = Counter()
    for node in ast.parse(predict_script("1.2")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names[node.name] += 1
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names[node.target.id] += 1
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    assert len(names) > 40
    assert [name for name, n in names.items() if n > 1] == []

"""Script reading: the study calls of an Optuna script, read from its source without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hpo.tasks.code.script_objectives import defined, named, rivals

_POSITIONS: Final = {
    "create_study": ("storage", "sampler", "pruner", "study_name", "direction", "load_if_exists"),
    "load_study": ("study_name", "storage", "sampler", "pruner"),
    "optimize": ("func", "n_trials", "timeout", "n_jobs", "catch", "callbacks"),
}
_DIRECTIONS: Final = {
    "optuna.study.StudyDirection.MINIMIZE": "minimize",
    "optuna.study.StudyDirection.MAXIMIZE": "maximize",
}


@dataclass(frozen=True)
class Unreadable:
    """A value that is known only when the script runs.

    Attributes:
        text: The expression.
    """

    text: str


@dataclass(frozen=True)
class Called:
    """A value that a call returns.

    Attributes:
        name: Last part of the called name.
        given: Arguments that could be read, by name or position; the first positional one is ``0``.
    """

    name: str
    given: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ScriptCall:
    """One call that concerns the study.

    Attributes:
        verb: ``create_study``, ``load_study``, ``optimize``, ``enqueue_trial`` and so on.
        line: Line of the call.
        given: Its arguments by name: plain values, ``Called`` or ``Unreadable``.
        variable: Variable of the study that it creates or is called on.
        target: For ``optimize``, the names that its first argument stands for.
    """

    verb: str
    line: int
    given: Mapping[str, Any]
    variable: str = ""
    target: frozenset[str] = frozenset()


def relevant_calls(source: str, function: str) -> list[ScriptCall]:
    """Returns the calls that concern the study of one objective, by line.

    If the script shows which study optimises the objective, calls about other studies are left
    out. If it optimises another objective, or that is unclear and there are several objectives, the
    result is empty.

    Args:
        source: Source of the script.
        function: The name of the objective, or of its class, in it.

    Raises:
        SyntaxError: The source is not Python.
    """
    tree = ast.parse(source)
    reader = _Reader(tree)
    calls = sorted(reader.calls(), key=lambda call: call.line)
    own = [c for c in calls if c.verb == "optimize" and function in c.target]
    if own:
        return _of_studies(calls, own)
    if rivals(tree, reader.values, function):
        return []
    known = defined(tree)
    others = [c for c in calls if c.verb == "optimize" and c.target & known]
    unclear = [c for c in calls if c.verb == "optimize" and not c.target & known]
    theirs = {c.variable for c in others} - {c.variable for c in unclear}
    left = [c for c in calls if c not in others and c.variable not in theirs]
    return left if len(unclear) <= 1 else [c for c in left if c.verb != "optimize"]


def _of_studies(calls: list[ScriptCall], own: list[ScriptCall]) -> list[ScriptCall]:
    """Returns the calls about the studies that optimise the objective in these calls."""
    studies = {call.variable for call in own}
    kept = list(own)
    for call in calls:
        if call.verb == "optimize" or call.variable not in studies:
            continue
        # A variable may hold several studies in turn; the last one before its use counts.
        until = max(c.line for c in own if c.variable == call.variable)
        later = [c for c in calls if _creates(c) and c.variable == call.variable]
        last = max((c.line for c in later if c.line <= until), default=0)
        if (call.line == last) if _creates(call) else call.line > last or not last:
            kept.append(call)
    return sorted(kept, key=lambda call: call.line)


def _creates(call: ScriptCall) -> bool:
    return call.verb in ("create_study", "load_study")


def line_in_main(source: str, name: str) -> int | None:
    """Returns the line where a script's main part, which does not run, assigns a name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            for inner in ast.walk(node):
                if any(found == name for found, _ in _assigned(inner)):
                    return int(inner.lineno)  # type: ignore[attr-defined]
    return None


class _Reader:
    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree
        self._aliases = dict(_imports(tree))
        self.values: dict[str, list[ast.expr]] = {}
        self._parameters: dict[int, set[str]] = {}
        for node in ast.walk(tree):
            for name, value in _assigned(node):
                self.values.setdefault(name, []).append(value)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names = {arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg)}
                for inner in ast.walk(node):
                    self._parameters.setdefault(id(inner), set()).update(names)

    def calls(self) -> Iterator[ScriptCall]:
        made = {id(v): name for name, values in self.values.items() for v in values}
        for node in ast.walk(self._tree):
            if not isinstance(node, ast.Call):
                continue
            verb = self._dotted(node.func).rpartition(".")[2]
            if verb in ("create_study", "load_study") and self._is_optunas(node.func):
                yield self._call(verb, node, made.get(id(node), f"line {node.lineno}"))
            elif isinstance(node.func, ast.Attribute) and verb in _OF_STUDIES:
                yield self._call(verb, node, self._study(node.func.value))

    def _study(self, node: ast.expr) -> str:
        return node.id if isinstance(node, ast.Name) else f"line {node.lineno}"

    def _call(self, verb: str, node: ast.Call, variable: str) -> ScriptCall:
        given = dict(self._arguments(node, _POSITIONS.get(verb, ())))
        function = given.pop("func", None)
        # The value of a parameter of the enclosing function is unknown.
        names = named(function, self.values) if function else set()
        names -= self._parameters.get(id(node), set())
        read = {name: self._read(value) for name, value in given.items()}
        return ScriptCall(verb, node.lineno, read, variable, frozenset(names))

    def _arguments(
        self, node: ast.Call, positions: tuple[str, ...]
    ) -> Iterator[tuple[str, ast.expr]]:
        for i, value in enumerate(node.args):
            yield (positions[i] if i < len(positions) else str(i)), value
        for keyword in node.keywords:
            if keyword.arg is not None:
                yield keyword.arg, keyword.value
            else:
                yield from self._spread(keyword.value)

    def _spread(self, node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
        """Yields the items of ``**options``, if it is a dict in the script."""
        found = self._looked_up(node)
        if isinstance(found, ast.Dict):
            for key, value in zip(found.keys, found.values, strict=True):
                if isinstance(key, ast.Constant):
                    yield str(key.value), value
        elif isinstance(found, ast.Call) and self._dotted(found.func) == "dict":
            yield from ((k.arg, k.value) for k in found.keywords if k.arg is not None)
        else:
            yield "**", node

    def _read(self, node: ast.expr) -> Any:
        node = self._looked_up(node)
        direction = _DIRECTIONS.get(self._full(node))
        if direction is not None:
            return direction
        if isinstance(node, ast.List | ast.Tuple):
            return [self._read(one) for one in node.elts]
        if isinstance(node, ast.Dict) and all(isinstance(k, ast.Constant) for k in node.keys):
            pairs = zip(node.keys, node.values, strict=True)
            return {k.value: self._read(v) for k, v in pairs if isinstance(k, ast.Constant)}
        if isinstance(node, ast.Call):
            given = {name: self._read(value) for name, value in self._arguments(node, ())}
            return Called(self._dotted(node.func).rpartition(".")[2], given)
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return Unreadable(ast.unparse(node))

    def _looked_up(self, node: ast.expr) -> ast.expr:
        """Returns the value of a name that is assigned once, or always the same value."""
        for _ in range(8):
            if not isinstance(node, ast.Name):
                break
            values = self.values.get(node.id, [])
            if not values or len({ast.dump(value) for value in values}) > 1:
                break
            node = values[0]
        return node

    def _dotted(self, node: ast.expr) -> str:
        if isinstance(node, ast.Attribute):
            return f"{self._dotted(node.value)}.{node.attr}"
        return self._aliases.get(node.id, node.id) if isinstance(node, ast.Name) else ""

    def _full(self, node: ast.expr) -> str:
        dotted = self._dotted(node)
        return dotted.replace("optuna.StudyDirection", "optuna.study.StudyDirection")

    def _is_optunas(self, function: ast.expr) -> bool:
        dotted = self._dotted(function)
        is_starred = "*" in self._aliases and isinstance(function, ast.Name)
        return dotted.startswith("optuna.") or is_starred


_OF_STUDIES: Final = frozenset({"optimize", "enqueue_trial", "add_trial", "add_trials"})


def _imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                yield (
                    (one.asname or one.name.partition(".")[0]),
                    (one.name if one.asname else one.name.partition(".")[0]),
                )
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("optuna"):
            for one in node.names:
                yield (one.asname or one.name), f"{node.module}.{one.name}"


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yields the names that a statement assigns, with their values (the target if unknown)."""
    match node:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                if isinstance(target, ast.Name):
                    yield target.id, value
                else:
                    yield from ((n.id, n) for n in ast.walk(target) if isinstance(n, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is not None:
            yield name, value
        case ast.NamedExpr(target=ast.Name(id=name), value=value):
            yield name, value
        case ast.AugAssign(target=ast.Name(id=name)) | ast.For(target=ast.Name(id=name)):
            yield name, ast.Name(id=f"{name}...")
        case ast.arg(arg=name):
            yield name, ast.Name(id=name)

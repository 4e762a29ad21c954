"""Script objectives: functions of a script that look like Optuna objectives."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Values: TypeAlias = Mapping[str, Sequence[ast.expr]]
_OF_TRIALS: Final = ("suggest_", "report", "should_prune")


def defined(tree: ast.Module) -> frozenset[str]:
    """Returns the names of all functions and classes that a script defines or imports."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, Function | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            found |= {one.asname or one.name for one in node.names}
    return frozenset(found)


def rivals(tree: ast.Module, values: Values, function: str) -> set[str]:
    """Returns the likely objectives of a script, without a given one and those that it uses.

    Args:
        tree: The script.
        values: The expressions assigned to each name.
        function: The given objective.
    """
    return _objectives(tree) - _reached(tree, values, function)


def named(node: ast.expr, values: Values) -> set[str]:
    """Returns the names of the functions that a call of an expression calls.

    A lambda stands for the function to which it passes its argument, `partial(f, ...)` for ``f``,
    a variable for its value, and any other call for all names in it.
    """
    found: set[str] = set()
    open_ = [node]
    while open_:
        one = open_.pop()
        for name in _direct(one):
            if name not in found:
                found.add(name)
                open_ += [v for v in values.get(name, ()) if isinstance(v, _LOOKED_UP)]
    return found


_LOOKED_UP: Final = (ast.Call, ast.Lambda, ast.Name, ast.Attribute)


def _direct(node: ast.expr) -> set[str]:
    match node:
        case ast.Lambda(args=args, body=body):
            own = {arg.arg for arg in (*args.posonlyargs, *args.args)}
            calls = [n for n in ast.walk(body) if isinstance(n, ast.Call)]
            given = [n for n in calls if own & _names(n.args + [k.value for k in n.keywords])]
            # In `g(f(t))` the innermost function gets the trial.
            inner = [
                n for n in given if any(isinstance(a, ast.Name) and a.id in own for a in n.args)
            ]
            return _names([n.func for n in inner or given]) - own
        case ast.Call(func=func, args=[first, *_]) if ast.unparse(func).endswith("partial"):
            return _names([first]) if isinstance(first, ast.Name) else _direct(first)
    return _names([node])


def _names(nodes: Sequence[ast.expr]) -> set[str]:
    return {n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name)}


def _objectives(tree: ast.Module) -> set[str]:
    """Returns the functions that take a trial, and the classes with such methods."""
    methods = {
        id(node): owner.name
        for owner in ast.walk(tree)
        if isinstance(owner, ast.ClassDef)
        for node in owner.body
    }
    return {
        methods.get(id(node), node.name)
        for node in ast.walk(tree)
        if isinstance(node, Function) and _takes_trial(node, is_method=id(node) in methods)
    }


def _takes_trial(node: Function, *, is_method: bool) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args]
    is_static = any(ast.unparse(one) == "staticmethod" for one in node.decorator_list)
    arguments = arguments[1:] if is_method and not is_static else arguments
    if not arguments:
        return False
    trial = arguments[0]
    if trial.arg == "trial" or (trial.annotation and "Trial" in ast.unparse(trial.annotation)):
        return True
    return any(
        isinstance(n, ast.Attribute)
        and isinstance(n.value, ast.Name)
        and n.value.id == trial.arg
        and n.attr.startswith(_OF_TRIALS)
        for n in ast.walk(node)
    )


def _reached(tree: ast.Module, values: Values, function: str) -> set[str]:
    """Returns a function and all names that it reaches, directly or indirectly."""
    bodies: dict[str, list[ast.AST]] = {}
    for node in ast.walk(tree):
        if isinstance(node, Function | ast.ClassDef):
            bodies.setdefault(node.name, []).append(node)
    found, open_ = {function}, [function]
    while open_:
        name = open_.pop()
        for part in (*bodies.get(name, ()), *values.get(name, ())):
            new = set(_mentioned(part)) - found
            found |= new
            open_ += new
    return found


def _mentioned(node: ast.AST) -> Iterator[str]:
    for one in ast.walk(node):
        if isinstance(one, ast.Name):
            yield one.id
        elif isinstance(one, Function):
            yield one.name

"""Shell notation: a command whose arguments say what is searched, such as ``--lr ~log(1e-4, 0.1)``.

The notation is close to that of Orion (``~loguniform(1e-4, 1e-1)``) and Hydra
(``lr=interval(0, 1)``).
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hpo.errors import Problem, SpecError, did_you_mean
from hpo.spec.command_line import PLACEHOLDERS
from hpo.spec.space.search_space import is_name, read_parameters
from hpo.spec.values.findings import Findings

FUNCTIONS: Final = {
    "log": "~log(1e-4, 1e-1)",
    "loguniform": "~loguniform(1e-4, 1e-1)",
    "uniform": "~uniform(0, 0.99)",
    "interval": "~interval(0, 0.99)",
    "int": "~int(1, 4)",
    "choice": "~choice(32, 64, 128)",
    "choices": "~choices([32, 64, 128])",
    "flag": "~flag",
}
"""The functions of the notation, each with an example."""

EXAMPLE: Final = (
    "hpo run --metric val_accuracy --trials 40 -- python train.py --lr '~log(1e-4, 1e-1)'"
)

_PRIOR: Final = re.compile(
    r"(?P<key>.*?)(?P<sign>=?)~(?P<call>(?P<name>[A-Za-z_]\w*)(\(.*\))?)", re.DOTALL
)
_UNSAFE: Final = re.compile(r"\{[A-Za-z_]\w*(:[^{}\s'\"]*)?\}")


@dataclass
class Written:
    """A command with placeholders, and the space that its arguments describe.

    Attributes:
        command: The command as a study file has it.
        space: The parameters as a study file has them.
    """

    command: str = ""
    space: dict[str, Any] = field(default_factory=dict)


def read_arguments(arguments: Sequence[str]) -> Written:
    """Reads a command as it was typed.

    Args:
        arguments: The program and its arguments. ``--lr ~log(1e-4, 1e-1)``,
            ``--lr=~log(1e-4, 1e-1)``, ``--lr~log(1e-4, 1e-1)`` and ``lr=~log(1e-4, 1e-1)`` each
            make a parameter ``lr``.

    Raises:
        SpecError: There are mistakes: all of them, each at its argument.
    """
    findings = Findings()
    words: list[str] = []
    space: dict[str, Any] = {}
    shown: dict[str, str] = {}
    for i, argument in enumerate(arguments):
        found = _PRIOR.fullmatch(argument)
        if found is None or not _is_meant(found):
            words.append(argument)
            continue
        before = arguments[i - 1] if i else ""
        key, place = (found["key"], argument) if found["key"] else (before, f"{before} {argument}")
        name = _name_of(key)
        at = _At(findings, place.strip())
        if not name or (not found["key"] and not _is_option(before)):
            at.add("has no name: write it after an option, or as NAME=~...")
        elif name in space:
            at.add(f"is the second argument that makes a parameter {name}")
        else:
            space[name], shown[name] = _read_call(found, at), place.strip()
            words = _placed(words, found, name, space[name])
    _check(space, shown, findings)
    findings.raise_if_any("the command")
    if not space:
        raise SpecError(
            "the command has nothing to search: write a range in place of a value, "
            f"{FUNCTIONS['log']}, {FUNCTIONS['uniform']}, {FUNCTIONS['int']} or "
            f"{FUNCTIONS['choice']}",
            hint=EXAMPLE,
        )
    return Written(" ".join(map(_quoted, words)), space)


@dataclass
class _At:
    """Findings at one argument, whose text is no key of a file."""

    findings: Findings
    place: str

    def add(self, message: str) -> None:
        # Not as a dotted key, which would be quoted.
        self.findings.problems.append(Problem(self.place, message))


def _is_meant(found: re.Match[str]) -> bool:
    """Returns whether an argument is in the notation, and no path such as ``~user``."""
    key, is_call = found["key"], "(" in found["call"]
    if key and not found["sign"] and not (is_call and key.startswith("-")):
        return False
    return is_call or found["name"] in FUNCTIONS


def _is_option(word: str) -> bool:
    return word.startswith("-") and "=" not in word


def _name_of(key: str) -> str:
    """Returns the parameter of an option: ``batch_size`` for ``--batch-size``.

    A name that Python or hpo has taken gets an underscore: ``lambda_``, ``epochs_``.
    """
    name = re.sub(r"\W", "_", key.lstrip("-+"))
    if name in PLACEHOLDERS or (not is_name(name) and is_name(f"{name}_")):
        return f"{name}_"
    return name


def _placed(words: list[str], found: re.Match[str], name: str, table: Any) -> list[str]:
    """Returns the words of the command with the placeholder of one argument."""
    if found["name"] == "flag":
        option = found["key"] or words[-1]
        return [*(words if found["key"] else words[:-1]), f"{{{name}:{option}}}"]
    if found["sign"]:
        return [*words, f"{found['key']}={{{name}}}"]
    return [*words, *([found["key"]] if found["key"] else []), f"{{{name}}}"]


def _read_call(found: re.Match[str], at: _At) -> Any:
    """Returns the parameter of a call as a study file has it; None after a mistake."""
    name = found["name"]
    if name not in FUNCTIONS:
        near = did_you_mean(name, FUNCTIONS).replace("mean ", "mean ~")
        at.add(f"there is no ~{name}{near or '; there are ~' + ', ~'.join(FUNCTIONS)}")
        return None
    if name == "flag":
        return {"choices": [True, False]}
    if "(" not in found["call"]:
        at.add(f"needs values, such as {FUNCTIONS[name]}")
        return None
    try:
        values, options = _arguments(found["call"])
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        at.add(f"cannot be read; write it as {FUNCTIONS[name]}, and quote text with spaces")
        return None
    if name in ("choice", "choices"):
        one_list = len(values) == 1 and isinstance(values[0], list)
        return {"choices": values[0] if one_list else values, **options}
    if len(values) != 2:
        at.add(f"needs two bounds, such as {FUNCTIONS[name]}; found {len(values)}")
        return None
    return _range(name, values, options)


def _range(name: str, values: list[Any], options: dict[str, Any]) -> dict[str, Any]:
    """Returns the table of a range. Bounds of ``~int`` stay as they are, others become floats."""
    is_int = name == "int" or options.pop("discrete", False) is True
    low, high = values if is_int else map(_as_float, values)
    step = options.pop("step", None)
    table = {"low": low, "high": high, **options}
    if step is not None:
        table["step"] = step if is_int else _as_float(step)
    if name in ("log", "loguniform"):
        table["log"] = True
    return table


def _as_float(value: Any) -> Any:
    return float(value) if type(value) is int and abs(value) < 2**53 else value


def _arguments(call: str) -> tuple[list[Any], dict[str, Any]]:
    """Returns the values of a call, by position and by name.

    Raises:
        ValueError: A value is neither a number, text, true, false nor a list of them.
        SyntaxError: The call is malformed.
    """
    tree = ast.parse(call, mode="eval").body
    if not isinstance(tree, ast.Call) or any(key.arg is None for key in tree.keywords):
        raise ValueError(call)
    options = {str(key.arg): _value(key.value) for key in tree.keywords}
    return [_value(value) for value in tree.args], options


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return {"true": True, "false": False}.get(node.id, node.id)
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item) for item in node.elts]
    value = ast.literal_eval(node)
    if not isinstance(value, bool | int | float | str):
        raise ValueError(value)
    return value


def _check(space: dict[str, Any], shown: dict[str, str], findings: Findings) -> None:
    """Records what is wrong with the parameters themselves, each at its argument."""
    own = Findings()
    read_parameters({name: table for name, table in space.items() if table is not None}, own)
    for problem in own.problems:
        name, _, rest = problem.key.partition(".")
        _At(findings, shown[name]).add(f"{rest} {problem.message}".strip())


def _quoted(word: str) -> str:
    """Returns a word for the command; placeholders need no quotes, as no shell reads them."""
    plain = _UNSAFE.sub("x", word)
    return word if shlex.quote(plain) == plain else shlex.quote(word)

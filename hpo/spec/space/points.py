"""Points of a search space, as trials store them and as users type them: ``lr=0.1``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from hpo.errors import did_you_mean
from hpo.spec.space.dimensions import Categorical, Fixed, Float, Int, Parameter, same
from hpo.spec.space.search_space import SearchSpace
from hpo.spec.values.findings import Findings, listed, show
from hpo.spec.values.user_values import Scalar


def complete(stored: Mapping[str, Any], space: SearchSpace) -> dict[str, Any] | None:
    """Adds the fixed parameters to the stored params of a trial.

    Returns:
        Value of every active parameter, or None when some still have to be drawn.
    """
    params: dict[str, Any] = {}
    for name in space.order():
        if not space.is_active(name, params):
            continue
        parameter = space[name]
        if isinstance(parameter, Fixed):
            params[name] = parameter.value
        elif name in stored:
            params[name] = stored[name]
        else:
            return None
    return params


def split_entries(entries: Iterable[str], findings: Findings) -> dict[str, str]:
    """Splits ``name=value`` entries, and records those that are malformed.

    The output of `hpo best --params` is accepted too, as lines or split into words by a shell:
    ``name = value``, with TOML quotes.
    """
    texts: dict[str, str] = {}
    for entry in _joined(entries):
        name, sign, text = (part.strip() for part in entry.partition("="))
        if not sign or not name:
            findings.add("must be NAME=VALUE", entry)
        elif name in texts:
            findings.add("stands twice", name)
        else:
            texts[_unquoted(name)] = _unquoted(text)
    return texts


def _joined(entries: Iterable[str]) -> list[str]:
    """Joins the words of ``name = value``, and splits lines."""
    words = [line for entry in entries for line in entry.splitlines() or [""]]
    found: list[str] = []
    for i, word in enumerate(words):
        is_name = i + 1 < len(words) and words[i + 1].strip() == "="
        continues = bool(found) and found[-1].rstrip().endswith("=") and "=" not in word
        in_quotes = bool(found) and re.search(r"=\s*\"[^\"]*$", found[-1]) is not None
        if found and not is_name and (word.strip() == "=" or continues or in_quotes):
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found


def _unquoted(text: str) -> str:
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    try:
        return str(tomllib.loads(f"x = {text}")["x"])
    except ValueError:
        return text


def read_point(texts: Mapping[str, str], space: SearchSpace, findings: Findings) -> dict[str, Any]:
    """Reads values for some of a space's parameters, and records all mistakes.

    A value is allowed if its parameter can take it and its conditions hold: their parents must be
    given too, or fixed.

    Args:
        texts: Values by name, as typed.
        space: The space that they must fit.
        findings: Collects the mistakes.

    Returns:
        The values that are valid by themselves, without those of fixed parameters.
    """
    point: dict[str, Any] = {}
    for name, text in texts.items():
        if name not in space:
            findings.add(f"no such parameter{did_you_mean(name, space.names)}", name)
            continue
        value = _read_value(text, space[name])
        if value is None:
            findings.add(f"must be {_allowed(space[name])}; found {show(text)}", name)
        else:
            point[name] = value
    fixed = {name: dim.value for name, dim in space.parameters.items() if isinstance(dim, Fixed)}
    for name in point:
        _check_conditions(name, space, {**fixed, **point}, findings)
    return {name: value for name, value in point.items() if name not in fixed}


def read_scalar(text: str) -> Scalar:
    """Reads a value of undeclared kind: a number, true, false or else text."""
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def _read_value(text: str, parameter: Parameter) -> Any:
    """Returns the value of a text for a parameter, or None if it is not allowed."""
    if isinstance(parameter, Categorical | Fixed):
        choices = parameter.choices if isinstance(parameter, Categorical) else (parameter.value,)
        # The literal text first: the choice "1" is not the choice 1.
        literal = (choice for choice in choices if choice == text)
        parsed = (choice for choice in choices if same(choice, read_scalar(text)))
        return next(literal, next(parsed, None))
    value = read_scalar(text)
    if not parameter.contains(value):
        return None
    return float(value) if isinstance(parameter, Float) else int(value)


def _allowed(parameter: Parameter) -> str:
    match parameter:
        case Categorical():
            return listed(parameter.choices, "or")
        case Fixed():
            return f"{show(parameter.value)}, it is fixed"
        case Int() | Float():
            kind = "a whole number" if isinstance(parameter, Int) else "a number"
            steps = "" if parameter.step is None else f" in steps of {show(parameter.step)}"
            return f"{kind} from {show(parameter.low)} to {show(parameter.high)}{steps}"


def _check_conditions(
    name: str, space: SearchSpace, known: Mapping[str, Any], findings: Findings
) -> None:
    if space.is_active(name, known):
        return
    for parent, allowed in space[name].when.items():
        rule = f"applies only when {parent} is {listed(allowed, 'or')}"
        if parent not in known:
            findings.add(f"{rule}; give {parent}, too", name)
        elif not any(same(known[parent], value) for value in allowed):
            findings.add(f"{rule}; it is {show(known[parent])}", name)

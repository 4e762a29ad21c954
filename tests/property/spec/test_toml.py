"""Any study can be written and read again, and no file breaks the reader."""

from __future__ import annotations

import datetime as dt
import shlex
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo.errors import SpecError
from hpo.spec import toml
from hpo.spec.command_line import PLACEHOLDERS
from hpo.spec.parsing import BUDGET, KEYS, RESOURCES, VALIDATION
from hpo.spec.report_section import REPORT, group_of
from hpo.spec.space.search_space import Categorical, Fixed, Float, Int, SearchSpace
from hpo.spec.study_spec import StudySpec
from hpo.spec.toml_writer import render

NAMES = ["learning_rate", "momentum", "depth", "width", "optimizer", "größe"]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.floats(-1e12, 1e12)
SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | NUMBERS | TEXT
TOML_VALUES = st.recursive(
    SCALARS | st.dates() | st.times() | st.datetimes(timezones=st.none() | st.just(dt.UTC)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
GARBAGE = st.recursive(
    SCALARS | st.floats() | st.integers() | st.dates() | st.sampled_from(["tpe", "asha", "adam"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            TEXT
            | st.sampled_from([*KEYS, *BUDGET, *VALIDATION, *REPORT, *RESOURCES, *NAMES])
            | st.sampled_from(
                ["low", "high", "log", "step", "choices", "value", "when", "options"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


def _different(values: list[Any]) -> list[Any]:
    return [value for i, value in enumerate(values) if value not in values[:i]]


@st.composite
def dimensions(draw: st.DrawFn, parents: dict[str, list[Any]]) -> Any:
    when = {}
    if bool(parents) and draw(st.booleans()):
        parent = draw(st.sampled_from(sorted(parents)))
        values = st.lists(st.sampled_from(parents[parent]), min_size=1, max_size=3)
        when = {parent: _different(draw(values))}
    match draw(st.sampled_from(["float", "log", "int", "step", "categorical", "fixed"])):
        case "float":
            low, high = sorted(draw(st.tuples(NUMBERS, NUMBERS).filter(lambda p: p[0] != p[1])))
            return Float(low, high, when=when)
        case "log":
            low = draw(st.floats(1e-300, 1e12))
            return Float(low, low * draw(st.floats(1.5, 1e9)), log=True, when=when)
        case "int":
            low = draw(st.integers(1, 2**40))
            return Int(low, low + draw(st.integers(1, 2**40)), draw(st.booleans()), when=when)
        case "step":
            low, step = draw(st.integers(-99, 99)), draw(st.integers(1, 9))
            return Int(low, low + step * draw(st.integers(1, 9)), step=step, when=when)
        case "categorical":
            choices = draw(st.lists(SCALARS, min_size=1, max_size=4).map(_different))
            return Categorical(choices, when=when)
    return Fixed(draw(SCALARS), when=when)


BRACES = str.maketrans({"{": "{{", "}": "}}"})


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    parameters: dict[str, Any] = {}
    parents: dict[str, list[Any]] = {}
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        parameters[name] = parameter = draw(dimensions(parents))
        if isinstance(parameter, Categorical):
            parents[name] = list(parameter.choices)
        elif isinstance(parameter, Fixed):
            parents[name] = [parameter.value]
        elif isinstance(parameter, Int):
            parents[name] = [parameter.low]
    return SearchSpace({name: parameters[name] for name in draw(st.permutations(list(parameters)))})


PRINTABLE = st.text(st.characters(categories=["L", "N", "S"]), min_size=1, max_size=20)
SAMPLERS = st.sampled_from(["tpe", "random", {"learn_from": "none"}, {"name": "qmc"}])
RESOURCE_TABLES = st.fixed_dictionaries(
    {},
    optional={
        "gpus": st.sampled_from([0, 0.33, 1 / 3, 0.5, 1]),
        "cpus": st.integers(1, 4096),
        "memory": st.sampled_from(["16GiB", "1.5 GB", "500mb"]),
    },
)
PRUNERS = st.sampled_from(["asha", "none", {"name": "percentile", "percentile": 30}])


@st.composite
def studies(draw: st.DrawFn) -> StudySpec:
    metric = draw(st.lists(PRINTABLE, max_size=2, unique=True))
    directions = st.sampled_from(["maximize", "minimize"])
    has_direction = draw(st.booleans()) and metric
    return StudySpec(
        name=draw(PRINTABLE),
        task=draw(PRINTABLE),
        task_options=draw(st.dictionaries(TEXT, TOML_VALUES, max_size=3)),
        metric=metric or None,
        direction=[draw(directions) for _ in metric] if has_direction else None,
        space=draw(spaces()),
        budget={"trials": draw(st.integers(1, 10**9)), "hours": draw(st.none() | st.just(0.1))},
        sampler=draw(SAMPLERS),
        pruner=draw(PRUNERS),
        validation={"val_fraction": draw(st.floats(0.001, 0.7))},
        resources=draw(RESOURCE_TABLES),
        engine=draw(st.sampled_from(["auto", "solo"])),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


@st.composite
def commands(draw: st.DrawFn) -> StudySpec:
    space = draw(spaces().filter(len))
    metric = draw(st.lists(PRINTABLE.filter(lambda name: name != "epoch"), min_size=1, max_size=2))
    words = [
        draw(TEXT.filter(lambda text: text.isprintable() and text)).translate(BRACES)
        for _ in range(draw(st.integers(1, 3)))
    ]
    names = draw(st.lists(st.sampled_from([*space.names, *PLACEHOLDERS]), max_size=4))
    groups = "".join(f"(?P<{group}>.)" for group in {group_of(name) for name in metric})
    reports = st.sampled_from([{"pattern": f" {groups}"}, {"csv": "{seed}/m.csv"}, {}])
    return StudySpec(
        name=draw(PRINTABLE),
        command=" ".join([shlex.join(words), *(f"--{name}={{{name}}}" for name in names)]),
        metric=list(dict.fromkeys(metric)),
        space=space,
        budget={"hours": 0.1},
        report={**draw(reports), "resumes": draw(st.sampled_from(["auto", True, False]))},
    )


def _mistakes(make: Callable[[], Any]) -> SpecError | None:
    try:
        make()
    except SpecError as error:
        return error
    return None


@pytest.mark.slow
@settings(deadline=None)
@given(studies() | commands())
def test_what_is_written_is_read_again(spec: StudySpec) -> None:
    text = toml.dumps(spec)
    again = toml.loads(text)
    assert again == spec
    assert again.digest == spec.digest
    assert again.space.names == spec.space.names
    assert toml.dumps(again) == text


@pytest.mark.slow
@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS) | TEXT, GARBAGE, max_size=6))
def test_garbage_is_a_mistake_and_nothing_worse(table: dict[str, Any]) -> None:
    error = _mistakes(lambda: toml.loads(render(table)))
    if error is not None:
        str(error).encode()
        assert all("\n" not in problem.message for problem in error.problems)


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {"name": st.just("x"), "task": st.just("t"), "budget": st.just({"trials": 1})},
        optional=dict.fromkeys(
            ["space", "sampler", "pruner", "validation", "metric", "command", "report"], GARBAGE
        ),
    )
)
def test_garbage_in_a_part_is_a_mistake_of_that_part(table: dict[str, Any]) -> None:
    error = _mistakes(lambda: StudySpec(**table))
    if error is not None:
        parts = {problem.key.split(".")[0] for problem in error.problems}
        assert parts <= set(table) - {"name", "task", "budget"}


@pytest.mark.slow
@settings(deadline=None)
@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda b: b.decode("latin-1")))
def test_any_text_is_read_or_refused(text: str) -> None:
    error = _mistakes(lambda: toml.loads(text))
    assert error is None or str(error)

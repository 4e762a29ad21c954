"""Order and activity of parameters under any conditions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.errors import SpecError
from hpo.spec.space.search_space import Categorical, SearchSpace

CHOICES = ["a", "b", "c"]


@st.composite
def conditional_spaces(draw: st.DrawFn) -> SearchSpace:
    """Draws categoricals that depend on some of those drawn before, in a shuffled space."""
    names = [f"p{i}" for i in range(draw(st.integers(1, 8)))]
    allowed = st.lists(st.sampled_from(CHOICES), min_size=1, unique=True)
    parameters = {}
    for i, name in enumerate(names):
        parents = draw(st.lists(st.sampled_from(names[:i]), unique=True, max_size=2)) if i else []
        when = {parent: draw(allowed) for parent in parents}
        parameters[name] = Categorical(CHOICES, when=when)
    return SearchSpace({name: parameters[name] for name in draw(st.permutations(names))})


def _active(space: SearchSpace, name: str, params: dict[str, Any]) -> bool:
    return all(
        params.get(parent) in allowed and _active(space, parent, params)
        for parent, allowed in space[name].when.items()
    )


@pytest.mark.slow
@given(conditional_spaces())
def test_parents_come_first(space: SearchSpace) -> None:
    order = space.order()
    assert sorted(order) == sorted(space.names)
    for name in order:
        assert all(order.index(parent) < order.index(name) for parent in space[name].when)


@pytest.mark.slow
@given(conditional_spaces())
def test_without_conditions_between_them_the_files_order_stays(space: SearchSpace) -> None:
    free = [name for name in space.order() if not space[name].when]
    assert free == [name for name in space.names if not space[name].when]


@pytest.mark.slow
@given(conditional_spaces(), st.data())
def test_a_parameter_is_active_when_all_its_ancestors_allow_it(
    space: SearchSpace, data: st.DataObject
) -> None:
    everything = {name: data.draw(st.sampled_from(CHOICES)) for name in space}
    drawn: dict[str, Any] = {}
    for name in space.order():
        # Known so far or known in full: the answer is the same.
        assert space.is_active(name, drawn) == space.is_active(name, everything)
        assert space.is_active(name, everything) == _active(space, name, everything)
        if space.is_active(name, drawn):
            drawn[name] = everything[name]


@given(st.dictionaries(st.sampled_from("abcde"), st.sampled_from("abcde"), min_size=1))
def test_a_space_has_an_order_or_is_refused(parent_of: dict[str, str]) -> None:
    table: dict[str, Any] = dict.fromkeys("abcde", 1)
    for name, parent in parent_of.items():
        table[name] = {"value": 1, "when": {parent: 1}}
    in_circles = {name for name in parent_of if name in _ancestors(name, parent_of)}
    try:
        order = SearchSpace(table).order()
    except SpecError as error:
        named = {problem.key for problem in error.problems}
    else:
        named = set()
        assert len(order) == 5
    assert bool(named) == bool(in_circles)
    assert named <= in_circles


def _ancestors(name: str, parent_of: dict[str, str]) -> set[str]:
    found: set[str] = set()
    while name in parent_of and parent_of[name] not in found:
        name = parent_of[name]
        found.add(name)
    return found

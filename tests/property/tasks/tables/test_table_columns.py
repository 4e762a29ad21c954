"""Tables of any columns: read, told apart and encoded to finite numbers, or refused in one line."""

import string
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpo.errors import SpecError
from hpo.tasks.tables.table_columns import find_columns
from hpo.tasks.tables.table_encoding import TableEncoder
from hpo.tasks.tables.target_column import read_target

N = 24
SINGLE = [
    st.integers(-(2**70), 2**70),
    st.integers(0, 3),
    st.floats(),
    st.booleans(),
    st.text(max_size=4),
    st.text(string.digits + ".,-/?", max_size=10),
    st.dates().map(str),
    st.dates(),
    st.datetimes(),
    st.decimals(allow_nan=False),
    st.lists(st.integers(), max_size=1),
    st.binary(max_size=2),
    st.complex_numbers(),
]


@st.composite
def columns(draw: st.DrawFn) -> list[Any]:
    """Draws a column of one sort of values, or of two, with or without missing ones."""
    sort = draw(st.sampled_from(SINGLE))
    if draw(st.booleans()):
        sort = st.one_of(sort, draw(st.sampled_from([st.none(), *SINGLE])))
    return draw(st.lists(sort, min_size=N, max_size=N))


@given(st.lists(columns(), min_size=1, max_size=3))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
def test_every_table_becomes_finite_numbers(drawn: list[list[Any]]) -> None:
    frame = pd.DataFrame({f"c{i}": pd.Series(values) for i, values in enumerate(drawn)})
    found = find_columns(frame)
    kept = {name.partition(" (")[0] for name in (*found.numeric, *found.categorical)}
    assert kept | set(found.dropped) == set(frame.columns)
    assert not kept & set(found.dropped)
    if found.frame.empty:
        return
    encoder = TableEncoder(found.numeric, found.categorical)
    encoder.fit(found.frame.iloc[: N // 2], np.zeros(N // 2, dtype=np.int64))
    encoded = encoder.transform(found.frame)
    assert encoded.shape == (N, encoder.n_features)
    assert np.isfinite(encoded).all()
    assert np.abs(encoded).max(initial=0) <= 10


@given(columns(), st.sampled_from(["auto", "classification", "regression"]))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
def test_every_target_is_read_or_refused(drawn: list[Any], kind: str) -> None:
    column = pd.Series(drawn, name="y").dropna()
    if column.empty:
        return
    try:
        target = read_target(column, kind)
    except SpecError:
        return
    assert len(target.values) == len(column)
    assert kind in ("auto", target.kind)
    if target.kind == "regression":
        assert np.isfinite(target.values).all()

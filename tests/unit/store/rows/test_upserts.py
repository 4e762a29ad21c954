"""Columns of rows, as PostgreSQL reads an array."""

from __future__ import annotations

import math

import numpy as np
from optuna.trial import TrialState

from hpo.store.rows.upserts import array_text


def test_numbers_are_written_in_full() -> None:
    assert array_text([0.1, -0.0, 1e-320, math.inf]) == "{0.1,-0.0,1e-320,inf}"
    assert array_text([1, 2**40]) == "{1,1099511627776}"
    assert array_text([np.float64(0.1), 0.2, None]) == "{0.1,0.2,NULL}"
    assert array_text([np.float64(0.1)]) == "{0.1}"


def test_texts_are_quoted() -> None:
    assert array_text(["a", 'say "b"', "c\\d", "NULL", "", "{,}", "a"]) == (
        r'{"a","say \"b\"","c\\d","NULL","","{,}","a"}'
    )
    assert array_text(["a", None]) == '{"a",NULL}'


def test_members_are_written_by_their_names() -> None:
    assert array_text([TrialState.FAIL, None, TrialState.COMPLETE]) == "{FAIL,NULL,COMPLETE}"


def test_nothing_is_an_empty_array() -> None:
    assert array_text([]) == "{}"

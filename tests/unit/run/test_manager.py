"""What can be given to `hpo.run`."""

from typing import Any

import pytest

from hpo.errors import SpecError
from hpo.run.manager import prepare
from hpo.spec.study import StudySpec

SPEC = StudySpec(name="s", task="digits-mlp", budget={"trials": 2})


def test_overrides_that_are_none_of_a_study() -> None:
    with pytest.raises(SpecError) as caught:
        prepare(SPEC, overrides={"trails": 3, "zzz": 1, "epochs": 2})
    assert [(p.key, p.message) for p in caught.value.problems] == [
        ("trails", "unknown; did you mean trials?"),
        ("zzz", "unknown"),
    ]


@pytest.mark.parametrize("source", [3, {"name": "s"}])
def test_what_is_no_study(source: Any) -> None:
    with pytest.raises(
        SpecError, match=r"a study is a file, a name or a StudySpec; found (int|dict)"
    ):
        prepare(source)

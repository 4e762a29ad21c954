"""Which params trials of one structure have in common."""

from __future__ import annotations

from hpo.run.assignment.assigner import Layout
from hpo.run.assignment.structure_first import Stacking
from hpo.spec.space.params import Params
from hpo.spec.space.search_space import Categorical, Fixed, Float, Int, SearchSpace
from tests.kits.toy import Digits

SPACE = SearchSpace(
    {
        "batch_size": Categorical([16, 32]),
        "depth": Int(1, 3),
        "width": Fixed(8),
        "learning_rate": Float(0.01, 1.0),
    }
)
POINT = {"batch_size": 16, "depth": 2, "width": 8, "learning_rate": 0.1}


def test_the_batch_size_is_structural_until_stacks_share_it() -> None:
    known: list[Params] = []
    stacking = Stacking(Layout(Digits(), 100, SPACE), 8, lambda params: params in known)
    stacking.note([POINT])
    assert stacking.required == {"batch_size": 16, "depth": 2}
    assert stacking.names == ("batch_size", "depth")
    # The first trial of the structure has been trained by now.
    known.append(Params(POINT))
    assert stacking.required == {"depth": 2}
    assert stacking.names == ("depth",)


def test_trials_of_a_shared_structure_belong_together_whatever_their_batch_size() -> None:
    stacking = Stacking(Layout(Digits(), 100, SPACE), 8, lambda params: params["depth"] == 2)
    points = [{**POINT, "batch_size": size, "depth": d} for d in (2, 3) for size in (16, 32)]
    assert len({stacking.key(point) for point in points}) == 4
    for point in points[::2]:
        stacking.note([point] * 8)
        assert stacking.required is None
    assert [len({stacking.key(p) for p in two}) for two in (points[:2], points[2:])] == [1, 2]

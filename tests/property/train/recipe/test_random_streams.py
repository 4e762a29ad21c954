from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from hpo.train.recipe.random_streams import batch_bounds


@given(st.integers(1, 500), st.integers(1, 600))
def test_batches_hold_every_sample_once(n: int, batch_size: int) -> None:
    bounds = batch_bounds(n, batch_size)
    sizes = [end - begin for begin, end in bounds]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == n
    assert all(one[1] == other[0] for one, other in pairwise(bounds))
    assert all(size == batch_size for size in sizes[:-1])
    assert sizes[-1] <= batch_size + 1
    assert n == 1 or batch_size == 1 or min(sizes) > 1

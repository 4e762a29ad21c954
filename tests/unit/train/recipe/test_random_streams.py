from __future__ import annotations

import random

import numpy as np
import torch

from hpo.train.recipe.random_streams import Purpose, batch_bounds, derive, sample_order, seeded

CPU = torch.device("cpu")


def test_seeds_differ_by_trial_purpose_and_epoch() -> None:
    purposes: tuple[Purpose, ...] = ("weights", "order", "noise")
    seeds = [derive(s, p, e) for s in range(20) for p in purposes for e in range(20)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)
    # Written down: another number would change the outcome of every study.
    assert derive(7, "order", 3) == 4233973465


def test_orders_are_permutations_of_their_own() -> None:
    orders = [sample_order(50, seed, epoch) for seed in (1, 2) for epoch in (0, 1)]
    assert all(torch.equal(order.sort().values, torch.arange(50)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 4
    assert torch.equal(sample_order(50, 1, 0), orders[0])


def test_batches_keep_what_is_left() -> None:
    assert batch_bounds(10, 4) == [(0, 4), (4, 8), (8, 10)]
    assert batch_bounds(10, 10) == [(0, 10)]
    assert batch_bounds(3, 1) == [(0, 1), (1, 2), (2, 3)]


def test_a_single_sample_is_no_batch_unless_all_are() -> None:
    assert batch_bounds(9, 4) == [(0, 4), (4, 9)]
    assert batch_bounds(1, 4) == [(0, 1)]


def draw() -> tuple[float, float, float]:
    return random.random(), np.random.rand(), float(torch.rand(()))


def test_generators_are_seeded_and_put_back() -> None:
    with seeded(3, CPU):
        first = draw()
        with seeded(4, CPU):
            assert draw() != first
        second = draw()
    before = draw()
    with seeded(3, CPU):
        assert (draw(), draw()) == (first, second)
    assert draw() != before

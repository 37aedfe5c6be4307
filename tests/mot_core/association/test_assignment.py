"""Assignments against brute force over all partial matchings, and against the equivalent padded problem."""

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from _helpers.plain_trackers.common import match_padded
from mot_core.association.assignment import assign, assign_overlap, assign_then_threshold

shapes = st.tuples(st.integers(0, 4), st.integers(0, 4))
# Multiples of 1/64 are exact in float64: sums compare exactly, and ties are frequent.
steps = st.integers(0, 64).map(lambda n: n / 64)
forbidden = st.sampled_from([float("inf"), 7.0])
matrices = shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=steps))
with_forbidden = shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=st.one_of(steps, steps, forbidden)))


def all_matchings(n, m):
    for size in range(min(n, m) + 1):
        for rows in combinations(range(n), size):
            for columns in permutations(range(m), size):
                yield list(rows), list(columns)


def price(cost, rows, columns, limit):
    """Total cost: matched pairs by their cost, every unmatched row or column with half the limit."""
    alone = sum(cost.shape) - 2 * len(rows)
    return cost[rows, columns].sum() + alone * limit / 2


def assert_matching(rows, columns):
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert len(set(columns.tolist())) == len(columns) == len(rows)


@settings(max_examples=200, deadline=None)
@given(with_forbidden, steps.filter(bool))
def test_assign_is_optimal_among_partial_matchings(cost, limit):
    rows, columns = assign(cost, limit)
    assert_matching(rows, columns)
    assert (cost[rows, columns] < limit).all()
    assert price(cost, rows, columns, limit) == min(price(cost, *pairs, limit) for pairs in all_matchings(*cost.shape))


@settings(max_examples=100, deadline=None)
@given(st.tuples(st.integers(0, 9), st.integers(0, 9)), st.integers(0, 2**32 - 1), st.floats(0.05, 1))
def test_assign_equals_the_padded_problem(shape, seed, limit):
    cost = np.random.default_rng(seed).random(shape)  # no ties, so the best matching is unique
    rows, columns = assign(cost, limit)
    assert list(zip(rows, columns, strict=True)) == match_padded(cost, limit)


def test_thresholding_afterwards_differs():
    cost = np.array([[0.1, 0.6], [0.2, 1.5]])
    rows, columns = assign(cost, 0.9)
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])
    cost[0, 1] = 0.85  # 0.2 + 0.85 for two pairs, or 0.1 + 0.9 for one
    rows, columns = assign(cost, 0.9)
    assert (rows.tolist(), columns.tolist()) == ([0], [0])


def test_cost_equal_to_limit_is_unmatched():
    assert assign(np.array([[0.5]]), 0.5)[0].size == 0
    assert assign(np.array([[0.4999]]), 0.5)[0].size == 1


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_empty_matrices(shape):
    empty = np.zeros(shape)
    for part in (*assign(empty, 0.5), *assign_overlap(empty, empty, 0.3), *assign_then_threshold(empty, empty, 0.3)):
        assert part.shape == (0,)
        assert part.dtype.kind == "i"


def test_forbidden_pairs_only():
    rows, columns = assign(np.full((3, 2), np.inf), 0.9)
    assert len(rows) == len(columns) == 0


def test_assign_does_not_modify_input():
    cost = np.array([[0.1, 0.95]])
    assign(cost, 0.9)
    np.testing.assert_array_equal(cost, [[0.1, 0.95]])


@settings(max_examples=200, deadline=None)
@given(matrices, steps)
def test_assign_overlap_is_optimal_above_threshold(overlap, threshold):
    rows, columns = assign_overlap(overlap, overlap, threshold)
    assert_matching(rows, columns)
    assert (overlap[rows, columns] >= threshold).all()
    allowed = np.where(overlap >= threshold, overlap, -10.0)
    assert overlap[rows, columns].sum() == max(allowed[pairs].sum() for pairs in all_matchings(*overlap.shape))


@settings(max_examples=100, deadline=None)
@given(matrices, steps, st.booleans())
def test_assign_then_threshold_partitions_matches(overlap, threshold, keep_unique):
    rows, columns, dropped = assign_then_threshold(overlap, overlap, threshold, keep_unique=keep_unique)
    assert len(set(rows.tolist())) == len(set(columns.tolist())) == len(rows)
    assert (overlap[rows, columns] >= threshold).all()
    assert not set(columns.tolist()) & set(dropped.tolist())
    if not keep_unique:
        assert len(rows) + len(dropped) == min(overlap.shape)

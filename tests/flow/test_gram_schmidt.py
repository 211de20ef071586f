"""Gram–Schmidt: when one round is enough, and what mends a frame that it leaves."""

import numpy as np
import pytest
import tensorflow as tf

from keras_floss.flow.block_sweep import sweep
from keras_floss.flow.gram_schmidt import _at_once, _mend
from keras_floss.flow.rank import lost_rank, rank_is_safe

THIRD = np.arange(6)[:, None] == 3


def frame_of(k, dim, seed=0):
    """`(2, k, dim)`, orthonormal rows."""
    gaussian = np.random.default_rng(seed).standard_normal((2, dim, k))
    return np.linalg.qr(gaussian)[0].swapaxes(1, 2)


def after_one_round(rows):
    """Frame and factor."""
    k, dim = rows.shape[1:]
    identity = np.broadcast_to(np.eye(k, dtype=rows.dtype), (len(rows), k, k))
    done = sweep(tf.concat([rows, identity], axis=-1), 4, dim)
    return done[..., :dim], done[..., dim:]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: rows, True),
        (lambda rows: rows * np.geomspace(1, 1e-2, 6)[:, None], True),
        # One that is as small as the noise of the first.
        (lambda rows: rows * np.geomspace(1, 1e-6, 6)[:, None], False),
        (lambda rows: rows[:, :1] + 0.02 * rows, False),
        # Whose squares float32 does not hold.
        (lambda rows: 1e-18 * rows, False),
        (lambda rows: 1e18 * rows, False),
        (lambda rows: np.where(THIRD, np.nan, rows), False),
        (lambda rows: np.where(THIRD, 0, rows), False),
    ],
    ids=["plain", "graded", "noise", "parallel", "tiny", "huge", "nan", "zero"],
)
def test_when_one_round_is_enough(change, expected):
    rows = change(frame_of(6, 9)).astype("float32")
    assert bool(_at_once(tf.constant(rows), after_one_round(rows)[1])) is expected


def test_where_the_rank_is_safe_no_direction_is_lost():
    safe, lost = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        before = frame_of(6, 9, seed)
        # Components and rows of many sizes, as saturated units and dead directions make.
        rows = before @ rng.standard_normal((9, 9)) * 10.0 ** -rng.uniform(0, 5, 9)
        rows *= 10.0 ** -rng.uniform(0, 9, (6, 1))
        rows = (rows + rng.integers(2, size=(6, 1)) * rows[:, :1]).astype("float32")
        frame, factor = after_one_round(rows)
        lost.append(lost_rank(tf.constant(rows), before.astype("float32"), frame, factor))
        left, length = 1 / np.diagonal(factor, axis1=1, axis2=2) ** 2, (rows**2).sum(-1)
        # What is left of some is too small to be scaled.
        unit = np.abs(np.linalg.norm(frame, axis=-1) - 1) < 1e-3
        safe.append(unit & rank_is_safe(tf.constant(left), tf.constant(length), 9))
    safe, lost = np.concatenate(safe), np.concatenate(lost)
    assert safe.any()
    assert lost.any()
    assert not (safe & lost).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_frame_that_is_nearly_orthonormal_is_mended(dtype):
    rows = frame_of(6, 9) + 2e-3 * np.random.default_rng(1).standard_normal((2, 6, 9))
    rows[0, 3] = 0  # left out
    out = np.zeros((2, 6), bool)
    out[0, 3] = True
    rows = rows.astype(dtype)
    identity = np.eye(6) * ~out[..., None]
    rounds, frame, factor = _mend(tf.constant(rows), identity.astype(dtype), out)
    assert rounds == 0
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(
        frame @ tf.linalg.matrix_transpose(frame), identity, atol=9 * eps
    )
    np.testing.assert_allclose(factor @ rows, frame, atol=9 * eps)
    np.testing.assert_array_equal(np.triu(factor, 1), 0)


def test_a_frame_that_is_far_from_orthonormal_needs_another_round():
    rows = frame_of(6, 9) + 0.1 * np.random.default_rng(1).standard_normal((2, 6, 9))
    identity = np.broadcast_to(np.eye(6), (2, 6, 6))
    rounds, frame, factor = _mend(tf.constant(rows), identity, np.zeros((2, 6), bool))
    assert rounds == 1
    np.testing.assert_array_equal(frame, rows)
    np.testing.assert_array_equal(factor, identity)

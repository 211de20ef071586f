"""Frames of tangents: Gram–Schmidt, Householder, and which of them is taken."""

import numpy as np
import pytest
import tensorflow as tf
from reference import compiled

from keras_floss.lyapunov import frame as frames
from keras_floss.lyapunov.frame import householder, log_stretch, orthonormalise
from keras_floss.lyapunov.gram_schmidt import gram_schmidt
from keras_floss.lyapunov.xla import compiled_by_xla

WAYS = {"gram_schmidt": lambda a: gram_schmidt(a)[:2], "householder": householder}
ways = pytest.mark.parametrize("way", WAYS)
modes = pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])


def random_rows(batch, k, dim, dtype="float64"):
    rows = np.random.default_rng(0).standard_normal((batch, k, dim))
    # From row to row shorter, as tangents are.
    return (rows * np.exp(-0.5 * np.arange(k))[:, None]).astype(dtype)


def signed(frame, inverse):
    """Rows with the sign that makes the diagonal of R positive."""
    sign = np.sign(np.diagonal(inverse, axis1=-2, axis2=-1))[..., None]
    return sign * frame, sign * inverse


# 40 rows are several blocks, 16 sequences make them short.
@ways
@modes
@pytest.mark.parametrize(
    ("batch", "k", "dim"), [(1, 1, 1), (2, 4, 4), (1, 40, 50), (16, 12, 20)]
)
def test_frame_and_inverse_are_those_of_qr(way, xla, batch, k, dim):
    rows = random_rows(batch, k, dim)
    found = compiled(WAYS[way], xla)(tf.constant(rows))
    frame, inverse = signed(*(x.numpy() for x in found))

    q, r = np.linalg.qr(rows.swapaxes(1, 2))
    expected = signed(q.swapaxes(1, 2), np.linalg.inv(r).swapaxes(1, 2))
    np.testing.assert_allclose(frame, expected[0], atol=1e-9)
    np.testing.assert_allclose(inverse, expected[1], atol=1e-9 * abs(inverse).max())
    np.testing.assert_allclose(inverse @ rows, frame, atol=1e-9)
    np.testing.assert_allclose(
        frame @ frame.swapaxes(1, 2), np.broadcast_to(np.eye(k), (batch, k, k)), atol=1e-9
    )


@modes
@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_float32_bears_tangents_of_any_size(size, xla):
    rows = random_rows(1, 6, 9)
    wanted, _ = log_stretch(householder(tf.constant(rows))[1])
    found, lost = compiled(lambda a: log_stretch(orthonormalise(a)[1]), xla)(
        tf.constant((size * rows).astype("float32"))
    )
    assert not lost.numpy().any()
    np.testing.assert_allclose(found - np.log(size), wanted, atol=2e-5)


def nearly_dependent(dtype, sine):
    rows = random_rows(1, 3, 5)
    rows[0, 2] = rows[0, 1] + sine * np.linalg.norm(rows[0, 1]) * np.eye(5)[0]
    return rows.astype(dtype)


@pytest.mark.parametrize(
    ("rows", "taken"),
    [
        (random_rows(2, 4, 6, "float32"), "gram_schmidt"),
        (nearly_dependent("float32", 1e-2), "gram_schmidt"),
        (nearly_dependent("float32", 1e-5), "householder"),
        (nearly_dependent("float64", 1e-5), "gram_schmidt"),
        (np.zeros((1, 3, 5), "float32"), "householder"),
        (np.full((1, 3, 5), np.nan, "float32"), "householder"),
    ],
    ids=["random", "near", "nearer", "float64", "zero", "nan"],
)
def test_xla_takes_gram_schmidt_unless_tangents_are_nearly_dependent(rows, taken):
    rows = tf.constant(rows)
    found = compiled(orthonormalise, True)(rows)
    expected = compiled(WAYS[taken], True)(rows)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_lost_direction_is_lost_in_one_sequence_only():
    rows = random_rows(2, 3, 5)
    rows[1, 2] = rows[1, 0]
    for xla in (False, True):
        frame, inverse = compiled(orthonormalise, xla)(tf.constant(rows))
        lost = log_stretch(inverse)[1].numpy()
        np.testing.assert_array_equal(lost, [[False] * 3, [False, False, True]])
        gram = (frame @ tf.linalg.matrix_transpose(frame)).numpy()
        np.testing.assert_allclose(gram, np.broadcast_to(np.eye(3), gram.shape), atol=1e-12)


def test_graph_mode_takes_householder(monkeypatch):
    monkeypatch.setattr(frames, "gram_schmidt", None)
    compiled(orthonormalise, False)(tf.constant(random_rows(1, 2, 3)))


def test_rounded_products_are_not_taken_for_float32(monkeypatch):
    # TensorFloat-32, the default of GPUs that have it, keeps ten bits of a factor.
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a GPU"])
    monkeypatch.setattr(frames, "gram_schmidt", None)
    rows = random_rows(1, 2, 3)
    compiled(orthonormalise, True)(tf.constant(rows.astype("float32")))
    with pytest.raises(TypeError):  # float64 products are what they are
        compiled(orthonormalise, True)(tf.constant(rows))


def test_whether_xla_compiles_is_known_while_tracing():
    seen = []

    def note(x):
        seen.append(compiled_by_xla())
        return x

    def looped(x):
        step = tf.function(note, autograph=False)
        return tf.while_loop(lambda x: x < 1.0, lambda x: [step(x) + 1.0], [x])

    note(tf.constant(0.0))
    compiled(looped, False)(tf.constant(0.0))
    assert seen == [False, False]
    seen.clear()
    compiled(looped, True)(tf.constant(0.0))
    assert set(seen) == {True}

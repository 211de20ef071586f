"""Frames of tangents: Gram–Schmidt, Householder, and which of them is taken."""

import numpy as np
import pytest
import tensorflow as tf
from cells import MODES, cells
from reference import compiled, pretend_gpu

from keras_floss.flow import frame as frames
from keras_floss.flow.frame import log_stretch, orthonormalise
from keras_floss.flow.gram_schmidt import gram_schmidt
from keras_floss.flow.householder import householder
from keras_floss.utils.xla import compiled_by_xla, diagonal


def unit(rows):
    """The first unit vectors: rows that are made of these are exact in every entry."""
    return tf.broadcast_to(tf.eye(*rows.shape[1:], dtype=rows.dtype), rows.shape)


WAYS = {
    "fast": lambda rows: gram_schmidt(rows, unit(rows)),
    "small": lambda rows: gram_schmidt(rows, unit(rows), small=True),
    "householder": lambda rows: householder(rows, unit(rows)),
    "chosen": lambda rows: orthonormalise(rows, unit(rows)),
}
ALGORITHMS = "fast", "small", "householder"
ways = pytest.mark.parametrize("way", WAYS)
modes = pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])


def random_rows(batch, k, dim, dtype="float64"):
    rows = np.random.default_rng(0).standard_normal((batch, k, dim))
    # From row to row shorter, as tangents are.
    return (rows * np.exp(-0.5 * np.arange(k))[:, None]).astype(dtype)


def decomposed(rows, way, xla):
    return [x.numpy() for x in compiled(WAYS[way], xla)(tf.constant(rows))]


def check_orthonormal(frame, atol):
    gram = frame @ frame.swapaxes(1, 2)
    identity = np.broadcast_to(np.eye(frame.shape[1]), gram.shape)
    np.testing.assert_allclose(gram, identity, atol=atol)


def signed(frame, inverse):
    """Rows with the sign that makes the diagonal of R positive."""
    sign = np.sign(np.diagonal(inverse, axis1=-2, axis2=-1))[..., None]
    return sign * frame, sign * inverse


# 40 rows are several blocks, 16 sequences make them short.
@pytest.mark.parametrize(
    ("batch", "k", "dim", "xla", "way"),
    cells(
        [(1, 1, 1), (2, 4, 4), (1, 40, 50), (16, 12, 20)],
        MODES,
        [*WAYS],
        always=["*-graph-*", *(f"16-12-20-xla-{way}" for way in ALGORITHMS)],
    ),
)
def test_frame_and_inverse_are_those_of_qr(way, xla, batch, k, dim):
    rows = random_rows(batch, k, dim)
    frame, inverse = signed(*decomposed(rows, way, xla))

    q, r = np.linalg.qr(rows.swapaxes(1, 2))
    expected = signed(q.swapaxes(1, 2), np.linalg.inv(r).swapaxes(1, 2))
    np.testing.assert_allclose(frame, expected[0], atol=1e-9)
    np.testing.assert_allclose(inverse, expected[1], atol=1e-9 * abs(inverse).max())
    np.testing.assert_allclose(inverse @ rows, frame, atol=1e-9)
    check_orthonormal(frame, 1e-9)


@modes
@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_float32_bears_tangents_of_any_size(size, xla):
    rows = random_rows(1, 6, 9)
    wanted, _ = log_stretch(diagonal(WAYS["householder"](tf.constant(rows))[1]))
    found, lost = compiled(lambda a: log_stretch(diagonal(WAYS["chosen"](a)[1])), xla)(
        tf.constant((size * rows).astype("float32"))
    )
    assert not lost.numpy().any()
    np.testing.assert_allclose(found - np.log(size), wanted, atol=2e-5)


def nearly_dependent(dtype, sine):
    rows = random_rows(1, 3, 5)
    rows[0, 2] = rows[0, 1] + sine * np.linalg.norm(rows[0, 1]) * np.eye(5)[0]
    return rows.astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "sine", "xla", "way"),
    cells(
        [("float32", 0.1), ("float32", 1e-2), ("float32", 1e-5), ("float64", 1e-12)],
        MODES,
        [*WAYS],
        always=["*-graph-*", *(f"float32-1e-05-xla-{way}" for way in ALGORITHMS)],
    ),
)
def test_nearly_dependent_tangents_have_an_orthonormal_frame(way, xla, dtype, sine):
    rows = nearly_dependent(dtype, sine)
    frame, inverse = decomposed(rows, way, xla)
    eps = np.finfo(dtype).eps
    check_orthonormal(frame, 20 * eps)
    # R is right to the precision that is left.
    right = np.abs(np.diagonal(np.linalg.qr(rows[0].astype("float64").T)[1]))
    found = 1 / np.abs(np.diagonal(inverse[0]))
    np.testing.assert_allclose(found[:2], right[:2], rtol=10 * eps)
    np.testing.assert_allclose(found[2], right[2], rtol=10 * eps / sine)


@pytest.mark.slow
@ways
@modes
@pytest.mark.parametrize("lost", [(0,), (1,), (5,), (0, 1, 4), (0, 1, 2, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lost_directions_are_taken_out_of_r(way, xla, lost, dtype):
    # The second sequence has its full rank. Six rows in six dimensions: what takes the
    # place of a lost one has no choice.
    rows = random_rows(2, 6, 6)
    for i in lost:
        rows[0, i] = rows[0, max(i - 1, 0)] * (i > 0) * 0.7
    rows = rows.astype(dtype)
    frame, inverse = decomposed(rows, way, xla)
    found = log_stretch(diagonal(inverse))[1].numpy()
    np.testing.assert_array_equal(np.flatnonzero(found[0]), lost)
    assert not found[1].any()
    check_orthonormal(frame, 100 * np.finfo(dtype).eps)
    for i in lost:
        np.testing.assert_array_equal(inverse[0, i:, i], 0)
    # Nor has the place of a lost one a part in the others.
    kept = [i for i in range(6) if i not in lost]
    r = frame[0] @ rows[0].T
    r[list(lost)] = np.eye(6)[list(lost)]
    expected = np.linalg.inv(r.astype("float64")).T
    atol = 1e3 * np.finfo(dtype).eps * np.abs(inverse[0]).max()
    ij = np.ix_(kept, kept)
    np.testing.assert_allclose(inverse[0][ij], expected[ij], atol=atol)
    # They are what they would be without it.
    alone = np.diagonal(np.linalg.qr(rows[0, kept].astype("float64").T)[1])
    stretch = np.abs(np.diagonal(inverse[0])[kept])
    np.testing.assert_allclose(stretch * np.abs(alone), 1, rtol=1e-4)


@pytest.mark.parametrize(
    ("xla", "way"), cells(MODES, [*WAYS], always=["graph-*", "xla-householder"])
)
def test_a_nan_stays(way, xla):
    rows = random_rows(2, 3, 5)
    rows[1, 1, 1] = np.nan
    frame, inverse = decomposed(rows, way, xla)
    assert np.isfinite(frame[0]).all()
    assert np.isnan(log_stretch(diagonal(inverse))[0][1]).any()


def test_xla_takes_gram_schmidt(monkeypatch):
    monkeypatch.setitem(frames.ALGORITHMS, "householder", None)
    compiled(WAYS["chosen"], True)(tf.constant(random_rows(1, 2, 3)))


def test_graph_mode_takes_householder(monkeypatch):
    monkeypatch.setitem(frames.ALGORITHMS, "gram-schmidt", None)
    compiled(WAYS["chosen"], False)(tf.constant(random_rows(1, 2, 3)))


def test_rounded_products_are_not_taken_for_float32(monkeypatch):
    pretend_gpu(monkeypatch, compute_capability=(8, 0))
    monkeypatch.setitem(frames.ALGORITHMS, "gram-schmidt", None)
    rows = random_rows(1, 2, 3)
    compiled(WAYS["chosen"], True)(tf.constant(rows.astype("float32")))
    with pytest.raises(TypeError):  # float64 products are what they are
        compiled(WAYS["chosen"], True)(tf.constant(rows))


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

"""Random cells, gains up to 10, masks and options: agreement, and never a NaN.

Cells and options are drawn beforehand, for a trace takes a second; weights, gain, inputs
and masks are drawn by hypothesis. A mask makes shorter sequences and smaller batches.
"""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import MODES, cells
from reference import compiled, definition, dual_step

from keras_floss import lyapunov_exponents
from keras_floss.flow.loss import flossing_loss

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies
layers = keras.layers
EPS = np.finfo("float64").eps
KINDS = [
    layers.SimpleRNNCell,
    functools.partial(layers.GRUCell, reset_after=False),
    layers.GRUCell,
    layers.LSTMCell,
]
TIME, BATCH, PROBLEMS = 8, 3, 50


class Problem:
    """A random cell and random options, traced once."""

    def __init__(self, number):
        rng, wide = np.random.default_rng(number), {"dtype": "float64"}

        def random_cell(kind):
            activation = rng.choice(["tanh", "relu", "sigmoid", "linear"])
            return kind(int(rng.integers(1, 6)), activation=str(activation), **wide)

        kind = [*KINDS, None][number % 5]
        if kind is None:
            cells = [random_cell(KINDS[rng.integers(4)]) for _ in range(2)]
            cell = layers.StackedRNNCells(cells, **wide)
        else:
            cell = random_cell(kind)
        self.layer = layers.RNN(cell, **wide)
        self.features = int(rng.integers(1, 4))
        self.layer.build((BATCH, TIME, self.features))
        self.sizes = keras.tree.flatten(cell.state_size)
        self.options = {
            "k": int(rng.integers(1, sum(self.sizes) + 1)),
            "warmup": int(rng.choice([0, 0, 1, 2, 5])),
            "qr_interval": int(rng.choice([1, 1, 2, 3, TIME])),
        }
        # A partial counts as a function of its own, and is no retracing of another.
        self.flow = tf.function(functools.partial(Problem._flow, self), autograph=False)

    def _flow(self, inputs, mask, states):
        """Exponents, flossing loss, and its gradients in everything."""
        with tf.GradientTape() as tape:
            tape.watch([inputs, states])
            exponents = lyapunov_exponents(
                self.layer, inputs, initial_state=states, mask=mask, **self.options
            )
            valid = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
            loss = flossing_loss(exponents, tf.maximum(valid - self.options["warmup"], 0))
        sources = [inputs, *states, *self.layer.trainable_weights]
        return exponents, loss, tape.gradient(loss, sources)

    def __repr__(self):
        cell = self.layer.cell
        cells = getattr(cell, "cells", [cell])
        each = [(type(c).__name__, c.units, c.activation.__name__) for c in cells]
        return f"{each}, {self.features} features, {self.options}"


problem = functools.cache(Problem)


def expected(cell, inputs, mask, states, options):
    """Exponents of one sequence, and the error that rounding may make in each.

    Rounding changes numbers by EPS of themselves. What a change of ETA does, three times
    at random in weights and inputs, and at all steps in state, Jacobian, frame and in the
    columns before a QR, times EPS / ETA, is what one rounding of each does. There are
    tens of roundings in one number (sums of up to 20 terms, products, QR), and three
    draws may come out low: hence the 300.

    The error is infinite from the first direction on that has come within 10⁴ roundings
    of a collapse: that may be found in one computation and not in the other, and the
    frame holds an arbitrary vector afterwards. Nor does TensorFlow have numbers below
    1e-308.
    """
    rng, eta = np.random.default_rng(0), 1e-13

    def noise(x):
        return x * (1 + eta * rng.standard_normal(x.shape))

    given = (inputs, states, mask)
    exponents, stretches = definition(dual_step(cell), *given, **options)
    error = np.full(len(exponents), 1e-14)
    for _ in range(3):
        moved = definition(dual_step(cell, noise), *given, **options, noise=noise)
        with np.errstate(invalid="ignore"):
            change = np.abs(moved.exponents - exponents)
        error = np.maximum(error, 300 * EPS / eta * change)
    near = 1e4 * sum(map(len, states)) * EPS * stretches.max(axis=1, keepdims=True)
    near = np.maximum(near, 1e-290)
    error[np.maximum.accumulate((stretches <= near).any(axis=0))] = np.inf
    return exponents, error


def check(number, gain, seed, mask, ratios):
    """One case; puts error / allowed error of each exponent into `ratios`."""
    p, rng, mask = problem(number), np.random.default_rng(seed), np.array(mask)
    for v in p.layer.weights:
        v.assign(gain * rng.standard_normal(v.shape))
    inputs = rng.standard_normal((*mask.shape, p.features))
    states = [rng.standard_normal((BATCH, d)) for d in p.sizes]
    exponents, loss, gradients = p.flow(inputs, mask, states)
    # Where no direction is left it is ∞.
    counted = exponents.numpy()[mask.sum(axis=1) > p.options["warmup"]]
    dead = len(counted) > 0 and np.isneginf(counted).all()
    assert np.isposinf(loss) if dead else np.isfinite(loss)
    for gradient in gradients:
        assert np.isfinite(gradient).all()
    for b, actual in enumerate(exponents.numpy()):
        if mask[b].sum() <= p.options["warmup"]:
            assert np.isnan(actual).all()
            continue
        assert not np.isnan(actual).any()
        assert (actual < np.inf).all()
        state = [s[b] for s in states]
        values, error = expected(p.layer.cell, inputs[b], mask[b], state, p.options)
        known = np.isfinite(error)
        ratio = np.abs(actual[known] - values[known]) / error[known]
        ratios += [*ratio, *np.full(np.sum(~known), np.nan)]
        assert (ratio <= 1).all(), f"{p}: {actual} is not {values} ± {error}"


any_row = st.lists(st.booleans(), min_size=TIME, max_size=TIME)
# A shorter sequence, padded, and one that is not there at all.
padded_row = st.integers(0, TIME).map(lambda n: [t < n for t in range(TIME)])


@pytest.mark.slow
def test_random_cases_agree_with_the_definition_and_have_finite_gradients():
    ratios = []

    @hypothesis.settings(
        max_examples=500,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    @hypothesis.given(
        number=st.integers(0, PROBLEMS - 1),
        gain=st.floats(0, 10),
        seed=st.integers(0, 1000),
        mask=st.lists(any_row | padded_row, min_size=BATCH, max_size=BATCH),
    )
    # Tangents whose squares underflow.
    @hypothesis.example(number=0, gain=1e-194, seed=77, mask=[[True] * TIME] * BATCH)
    def holds(number, gain, seed, mask):
        check(number, gain, seed, mask, ratios)

    holds()
    # Most exponents were compared.
    assert np.isfinite(ratios).mean() > 0.5


@pytest.mark.parametrize(
    ("dtype", "power", "xla"),
    cells([("float32", -80), ("float64", -600)], MODES, always=["*-graph", "float32-*"]),
)
def test_tangents_may_be_so_short_that_their_squares_underflow(dtype, power, xla):
    # A tanh is as flat as 2⁻⁸⁰ at 28. A factor in a linear map is one in every stretch.
    rng, layer = np.random.default_rng(0), layers.SimpleRNN(4, "linear", dtype=dtype)
    layer.build((None, None, 1))
    kernel, inputs = rng.standard_normal((4, 4)), np.zeros((1, 6, 1))

    def exponents(recurrent_kernel):
        layer.weights[1].assign(recurrent_kernel)
        return compiled(lambda x: lyapunov_exponents(layer, x), xla)(inputs).numpy()

    # A power of two makes no rounding: only that of a logarithm near 400 is left.
    shift, tolerance = power * np.log(2), 1e-4 if dtype == "float32" else 1e-12
    short, long = exponents(2.0**power * kernel), exponents(kernel)
    np.testing.assert_allclose(short - shift, long, rtol=0, atol=tolerance)

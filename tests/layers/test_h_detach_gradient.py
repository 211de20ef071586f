"""The gradient of HDetachLSTM is that of an LSTM with the drawn steps cut."""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from h_detach_reference import backward, blocks, forward
from reference import compiled, jacobians

from keras_floss.layers import HDetachLSTM, HDetachLSTMCell

BATCH, TIME, FEATURES, UNITS, SEED = 3, 6, 2, 3, 5
RNG = np.random.default_rng(0)
X = RNG.standard_normal((BATCH, TIME, FEATURES))
STATES = [0.5 * RNG.standard_normal((BATCH, UNITS)) for _ in range(2)]
TARGET = RNG.standard_normal((BATCH, TIME, UNITS))
WEIGHTS = [
    RNG.standard_normal(shape)
    for shape in [(FEATURES, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,)]
]
FULL = np.ones((BATCH, TIME), bool)
ALL, NONE = [True] * TIME, [False] * TIME


def padding(*rows):
    return np.array([[step == "x" for step in row] for row in rows])


MASKS = {
    "full": FULL,
    "left": padding("xxxxxx", "...xxx", ".....x"),
    "right": padding("xxx...", "x.....", "xxxxxx"),
    "middle": padding("xx..xx", "xxxxxx", "x.x.x."),
}


def gradients(rnn, x, mask, states, weights, training=True, target=TARGET):
    """Of ½Σ(y_t − target)², which sees every h_t; `rnn` has the weights `weights`."""
    with tf.GradientTape() as tape:
        tape.watch([x, states])
        y = rnn(x, mask=mask, initial_state=states, training=training)
        loss = tf.reduce_sum((y - tf.cast(target, y.dtype)) ** 2) / 2
    return tape.gradient(loss, [x, *states, *(w.value for w in weights)])


def numpy_gradients(mask, blocked, detach="h"):
    outputs, steps = forward(WEIGHTS, X, STATES, mask)
    return backward(WEIGHTS, steps, outputs - TARGET, blocked, detach)


def assert_close(ours, theirs, atol=1e-10):
    # Float64, sums of some 100 numbers of order 1: 1e-10 leaves a factor of 1e4.
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


def assert_equal(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def differ(ours, theirs):
    return max(np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True)) > 1e-3


def built(rnn):
    rnn.build((None, TIME, FEATURES))
    rnn.set_weights(WEIGHTS)
    return rnn


def make(detach_rate=1.0, detach="h", seed=SEED, **options):
    options = {"return_sequences": True, "dtype": "float64", **options}
    return built(HDetachLSTM(UNITS, detach_rate, detach, seed=seed, **options))


def eager(rnn, mask=None, x=X, **options):
    states = [tf.constant(s) for s in STATES]
    result = gradients(rnn, tf.constant(x), mask, states, rnn.weights, **options)
    return [g.numpy() for g in result]


class Traced:
    """A layer whose gradient is traced once, and a cell that draws what it draws."""

    def __init__(self, detach, xla):
        self.detach = detach
        self.layer = make(0.5, detach)
        self.twin = HDetachLSTMCell(UNITS, 0.5, detach, seed=SEED)
        weights = self.layer.weights
        self.function = compiled(
            lambda x, mask, states: gradients(self.layer, x, mask, states, weights), xla
        )

    def __call__(self, rate, mask=FULL):
        """Gradients, and at which steps they should have been blocked."""
        self.layer.detach_rate.assign(rate)
        self.twin.detach_rate.assign(rate)
        states = [tf.constant(s) for s in STATES]
        result = self.function(tf.constant(X), tf.constant(mask), states)
        return [g.numpy() for g in result], self.twin.draw(TIME).numpy()


@pytest.fixture(scope="module")
def traced():
    return functools.cache(Traced)


XLA = pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
# XLA compiles each function for seconds.
BOTH = pytest.mark.parametrize(
    ("detach", "xla"),
    [
        ("h", False),
        ("c", False),
        ("h", True),
        pytest.param("c", True, marks=pytest.mark.slow),
    ],
)


@BOTH
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_at_rate_1_every_step_is_cut(traced, mask, detach, xla):
    ours, _ = traced(detach, xla)(1.0, mask)
    assert_close(ours, numpy_gradients(mask, ALL, detach))
    assert differ(ours, numpy_gradients(mask, NONE))


@BOTH
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_between_0_and_1_the_drawn_steps_are_cut_for_the_whole_batch(
    traced, mask, detach, xla
):
    net, draws = traced(detach, xla), set()
    for _ in range(5):
        ours, blocked = net(0.5, mask)
        assert_close(ours, numpy_gradients(mask, blocked, detach))
        draws.add(tuple(blocked))
    # Of 64 equally likely ones: a draw is a new one at each call.
    assert len(draws) > 3


@XLA
def test_at_rate_0_it_is_the_gradient_of_the_lstm(traced, xla):
    lstm = keras.layers.LSTM(UNITS, return_sequences=True, use_cudnn=False, dtype="float64")
    weights = built(lstm).weights
    theirs = compiled(lambda x, m, s: gradients(lstm, x, m, s, weights), xla)
    for mask in MASKS.values():
        ours, _ = traced("h", xla)(0.0, mask)
        expected = theirs(
            tf.constant(X), tf.constant(mask), [tf.constant(s) for s in STATES]
        )
        if xla:
            # The same sums, which XLA may fuse in another order.
            assert_close(ours, expected, atol=1e-13)
        else:
            assert_equal(ours, expected)
        assert_close(ours, numpy_gradients(mask, NONE))


def test_without_training_nothing_is_cut_and_nothing_drawn():
    layer, twin = make(1.0), HDetachLSTMCell(UNITS, 0.5, seed=SEED)
    for _ in range(3):
        assert_close(eager(layer, training=False), numpy_gradients(None, NONE))
    layer.detach_rate.assign(0.5)
    blocked = twin.draw(TIME).numpy()
    assert 0 < blocked.sum() < TIME
    assert_close(eager(layer), numpy_gradients(None, blocked))


def test_seeds():
    first, same, other = (make(0.5, seed=seed) for seed in (1, 1, 2))
    for _ in range(2):
        one = eager(first)
        assert_equal(one, eager(same))
        assert differ(one, eager(other))
    # Without one every layer has its own: of 2^-100 is the chance of a repetition.
    draws = [HDetachLSTMCell(UNITS, 0.5).draw(100).numpy() for _ in range(2)]
    assert np.any(draws[0] != draws[1])


@pytest.mark.parametrize(
    "options", [{"unroll": True}, {"implementation": 1}], ids=["unroll", "implementation"]
)
def test_how_it_is_computed_does_not_matter(options):
    layer, twin = make(0.5, **options), HDetachLSTMCell(UNITS, 0.5, seed=SEED)
    for _ in range(2):
        blocked = twin.draw(TIME).numpy()
        assert_close(eager(layer), numpy_gradients(None, blocked))


def test_going_backwards():
    ours = eager(make(1.0, go_backwards=True))
    outputs, steps = forward(WEIGHTS, X[:, ::-1], STATES)
    expected = backward(WEIGHTS, steps, outputs - TARGET, ALL)
    expected[0] = expected[0][:, ::-1]
    assert_close(ours, expected)


@pytest.mark.parametrize("detach", ["h", "c"])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float32"])
def test_in_every_precision(policy, detach):
    """At rate 1 nothing arrives at h_0 (or c_0), exactly, and something at the other."""
    layer = make(1.0, detach, dtype=policy)
    twin = HDetachLSTMCell(UNITS, 0.5, seed=SEED)
    _, by_h, by_c, *_ = eager(layer)
    cut, left = (by_h, by_c) if detach == "h" else (by_c, by_h)
    assert not cut.any()
    assert np.abs(left).min() > 0
    # And the draws are those of float64: the second is at 0.5.
    layer.detach_rate.assign(0.5)
    twin.draw(TIME)
    blocked = twin.draw(TIME).numpy()
    expected = numpy_gradients(None, blocked, detach)
    # bfloat16 has 8 bits, and up to six steps of it stand between.
    tolerance = 1e-5 if policy == "float32" else 0.1
    for a, b in zip(eager(layer), expected, strict=True):
        assert np.abs(a - b).max() <= tolerance * np.abs(b).max()


def test_both_directions_of_a_bidirectional():
    layer = keras.layers.Bidirectional(make(1.0))
    states = [tf.constant(s) for s in STATES * 2]
    with tf.GradientTape() as tape:
        tape.watch(states)
        loss = tf.reduce_sum(layer(X, initial_state=states, training=True) ** 2)
    by_states = tape.gradient(loss, states)
    assert [bool(np.any(g)) for g in by_states] == [False, True, False, True]


def test_one_layer_on_the_other_and_cells_in_one_layer():
    """Both are the reverse pass of the second and then of the first."""
    above = RNG.standard_normal((UNITS, 4 * UNITS))
    weights = [WEIGHTS, [above, *WEIGHTS[1:]]]
    zeros = [np.zeros((BATCH, UNITS))] * 2
    middle, first = forward(weights[0], X, zeros)
    outputs, second = forward(weights[1], middle, zeros)
    by_middle, _, _, *upper = backward(weights[1], second, outputs - TARGET, ALL)
    by_inputs, _, _, *lower = backward(weights[0], first, by_middle, ALL)

    def check(model):
        model.build((None, TIME, FEATURES))
        model.set_weights(sum(weights, []))
        x = tf.constant(X)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum((model(x, training=True) - TARGET) ** 2) / 2
        ours = tape.gradient(loss, [x, *(w.value for w in model.weights)])
        assert_close(ours, [by_inputs, *lower, *upper])

    options = {"return_sequences": True, "dtype": "float64"}
    check(keras.Sequential([HDetachLSTM(UNITS, 1.0, **options) for _ in range(2)]))
    cells = [HDetachLSTMCell(UNITS, 1.0, dtype="float64") for _ in range(2)]
    cells = keras.layers.StackedRNNCells(cells, dtype="float64")
    check(keras.layers.RNN(cells, **options))


def test_a_cell_in_a_layer_of_its_own_draws_at_every_step():
    cell = HDetachLSTMCell(UNITS, 0.5, seed=SEED, dtype="float64")
    rnn = built(keras.layers.RNN(cell, return_sequences=True, dtype="float64"))
    all_blocked = list(itertools.product([False, True], repeat=TIME))
    possible = [numpy_gradients(None, blocked) for blocked in all_blocked]

    def draw():
        ours = eager(rnn)
        (found,) = [
            b for b, p in zip(all_blocked, possible, strict=True) if not differ(ours, p)
        ]
        assert_close(ours, numpy_gradients(None, found))
        return found

    assert len({draw() for _ in range(4)}) > 1


def test_under_time_distributed():
    """Sequences of sequences: those of one sequence are a batch each."""
    layer = make(1.0, return_sequences=False)
    x = tf.constant(X[:, None].repeat(2, axis=1) * [[[[1.0]], [[-0.5]]]])
    distributed = keras.layers.TimeDistributed(layer, dtype="float64")
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(distributed(x, training=True) ** 2) / 2
    ours = tape.gradient(loss, x)
    for k in range(2):
        outputs, steps = forward(WEIGHTS, x[:, k].numpy(), [np.zeros((BATCH, UNITS))] * 2)
        outputs[:, :-1] = 0
        assert_close([ours[:, k]], backward(WEIGHTS, steps, outputs, ALL)[:1])


@pytest.mark.parametrize("options", [{"dropout": 0.4}, {"recurrent_dropout": 0.4}], ids=str)
def test_with_dropout_at_rate_0_it_is_the_gradient_of_the_lstm(options):
    """The first call, in which both have drawn from the same seed the same dropout."""
    lstm = keras.layers.LSTM(
        UNITS,
        seed=SEED,
        return_sequences=True,
        use_cudnn=False,
        dtype="float64",
        **options,
    )
    expected = eager(built(lstm))
    # What arrives at h_{t-1} from the four gates is added up in another order.
    assert_close(eager(make(0.0, **options)), expected, atol=1e-13)
    assert differ(eager(make(1.0, **options)), expected)


# The rest is about the matrices of the paper, with two units and five steps.
STEPS, SMALL = 5, 2
SEQUENCE = RNG.standard_normal((STEPS, FEATURES))
START = 0.5 * RNG.standard_normal((2, SMALL))  # h, c
P = 0.3


@pytest.fixture(scope="module")
def small():
    """A cell with weights of some size, so that what is cut is not small."""
    cell = keras.layers.LSTMCell(SMALL, dtype="float64")
    cell.build((None, FEATURES))
    rng = np.random.default_rng(3)
    cell.set_weights([1.5 * rng.standard_normal(w.shape) for w in cell.weights])
    return cell


def test_the_blocks_add_up_to_the_jacobian_of_the_step(small):
    linear, rest = blocks(small.get_weights(), SEQUENCE, *START)
    # The Jacobians whose products the Lyapunov exponents are of; their order is (h, c).
    swap = np.roll(np.arange(2 * SMALL), SMALL)
    known = jacobians(small, SEQUENCE, START.reshape(-1))
    assert_close(linear + rest, [j[swap][:, swap] for j in known], atol=1e-13)

    cell = HDetachLSTMCell(SMALL, 0.0, dtype="float64")
    cell.build((None, FEATURES))
    cell.set_weights(small.get_weights())
    state = tf.constant(START[::-1].reshape(1, -1))
    for x, expected in zip(SEQUENCE, linear + rest, strict=True):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(state)
            c, h = tf.split(state, 2, axis=1)
            _, (h, c) = cell(x[None], [h, c], training=True)
            new = tf.concat([c, h], axis=1)
        (actual,) = tape.batch_jacobian(new, state, experimental_use_pfor=False)
        assert_close([actual], [expected], atol=1e-13)
        state = new


def chain(matrices):
    """The product M_T ... M_1."""
    return functools.reduce(lambda product, m: m @ product, matrices)


NUMBER = 4000


@pytest.fixture(scope="module", params=["h", "c"])
def sampled(request, small):
    """ds_T/ds_0 of the layer in NUMBER calls, and what is cut of A_t + B_t, and kept.

    One sequence for each row of the Jacobian, all of them with one draw.
    """
    layer = HDetachLSTM(
        SMALL, P, request.param, return_state=True, unroll=True, seed=1, dtype="float64"
    )
    layer.build((None, STEPS, FEATURES))
    layer.set_weights(small.get_weights())
    rows = 2 * SMALL
    x = tf.constant(np.tile(SEQUENCE, (rows, 1, 1)))
    states = [tf.constant(np.tile(s, (rows, 1))) for s in START]

    def one(_):
        with tf.GradientTape() as tape:
            tape.watch(states)
            _, h, c = layer(x, initial_state=states, training=True)
            diagonal = tf.linalg.diag_part(tf.concat([c, h], axis=1))
        h, c = tape.gradient(diagonal, states)
        return tf.concat([c, h], axis=1)

    draws = compiled(lambda: tf.map_fn(one, tf.range(NUMBER), tf.float64), False)
    linear, rest = blocks(small.get_weights(), SEQUENCE, *START)
    cut, kept = (rest, linear) if request.param == "h" else (linear, rest)
    return draws().numpy(), cut, kept


def test_the_mean_of_the_jacobians_is_the_product_of_the_means(sampled):
    draws, cut, kept = sampled
    expected = chain(kept + (1 - P) * cut)
    errors = draws.std(axis=0) / np.sqrt(NUMBER)
    deviations = (draws.mean(axis=0) - expected) / errors
    assert np.abs(deviations).max() < 4.5  # of 16 numbers: by chance once in 10000
    # What a wrong probability, or a cut that does not happen, would give is far away.
    for p in (0, P - 0.1, P + 0.1, 1):
        assert np.abs((chain(kept + (1 - p) * cut) - expected) / errors).max() > 9


@pytest.fixture(scope="module")
def patterns(sampled):
    """Which steps were blocked in each call, `(NUMBER, STEPS)`, read off the Jacobian."""
    draws, cut, kept = sampled
    every = np.array(list(itertools.product([0, 1], repeat=STEPS)))
    possible = [chain(kept + (1 - p)[:, None, None] * cut) for p in every]
    distances = np.abs(draws[:, None] - np.array(possible)).max(axis=(2, 3))
    nearest = np.sort(distances)[:, :2]
    # Each is the product for one pattern, to rounding, and that of no other.
    assert nearest[:, 0].max() < 1e-12
    assert nearest[:, 1].min() > 1e-6
    return every[distances.argmin(axis=1)]


def test_every_step_is_blocked_with_probability_p(patterns):
    error = np.sqrt(P * (1 - P) / NUMBER)
    assert np.abs(patterns.mean(axis=0) - P).max() < 4 * error
    assert abs(patterns.mean() - P) < 4 * error / np.sqrt(STEPS)


def test_draws_of_other_steps_and_calls_are_independent(patterns):
    # This call's and the next one's, as ten columns.
    both = np.hstack([patterns[:-1], patterns[1:]])
    correlations = np.corrcoef(both.T)[np.triu_indices(2 * STEPS, 1)]
    assert np.abs(correlations).max() < 4 / np.sqrt(NUMBER)

"""HDetachLSTM computes what LSTM computes with the same weights, training or not."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import compiled

from keras_floss.layers import HDetachLSTM, HDetachLSTMCell

layers = keras.layers
BATCH, TIME, FEATURES, UNITS = 3, 6, 2, 4
RNG = np.random.default_rng(0)
X = RNG.standard_normal((BATCH, TIME, FEATURES)).astype("float32")
STATES = [RNG.standard_normal((BATCH, UNITS)).astype("float32") for _ in range(2)]
EVERYTHING = {"return_sequences": True, "return_state": True}
TRAINING = pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])


def padding(*rows):
    return np.array([[step == "x" for step in row] for row in rows])


MASKS = {
    "full": np.ones((BATCH, TIME), bool),
    "left": padding("xxxxxx", "...xxx", "......"),
    "right": padding("xxx...", "x.....", "xxxxxx"),
    "middle": padding("xx..xx", "xxxxxx", "x.x.x."),
}


def lstm(**options):
    return layers.LSTM(UNITS, use_cudnn=False, **options)


def randomize(layer):
    rng = np.random.default_rng(1)
    for v in layer.weights:
        v.assign(rng.standard_normal(v.shape))


def pair(detach="h", detach_rate=0.5, **options):
    """An LSTM and an HDetachLSTM with the same random weights."""
    plain = lstm(**options)
    ours = HDetachLSTM(UNITS, detach_rate, detach, **options)
    for layer in (plain, ours):
        layer.build((BATCH, TIME, FEATURES))
    randomize(plain)
    ours.set_weights(plain.get_weights())
    return plain, ours


def assert_equal(ours, theirs):
    ours, theirs = keras.tree.flatten(ours), keras.tree.flatten(theirs)
    assert [a.dtype for a in ours] == [b.dtype for b in theirs]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_go_both_ways():
    plain, ours = lstm(), HDetachLSTM(UNITS)
    for layer in (plain, ours):
        layer.build((None, TIME, FEATURES))
    assert [v.name for v in ours.weights] == [v.name for v in plain.weights]
    assert [v.shape for v in ours.weights] == [v.shape for v in plain.weights]
    for source, copy in ((plain, ours), (ours, plain)):
        randomize(source)
        copy.set_weights([w + 0.5 for w in source.get_weights()])
        source.set_weights(copy.get_weights())
        assert_equal(ours(X), plain(X))


def test_initial_weights_are_those_of_the_lstm():
    made = []
    for make in (lstm, lambda: HDetachLSTM(UNITS)):
        keras.utils.set_random_seed(3)
        made.append(make())
        made[-1].build((None, TIME, FEATURES))
    assert_equal(made[1].get_weights(), made[0].get_weights())


def assert_same_numbers(options, wrap, masks):
    plain, ours = pair(**{**EVERYTHING, **options})

    def outputs(x, mask, states):
        call = {"mask": mask, "initial_state": states}
        return plain(x, **call), [ours(x, training=t, **call) for t in (True, False)]

    function = wrap(outputs)
    for mask in masks:
        theirs, (training, inference) = function(X, mask, STATES)
        # The same operations in the same order.
        assert_equal(training, theirs)
        assert_equal(inference, theirs)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"detach": "c", "return_sequences": False},
        {"go_backwards": True, "zero_output_for_mask": True},
        {"unroll": True},
        {"dtype": "mixed_float16"},
    ],
    ids=str,
)
def test_the_same_numbers_in_graph_mode(options):
    assert_same_numbers(options, lambda f: compiled(f, xla=False), MASKS.values())


@pytest.mark.parametrize(
    "options",
    [
        {"unroll": True, "go_backwards": True, "zero_output_for_mask": True},
        {"implementation": 1, "use_bias": False},
        {"activation": "relu", "recurrent_activation": "hard_sigmoid"},
        {"dtype": "float64", "unit_forget_bias": False},
        {"dtype": "mixed_bfloat16", "unroll": True},
    ],
    ids=str,
)
def test_the_same_numbers_in_eager_mode(options):
    assert_same_numbers(options, lambda f: f, [MASKS["left"], MASKS["middle"]])


def test_the_same_numbers_under_xla():
    plain, ours = pair(**EVERYTHING)
    control = HDetachLSTM(UNITS, 0.5, "c", **EVERYTHING)
    control.build((BATCH, TIME, FEATURES))
    control.set_weights(plain.get_weights())

    def outputs(x, mask, states):
        call = {"mask": mask, "initial_state": states}
        trained = [layer(x, training=True, **call) for layer in (ours, control)]
        return plain(x, **call), [*trained, ours(x, **call)]

    function = compiled(outputs, xla=True)
    for mask in MASKS.values():
        theirs, all_ours = function(X, mask, STATES)
        for one in all_ours:
            for a, b in zip(one, theirs, strict=True):
                # XLA may fuse the same float32 numbers, all below 1, in another order.
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


@TRAINING
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("state", [False, True])
def test_without_mask_and_states(sequences, state, training):
    plain, ours = pair(return_sequences=sequences, return_state=state)
    assert_equal(ours(X, training=training), plain(X))


@TRAINING
def test_unknown_batch_and_time(training):
    plain, ours = pair(return_sequences=True)
    shapes = [tf.TensorSpec((None, None, FEATURES)), tf.TensorSpec((None, None), tf.bool)]

    @tf.function(input_signature=shapes)
    def outputs(x, mask):
        return ours(x, mask=mask, training=training), plain(x, mask=mask)

    for batch, time in [(2, 5), (1, 9), (4, 1)]:
        x = RNG.standard_normal((batch, time, FEATURES)).astype("float32")
        mask = RNG.random((batch, time)) < 0.7
        assert_equal(*outputs(x, mask))


def test_states_of_a_stateful_layer():
    plain, ours = pair(stateful=True)
    for training in (True, False, True):
        assert_equal(ours(X, training=training), plain(X))
    assert_equal([s.value for s in ours.states], [s.value for s in plain.states])
    ours.reset_state()
    assert_equal(ours(X, training=True), pair()[0](X))


def wrapped(wrap):
    """Both layers in a `wrap`, with the same weights."""
    plain, ours = wrap(lstm), wrap(lambda **options: HDetachLSTM(UNITS, 0.5, **options))
    return plain, ours


def same_weights(plain, ours, shape):
    for layer in (plain, ours):
        layer.build(shape)
    randomize(plain)
    ours.set_weights(plain.get_weights())


@TRAINING
@pytest.mark.parametrize("mask", ["full", "left"])
def test_in_a_bidirectional(mask, training):
    plain, ours = wrapped(lambda make: layers.Bidirectional(make(**EVERYTHING)))
    same_weights(plain, ours, X.shape)
    call = {"mask": tf.constant(MASKS[mask]), "initial_state": STATES + STATES[::-1]}
    assert_equal(ours(X, training=training, **call), plain(X, **call))


def test_a_bidirectional_keeps_the_settings():
    layer = layers.Bidirectional(HDetachLSTM(UNITS, 0.75, "c", seed=4, dropout=0.1))
    for direction in (layer.forward_layer, layer.backward_layer):
        config = direction.get_config()
        kept = {k: config[k] for k in ("detach_rate", "detach", "seed", "dropout")}
        assert kept == {"detach_rate": 0.75, "detach": "c", "seed": 4, "dropout": 0.1}
        assert isinstance(direction, HDetachLSTM)


@TRAINING
def test_under_time_distributed(training):
    x = np.stack([X, 2 * X], axis=1)
    mask = np.stack([MASKS["right"], MASKS["left"]], axis=1)
    plain, ours = wrapped(lambda make: layers.TimeDistributed(make()))
    same_weights(plain, ours, x.shape)
    call = {"mask": tf.constant(mask)}
    assert_equal(ours(x, training=training, **call), plain(x, **call))


@TRAINING
def test_stacked_cells(training):
    plain = layers.RNN([layers.LSTMCell(n) for n in (4, 3)], **EVERYTHING)
    ours = layers.RNN([HDetachLSTMCell(n, 0.5) for n in (4, 3)], **EVERYTHING)
    same_weights(plain, ours, X.shape)
    call = {"mask": tf.constant(MASKS["middle"])}
    assert_equal(ours(X, training=training, **call), plain(X, **call))


@TRAINING
def test_a_model_of_padded_tokens_that_hands_its_states_on(training):
    """Masks of an Embedding, two layers, the second beginning where the first ended."""

    def model(make):
        tokens = keras.Input((TIME,), dtype="int32")
        x = layers.Embedding(5, FEATURES, mask_zero=True)(tokens)
        x, *states = make(**EVERYTHING)(x)
        return keras.Model(tokens, make()(x, initial_state=states))

    plain, ours = wrapped(model)
    randomize(plain)
    ours.set_weights(plain.get_weights())
    tokens = np.array([[1, 2, 3, 4, 1, 2], [0, 0, 0, 1, 4, 4], [3, 3, 0, 2, 0, 0]])
    assert_equal(ours(tokens, training=training), plain(tokens))


@pytest.mark.parametrize(
    "options",
    [{"dropout": 0.4}, {"recurrent_dropout": 0.4}, {"dropout": 0.4, "implementation": 1}],
    ids=str,
)
def test_dropout_is_that_of_the_lstm_of_the_same_seed(options):
    """In the first call, before the seed has gone on by the draw of what is blocked."""
    plain, ours = pair(seed=7, **options)
    dropped = plain(X, training=True)
    assert_equal(ours(X, training=True), dropped)
    assert_equal(ours(X), plain(X))
    assert np.abs(dropped - plain(X)).max() > 1e-3


def test_dropout_keeps_its_rate_from_call_to_call():
    """Of one input and step: what was dropped is what an input of 0 gives."""
    layer = HDetachLSTM(UNITS, 0.5, dropout=0.3, seed=7)
    number, calls = 1000, 4
    x = np.ones((number, 1, 1), "float32")
    layer.build(x.shape)
    layer.set_weights([w + 0.1 for w in layer.get_weights()])
    zero = layer(0 * x).numpy()
    dropped = np.array(
        [np.all(layer(x, training=True).numpy() == zero, axis=1) for _ in range(calls)]
    )
    error = np.sqrt(0.3 * 0.7 / (number * calls))
    assert abs(dropped.mean() - 0.3) < 4 * error
    correlations = np.corrcoef(dropped)[np.triu_indices(calls, 1)]
    assert np.abs(correlations).max() < 4 / np.sqrt(number)


def test_regularizers_and_constraints():
    options = {
        "kernel_regularizer": "l2",
        "recurrent_regularizer": "l1",
        "bias_regularizer": "l2",
        "activity_regularizer": "l2",
        "kernel_constraint": "non_neg",
        "recurrent_constraint": "max_norm",
        "bias_constraint": "non_neg",
    }
    plain, ours = pair(**options)
    assert_equal(ours(X, training=True), plain(X, training=True))
    assert len(ours.losses) == 4
    np.testing.assert_array_equal(sum(ours.losses), sum(plain.losses))
    for a, b in zip(ours.weights, plain.weights, strict=True):
        np.testing.assert_array_equal(a.constraint(a.value), b.constraint(b.value))
        assert a.constraint is not None


def test_output_shapes_before_any_call():
    for options in ({}, {"return_sequences": True}, EVERYTHING):
        plain, ours = lstm(**options), HDetachLSTM(UNITS, **options)
        shape = (None, 7, FEATURES)
        assert ours.compute_output_shape(shape) == plain.compute_output_shape(shape)
        for training in (False, True):
            symbolic = ours(keras.Input(shape[1:]), training=training)
            expected = plain(keras.Input(shape[1:]))
            for a, b in zip(
                keras.tree.flatten(symbolic), keras.tree.flatten(expected), strict=True
            ):
                assert (a.shape, a.dtype) == (b.shape, b.dtype)

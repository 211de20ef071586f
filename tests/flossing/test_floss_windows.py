"""Where the window of a flossing pass lies: masks, padding, kept states."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_floss import FlossingModel, lyapunov_exponents

RNG = np.random.default_rng(0)
TOKENS = RNG.integers(1, 9, size=(3, 10))


def still(net):
    """A FlossingModel whose flossing steps move nothing."""
    model = FlossingModel(net)
    model.compile("adam", "mse", flossing_optimizer=keras.optimizers.SGD(0.0))
    return model


@pytest.fixture(scope="module")
def reader():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(9, 2, mask_zero=True, embeddings_initializer="normal")
    return still(keras.Model(inputs, keras.layers.SimpleRNN(3, name="rnn")(x(inputs))))


def padded(left, right):
    return np.pad(TOKENS, ((0, 0), (left, right)))


def spectrum(model, x, **settings):
    return model.lyapunov_spectrum(x, **settings)["rnn"]


# Two float32 traces of ten steps.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.mark.parametrize(("left", "right"), [(4, 0), (2, 5)])
@pytest.mark.parametrize("window", [None, 6])
def test_padding_changes_nothing(reader, left, right, window):
    settings = {"window": window, "warmup": 2}
    plain = spectrum(reader, TOKENS, **settings)
    np.testing.assert_allclose(
        spectrum(reader, padded(left, right), **settings), plain, **CLOSE
    )


def test_each_sequence_has_its_own_first_step(reader):
    ragged = np.stack([np.roll(row, i) for i, row in enumerate(padded(0, 4))])
    assert ragged[2, :2].max() == 0
    settings = {"window": 6, "warmup": 1}
    np.testing.assert_allclose(
        spectrum(reader, ragged, **settings), spectrum(reader, TOKENS, **settings), **CLOSE
    )


def test_padding_does_not_change_the_flossing_loss(reader):
    def losses(x):
        history = reader.floss(x, 1, batch_size=3, window=6, k=2, target=0.0, verbose=0)
        return history.history["flossing_loss"]

    np.testing.assert_allclose(losses(padded(4, 0)), losses(TOKENS), rtol=1e-4)


def test_the_window_is_the_first_part_and_the_rest_is_not_seen(reader):
    other_end = np.concatenate([TOKENS[:, :6], 9 - TOKENS[:, 6:]], axis=1)
    ours, theirs = (spectrum(reader, x, window=6) for x in (TOKENS, other_end))
    np.testing.assert_array_equal(ours, theirs)
    assert not np.allclose(spectrum(reader, TOKENS), spectrum(reader, other_end))


def test_flossing_and_spectra_leave_a_stored_state_as_it_is():
    keras.utils.set_random_seed(1)
    x = RNG.normal(size=(2, 6, 2)).astype("float32")
    inputs = keras.Input(batch_shape=(2, 6, 2))
    rnn = keras.layers.SimpleRNN(3, stateful=True, name="rnn")
    model = still(keras.Model(inputs, rnn(inputs)))
    model.predict(x, batch_size=2, verbose=0)
    state = keras.ops.convert_to_numpy(rnn.states[0])
    assert np.all(state != 0)

    data = x[:, ::-1].copy(), np.zeros((2, 1), "float32")
    expected = lyapunov_exponents(rnn, data[0], 2, initial_state=[state])
    found = model.lyapunov_spectrum(data[0], k=2, batch_size=2)["rnn"]
    np.testing.assert_allclose(found, expected, **CLOSE)
    from_zeros = lyapunov_exponents(rnn, data[0], 2, initial_state=[0 * state])
    assert not np.allclose(from_zeros, expected, atol=1e-3)

    # A dataset, since arrays are shuffled and the stored states are not.
    batches = tf.data.Dataset.from_tensors(data)
    settings = {"k": 2, "target": 0.0, "warmup": 0, "input_drive": 0.0, "verbose": 0}
    history = model.floss(batches, 2, batch_size=2, **settings).history
    np.testing.assert_allclose(
        history["flossing_loss"], [np.mean(np.asarray(expected) ** 2)] * 2, rtol=1e-3
    )
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(rnn.states[0]), state)
    assert rnn.stateful

"""The copying memory task: its layout, its symbols, and the accuracy of the last ten."""

import itertools

import keras
import numpy as np
import pytest

from keras_floss.tasks import copying_accuracy, copying_memory


def batches(dataset, number=1):
    return [[np.asarray(a) for a in b] for b in itertools.islice(dataset, number)]


def logits(delay, sequences=5, errors=3):
    """Logits that are right, but for `errors` of the last ten symbols of one sequence."""
    x, y = batches(copying_memory(delay, batch_size=sequences))[0]
    guesses = y.copy()
    guesses[0, -errors:] = y[0, -errors:] % 8 + 1  # another symbol
    return x, y, 10 * np.eye(9, dtype="float32")[guesses]


def compiled(*layers, **settings):
    model = keras.Sequential(layers)
    model.compile(
        optimizer="sgd",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[copying_accuracy],
        **settings,
    )
    return model


def recurrent(channels=1):
    """The obvious network, for sequences of any length."""
    hidden = keras.layers.SimpleRNN(4, return_sequences=True)
    return compiled(keras.Input((None, channels)), hidden, keras.layers.Dense(9))


@pytest.mark.parametrize("delay", [1, 2, 30])
def test_the_layout_is_that_of_the_definition(delay):
    for x, y in batches(copying_memory(delay, batch_size=4, seed=2), 2):
        assert (x.shape, x.dtype) == ((4, delay + 20, 1), np.dtype("float32"))
        assert (y.shape, y.dtype) == ((4, delay + 20), np.dtype("int32"))
        for sequence, target in zip(x[..., 0], y, strict=True):
            symbols = list(sequence[:10])
            assert set(symbols) <= set(range(1, 9))
            assert list(sequence[10:]) == [0] * (delay - 1) + [9] + [0] * 10
            assert list(target) == [0] * (delay + 10) + symbols


def test_one_hot_inputs_are_those_of_the_tokens():
    for (x, y), (tokens, same) in zip(
        batches(copying_memory(7, batch_size=4, one_hot=True), 2),
        batches(copying_memory(7, batch_size=4), 2),
        strict=True,
    ):
        assert (x.shape, x.dtype) == ((4, 27, 10), np.dtype("float32"))
        np.testing.assert_array_equal(x, np.eye(10)[tokens[..., 0].astype(int)])
        np.testing.assert_array_equal(y, same)


@pytest.mark.parametrize(("one_hot", "channels"), [(False, 1), (True, 10)])
def test_shapes_are_known_to_keras(one_hot, channels):
    data = copying_memory(3, batch_size=5, one_hot=one_hot)
    assert [tuple(spec.shape) for spec in data.element_spec] == [(5, 23, channels), (5, 23)]


def test_the_batches_are_of_100_by_default():
    assert batches(copying_memory(1))[0][0].shape == (100, 21, 1)


def test_symbols_are_uniform_and_independent():
    ((_, y),) = batches(copying_memory(1, batch_size=4000, seed=3))
    symbols = y[:, -10:]
    # Four standard errors of a share of 1/8, over all steps and at each of them.
    error = np.sqrt(1 / 8 * 7 / 8)
    shares = np.stack([(symbols == s).mean(axis=0) for s in range(1, 9)])
    np.testing.assert_allclose(shares.mean(axis=1), 1 / 8, atol=4 * error / np.sqrt(40_000))
    np.testing.assert_allclose(shares, 1 / 8, atol=4 * error / np.sqrt(4000))
    # Neighbours in time and in the batch agree by chance.
    for same in (symbols[:, 1:] == symbols[:, :-1], symbols[1:] == symbols[:-1]):
        assert abs(same.mean() - 1 / 8) < 4 * error / np.sqrt(same.size)


def test_the_stream_is_that_of_its_seed():
    first, again, other = (
        np.stack([x for x, _ in batches(copying_memory(2, 4, seed=seed), 3)])
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_dataset_gives_the_same_stream_when_read_again():
    data = copying_memory(2, 4)
    for one, two in zip(batches(data, 2), batches(data, 2), strict=True):
        np.testing.assert_array_equal(one[0], two[0])


def test_batches_are_fresh():
    seen = {x.tobytes() for x, _ in batches(copying_memory(2, batch_size=2), 50)}
    assert len(seen) == 50  # two alike by chance: about 2⁻⁵⁰


def test_the_symbols_of_a_seed_are_the_same_at_every_delay():
    short, long = (batches(copying_memory(d, 4, seed=1))[0][1] for d in (2, 50))
    np.testing.assert_array_equal(short[:, -10:], long[:, -10:])


def test_the_loss_and_the_accuracy_without_memory():
    delay = 40
    _, y = batches(copying_memory(delay, batch_size=1000))[0]
    guess = np.zeros((*y.shape, 9), "float32")
    guess[:, : delay + 10, 0] = 1
    guess[:, delay + 10 :, 1:] = 1 / 8
    loss = keras.losses.SparseCategoricalCrossentropy()(y, guess)
    # Keras clips probabilities by 1e-7, which is what float32 can show.
    np.testing.assert_allclose(loss, 10 * np.log(8) / (delay + 20), atol=1e-5)
    # The highest of equal probabilities is the first, a right guess by chance.
    accuracy = np.mean(copying_accuracy(y, guess))
    assert abs(accuracy - 1 / 8) < 4 * np.sqrt(1 / 8 * 7 / 8 / 10_000)


def test_the_accuracy_is_that_of_the_last_ten_steps_of_each_sequence():
    _, y, predictions = logits(delay=6, errors=3)
    predictions[1, :-10] = 0  # wrong, and not scored
    predictions[1, :-10, 5] = 1
    accuracy = np.asarray(copying_accuracy(y, predictions))
    assert accuracy.dtype == np.float32
    np.testing.assert_allclose(accuracy, [0.7, 1, 1, 1, 1], rtol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_evaluate_gives_the_accuracy_of_all_sequences(jit_compile):
    _, y, predictions = logits(delay=6, errors=8)
    unchanged = keras.Input((None, 9)), keras.layers.Identity()
    model = compiled(*unchanged, jit_compile=jit_compile)
    # Batches of 2, 2 and 1: the mean is that of the sequences, not of the batches.
    result = model.evaluate(predictions, y, batch_size=2, verbose=0, return_dict=True)
    assert set(result) == {"loss", "copying_accuracy"}
    np.testing.assert_allclose(result["copying_accuracy"], (0.2 + 4) / 5, rtol=1e-6)


@pytest.mark.parametrize(("one_hot", "channels"), [(False, 1), (True, 10)])
def test_a_model_trains_at_one_delay_and_is_evaluated_at_another(one_hot, channels):
    model = recurrent(channels)
    short, long = (copying_memory(d, batch_size=4, one_hot=one_hot) for d in (3, 8))
    history = model.fit(
        short, steps_per_epoch=2, validation_data=long, validation_steps=1, verbose=0
    ).history
    x, y = batches(long)[0]
    expected = np.mean(model.predict(x, verbose=0).argmax(-1)[:, -10:] == y[:, -10:])
    np.testing.assert_allclose(history["val_copying_accuracy"], [expected], rtol=1e-6)
    assert 0 <= history["copying_accuracy"][0] <= 1


def test_a_compiled_model_is_saved_and_loaded(tmp_path):
    x, y = batches(copying_memory(3, batch_size=4))[0]
    model = recurrent()
    before = model.evaluate(x, y, verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    after = loaded.evaluate(x, y, verbose=0, return_dict=True)
    assert after == pytest.approx(before)
    assert "copying_accuracy" in after


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"delay": 0}, r"`delay`.*at least 1.*0"),
        ({"delay": -2}, r"`delay`.*-2"),
        ({"delay": 2.0}, r"`delay`.*2\.0"),
        ({"delay": True}, r"`delay`.*True"),
        ({"delay": 2, "batch_size": 0}, r"`batch_size`.*at least 1.*0"),
        ({"delay": 2, "batch_size": None}, r"`batch_size`.*None"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(arguments, match):
    with pytest.raises(ValueError, match=match):
        copying_memory(**arguments)


def test_numpy_integers_are_whole_numbers():
    x, _ = batches(copying_memory(np.int64(2), np.int64(3)))[0]
    assert x.shape == (3, 22, 1)

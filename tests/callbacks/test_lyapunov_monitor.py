"""LyapunovMonitor writes exponents and gradients as they are, and changes nothing."""

import csv
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import SLOW

import keras_floss
from keras_floss import Flossing
from keras_floss.callbacks import LyapunovMonitor, Preflossing

RNG = np.random.default_rng(0)
X = RNG.standard_normal((10, 8, 2)).astype("float32")
Y = RNG.standard_normal((10, 1)).astype("float32")
WEIGHTS = RNG.uniform(0.5, 2, 10).astype("float32")

# Two traces of the same float32 operations.
CLOSE = {"rtol": 1e-4, "atol": 1e-6}
NUMBERS = {"flossing_loss", "lambda_1", "lambda_k", "lost_directions"}
GRADIENTS = {"gradient_first", "gradient_last"}

PAD = 9.0
PADDED = X.copy()
for sequence, (start, stop) in zip(PADDED, [(0, 8), (0, 3), (2, 8), (1, 6)], strict=False):
    sequence[:start], sequence[stop:] = PAD, PAD
VALID = np.any(PADDED != PAD, axis=-1)


def make_model(wrapped=False, **settings):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 2))
    outputs = keras.layers.Dense(1)(keras.layers.SimpleRNN(3, name="rnn")(inputs))
    model = (keras_floss.FlossingModel if wrapped else keras.Model)(
        inputs, outputs, **settings
    )
    return compiled(model)


def compiled(model, **settings):
    # Without XLA, which saves half of the time, and with steps that show.
    model.compile(keras.optimizers.Adam(0.05), "mse", jit_compile=False, **settings)
    return model


def fit(model, *callbacks, x=X, y=Y, epochs=2, **settings):
    """Five updates an epoch."""
    settings = {"batch_size": 2, "verbose": 0, "epochs": epochs} | settings
    return model.fit(x, y, callbacks=list(callbacks), **settings)


def look(model, data=(X, Y), batch_size=None, **settings):
    """The numbers of one look outside of training."""
    flossing = Flossing(**settings) if settings else None
    monitor = LyapunovMonitor(data, batch_size=batch_size, flossing=flossing)
    monitor.set_model(model)
    monitor.look(0)
    return {name: values[0] for name, values in monitor.history.items()}


class Snapshots(keras.callbacks.Callback):
    """The weights before each batch, and after the last."""

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append(self.model.get_weights())

    def on_train_end(self, logs=None):
        self.seen.append(self.model.get_weights())


# ---- The numbers are those of the public functions and of a tape by hand. ----


def norms(gradient, valid):
    """At the first and at the last valid step of each sequence, by hand."""
    steps = [np.flatnonzero(v)[[0, -1]] for v in valid]
    ends = [g[t] for g, t in zip(np.asarray(gradient), steps, strict=True)]
    return np.sqrt(np.sum(np.square(ends), axis=(0, 2)))


def assert_exponents(values, exponents, target, prefix=""):
    mean = np.mean(exponents, axis=0)
    loss = np.mean((np.asarray(exponents) - target) ** 2)
    np.testing.assert_allclose(values[f"{prefix}lambda_1"], mean[0], **CLOSE)
    np.testing.assert_allclose(values[f"{prefix}lambda_k"], mean[-1], **CLOSE)
    np.testing.assert_allclose(values[f"{prefix}flossing_loss"], loss, **CLOSE)


@pytest.mark.slow
def test_each_look_is_that_of_the_weights_at_its_time():
    model, seen = make_model(), Snapshots()
    settings = {"warmup": 1, "qr_interval": 2, "seed": 3}
    flossing = Flossing(k=2, target=-0.3, **settings)
    monitor = LyapunovMonitor((X, Y), batch_size=3, flossing=flossing)
    fit(model, monitor, seen)
    assert monitor.history["time"] == [0, 1, 2]
    rnn, readout = model.get_layer("rnn"), model.layers[-1]
    for epoch in range(3):
        model.set_weights(seen.seen[5 * epoch])
        values = {name: each[epoch] for name, each in monitor.history.items()}
        exponents = keras_floss.lyapunov_exponents(rnn, X[:3], 2, **settings)
        assert_exponents(values, exponents, -0.3)
        mean = np.mean(exponents, axis=0)
        np.testing.assert_allclose(values["rnn/exponents"], mean, **CLOSE)

        with tf.GradientTape() as tape:
            x = tf.constant(X[:3])
            tape.watch(x)
            loss = tf.reduce_mean((readout(rnn(x)) - Y[:3]) ** 2)
        first, last = norms(tape.gradient(loss, x), np.full((3, 8), True))
        np.testing.assert_allclose(values["gradient_first"], first, **CLOSE)
        np.testing.assert_allclose(values["gradient_last"], last, **CLOSE)
    # Otherwise it could have looked at the same weights each time.
    assert len({round(v, 3) for v in monitor.history["lambda_1"]}) == 3


@pytest.fixture(scope="module")
def deep():
    """A model with a mask, two recurrent layers and two directions."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    both = layers.Bidirectional(layers.SimpleRNN(2), name="both")
    stack = [
        keras.Input((8, 2)),
        layers.Masking(PAD),
        layers.SimpleRNN(3, return_sequences=True, name="lower"),
        both,
        layers.Dense(1, name="readout"),
    ]
    return compiled(keras.Sequential(stack))


def test_layers_masks_directions_and_sample_weights(deep):
    number = 4
    x, valid = PADDED[:number], VALID[:number]
    data = (PADDED, Y, WEIGHTS)
    values = look(deep, data, batch_size=number, k={"lower": 3}, warmup=1, target=-0.2)

    lower, both, readout = map(deep.get_layer, ("lower", "both", "readout"))
    mask = tf.constant(valid)
    directions = [both.forward_layer, both.backward_layer]
    with tf.GradientTape() as tape:
        below = tf.constant(x * valid[..., None])  # what Masking gives
        tape.watch(below)
        middle = lower(below, mask=mask)
        each = [tf.identity(middle) for _ in directions]
        states = [d(h, mask=mask) for d, h in zip(directions, each, strict=True)]
        squares = (readout(tf.concat(states, -1)) - Y[:number]) ** 2
        loss = tf.reduce_mean(WEIGHTS[:number, None] * squares)
    inputs = [below, *each]
    losses = []
    for layer, h, gradient, name in zip(
        [lower, *directions],
        inputs,
        tape.gradient(loss, inputs),
        ["lower", "both/forward", "both/backward"],
        strict=True,
    ):
        exponents = keras_floss.lyapunov_exponents(layer, h, mask=mask, warmup=1)
        assert_exponents(values, exponents, -0.2, f"{name}/")
        losses.append(values[f"{name}/flossing_loss"])
        first, last = norms(gradient, valid)
        np.testing.assert_allclose(values[f"{name}/gradient_first"], first, **CLOSE)
        np.testing.assert_allclose(values[f"{name}/gradient_last"], last, **CLOSE)
    np.testing.assert_allclose(values["flossing_loss"], np.mean(losses), **CLOSE)


def test_only_the_chosen_layers_are_there_and_one_alone_has_no_prefix(deep):
    names = look(deep, (PADDED, Y), layers=["lower"]).keys()
    assert names == NUMBERS | GRADIENTS | {"time", "lower/exponents"}


def test_the_window_starts_at_the_first_valid_step():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Masking(PAD), keras.layers.SimpleRNN(3, name="rnn")]
    model = compiled(keras.Sequential([keras.Input((8, 2)), *layers]))
    values = look(model, PADDED, batch_size=4, window=4, target=0.0, warmup=1)
    # What is before the first valid step is put behind the last.
    turns = [-np.argmax(valid) for valid in VALID[:4]]
    x, mask = (
        np.stack([np.roll(a, n, axis=0)[:4] for a, n in zip(of, turns, strict=False)])
        for of in (PADDED, VALID)
    )
    exponents = keras_floss.lyapunov_exponents(layers[-1], x, mask=mask, warmup=1)
    assert_exponents(values, exponents, 0.0)


def test_a_sequence_too_short_to_be_counted_is_left_out():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Masking(PAD), keras.layers.SimpleRNN(3, name="rnn")]
    model = compiled(keras.Sequential([keras.Input((8, 2)), *layers]))
    # The second sequence has three steps.
    values = look(model, PADDED[:2], target=0.0, warmup=4)
    exponents = keras_floss.lyapunov_exponents(layers[-1], X[:1], warmup=4)
    assert_exponents(values, exponents, 0.0)


@pytest.mark.slow
def test_gradients_are_those_of_the_task_alone_in_joint_flossing():
    plain, joint = make_model(), make_model(wrapped=True, strength=100.0)
    expected, values = look(plain), look(joint)
    for name in NUMBERS | GRADIENTS:
        np.testing.assert_allclose(values[name], expected[name], **CLOSE)


def test_weights_that_are_nan_show_in_every_number():
    model = make_model()
    model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
    values = look(model)
    finite = {n: values[n] for n in NUMBERS | GRADIENTS if not np.isnan(values[n])}
    assert finite == {"lost_directions": 3}  # all of them


# ---- When it looks. ----


@pytest.mark.slow
@pytest.mark.parametrize(
    ("every", "execution", "times"),
    [
        (4, 1, [0, 4, 8]),
        (5, 1, [0, 5]),  # nothing after the last update, the tenth
        # Executions end after updates 2, 4, 5 and 7, 9, 10: they pass 3, 6, 9.
        (3, 2, [0, 3, 6, 9]),
        ("epoch", 2, [0, 1, 2]),
    ],
)
def test_it_looks_at_these_times_only(every, execution, times):
    model, seen = make_model(), Snapshots()
    compiled(model, steps_per_execution=execution)
    monitor = LyapunovMonitor(
        X, every=every, batch_size=2, flossing=Flossing(k=1, warmup=0)
    )
    history = fit(model, monitor, seen).history
    assert monitor.history["time"] == times
    assert all(len(values) == len(times) for values in monitor.history.values())
    if every == 4:
        rnn = model.get_layer("rnn")
        for time, value in zip(times, monitor.history["lambda_1"], strict=True):
            model.set_weights(seen.seen[time])
            expected = np.mean(keras_floss.lyapunov_exponents(rnn, X[:2], 1))
            np.testing.assert_allclose(value, expected, **CLOSE)
        # The newest of each epoch.
        newest = [max(i for i, t in enumerate(times) if t < end) for end in (5, 10)]
        looks = monitor.history["lambda_1"]
        assert history["lambda_1"] == [looks[i] for i in newest]


@pytest.mark.slow
def test_a_resumed_run_goes_on_counting():
    model = make_model()
    fit(model, epochs=1)
    epochs, updates = (
        LyapunovMonitor(X, every=every, batch_size=2, flossing=Flossing(k=1))
        for every in ("epoch", 4)
    )
    fit(model, epochs, updates, epochs=3, initial_epoch=1)
    assert epochs.history["time"] == [1, 2, 3]
    assert updates.history["time"] == [5, 8, 12]


@pytest.mark.slow
def test_the_first_look_is_after_preflossing():
    model, seen = make_model(), Snapshots()
    before = model.get_weights()
    monitor = LyapunovMonitor(X, batch_size=3, flossing=Flossing(k=2, warmup=0))
    fit(model, monitor, Preflossing(X, steps=5), seen, epochs=1)
    assert any(np.any(a != b) for a, b in zip(before, seen.seen[0], strict=True))
    model.set_weights(seen.seen[0])
    after = keras_floss.lyapunov_exponents(model.get_layer("rnn"), X[:3], 2)
    mean = np.mean(after, axis=0)
    np.testing.assert_allclose(monitor.history["lambda_1"][0], mean[0], **CLOSE)


# ---- What it leaves alone. ----


def train(monitored):
    """A shuffled run with dropout, whose random numbers a look might use up."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((8, 2))
    # A layer of its own: those of an RNN are drawn by Keras in inference too.
    states = keras.layers.Dropout(0.3)(inputs)
    states = keras.layers.SimpleRNN(3, name="rnn")(states)
    states = keras.layers.BatchNormalization()(states)
    outputs = {name: keras.layers.Dense(1, name=name)(states) for name in ("a", "b")}
    model = keras_floss.FlossingModel(inputs, outputs)
    compiled(model, metrics={"a": ["mae"], "b": ["mae"]})
    y = {"a": Y, "b": 2 * Y}
    monitor = (
        [LyapunovMonitor((X, y), every=2, flossing=Flossing(k=2))] if monitored else []
    )
    logs = fit(model, *monitor, y=y).history
    return model, logs


@pytest.fixture(scope="module")
def alone_and_watched():
    return train(monitored=False), train(monitored=True)


def test_nothing_moves(alone_and_watched):
    (alone, _), (watched, _) = alone_and_watched
    assert int(watched.flossing_optimizer.iterations) == 0
    assert int(watched.optimizer.iterations) == int(alone.optimizer.iterations) == 10
    ours, theirs = ([*m.get_weights(), *m.optimizer.variables] for m in (alone, watched))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_other_logs_are_those_of_a_run_without_it(alone_and_watched):
    (_, alone), (_, watched) = alone_and_watched
    assert watched.keys() - alone.keys() == NUMBERS | GRADIENTS
    assert {name: watched[name] for name in alone} == alone


# ---- Who finds the numbers in the logs. ----


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A run with everything that reads logs."""
    pytest.importorskip("tensorboard")
    folder = tmp_path_factory.mktemp("logs")
    monitor = LyapunovMonitor((X, Y), log_dir=folder / "monitor")
    readers = [
        keras.callbacks.CSVLogger(folder / "log.csv"),
        keras.callbacks.TensorBoard(folder / "keras", write_graph=False),
        # Never above the baseline: it stops after `patience` epochs.
        keras.callbacks.EarlyStopping("lambda_1", mode="max", baseline=99.0, patience=2),
    ]
    return folder, monitor, fit(make_model(), monitor, *readers, epochs=5)


def test_history_has_the_numbers_of_the_end_of_each_epoch(logged):
    _, monitor, history = logged
    assert history.history.keys() == {"loss"} | NUMBERS | GRADIENTS
    for name in NUMBERS | GRADIENTS:
        assert history.history[name] == monitor.history[name][1:]


def test_early_stopping_watches_an_exponent(logged):
    assert logged[2].epoch == [0, 1]


def test_csv_logger_writes_them(logged):
    folder, monitor, _ = logged
    with open(folder / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for name in NUMBERS | GRADIENTS:
        assert [float(row[name]) for row in rows] == monitor.history[name][1:]


def events(folder):
    """`{tag: [(step, array), ...]}` of the TensorBoard files in a folder."""
    files = sorted(str(path) for path in folder.rglob("events.out.tfevents.*"))
    found = {}
    for record in tf.data.TFRecordDataset(files):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            array = tf.make_ndarray(value.tensor)
            found.setdefault(value.tag, []).append((event.step, array))
    return found


def test_tensorboard_gets_the_numbers_from_the_logs(logged):
    folder, _, history = logged
    found = events(folder / "keras")
    for name in NUMBERS | GRADIENTS:
        steps, values = zip(*found[f"epoch_{name}"], strict=True)
        assert steps == (0, 1)
        np.testing.assert_allclose(values, history.history[name], rtol=1e-6)  # float32


def test_log_dir_gets_a_histogram_of_each_look(logged):
    folder, monitor, _ = logged
    found = events(folder / "monitor")
    assert found.keys() == {"rnn/exponents", "rnn/spectrum", "gradient_norms"}
    steps, histograms = zip(*found["rnn/exponents"], strict=True)
    assert steps == (0, 1, 2)
    for rows, exponents in zip(histograms, monitor.history["rnn/exponents"], strict=True):
        left, right, counts = rows.T
        assert counts.sum() == len(exponents) == 3
        np.testing.assert_allclose(left[0], exponents.min(), rtol=1e-6)
        np.testing.assert_allclose(right[-1], exponents.max(), rtol=1e-6)


def test_log_dir_gets_pictures_at_the_end_of_each_epoch(logged):
    found = events(logged[0] / "monitor")
    for name in ("rnn/spectrum", "gradient_norms"):
        steps, pictures = zip(*found[name], strict=True)
        assert steps == (1, 2)
        for width, height, png in pictures:
            assert tf.io.decode_png(png).shape[:2] == (int(height), int(width))
        # The second shows another epoch.
        assert pictures[0][2] != pictures[1][2]


def test_without_matplotlib_there_are_no_pictures(monkeypatch, tmp_path):
    pytest.importorskip("tensorboard")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    fit(make_model(), LyapunovMonitor((X, Y), log_dir=tmp_path), epochs=1)
    assert events(tmp_path).keys() == {"rnn/exponents"}


def test_log_dir_without_tensorboard_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        LyapunovMonitor(X, log_dir=tmp_path)


# ---- What it can be given to look at. ----


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        part = slice(5 * index, 5 * index + 5)
        return X[part], Y[part], WEIGHTS[part]


def dataset(*arrays):
    """In batches of 5."""
    return tf.data.Dataset.from_tensor_slices(arrays).batch(5)


@pytest.fixture(scope="module")
def expected():
    """A model, and what is to be seen of its first sequences."""
    model = make_model()
    rnn, readout = model.get_layer("rnn"), model.layers[-1]

    def gradients(number, weights):
        with tf.GradientTape() as tape:
            x = tf.constant(X[:number])
            tape.watch(x)
            squares = (readout(rnn(x)) - Y[:number]) ** 2
            loss = tf.reduce_mean(weights[:number, None] * squares)
        return norms(tape.gradient(loss, x), np.full((number, 8), True))

    exponents = keras_floss.lyapunov_exponents(rnn, X, 2, warmup=2).numpy()
    return model, lambda number: exponents[:number], gradients


@pytest.mark.parametrize(
    ("data", "number", "weights"),
    [
        pytest.param(X, 4, None, marks=SLOW),
        ((tf.constant(X), Y), 4, np.ones(10)),
        pytest.param((X, Y, WEIGHTS), 4, WEIGHTS, marks=SLOW),
        (dataset(X, Y), 4, np.ones(10)),
        (dataset(X, Y, WEIGHTS).repeat(), 16, WEIGHTS),
        pytest.param(tf.data.Dataset.from_tensor_slices(X).batch(5), 16, None, marks=SLOW),
        (Batches(), 16, WEIGHTS),
    ],
    ids=["x", "x y", "x y w", "dataset", "endless", "xs", "PyDataset"],
)
def test_the_first_sequences_of_any_data(data, number, weights, expected):
    model, exponents, gradients = expected
    values = look(model, data, batch_size=number, k=2, target=0.0, warmup=2)
    number = min(number, 5)
    assert_exponents(values, exponents(number), 0.0)
    if weights is None:
        assert not GRADIENTS & values.keys()
    else:
        ends = gradients(number, weights.astype("float32"))
        found = [values["gradient_first"], values["gradient_last"]]
        np.testing.assert_allclose(found, ends, **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [list, dict])
def test_a_model_with_two_inputs(kind):
    keras.utils.set_random_seed(0)
    a, b = keras.Input((8, 1), name="a"), keras.Input((8, 1), name="b")
    rnn = keras.layers.SimpleRNN(3, name="rnn")
    states = rnn(keras.layers.Concatenate()([a, b]))
    inputs, x = [a, b], [X[..., :1], X[..., 1:]]
    if kind is dict:
        inputs, x = {"a": a, "b": b}, {"a": x[0], "b": x[1]}
    model = compiled(keras.Model(inputs, keras.layers.Dense(1)(states)))
    exponents = keras_floss.lyapunov_exponents(rnn, X[:5], 2, warmup=2)
    alone, with_targets = (
        look(model, data, batch_size=5, k=2, target=0.0, warmup=2) for data in (x, (x, Y))
    )
    assert_exponents(alone, exponents, 0.0)
    assert_exponents(with_targets, exponents, 0.0)
    assert with_targets.keys() - alone.keys() == GRADIENTS


# ---- What is wrong is named. ----


@pytest.mark.parametrize(
    "wrong",
    [
        {"every": 0},
        {"every": "batch"},
        {"every": 1.5},
        {"batch_size": 0},
    ],
    ids=str,
)
def test_bad_settings_are_named(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"`{name}`.*Received: {value!r}"):
        LyapunovMonitor(X, **wrong)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"k": 4}, r"`k`.*`rnn`.*4"),
        ({"k": {"lstm": 2}}, r"`k`.*'lstm'.*rnn"),
        ({"layers": ["lstm"]}, r"`layers`.*'lstm'.*rnn"),
        ({"target": [0.0, 0.1]}, r"`target`.*3.*0\.1"),
        ({"warmup": 8}, r"`warmup`.*8.*8"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_the_model_are_named(settings, match, expected):
    with pytest.raises(ValueError, match=match):
        fit(expected[0], LyapunovMonitor(X, flossing=Flossing(**settings)))


def test_a_model_without_a_recurrent_layer():
    layers = [keras.layers.Flatten(), keras.layers.Dense(1)]
    model = compiled(keras.Sequential([keras.Input((8, 2)), *layers]))
    with pytest.raises(ValueError, match="no recurrent layer"):
        fit(model, LyapunovMonitor(X))

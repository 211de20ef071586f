"""A model made for a certain number of sequences is looked at and flossed as any other."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import cells

from keras_floss import Flossing, FlossingModel, gradient_norms, lyapunov_exponents
from keras_floss.callbacks import AdaptiveFlossing, LyapunovMonitor, Preflossing
from keras_floss.experiments.saved_model import spectrum

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 6, 2)).astype("float32")
Y = X[:, 0, :1]
STATES = RNG.normal(size=(8, 3)).astype("float32")
L = keras.layers


def stateful():
    """Remembers a state for each of 8 sequences."""
    rnn = L.SimpleRNN(3, stateful=True, name="rnn")
    net = keras.Sequential([keras.Input(batch_shape=(8, 6, 2)), rnn, L.Dense(1)])
    rnn.states[0].assign(STATES)
    return net


def declared():
    """Knows the number 8 by heart."""
    inputs = keras.Input(batch_shape=(8, 6, 2))
    h = L.SimpleRNN(3, name="rnn")(keras.ops.reshape(inputs, (8, 6, 2)))
    return keras.Model(inputs, L.Dense(1)(keras.ops.reshape(h, (8, 3))))


def compiled(make, **kwargs):
    model = FlossingModel(make(), **kwargs)
    model.compile("adam", "mse")
    return model


def expected(model, x=X):
    """The exponents of a model's layer, batch by batch of 8."""
    rnn = model.model.get_layer("rnn")
    parts = [x[start : start + 8] for start in range(0, len(x), 8)]
    return np.concatenate(
        [
            lyapunov_exponents(
                keras.layers.RNN(rnn.cell),
                part,
                initial_state=STATES[: len(part)] if rnn.stateful else None,
            )
            for part in parts
        ]
    )


def same(found, wanted):
    # Two float32 traces of six steps.
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def batches(size):
    return tf.data.Dataset.from_tensor_slices(X).batch(size)


MAKE = {"stateful": stateful, "declared": declared}
BOTH = pytest.mark.parametrize("make", cells(MAKE, always=["*"]))
STATEFUL = pytest.mark.parametrize("make", cells(MAKE, always=["stateful"]))
DECLARED = pytest.mark.parametrize("make", cells(MAKE, always=["declared"]))


@STATEFUL
def test_spectra_of_any_number_of_sequences(make):
    model = compiled(make)
    wanted = expected(model)
    same(model.lyapunov_spectrum(X)["rnn"], wanted)
    same(model.lyapunov_spectrum(batches(8))["rnn"], wanted)
    same(model.lyapunov_spectrum(X[:5], batch_size=3)["rnn"][:3], wanted[:3])


@DECLARED
def test_flossing_with_the_defaults(make):
    model = compiled(make)
    first = expected(model, X[:1])
    settings = {"target": 0.0, "warmup": 0, "input_drive": 0.0, "verbose": 0}
    history = model.floss(X[:1], 1, batch_size=1, **settings).history
    same(history["flossing_loss"], np.mean(first**2))
    model = compiled(make)
    # The first ones of each batch: of 8, of 8 and of 4.
    history = model.floss(batches(8), 3, batch_size=6, **settings).history
    assert history["flossing_skipped"] == [0, 0, 0]


@pytest.mark.parametrize(
    ("kwargs", "make"),
    cells({"plain": {}, "joint": {"strength": 0.1}}, MAKE, always=["plain-stateful"]),
)
def test_callbacks_with_the_defaults(make, kwargs):
    model = compiled(make, **kwargs)
    wanted = expected(model, X[:8])
    monitor = LyapunovMonitor((X, Y), flossing=Flossing(warmup=0))
    callbacks = [
        monitor,
        Preflossing(X, 1, verbose=0),
        AdaptiveFlossing(X, every=1, steps=1, verbose=0),
    ]
    monitor.set_model(model)
    monitor.look(0)
    same(monitor.history["rnn/exponents"][0], wanted.mean(axis=0))
    model.fit(X[:16], Y[:16], batch_size=8, verbose=0, callbacks=callbacks)
    assert np.isfinite(model.history.history["lambda_1"]).all()
    assert len(callbacks[2].looks["time"]) == 1


@STATEFUL
def test_gradients_of_a_smaller_batch_are_its_own(make):
    model = compiled(make)
    free = keras.Sequential([keras.Input((6, 2)), L.SimpleRNN(3, name="rnn"), L.Dense(1)])
    free.set_weights(model.get_weights())
    free.compile("adam", "mse")
    if make is stateful:
        model.model.get_layer("rnn").states[0].assign(np.zeros((8, 3)))
    found, wanted = (gradient_norms(m, X[:5], Y[:5])["rnn"] for m in (model, free))
    same(found.norms, wanted.norms)
    monitors = [LyapunovMonitor((X, Y), batch_size=5) for _ in range(2)]
    for monitor, net in zip(monitors, (model, free), strict=True):
        monitor.set_model(net)
        monitor.look(0)
    for name in monitors[0].history:
        same(*(monitor.history[name][0] for monitor in monitors))


@BOTH
def test_a_batch_that_is_too_large_is_an_error_that_says_so(make):
    model = compiled(make)
    for method in (
        lambda: model.floss(X, 1, batch_size=16, verbose=0),
        lambda: model.lyapunov_spectrum(X, batch_size=16),
        lambda: model.lyapunov_spectrum(batches(10)),
        lambda: gradient_norms(model, X, Y),
        lambda: model.fit(X[:8], Y[:8], callbacks=[LyapunovMonitor(X, batch_size=16)]),
    ):
        with pytest.raises(ValueError, match=r"`batch_size` must be at most 8.*batch of"):
            method()


@STATEFUL
def test_the_spectrum_command(make, tmp_path, capsys):
    model = compiled(make)
    model.model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", X)
    # The command takes a batch of fixed size whole.
    (report,) = spectrum(tmp_path / "model.keras", tmp_path / "x.npy")
    if make is declared:
        same(report.exponents, expected(model, X[:8]).mean(axis=0))
    assert "rnn: 3 states" in capsys.readouterr().out


@pytest.mark.slow
def test_a_look_leaves_the_stored_states_alone():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.rnn = L.LSTM(3, stateful=True, name="rnn")
            self.head = L.Dense(1)

        def call(self, x):
            return self.head(self.rnn(x))

    net = Own()
    net.rnn.build((8, 6, 2))
    for state in net.rnn.states:
        state.assign(STATES)
    model = FlossingModel(net)
    model.compile("adam", "mse")
    model.lyapunov_spectrum(X)
    model.floss(X, 1, verbose=0)
    gradient_norms(model, X[:8], Y[:8])
    for state in net.rnn.states:
        np.testing.assert_array_equal(state, STATES)


@pytest.mark.slow
def test_both_directions_and_stacked_cells():
    cells = L.StackedRNNCells([L.GRUCell(2), L.LSTMCell(2)])
    both = L.Bidirectional(L.RNN(cells, stateful=True, return_sequences=True), name="both")
    inputs = keras.Input(batch_shape=(8, 6, 2))
    net = keras.Model(inputs, L.GRU(2, stateful=True, name="top")(both(inputs)))
    model = FlossingModel(net)
    model.compile("adam", "mse")
    shapes = {name: e.shape for name, e in model.lyapunov_spectrum(X).items()}
    assert shapes == {"both/forward": (20, 6), "both/backward": (20, 6), "top": (20, 2)}
    # Of one layer alone, the other wants its batch all the same.
    model.floss(X, 1, layers="top", verbose=0)


@pytest.mark.slow
def test_under_xla():
    model = FlossingModel(stateful())
    model.compile("adam", "mse", jit_compile=True)
    same(model.lyapunov_spectrum(X)["rnn"], expected(model))
    model.floss(X, 2, verbose=0)

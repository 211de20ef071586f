"""`qr_interval="auto"` leaves QRs out, and the exponents and their gradient as they are."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import MODES, cells
from reference import pretend_gpu

import keras_floss
from keras_floss.callbacks import AdaptiveFlossing, LyapunovMonitor, Preflossing
from keras_floss.flossing.flossing import Flossing
from keras_floss.flossing.flossing_pass import FlossingPass
from keras_floss.flossing.interval import INTERVALS, Interval

TIME = 60
RNG = np.random.default_rng(0)
X = RNG.standard_normal((8, TIME, 2)).astype("float32")


def make(rnn, jit_compile=False, dtype="float32", **settings):
    inputs = keras.Input((TIME, 2), dtype=dtype)
    model = keras_floss.FlossingModel(
        inputs, keras.layers.Dense(1)(rnn(inputs)), **settings
    )
    adam = keras.optimizers.Adam(1e-3)
    model.compile("sgd", "mse", flossing_optimizer=adam, jit_compile=jit_compile)
    return model


def narrow(dtype="float32", units=12):
    """A rate network whose exponents are all near −0.1: QRs are hardly needed."""
    keras.utils.set_random_seed(0)
    return keras_floss.layers.RateRNN(
        units,
        name="rnn",
        dtype=dtype,
        recurrent_initializer=keras.initializers.Orthogonal(0.9),
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.1),
    )


def wide(dtype="float32"):
    """Exponents more than 1 apart: in float32 a QR every tenth step is far too few."""
    keras.utils.set_random_seed(0)
    return keras.layers.SimpleRNN(
        12, name="rnn", dtype=dtype, recurrent_initializer=keras.initializers.RandomNormal()
    )


def compiled_pass(model, interval, jit_compile=False, **settings):
    """A function of sequences: loss, exponents, interval, gradients in one vector."""
    settings = Flossing(warmup=5, **{"batch_size": 4, **settings})
    layers = {"rnn": model.model.get_layer("rnn")}
    flossing_pass = FlossingPass(model, layers, settings, interval)

    @tf.function(jit_compile=jit_compile, autograph=False)
    def one(x):
        result, _ = flossing_pass.gradients(x)
        gradients = tf.concat([tf.reshape(g, [-1]) for g in result.gradients], axis=0)
        return result.loss, result.exponents["rnn"], result.qr_interval, gradients

    return lambda x: [part.numpy() for part in one(x)]


def passes(model, interval, number=1, jit_compile=False, x=X, **settings):
    """`number` passes, one after another: what came of the last."""
    one = compiled_pass(model, interval, jit_compile, **settings)
    return [one(x) for _ in range(number)][-1]


def assert_within_a_percent(found, wanted):
    loss, exponents, _, gradients = found
    np.testing.assert_allclose(loss, wanted[0], rtol=0.01)
    scale = np.sqrt(np.mean(wanted[1] ** 2))
    np.testing.assert_allclose(exponents, wanted[1], atol=0.01 * scale)
    distance = np.linalg.norm(gradients - wanted[3])
    assert distance < 0.01 * np.linalg.norm(wanted[3])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_grows_where_the_spectrum_is_narrow(jit_compile):
    model = make(narrow())
    found = passes(model, Interval("auto"), len(INTERVALS), jit_compile)
    assert found[2] == INTERVALS[-1]
    assert_within_a_percent(found, passes(model, Interval(1), 1, jit_compile))


@pytest.mark.parametrize("jit_compile", cells(MODES, always=["graph"]))
def test_a_frame_that_degenerates_is_noticed_and_the_pass_repeated(jit_compile):
    model, interval = make(wide()), Interval("auto")
    # As if the network had been a narrow one up to now.
    interval._level.assign(len(INTERVALS) - 1)
    found = passes(model, interval, 1, jit_compile)
    wanted = passes(model, Interval(1), 1, jit_compile)
    assert found[2] in INTERVALS[:2]
    assert_within_a_percent(found, wanted)
    bad = passes(model, Interval(20), 1, jit_compile)
    assert np.linalg.norm(bad[3] - wanted[3]) > 0.1 * np.linalg.norm(wanted[3])


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_every_step_of_a_preflossing_is_right(jit_compile):
    # While its spectrum is still wide, too: that is where a QR too few costs most.
    keras.utils.set_random_seed(0)
    rnn = keras_floss.layers.RateRNN(40, name="rnn")
    model = make(rnn)
    x = np.random.default_rng(0).integers(0, 2, (40, 1, TIME, 2)).astype("float32")
    settings = {"jit_compile": jit_compile, "batch_size": 1, "k": 30, "damping": 0.0}
    auto = compiled_pass(model, Interval("auto"), **settings)
    every = compiled_pass(model, Interval(1), **settings)
    intervals = []
    for sequence in x:
        found = auto(sequence)
        assert_within_a_percent(found, every(sequence))
        intervals.append(found[2])
        model.floss(sequence, 1, k=30, warmup=5, batch_size=1, damping=0.0, verbose=0)
    assert intervals[-1] > 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["SimpleRNN", "GRU", "LSTM"])
def test_right_for_the_layers_of_keras(kind):
    keras.utils.set_random_seed(0)
    model = make(getattr(keras.layers, kind)(12, name="rnn"))
    found = passes(model, Interval("auto"), 4, k=12)
    assert found[2] > 1
    assert_within_a_percent(found, passes(model, Interval(1), k=12))


@pytest.mark.slow
def test_float64_bears_longer_intervals():
    single, double = Interval("auto"), Interval("auto")
    _, _, short, _ = passes(make(wide()), single, len(INTERVALS))
    model = make(wide("float64"), dtype="float64")
    found = passes(model, double, len(INTERVALS), x=X.astype("float64"))
    assert found[2] > short
    wanted = passes(model, Interval(1), x=X.astype("float64"))
    assert_within_a_percent(found, wanted)


@pytest.mark.slow
def test_products_of_rounded_factors_bear_shorter_intervals_only(monkeypatch):
    _, _, full, _ = passes(make(narrow()), Interval("auto"), len(INTERVALS))
    pretend_gpu(monkeypatch, compute_capability=(8, 0))
    _, _, rounded, _ = passes(make(narrow()), Interval("auto"), len(INTERVALS))
    assert rounded < full


def test_a_collapsed_direction_keeps_a_qr_at_every_step():
    rnn = keras.layers.SimpleRNN(3, name="rnn")
    model = make(rnn)
    recurrent = np.diag([0.9, 0.8, 0.0]).astype("float32")
    rnn.set_weights([rnn.get_weights()[0], recurrent, np.zeros(3, "float32")])
    found = passes(model, Interval("auto"), 3)
    assert found[2] == 1
    assert found[1][-1] == -np.inf
    assert np.isfinite(found[3]).all()


def test_masked_sequences():
    inputs = keras.Input((TIME, 2))
    x = keras.layers.Masking()(inputs)
    model = keras_floss.FlossingModel(inputs, keras.layers.Dense(1)(narrow()(x)))
    padded = X.copy()
    padded[0, 40:] = padded[1, 25:] = padded[2, :7] = 0.0
    found = passes(model, Interval("auto"), len(INTERVALS), x=padded)
    assert found[2] == INTERVALS[-1]
    assert_within_a_percent(found, passes(model, Interval(1), x=padded))


@pytest.mark.parametrize("how", cells(["graph", "xla", "eager"], always=["graph"]))
def test_floss_logs_the_interval(how):
    steps = 3 if how == "eager" else 8
    losses = {}
    for qr_interval in (1, "auto"):
        model = make(narrow(), jit_compile=how == "xla")
        if how == "eager":
            model.run_eagerly = True
        settings = {"k": 12, "seed": 0, "verbose": 0, "qr_interval": qr_interval}
        history = model.floss(X, steps, **settings).history
        losses[qr_interval] = history["flossing_loss"]
        assert ("qr_interval" in history) == (qr_interval == "auto")
    assert history["qr_interval"][0] == 1
    assert sorted(history["qr_interval"]) == history["qr_interval"]
    assert history["qr_interval"][-1] == INTERVALS[min(steps, len(INTERVALS)) - 1]
    np.testing.assert_allclose(losses["auto"], losses[1], rtol=0.01)
    # The next pass of the same kind begins where this one ended.
    history = model.floss(X, 1, **settings).history
    assert history["qr_interval"] == [INTERVALS[min(steps, len(INTERVALS) - 1)]]


@pytest.mark.slow
def test_callbacks_and_joint_flossing_take_it():
    callbacks = [
        Preflossing(X, steps=8, verbose=0),
        AdaptiveFlossing(X, every=2, steps=2, tolerance=1e-9, verbose=0),
        LyapunovMonitor(X),
    ]
    flossing = Flossing(k=12, qr_interval="auto")
    model = make(narrow(), strength=1.0, flossing=flossing)
    y = np.zeros((8, 1), "float32")
    history = model.fit(X, y, batch_size=2, verbose=0, callbacks=callbacks).history
    assert np.isfinite(history["flossing_loss"]).all()
    assert callbacks[0].history.history["qr_interval"][-1] == INTERVALS[-1]
    assert callbacks[1].looks["steps"] == [2]
    # What is watched has its QRs at every step.
    assert callbacks[2].flossing == Flossing(k=12, batch_size=None, qr_interval=1)
    assert int(model._penalty()._interval._level) == 4  # four updates, one up each


def test_errors():
    model = make(narrow())
    message = r"`qr_interval` must be an integer of at least 1, or \"auto\".*'often'"
    with pytest.raises(ValueError, match=message):
        model.floss(X, 1, qr_interval="often")
    with pytest.raises(ValueError, match=message):
        Preflossing(X, qr_interval="often")
    with pytest.raises(ValueError, match=message):
        make(narrow(), strength=1.0, flossing=Flossing(qr_interval="often"))
    with pytest.raises(ValueError, match=message):
        model.lyapunov_spectrum(X, qr_interval="often")
    # Statistics are of the stretches of single QRs.
    with pytest.raises(ValueError, match=r"`qr_interval`.*'auto'"):
        keras_floss.lyapunov_statistics(narrow(), X, qr_interval="auto")

"""HDetachAnnealing: h-detach is off from some epoch on, and back after training."""

import keras
import numpy as np
import pytest

from keras_floss import Flossing, FlossingModel, LyapunovRegularizer
from keras_floss.callbacks import HDetachAnnealing
from keras_floss.layers import HDetachLSTM, HDetachLSTMCell

layers = keras.layers
TIME, FEATURES, UNITS = 2, 2, 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, TIME, FEATURES)).astype("float32")
Y = RNG.standard_normal((4, UNITS)).astype("float32")


def effective_rate(layer):
    """The rate at which a layer blocks now: of its draws, to the quarters used here."""
    cell = getattr(layer, "cell", layer)
    state = cell.seed_generator.state.numpy()
    # 4000 draws are within 0.04 of the rate at 5 standard errors.
    share = float(np.mean(cell.draw(4000)))
    cell.seed_generator.state.assign(state)
    return round(4 * share) / 4


class Rates(keras.callbacks.Callback):
    """The rates of some layers in the batches of each epoch."""

    def __init__(self, *layers):
        super().__init__()
        self.layers, self.seen = layers, {}

    def on_train_batch_begin(self, batch, logs=None):
        rates = tuple(effective_rate(layer) for layer in self.layers)
        assert self.seen.setdefault(self.epoch, rates) == rates

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch


def rates(model, start, watched, **options):
    """Of each epoch, the rates of the `watched` layers."""
    seen = Rates(*watched)
    data = {"epochs": 4, "verbose": 0, **options}
    model.fit(X, np.zeros_like(model(X)), callbacks=[HDetachAnnealing(start), seen], **data)
    return [seen.seen[epoch] for epoch in sorted(seen.seen)]


@pytest.fixture(scope="module")
def model():
    layer = HDetachLSTM(UNITS, 0.5)
    model = keras.Sequential([keras.Input((TIME, FEATURES)), layer])
    model.compile("sgd", "mse", jit_compile=False)
    return model


@pytest.mark.parametrize(
    ("start", "options", "expected"),
    [
        (0, {}, [0, 0, 0, 0]),
        (2, {}, [0.5, 0.5, 0, 0]),
        (4, {}, [0.5] * 4),
        (100, {}, [0.5] * 4),
        (-1, {}, [0.5, 0.5, 0.5, 0]),
        (-4, {}, [0, 0, 0, 0]),
        (-40, {}, [0, 0, 0, 0]),
        # A run that goes on from a later epoch goes on counting.
        (2, {"initial_epoch": 1}, [0.5, 0, 0]),
        (1, {"initial_epoch": 2}, [0, 0]),
        (-1, {"initial_epoch": 2}, [0.5, 0]),
        (np.int64(1), {"epochs": 2}, [0.5, 0]),
    ],
    ids=str,
)
def test_rates_by_epoch(model, start, options, expected):
    (layer,) = model.layers
    assert rates(model, start, [layer], **options) == [(rate,) for rate in expected]
    assert layer.detach_rate.numpy() == effective_rate(layer) == 0.5


def test_the_rate_of_the_layer_is_what_counts(model):
    (layer,) = model.layers
    annealing, seen = HDetachAnnealing(1), Rates(layer)
    for rate in (0.75, 0.5):
        layer.detach_rate.assign(rate)
        model.fit(X, Y, epochs=2, callbacks=[annealing, seen], verbose=0)
        assert seen.seen == {0: (rate,), 1: (0,)}
        assert layer.detach_rate.numpy() == rate
        seen.seen.clear()


class Nested(keras.Model):
    """Subclassed, with layers in a list."""

    def __init__(self):
        super().__init__()
        self.parts = [HDetachLSTM(UNITS, 0.5, return_sequences=True)]
        self.head = HDetachLSTM(UNITS, 0.25)

    def call(self, inputs, training=None):
        for part in self.parts:
            inputs = part(inputs, training=training)
        return self.head(inputs, training=training)


def bidirectional():
    layer = layers.Bidirectional(HDetachLSTM(UNITS, 0.5))
    layer.backward_layer.detach_rate.assign(0.25)
    return layer, [layer.forward_layer, layer.backward_layer]


def stacked_cells():
    cells = [HDetachLSTMCell(UNITS, 0.5), HDetachLSTMCell(UNITS, 0.25)]
    return layers.RNN(cells), cells


def regularized():
    parts = [HDetachLSTM(UNITS, rate, return_sequences=True) for rate in (0.5, 0.25)]
    inside = [
        LyapunovRegularizer(parts[0], flossing=Flossing(k=1)),
        layers.TimeDistributed(layers.Dense(2)),
    ]
    return keras.Sequential([*inside, parts[1]]), parts


def in_a_model():
    parts = [HDetachLSTM(UNITS, rate, return_sequences=True) for rate in (0.5, 0.25)]
    inner = keras.Sequential([keras.Input((TIME, FEATURES)), parts[0]])
    return keras.Sequential(
        [inner, layers.LSTM(UNITS, return_sequences=True), parts[1]]
    ), parts


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (bidirectional, keras.Model),
        (stacked_cells, keras.Model),
        (regularized, keras.Model),
        (in_a_model, FlossingModel),
    ],
)
def test_layers_wherever_they_are(make, kind):
    """With rates of their own, which they keep."""
    inputs = keras.Input((TIME, FEATURES))
    layer, parts = make()
    model = kind(inputs, layer(inputs))
    model.compile("sgd", "mse", run_eagerly=True)  # for one epoch cheaper than a trace
    assert rates(model, 1, parts, epochs=2) == [(0.5, 0.25), (0, 0)]
    assert [effective_rate(part) for part in parts] == [0.5, 0.25]


def test_layers_of_a_subclassed_model():
    model = Nested()
    model.compile("sgd", "mse", run_eagerly=True)
    parts = [*model.parts, model.head]
    assert rates(model, 1, parts, epochs=2) == [(0.5, 0.25), (0, 0)]


def test_an_annealed_epoch_is_one_of_an_lstm():
    """In graph mode: what was traced in the first epoch has another rate in the second."""
    keras.utils.set_random_seed(0)
    layer = HDetachLSTM(UNITS, 1.0, recurrent_initializer="random_normal")
    ours = keras.Sequential([keras.Input((TIME, FEATURES)), layer])
    lstm = layers.LSTM(UNITS, use_cudnn=False)
    plain = keras.Sequential([keras.Input((TIME, FEATURES)), lstm])
    ours.set_weights([3 * w for w in ours.get_weights()])
    at_begin, weights = ours.get_weights(), []
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: weights.append(ours.get_weights())
    )
    for model in (ours, plain):
        model.compile(keras.optimizers.SGD(0.5), "mse", jit_compile=False)
    data = {"verbose": 0, "shuffle": False, "batch_size": 2}
    ours.fit(X, Y, epochs=2, callbacks=[HDetachAnnealing(-1), keep], **data)

    def of_the_lstm(start):
        plain.set_weights(start)
        plain.fit(X, Y, **data)
        return plain.get_weights()

    def distance(a, b):
        return max(np.abs(x - y).max() for x, y in zip(a, b, strict=True))

    # The second epoch from where the first ended; and the first was another.
    assert distance(of_the_lstm(weights[0]), weights[1]) < 1e-6
    assert distance(of_the_lstm(at_begin), weights[0]) > 1e-3
    # After training the rate is 1 again, for the trace too.
    ours.set_weights(at_begin)
    ours.fit(X, Y, **data)
    assert distance(ours.get_weights(), weights[0]) < 1e-6


def test_a_model_saved_in_an_annealed_epoch_has_its_rate(tmp_path, model):
    path = tmp_path / "model.keras"
    save = keras.callbacks.ModelCheckpoint(path)
    model.fit(X, Y, callbacks=[HDetachAnnealing(0), save], verbose=0)
    (layer,) = keras.models.load_model(path).layers
    assert layer.detach_rate.numpy() == 0.5
    assert effective_rate(layer) == 0.5


class Interrupt(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise KeyboardInterrupt


def test_an_interrupted_fit_does_not_leave_it_off(model):
    (layer,) = model.layers
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, callbacks=[HDetachAnnealing(0), Interrupt()], verbose=0)
    assert rates(model, 1, [layer], epochs=2) == [(0.5,), (0,)]


def test_a_model_without_h_detach():
    rnn = layers.LSTM(UNITS)
    model = keras.Sequential([keras.Input((TIME, FEATURES)), rnn], name="plain")
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="`plain` has no `HDetachLSTM`"):
        model.fit(X, Y, callbacks=[HDetachAnnealing(1)], verbose=0)


@pytest.mark.parametrize("start", ["x", True, 1.5, None, float("nan")])
def test_the_start_must_be_an_integer(start):
    with pytest.raises(ValueError, match="`start` must be an integer") as error:
        HDetachAnnealing(start)
    assert str(error.value).endswith(f"Received: {start!r}")

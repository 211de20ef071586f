"""Joint flossing adds `strength · flossing loss` to the task's loss, and no more."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import MODES, cells

from keras_floss import Flossing, FlossingModel, lyapunov_exponents

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 8, 2)).astype("float32")
Y = RNG.normal(size=(4, 1)).astype("float32")
RATE, STRENGTH = 0.1, 0.7
# The gradient without damping is that of the loss.
FLOSSING = Flossing(2, window=6, k=2, warmup=1, target=-0.3, qr_interval=1, damping=0.0)


def tensors(middle=None):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 2))
    x = inputs if middle is None else middle(inputs)
    x = keras.layers.SimpleRNN(3, bias_initializer="normal", name="rnn")(x)
    return inputs, keras.layers.Dense(1)(x)


def compiled(model, jit_compile=False, **settings):
    settings = {"optimizer": keras.optimizers.SGD(RATE), "loss": "mse"} | settings
    model.compile(jit_compile=jit_compile, **settings)
    return model


def make(strength=STRENGTH, flossing=FLOSSING, middle=None, **settings):
    model = FlossingModel(*tensors(middle), strength=strength, flossing=flossing)
    return compiled(model, **settings)


def plain(middle=None, **settings):
    return compiled(keras.Model(*tensors(middle)), **settings)


def step(model, x=X, y=Y):
    """The change of all weights in one training step, and its logs."""
    model(x)
    before = model.get_weights()
    logs = model.train_on_batch(x, y, return_dict=True)
    pairs = zip(model.get_weights(), before, strict=True)
    return [new - old for new, old in pairs], logs


def penalty(rnn, x=X, batch_size=2, window=6, k=2, warmup=1, target=-0.3):
    """The flossing loss on part of `x`, and its gradients, outside of any model."""
    with tf.GradientTape() as tape:
        exponents = lyapunov_exponents(rnn, x[:batch_size, :window], k, warmup=warmup)
        loss = tf.reduce_mean((exponents - target) ** 2)
    gradients = tape.gradient(loss, [v.value for v in rnn.trainable_variables])
    return float(loss), [g.numpy() for g in gradients]


def assert_close(ours, theirs, rtol=1e-3, atol=1e-6):
    # The same float32 operations in two traces, and the difference of two weights.
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def assert_equal(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def assert_step_of_both(model, rnn, jit_compile=False):
    """That a step of the model is the plain model's and that of the penalty."""
    loss, gradients = penalty(rnn)
    ours, logs = step(model)
    theirs, _ = step(plain(jit_compile=jit_compile))
    expected = [-RATE * STRENGTH * g for g in gradients]
    assert min(np.abs(e).max() for e in expected) > 5e-4
    # The readout, the last two, has its own step alone.
    expected += [np.zeros_like(w) for w in theirs[3:]]
    assert_close([a - b for a, b in zip(ours, theirs, strict=True)], expected)
    return loss, logs


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "XLA"])
def test_a_step_is_that_of_the_task_and_that_of_the_penalty(jit_compile):
    model = make(jit_compile=jit_compile)
    rnn = model.model.get_layer("rnn")
    loss, logs = assert_step_of_both(model, rnn, jit_compile)
    assert logs["flossing_loss"] == pytest.approx(loss, rel=1e-4)
    assert logs["flossing_skipped"] == 0
    task = plain().evaluate(X, Y, verbose=0)
    assert logs["loss"] == pytest.approx(task + STRENGTH * loss, rel=1e-4)


@pytest.mark.slow
def test_eagerly_too():
    model = make(run_eagerly=True)
    assert_step_of_both(model, model.model.get_layer("rnn"))


@pytest.mark.parametrize("run_eagerly", [False, True], ids=["graph", "eager"])
def test_a_strength_of_zero_is_the_plain_model(run_eagerly):
    data = {"epochs": 2, "batch_size": 2, "shuffle": False, "verbose": 0}
    weights = []
    for model in (make(0.0, run_eagerly=run_eagerly), plain(run_eagerly=run_eagerly)):
        model.fit(X, Y, **data)
        weights.append(model.get_weights())
    # To the last bit: all that is added is zero.
    assert_equal(*weights)


def test_by_default_it_is_of_the_first_two_sequences_and_all_exponents():
    model = make(flossing=None)
    rnn = model.model.get_layer("rnn")
    # The warm-up is half of so short a window, which is longer than the layer is wide.
    loss, _ = penalty(rnn, batch_size=2, window=None, k=None, warmup=4, target=0.03)
    assert step(model)[1]["flossing_loss"] == pytest.approx(loss, rel=1e-4)


def test_a_callback_schedules_the_strength():
    model = make(0.0)

    def schedule(epoch, logs=None):
        model.strength.assign(0.0 if epoch == 0 else STRENGTH)

    scheduled = keras.callbacks.LambdaCallback(on_epoch_begin=schedule)
    logs = model.fit(X, Y, epochs=2, callbacks=[scheduled], verbose=0).history
    assert logs["flossing_loss"][0] == 0
    assert logs["flossing_loss"][1] > 0.001

    by_hand, joint = plain(), make()
    step(by_hand)
    joint.set_weights(by_hand.get_weights())
    step(joint)
    assert_close(model.get_weights(), joint.get_weights())


def test_logs_of_training_and_none_of_validation():
    model = make()
    data = {"validation_data": (X, Y), "verbose": 0, "epochs": 2}
    logs = model.fit(X, Y, **data).history
    assert set(logs) == {"loss", "val_loss", "flossing_loss", "flossing_skipped"}
    assert min(logs["flossing_loss"]) > 0
    error = float(np.mean((model.predict(X, verbose=0) - Y) ** 2))
    assert logs["val_loss"][-1] == pytest.approx(error, rel=1e-4)
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(error, rel=1e-4)
    scores = model.evaluate(X, Y, verbose=0, return_dict=True)
    assert scores == {"loss": pytest.approx(error, rel=1e-4)}


@pytest.mark.slow
def test_metrics_of_the_task_are_evaluated_in_order():
    model = make(metrics=["mae"])
    model.fit(X, Y, verbose=0)
    away = np.abs(model.predict(X, verbose=0) - Y)
    expected = [np.mean(away**2), np.mean(away)]
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(expected, rel=1e-4)


def test_weights_go_between_it_and_the_plain_model():
    joint, other = make(), plain()
    step(joint)
    other.set_weights(joint.get_weights())
    assert_close(other(X), joint(X), rtol=1e-6)
    step(other)
    joint.set_weights(other.get_weights())
    assert_close(other(X), joint(X), rtol=1e-6)


@pytest.mark.slow
def test_a_loaded_model_has_strength_and_settings(tmp_path):
    model = make(0.1)
    model.strength.assign(STRENGTH)
    step(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert float(loaded.strength) == pytest.approx(STRENGTH)
    # Whether a file has the state of metrics differs between versions of Keras.
    model.reset_metrics()
    loaded.reset_metrics()
    (ours, ours_logs), (theirs, theirs_logs) = step(model), step(loaded)
    assert_close(ours, theirs)
    assert set(ours_logs) == set(theirs_logs)
    assert ours_logs["flossing_loss"] == pytest.approx(theirs_logs["flossing_loss"])


class LargeBreaks(keras.layers.Layer):
    """Where it is not training, as in a flossing pass, NaN for inputs past 100."""

    def call(self, x, training=False):
        return x if training else tf.where(x > 100, np.nan, x)


@pytest.mark.slow
def test_a_penalty_that_is_not_finite_is_left_out_and_counted():
    large = np.concatenate([0 * X[:1] + 200, X[1:]])
    joint, alone = make(middle=LargeBreaks()), plain(LargeBreaks())
    ours, logs = step(joint, large)
    # To the last bit: all that is added is zero.
    assert_equal(ours, step(alone, large)[0])
    assert max(np.abs(change).max() for change in ours) > 1e-3
    assert logs["flossing_skipped"] == 1
    assert np.isfinite(logs["loss"])

    # The count is that of an epoch.
    data = np.concatenate([X, large, X, large]), np.concatenate([Y] * 4)
    logs = joint.fit(*data, batch_size=4, epochs=2, shuffle=False, verbose=0).history
    assert logs["flossing_skipped"] == [2, 2]
    assert np.all(np.isfinite(logs["flossing_loss"]))


@pytest.fixture
def half_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.slow
@pytest.mark.usefixtures("half_precision")
def test_half_precision_trains_with_a_scaled_loss():
    model = make(10.0, optimizer=keras.optimizers.SGD(0.01))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    data = {"epochs": 30, "batch_size": 4, "shuffle": False, "verbose": 0}
    logs = model.fit(X, Y, **data).history
    assert np.all(np.isfinite(logs["loss"]))
    assert sum(logs["flossing_skipped"]) == 0
    assert logs["flossing_loss"][-1] < 0.5 * logs["flossing_loss"][0]
    assert all(np.all(np.isfinite(w)) for w in model.get_weights())


class OwnCall(FlossingModel):
    def __init__(self):
        super().__init__(strength=STRENGTH, flossing=FLOSSING)
        keras.utils.set_random_seed(1)
        self.rnn = keras.layers.SimpleRNN(3, bias_initializer="normal")
        self.readout = keras.layers.Dense(1)

    def call(self, inputs):
        return self.readout(self.rnn(inputs))


class OwnTrainStep(FlossingModel):
    def train_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        gradients = tape.gradient(loss, [v.value for v in self.trainable_variables])
        self.optimizer.apply(gradients, self.trainable_variables)
        return {"loss": loss}


@pytest.mark.slow
def test_a_subclass_with_its_own_call():
    model = compiled(OwnCall())
    model(X)
    model.set_weights(plain().get_weights())
    assert_step_of_both(model, model.rnn)


@pytest.mark.parametrize("jit_compile", cells(MODES, always=["graph"]))
def test_a_subclass_with_its_own_train_step(jit_compile):
    model = OwnTrainStep(*tensors(), strength=STRENGTH, flossing=FLOSSING)
    compiled(model, jit_compile)
    _, logs = assert_step_of_both(model, model.model.get_layer("rnn"), jit_compile)
    assert set(logs) == {"loss"}


def test_without_strength_there_is_none():
    model = compiled(FlossingModel(*tensors()))
    assert model.strength is None
    logs = model.fit(X, Y, verbose=0).history
    assert set(logs) == {"loss"}


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"strength": -1}, r"`strength`.*Received: -1"),
        ({"strength": np.nan}, r"`strength`.*Received: nan"),
        ({"strength": "x"}, r"`strength`.*Received: 'x'"),
    ],
    ids=str,
)
def test_bad_settings_are_named(settings, match):
    with pytest.raises(ValueError, match=match):
        FlossingModel(*tensors(), **settings)


@pytest.mark.parametrize(
    ("flossing", "match"),
    [
        (Flossing(k=4), r"`k`.*3.*Received: 4"),
        (Flossing(k={"lstm": 1}), r"`k`.*lstm.*rnn"),
        (Flossing(layers="lstm"), r"`layers`.*lstm.*rnn"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_the_model_are_named_when_it_trains(flossing, match):
    with pytest.raises(ValueError, match=match):
        step(make(flossing=flossing))

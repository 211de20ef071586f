"""What was changed in a model between two calls is answered for; nothing else is traced."""

import gc
import queue
import threading
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import cells
from reference import FEATURES, make_inputs

from keras_floss import Flossing, FlossingModel, gradient_norms
from keras_floss.callbacks import LyapunovMonitor, PeriodicFlossing

X, Y = make_inputs(4, 8).astype("float32"), np.ones((4, 1), "float32")


class Counting(keras.layers.SimpleRNNCell):
    """A cell that counts how often Python runs it, which is while it is traced."""

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.queue = queue.SimpleQueue()  # in which no trace sees anything change

    def call(self, x, states, training=False):
        self.queue.put(None)
        return super().call(x, states, training)


def make_model(kind=FlossingModel, seed=0, **options):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, FEATURES))
    before = keras.layers.Dense(FEATURES, name="before")(inputs)
    memory = keras.layers.RNN(Counting(4), name="memory")(before)
    model = kind(inputs, keras.layers.Dense(1)(memory))
    options = {"loss": keras.losses.Huber(1.0), "jit_compile": False, **options}
    if kind is FlossingModel:
        options["flossing_optimizer"] = keras.optimizers.SGD(0.1)
    model.compile("sgd", **options)
    return model


def part(model, name):
    return getattr(model, "model", model).get_layer(name)


def cell_of(model):
    return part(model, "memory").cell


def calls(model):
    return cell_of(model).queue.qsize()


CHANGES = {
    "activation": lambda m: setattr(cell_of(m), "activation", lambda x: 2 * x),
    "direction": lambda m: setattr(part(m, "memory"), "go_backwards", True),
    "layer before": lambda m: setattr(part(m, "before"), "activation", keras.ops.tanh),
}


def first_step(model):
    return model.floss(X, 1, seed=0, verbose=0).history["flossing_loss"][0]


def norms(model):
    return gradient_norms(model, X, Y)["memory"].norms


LOOKS = {
    "floss": first_step,
    "spectrum": lambda model: model.lyapunov_spectrum(X)["memory"],
    "gradients": norms,
}


@pytest.mark.parametrize(
    ("look", "change"),
    cells(
        [*LOOKS],
        [*CHANGES],
        always=["floss-activation", "spectrum-direction", "gradients-layer before"],
    ),
)
def test_a_changed_model(look, change):
    look, change = LOOKS[look], CHANGES[change]
    model, fresh = make_model(), make_model()
    before = look(model)
    for model_ in (model, fresh):
        change(model_)
    fresh.set_weights(model.get_weights())
    after, expected = look(model), look(fresh)
    # Two traces of the same float32 operations.
    np.testing.assert_allclose(after, expected, rtol=1e-4)
    assert not np.allclose(before, after, rtol=1e-2)


def test_a_changed_loss():
    class Loss(keras.losses.Loss):
        scale = 1.0

        def call(self, y, predicted):
            return self.scale * keras.ops.square(y - predicted)

    model = make_model(keras.Model, loss=Loss())
    first = norms(model)
    model.loss.scale = 2.0
    np.testing.assert_allclose(norms(model), 2 * first, rtol=1e-5)
    model.compile("sgd", Loss())
    np.testing.assert_allclose(norms(model), first, rtol=1e-5)
    model.compile("sgd", "mse", loss_weights=[3.0])
    np.testing.assert_allclose(norms(model), 3 * first, rtol=1e-5)


def test_an_option_of_the_flossing_optimizer():
    model = make_model()
    first_step(model)
    model.flossing_optimizer.global_clipnorm = 1e-3
    before = [v.numpy() for v in cell_of(model).weights]
    first_step(model)
    moved = [v.numpy() - old for v, old in zip(cell_of(model).weights, before, strict=True)]
    assert sum(np.sum(d**2) for d in moved) <= (0.1 * 1.001e-3) ** 2


@pytest.mark.slow
def test_a_monitor_sees_a_changed_activation():
    def watched(change_first):
        model = make_model(keras.Model)
        model.optimizer.learning_rate = 0.0
        monitor = LyapunovMonitor((X, Y), flossing=Flossing(warmup=0))
        if not change_first:
            model.fit(X, Y, verbose=0, callbacks=[monitor])
        cell_of(model).activation = lambda x: 2 * x
        model.fit(X, Y, verbose=0, callbacks=[monitor])
        monitor.history.pop("time")  # it counts on from the first `fit`
        return {n: v[-1] for n, v in monitor.history.items() if np.isscalar(v[-1])}

    expected = watched(change_first=True)
    assert watched(change_first=False) == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_a_callback_sees_a_changed_activation():
    def flossed(change_first):
        model = make_model(keras.Model)
        model.optimizer.learning_rate = 0.0
        optimizer = keras.optimizers.SGD(0.0)
        callback = PeriodicFlossing(X, every=1, steps=1, optimizer=optimizer, verbose=0)
        if not change_first:
            model.fit(X, Y, batch_size=2, verbose=0, callbacks=[callback])
        cell_of(model).activation = lambda x: 2 * x
        model.fit(X, Y, batch_size=2, verbose=0, callbacks=[callback])
        return callback.history[-1].history["lambda_1"][-1]

    assert flossed(True) == pytest.approx(flossed(False), rel=1e-4)


@pytest.mark.slow
def test_seeds_share_a_program():
    model = make_model()
    model.flossing_optimizer.learning_rate = 0.0
    look = {
        "floss": lambda seed: model.floss(
            X[:1], 1, seed=seed, warmup=0, qr_interval=1, input_drive=0.0, verbose=0
        ),
        "spectrum": lambda seed: model.lyapunov_spectrum(X, seed=seed),
    }
    for name in look:
        look[name](0)
    traced = calls(model)
    losses = {
        look["floss"](seed).history["flossing_loss"][0]
        for seed in (None, 0, 1, 2, 3, None, 3)
    }
    spectra = [look["spectrum"](seed)["memory"] for seed in (0, 1, 2, 0)]
    assert calls(model) == traced
    assert len(losses) == 4
    np.testing.assert_array_equal(spectra[0], spectra[3])
    assert not np.allclose(spectra[0], spectra[1])
    fresh = make_model()
    np.testing.assert_allclose(
        fresh.lyapunov_spectrum(X, seed=2)["memory"], spectra[2], rtol=1e-4
    )


def test_nothing_is_traced_twice_for_what_training_does():
    model = make_model()
    looks = {**LOOKS, "floss": lambda m: m.floss(X, 1, seed=0, verbose=0)}
    model.fit(X, Y, verbose=0)
    model.predict(X, verbose=0)
    for look in looks.values():
        look(model)
    traced = calls(model)
    for epoch in range(2):
        model.fit(X, Y, verbose=0, initial_epoch=epoch, epochs=epoch + 1)
        model.evaluate(X, Y, verbose=0)
        for look in looks.values():
            look(model)
        # Keras traces its evaluation, once.
        traced = calls(model) if epoch == 0 else traced
        for look in looks.values():
            look(model)
        assert calls(model) == traced


def test_gradients_are_traced_once():
    model = make_model(keras.Model)
    first = norms(model)
    traced = calls(model)
    np.testing.assert_array_equal(norms(model), first)
    cell_of(model).kernel.assign_add(cell_of(model).kernel)
    assert not np.allclose(norms(model), first)
    assert calls(model) == traced


@pytest.mark.slow
def test_what_was_flossed_goes():
    references = []
    for kind in (FlossingModel, keras.Model):
        model = make_model(kind)
        if kind is FlossingModel:
            model.floss(X, 1, verbose=0)
            model.lyapunov_spectrum(X)
        callbacks = [LyapunovMonitor((X, Y)), PeriodicFlossing(X, every=1, steps=1)]
        model.fit(X, Y, batch_size=2, verbose=0, callbacks=callbacks)
        norms(model)
        references += map(weakref.ref, [model, cell_of(model)])
        del model, callbacks
    keras.backend.clear_session()
    gc.collect()
    assert [reference() for reference in references] == [None] * 4


@pytest.mark.slow
def test_threads_have_the_frames_of_their_seeds():
    model = make_model()
    expected = {seed: model.lyapunov_spectrum(X, seed=seed)["memory"] for seed in (1, 2)}
    failures = []

    def look(seed):
        for _ in range(10):
            if not np.array_equal(
                model.lyapunov_spectrum(X, seed=seed)["memory"], expected[seed]
            ):
                failures.append(seed)

    threads = [threading.Thread(target=look, args=(seed,)) for seed in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.slow
def test_eagerly_run_functions_answer_too():
    model = make_model()
    expected = norms(model), model.lyapunov_spectrum(X[:1])["memory"]
    try:
        tf.config.run_functions_eagerly(True)
        eager = norms(model), model.lyapunov_spectrum(X[:1])["memory"]
    finally:
        tf.config.run_functions_eagerly(False)
    for a, b in zip(eager, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)

"""Inputs that are given by name are matched by name, in whatever order they come."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_floss
from keras_floss import Flossing
from keras_floss.lyapunov import lyapunov_exponents

NAMES = "speech", "aux"
X = dict(zip(NAMES, np.random.default_rng(0).standard_normal((2, 4, 12, 1)), strict=True))
X = {name: x.astype("float32") for name, x in X.items()}
Y = np.ones((4, 3), "float32")


def network(structure):
    """Of two inputs of one shape, of which one is loud; `{name: input}`, or their list."""
    keras.utils.set_random_seed(0)
    inputs = {name: keras.Input((12, 1), name=name) for name in NAMES}
    louder = keras.layers.Rescaling(8.0)(inputs["speech"])
    joined = keras.layers.Concatenate()([louder, inputs["aux"]])
    output = keras.layers.SimpleRNN(3, name="rnn")(joined)
    return keras.Model(inputs if structure == "dict" else list(inputs.values()), output)


def expected(net):
    """The exponents of every sequence."""
    x = np.concatenate([8.0 * X["speech"], X["aux"]], axis=-1)
    return lyapunov_exponents(net.get_layer("rnn"), x).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("names", [NAMES, NAMES[::-1]], ids=["as given", "turned round"])
@pytest.mark.parametrize("structure", ["list", "dict"])
def test_every_entrance_matches_inputs_by_name(structure, names):
    x = {name: X[name] for name in names}
    net = network(structure)
    right = expected(net)
    model = keras_floss.FlossingModel(net)
    still = keras.optimizers.SGD(0.0)
    model.compile(keras.optimizers.SGD(0.0), "mse", flossing_optimizer=still)

    # The loss is the mean square of the first spectrum; before it the input stays as it is.
    settings = {"batch_size": 4, "warmup": 0, "input_drive": 0.0, "target": 0.0}
    settings |= {"steps": 1, "verbose": 0}
    batches = tf.data.Dataset.from_tensors((x, Y))
    for source in (x, (x, Y), batches):
        spectrum = model.lyapunov_spectrum(source)["rnn"]
        np.testing.assert_allclose(spectrum, right, rtol=1e-3)
        loss = model.floss(source, **settings).history["flossing_loss"][0]
        np.testing.assert_allclose(loss, np.mean(right**2), rtol=1e-3)

    monitor = keras_floss.callbacks.LyapunovMonitor((x, Y), flossing=Flossing(warmup=0))
    preflossing = keras_floss.callbacks.Preflossing(x, **settings)
    model.fit(x, Y, verbose=0, callbacks=[preflossing, monitor])
    watched = monitor.history["rnn/exponents"][0]
    np.testing.assert_allclose(watched, right.mean(axis=0), rtol=1e-3)
    loss = preflossing.history.history["flossing_loss"][0]
    np.testing.assert_allclose(loss, np.mean(right**2), rtol=1e-3)

    gradients = keras_floss.gradient_norms(model, x, Y)["rnn"].norms
    in_order = X if structure == "dict" else [X[name] for name in NAMES]
    net.compile("sgd", "mse")
    right = keras_floss.gradient_norms(net, in_order, Y)["rnn"].norms
    np.testing.assert_allclose(gradients, right, rtol=1e-5)

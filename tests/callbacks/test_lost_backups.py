"""Preflossing notices what a backup did not hold."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import cells

import keras_floss
from keras_floss.callbacks import Preflossing

RNG = np.random.default_rng(0)
X = RNG.standard_normal((8, 12, 2)).astype("float32")
Y = RNG.standard_normal((8, 1)).astype("float32")
KINDS = pytest.mark.parametrize(
    "wrapped", cells({"FlossingModel": True, "plain": False}, always=["FlossingModel"])
)


def make_model(wrapped):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 2))
    outputs = keras.layers.Dense(1)(keras.layers.SimpleRNN(4)(inputs))
    model = (keras_floss.FlossingModel if wrapped else keras.Model)(inputs, outputs)
    model.compile("adam", "mse", jit_compile=False)
    return model


class Killed(Exception):
    pass


class Kill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise Killed


def fit(model, folder, *callbacks, first=False, **kwargs):
    """Three epochs, with a backup after each."""
    preflossing = Preflossing(X, steps=3, seed=1)
    backup = keras.callbacks.BackupAndRestore(folder, **kwargs)
    both = [preflossing, backup] if first else [backup, preflossing]
    settings = {"batch_size": 4, "epochs": 3, "verbose": 0}
    history = model.fit(X, Y, callbacks=[*both, *callbacks], **settings)
    return preflossing, history.epoch


@pytest.fixture
def killed(tmp_path):
    """Makes a folder with the backup of a run that was killed after two epochs."""

    def make(wrapped, **kwargs):
        model = make_model(wrapped)
        with pytest.raises(Killed):
            fit(model, tmp_path, Kill(), **kwargs)
        return tmp_path, model

    return make


@KINDS
@pytest.mark.parametrize("first", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_backup_without_weights_is_a_fresh_model_and_flossed(wrapped, first, killed):
    folder, _ = killed(wrapped)
    (folder / "latest.weights.h5").unlink()
    with pytest.warns(UserWarning, match="no weights in its backup") as caught:
        preflossing, epochs = fit(make_model(wrapped), folder, first=first)
    assert len([w for w in caught if "BackupAndRestore" in str(w.message)]) == 1
    assert epochs == [2]
    assert len(preflossing.history.history["flossing_loss"]) == 3


@KINDS
def test_a_backup_without_its_epoch_is_a_trained_model_and_not_flossed(wrapped, killed):
    folder, _ = killed(wrapped)
    (folder / "training_metadata.json").unlink()
    preflossing, epochs = fit(make_model(wrapped), folder)
    assert epochs == [0, 1, 2]
    assert preflossing.history is None


@KINDS
def test_a_whole_backup_is_not_flossed_again(wrapped, killed):
    folder, model = killed(wrapped)
    assert json.loads((folder / "training_metadata.json").read_text())["epoch"] == 2
    # In the same process too, where the model is already what is restored.
    preflossing, epochs = fit(model, folder)
    assert epochs == [2]
    assert preflossing.history is None


class OwnOptimizer(keras.Model):
    """Trains by an optimiser that Keras does not know of."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = keras.layers.SimpleRNN(4), keras.layers.Dense(1)
        self.own = keras.optimizers.SGD(0.1)

    def call(self, inputs):
        return self.head(self.rnn(inputs))

    def train_step(self, batch):
        x, y = batch
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self(x) - y) ** 2)
        gradients = tape.gradient(loss, self.trainable_weights)
        self.own.apply(gradients, self.trainable_weights)
        return {"loss": loss}


@pytest.mark.slow
def test_a_model_with_an_optimizer_of_its_own(tmp_path):
    def make():
        keras.utils.set_random_seed(0)
        model = OwnOptimizer()
        model(X[:1])
        model.own.build(model.trainable_weights)
        model.compile(jit_compile=False)
        return model

    with pytest.raises(Killed):
        fit(make(), tmp_path, Kill())
    preflossing, epochs = fit(make(), tmp_path)
    assert epochs == [2]
    assert preflossing.history is None


@pytest.mark.slow
def test_a_torn_weights_file_is_made_good_by_a_double_checkpoint(killed):
    """As the README says."""
    folder, _ = killed(True, double_checkpoint=True)
    weights = folder / "latest.weights.h5"
    weights.write_bytes(weights.read_bytes()[:100])
    preflossing, epochs = fit(make_model(True), folder, double_checkpoint=True)
    assert epochs == [1, 2]
    assert preflossing.history is None

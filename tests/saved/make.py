"""Makes the files beside it: models, and what they answered when they were saved.

Run once, by the version whose files later versions must load (`python tests/saved/make.py
FOLDER`), and kept: a file made anew by later code would show nothing.
"""

import pathlib
import sys

import keras
import numpy as np

import keras_floss

TIME, FEATURES = 12, 2


def inputs():
    return np.random.default_rng(0).normal(size=(4, TIME, FEATURES)).astype("float32")


def targets():
    return np.random.default_rng(1).normal(size=(4, 1)).astype("float32")


def joint_flossing():
    """Trained with joint flossing, then flossed: both optimisers have state."""
    source = keras.Input((TIME, FEATURES))
    x = keras.layers.GRU(4, return_sequences=True, name="first")(source)
    x = keras_floss.layers.RateRNN(5, name="second")(x)
    model = keras_floss.FlossingModel(
        source,
        keras.layers.Dense(1)(x),
        strength=0.3,
        joint={"window": 10, "k": {"first": 2, "second": 3}, "target": -0.1},
    )
    model.compile(
        keras.optimizers.Adam(0.01),
        "mse",
        metrics=["mae"],
        flossing_optimizer=keras.optimizers.Adam(0.003, global_clipnorm=0.1),
    )
    model.fit(inputs(), targets(), epochs=2, shuffle=False, verbose=0)
    model.floss(inputs(), 3, window=8, seed=1, verbose=0)
    return model


def regularizer():
    """A LyapunovRegularizer around a Bidirectional, its settings not the defaults."""
    source = keras.Input((TIME, FEATURES))
    rnn = keras.layers.Bidirectional(keras.layers.LSTM(3), name="both")
    x = keras_floss.LyapunovRegularizer(
        rnn, k=4, strength=0.2, window=10, target=-0.1, warmup=2, batch_size=2
    )(source)
    model = keras.Model(source, keras.layers.Dense(1)(x))
    model.compile("adam", "mse")
    model.fit(inputs(), targets(), epochs=2, shuffle=False, verbose=0)
    return model


def h_detach():
    source = keras.Input((TIME, FEATURES))
    x = keras_floss.layers.HDetachLSTM(4, detach_rate=0.5, name="lstm")(source)
    model = keras.Model(source, keras.layers.Dense(1)(x))
    model.compile("adam", "mse")
    model.fit(inputs(), targets(), epochs=2, shuffle=False, verbose=0)
    return model


MODELS = {
    "joint_flossing": joint_flossing,
    "regularizer": regularizer,
    "h_detach": h_detach,
}


def spectra(model):
    """Exponents of every recurrent layer, by a FlossingModel around the model."""
    if not isinstance(model, keras_floss.FlossingModel):
        model = keras_floss.FlossingModel(model)
        model.compile()
    return model.lyapunov_spectrum(inputs())


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    for name, make in MODELS.items():
        keras.utils.set_random_seed(0)
        model = make()
        model.save(folder / f"{name}.keras")
        answers = {"outputs": model.predict(inputs(), verbose=0), **spectra(model)}
        # Plain Keras's own loss, without what is added in training.
        answers["loss"] = model.evaluate(inputs(), targets(), verbose=0)
        np.savez(folder / f"{name}.npz", **answers)

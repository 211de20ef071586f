"""Models saved by the first version load, and answer as they did (tests/saved/make.py)."""

import pathlib

import keras
import numpy as np
import pytest
from saved.make import MODELS, inputs, spectra, targets

from keras_floss import Flossing

FOLDER = pathlib.Path(__file__).parent / "saved"


@pytest.fixture(params=MODELS)
def saved(request):
    """A loaded model, and the answers of the model that was saved."""
    with np.load(FOLDER / f"{request.param}.npz") as answers:
        return keras.models.load_model(FOLDER / f"{request.param}.keras"), dict(answers)


def test_outputs_and_spectra_are_those_of_the_model_that_was_saved(saved):
    model, answers = saved
    # Float32 on another machine, summed in another order.
    close = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(
        model.predict(inputs(), verbose=0), answers["outputs"], **close
    )
    loss = model.evaluate(inputs(), targets(), verbose=0)
    np.testing.assert_allclose(loss, answers["loss"], **close)
    for name, exponents in spectra(model).items():
        np.testing.assert_allclose(exponents, answers[name], err_msg=name, **close)


@pytest.mark.slow
def test_a_loaded_model_trains_on(saved):
    model, _ = saved
    loss = model.fit(inputs(), targets(), epochs=2, verbose=0).history["loss"]
    assert np.isfinite(loss).all()


def test_settings_are_those_that_were_saved():
    """The regulariser's defaults of then are not those of now."""
    joint = keras.models.load_model(FOLDER / "joint_flossing.keras")
    then = {
        "qr_interval": 1,
        "damping": 0.0,
        "open_gates": 0.0,
        "input_drive": 0.0,
        "target": -0.1,
        "window": 10,
    }
    then["of"] = "state"
    settings = {"batch_size": 1, "k": {"first": 2, "second": 3}, **then}
    assert joint.flossing == Flossing(**settings)
    regularizer = keras.models.load_model(FOLDER / "regularizer.keras").layers[1]
    assert regularizer.flossing == Flossing(k=4, warmup=2, batch_size=2, seed=0, **then)
    assert float(regularizer.strength) == pytest.approx(0.2)


def test_the_flossing_optimizer_comes_with_its_state():
    model = keras.models.load_model(FOLDER / "joint_flossing.keras")
    assert float(model.strength.numpy()) == pytest.approx(0.3)
    assert model.flosser.iterations == 3
    assert model.flossing_optimizer.global_clipnorm == 0.1
    moments = model.flossing_optimizer.variables[2:]
    assert all(np.any(v.numpy()) for v in moments[:6])

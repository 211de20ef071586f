"""`keras-floss spectrum` on a model that was never near this package."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_floss.cli import main
from keras_floss.experiments.verdict import verdict
from keras_floss.lyapunov import condition_number, lyapunov_exponents

SEQUENCES, TIME = 3, 30

SAVE = """
import sys
import keras
import numpy as np

keras.utils.set_random_seed(0)
inputs = keras.Input((30, 2))
x = keras.layers.Masking()(inputs)
x = keras.layers.LSTM(4, return_sequences=True, name="memory")(x)
x = keras.layers.Bidirectional(keras.layers.GRU(3), name="both")(x)
keras.Model(inputs, keras.layers.Dense(1)(x)).save(sys.argv[1])
assert not any(name.startswith("keras_floss") for name in sys.modules)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    model, data = folder / "plain.keras", folder / "x.npy"
    subprocess.run([sys.executable, "-c", SAVE, str(model)], check=True, cwd=folder)
    x = np.random.default_rng(0).standard_normal((SEQUENCES + 2, TIME, 2))
    x[0, 20:] = 0.0  # masked
    np.save(data, x.astype("float32"))
    return str(model), str(data)


def printed(capsys, *arguments):
    assert main(["spectrum", *arguments]) == 0
    return capsys.readouterr().out


@pytest.mark.slow
def test_numbers_are_those_of_the_functions(saved, capsys):
    model, data = saved
    flags = ["--data", data, f"--sequences={SEQUENCES}", "--k=3", "--json"]
    reports = json.loads(printed(capsys, model, *flags))
    assert [r["layer"] for r in reports] == ["memory", "both/forward", "both/backward"]
    assert [r["states"] for r in reports] == [8, 3, 3]
    memory = reports[0]
    layer = keras.models.load_model(model).get_layer("memory")
    x = np.load(data)[:SEQUENCES]
    mask = np.any(x != 0, axis=-1)
    exponents = lyapunov_exponents(layer, x, k=3, mask=mask).numpy()
    np.testing.assert_allclose(memory["exponents"], exponents.mean(axis=0), rtol=1e-5)
    between = exponents.std(axis=0, ddof=1) / np.sqrt(SEQUENCES)
    assert (memory["standard_error"] >= between * (1 - 1e-5)).all()
    # Of the first sequence, which has 20 valid steps.
    assert memory["horizons"][0] == 1
    assert memory["horizons"][-1] == 20
    condition = condition_number(layer, x[:1], 20, k=3, mask=mask[:1]).log_measured[0, -1]
    np.testing.assert_allclose(memory["log10_condition"][-1], condition / np.log(10))
    assert memory["verdict"] == verdict(np.array(memory["exponents"]), TIME)


def test_text_and_picture(saved, tmp_path, capsys):
    model, data = saved
    picture = tmp_path / "pictures" / "spectrum.png"
    text = printed(capsys, model, "--data", data, "--layers=memory", "--plot", str(picture))
    assert text.startswith("memory: 8 states, 30 time steps")
    assert all(words in text for words in ("λ_1", "condition number"))
    assert "both" not in text
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture) in text


def test_lost_directions_are_null_in_json(tmp_path, capsys):
    """A GRU whose recurrent kernel is zero and whose gate is closed forgets everything."""
    inputs = keras.Input((10, 1))
    rnn = keras.layers.SimpleRNN(2)
    model = keras.Model(inputs, rnn(inputs))
    rnn.set_weights([np.ones((1, 2)), np.zeros((2, 2)), np.zeros(2)])
    model.save(tmp_path / "m.keras")
    np.save(tmp_path / "x.npy", np.ones((2, 10, 1)))
    flags = ["--data", str(tmp_path / "x.npy"), "--json"]
    text = printed(capsys, str(tmp_path / "m.keras"), *flags)
    assert json.loads(text)[0]["exponents"] == [None, None]
    assert not any(word in text for word in ("NaN", "Infinity"))


@pytest.mark.parametrize(
    ("exponents", "steps", "words"),
    [
        ([-0.27, -0.5], 100, ["-0.27", "loses", "10^12", "100 steps", "Flossing may help"]),
        ([0.2, -0.1], 100, ["+0.2", "grows", "10^9", "Clip"]),
        ([-0.01, -1.0], 100, ["last of these 2", "10^43"]),
        ([-0.001, -np.inf], 100, ["last of these 2", "without bound"]),
        ([0.01, -0.01], 100, ["arrives in all of these 2", "little left"]),
        ([-0.27, -0.5], 10, ["arrives in all"]),
    ],
)
def test_verdicts(exponents, steps, words):
    said = verdict(np.array(exponents), steps)
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["no.keras", "--data", "DATA"], "no file no.keras"),
        (["MODEL", "--data", "no.npy"], "no file no.npy"),
        (["DATA", "--data", "DATA"], "could not be loaded as a Keras model"),
        (["MODEL", "--data", "MODEL"], "arrays of numbers"),
        (["MODEL", "--data", "DATA", "--layers=magic"], "'magic'"),
        (["MODEL", "--data", "DATA", "--sequences=0"], "`sequences`"),
        (["MODEL", "--data", "DATA", "--k=0"], "`k`"),
        (["MODEL", "--data", "DATA", "--warmup=30"], "`warmup`"),
    ],
    ids=str,
)
def test_bad_input_is_named(saved, flags, named, capsys):
    names = {"MODEL": saved[0], "DATA": saved[1]}
    with pytest.raises(SystemExit) as stop:
        main(["spectrum", *(names.get(flag, flag) for flag in flags)])
    assert stop.value.code == 2
    assert named in capsys.readouterr().err


def test_several_inputs(tmp_path, capsys):
    one, two = keras.Input((8, 1), name="one"), keras.Input((8, 2), name="two")
    rnn = keras.layers.SimpleRNN(3, name="rnn")
    both = keras.layers.Concatenate()([one, two])
    keras.Model([one, two], rnn(both)).save(tmp_path / "m.keras")
    rng = np.random.default_rng(0)
    parts = rng.standard_normal((4, 8, 1)), rng.standard_normal((4, 8, 2))
    np.savez(tmp_path / "x.npz", *parts)
    text = printed(capsys, str(tmp_path / "m.keras"), "--data", str(tmp_path / "x.npz"))
    assert text.startswith("rnn: 3 states, 8 time steps")

"""`keras-floss spectrum` on a model that was never near this package."""

import json
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from cells import SLOW

import keras_floss
from keras_floss import Flossing, diagnose
from keras_floss.lyapunov import condition_number, lyapunov_exponents
from keras_floss_command.main import main
from keras_floss_command.parser import make_parser

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
    said = diagnose(keras.models.load_model(model), x, flossing=Flossing(k=3))
    assert {r["layer"]: r["diagnosis"]["sentence"] for r in reports} == {
        name: layer.sentence for name, layer in said.layers.items()
    }


def test_text_and_picture(saved, tmp_path, capsys):
    model, data = saved
    picture = tmp_path / "pictures" / "spectrum.png"
    text = printed(capsys, model, "--data", data, "--layers=memory", "--plot", str(picture))
    assert text.startswith("memory: 8 states, 30 time steps")
    assert all(words in text for words in ("λ_1", "condition number"))
    assert "both" not in text
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture) in text


def test_targets_say_whether_the_gradient_of_the_task_arrives(saved, tmp_path, capsys):
    model, data = saved
    x, y = np.load(data), tmp_path / "y.npy"
    np.save(y, np.ones((len(x), 1)))
    words = said(capsys, model, "--data", data, "--targets", y)
    assert "saved without a loss" in words
    compiled = keras.models.load_model(model)
    compiled.compile("adam", "mse")
    compiled.save(tmp_path / "m.keras")
    flags = ["--data", data, "--targets", str(y), "--layers=memory", "--k=3", "--json"]
    (report,) = json.loads(printed(capsys, str(tmp_path / "m.keras"), *flags))
    norms = keras_floss.gradient_norms(compiled, x[:4], np.ones((4, 1)))["memory"].norms
    ratio = report["diagnosis"]["gradient_ratio"]
    np.testing.assert_allclose(ratio, norms[0] / norms[-1], rtol=1e-5)
    assert f"{ratio:.2g} times" in report["diagnosis"]["sentence"]
    np.save(y, np.ones((2, 1)))
    words = said(capsys, tmp_path / "m.keras", "--data", data, "--targets", y)
    assert "each of the 4 sequences" in words


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


def speech_and_aux(structure):
    """A model of two inputs of one shape, of which one is loud, and its data by name."""
    keras.utils.set_random_seed(0)
    speech, aux = keras.Input((30, 1), name="speech"), keras.Input((30, 1), name="aux")
    louder = keras.layers.Rescaling(4.0)(speech)
    rnn = keras.layers.SimpleRNN(3, name="rnn")
    output = rnn(keras.layers.Concatenate()([louder, aux]))
    inputs = {"list": [speech, aux], "dict": {"speech": speech, "aux": aux}}[structure]
    data = np.random.default_rng(0).standard_normal((2, 4, 30, 1)).astype("float32")
    return keras.Model(inputs, output), {"speech": 0.2 * data[0], "aux": data[1]}


def exponents_of(capsys, model, file):
    return json.loads(printed(capsys, str(model), "--data", str(file), "--json"))[0][
        "exponents"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "flossing"])
@pytest.mark.parametrize("structure", ["list", "dict"])
def test_arrays_are_matched_by_name_in_whatever_order(structure, wrapped, tmp_path, capsys):
    model, data = speech_and_aux(structure)
    rnn = model.get_layer("rnn")
    x = np.concatenate([4.0 * data["speech"], data["aux"]], axis=-1)
    right = lyapunov_exponents(rnn, x).numpy().mean(axis=0)
    if wrapped:
        model = keras_floss.FlossingModel(model)
    model.save(tmp_path / "m.keras")
    data["y"] = np.zeros(4)  # what is no input of the model stays out of it
    for number, order in enumerate((["speech", "aux"], ["aux", "speech"], sorted(data))):
        file = tmp_path / f"{number}.npz"
        np.savez(file, **{name: data[name] for name in order})
        found = exponents_of(capsys, tmp_path / "m.keras", file)
        np.testing.assert_allclose(found, right, rtol=1e-4)


@pytest.mark.slow
def test_arrays_without_names_are_taken_in_their_order(tmp_path, capsys):
    model, data = speech_and_aux("list")
    model.save(tmp_path / "m.keras")
    np.savez(tmp_path / "named.npz", **data)
    np.savez(tmp_path / "ordered.npz", data["speech"], data["aux"])
    named, ordered = (
        exponents_of(capsys, tmp_path / "m.keras", tmp_path / name)
        for name in ("named.npz", "ordered.npz")
    )
    assert named == ordered


@pytest.mark.parametrize(
    ("structure", "arrays", "words"),
    [
        ("list", {"speech": 0, "noise": 0}, "noise.*speech.*aux"),
        ("list", {"speech": 0}, "speech.*aux"),
        ("dict", {"arr_0": 0, "arr_1": 0}, "arr_0, arr_1.*speech.*aux"),
        ("list", {"arr_0": 0, "arr_1": 0, "arr_2": 0}, "arr_2.*speech, aux"),
    ],
    ids=str,
)
def test_names_that_do_not_match_are_listed_on_both_sides(
    structure, arrays, words, tmp_path, capsys
):
    speech_and_aux(structure)[0].save(tmp_path / "m.keras")
    np.savez(tmp_path / "x.npz", **{name: np.zeros((4, 30, 1)) for name in arrays})
    with pytest.raises(SystemExit) as stop:
        main(["spectrum", str(tmp_path / "m.keras"), "--data", str(tmp_path / "x.npz")])
    assert stop.value.code == 2
    assert re.search(words, capsys.readouterr().err)


def said(capsys, *arguments):
    """The one line that ends a command that was used wrongly."""
    with pytest.raises(SystemExit) as stop:
        main(["spectrum", *map(str, arguments)])
    assert stop.value.code == 2
    lines = capsys.readouterr().err.partition("error: ")[2].splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_a_warning_is_a_line_and_names_what_the_command_has(tmp_path, capsys):
    rnn = keras.layers.SimpleRNN(2, activation=None)
    model = keras.Sequential([keras.Input((10, 1)), rnn])
    # A step that float32 does not bear.
    rnn.set_weights([np.zeros((1, 2)), np.diag([1.0, 1e-6]), np.zeros(2)])
    model.save(tmp_path / "m.keras")
    np.save(tmp_path / "x.npy", np.ones((1, 10, 1)))
    flags = ["spectrum", str(tmp_path / "m.keras"), "--data", str(tmp_path / "x.npy")]
    assert main(flags) == 0
    lines = capsys.readouterr().err.splitlines()
    (line,) = (line for line in lines if "in doubt" in line)
    assert line.startswith("keras-floss: warning: ")
    named = re.findall("`(.*?)`", line)
    assert named
    assert set(named) <= set(vars(make_parser().parse_args(flags)))


@pytest.mark.parametrize("kind", ["m.keras", "x.npy", "x.npz"])
@pytest.mark.parametrize("left", [0.0, 0.02, 0.5, 0.98])
def test_a_truncated_file_is_named(kind, left, saved, tmp_path, capsys):
    model, data = saved
    x = np.load(data)
    np.savez(tmp_path / "x.npz", x=x)
    shutil.copy(data, tmp_path / "x.npy")
    shutil.copy(model, tmp_path / "m.keras")
    content = (tmp_path / kind).read_bytes()
    (tmp_path / kind).write_bytes(content[: int(left * len(content))])
    data = "x.npz" if kind == "m.keras" else kind
    line = said(capsys, tmp_path / "m.keras", "--data", tmp_path / data)
    assert str(tmp_path / kind) in line


@pytest.mark.parametrize("kind", ["m.keras", "x.npz"])
def test_a_file_with_flipped_bits_is_named(kind, saved, tmp_path, capsys):
    model, data = saved
    np.savez_compressed(tmp_path / "x.npz", x=np.load(data))
    shutil.copy(model, tmp_path / "m.keras")
    content = bytearray((tmp_path / kind).read_bytes())
    middle = slice(len(content) // 2, len(content) // 2 + 500)
    content[middle] = bytes(255 - byte for byte in content[middle])
    (tmp_path / kind).write_bytes(content)
    line = said(capsys, tmp_path / "m.keras", "--data", tmp_path / "x.npz")
    assert str(tmp_path / kind) in line


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, TIME, 2), "complex64"), "real numbers, not complex64"),
        (np.full((3, TIME, 2), None), "array"),
        (np.full((3, TIME, 2), "a"), "real numbers, not <U1"),
        (np.zeros((3, TIME, 2), "datetime64[s]"), "real numbers, not datetime64"),
        (np.zeros((0, TIME, 2)), "no sequence"),
        (np.zeros((3, 0, 2)), "no sequence"),
        (np.float32(1.0), "no sequence"),
        (np.zeros((3, TIME, 5)), r"shape \(None, 30, 2\).*\(3, 30, 5\)"),
        (np.zeros((3, TIME + 1, 2)), r"shape \(None, 30, 2\).*\(3, 31, 2\)"),
        (np.zeros(3), r"shape \(None, 30, 2\).*\(3,\)"),
        (np.zeros((3, TIME, 2, 2)), r"shape \(None, 30, 2\).*\(3, 30, 2, 2\)"),
        (np.full((3, TIME, 2), np.nan), "not finite"),
        pytest.param(np.full((3, TIME, 2), 1e300), "not finite", marks=SLOW),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.dtype}{value.shape}",
)
@pytest.mark.parametrize("suffix", ["npy", pytest.param("npz", marks=SLOW)])
def test_data_that_are_no_inputs_are_named(array, words, suffix, saved, tmp_path, capsys):
    file = tmp_path / f"x.{suffix}"
    np.save(file, array) if suffix == "npy" else np.savez(file, x=array)
    assert re.search(words, said(capsys, saved[0], "--data", file))


def test_inputs_of_different_numbers_of_sequences_are_named(tmp_path, capsys):
    model, data = speech_and_aux("list")
    model.save(tmp_path / "m.keras")
    np.savez(tmp_path / "x.npz", speech=data["speech"], aux=data["aux"][:3])
    line = said(capsys, tmp_path / "m.keras", "--data", tmp_path / "x.npz")
    assert "'speech': 4, 'aux': 3" in line


@pytest.mark.parametrize(
    "flag",
    [
        "--k=-1",
        "--warmup=-1",
        *(pytest.param(f, marks=SLOW) for f in ("--sequences=-3", "--k=nan")),
    ],
)
def test_numbers_out_of_range_are_named(flag, saved, capsys):
    name = flag.strip("-").partition("=")[0]
    assert name in said(capsys, saved[0], "--data", saved[1], flag)
    huge = said(capsys, saved[0], "--data", saved[1], f"--warmup={'1' * 30}")
    assert "`warmup`" in huge


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("taken/spectrum.png", "could not be written"),
        ("folder", "folder"),
        ("folder.png", "folder.png"),
        ("spectrum.magic", "spectrum.magic must be a picture.*.png"),
    ],
)
def test_a_picture_that_cannot_be_written_is_said_before_the_work(
    place, words, saved, monkeypatch, tmp_path, capsys
):
    (tmp_path / "taken").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.png").mkdir()
    monkeypatch.setattr("keras_floss.experiments.saved_model.load", None)  # the first work
    line = said(capsys, saved[0], "--data", saved[1], f"--plot={tmp_path / place}")
    assert re.search(words, line)


@pytest.mark.slow
def test_a_picture_has_the_name_that_was_asked_for(saved, tmp_path, capsys):
    for name in ("spectrum", "spectrum.pdf"):
        printed(capsys, saved[0], "--data", saved[1], "--k=1", f"--plot={tmp_path / name}")
    assert (tmp_path / "spectrum").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "spectrum.pdf").read_bytes().startswith(b"%PDF")
    assert len(list(tmp_path.iterdir())) == 2


def test_what_a_model_cannot_be_called_on_is_said_in_a_line(tmp_path, capsys):
    inputs = keras.Input((6,), dtype="int32")
    embedded = keras.layers.Embedding(5, 2)(inputs)
    keras.Model(inputs, keras.layers.SimpleRNN(3)(embedded)).save(tmp_path / "m.keras")
    np.save(tmp_path / "x.npy", np.full((2, 6), 7))
    line = said(capsys, tmp_path / "m.keras", "--data", tmp_path / "x.npy")
    assert "cannot be called" in line


@pytest.mark.slow
def test_a_batch_of_fixed_size_is_taken_whole(tmp_path, capsys):
    rnn = keras.layers.SimpleRNN(3, stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=(6, 8, 1)), rnn])
    model.save(tmp_path / "m.keras")
    x = np.random.default_rng(0).standard_normal((7, 8, 1)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    right = lyapunov_exponents(rnn, x[:6]).numpy().mean(axis=0)
    found = exponents_of(capsys, tmp_path / "m.keras", tmp_path / "x.npy")
    np.testing.assert_allclose(found, right, rtol=1e-4)
    np.save(tmp_path / "x.npy", x[:5])
    line = said(capsys, tmp_path / "m.keras", "--data", tmp_path / "x.npy")
    assert "(6, 8, 1)" in line


@keras.saving.register_keras_serializable(package="test_spectrum_command")
class OfADict(keras.Model):
    """A model whose inputs have names that only its `call` knows."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.rnn = keras.layers.SimpleRNN(3)

    def call(self, inputs):
        louder = 4.0 * inputs["speech"]
        return self.rnn(keras.ops.concatenate([louder, inputs["aux"]], axis=-1))


def test_a_model_with_a_call_of_its_own_gets_a_dict(tmp_path, capsys):
    _, data = speech_and_aux("dict")
    model = OfADict()
    model(data)
    model.save(tmp_path / "m.keras")
    np.savez(tmp_path / "x.npz", aux=data["aux"], speech=data["speech"])
    x = np.concatenate([4.0 * data["speech"], data["aux"]], axis=-1)
    right = lyapunov_exponents(model.rnn, x).numpy().mean(axis=0)
    found = exponents_of(capsys, tmp_path / "m.keras", tmp_path / "x.npz")
    np.testing.assert_allclose(found, right, rtol=1e-4)
    np.savez(tmp_path / "x.npz", aux=data["aux"], speak=data["speech"])
    line = said(capsys, tmp_path / "m.keras", "--data", tmp_path / "x.npz")
    assert "speech" in line

"""The networks of the command line, and the tasks of the h-detach paper."""

import csv
import re

import keras
import numpy as np
import pytest

from keras_floss import Flossing
from keras_floss.experiments import Configuration, run
from keras_floss.experiments.compare import table
from keras_floss.experiments.network import RECURRENT, build
from keras_floss.experiments.problems import TASKS
from keras_floss.layers import GRU, LSTM, HDetachLSTM, RateRNN, SimpleRNN
from keras_floss_command.main import main
from keras_floss_command.tasks import ARMS

SMALL = {
    "units": 6,
    "batch_size": 4,
    "updates": 2,
    "flossing_steps": 2,
    "k": 6,
    "window": 12,
    "warmup": 2,
}


def test_a_task_brings_its_own_defaults_and_a_knob_overrides_them():
    copying = Configuration.of("copying")
    assert (copying.units, copying.batch_size, copying.delay) == (128, 100, 10)
    assert (copying.clip, copying.clipnorm) == ("global", 1.0)
    assert Configuration.of("copying", units=7, k=5).units == 7
    assert Configuration.of("delayed-copy") == Configuration()


@pytest.mark.parametrize(
    ("network", "layer", "detach"),
    [
        ("rate-rnn", RateRNN, None),
        ("simple-rnn", SimpleRNN, None),
        ("gru", GRU, None),
        ("lstm", LSTM, None),
        ("h-detach", HDetachLSTM, "h"),
        ("c-detach", HDetachLSTM, "c"),
    ],
)
def test_each_network_is_one_layer(network, layer, detach):
    configuration = Configuration.of("copying", network=network, detach_rate=0.5, **SMALL)
    model = build(configuration)
    recurrent = model.model.get_layer(RECURRENT)
    assert type(recurrent) is layer
    assert recurrent.units == SMALL["units"]
    if layer is not RateRNN:
        # The rivals start as Keras has them.
        like = getattr(keras.layers, layer.__name__, keras.layers.LSTM)
        keras_s = like(SMALL["units"]).cell.get_config()
        for name in ("kernel", "recurrent", "bias"):
            initializer = recurrent.cell.get_config()[f"{name}_initializer"]
            assert initializer == keras_s[f"{name}_initializer"]
    if detach:
        assert recurrent.cell.detach == detach
        assert recurrent.detach_rate.numpy() == 0.5
    assert model.optimizer.global_clipnorm == 1.0
    assert model.optimizer.clipnorm is None


@pytest.mark.parametrize("task", ["adding", "copying"])
def test_the_rivals_start_as_their_papers_say(task):
    """Chrono biases are for delays up to the length of a sequence."""
    steps = TASKS[task].steps(Configuration.of(task))
    rivals = ("irnn", "gru-chrono", "lstm-chrono")
    irnn, gru, lstm = (
        build(Configuration.of(task, network=rival, **SMALL)).model.get_layer(RECURRENT)
        for rival in rivals
    )
    np.testing.assert_array_equal(irnn.cell.recurrent_kernel, np.eye(SMALL["units"]))
    assert irnn.activation is keras.activations.relu
    for layer, gate in ((gru, 0), (lstm, 1)):
        assert layer.bias_initializer.max_delay == steps
        bias = np.reshape(layer.cell.bias, (-1, SMALL["units"]))[gate]
        assert np.ptp(np.exp(bias)) > 0.2 * steps


@pytest.mark.parametrize("network", ["lstm-pytorch", "h-detach-pytorch"])
def test_an_lstm_can_start_as_pytorch_has_it(network):
    """nn.LSTM and nn.Linear: all of U(−1/√units, 1/√units), two biases that are added."""
    units = 64
    model = build(Configuration.of("copying", network=network, units=units))
    kernel, recurrent, bias, readout, offset = model.get_weights()
    bound = units**-0.5
    for weight in (kernel, recurrent, readout, offset):
        assert np.max(np.abs(weight)) <= bound
        assert np.std(weight) == pytest.approx(bound / 3**0.5, rel=0.3)
    assert bound < np.max(np.abs(bias)) <= 2 * bound
    assert np.std(bias) == pytest.approx(bound * (2 / 3) ** 0.5, rel=0.2)
    assert abs(np.corrcoef(kernel[0], recurrent[0])[0, 1]) < 0.5
    for again, weight in zip(
        build(Configuration.of("copying", network=network, units=units)).get_weights(),
        model.get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(again, weight)


def test_other_networks_of_the_flossing_paper():
    """Orthogonal weights; a ReLU with weights that keep the norm of the rates."""
    units = 200
    orthogonal, relu = (
        build(Configuration.of(network=f"rate-rnn-{name}", units=units)).get_layer(
            RECURRENT
        )
        for name in ("orthogonal", "relu")
    )
    kernel = orthogonal.cell.recurrent_kernel.numpy()
    np.testing.assert_allclose(kernel @ kernel.T, np.eye(units), atol=1e-5)
    assert relu.cell.activation is keras.activations.relu
    x = np.random.default_rng(0).normal(size=(500, units)).astype("float32")
    after = np.maximum(x, 0) @ relu.cell.recurrent_kernel.numpy()
    assert np.var(after) == pytest.approx(1, rel=0.1)


def test_the_arms_of_every_task_begin_with_keras_s_defaults():
    for arms in ARMS.values():
        assert arms[:3] == ("simple-rnn", "gru", "lstm")
        assert set(arms[3:6]) == {"irnn", "gru-chrono", "lstm-chrono"}


def test_the_arms_start_from_the_same_weights():
    arms = (("lstm", "none"), ("lstm", "joint"), ("h-detach", "none"), ("h-detach", "pre"))
    first, *others = (
        build(
            Configuration.of("digits", network=network, flossing=flossing, **SMALL)
        ).get_weights()
        for network, flossing in arms
    )
    for other in others:
        for a, b in zip(first, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_gain_multiplies_the_recurrent_weights():
    once, twice = (
        build(Configuration.of(network="lstm", gain=gain, **SMALL)).get_weights()
        for gain in (1.0, 2.0)
    )
    for number, (a, b) in enumerate(zip(once, twice, strict=True)):
        np.testing.assert_array_equal(2 * a if number == 1 else a, b)


@pytest.mark.slow
def test_any_network_is_flossed_at_any_time():
    during = {"updates": 100, "flossing_every": 40, "flossing_times": 2}
    knobs = {**SMALL, **during, "network": "lstm", "flossing": "periodic"}
    result = run(Configuration.of("copying", **knobs), verbose=0)
    assert len(result.flossing["flossing_loss"]) == 3 * SMALL["flossing_steps"]
    assert np.any(result.spectra["initial"] != result.spectra["flossed"])


@pytest.mark.slow
def test_only_what_is_to_be_flossed_is_flossed():
    plain, flossed = (
        run(
            Configuration.of("copying", network="h-detach", flossing=flossing, **SMALL),
            verbose=0,
        )
        for flossing in ("none", "pre")
    )
    assert not plain.flossing
    np.testing.assert_array_equal(plain.spectra["initial"], plain.spectra["flossed"])
    assert len(flossed.flossing["flossing_loss"]) == SMALL["flossing_steps"]
    np.testing.assert_array_equal(plain.spectra["initial"], flossed.spectra["initial"])
    assert np.any(flossed.spectra["initial"] != flossed.spectra["flossed"])


def test_what_is_not_said_of_flossing_is_as_the_command_has_it():
    assert Configuration().settings == Flossing(target=0.0, open_gates=0.5, seed=0)


@pytest.mark.slow
def test_digits_are_judged_on_images_that_were_not_trained_on():
    pytest.importorskip("sklearn")
    configuration = Configuration.of("digits", network="lstm", **SMALL)
    result = run(configuration, verbose=0)
    x, y = TASKS["digits"].test()
    guesses = np.argmax(result.model.predict(x, verbose=0), axis=-1)
    assert result.measure == result.history["test_accuracy"][-1]
    np.testing.assert_allclose(result.measure, np.mean(guesses == y), rtol=1e-6)
    seen = next(iter(configuration.data()))[0].numpy().reshape(4, -1)
    assert not (seen[:, None] == x.reshape(1, len(x), -1)).all(axis=-1).any()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["adding", "permuted-digits"])
def test_train_on_the_other_tasks(task, tmp_path, capsys):
    pytest.importorskip("sklearn")
    knobs = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    flags = [*knobs, "--length=20", "--network=h-detach", f"--output={tmp_path}"]
    assert main(["train", f"--task={task}", *flags]) == 0
    with open(tmp_path / "history.csv", newline="") as file:
        value = float(list(csv.DictReader(file))[-1][TASKS[task].measure])
    assert f"\n{TASKS[task].label} {value:.3f} after 2 updates" in capsys.readouterr().out


def test_the_table_says_how_many_updates_a_threshold_took():
    configuration = Configuration.of("copying", updates=200)
    runs = {
        "lstm+pre": [[0.1, 0.4, 0.49, 0.5], [0.1, 0.95, 0.6, 0.92]],
        "h-detach": [[0.1, 0.2, 0.3, 0.4]] * 2,
    }
    histories = {
        arm: [
            {
                "update": [50, 100, 150, 200],
                "accuracy": values,
                "flossing_steps": 0,
                "seconds": 1.0,
            }
            for values in each
        ]
        for arm, each in runs.items()
    }
    head, lstm, h_detach, note = table(configuration, histories).splitlines()
    assert re.search("updates to 0.5 +updates to 0.9", head)
    assert re.search(r"lstm\+pre +0.500 +0.920 +0.710 +200, 100 +–, 100 ", lstm)
    assert re.search("h-detach .* –, – +–, – ", h_detach)
    assert "copying, delay 10, 200 updates" in note


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--network=lstm", "--detach-rate=1.5"], "`detach_rate`"),
        (["--network=h-detach", "--k=129"], "`k` must be at most 128"),
        (["--network=h-detach", "--delay=5", "--window=26"], "`window` must be at most 25"),
        (["--clip=all"], "--clip"),
        (["--xla=maybe"], "--xla"),
    ],
)
def test_bad_flags_are_named(flags, named, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--task=copying", *flags])
    assert stop.value.code == 2
    assert named in capsys.readouterr().err


def test_help_says_which_task_has_another_default(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "(default: 40; copying: 10)" in text


def test_without_mnist_another_task_is_named(monkeypatch, capsys):
    def fail(*_):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", fail)
    with pytest.raises(SystemExit) as stop:
        main(["train", "--task=mnist", "--network=lstm"])
    assert stop.value.code == 2
    assert "--task digits" in capsys.readouterr().err

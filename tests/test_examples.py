"""Every example of README and docstrings runs, on smaller numbers."""

import inspect
import pathlib
import re
import textwrap

import keras
import numpy as np
import pytest

import keras_floss

README = pathlib.Path(__file__).parent.parent / "README.md"
DOCUMENTED = [
    keras_floss.lyapunov_exponents,
    keras_floss.lyapunov_statistics,
    keras_floss.condition_number,
    keras_floss.gradient_norms,
    keras_floss.jacobian_singular_values,
    keras_floss.lstm_jacobian_paths,
    keras_floss.FlossingModel,
    keras_floss.LyapunovRegularizer,
    keras_floss.callbacks.AdaptiveFlossing,
    keras_floss.callbacks.HDetachAnnealing,
    keras_floss.callbacks.LyapunovMonitor,
    keras_floss.callbacks.PeriodicFlossing,
    keras_floss.callbacks.Preflossing,
    keras_floss.layers.HDetachLSTM,
    keras_floss.layers.HDetachLSTMCell,
    keras_floss.layers.RateRNN,
    keras_floss.layers.RateRNNCell,
    keras_floss.tasks.adding_problem,
    keras_floss.tasks.continuous_xor,
    keras_floss.tasks.copying_accuracy,
    keras_floss.tasks.copying_memory,
    keras_floss.tasks.delayed_copy,
    keras_floss.tasks.hierarchical_xor,
    keras_floss.tasks.sequential_digits,
    keras_floss.tasks.spatial_xor,
    keras_floss.tasks.temporal_xor,
]
SMALLER = [
    (r"steps=\d\d\d\b", "steps=3"),
    (r'"steps": \d+', '"steps": 3'),
    (r"steps_per_epoch=\d+", "steps_per_epoch=2"),
    (r"epochs=\d+", "epochs=1"),
    (r"LSTM\(64", "LSTM(16"),
    (r"Input\(\(300, 1\)\)", "Input((60, 1))"),
]


def examples(text):
    """The Python code in a text."""
    return re.findall(r"```python\n(.*?)```", textwrap.dedent(text), flags=re.DOTALL)


def execute(code):
    for old, new in SMALLER:
        code = re.sub(old, new, code)
    rng = np.random.default_rng(0)
    namespace = {
        "keras": keras,
        "keras_floss": keras_floss,
        "x_train": rng.standard_normal((8, 60, 1)).astype("float32"),
        "y_train": rng.standard_normal((8, 1)).astype("float32"),
        "inputs": keras.Input((60, 1)),
    }
    if "return_sequences=True" in code:
        namespace["y_train"] = rng.standard_normal((8, 60, 1)).astype("float32")
    exec(code, namespace)
    return namespace


@pytest.mark.parametrize("thing", DOCUMENTED, ids=lambda thing: thing.__name__)
def test_docstring_example(thing):
    codes = examples(inspect.cleandoc(thing.__doc__))
    assert codes
    for code in codes:
        execute(code)


def test_readme_examples(tmp_path, monkeypatch):
    """They build on each other, as a reader would run them."""
    monkeypatch.chdir(tmp_path)  # where a backup goes
    namespace = execute("\n".join(examples(README.read_text())))
    (spectrum,) = namespace["spectra"].values()
    assert spectrum.shape == (16, 64)
    assert len(namespace["preflossing"].history.history["flossing_loss"]) == 3

"""The package as installed: its version, and what it can do without."""

import importlib.metadata
import subprocess
import sys

import keras_floss


def test_version_is_that_of_the_distribution():
    assert keras_floss.__version__ == importlib.metadata.version("keras-floss")


def test_imports_without_matplotlib():
    code = (
        "import sys; sys.modules['matplotlib'] = None; import keras_floss, keras_floss.cli"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_public_names_exist_and_are_documented():
    for name in keras_floss.__all__:
        thing = getattr(keras_floss, name)
        assert name == "__version__" or thing.__doc__

"""What the command line runs: a configuration, one run of it, a comparison of two."""

from keras_floss.experiments.configuration import Configuration as Configuration
from keras_floss.experiments.run import Result as Result
from keras_floss.experiments.run import run as run

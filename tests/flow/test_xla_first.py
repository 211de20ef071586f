"""XLA as the first thing that a process compiles.

TensorFlow caches the gradient functions of a graph: what was traced for graph mode
before can hide that an operation has no gradient under XLA.
"""

import subprocess
import sys

SCRIPT = """
import keras, numpy as np, tensorflow as tf
from keras_floss import lyapunov_exponents

keras.utils.set_random_seed(0)
layer = keras.layers.LSTM(3, dtype="float64")
layer.build((None, None, 2))
inputs = tf.constant(np.random.default_rng(0).standard_normal((2, 6, 2)))

def both(inputs):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        exponents = lyapunov_exponents(layer, inputs, k=3)
    return exponents, tape.gradient(exponents, [inputs, *layer.trainable_variables])

first = tf.nest.flatten(tf.function(both, jit_compile=True, autograph=False)(inputs))
graph = tf.nest.flatten(tf.function(both, autograph=False)(inputs))
for a, b in zip(first, graph, strict=True):
    assert np.abs(b).max() > 1e-4
    np.testing.assert_allclose(a, b, atol=1e-9)
print("both agree")
"""


def test_xla_before_anything_else():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip().endswith("both agree"), done.stderr

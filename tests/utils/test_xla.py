"""What the package tells XLA."""

import numpy as np
import tensorflow as tf

from keras_floss.utils.xla import by_itself


def test_what_is_to_be_by_itself_stays_a_loop():
    @tf.function(jit_compile=True, autograph=False)
    def run(number, x):
        return by_itself(lambda y, pair: (2 * y, [pair[0] + y]), number, x, [x])

    x = tf.constant([1.0, 3.0])
    for number in (0, 7):
        doubled, (added,) = run(tf.constant(number), x)
        np.testing.assert_array_equal(doubled, [2.0, 6.0])
        np.testing.assert_array_equal(added, [2.0, 6.0])
    compiled = run.experimental_get_compiler_ir(tf.constant(1), x)(stage="optimized_hlo")
    assert " while(" in compiled

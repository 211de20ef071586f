"""The sweeps of a pass compiled by XLA alone, in a program that is in graph mode."""

from typing import Literal, TypeAlias

import tensorflow as tf

from keras_floss.utils.checks import check_choice
from keras_floss.utils.custom_gradient import custom_gradient
from keras_floss.utils.xla import compiled_by_xla, keras_has_no_xla

JitCompile: TypeAlias = bool | Literal["auto"]
# Time steps from which "auto" compiles. It takes 1 to 2 s, and saves some 0.15 ms of each
# step: 100 to 300 passes of so many.
WORTH_COMPILING = 50


def check_jit_compile(jit_compile):
    """Raises ValueError unless it is one of Keras's: True, False or "auto"."""
    if not isinstance(jit_compile, bool):
        check_choice("jit_compile", jit_compile, ("auto",))


def compiles_alone(jit_compile, step, inputs):
    """Whether XLA is to compile the sweeps of a pass that is traced now.

    Args:
        jit_compile: a `JitCompile`. "auto" compiles steps that are known to suit XLA over
            many time steps, on a CPU, where there is one device and a program that runs
            again and again. A length that is not known may be another in each batch, and
            XLA compiles each anew.
        step: a `CellMap` or a `FunctionMap`.
        inputs: `(batch, time, features)`.
    """
    if jit_compile is False or compiled_by_xla():
        return False
    return jit_compile is True or (
        not tf.executing_eagerly()
        and step.vectorizes
        and (inputs.shape[1] or 0) >= WORTH_COMPILING
        and keras_has_no_xla(tf.distribute.get_strategy())
    )


def by_xla(sweep):
    """`sweep`, compiled by XLA whatever is around it.

    It has no gradient: of its loops XLA could not compile the part that a gradient of them
    would need, which TensorFlow would make wherever two tapes watch.
    """

    def compiled(step, *arguments):
        flat = tf.nest.flatten(arguments)

        @custom_gradient
        def run(*values):
            values = iter([tf.stop_gradient(x) for x in values])
            unseen = [next(values) if _is_value(x) else x for x in flat]
            unseen = tf.nest.pack_sequence_as(arguments, unseen)
            program = tf.function(
                lambda: sweep(step, *unseen), autograph=False, jit_compile=True
            )
            return program(), _no_gradient

        return run(*filter(_is_value, flat))

    return compiled


def _is_value(x):
    return tf.is_tensor(x) and not isinstance(x, tf.Variable)


def _no_gradient(*_, variables=()):
    raise ValueError(
        "There is no gradient of the gradient of exponents that XLA computes: pass "
        "jit_compile=False."
    )

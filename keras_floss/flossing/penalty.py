"""Joint flossing: the flossing loss as a term of the task's loss."""

import contextlib
import threading
from collections.abc import Iterator

import keras
import tensorflow as tf

from keras_floss.flossing.flossing import Flossing
from keras_floss.flossing.flossing_pass import FlossingPass, flossed_layers, replicas
from keras_floss.flossing.interval import Interval
from keras_floss.flow.alone import JitCompile
from keras_floss.recurrent.noise import Redraws
from keras_floss.utils.typing import Arrays


class Penalty:
    """`strength · flossing loss` of a model, to be added to the loss of a train step.

    Args:
        model: a `keras.Model`.
        strength: a number.
        flossing: a `Flossing`.

    Attributes:
        jit_compile: a `JitCompile`, whether XLA compiles the pass where it does not compile
            the training step.
    """

    jit_compile: JitCompile = "auto"

    def __init__(self, model: keras.Model, strength: float, flossing: Flossing) -> None:
        self.model = model
        self.flossing = flossing
        # TensorFlow's: a Keras variable would be one of the model's weights, which must
        # stay those of the plain model.
        self.strength = tf.Variable(strength, trainable=False, dtype=tf.float32)
        self._interval = Interval(flossing.qr_interval)
        self._redraws = Redraws()
        # MirroredStrategy traces its replicas in threads.
        self._local = threading.local()

    @contextlib.contextmanager
    def prepared(self, inputs: Arrays) -> Iterator[None]:
        """A block for whose `term` the penalty and its gradients are computed beforehand.

        To be entered before the tape of the task is opened: XLA has no loop whose gradient
        is taken inside of a second tape.
        """
        if getattr(self._local, "prepared", None) is not None:  # a nested train_step
            yield
            return
        self._local.prepared = self._prepare(inputs)
        try:
            yield
        finally:
            self._local.prepared = None

    def _prepare(
        self, inputs: Arrays
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor], list[keras.Variable]]:
        """Whether the penalty was left out, it, its gradients, and their variables."""
        layers = flossed_layers(self.model, self.flossing)
        variables: list[keras.Variable] = []
        kinds: list[tuple[tf.TensorShape, tf.DType]] = []

        def compute() -> list[tf.Tensor]:
            flossing_pass = FlossingPass(
                self.model,
                layers,
                self.flossing,
                self._interval,
                redraw=self._redraws,
                jit_compile=self.jit_compile,
            )
            result, flossed = flossing_pass.gradients(inputs)
            variables.extend(flossed)
            finite = result.finite()
            kept = [
                tf.where(finite, x, tf.zeros_like(x))
                for x in (result.loss / replicas(), *result.gradients)
            ]
            kinds.extend((x.shape, x.dtype) for x in kept)
            return [tf.cast(~finite, tf.float32), *kept]

        def nothing() -> list[tf.Tensor]:
            # Eagerly `compute` has not run, so that the shapes are not known.
            return [tf.zeros(()), *(tf.zeros(s, d) for s, d in kinds or [((), tf.float32)])]

        left_out, share, *gradients = tf.cond(self.strength > 0, compute, nothing)
        return left_out, share, gradients, variables

    def term(self, inputs: Arrays) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """What to add to the loss of the batch, and for the logs its parts.

        A loss or gradient that is not finite, as that of a layer in which no direction is
        left, leaves the task's alone. At a strength of 0 nothing is computed.

        Returns:
            `(term, share, left_out)`: the term, the flossing loss over the number of
            replicas, and whether it was left out.
        """
        # Nothing is prepared where the user writes the training loop.
        prepared = getattr(self._local, "prepared", None) or self._prepare(inputs)
        left_out, share, gradients, variables = prepared
        dtype = keras.config.floatx()
        total = tf.cast(tf.stop_gradient(share), dtype)
        for g, v in zip(gradients, variables, strict=True):
            # Zero, with the gradient g.
            slope = tf.stop_gradient(g) * (v.value - tf.stop_gradient(v.value))
            total += tf.cast(tf.reduce_sum(slope), dtype)
        return tf.cast(self.strength, dtype) * total, tf.cast(share, dtype), left_out

"""Recurrent layers of Keras that run in the `time_loop` where they can."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_floss.layers.time_loop import Equations, time_loop


class OwnLoop:
    """Mixed into a `keras.layers.RNN`, ahead of it, this gives the layer its loop."""

    def equations(self, training: bool) -> Equations | None:
        """The equations of the layer, or None where it must run in Keras's loop."""
        raise NotImplementedError

    def weights_of_loop(self) -> list[Any]:
        """The weights that the equations take, as variables or tensors."""
        cell = self.cell
        return [cell.kernel, cell.recurrent_kernel, *([cell.bias] if cell.use_bias else [])]

    def inner_loop(
        self,
        sequences: tf.Tensor,
        initial_state: Any,
        mask: tf.Tensor | None,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        equations = None if self.unroll else self.equations(training)
        if equations is None:
            return super().inner_loop(sequences, initial_state, mask, training=training)
        dtype = self.cell.compute_dtype
        inputs = tf.transpose(ops.cast(sequences, dtype), (1, 0, 2))
        if mask is not None:
            # Keras takes masks of (batch, time, 1) as well.
            mask = tf.cast(keras.tree.flatten(mask)[0], tf.bool)
            mask = tf.transpose(mask[..., 0] if mask.shape.rank == 3 else mask)
        if self.go_backwards:
            inputs = tf.reverse(inputs, [0])
            mask = None if mask is None else tf.reverse(mask, [0])
        start = keras.tree.flatten(initial_state)
        weights = [ops.cast(w, dtype) for w in self.weights_of_loop()]
        outputs, state = time_loop(
            equations, inputs, start, weights, mask, sequences=self.return_sequences
        )
        valid = mask
        if mask is not None and not self.zero_output_for_mask:
            # As in Keras, the output before the first valid step is 0, not the state.
            valid = tf.cumsum(tf.cast(mask, tf.int32), axis=0) > 0
        last = _masked(state[0], None if mask is None else valid[-1])
        if not self.return_sequences:
            return last, last[:, None], list(state)
        return last, tf.transpose(_masked(outputs, valid), (1, 0, 2)), list(state)


def _masked(outputs, valid):
    if valid is None:
        return outputs
    return tf.where(valid[..., None], outputs, tf.zeros_like(outputs))

"""Recurrent layers of Keras that run in the `time_loop` where they can."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_floss.layers.time_loop import Equations, time_loop


class OwnLoop(keras.layers.RNN):
    """Named ahead of another `keras.layers.RNN`, this gives that layer its loop."""

    def _equations(self, training: bool) -> Equations | None:
        """The equations of the layer, or None where it must run in Keras's loop."""
        return None

    def _weights_of_loop(self) -> list[Any]:
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
        equations = None if self.unroll else self._equations(training)
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
        weights = [ops.cast(w, dtype) for w in self._weights_of_loop()]
        outputs, state = time_loop(
            equations, inputs, start, weights, mask, sequences=self.return_sequences
        )
        last = state[0]
        if mask is not None:
            # As in Keras, the output before the first valid step is 0, not the state.
            valid = mask
            if not self.zero_output_for_mask:
                valid = tf.cumsum(tf.cast(mask, tf.int32), axis=0) > 0
            last = tf.where(valid[-1, :, None], last, tf.zeros_like(last))
            if self.return_sequences:
                outputs = tf.where(valid[..., None], outputs, tf.zeros_like(outputs))
        if not self.return_sequences:
            outputs = last[None]
        return last, tf.transpose(outputs, (1, 0, 2)), list(state)

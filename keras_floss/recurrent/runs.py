"""The calls of a recurrent layer as the sequences that it runs over.

A model may call its layer on a whole sequence, or step by step in a Python loop in which it
hands the states on: an attention decoder does. A call that starts from the state that
another call ended in goes on where that one stopped, and both are one run.
"""

import typing

import keras
import tensorflow as tf

from keras_floss.recurrent.cells import CellMap
from keras_floss.recurrent.trajectory import as_trajectory
from keras_floss.utils.shapes import extent, first_rows


class Call(typing.NamedTuple):
    """One call of a recurrent layer: its arguments, and what came of it.

    Attributes:
        initial_state: as it was given.
        entered: list of the same as tensors of this call alone, where a tape watches it.
        states: list, those that the call ended in, where the layer returns or keeps them.
        more: names of further arguments that are tensors.
    """

    layer: keras.layers.RNN
    inputs: tf.Tensor
    initial_state: list | None
    mask: tf.Tensor | None
    output: tf.Tensor
    states: list
    entered: list
    more: list

    def first(self, rows, size):
        """The same of the first `rows` of a batch of `size` sequences."""
        # A model may fold another axis into the batch.
        rows = rows * extent(self.inputs, 0) // size
        inputs, state, mask = first_rows((self.inputs, self.initial_state, self.mask), rows)
        return self._replace(inputs=inputs, initial_state=state, mask=mask)


class Run(typing.NamedTuple):
    """Calls of a layer, each of which goes on where the one before stopped."""

    calls: list

    @property
    def layer(self):
        return self.calls[0].layer

    @property
    def inputs(self):
        """`(batch, time, features)`, of all calls, as the layer would take them at once."""
        return self.join([call.inputs for call in self.calls])

    @property
    def initial_state(self):
        return self.calls[0].initial_state

    @property
    def mask(self):
        """`(batch, time)`, or None where no call has one."""
        if all(call.mask is None for call in self.calls):
            return None
        return self.join(
            [
                tf.ones(tf.shape(call.inputs)[:2], tf.bool)
                if call.mask is None
                else tf.cast(call.mask, tf.bool)
                for call in self.calls
            ]
        )

    def join(self, parts):
        """Tensors of the inputs of each call, as one of the inputs of all."""
        # What runs backwards begins at the end.
        parts = parts[::-1] if self.layer.go_backwards else parts
        return parts[0] if len(parts) == 1 else tf.concat(parts, axis=1)

    def first(self, rows, size):
        """The same of the first `rows` of a batch of `size` sequences."""
        return Run([call.first(rows, size) for call in self.calls])

    def trajectory(self):
        """The run as a `Trajectory`."""
        return as_trajectory(self.layer, self.inputs, self.initial_state, self.mask)


def as_runs(name, calls):
    """The `Run`s that the calls of a layer make, in their order.

    Raises:
        ValueError: the layer is called on single time steps that make no sequence, or on
            more than a sequence.
    """
    more = sorted({argument for call in calls for argument in call.more})
    if more:
        raise ValueError(
            f"The recurrent layer `{name}` is called with more than its sequences: "
            f"{', '.join(more)}. What a layer hands to its cell besides inputs and states "
            "(attention, constants) is not supported: concatenate it to the inputs of each "
            "step, or name other layers in `layers`."
        )
    output_is_state = (
        len(calls) > 1
        and not calls[0].layer.return_sequences
        and CellMap(calls[0].layer.cell, name).trace(calls[0].inputs).output.is_all
    )
    runs, ended = [], {}  # the latter: the state at the end -> the calls up to there
    for call in calls:
        before = ended.get(_key(call.initial_state), [])
        run = [*before, call]
        # Another call may start from there as well.
        runs = [other for other in runs if other is not before] + [run]
        if call.states:
            ended[_key(call.states)] = run
        if output_is_state:
            ended[_key(call.output)] = run
    if len(runs) > 1 and any(len(r) == 1 and r[0].inputs.shape[1] == 1 for r in runs):
        raise ValueError(
            f"The recurrent layer `{name}` is called on one time step after the other, and "
            "the state that a call starts from is not the one that a call before it ended "
            "in: there is no sequence that it runs over. Hand the states that it returns "
            "(`return_state=True`) to the next call unchanged, as its `initial_state`; or "
            "name other layers in `layers`."
        )
    return [Run(run) for run in runs]


def _key(state):
    """What tells a state from any other: the very tensors."""
    return tuple(map(id, keras.tree.flatten(state)))

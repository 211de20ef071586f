"""Noise inside a cell or function: drawn beforehand, and handed over with the inputs.

A step that draws random numbers, `s_t = F(x_t, ξ_t, s_{t-1})`, is called for the state, for
the tangents, and once more in the backward sweep, and all of them must see the same ξ_t. So
what a step draws is found out beforehand, drawn for all steps at once, from a seed, and
appended to x_t as further columns, which go wherever inputs go. In the step the operations
that draw then give what stands there.
"""

import keras
import numpy as np
import tensorflow as tf

from keras_floss.recurrent.draws import (
    CannotReplace,
    as_draw,
    draws_in,
    functions_draw,
    replaced,
    sources,
)
from keras_floss.utils.shapes import extent


def with_noise(trajectory, seed=0, redraw=0):
    """A `Trajectory` whose map draws nothing, given one whose map may.

    Args:
        seed: of the noise; see `noise_seed`.
        redraw: an integer or a scalar tensor; another number, other noise of the seed.
    """
    step, inputs, *_ = trajectory
    if not step.noisy:
        return trajectory
    step = NoisyMap(step, inputs.shape[-1])
    noise = step.draw(extent(inputs, 0), extent(inputs, 1), seed, redraw)
    return trajectory._replace(map=step, inputs=tf.concat([inputs, noise], axis=-1))


def noise_seed(seed):
    """A scalar tensor for a seed, be it a tensor or what NumPy takes as one."""
    if not tf.is_tensor(seed):
        seed = np.random.SeedSequence(seed).generate_state(1)[0]
    return tf.cast(seed, tf.int64)


class Redraws:
    """A counter of passes, for the noise of each to be new."""

    def __init__(self):
        # Each replica counts for itself.
        self._number = tf.Variable(
            0,
            trainable=False,
            dtype=tf.int64,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def __call__(self):
        """The next number."""
        self._number.assign_add(1)
        return tf.convert_to_tensor(self._number)


class NoisyMap:
    """A map that draws random numbers as one that takes them as its last inputs.

    It looks like the `CellMap` or the `FunctionMap` that it is made of.

    Args:
        step: a map that draws.
        features: the number of its inputs proper.
    """

    noisy = False
    vectorizes = False

    def __init__(self, step, features):
        self.dim, self.sizes, self.dtype = step.dim, step.sizes, step.dtype
        self.name, self.variables, self.values = step.name, step.variables, step.values
        self.columns, self.seen, self.most = step.columns, step.seen, step.most
        self._step = step
        self._features = features
        self._draws = self._find_draws()
        self._used = [draw for draw in self._draws if draw]
        self._function = tf.function(self._replace, autograph=False)

    def draw(self, batch, time, seed, redraw):
        """What is drawn along sequences, `(batch, time, columns)`; see `with_noise`."""
        seed, redraw = noise_seed(seed), tf.cast(redraw, tf.int64)
        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            # Each has sequences of its own.
            replica = tf.cast(context.replica_id_in_sync_group, tf.int64)
            redraw = redraw * context.num_replicas_in_sync + replica
        parts = []
        for number, draw in enumerate(self._used):
            own = tf.stack([seed, number + len(self._used) * redraw])
            numbers = tf.cast(draw.draw(time, batch, own), self.dtype)
            parts.append(tf.broadcast_to(numbers, (batch, time, draw.columns)))
        return tf.concat(parts, axis=-1)

    def __call__(self, inputs, states, values):
        """One step, as that of the map, with noise at the end of the inputs."""
        way = self._function if tf.executing_eagerly() else self._replace
        return way(inputs, states, values)

    def _replace(self, inputs, states, values):
        sizes = [self._features, *(draw.columns for draw in self._used)]
        inputs, *columns = tf.split(inputs, sizes, axis=-1)
        with replaced([draw and draw.at_step(columns.pop(0)) for draw in self._draws]):
            return self._call(inputs, states, values)

    def _call(self, inputs, states, values):
        # In the scope a seed generator is not moved on.
        with keras.StatelessScope():
            return self._step(inputs, states, values)

    def _find_draws(self):
        """A `Draw` for each operation that draws; None where no state depends on it."""
        # The axis of the batch is the one that is another size.
        graphs = list(map(self._trace, (2, 3)))
        two, three = map(draws_in, graphs)
        used = sources(graphs[0].outputs[-len(self.sizes) :])
        # Integers come as floats.
        largest = int(1 / np.finfo(self.dtype).eps)
        try:
            if functions_draw(used):
                raise CannotReplace("in a loop, a branch or a `tf.function`")
            if not two or len(two) != len(three):
                raise CannotReplace("at some calls and not at others")
            return [
                as_draw(op, larger, largest) if op in used else None
                for op, larger in zip(two, three, strict=True)
            ]
        except CannotReplace as reason:
            raise ValueError(
                f"`{self.name}` draws random numbers {reason}. All tangents are to see the "
                "same noise: draw normal or uniform numbers of shape (batch, size), by "
                "`keras.random` or `tf.random`, in the step itself, and make of them what "
                "is needed."
            ) from None

    def _trace(self, batch):
        """The graph of a step of so many sequences."""
        inputs, *states = (
            tf.TensorSpec((batch, size), self.dtype)
            for size in (self._features, *self.sizes)
        )
        values = [tf.TensorSpec(v.shape, v.dtype) for v in self.variables]
        function = tf.function(self._call, autograph=False)
        return function.get_concrete_function(inputs, states, values).graph

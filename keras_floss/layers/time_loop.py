"""Loops over time whose adjoint is written out, for layers that train.

Where TensorFlow derives the adjoint of a loop, it keeps every intermediate result of every
step, adds to the gradients of the weights at each, and under XLA copies the gradient of all
inputs at each. Here the `Equations` of a layer say what a step must keep and what its
adjoint is. An iteration of the loop takes a block of steps: what does not depend on the
step before (the products with the inputs, the derivatives, the gradients of the weights) is
computed for all steps of a block at once, and while it is in the cache. Under XLA, where an
iteration costs nothing, it takes one step, and the rest is computed for all steps at once.
"""

import abc

import tensorflow as tf

from keras_floss.utils.custom_gradient import custom_gradient
from keras_floss.utils.shapes import extent
from keras_floss.utils.xla import compiled_by_xla

# How many steps a block may have, the best first, by measurement on a CPU.
LENGTHS = (8, 9, 10, 7, 11, 6, 12)


class Equations(abc.ABC):
    """The equations of a recurrent layer, forwards and backwards.

    A state is a tuple of tensors `(batch, units)`, the first of which is the output. The
    weights are a tuple too, the first of which are W, for the inputs, and U, for the state;
    the third, in the methods that are written out here, is a bias, or missing. `...` stands
    for the steps of a block, and the batch.

    Attributes:
        kept: how many tensors `(batch, units)` a step keeps.
    """

    kept = 0

    def drive(self, inputs, weights):
        """What enters from outside, `(..., n)`, of inputs `(..., features)`."""
        drive = tf.tensordot(inputs, weights[0], 1)
        return drive + weights[2] if len(weights) > 2 else drive

    @abc.abstractmethod
    def step(self, state, drive, weights):
        """One step: `(new state, kept)`, of a drive `(batch, n)`."""

    @abc.abstractmethod
    def slopes(self, before, kept, weights):
        """The derivatives of all steps, tensors `(..., units)`.

        Args:
            before: the state before each step, tensors `(..., units)`.
            kept: what the steps kept, tensors `(..., units)`.
            weights: the weights.
        """

    @abc.abstractmethod
    def adjoint(self, later, slopes, transposed):
        """One step of the adjoint: `(earlier, cotangents)`.

        Args:
            later: the gradient in the state after the step.
            slopes: the `slopes` of this step.
            transposed: the transposed weights.

        Returns:
            earlier: the gradient in the state before the step.
            cotangents: a tuple of tensors for `gradients`, linear in `later`.
        """

    def gradients(self, before, slopes, cotangents, weights):
        """Gradients of a block, from what `adjoint` gave at each of its steps.

        Returns:
            a tuple: the gradients in the drive, `(..., n)`, in U, and in each of the
            weights after it.
        """
        (d_drive,) = cotangents
        return d_drive, product(before[0], d_drive), *(total(d_drive) for _ in weights[2:])


def product(x, y):
    """`Σ_t x_tᵀ y_t`, of `(..., m)` and `(..., n)`."""
    flat = [tf.reshape(a, (-1, a.shape[-1])) for a in (x, y)]
    return tf.matmul(*flat, transpose_a=True)


def total(x):
    """The sum over all axes but the last."""
    return tf.reduce_sum(x, range(x.shape.rank - 1))


def time_loop(equations, inputs, start, weights, mask=None, sequences=True):
    """A recurrent layer, differentiable in inputs, start and weights.

    Args:
        equations: its `Equations`.
        inputs: `(time, batch, features)`. At least one step.
        start: the state before the first step, tensors `(batch, units)`.
        weights: tensors.
        mask: `(time, batch)` booleans, or None. A masked step leaves the state as it is.
        sequences: whether the output of each step is wanted.

    Returns:
        outputs: the first tensor of the state after each step, `(time, batch, units)`, or
            None.
        state: the state after the last step, a tuple.
    """
    time = extent(inputs, 0)
    length = _block_length(time)
    missing = -time % length if length else 0
    if tf.is_tensor(missing) or missing:
        if mask is None:
            mask = tf.ones(tf.shape(inputs)[:2], tf.bool)
        inputs = tf.pad(inputs, [[0, missing], [0, 0], [0, 0]])
        mask = tf.pad(mask, [[0, missing], [0, 0]])
    size = len(start)
    valid = [] if mask is None else [mask[..., None]]

    @custom_gradient
    def run(inputs, *rest):
        loops = _Loops(equations, inputs, valid, rest[size:], length, sequences)
        outputs, state, kept = loops.forwards(rest[:size])

        def gradient(*d_results):
            d_outputs, d_state = d_results[:-size], d_results[-size:]
            d_inputs, d_start, d_weights = loops.backwards(kept, d_outputs, d_state)
            return d_inputs, *d_start, *d_weights

        return (*outputs, *state), gradient

    # A batch of 1 in `start` and an unknown one in `inputs` are the same to a loop then.
    batch = inputs[0, :, :1]
    start = [s + tf.zeros_like(batch) for s in start]
    results = run(inputs, *start, *weights)
    return (results[0][:time] if sequences else None), results[-size:]


def _block_length(time):
    """How many steps a block has; None under XLA, where there is one block of all."""
    if compiled_by_xla():
        return None
    if tf.is_tensor(time):
        return LENGTHS[0]
    return next((length for length in LENGTHS if time % length == 0), LENGTHS[0])


class _Loops:
    """The two loops of one call, forwards and backwards."""

    def __init__(self, equations, inputs, valid, weights, length, sequences):
        self.equations = equations
        self.inputs = inputs
        self.valid = valid
        self.weights = weights
        self.length = length
        self.sequences = sequences

    def forwards(self, start):
        """`(outputs, state, kept)`, outputs a list of one tensor or none."""

        def step(state, drive, valid=None):
            new, kept = self.equations.step(state, drive, self.weights)
            if valid is not None:
                new = tuple(tf.where(valid, n, s) for n, s in zip(new, state, strict=True))
            return new, (*state, *kept, *new[: self.sequences])

        def block(state, inputs, *valid):
            drive = self.equations.drive(inputs, self.weights)
            return self._steps(step, state, [drive, *valid])

        shapes = [s.shape for s in start]
        shapes += [shapes[0]] * (self.equations.kept + self.sequences)
        state, results = self._blocks(
            block, tuple(start), [self.inputs, *self.valid], shapes
        )
        kept = results[: len(results) - self.sequences]
        return [_join(r) for r in results[len(kept) :]], state, kept

    def backwards(self, kept, d_outputs, d_state):
        """`(d_inputs, d_start, d_weights)`."""
        transposed = [tf.transpose(w) for w in self.weights]
        # Sums over many steps, which half precision would round away.
        wide = tf.float32 if self.inputs.dtype.size < 4 else self.inputs.dtype
        sums = tuple(tf.zeros_like(w, wide) for w in self.weights)

        def block(carry, inputs, *values):
            adjoint, sums = carry
            before, values = values[: len(d_state)], values[len(d_state) :]
            rest = values[self.equations.kept :]
            values = values[: self.equations.kept]
            slopes = self.equations.slopes(before, values, self.weights)

            def step(later, *values):
                slope, rest = values[: len(slopes)], values[len(slopes) :]
                return self._adjoint(later, slope, rest, transposed)

            adjoint, cotangents = self._steps(step, adjoint, [*slopes, *rest], True)
            d_drive, *d_weights = self.equations.gradients(
                before, slopes, cotangents, self.weights
            )
            d_weights = product(inputs, d_drive), *d_weights
            sums = tuple(
                s + tf.cast(d, s.dtype) for s, d in zip(sums, d_weights, strict=True)
            )
            return (adjoint, sums), [tf.tensordot(d_drive, transposed[0], 1)]

        (d_start, sums), (d_inputs,) = self._blocks(
            block,
            (tuple(d_state), sums),
            [self.inputs, *kept, *d_outputs, *self.valid],
            [self.inputs.shape[1:]],
            reverse=True,
        )
        d_weights = [tf.cast(s, w.dtype) for s, w in zip(sums, self.weights, strict=True)]
        return _join(d_inputs), d_start, d_weights

    def _adjoint(self, later, slopes, rest, transposed):
        if self.sequences:
            d_output, *rest = rest
            later = (later[0] + d_output, *later[1:])
        if not rest:
            return self.equations.adjoint(later, slopes, transposed)
        (valid,) = rest
        passed = tuple(tf.where(valid, x, tf.zeros_like(x)) for x in later)
        earlier, cotangents = self.equations.adjoint(passed, slopes, transposed)
        earlier = tuple(tf.where(valid, e, x) for e, x in zip(earlier, later, strict=True))
        return earlier, cotangents

    def _blocks(self, block, carry, sequences, shapes, reverse=False):
        """Runs `carry, results = block(carry, *sequences)` over all blocks.

        Args:
            sequences: tensors `(time, ...)`, or results of an earlier run.
            shapes: those of one step in each of the results.

        Returns:
            `(carry, results)`, the results for `_join`, or to be read by another run.
        """
        if not self.length:
            return block(carry, *sequences)
        arrays = [
            tf.TensorArray(
                self.inputs.dtype,
                extent(self.inputs, 0) // self.length,
                clear_after_read=False,
                element_shape=(self.length, *shape),
            )
            for shape in shapes
        ]

        def read(x, number):
            if isinstance(x, tf.TensorArray):
                return x.read(number)
            rest = x.shape.rank - 1  # and the length of a block is known
            return tf.slice(
                x, [number * self.length, *[0] * rest], [self.length, *[-1] * rest]
            )

        return _loop(
            lambda number, carry: block(carry, *(read(x, number) for x in sequences)),
            carry,
            extent(self.inputs, 0) // self.length,
            arrays,
            reverse,
        )

    def _steps(self, step, carry, sequences, reverse=False):
        """Runs `carry, results = step(carry, *sequences)` over the steps of a block."""
        if not self.length:
            first = step(carry, *(s[0] for s in sequences))[1]
            carry, arrays = _loop(
                lambda number, carry: step(carry, *(s[number] for s in sequences)),
                carry,
                extent(self.inputs, 0),
                [tf.TensorArray(r.dtype, extent(self.inputs, 0)) for r in first],
                reverse,
            )
            return carry, [a.stack() for a in arrays]
        steps = list(zip(*(tf.unstack(s, self.length) for s in sequences), strict=True))
        collected = []
        for values in steps[::-1] if reverse else steps:
            carry, results = step(carry, *values)
            collected.append(results)
        if reverse:
            collected.reverse()
        return carry, [tf.stack(values) for values in zip(*collected, strict=True)]


def _loop(body, carry, iterations, arrays, reverse):
    """Runs `carry, results = body(number, carry)`; the arrays take the results."""

    def iteration(count, carry, arrays):
        number = iterations - 1 - count if reverse else count
        carry, results = body(number, carry)
        arrays = [a.write(number, r) for a, r in zip(arrays, results, strict=True)]
        return count + 1, carry, arrays

    _, carry, arrays = tf.while_loop(
        lambda count, *_: count < iterations,
        iteration,
        (0, carry, arrays),
        maximum_iterations=iterations,
    )
    return carry, arrays


def _join(x):
    """The blocks of a TensorArray as one sequence."""
    if not isinstance(x, tf.TensorArray):
        return x
    blocks = x.stack()
    rest = [extent(blocks, axis) for axis in range(2, blocks.shape.rank)]
    return tf.reshape(blocks, (-1, *rest))

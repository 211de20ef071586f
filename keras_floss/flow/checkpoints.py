"""Long sequences in bounded memory: both sweeps in blocks along time.

The backward sweep needs the state and the frame before every step. Where these would take
more than a limit, the forward sweep keeps them before each block only, and the
backward sweep recomputes a block when its turn comes. Blocks of √T steps make both parts
equal: √T in place of T, for one more forward sweep.
"""

import math

import tensorflow as tf

from keras_floss.flow.frame import log_stretch
from keras_floss.flow.tangent import backward_sweep, forward_sweep
from keras_floss.utils.checks import check_positive
from keras_floss.utils.shapes import extent, fold, unfold

_limit: float = 2**30


def memory_limit() -> float:
    """The bytes that a pass keeps for its gradient before it recomputes instead.

    See `set_memory_limit`.
    """
    return _limit


def set_memory_limit(size: float) -> None:
    """Sets how much memory the steps of a pass may take.

    For the gradient of the exponents the state, the frame and R of every time step are
    kept: `time · batch · (D + k D + k²)` numbers. Where that is more than the limit, only
    about `2 √time` of them are, and the rest is computed a second time, which takes a fifth
    longer to twice as long. Exponents and gradient are the same.

    It counts for what is traced from then on, in this process. Where the number of time
    steps is not known while tracing everything is kept, and an unknown batch counts as 1.

    Args:
        size: in bytes. The default is 2³⁰, 1 GiB.

    Raises:
        ValueError: `size` is no positive number.

    Example:

    ```python
    keras_floss.set_memory_limit(256 * 2**20)  # 256 MiB
    ```
    """
    check_positive("size", size)
    global _limit
    _limit = size


def settle_memory_limit(size: float | None) -> float:
    """A limit that is given, or the global one for None."""
    if size is None:
        return memory_limit()
    check_positive("memory_limit", size)
    return size


def wanted(inputs, frame, limit):
    """Whether the record of a pass would be larger than a limit in bytes."""
    (time, batch, _), (_, k, dim) = inputs.shape, frame.shape
    numbers = (time or 0) * (batch or 1) * (dim + k * dim + k * k)
    return numbers * inputs.dtype.size > limit


def forward(step, weights, inputs, states, frame, schedule):
    """`forward_sweep`, block by block.

    Returns:
        `(logarithm, lost, starts)`: what `log_stretch` says of each step,
        `(time, batch, k)`, and the states, the frame and its origin before each block, a
        list of `(blocks, batch, ...)`.
    """
    blocks, schedule_of = cut(inputs, schedule)
    batch, k, _ = frame.shape
    number, length = blocks.shape[:2]

    def one_block(i, states, frame, origin, starts, stretches):
        parts = [*states, frame, origin]
        starts = [a.write(i, x) for a, x in zip(starts, parts, strict=True)]
        record = forward_sweep(
            step, weights, blocks[i], states, frame, schedule_of(i), origin
        )
        stretch = log_stretch(record.diagonals)
        stretches = [a.write(i, x) for a, x in zip(stretches, stretch, strict=True)]
        last = record.last_states, record.last_frame, record.last_origin
        return i + 1, *last, starts, stretches

    starts = [
        tf.TensorArray(x.dtype, number, element_shape=x.shape)
        for x in [*states, frame, frame]
    ]
    stretches = [
        tf.TensorArray(dtype, number, element_shape=(length, batch, k))
        for dtype in (frame.dtype, tf.bool)
    ]
    *_, starts, stretches = tf.while_loop(
        lambda i, *_: i < number, one_block, (0, states, frame, frame, starts, stretches)
    )
    logarithm, lost = (unfold(a.stack(), inputs.shape[0]) for a in stretches)
    return logarithm, lost, [a.stack() for a in starts]


def backward(step, weights, inputs, starts, d_log, schedule, end, variables=(), keep=None):
    """`backward_sweep`, block by block from the `starts` that `forward` left."""
    blocks, schedule_of = cut(inputs, schedule)
    d_log = in_blocks(d_log)

    def one_block(i, after, d_inputs):
        x, flags = blocks[i], schedule_of(i)
        *states, frame, origin = (s[i] for s in starts)
        record = forward_sweep(step, weights, x, states, frame, flags, origin)
        d_x, before = backward_sweep(
            step, weights, x, record, d_log[i], flags, after, variables, keep
        )
        return i - 1, before, d_inputs.write(i, d_x)

    number, *shape = blocks.shape
    d_inputs = tf.TensorArray(inputs.dtype, number, element_shape=shape)
    _, beginning, d_inputs = tf.while_loop(
        lambda i, *_: i >= 0, one_block, (number - 1, end, d_inputs)
    )
    return unfold(d_inputs.stack(), inputs.shape[0]), beginning


def cut(inputs, schedule):
    """A sequence in blocks of √time steps; the last one is filled up with masked steps.

    Returns:
        `(blocks, steps, batch, features)`, and a function that gives the `Schedule` of
        block i, as far as the sweeps read it.
    """
    blocks = in_blocks(inputs)
    whole = blocks.shape[0] * blocks.shape[1] == inputs.shape[0]
    flags = [in_blocks(x) for x in (schedule.valid, schedule.qr, schedule.last)]

    def schedule_of(i):
        valid, qr, last = (x[i] for x in flags)
        return schedule._replace(
            valid=valid,
            qr=qr,
            last=last,
            masked=schedule.masked or not whole,
            every_step=(schedule.every_step or schedule.as_needed) and whole,
        )

    return blocks, schedule_of


def in_blocks(x):
    """`(time, ...)` as `(blocks, steps, ...)` of √time steps, filled up with zeros."""
    return fold(x, math.isqrt(extent(x, 0) - 1) + 1)

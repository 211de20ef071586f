"""Which steps are counted, and after which and how the frame is orthonormalised."""

import typing

import tensorflow as tf


class Schedule(typing.NamedTuple):
    """What happens at each step, as boolean tensors of shape `(time, batch or 1)`.

    Attributes:
        valid: the step is not masked.
        qr: the frame is orthonormalised after the step.
        counted: what a QR at this step measures adds to the exponents.
        last: it is the last step that is valid.
        steps: `(batch or 1,)`, the number of counted steps of each sequence.
        masked: steps may be masked, so that sequences differ (known while tracing).
        every_step: every step is valid and has a QR, and
        seldom: most valid steps may have none (both known while tracing).
        as_needed: QRs may be left out where they are not needed (known while tracing).
        orthonormalization: the algorithm of the QRs, an `Orthonormalization`.
        columns: None, or which components of a tangent are looked at, `(D,)` booleans:
            after each step but the last, and after that.
    """

    valid: tf.Tensor
    qr: tf.Tensor
    counted: tf.Tensor
    last: tf.Tensor
    steps: tf.Tensor
    masked: bool
    every_step: bool
    seldom: bool
    as_needed: bool
    orthonormalization: str
    columns: tuple | None = None


def make_schedule(
    time, mask=None, warmup=0, qr_interval=1, orthonormalization="auto", columns=None
):
    """Lays out QRs and counted steps.

    The interval counts valid steps from the end of the warm-up, and there is always a
    QR at the last warm-up step and at the last valid step: every counted step lies in
    exactly one counted block.

    Args:
        time: number of steps, an int or a scalar tensor.
        mask: `(time, batch)`, True where the step is valid, or None.
        warmup: number of valid steps that are not counted, an int or a scalar tensor.
        qr_interval: number of valid steps from one QR to the next, an int or a scalar
            tensor; or "auto": as many as the tangents allow, and 1 where there is a mask.
        orthonormalization: an `Orthonormalization`.
        columns: see `Schedule`.
    """
    as_needed = isinstance(qr_interval, str) and mask is None
    qr_interval = 1 if isinstance(qr_interval, str) else qr_interval
    valid = tf.ones((time, 1), tf.bool) if mask is None else tf.cast(mask, tf.bool)
    number = tf.cumsum(tf.cast(valid, tf.int32), axis=0)
    last = valid & tf.equal(number, number[-1:])
    on_interval = tf.equal(tf.math.floormod(number - warmup, qr_interval), 0)
    counted = valid & (number > warmup)
    seldom = tf.is_tensor(qr_interval) or qr_interval > 1
    return Schedule(
        valid=valid,
        qr=valid & on_interval | last,
        counted=counted,
        last=last,
        steps=tf.maximum(number[-1] - warmup, 0),
        masked=mask is not None,
        every_step=mask is None and not seldom and not as_needed,
        seldom=seldom,
        as_needed=as_needed,
        orthonormalization=orthonormalization,
        columns=columns,
    )

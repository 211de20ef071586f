"""The spectrum of a trajectory: what every public function about exponents is made of."""

import typing

import numpy as np
import tensorflow as tf

from keras_floss.flow.alone import compiles_alone
from keras_floss.flow.checkpoints import settle_memory_limit
from keras_floss.flow.frame import initial_frame
from keras_floss.flow.schedule import make_schedule
from keras_floss.flow.tangent_flow import tangent_flow
from keras_floss.recurrent.noise import with_noise
from keras_floss.recurrent.trajectory import Trajectory
from keras_floss.utils.checks import check_k, check_schedule
from keras_floss.utils.shapes import extent


class Spectrum(typing.NamedTuple):
    """Exponents of a batch of sequences.

    Attributes:
        exponents: `(batch, k)`, per time step, natural logarithm.
        counted: `(batch,)` int32, the number of steps they are a mean over.
        log_condition: `(batch,)`, how near the tangents came to being parallel between two
            QRs; see `tangent_flow`.
    """

    exponents: tf.Tensor
    counted: tf.Tensor
    log_condition: tf.Tensor


def flow_arguments(
    trajectory: Trajectory,
    k=None,
    warmup=0,
    qr_interval=1,
    seed=0,
    frame=None,
    redraw=0,
    memory_limit=None,
    orthonormalization="auto",
    jit_compile=False,
):
    """A `Trajectory` and its settings as the arguments of `tangent_flow`, by name.

    `frame`, `(k or more, D)`, stands for that of a `seed` that is not to be in the trace;
    the noise is then that of `seed`, a scalar tensor.
    `warmup` may be a scalar tensor where the number of steps is known only at run time,
    and `qr_interval` where it is chosen at run time; or this is "auto", which is 1 where k
    is more than half of D: so many exponents are mostly far apart. `redraw`, an int or a
    scalar tensor: another number, other noise in a noisy cell. `jit_compile`: a
    `JitCompile`, whether XLA compiles the sweeps alone. Raises ValueError for bad settings.
    """
    step, inputs, states, mask, _ = with_noise(trajectory, seed, redraw)
    if not tf.is_tensor(warmup):
        chosen = tf.is_tensor(qr_interval) or isinstance(qr_interval, str)
        known = 1 if chosen else qr_interval
        check_schedule(warmup, known, inputs.shape[1])
    k = check_k(k, step.most, step.name, step.seen)
    if isinstance(qr_interval, str) and 2 * k > step.dim:
        qr_interval = 1
    if frame is None:
        frame = tf.constant(initial_frame(k, step.dim, seed), step.dtype)
    # No tangent of the initial state has a part in the output.
    frame = tf.pad(frame[:k], [[0, 0], [0, sum(step.sizes) - step.dim]])
    return {
        "step": step,
        "weights": step.values(),
        "inputs": tf.transpose(inputs, (1, 0, 2)),
        "states": states,
        "frame": tf.broadcast_to(frame, (extent(inputs, 0), *frame.shape)),
        "schedule": make_schedule(
            extent(inputs, 1),
            None if mask is None else tf.transpose(mask),
            warmup,
            qr_interval,
            orthonormalization,
            step.columns,
        ),
        "memory_limit": settle_memory_limit(memory_limit),
        "alone": compiles_alone(jit_compile, step, inputs),
    }


def trajectory_spectrum(trajectory, k=None, damping=None, **settings):
    """The `Spectrum` of a `Trajectory`.

    The settings are those of `flow_arguments`; `damping` is a `Damping` of the gradient, or
    None.
    """
    arguments = flow_arguments(trajectory, k, **settings)
    stretch, lost, condition = tangent_flow(**arguments, damping=damping)
    counted = tf.broadcast_to(arguments["schedule"].steps, (extent(stretch, 0),))
    steps = tf.cast(tf.maximum(counted, 1), stretch.dtype)[:, None]
    exponents = tf.where(lost, tf.cast(-np.inf, stretch.dtype), stretch / steps)
    nan = tf.cast(np.nan, stretch.dtype)
    return Spectrum(tf.where(counted[:, None] > 0, exponents, nan), counted, condition)

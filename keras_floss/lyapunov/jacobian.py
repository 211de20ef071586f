"""Step Jacobians of a recurrent layer along its sequences."""

import typing

import keras
import numpy as np
import tensorflow as tf

from keras_floss.flow.push import push
from keras_floss.flow.record import array
from keras_floss.flow.spectrum import flow_arguments
from keras_floss.flow.tangent import select
from keras_floss.lyapunov.traced import call_traced
from keras_floss.utils.checks import check_eager
from keras_floss.utils.shapes import extent
from keras_floss.utils.typing import Array, Arrays


def step_jacobians(trajectory):
    """`J_t = ∂s_t/∂s_{t-1}` at every step of a `Trajectory`.

    Returns:
        `(batch, time, D, D)` tensor. Row and column are state variables in the order of
        the cell (LSTM: h, then c); column j is the derivative with respect to variable j
        of the old state. The identity at a masked step.
    """
    flow = flow_arguments(trajectory)
    step, schedule, inputs = flow["step"], flow["schedule"], flow["inputs"]
    dim = step.dim
    identity = tf.eye(dim, batch_shape=[extent(inputs, 1)], dtype=inputs.dtype)

    def one_step(t, states, past):
        pushed = push(step, flow["weights"], inputs[t], states, identity)
        states, tangents = select(schedule, schedule.valid[t], pushed, (states, identity))
        # A tangent is a row of a frame, but a column of the Jacobian.
        return t + 1, states, past.write(t, tf.linalg.matrix_transpose(tangents))

    time = extent(inputs, 0)
    start = (0, flow["states"], array(inputs, dim, dim))
    _, _, past = tf.while_loop(lambda t, *_: t < time, one_step, start)
    return tf.transpose(past.stack(), (1, 0, 2, 3))


class LSTMJacobianPaths(typing.NamedTuple):
    """The step Jacobians of an LSTM, by the state that the derivative comes through.

    Both are NumPy arrays `(batch, time, 2·units, 2·units)`, with h before c.

    Attributes:
        cell: A_t, the path through c_{t-1}: J_t with the columns of h_{t-1} at zero.
        rest: B_t, the path through h_{t-1}: J_t with the columns of c_{t-1} at zero.
    """

    cell: np.ndarray
    rest: np.ndarray


def lstm_jacobian_paths(
    rnn: keras.Layer,
    inputs: Array,
    *,
    initial_state: Arrays | None = None,
    mask: Array | None = None,
) -> LSTMJacobianPaths:
    """The step Jacobians of an LSTM in two parts, `J_t = A_t + B_t`.

    A gradient on its way back takes at each step the path through the cell state c or
    the one through the gates and h. Products of the A_t, which hold the forget gates,
    stay bounded and keep long delays; products with B_t grow with powers of the weights
    and drown them. h-detach drops B_t at a part of the steps.

    Args:
        rnn: a `keras.layers.LSTM`, a `keras_floss.layers.HDetachLSTM` or an `LSTMCell`.
        inputs, initial_state, mask: as in `lyapunov_exponents`.

    Returns:
        A `LSTMJacobianPaths`, in the order in which the layer runs. At a masked step the
        two add up to the identity.

    Raises:
        ValueError: `rnn` is no LSTM; or as `lyapunov_exponents`.

    Example:

    ```python
    lstm = keras.layers.LSTM(16)
    x = keras.random.normal((2, 50, 3))
    cell, rest = keras_floss.lstm_jacobian_paths(lstm, x)  # (2, 50, 32, 32) each
    ```

    References:
        [Kanuparthi, Arpit et al., ICLR 2019](https://arxiv.org/abs/1810.03023), where the
        states are in the order (c, h)
    """
    check_eager("lstm_jacobian_paths")
    lstm = getattr(rnn, "cell", rnn)
    if not isinstance(lstm, keras.layers.LSTMCell):
        raise ValueError(
            "The paths through h and c are those of one LSTM: a `keras.layers.LSTM`, a "
            "`keras_floss.layers.HDetachLSTM` or a `keras.layers.LSTMCell`. "
            f"Received: {rnn!r}"
        )
    rest = np.array(call_traced(step_jacobians, rnn, inputs, initial_state, mask))
    cell = rest.copy()
    cell[..., : lstm.units] = 0
    rest[..., lstm.units :] = 0
    return LSTMJacobianPaths(cell, rest)

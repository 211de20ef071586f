"""Singular values and condition number of the long-term Jacobian."""

import typing
import warnings
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from keras_floss.flow.frame import Orthonormalization
from keras_floss.flow.spectrum import trajectory_spectrum
from keras_floss.lyapunov.jacobian import step_jacobians
from keras_floss.lyapunov.product import log_singular_values
from keras_floss.lyapunov.traced import call_traced
from keras_floss.recurrent.noise import with_noise
from keras_floss.recurrent.trajectory import Trajectory
from keras_floss.utils.checks import (
    check_eager,
    check_k,
    check_positive_int,
    check_schedule,
)
from keras_floss.utils.typing import Array, Arrays, Recurrent

# The number of steps of a long-term Jacobian, several such numbers, or None: all steps.
Horizon: TypeAlias = int | Sequence[int] | None


def jacobian_singular_values(
    rnn: Recurrent,
    inputs: Array | int,
    horizon: Horizon = None,
    k: int | None = None,
    *,
    initial_state: Arrays | None = None,
    mask: Array | None = None,
    warmup: int = 0,
) -> np.ndarray:
    """The singular values of the long-term Jacobian of a recurrent layer, as logarithms.

    The long-term Jacobian `T = J_t … J_2 J_1`, with `J_t = ∂s_t/∂s_{t-1}`, is what a
    perturbation of the state goes through on its way forward over t steps, and a
    gradient on its way back: it is stretched by the singular values. Over a long horizon
    `log σ_i` tends to `λ_i t`, with the Lyapunov exponents λ_i.

    Nothing overflows and nothing is lost to the larger singular values, whatever the
    horizon. The step Jacobians are those of the layer's dtype, the rest is float64 in
    NumPy. The error of `log σ_i` is about the rounding of the dtype times the condition
    number of a step Jacobian (rows that are small as a whole, those of saturated units,
    do not count). The noise of a cell that draws random numbers is that of seed 0. It
    takes `batch · time · D²` numbers of memory, and the time of all D
    singular values whatever k.

    Args:
        rnn, inputs, initial_state, mask: as in `lyapunov_exponents`.
        horizon: t, the number of valid steps in the product, or several such numbers,
            for which the steps are taken once. Defaults to None, all there are.
        k: number of singular values, the largest ones, from 1 to D. Defaults to None,
            all D.
        warmup: number of first valid steps that carry the state but are not in the
            product. Defaults to 0.

    Returns:
        NumPy float64 `(batch, k)`, or `(batch, number of horizons, k)` for several:
        natural logarithms, decreasing. −∞ for a direction that lost its rank, as float64
        sees it; NaN for a sequence with fewer valid steps.

    Raises:
        ValueError: a horizon that is not from 1 to the number of time steps after the
            warm-up; or as `lyapunov_exponents`.

    Warns:
        UserWarning: there are NaNs, or the iteration did not converge.

    Example:

    ```python
    rnn = keras.layers.SimpleRNN(32)
    x = keras.random.normal((4, 200, 3))
    keras_floss.jacobian_singular_values(rnn, x)  # (4, 32)
    keras_floss.jacobian_singular_values(rnn, x, [50, 100, 200], k=8)  # (4, 3, 8)
    ```

    References:
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306), on the long-term
        Jacobian; those of the algorithm are in keras_floss/lyapunov/product.py
    """
    return _long_term(
        "jacobian_singular_values", rnn, inputs, horizon, k, initial_state, mask, warmup
    )


class ConditionNumber(typing.NamedTuple):
    """Condition numbers of the long-term Jacobian, in natural logarithms.

    Both are NumPy float64 arrays `(batch, k)`, or `(batch, number of horizons, k)` for
    several. Entry m is for the leading m directions (the first one is 0).

    Attributes:
        log_measured: log κ_m = log σ_1 − log σ_m, of the singular values.
        log_predicted: (λ_1 − λ_m) t, of the Lyapunov exponents, which in float32 lose a
            direction (+∞) sooner than the singular values do.
    """

    log_measured: np.ndarray
    log_predicted: np.ndarray


def condition_number(
    rnn: Recurrent,
    inputs: Array | int,
    horizon: Horizon = None,
    k: int | None = None,
    *,
    initial_state: Arrays | None = None,
    mask: Array | None = None,
    warmup: int = 0,
    memory_limit: float | None = None,
    orthonormalization: Orthonormalization = "auto",
) -> ConditionNumber:
    """The condition number of the long-term Jacobian, in natural logarithms.

    `κ_m = σ_1 / σ_m`, for every number of directions m up to k: how much more of a
    gradient gets through in the best than in the worst of the m leading directions. A
    task that needs m directions at once is learned over t steps only where κ_m is not
    too large. Beside it stands the prediction `exp((λ_1 − λ_m) t)`, from the Lyapunov
    exponents of the whole sequence. They are logarithms because κ soon exceeds 1e308.

    Args:
        rnn, inputs, horizon, initial_state, mask: as in `jacobian_singular_values`.
        k: the largest number of directions, from 1 to D. Defaults to None, D.
        warmup: number of first valid steps that carry the state but are neither in the
            Jacobian nor counted in the exponents. Defaults to 0.

    Returns:
        A `ConditionNumber`: `log_measured` and `log_predicted`. +∞ for a direction that
        lost its rank; NaN where all did, and for a sequence with fewer valid steps.

    Raises:
        ValueError: as `jacobian_singular_values`.

    Warns:
        UserWarning: as `jacobian_singular_values`.

    Example:

    ```python
    rnn = keras.layers.SimpleRNN(32)
    x = keras.random.normal((4, 200, 3))
    condition = keras_floss.condition_number(rnn, x, range(10, 201, 10), k=16)
    condition.log_measured  # (4, 20, 16)
    condition.log_predicted  # (4, 20, 16)
    ```

    References:
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306), on the condition
        number and its prediction
    """
    values = _long_term(
        "condition_number", rnn, inputs, horizon, k, initial_state, mask, warmup
    )
    spectrum = call_traced(
        trajectory_spectrum,
        rnn,
        inputs,
        initial_state,
        mask,
        k=k,
        warmup=warmup,
        qr_interval=1,
        memory_limit=memory_limit,
        orthonormalization=orthonormalization,
    )
    exponents = np.array(spectrum.exponents, "float64")
    if values.ndim == 3:
        exponents = exponents[:, None]
    steps = np.array(spectrum.counted if horizon is None else horizon)[..., None]
    with np.errstate(invalid="ignore"):  # −∞ − −∞, where all rank was lost
        measured = values[..., :1] - values
        predicted = (exponents[..., :1] - exponents) * steps
    return ConditionNumber(measured, predicted)


def _long_term(name, rnn, inputs, horizon, k, initial_state, mask, warmup):
    """Logarithms of singular values, checked and warned of.

    Returns:
        `(batch, horizons, k)`, or `(batch, k)` where one horizon was asked for.
    """
    check_eager(name)
    horizons = _check_horizon(horizon)
    jacobians, steps = call_traced(
        _jacobians,
        rnn,
        inputs,
        initial_state,
        mask,
        k=k,
        warmup=warmup,
        last=max(horizons, default=None),
    )
    values, converged = log_singular_values(
        np.array(jacobians), horizons or [jacobians.shape[1]]
    )
    # Without a horizon the masked steps at the end are identities and do no harm.
    enough = np.array(steps)[:, None] >= (horizons or [1])
    values = np.where(enough[..., None], values, np.nan)[..., :k]
    if not converged:
        warnings.warn(
            "The singular values did not converge: the last digits are in doubt.",
            stacklevel=3,
        )
    if np.isnan(values).any():
        warnings.warn(
            "At least one sequence has NaN singular values: it has fewer valid steps "
            f"after the {warmup} steps of warm-up than the horizon, or something in it is "
            "not finite.",
            stacklevel=3,
        )
    return values if np.ndim(horizon) else values[:, 0]


def _check_horizon(horizon):
    """The horizons as a list, empty for None."""
    if horizon is None:
        return []
    horizons = list(horizon) if np.ndim(horizon) else [horizon]
    if not horizons:
        raise ValueError(f"`horizon` holds no horizon at all. Received: {horizon!r}")
    for one in horizons:
        check_positive_int("horizon", one)
    return [int(one) for one in horizons]


def _jacobians(trajectory, k, warmup, last):
    """The first `last` step Jacobians after the warm-up, and the number of valid ones."""
    # Noise is drawn before steps are cut and sorted, as it is for the exponents.
    step, inputs, states, mask, _ = with_noise(trajectory)
    check_k(k, step.dim, step.name)
    time = inputs.shape[1]
    check_schedule(warmup, 1, time)
    if last is not None and last > time - warmup:
        raise ValueError(
            f"`horizon` must be an integer from 1 to {time - warmup}, the number of time "
            f"steps of `{step.name}` after the warm-up, or several. Received: {last!r}"
        )
    stop = None if last is None else warmup + last
    steps = tf.fill([tf.shape(inputs)[0]], time)
    if mask is not None:
        steps = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
        # A masked step changes nothing, so it may as well come last.
        valid_first = tf.argsort(
            tf.cast(mask, tf.int32), axis=1, direction="DESCENDING", stable=True
        )[:, :stop]
        inputs, mask = (
            tf.gather(x, valid_first, axis=1, batch_dims=1) for x in (inputs, mask)
        )
    trajectory = Trajectory(step, inputs[:, :stop], states, mask)
    return step_jacobians(trajectory)[:, warmup:], steps - warmup

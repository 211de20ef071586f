"""How far to trust exponents, and what follows from them."""

import typing
import warnings

import numpy as np
import tensorflow as tf

from keras_floss.flow.alone import JitCompile
from keras_floss.flow.frame import Orthonormalization
from keras_floss.flow.spectrum import flow_arguments
from keras_floss.flow.tangent_flow import stretch_by_step
from keras_floss.lyapunov.standard_error import BLOCKS, TIMES, standard_error
from keras_floss.lyapunov.traced import call_traced
from keras_floss.utils.checks import check_eager, check_positive_int
from keras_floss.utils.precision import eps, product_eps
from keras_floss.utils.typing import Array, Arrays, Recurrent

# A relative error of an R_ii that shows in the second digit of the stretch.
TOLERANCE = 0.01


class LyapunovStatistics(typing.NamedTuple):
    """Exponents of a batch of sequences with what is needed to judge them.

    All are NumPy arrays; exponents are per time step, natural logarithm.

    Attributes:
        exponents: `(batch, k)`, as `lyapunov_exponents` gives them.
        standard_error: `(batch, k)`, of each exponent as a mean over its run: the
            standard deviation of the means over blocks of the run, over the root of
            their number. NaN with fewer counted QRs than blocks, and for a direction
            that was lost.
        running: `(batch, time, k)`, the exponents as they stood after each step, in the
            order in which the layer runs. NaN before the first counted QR.
        dimension: `(batch,)`, the Kaplan–Yorke dimension of the attractor: j + (λ_1 + …
            + λ_j) / |λ_{j+1}| with the largest j for which that sum is not negative. NaN
            where the sum of all k is not negative and k < D.
        entropy_rate: `(batch,)`, the sum of the positive exponents, in nats per time
            step: the Kolmogorov–Sinai entropy rate where there is a smooth invariant
            measure, and an upper bound of it elsewhere.
        condition: `(batch,)`, the largest ratio max_j |R_jj| / |R_ii| of a counted QR,
            directions that lost their rank apart: how near to parallel the tangents came
            between two QRs. Times the rounding of the dtype it is the relative error of
            the smallest R_ii.
        degrees_of_freedom: `(batch, k)`, of each standard error, for Student's t: the
            number of blocks less one. NaN where the error is.
        lost: `(batch, k)`, the number of counted QRs at which a direction was lost: nothing
            was left of its tangent but rounding. Its exponent is −∞ from the first of them
            on. NaN without a counted QR.
    """

    exponents: np.ndarray
    standard_error: np.ndarray
    running: np.ndarray
    dimension: np.ndarray
    entropy_rate: np.ndarray
    condition: np.ndarray
    degrees_of_freedom: np.ndarray
    lost: np.ndarray


def lyapunov_statistics(
    rnn: Recurrent,
    inputs: Array | int,
    k: int | None = None,
    *,
    initial_state: Arrays | None = None,
    mask: Array | None = None,
    warmup: int = 0,
    qr_interval: int = 1,
    seed: int = 0,
    blocks: int | None = None,
    memory_limit: float | None = None,
    orthonormalization: Orthonormalization = "auto",
    jit_compile: JitCompile = "auto",
) -> LyapunovStatistics:
    """The Lyapunov exponents of a recurrent layer, with their errors.

    An interval that holds an exponent in 95 of 100 runs is that of Student's t: `exponents`
    ± `scipy.stats.t.ppf(0.975, degrees_of_freedom) * standard_error`.

    It is too wide, some three times, where the stretches telescope: where the stretch of a
    step is a constant plus the difference of a function of the states after and before it,
    so that a sum depends on the two ends of the run alone. The logistic map at r = 4 is so,
    and the exponent zero of an autonomous flow: trust the spread of several runs there. For
    the same reason a sum of exponents may be known better than each of them is (the Hénon
    map's is log 0.3 at every step). Memory is not seen that hides beneath noise of many
    times its size.

    Args:
        rnn, inputs, k, initial_state, mask, warmup, qr_interval, seed: as in
            `lyapunov_exponents`.
        blocks: number of blocks that a run is cut into for its standard errors, at least
            2. Defaults to None: ten, and down to four where ten would be shorter than five
            QRs or five times the measured autocorrelation time of the stretches.
        memory_limit, orthonormalization: as in `lyapunov_exponents`.
        jit_compile: True has XLA compile the run, which takes about a second; from some
            thousand steps on that is sooner done, up to thirty times. Defaults to `"auto"`,
            which compiles nothing.

    Returns:
        A `LyapunovStatistics`.

    Raises:
        ValueError: as `lyapunov_exponents`, and for fewer than 2 blocks.

    Warns:
        UserWarning: the tangents came so near to parallel between two QRs that rounding
            shows in the trailing exponents. A shorter `qr_interval`, fewer exponents or
            float64 helps.
        UserWarning: the run is too short for standard errors that can be relied on: fewer
            than fifty QRs or fifty autocorrelation times (or `blocks` that are shorter than
            five). A longer run helps.

    Example:

    ```python
    rnn = keras.layers.LSTM(16)
    x = keras.random.normal((2, 500, 3))
    statistics = keras_floss.lyapunov_statistics(rnn, x, k=4, warmup=50)
    statistics.exponents  # (2, 4)
    statistics.standard_error  # (2, 4)
    ```

    References:
        Kaplan & Yorke, Lecture Notes in Mathematics 730, 1979 (the dimension);
        Pesin, Russian Mathematical Surveys 32, 1977 (the entropy);
        Flegal & Jones, Annals of Statistics 38, 2010 (means over blocks).
    """
    check_eager("lyapunov_statistics")
    if blocks is not None:
        check_positive_int("blocks", blocks, least=2)
    check_positive_int("qr_interval", qr_interval)
    sweep = call_traced(
        _sweep,
        rnn,
        inputs,
        initial_state,
        mask,
        k=k,
        warmup=warmup,
        qr_interval=qr_interval,
        seed=seed,
        memory_limit=memory_limit,
        orthonormalization=orthonormalization,
        jit_compile=jit_compile,
    )
    stretch, lost, counted, measured, dim = (np.array(x) for x in sweep)
    condition = _condition(stretch, lost, measured)
    rounding = max(eps(stretch.dtype) * dim, product_eps(stretch.dtype))
    # A float32 sum over a long run would lose what float32 exponents have.
    stretch = np.where(lost, -np.inf, stretch.astype("float64"))
    steps = np.cumsum(counted, axis=1)
    running = _running(stretch, steps, measured)
    exponents = running[:, -1]
    lost &= measured[..., None]
    # With a QR at every step it is the dynamics that take a direction away.
    lost_between = qr_interval > 1 and lost.any()
    if lost_between or (condition * rounding > TOLERANCE).any():
        shorten = "shorten `qr_interval`, " if qr_interval > 1 else ""
        warnings.warn(
            "Between two QRs the tangents came near to parallel (condition "
            f"{np.nanmax(condition):.0e}{' and more' if lost_between else ''}), past what "
            f"{sweep[0].dtype.name} bears: the trailing exponents are in doubt. Better "
            f"{shorten}take fewer of them (`k`) or compute in float64.",
            stacklevel=2,
        )
    # What varies in the second half of its digits only is taken for constant.
    constant = np.sqrt(eps(sweep[0].dtype))
    errors = [
        [standard_error(column, n[m], blocks, constant) for column in one[m].T]
        for one, n, m in zip(stretch, steps, measured, strict=True)
    ]
    error, freedom, fits = np.moveaxis(np.array(errors), -1, 0)
    if not fits.all():
        warnings.warn(
            f"{np.sum(fits == 0)} of {fits.size} standard errors may be too small: the run "
            f"is too short for {blocks or BLOCKS} blocks of at least {TIMES} QRs and "
            f"{TIMES} autocorrelation times of the stretches, so make it longer"
            f"{' or take fewer `blocks`' if blocks else ''}.",
            stacklevel=2,
        )
    return LyapunovStatistics(
        exponents=exponents,
        standard_error=error,
        running=running,
        dimension=np.array([kaplan_yorke(e, dim) for e in exponents]),
        entropy_rate=np.array([np.sum(np.maximum(e, 0.0)) for e in exponents]),
        condition=condition,
        degrees_of_freedom=freedom,
        lost=np.where(measured.any(axis=1, keepdims=True), lost.sum(axis=1), np.nan),
    )


def kaplan_yorke(exponents, dim):
    """The Kaplan–Yorke dimension, given some of the `dim` exponents of an attractor."""
    exponents = np.sort(exponents)[::-1]
    sums = np.cumsum(exponents)
    if np.isnan(sums[-1]):
        return np.nan
    if sums[-1] >= 0:
        return float(dim) if len(exponents) == dim else np.nan
    j = int(np.argmax(sums < 0))
    return j + (sums[j - 1] / -exponents[j] if j else 0.0)


def _sweep(trajectory, **settings):
    """Stretch and lost rank by step `(batch, time, k)`, counted steps and QRs, D."""
    arguments = flow_arguments(trajectory, **settings)
    stretch, lost = (tf.transpose(x, (1, 0, 2)) for x in stretch_by_step(**arguments))
    schedule = arguments["schedule"]
    counted, measured = (
        tf.broadcast_to(tf.transpose(x), tf.shape(stretch)[:2])
        for x in (schedule.counted, schedule.counted & schedule.qr)
    )
    return stretch, lost, counted, measured, trajectory.map.dim


def _condition(stretch, lost, measured):
    """`(batch,)`, the largest of max_j |R_jj| / |R_ii|; NaN without a counted QR."""
    high = np.where(lost, -np.inf, stretch).max(axis=-1)
    low = np.where(lost, np.inf, stretch).min(axis=-1)
    # A QR in which every direction was lost says nothing.
    width = np.where(measured, np.maximum(high - low, 0.0), 0.0).max(axis=1)
    with np.errstate(over="ignore"):
        return np.where(measured.any(axis=1), np.exp(width.astype("float64")), np.nan)


def _running(stretch, steps, measured):
    """Exponents after each step: of the counted QRs so far, over the steps they cover."""
    total = np.cumsum(np.where(measured[..., None], stretch, 0.0), axis=1)
    covered = np.maximum.accumulate(np.where(measured, steps, 0), axis=1)
    mean = total / np.maximum(covered, 1)[..., None]
    return np.where(covered[..., None] > 0, mean, np.nan)

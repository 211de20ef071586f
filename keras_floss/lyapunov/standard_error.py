"""The standard error of a mean over a run that remembers: batch means.

Steps of a run are correlated, so the spread of single steps says little about that of their
mean. Means over blocks that are long beside the memory are nearly independent, and their
spread does. How long the memory is, is measured first: the integrated autocorrelation time
τ = 1 + 2 Σ_t ρ(t), the sum cut off by Sokal's window.

References:
    Flegal & Jones, Annals of Statistics 38, 2010 (batch means);
    Sokal, Monte Carlo Methods in Statistical Mechanics, 1996, section 3 (the window);
    emcee, `autocorr.integrated_time` (runs of fifty autocorrelation times).
"""

import numpy as np

# Sokal's window; and blocks of so many autocorrelation times miss a tenth of the variance
# where memory decays exponentially.
TIMES = 5
# More blocks narrow an interval by no more than a seventh, and see less of memory that is
# hidden under noise.
BLOCKS = 10
# With fewer Student's t is too wide to be of use.
FEWEST_BLOCKS = 4


def standard_error(values, steps, blocks=None, constant=1e-8):
    """The standard error of sum(values) / steps[-1].

    Args:
        values: `(n,)`, a sum over a stretch of steps each.
        steps: `(n,)`, the number of steps up to the end of each stretch.
        blocks: their number, or None: as many as are `TIMES` autocorrelation times long and
            `TIMES` values, from 4 to 10.
        constant: the standard deviation that is taken for none. A run whose second half is
            constant has settled, and no memory is looked for in it.

    Returns:
        The error, its degrees of freedom, and whether the blocks fit the run. The former
        two are NaN where a value is not finite or there are fewer than blocks.
    """
    n = len(values)
    if n < (blocks or FEWEST_BLOCKS) or not np.isfinite(values).all():
        return np.nan, np.nan, True
    # Stretches may be of different lengths: what counts is what they leave of the mean.
    rest = values - np.diff(steps, prepend=0) * (values.sum() / steps[-1])
    if rest[n // 2 :].std() <= constant:
        most, fits = n, True
    else:
        most = int(n / (TIMES * max(1.0, autocorrelation_time(rest))))
        fits = most >= (blocks or BLOCKS)
    blocks = blocks or min(max(most, FEWEST_BLOCKS), BLOCKS)
    sums = np.add.reduceat(rest, np.arange(blocks) * n // blocks)
    error = np.sqrt(np.sum(sums**2) * blocks / (blocks - 1)) / steps[-1]
    return error, blocks - 1, fits


def autocorrelation_time(values):
    """τ of values of mean 0, not all of them 0, in units of their spacing.

    The window is the smallest number of lags that is `TIMES` the τ of these lags. All lags
    together have τ = 0, so there is one. Where the values alternate it ends at once, with
    less than 1.
    """
    n = len(values)
    # Padded with zeros, so that the end does not meet the beginning; to a power of two,
    # which is fast.
    power = np.abs(np.fft.rfft(values, 2 ** (2 * n).bit_length())) ** 2
    covariance = np.fft.irfft(power)[:n]
    times = 2 * np.cumsum(covariance) / covariance[0] - 1
    return times[np.argmax(np.arange(n) >= TIMES * times)]

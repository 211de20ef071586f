"""Singular values of a long product of matrices, in NumPy.

The product `T = J_t … J_1` spans more orders of magnitude than a float has. It is kept
as orthonormal Q, a diagonal D held as logarithms, and rows Y of ordinary size, and one
QR takes it a step on:

    J_t Q D = Q' R,   D' = |diag R|,   Y' = D'⁻¹ R Y:   J_t (Q D Y) = Q' D' Y'

The lengths of the rows of Y' then go into D'.

The singular values are those of D Y. Rotations that make its rows orthogonal (one-sided
Jacobi) leave them as the norms of the rows. They see of D only the ratio of two rows,
keep what is small to as many digits as what is large, and need no gap between singular
values, where sweeps of QR alone would converge with the ratio of neighbours.

The first part is how quantum Monte Carlo multiplies long chains of matrices (Loh et al.
1989; Bauer, SciPost Phys. Core 2, 2020), the second Demmel & Veselić, SIAM J. Matrix
Anal. Appl. 13, 1992.
"""

import numpy as np

# Of the cosines between rows; what is left of them moves no logarithm by more than that.
TOLERANCE = 1e-12
# Convergence is quadratic: 4 to 8 sweeps are usual.
MOST_SWEEPS = 40


def log_singular_values(jacobians, horizons):
    """Logarithms of the singular values of `J_t … J_1`, for each horizon t.

    Args:
        jacobians: `(batch, time, D, D)`, NumPy.
        horizons: list of numbers of steps.

    Returns:
        `(batch, horizons, D)` float64, decreasing, and whether the iteration converged.
    """
    batch, _, dim, _ = jacobians.shape
    frame = rows = np.broadcast_to(np.eye(dim), (batch, dim, dim))
    logs = np.zeros((batch, dim))
    products = {}
    for t in range(1, max(horizons) + 1):
        frame, logs, rows = graded_qr(jacobians[:, t - 1] @ frame, logs, rows)
        if t in horizons:
            products[t] = logs, rows
    logs = np.concatenate([products[t][0] for t in horizons])
    rows = np.concatenate([products[t][1] for t in horizons])
    # A QR of the transpose brings D Y nearer to diagonal, which halves the sweeps.
    identity = np.broadcast_to(np.eye(dim), rows.shape)
    _, logs, rows = graded_qr(np.swapaxes(rows, -1, -2), logs, identity)
    logs, converged = orthogonalise_rows(logs, rows)
    logs = -np.sort(-logs, axis=-1)
    return logs.reshape(len(horizons), batch, dim).swapaxes(0, 1), converged


def graded_qr(matrix, logs, rows, last=False):
    """`matrix · D · Y` as `Q' · D' · Y'`, with D and D' given as logarithms.

    Args:
        matrix: `(batch, D, D)`.
        logs: `(batch, D)`, −∞ for a lost direction.
        rows: `(batch, D, D)`, Y, unit vectors.
        last: `(batch, D)` booleans, columns that are to come last and count as lost.

    Returns:
        `(Q', logarithms of D', Y')`.
    """
    # In decreasing order the entries of D'⁻¹ R D are bounded, without pivoting.
    with np.errstate(divide="ignore"):
        sizes = logs + np.log(np.abs(matrix).max(axis=-2))
    sizes = np.where(last, -np.inf, sizes)
    order = np.argsort(-sizes, axis=-1, kind="stable")
    matrix = np.take_along_axis(matrix, order[:, None, :], axis=-1)
    logs = np.take_along_axis(logs, order, axis=-1)
    rows = np.take_along_axis(rows, order[..., None], axis=-2)
    last = np.take_along_axis(np.broadcast_to(last, order.shape), order, axis=-1)

    # With its largest rows first Householder's QR is exact row by row, however small the
    # slopes of saturated units (Cox & Higham, 1998).
    sizes = np.abs(matrix).max(axis=-1)
    order = np.argsort(-sizes, axis=-1, kind="stable")
    q, r = np.linalg.qr(np.take_along_axis(matrix, order[..., None], axis=-2))
    q = np.take_along_axis(q, np.argsort(order, axis=-1)[..., None], axis=-2)
    sizes = np.take_along_axis(sizes, order, axis=-1)

    diagonal = np.diagonal(r, axis1=-2, axis2=-1)
    # Noise, next to the rows that were left when its turn came.
    noise = np.abs(diagonal) <= len(diagonal[0]) * np.finfo("float64").eps * sizes
    lost = last | np.isneginf(logs) | noise
    if (lost[:, :-1] > lost[:, 1:]).any():
        # A row of R without a pivot is not nothing unless it is among the last ones.
        return graded_qr(matrix, logs, rows, last=lost)
    with np.errstate(all="ignore"):  # in what is then not used
        scale = np.exp(logs[:, None, :] - logs[:, :, None])
        factor = np.triu(r / diagonal[..., None] * scale)
        logs = np.where(lost, -np.inf, logs + np.log(np.abs(diagonal)))
    factor = np.where(lost[..., None], np.eye(logs.shape[-1]), factor)
    logs, rows = _unit_rows(logs, factor @ rows)
    return q * np.where(diagonal < 0, -1.0, 1.0)[:, None, :], logs, rows


def _unit_rows(logs, rows):
    norms = np.linalg.norm(rows, axis=-1)
    return logs + np.log(norms), rows / norms[..., None]


def orthogonalise_rows(logs, rows):
    """Logarithms of the singular values of D Y: one-sided Jacobi, many pairs at a time.

    Args:
        logs: `(batch, D)`, logarithms of the diagonal of D, −∞ allowed.
        rows: `(batch, D, D)`, Y, unit vectors; changed in place.

    Returns:
        `(batch, D)` logarithms in no order, and whether the rows became orthogonal.
    """
    batch, dim = logs.shape
    each, rounds = np.arange(batch)[:, None], list(_rounds(dim))
    for _ in range(MOST_SWEEPS):
        cosines = rows @ np.swapaxes(rows, -1, -2) - np.eye(dim)
        if not (np.abs(cosines) > TOLERANCE).any():
            return logs, True
        for first, second in rounds:
            ordered = logs[:, first] >= logs[:, second]
            large = each, np.where(ordered, first, second)
            small = each, np.where(ordered, second, first)
            lengthened, shortened, log_cosine = _rotation(
                rows[large], rows[small], logs[large], logs[small]
            )
            logs[large], rows[large] = _unit_rows(logs[large] + log_cosine, lengthened)
            logs[small], rows[small] = _unit_rows(logs[small] + log_cosine, shortened)
    return logs, False


def _rotation(large, small, log_large, log_small):
    """The rotation that makes two rows orthogonal and lengthens the larger one.

    With unit vectors y, z and the ratio ρ ≤ 1 of their lengths it is by the angle of
    tangent `a ρ`, to `y + a ρ² z` and `z − a y`: nothing here is out of range for any ρ.

    Returns:
        Both, before the common factor of the cosine, and the logarithm of that.
    """
    with np.errstate(invalid="ignore"):  # −∞ − −∞
        gap = np.where(np.isneginf(log_small), -np.inf, log_small - log_large)
    ratio = np.exp(gap)
    cosine = np.sum(large * small, axis=-1)
    difference = -np.expm1(2 * gap)  # 1 − ρ², also where ρ is nearly 1
    with np.errstate(invalid="ignore"):
        a = 2 * cosine / (difference + np.hypot(difference, 2 * ratio * cosine))
    a = np.where(cosine == 0, 0.0, a)
    lengthened = large + (a * ratio**2)[..., None] * small
    shortened = small - a[..., None] * large
    return lengthened, shortened, -0.5 * np.log1p((a * ratio) ** 2)


def _rounds(n):
    """Every pair of n once, in rounds of pairs that have no member in common."""
    places = np.arange(n + n % 2)
    half = len(places) // 2
    for _ in range(len(places) - 1):
        first, second = places[:half], places[: half - 1 : -1]
        real = np.maximum(first, second) < n
        yield first[real], second[real]
        places[1:] = np.roll(places[1:], 1)

r"""Compiled loops of a fixed-step solve through PHOENIX, and of its gradient, network by network.

A step of training has a handful of rows, for which calling on matrix products takes longer than they do, and reading
the weights longer than multiplying by them: here a row of weights is read once for all rows of the state. Genes are
padded with zeros to a multiple of `WIDTH`, so that no loop has a rest.
"""

from functools import partial

import numpy as np

from ..compiled import compiled

WIDTH = 32  # four registers of eight float32

F = np.float32
# of log(1 + φ) = 2 artanh(t), t = φ / (2 + φ): for φ in (-½, 1) the rest is below 2e-9 of it
SERIES = tuple(F(1 / k) for k in (15, 13, 11, 9, 7, 5, 3))
SEVENTH, SIXTH, FIFTH, FOURTH, THIRD, SECOND, FIRST = SERIES

vectorised = partial(compiled, error_model="numpy")  # Python's division has a branch, which no vector has


@vectorised
def activate(x: np.ndarray, sigma: np.ndarray, pi: np.ndarray) -> None:
    r"""``(row, gene)`` :math:`\phi_\Sigma(x)` and :math:`\phi_\Pi(x) = \log(1 + \phi_\Sigma(x))`."""
    low = np.int32(0)
    for r in range(len(x)):
        for j in range(x.shape[1]):
            shifted = x[r, j] - F(0.5)
            phi = shifted / (F(1) + abs(shifted))
            t = phi / (F(2) + phi)
            square = t * t
            p = SEVENTH * square + SIXTH
            p = p * square + FIFTH
            p = p * square + FOURTH
            p = p * square + THIRD
            p = p * square + SECOND
            p = p * square + FIRST
            sigma[r, j] = phi
            pi[r, j] = F(2) * t * (p * square + F(1))
            low += np.int32(phi < F(-0.5))
    if low:  # a level below -½, as of a solution that is about to blow up: outside the series
        for r in range(len(x)):
            for j in range(x.shape[1]):
                if sigma[r, j] < F(-0.5):
                    pi[r, j] = np.log1p(sigma[r, j])


@vectorised
def dots(A: np.ndarray, W: np.ndarray, out: np.ndarray, at: int) -> None:
    """``out[r, at + h] = A[r] · W[h]``, four rows for each reading of ``W[h]``."""
    for h in range(len(W)):
        w, r = W[h], 0
        while r + 4 <= len(A):
            a0, a1, a2, a3 = A[r], A[r + 1], A[r + 2], A[r + 3]
            s0 = s1 = s2 = s3 = F(0)
            for j in range(len(w)):
                v = w[j]
                s0 += v * a0[j]
                s1 += v * a1[j]
                s2 += v * a2[j]
                s3 += v * a3[j]
            out[r, at + h], out[r + 1, at + h], out[r + 2, at + h], out[r + 3, at + h] = s0, s1, s2, s3
            r += 4
        while r < len(A):
            a, s = A[r], F(0)
            for j in range(len(w)):
                s += w[j] * a[j]
            out[r, at + h] = s
            r += 1


@vectorised
def combine(Z: np.ndarray, at: int, W: np.ndarray, out: np.ndarray) -> None:
    """``out[r] += Σ_h Z[r, at + h] W[h]``, four rows of ``W`` at a time."""
    h = 0
    while h + 4 <= len(W):
        w0, w1, w2, w3 = W[h], W[h + 1], W[h + 2], W[h + 3]
        for r in range(len(Z)):
            row = out[r]
            z0, z1, z2, z3 = Z[r, at + h], Z[r, at + h + 1], Z[r, at + h + 2], Z[r, at + h + 3]
            for j in range(len(row)):
                row[j] += z0 * w0[j] + z1 * w1[j] + z2 * w2[j] + z3 * w3[j]
        h += 4
    while h < len(W):
        w = W[h]
        for r in range(len(Z)):
            row, z = out[r], Z[r, at + h]
            for j in range(len(row)):
                row[j] += z * w[j]
        h += 1


@vectorised
def rate(
    x: np.ndarray,
    W_sigma: np.ndarray,
    W_pi: np.ndarray,
    U: np.ndarray,
    b_sigma: np.ndarray,
    b_pi: np.ndarray,
    gain: np.ndarray,
    free: np.ndarray,
    sigma: np.ndarray,
    pi: np.ndarray,
    excess: np.ndarray,
    z: np.ndarray,
    k: np.ndarray,
) -> None:
    """``k`` (row, gene), the derivative at ``x``; what its gradient needs into the rows of the tables."""
    hidden = len(b_sigma)
    activate(x, sigma, pi)
    dots(sigma, W_sigma, z, 0)
    dots(pi, W_pi, z, hidden)
    for r in range(len(x)):
        for h in range(hidden):
            z[r, h] += b_sigma[h]
            z[r, hidden + h] = np.exp(z[r, hidden + h] + b_pi[h])
        for j in range(x.shape[1]):
            excess[r, j] = -x[r, j]
    combine(z, 0, U, excess)
    for r in range(len(x)):
        for j in range(x.shape[1]):
            k[r, j] = excess[r, j] * gain[j]
        if len(free):
            for j in range(x.shape[1]):
                k[r, j] *= free[r, j]


@vectorised
def solve(
    active: np.ndarray,
    size: np.ndarray,
    state: np.ndarray,
    W_sigma: np.ndarray,
    W_pi: np.ndarray,
    U: np.ndarray,
    b_sigma: np.ndarray,
    b_pi: np.ndarray,
    gain: np.ndarray,
    free: np.ndarray,
    sigma: np.ndarray,
    pi: np.ndarray,
    excess: np.ndarray,
    z: np.ndarray,
    kept: bool,
) -> None:
    """Steps of Runge and Kutta's order 4 of ``state`` (network, pair, gene), in place.

    Parameters
    ----------
    active, size
        Of a `StepPlan`.
    W_sigma, W_pi, U, b_sigma, b_pi, gain
        ``(network, hidden, gene)`` twice, ``(network, 2 hidden, gene)`` both second layers, ``(network, hidden)``
        twice, ``(network, gene)`` ReLU(υ).
    free
        ``(pair, gene)``, or without rows where no gene is clamped.
    sigma, pi, excess, z
        ``(network, evaluation, gene or 2 hidden)`` tables to be filled, an evaluation a row of a stage of a step.
    kept
        False where no gradient is wanted: every stage then has the first rows of the tables.
    """
    x, k, total = np.empty_like(state[0]), np.empty_like(state[0]), np.empty_like(state[0])
    for one in range(len(state)):
        g, at = state[one], 0
        for n in active:
            for stage in range(4):
                rows = slice(at, at + n) if kept else slice(0, n)
                rate(
                    (g if stage == 0 else x)[:n],
                    W_sigma[one],
                    W_pi[one],
                    U[one],
                    b_sigma[one],
                    b_pi[one],
                    gain[one],
                    free,
                    sigma[one, rows],
                    pi[one, rows],
                    excess[one, rows],
                    z[one, rows],
                    k,
                )
                at += n
                weight = F(1) if stage in (0, 3) else F(2)
                for r in range(n):
                    ahead = size[r] if stage == 2 else F(0.5) * size[r]
                    for j in range(g.shape[1]):
                        total[r, j] = k[r, j] if stage == 0 else total[r, j] + weight * k[r, j]
                        x[r, j] = g[r, j] + ahead * k[r, j]
            for r in range(n):
                share = size[r] / F(6)
                for j in range(g.shape[1]):
                    g[r, j] += share * total[r, j]


@vectorised
def pull(
    by_rate: np.ndarray,
    W_sigma: np.ndarray,
    W_pi: np.ndarray,
    U: np.ndarray,
    gain: np.ndarray,
    free: np.ndarray,
    sigma: np.ndarray,
    excess: np.ndarray,
    z: np.ndarray,
    weighted: np.ndarray,
    inner: np.ndarray,
    plain: np.ndarray,
    by_x: np.ndarray,
    sums: np.ndarray,
) -> None:
    """``by_x`` (row, gene), the gradient by the state of an evaluation, from that by its derivative; rows of the tables
    of `gradient`; ``sums`` is room to work in."""
    hidden = len(W_sigma)
    for r in range(len(z)):
        if len(free):
            for j in range(len(plain)):
                by_rate[r, j] *= free[r, j]
        for j in range(len(plain)):
            plain[j] += by_rate[r, j] * excess[r, j]
            weighted[r, j] = by_rate[r, j] * gain[j]
            by_x[r, j] = F(0)
            sums[r, j] = F(0)
    dots(weighted, U, inner, 0)
    for r in range(len(z)):
        for h in range(hidden):
            inner[r, hidden + h] *= z[r, hidden + h]
    combine(inner, hidden, W_pi, by_x)
    combine(inner, 0, W_sigma, sums)
    for r in range(len(z)):
        for j in range(len(plain)):  # φ' = (1 - |φ|)²
            slope = F(1) - abs(sigma[r, j])
            by_x[r, j] = (by_x[r, j] / (sigma[r, j] + F(1)) + sums[r, j]) * (slope * slope) - weighted[r, j]


@vectorised
def gradient(
    active: np.ndarray,
    size: np.ndarray,
    by_state: np.ndarray,
    W_sigma: np.ndarray,
    W_pi: np.ndarray,
    U: np.ndarray,
    gain: np.ndarray,
    free: np.ndarray,
    sigma: np.ndarray,
    excess: np.ndarray,
    z: np.ndarray,
    weighted: np.ndarray,
    inner: np.ndarray,
    plain: np.ndarray,
) -> None:
    """The steps of `solve` backwards: ``by_state`` (network, pair, gene) becomes the gradient by the start.

    ``weighted`` and ``inner`` are filled with the gradients by U z and by the arguments of both hidden layers, shaped
    as ``sigma`` and ``z``, ``plain`` (network, gene) with that by ReLU(υ).
    """
    rates, x, sums, total = (
        np.empty_like(by_state[0]),
        np.empty_like(by_state[0]),
        np.empty_like(by_state[0]),
        np.empty_like(by_state[0]),
    )
    for one in range(len(by_state)):
        g, at = by_state[one], z.shape[1]
        for n in active[::-1]:
            for stage in range(3, -1, -1):
                at -= n
                rows = slice(at, at + n)
                for r in range(n):
                    share = size[r] / F(6) * (F(1) if stage in (0, 3) else F(2))
                    ahead = size[r] if stage == 2 else F(0.5) * size[r]
                    for j in range(g.shape[1]):
                        rates[r, j] = share * g[r, j]
                        if stage < 3:
                            rates[r, j] += ahead * x[r, j]
                pull(
                    rates,
                    W_sigma[one],
                    W_pi[one],
                    U[one],
                    gain[one],
                    free,
                    sigma[one, rows],
                    excess[one, rows],
                    z[one, rows],
                    weighted[one, rows],
                    inner[one, rows],
                    plain[one],
                    x,
                    sums,
                )
                for r in range(n):
                    for j in range(g.shape[1]):
                        total[r, j] = x[r, j] if stage == 3 else total[r, j] + x[r, j]
            for r in range(n):
                for j in range(g.shape[1]):
                    g[r, j] += total[r, j]

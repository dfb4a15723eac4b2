r"""R-hat and effective draws of many quantities at once (Vehtari, Gelman, Simpson, Carpenter & Bürkner 2021).

ArviZ computes the same, one quantity after the other; here all edges go through one sort and one Fourier transform, and
nothing heavy has to be imported.
"""

import numpy as np
import torch

LEAST_DRAWS = 4  # of a chain: with fewer, halves have no variance


def rank_normalised(draws: np.ndarray) -> np.ndarray:
    r"""Normal scores :math:`\Phi^{-1}((r - 3/8) / (S + 1/4))` of the ranks r of ``draws`` (chain, draw, quantity) among
    all S draws of a quantity; ties share their average rank (Blom 1958)."""
    flat = draws.reshape(-1, draws.shape[2])
    number = len(flat)
    order = np.argsort(flat, axis=0, kind="stable")
    ordered = np.take_along_axis(flat, order, axis=0)
    place = np.arange(number)[:, None]
    new = np.ones(flat.shape, dtype=bool)
    new[1:] = ordered[1:] != ordered[:-1]
    last = np.ones_like(new)
    last[:-1] = new[1:]
    first_place = np.maximum.accumulate(np.where(new, place, 0), axis=0)
    last_place = np.minimum.accumulate(np.where(last, place, number)[::-1], axis=0)[::-1]
    rank = np.empty_like(flat)
    np.put_along_axis(rank, order, 1 + (first_place + last_place) / 2, axis=0)
    return torch.special.ndtri(torch.from_numpy((rank - 0.375) / (number + 0.25))).numpy().reshape(draws.shape)


def halves(draws: np.ndarray) -> np.ndarray:
    """First and second half of every chain as chains of their own; a draw in the middle is left out."""
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, -half:]])


def rank_rhat(draws: np.ndarray) -> np.ndarray:
    r"""``(quantity,)`` the larger of rank-normalised split R-hat and the same of distances from the median.

    .. math:: \hat R^2 = \frac{B/W + N - 1}{N}

    with N draws in each half of a chain, B/N the variance between means of halves and W the mean variance within.

    Parameters
    ----------
    draws
        ``(chain, draw, quantity)``, finite and not constant within all chains. NaN with one chain, or fewer than four
        draws.
    """
    if len(draws) < 2 or draws.shape[1] < LEAST_DRAWS:
        return np.full(draws.shape[2], np.nan)
    split = halves(draws)
    folded = np.abs(split - np.median(split, axis=(0, 1)))
    return np.maximum(*(_rhat(rank_normalised(values)) for values in (split, folded)))


def _rhat(draws: np.ndarray) -> np.ndarray:
    number = draws.shape[1]
    between = number * draws.mean(1).var(0, ddof=1)
    within = draws.var(1, ddof=1).mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt((between / within + number - 1) / number)


def bulk_ess(draws: np.ndarray) -> np.ndarray:
    r"""``(quantity,)`` effective draws of rank-normalised half chains: S over the autocorrelation time

    .. math:: \hat\tau = -1 + 2 \sum_{k < K} \hat P_k + \hat\rho_{2K}, \qquad
              \hat P_k = \hat\rho_{2k} + \hat\rho_{2k+1},

    where the sum over pairs ends before the first that is not positive, and pairs never grow (Geyer 1992). At most
    :math:`S \log_{10} S` draws.

    Parameters
    ----------
    draws
        ``(chain, draw, quantity)``, finite and not constant. NaN with fewer than four draws.
    """
    if draws.shape[1] < LEAST_DRAWS:
        return np.full(draws.shape[2], np.nan)
    values = rank_normalised(halves(draws))
    chains, number, _ = values.shape
    covariance = autocovariance(values).mean(0)  # (lag, quantity)
    within = covariance[0] * number / (number - 1)
    total = covariance[0] + values.mean(1).var(0, ddof=1)  # there are two halves at least
    rho = 1 - (within - covariance) / total
    rho[0] = 1
    most = max(0, (number - 3) // 2)
    pairs = rho[: 2 * most + 2].reshape(most + 1, 2, -1).sum(1)  # (pair, quantity)
    ended = pairs <= 0
    ended[most] = True  # too few draws are so far apart to go on
    count = ended.argmax(0)  # K
    shrinking = np.minimum.accumulate(pairs, axis=0)
    summed = np.where(np.arange(most + 1)[:, None] < count, shrinking, 0).sum(0)
    column = np.arange(values.shape[2])
    next_even, next_pair = rho[2 * count, column], pairs[count, column]
    rest = np.where((next_even > 0) | (next_pair >= 0), next_even, 0)
    size = chains * number
    return size / np.maximum(-1 + 2 * summed + rest, 1 / np.log10(size))


def autocovariance(values: np.ndarray) -> np.ndarray:
    """``(chain, lag, quantity)`` of ``(chain, draw, quantity)`` at all lags, each a sum over draws divided by their
    number."""
    number = values.shape[1]
    centred = values - values.mean(1, keepdims=True)
    length = 1 << (2 * number - 1).bit_length()  # no draw meets another around the end
    spectrum = np.fft.rfft(centred, length, axis=1)
    return np.fft.irfft(np.abs(spectrum) ** 2, length, axis=1)[:, :number] / number

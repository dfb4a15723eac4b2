r"""How far a data set lies from the worlds that a guide was trained on.

The probabilities of a guide are those of its simulator; of cells unlike any that it has seen they mean nothing, and
nothing else in the fit can tell. Each data set is summarised by how every evidence channel is spread over its pairs,
and compared with training worlds simulated for this purpose alone.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .evidence import CHANNELS

PAIRS = 20_000  # looked at; a spread needs no more
QUANTILES = (0.02, 0.5, 0.98)
SPREADS = ("mean", "sd", *(f"{q:.0%} quantile" for q in QUANTILES))
FEATURES = tuple(f"{spread} of {channel}" for spread in SPREADS for channel in CHANNELS)
NEIGHBOURS = 5
SMALLEST_SD = 1e-3  # a feature that no world varies is not blown up beyond this
LEAST_P = 0.05  # one data set in twenty of those that a guide was trained on is called unlike them


class Distance(NamedTuple):
    """``p``: share of training worlds at least as far from the others; ``features``: those that lie furthest out, with
    how many standard deviations of the training worlds."""

    p: float
    features: tuple[tuple[str, float], ...]


def summary(evidence: Tensor) -> Tensor:
    """`FEATURES` of one data set from its evidence ``(tf, gene, channel)``, ``(feature,)``; at most `PAIRS` pairs,
    evenly."""
    pairs = evidence.flatten(0, -2).double()
    if len(pairs) > PAIRS:
        pairs = pairs[torch.linspace(0, len(pairs) - 1, PAIRS, device=pairs.device).long()]
    quantiles = torch.quantile(pairs, pairs.new_tensor(QUANTILES), dim=0)
    return torch.cat([pairs.mean(0), pairs.std(0), quantiles.flatten()])


def distance(of: Tensor, worlds: Tensor) -> Distance:
    r"""Where a data set stands among the worlds, by its mean distance to the five nearest of them.

    .. math:: p = \frac{1 + \#\{i : d_i \ge d\}}{1 + n}

    with :math:`d_i` of each world to the others: a data set of the same family has p uniform on (0, 1) (conformal,
    Vovk, Gammerman & Shafer 2005), up to that the units of the features are the worlds' own.

    Parameters
    ----------
    of
        `summary` of the data.
    worlds
        ``(world, feature)``, more than five.

    Raises
    ------
    ValueError
        Too few worlds.
    """
    if len(worlds) <= NEIGHBOURS:
        raise ValueError(f"{len(worlds)} training worlds: expected more than {NEIGHBOURS}")
    known = worlds.double().cpu().numpy()
    centre, spread = known.mean(0), np.maximum(known.std(0), SMALLEST_SD)
    known, new = (known - centre) / spread, (of.double().cpu().numpy() - centre) / spread
    among = np.linalg.norm(known[:, None] - known[None], axis=-1)
    np.fill_diagonal(among, np.inf)
    own = np.sort(among, axis=1)[:, :NEIGHBOURS].mean(1)
    far = np.sort(np.linalg.norm(known - new, axis=-1))[:NEIGHBOURS].mean()
    outmost = np.argsort(-np.abs(new))[:3]
    features = tuple((FEATURES[i], float(new[i])) for i in outmost)
    return Distance(float((1 + (own >= far).sum()) / (1 + len(own))), features)

r"""What an effect matrix says about a network as a whole: degrees, density, coregulation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .draws.intervals import LEVEL

DEGREE_COLUMNS = ("gene", "out_degree", "out_lower", "out_upper", "in_degree", "out_strength")


@dataclass(frozen=True)
class NetworkSummary:
    """Counts of a network; means over draws where there are draws.

    ``mean_out_degree`` (tables 3, 8, 9 of the DASH paper) is edges by genes, with regulators or not; ``density`` edges
    by the n (n - 1) that there could be; ``regulators`` and ``targets`` genes with an edge from or to them.
    """

    genes: int
    edges: float
    density: float
    regulators: float
    targets: float
    mean_out_degree: float
    largest_out_degree: float


def _present(effects: np.ndarray, threshold: float) -> np.ndarray:
    """(draw, source, target) which effects count: above the threshold, no gene on itself."""
    effects = np.asarray(effects)
    if effects.ndim < 2 or effects.shape[-1] != effects.shape[-2]:
        raise ValueError(f"`effects` has shape {effects.shape}: expected (*draw, gene, gene), source by target")
    if threshold < 0:
        raise ValueError(f"threshold is {threshold}: expected 0 or more")
    if bad := int((~np.isfinite(effects)).sum()):
        raise ValueError(f"`effects` has {bad} values that are not finite: pass finite effects")
    present = (np.abs(effects) > threshold).reshape(-1, *effects.shape[-2:])
    diagonal = np.arange(effects.shape[-1])
    present[:, diagonal, diagonal] = False
    return present


def degree_table(
    effects: np.ndarray, genes: Sequence[str], *, threshold: float = 0.0, level: float = LEVEL
) -> pd.DataFrame:
    """Out- and in-degree of each gene, the largest out-degree first.

    Parameters
    ----------
    effects
        ``(*draw, source, target)``, :math:`\\tilde D` of PHOENIX (`effect_matrix`) or any other; the diagonal is not
        counted.
    genes
        Names along both axes.
    threshold
        Effects of at most this size are no edges. Default 0, as in the paper: pruned effects are exactly zero.
    level
        Of the interval of the out-degree over draws.

    Returns
    -------
    DataFrame
        ``gene, out_degree, in_degree`` (means over draws), ``out_lower, out_upper`` (NaN without draws),
        ``out_strength`` (sum of absolute effects on other genes, mean over draws).

    Raises
    ------
    ValueError
        Effects that are not square or not finite, another number of genes, ``threshold`` below 0, ``level`` outside
        (0, 1).
    """
    effects = np.asarray(effects)
    present = _present(effects, threshold)
    n = present.shape[-1]
    if len(genes) != n:
        raise ValueError(f"{len(genes)} gene names for {n} genes: pass the names in the order of `effects`")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: expected between 0 and 1")
    out = present.sum(2)
    bounds = np.full((2, n), np.nan)
    if effects.ndim > 2:
        tail = (1 - level) / 2
        bounds = np.quantile(out, [tail, 1 - tail], axis=0)
    size = np.abs(effects.reshape(present.shape))
    strength = (size.sum(2) - np.diagonal(size, axis1=1, axis2=2)).mean(0)
    values = (np.asarray(genes, dtype=object), out.mean(0), *bounds, present.sum(1).mean(0), strength)
    table = pd.DataFrame(dict(zip(DEGREE_COLUMNS, values, strict=True)))
    return table.sort_values(["out_degree", "out_strength"], ascending=False, kind="stable", ignore_index=True)


def network_summary(effects: np.ndarray, *, threshold: float = 0.0) -> NetworkSummary:
    """Size and density of a network; see `degree_table` for the parameters and errors."""
    present = _present(effects, threshold)
    n, out = present.shape[-1], present.sum(2)
    edges = float(out.sum(1).mean())
    return NetworkSummary(
        genes=n,
        edges=edges,
        density=edges / max(n * (n - 1), 1),
        regulators=float((out > 0).sum(1).mean()),
        targets=float((present.sum(1) > 0).sum(1).mean()),
        mean_out_degree=edges / n,
        largest_out_degree=float(out.max(1).mean()),
    )


def coregulation(effects: np.ndarray, *, cosine: bool = False) -> np.ndarray:
    r"""``(source, source)`` how far two genes act on the same targets (figures 2 and 6 of the DASH paper).

    .. math:: C_{jk} = \sum_i |\tilde D_{ij}|\, |\tilde D_{ik}|

    The paper has no formula. Its figures' ground truth is :math:`|A||A|^\top` over sources, the same sum; their
    estimates are :math:`|W|^\top|W|` of the first layer alone, where two genes that feed one neuron coregulate even if
    nothing leaves the neuron. Here both come from effects on targets, so that truth and estimate are the same function.

    Parameters
    ----------
    effects
        ``(source, target)``; without sign, as in the paper: an activator and a repressor of one gene coregulate it.
    cosine
        Divide by the lengths of both rows, so that the diagonal is 1 (0 for genes without targets): the pattern
        without the strength.

    Raises
    ------
    ValueError
        Effects that are not a finite matrix.
    """
    size = np.abs(np.asarray(effects, dtype=np.float64))
    if size.ndim != 2 or not np.isfinite(size).all():
        raise ValueError(f"`effects` has shape {size.shape}: expected a finite matrix (source, target)")
    if cosine:
        length = np.linalg.norm(size, axis=1, keepdims=True)
        size = np.divide(size, length, out=np.zeros_like(size), where=length > 0)
    return size @ size.T

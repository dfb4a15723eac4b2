r"""Pathway influence: do the genes of a set have more influence than as many genes taken at random?"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.stats import false_discovery_control

PATHWAY_COLUMNS = ("set", "library", "genes", "score", "mean", "sd", "z", "pvalue", "bonferroni", "fdr")
LEAST_PERMUTATIONS = 1000  # the paper's K
SIGNIFICANT = 0.05  # family-wise, as in the paper; sets how many permutations are needed
BLOCK = 16_000_000  # numbers held at once


def pathway_influence(
    scores: pd.Series,
    gene_sets: Mapping[str, Mapping[str, Sequence[str]]],
    *,
    permutations: int | None = None,
    min_size: int = 5,
    max_size: int = 500,
    annotated_only: bool = True,
    seed: int = 0,
) -> pd.DataFrame:
    r"""Test the summed influence of each gene set against permutations of the scores (DASH paper, B.8.2).

    .. math:: \mathrm{PS}_p = \sum_{j \in p} \mathrm{IS}_j, \qquad
              p = \frac{1 + \sum_{k=1}^K \mathbb{1}[\mathrm{PS}^0_{p,k} \ge \mathrm{PS}_p]}{K + 1}, \qquad
              z = \frac{\mathrm{PS}_p - \mu_0}{\sigma_0}

    The same K permutations serve all sets, in one matrix product of memberships and permuted scores, so sets that
    share genes keep their dependence under the null.

    The paper's p is :math:`r/K` with :math:`>`. Under the null the observed score is one of K + 1 exchangeable ones, so
    that :math:`(r + 1)/(K + 1)` is a valid p-value, while :math:`r/K` is too small and often 0, which no finite number
    of permutations can show and which passes any correction for multiple tests. As no p is below
    :math:`1/(K + 1)`, K = 1,000 cannot reach 0.05 after Bonferroni with more than 50 sets: hence the default.

    :math:`\mu_0` and :math:`\sigma_0` are exact, the limit of the paper's estimates from its permutations: for k of n
    genes drawn without replacement

    .. math:: \mu_0 = k \bar s, \qquad \sigma_0^2 = \frac{k (n - k)}{n - 1} \cdot \frac1n \sum_j (s_j - \bar s)^2 .

    Parameters
    ----------
    scores
        Influence (or any other score) of each gene, indexed by gene; e.g.
        ``influence_table(...).set_index("gene")["influence"]``.
    gene_sets
        By library, set name → genes (`read_gmt`).
    permutations
        K. Default: 1,000 as in the paper, or as many as let a set pass Bonferroni at 0.05 if that is more (20 for each
        set).
    min_size, max_size
        Sets with fewer or more scored genes are left out. Default 5 and 500, usual for such tests: a few genes say
        little, and sets of most genes nothing.
    annotated_only
        Permute only among genes that some set holds, as the authors' program does; well-studied genes would otherwise
        win against genes about which nothing is known.
    seed
        Of the permutations.

    Returns
    -------
    DataFrame
        ``set, library, genes`` (scored members), ``score`` (PS), ``mean, sd`` (under the null), ``z`` (0 where sd is
        0), ``pvalue`` (one-sided: higher than chance), ``bonferroni, fdr`` (adjusted for all rows; fdr after Benjamini
        & Hochberg 1995). Largest z first.

    Raises
    ------
    ValueError
        Scores that are not finite, genes that occur twice, no set of the wanted size, or numbers out of range.

    Examples
    --------
    >>> scores = pd.Series({"A": 3.0, "B": 2.0, "C": 0.1, "D": 0.0, "E": 0.2})
    >>> sets = {"mine": {"high": ["A", "B"], "low": ["C", "D", "E"]}}
    >>> pathway_influence(scores, sets, min_size=2)[["set", "score"]].values.tolist()
    [['high', 5.0], ['low', 0.30000000000000004]]
    """
    if not 1 <= min_size <= max_size:
        raise ValueError(f"min_size={min_size}, max_size={max_size}: expected 1 <= min_size <= max_size")
    if permutations is not None and permutations < 1:
        raise ValueError(f"permutations is {permutations}: expected at least 1")
    if bad := int((~np.isfinite(scores.to_numpy(dtype=np.float64))).sum()):
        raise ValueError(f"{bad} of {len(scores)} scores are not finite: leave those genes out")
    if twice := sorted(set(scores.index[scores.index.duplicated()].astype(str))):
        raise ValueError(f"{len(twice)} genes have several scores, first {twice[:3]}: average or rename them")
    if annotated_only:
        known = {gene for sets in gene_sets.values() for genes in sets.values() for gene in genes}
        scores = scores[[gene in known for gene in scores.index]]
    names, member = _members(scores.index, gene_sets, min_size, max_size)
    s = scores.to_numpy(dtype=np.float64)
    size, score = member.sum(1), member @ s
    n = len(s)
    mean = size * s.mean()
    sd = np.sqrt(size * (n - size) / max(n - 1, 1) * s.var())
    z = np.divide(score - mean, sd, out=np.zeros_like(score), where=sd > 1e-12 * np.abs(s).sum())
    wanted = permutations or max(LEAST_PERMUTATIONS, math.ceil(len(names) / SIGNIFICANT))
    pvalue = (_exceedances(s, member, score, wanted, seed) + 1) / (wanted + 1)
    table = pd.DataFrame(
        {
            "set": [name for name, _ in names],
            "library": [library for _, library in names],
            "genes": size.astype(int),
            "score": score,
            "mean": mean,
            "sd": sd,
            "z": z,
            "pvalue": pvalue,
            "bonferroni": np.minimum(pvalue * len(names), 1.0),
            "fdr": false_discovery_control(pvalue),
        }
    )
    return table.sort_values("z", ascending=False, kind="stable", ignore_index=True)


def _members(
    genes: pd.Index, gene_sets: Mapping[str, Mapping[str, Sequence[str]]], least: int, most: int
) -> tuple[list[tuple[str, str]], csr_array]:
    """(name, library) of the sets of the wanted size, and their 0/1 memberships (set, gene)."""
    place = {gene: i for i, gene in enumerate(genes)}
    names, columns = [], []
    for library, sets in gene_sets.items():
        for name, listed in sets.items():
            found = sorted({place[gene] for gene in listed if gene in place})
            if least <= len(found) <= most:
                names.append((name, library))
                columns.append(found)
    if not names:
        number = sum(len(sets) for sets in gene_sets.values())
        raise ValueError(
            f"none of {number} gene sets has {least} to {most} of the {len(place)} scored genes: use one kind of gene "
            "names, or change `min_size` and `max_size`"
        )
    ends = np.cumsum([0, *map(len, columns)])
    return names, csr_array((np.ones(ends[-1]), np.concatenate(columns), ends), shape=(len(names), len(place)))


def _exceedances(s: np.ndarray, member: csr_array, score: np.ndarray, number: int, seed: int) -> np.ndarray:
    """(set,) how many of ``number`` permutations give a set its score or more."""
    rng = np.random.default_rng(seed)
    reached = score - 1e-10 * np.abs(s).sum()  # a tie is a tie, whatever the order in which numbers were added
    count = np.zeros(len(score), dtype=np.int64)
    block = max(1, BLOCK // (len(s) + len(score)))
    for first in range(0, number, block):
        columns = np.tile(s[:, None], (1, min(block, number - first)))
        null = member @ rng.permuted(columns, axis=0, out=columns)  # (set, permutation)
        count += (null >= reached[:, None]).sum(1)
    return count

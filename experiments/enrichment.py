"""Which known gene sets an unlabelled program resembles."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtr

from ..inference import Posterior

ENRICHMENT_COLUMNS = ("program", "set", "library", "genes", "auc", "pvalue", "fdr", "direction")
ONE_SIDED = 1 / 3  # of the members' absolute loading, twice as much has one sign as the other


def enrich(
    loadings: Posterior | pd.DataFrame,
    gene_sets: Mapping[str, Mapping[str, Sequence[str]]],
    *,
    min_overlap: int = 5,
) -> pd.DataFrame:
    r"""Test every gene set in every unlabelled program: do its genes have larger loadings than the other genes?

    One-sided Mann-Whitney test on :math:`|W_{kg}|` of the n members among N genes, with mean ranks R,

    .. math:: U = \sum_{g \in S} R_g - n (n + 1) / 2, \qquad \mathrm{AUC} = U / \{n (N - n)\},

    its p-value by the normal approximation with the correction for ties and continuity (scipy's ``asymptotic``). The
    test takes genes as independent; genes of a set are co-expressed, so read small p-values as a ranking.

    Parameters
    ----------
    loadings
        A posterior (its factors without a gene set are tested), or a table ``program, gene, loading`` (all are).
    gene_sets
        By library, set name → genes.
    min_overlap
        Sets with fewer measured genes are left out. Default 5: below it the normal approximation is poor.

    Returns
    -------
    DataFrame
        ``program, set, library, genes`` (measured members), ``auc, pvalue, fdr`` (Benjamini & Hochberg 1995, over all
        rows), ``direction``: positive or negative where one sign has at least twice the absolute loading of the other
        among the members, else mixed. Smallest p-value first within each program.

    Raises
    ------
    ValueError
        ``min_overlap`` below 1; no set has that many measured genes.

    Examples
    --------
    >>> table = pd.DataFrame({"program": "factor_1", "gene": list("ABCDEF"), "loading": [3, 2, 2, 0.1, 0, -0.2]})
    >>> enrich(table, {"mine": {"first": ["A", "B", "C"]}}, min_overlap=3)["auc"].item()
    1.0
    """
    if min_overlap < 1:
        raise ValueError(f"`min_overlap` is {min_overlap}: expected at least 1")
    table = loadings if isinstance(loadings, pd.DataFrame) else _unlabelled(loadings)
    programs = list(dict.fromkeys(table["program"]))
    if not programs:
        return pd.DataFrame(columns=list(ENRICHMENT_COLUMNS))
    wide = table.pivot_table(index="program", columns="gene", values="loading", aggfunc="first").loc[programs]
    place = {str(gene): i for i, gene in enumerate(wide.columns)}
    names, columns = [], []
    for library, sets in gene_sets.items():
        for name, genes in sets.items():
            found = sorted({place[gene] for gene in genes if gene in place})
            if min_overlap <= len(found) < len(place):
                names.append((name, library))
                columns.append(found)
    if not names:
        number = sum(len(sets) for sets in gene_sets.values())
        raise ValueError(
            f"enrichment: none of {number} gene sets has {min_overlap} of the {len(place)} measured genes: use one "
            "kind of gene names, or lower `min_overlap` (--min-overlap)"
        )
    member = np.zeros((len(place), len(names)))
    for s, found in enumerate(columns):
        member[found, s] = 1.0
    values = wide.to_numpy(dtype=np.float64)
    auc, pvalue = rank_test(np.abs(values), member)
    size = np.abs(values) @ member
    balance = np.divide(values @ member, size, out=np.zeros_like(size), where=size > 0)
    direction = np.where(balance >= ONE_SIDED, "positive", np.where(balance <= -ONE_SIDED, "negative", "mixed"))
    count = len(names)
    result = pd.DataFrame(
        {
            "program": np.repeat(np.asarray(programs, dtype=object), count),
            "set": [name for name, _ in names] * len(programs),
            "library": [library for _, library in names] * len(programs),
            "genes": np.tile(member.sum(0).astype(int), len(programs)),
            "auc": auc.ravel(),
            "pvalue": pvalue.ravel(),
            "fdr": adjusted(pvalue.ravel()),
            "direction": direction.ravel(),
        }
    )
    order = np.lexsort((-result["auc"], result["pvalue"], np.repeat(np.arange(len(programs)), count)))
    return result.iloc[order].reset_index(drop=True)


def _unlabelled(posterior: Posterior) -> pd.DataFrame:
    """Loadings of the factors without a gene set."""
    factors = posterior.factors()
    free = set(factors.loc[factors["library"] == "", "program"])
    programs = posterior.programs()
    return programs[programs["program"].isin(free)]


def rank_test(values: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUC and one-sided p-value, each (row, set), of ``values`` (row, gene) in the sets ``member`` (gene, set)."""
    number = values.shape[1]
    ranks = mean_ranks(values)
    inside = member.sum(0)
    outside = number - inside
    U = ranks @ member - inside * (inside + 1) / 2
    ties = np.array([(c**3 - c).sum() for c in (np.unique(row, return_counts=True)[1] for row in values)])
    variance = inside * outside / 12 * ((number + 1) - ties[:, None] / (number * (number - 1)))
    excess = U - inside * outside / 2 - 0.5
    z = np.divide(excess, np.sqrt(variance), out=np.full_like(excess, -0.5), where=variance > 0)
    return U / (inside * outside), np.where(variance > 0, ndtr(-z), 1.0)


def adjusted(pvalue: np.ndarray) -> np.ndarray:
    """``(row,)`` the smallest rate at which each row would be in Benjamini & Hochberg's list. `scipy.stats`, which has
    it and `mean_ranks`, takes half a second to import."""
    order = np.argsort(pvalue)
    number = len(pvalue)
    steps = np.minimum.accumulate((pvalue[order] * number / np.arange(1, number + 1))[::-1])[::-1]
    found = np.empty(number)
    found[order] = steps.clip(0, 1)
    return found


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """``(row, column)`` the place of each value in its row, from 1, equal values at the mean of their places."""
    ranks = np.empty(values.shape)
    for row, rank in zip(values, ranks, strict=True):
        _, place, count = np.unique(row, return_inverse=True, return_counts=True)
        rank[:] = (np.cumsum(count) - 0.5 * (count - 1))[place]
    return ranks

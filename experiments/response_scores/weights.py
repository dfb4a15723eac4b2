"""An edge table as weights of regulators on the genes that were measured."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..matching import evidence_rank, named_pairs, numbers, without_empty

MOST_EDGES = 50_000  # of a network, as geneRNIB cuts it
FEW, MANY = 25, 75  # percentiles over the networks compared, of how many edges of a gene count, as there


def network_weights(
    edges: pd.DataFrame, genes: Sequence[str], *, tfs: Sequence[str] | None = None, top: int = MOST_EDGES
) -> np.ndarray:
    r"""``(source gene, gene)`` float64 weights of the ``top`` best edges of a table, zero elsewhere.

    Best by ``inclusion``, ties by \|weight\|, where the table has it, else by \|weight\|: the list that a reader of
    the table would take. Pairs with one gene twice and ends that are not among ``genes`` are left out, rows of one pair
    averaged. A table without weights has the weight one everywhere.

    Raises
    ------
    ValueError
        Missing columns, weights that are no numbers, ``top`` below 1, or no edge among these genes.
    """
    if top < 1:
        raise ValueError(f"top is {top}; expected at least 1 edge.")
    edges = without_empty(edges)
    pairs = named_pairs(edges, "edge table")
    pairs["weight"] = numbers(edges, "weight", "edge table") if "weight" in edges.columns else 1.0
    evidence = [name for name in ("inclusion", "weight") if name in edges.columns] or ["weight"]
    for column in evidence:
        pairs[column] = numbers(edges, column, "edge table") if column in edges.columns else 1.0
    position = {gene: i for i, gene in enumerate(genes)}
    known = pairs["source"].isin(set(genes if tfs is None else tfs) & set(genes)) & pairs["target"].isin(position)
    pairs = pairs[known & (pairs["source"] != pairs["target"])]
    pairs = pairs.groupby(["source", "target"], sort=True, as_index=False).mean()
    pairs = pairs[pairs["weight"] != 0]
    if pairs.empty:
        raise ValueError(
            f"no edge of the table has both ends among the {len(position)} genes of the cells"
            f"{'' if tfs is None else ' and its source among the regulators'}: are the names of one kind?"
        )
    order = np.argsort(-evidence_rank(pairs[["source", "target", *evidence]]), kind="stable")[:top]
    pairs, found = pairs.iloc[order], np.zeros((len(position), len(position)))
    found[pairs["source"].map(position), pairs["target"].map(position)] = pairs["weight"]
    return found


def most(weight: np.ndarray, number: int) -> np.ndarray:
    r"""Positions of at most ``number`` non-zero entries of a ``(gene,)`` vector, the largest \|weight\| first."""
    order = np.argsort(-np.abs(weight), kind="stable")[: int(np.count_nonzero(weight))]
    return order[:number]

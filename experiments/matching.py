"""Laying an edge table and a known network over one universe of pairs, and saying what did not fit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..priors.alignment import rename_hint

NOT_USED = {
    "truth_duplicates": "known edges listed again",
    "truth_self": "known self-edges",
    "truth_outside": "known edges outside these regulators and genes",
    "edges_self": "self-pairs of the table",
    "edges_outside": "rows of the table by other regulators",
    "tfs_absent": "regulators without a row in the table",
}
"""What of the truth and the table was not used, in words."""


@dataclass(frozen=True)
class Matching:
    """What of two tables was used and what was not; all are counts.

    Attributes
    ----------
    num_tfs, num_targets, num_pairs
        Size of the universe, TFs × targets without self-pairs.
    num_true
        True edges inside it.
    truth_duplicates, truth_self, truth_outside
        Truth rows dropped: repeated, self-loops, distinct edges with an end outside the universe.
    edges_self, edges_outside
        Rows of the edge table dropped: self-pairs, and rows whose source is not among the regulators scored.
    tfs_absent
        Regulators scored for which the edge table has no row: all their pairs rank last.
    """

    num_tfs: int
    num_targets: int
    num_pairs: int
    num_true: int
    truth_duplicates: int
    truth_self: int
    truth_outside: int
    edges_self: int
    edges_outside: int
    tfs_absent: int

    def __str__(self) -> str:
        universe = f"{self.num_true} true edges among {self.num_pairs} pairs"
        dropped = ", ".join(f"{getattr(self, name)} {what}" for name, what in NOT_USED.items() if getattr(self, name))
        return f"{universe} ({self.num_tfs} TFs x {self.num_targets} targets); not used: {dropped or 'nothing'}"


@dataclass(frozen=True)
class ScoredPairs:
    """An edge table and a truth aligned over the universe; every array is (pair,).

    Attributes
    ----------
    target
        Code of the pair's target, 0 … number of targets − 1.
    score
        Dense rank of the evidence, 0 for none (:func:`evidence_rank`).
    true
        Whether the edge exists.
    true_sign
        +1, −1, or 0 where there is no edge or its sign is unknown.
    weight, inclusion
        Of the edge table, 0 for pairs it does not list.
    true_weight
        Of the known network, where it has weights.
    reverse
        Position of the pair with its ends exchanged, −1 where it is none (its target is no regulator).
    matching
        What was not used of either table.
    """

    target: np.ndarray
    score: np.ndarray
    true: np.ndarray
    true_sign: np.ndarray
    weight: np.ndarray | None
    inclusion: np.ndarray | None
    true_weight: np.ndarray | None
    reverse: np.ndarray
    matching: Matching


def named_pairs(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Return the columns ``source, target`` as strings on a fresh index; `kind` names the table in errors.

    Raises
    ------
    ValueError
        A missing column, no rows, or an empty name.
    """
    absent = [column for column in ("source", "target") if column not in table.columns]
    if absent:
        raise ValueError(f"The {kind} has no column {absent}; found {list(table.columns)}. Rename to source, target.")
    if not len(table):
        raise ValueError(f"The {kind} is empty; expected at least one row of source, target.")
    pairs = table[["source", "target"]].reset_index(drop=True)
    if pairs.isna().any(axis=None):
        raise ValueError(f"The {kind} has rows without a source or target name; remove those rows.")
    return pairs.astype(str)


def numbers(table: pd.DataFrame, column: str, kind: str) -> np.ndarray:
    """Return a column as float64, refusing what is not a finite number with the first such row."""
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=float)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        found = table[column].iloc[row]
        raise ValueError(f"Column {column!r} of the {kind} holds {found!r} in row {row}; expected finite numbers.")
    return values


def without_empty(edges: pd.DataFrame) -> pd.DataFrame:
    r"""The table of a point estimate, whose columns of probabilities are empty, without ``inclusion``: it is ranked
    by \|weight\|."""
    if "inclusion" in edges.columns and "weight" in edges.columns and edges["inclusion"].isna().all() and len(edges):
        return edges.drop(columns="inclusion")
    return edges


def evidence_rank(edges: pd.DataFrame, *, score: str | None = None) -> np.ndarray:
    r"""Return dense ranks (row,) of an edge table's evidence: larger is more, ties share a rank, 0 is none.

    Parameters
    ----------
    edges
        An edge table.
    score
        Column to rank by, non-negative, larger meaning more evidence; ``"weight"`` ranks by its magnitude. Default:
        ``inclusion`` with ties broken by \|weight\| where the table has it, else \|weight\|.

    Raises
    ------
    ValueError
        No such column, or negative or non-finite values.
    """
    edges = without_empty(edges)
    columns = [score] if score else [column for column in ("inclusion", "weight") if column in edges.columns]
    if not columns or columns[0] not in edges.columns:
        wanted = repr(score) if score else "'inclusion' or 'weight'"
        raise ValueError(f"The edge table has no column {wanted}; found {list(edges.columns)}. Name one with `score=`.")
    keys = []
    for column in columns:
        key = numbers(edges, column, "edge table")
        keys.append(np.abs(key) if column == "weight" else key)
        if keys[-1].min(initial=0.0) < 0:
            raise ValueError(f"Column {column!r} reaches down to {key.min():g}; a score must not be negative.")
    order = np.lexsort(keys[::-1])  # lexsort's last key is its first criterion
    differs = np.zeros(len(order), dtype=bool)
    nothing = np.ones(len(order), dtype=bool)
    for key in keys:
        differs[1:] |= np.diff(key[order]) != 0
        nothing &= key == 0
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.cumsum(differs)
    return rank if nothing.any() else rank + 1


def align(
    edges: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    tfs: Sequence[str] | None = None,
    restrict_to_truth_regulators: bool = False,
    score: str | None = None,
) -> ScoredPairs:
    """Lay an edge table and a truth over TFs × targets of the edge table without self-pairs.

    Parameters
    ----------
    edges
        ``source, target`` and evidence (:func:`evidence_rank`), one row per pair; pairs not listed rank last.
    truth
        ``source, target`` [, ``sign``, ``weight``], the edges that exist; of repeated rows the first stands.
    tfs
        Regulators of the universe; default the sources of `edges`.
    restrict_to_truth_regulators
        Keep only regulators with an edge in the truth.
    score
        See :func:`evidence_rank`.

    Raises
    ------
    ValueError
        Missing columns, empty tables, repeated pairs in `edges`, values not finite or out of range, `tfs` without any
        row in `edges`, or no true edge in the universe (with the likely cause).
    """
    edges = without_empty(edges)
    listed, known = named_pairs(edges, "edge table"), named_pairs(truth, "truth")
    rank = evidence_rank(edges, score=score)
    duplicated = known.duplicated().to_numpy()
    looped = (known["source"] == known["target"]).to_numpy() & ~duplicated
    kept = ~duplicated & ~looped
    known = known[kept]
    if not len(known):
        raise ValueError("The truth holds nothing but self-loops; expected edges between different genes.")

    targets = pd.Index(pd.unique(listed["target"]))
    candidates = pd.Index(
        pd.unique(listed["source"] if tfs is None else pd.Series(list(tfs), dtype=object).astype(str))
    )
    sources = pd.Index(pd.unique(listed["source"]))  # pandas 3 looks at every value that it is given, one by one
    if not candidates.isin(sources).any():
        raise ValueError(f"None of the {len(candidates)} `tfs` is a source in the edge table; check their names.")
    regulators = candidates[candidates.isin(pd.unique(known["source"]))] if restrict_to_truth_regulators else candidates

    def place(pairs: pd.DataFrame, tfs: pd.Index) -> np.ndarray:
        """Position in the flattened TF × target grid, −1 outside."""
        row, column = tfs.get_indexer(pd.Index(pairs["source"])), targets.get_indexer(pd.Index(pairs["target"]))
        return np.where((row >= 0) & (column >= 0), row * len(targets) + column, -1)

    known_at = place(known, regulators)
    found = known_at >= 0
    if not found.any():
        raise ValueError(_no_overlap(known, candidates, targets))
    _refuse_repeats(listed)
    self_pair = (listed["source"] == listed["target"]).to_numpy()
    listed_at = place(listed, regulators)
    inside = (listed_at >= 0) & ~self_pair

    is_pair = np.ones(len(regulators) * len(targets), dtype=bool)  # the grid without its self-pairs
    own = targets.get_indexer(regulators)
    is_pair[np.flatnonzero(own >= 0) * len(targets) + own[own >= 0]] = False

    def spread(values: np.ndarray, at: np.ndarray) -> np.ndarray:
        grid = np.zeros(len(is_pair), dtype=values.dtype)
        grid[at] = values
        return grid[is_pair]

    def of_edges(column: str) -> np.ndarray | None:
        if column not in edges.columns:
            return None
        return spread(numbers(edges, column, "edge table")[inside], listed_at[inside])

    def of_truth(column: str) -> np.ndarray | None:
        return numbers(truth, column, "truth")[kept][found] if column in truth.columns else None

    inclusion = of_edges("inclusion")
    if inclusion is not None and (inclusion.min() < 0 or inclusion.max() > 1):
        raise ValueError(f"inclusion runs from {inclusion.min():g} to {inclusion.max():g}; expected values in [0, 1].")
    at, true_weight, sign = known_at[found], of_truth("weight"), of_truth("sign")
    if true_weight is not None and (true_weight == 0).any():
        zeros = int((true_weight == 0).sum())
        raise ValueError(f"The truth lists {zeros} edges of weight 0; remove them, a truth lists the edges that exist.")
    if sign is None:
        sign = np.zeros(len(at)) if true_weight is None else true_weight
    row, column = np.divmod(np.flatnonzero(is_pair), len(targets))
    back = regulators.get_indexer(targets)[column]
    exchanged = back * len(targets) + own[row]
    number = np.cumsum(is_pair) - 1
    return ScoredPairs(
        target=column,
        score=spread(rank[inside], listed_at[inside]),
        true=spread(np.ones(len(at), dtype=bool), at),
        true_sign=spread(np.sign(sign), at),
        weight=of_edges("weight"),
        inclusion=inclusion,
        true_weight=None if true_weight is None else spread(true_weight, at),
        reverse=np.where((back >= 0) & (own[row] >= 0), number[np.maximum(exchanged, 0)], -1),
        matching=Matching(
            num_tfs=len(regulators),
            num_targets=len(targets),
            num_pairs=int(is_pair.sum()),
            num_true=len(at),
            truth_duplicates=int(duplicated.sum()),
            truth_self=int(looped.sum()),
            truth_outside=int((~found).sum()),
            edges_self=int(self_pair.sum()),
            edges_outside=int(((listed_at < 0) & ~self_pair).sum()),
            tfs_absent=int((~regulators.isin(sources)).sum()),
        ),
    )


def _refuse_repeats(listed: pd.DataFrame) -> None:
    repeated = listed.duplicated()
    if repeated.any():
        pair = " -> ".join(listed[repeated].iloc[0])
        raise ValueError(f"The edge table repeats {int(repeated.sum())} pairs, e.g. {pair}; keep one row per pair.")


def _no_overlap(truth: pd.DataFrame, tfs: pd.Index, targets: pd.Index) -> str:
    """Say in one line why no true edge lies in the universe."""
    start = f"None of the {len(truth)} true edges lies among {len(tfs)} TFs x {len(targets)} targets of the edge table"
    example = f"truth has {truth['source'].iloc[0]} -> {truth['target'].iloc[0]}, edges {tfs[0]} -> {targets[0]}"
    if (truth["target"].isin(tfs) & truth["source"].isin(targets)).any():
        return f"{start}: source and target look swapped in one of the tables ({example})."
    source, target = truth["source"].str.upper(), truth["target"].str.upper()
    if (source.isin(tfs.str.upper()) & target.isin(targets.str.upper())).any():
        return f"{start}: gene names differ in upper and lower case ({example}); bring both to one case."
    names = [*truth["source"], *truth["target"]]
    renamed = rename_hint(list(dict.fromkeys(names)), [*tfs, *targets])
    if renamed is not None:
        return f"{start}. {renamed}"
    return f"{start}: different names or species, or the truth's regulators were not scored ({example})."

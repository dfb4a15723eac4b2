"""Edges that a table lists more than once: merged, refused, or rows of several networks that belong apart."""

import re

import numpy as np
import pandas as pd

DUPLICATES = ("error", "mean", "conflict", "networks")
# columns in which the rows of one edge differ because they are several pieces of evidence for it
EVIDENCE = re.compile(
    r"pmid|pubmed|ref|doi|cit|evid|database|^db|_db|resource|curat|score|val|prob|weight|importance|rank|motif|peak|chr|"
    r"start|stop|end|strand|seq|dist|count|^n_|^id$|_id$|unnamed|row|index|column|sign|mode|mor|type|effect|function|"
    r"regulation|interaction|direction|action|stimulation|inhibition",
    re.IGNORECASE,
)


def splitting_column(frame: pd.DataFrame, pairs: pd.DataFrame) -> str | None:
    """A column that differs between the rows of most repeated pairs, and not because evidence does (references, scores,
    positions): it names the networks that one file holds. None where there is none.

    Parameters
    ----------
    frame
        Columns to look at, one row for each of ``pairs`` (``source``, ``target``).
    """
    keys = ["source", "target"]
    again = pairs.duplicated(keys, keep=False).to_numpy()
    for column in frame:
        if EVIDENCE.search(str(column)):
            continue
        groups = pairs.loc[again, keys].assign(value=frame[column][again]).groupby(keys, sort=False)["value"]
        if bool((groups.agg("nunique") > 1).mean() > 0.5):
            return str(column)
    return None


def conflicts(edges: pd.DataFrame) -> np.ndarray:
    """Rows, as bool, of pairs of which some rows say + and some -."""
    groups = edges.groupby(["source", "target"], sort=False)["sign"]
    return (groups.transform("min").to_numpy() < 0) & (groups.transform("max").to_numpy() > 0)


def merge_repeated(edges: pd.DataFrame) -> pd.DataFrame:
    """One row per pair: mean probability, the sign on which all signed rows agree, evidence joined by semicolons."""
    groups = edges.groupby(["source", "target"], sort=False)
    signs = groups["sign"]
    merged = groups["probability"].mean().to_frame()
    lowest, highest = signs.min(), signs.max()
    merged["sign"] = np.where(lowest * highest < 0, 0, lowest + highest).clip(-1, 1).astype(np.int8)
    tags = edges.drop_duplicates(["source", "target", "evidence"]).groupby(["source", "target"], sort=False)["evidence"]
    merged["evidence"] = tags.agg(";".join)
    return merged.reset_index()


def merged_note(edges: pd.DataFrame, repeated: np.ndarray) -> str:
    """What is said of rows that were merged."""
    torn = edges[conflicts(edges)].drop_duplicates(["source", "target"])
    number = int(repeated.sum())
    note = (
        "1 row repeats an edge and was merged into it"
        if number == 1
        else f"{number} rows repeat an edge and were merged into it"
    )
    if len(torn):
        source, target = torn[["source", "target"]].iloc[0]
        edges_have = "1 edge has" if len(torn) == 1 else f"{len(torn)} edges have"
        kept = "keeps" if len(torn) == 1 else "keep"
        note += f"; {edges_have} rows of either sign and {kept} none, e.g. {source} -> {target}"
    return note

"""PANDA's files (motif, PPI, output) and tables of protein interactions."""

from pathlib import Path

import numpy as np
import pandas as pd

from .columns import mark_used
from .edges import PPI_COLUMNS, read_table
from .files import RawFile, is_number, numbers, parse_table, shorten, write_table
from .headerless import are_identifiers
from .weights import TINY

STRING_UNIT = 1000.0  # STRING writes its probabilities as whole numbers of thousandths


def _headerless_triples(raw: RawFile) -> bool:
    if raw.header or len(raw.first) != 3 or not is_number(raw.first[2]):
        return False
    return not all(map(is_number, raw.first)) or are_identifiers(raw.rows)


def _looks_like_ppi(raw: RawFile) -> bool | None:
    """True or False where the file's name or content tells, None where motif and PPI cannot be told apart.

    TFs are few and targets many, so the names of a motif's two columns overlap little; the proteins of a PPI fill both.
    """
    name = raw.path.name.lower()
    if "ppi" in name or "motif" in name:
        return "ppi" in name
    cells = [line.split(None if raw.separator == r"\s+" else raw.separator) for line in raw.text.splitlines()]
    first, second = ({row[i] for row in cells if len(row) == 3} for i in (0, 1))
    alike = len(first & second) > 0.2 * len(first | second)
    binary = all(row[2].strip() in ("0", "1", "0.0", "1.0") for row in cells if len(row) == 3)
    return False if binary and not alike else None


def is_panda_motif(raw: RawFile) -> bool:
    """Headerless TF, gene, weight that does not look like protein interactions."""
    return _headerless_triples(raw) and _looks_like_ppi(raw) is not True


def is_panda_ppi(raw: RawFile) -> bool:
    """Headerless protein, protein, weight."""
    return _headerless_triples(raw) and _looks_like_ppi(raw) is not False


def _read_triples(raw: RawFile) -> pd.DataFrame:
    table = parse_table(raw, text_columns=("source", "target"), columns=("source", "target", "weight"))
    return table.assign(weight=numbers(raw, table, "weight"))


def read_panda_motif(raw: RawFile) -> pd.DataFrame:
    """Zeros say that the motif was looked for and not found: no edge."""
    return _read_triples(raw)


def write_panda_motif(frame: pd.DataFrame, path: Path) -> None:
    """Tab separated, no header, 1 for every edge."""
    write_table(path, frame[["source", "target"]].assign(motif=1), separator="\t", header=False)


def both_directions(pairs: pd.DataFrame) -> pd.DataFrame:
    """A protein pair has no direction: each stands for two edges (a self pair for one), once each."""
    turned = pairs[pairs["source"] != pairs["target"]].rename(columns={"source": "target", "target": "source"})
    both = pd.concat([pairs, turned[pairs.columns]], ignore_index=True)
    listed_both_ways = both.duplicated([c for c in both.columns if c in ("source", "target", "weight")])
    return both.loc[~listed_both_ways].reset_index(drop=True)


def unordered_pairs(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per unordered pair with the mean probability of its directions."""
    turned = (frame["source"] > frame["target"]).to_numpy()
    pairs = pd.DataFrame(
        {
            "gene1": np.where(turned, frame["target"], frame["source"]),
            "gene2": np.where(turned, frame["source"], frame["target"]),
            "weight": frame["probability"].to_numpy(),
        }
    )
    return pairs.groupby(["gene1", "gene2"], sort=False)["weight"].mean().reset_index()


def read_panda_ppi(raw: RawFile) -> pd.DataFrame:
    """Symmetrised, as PANDA does."""
    return both_directions(_read_triples(raw))


def write_panda_ppi(frame: pd.DataFrame, path: Path) -> None:
    """Tab separated, no header, every pair once."""
    write_table(path, unordered_pairs(frame), separator="\t", header=False)


def is_ppi(raw: RawFile) -> bool:
    """A table of protein pairs with header."""
    return any(columns <= set(raw.header) for columns in PPI_COLUMNS)


def read_ppi(raw: RawFile) -> pd.DataFrame:
    """``gene1, gene2[, weight]``, symmetrised; STRING's ``combined_score`` (0 to 1000, or to 1) is the probability."""
    columns = next((sorted(c) for c in PPI_COLUMNS if c <= set(raw.header)), sorted(PPI_COLUMNS[0]))
    names = dict(zip(columns, ("source", "target"), strict=True))
    score = next((c for c in ("weight", "combined_score", "score") if c in raw.header), None)
    table = read_table(raw, names | ({} if score is None else {score: "weight"}))
    if score == "combined_score" and table["weight"].max() > 1.0:
        table["weight"] /= STRING_UNIT
        mark_used(table, [], "combined_score is in thousandths: divided by 1000")
    return both_directions(table)


def write_ppi(frame: pd.DataFrame, path: Path) -> None:
    """``gene1, gene2, weight``, every pair once."""
    write_table(path, unordered_pairs(frame))


def is_panda_output(raw: RawFile) -> bool:
    """``tf, gene, motif, force`` with its header, or (older netZooPy) without."""
    four = len(raw.first) == 4 and not raw.header and is_number(raw.first[2]) and is_number(raw.first[3])
    return {"tf", "gene", "force"} <= {c.lower() for c in raw.header} or four


def read_panda_output(raw: RawFile) -> pd.DataFrame:
    r"""``force`` is on a scale like a z-score and negative where PANDA sees no edge, so not a sign.

    It is taken as log-odds: :math:`p = 1 / (1 + e^{-force})`.
    """
    layout = ("tf", "gene", "motif", "force")
    names = {c: c.lower() for c in raw.header}
    table = parse_table(
        raw,
        text_columns=[c for c in raw.header or layout if c.lower() in ("tf", "gene")],
        columns=None if raw.header else layout,
    )
    table = table.rename(columns=names)
    lacking = {"tf", "gene", "force"} - set(table)
    if lacking:
        raise raw.fail(f"lacks column(s) {shorten(sorted(lacking))}; found {shorten(raw.first, 12)}")
    force = np.clip(numbers(raw, table, "force"), -500.0, 500.0)
    probability = np.clip(1.0 / (1.0 + np.exp(-force)), TINY, 1.0 - TINY)
    return table.rename(columns={"tf": "source", "gene": "target"}).assign(probability=probability)

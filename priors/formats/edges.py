"""Edge-list formats: how each program's table is recognised, and which of its columns mean what.

A reader takes a `RawFile` to a data frame with ``source``, ``target`` and what the format knows of ``probability``,
``weight``, ``score``, ``sign``, ``confidence``, ``evidence`` (meanings: `PriorNetwork.from_edges`); other columns stay,
to choose rows by. A writer takes the five columns of `PriorNetwork.to_frame` and a path.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from .columns import SOURCE_NAMES, TARGET_NAMES, mark_used, other_column, symbol_columns
from .files import RawFile, is_number, numbers, parse_table, shorten, write_table
from .headerless import is_sif_row, sign_column
from .signs import find_sign, sign_of_correlation
from .weights import TINY, odds_map

# Names in use for the same thing, matched without regard to case; the first is ours.
SYNONYMS = {
    "source": ("source", "tf", "regulator", "regulatorygene", "transcription_factor", "from"),
    "target": ("target", "gene", "targetgene", "target_gene", "to"),
    "probability": ("probability", "prob"),
    "weight": ("weight",),
    "score": ("score", "importance", "edgeweight"),
    "sign": ("sign", "mor"),
    "confidence": ("confidence",),
    "evidence": ("evidence", "resources"),
}
PPI_COLUMNS = ({"gene1", "gene2"}, {"protein1", "protein2"}, {"node1", "node2"})


def canonical_names(raw: RawFile) -> dict[str, str]:
    """Column of the file -> our name, for those columns that have one."""
    symbols = symbol_columns(raw.header, SYNONYMS["source"], SYNONYMS["target"])
    found: dict[str, str] = dict(symbols)
    for ours, names in SYNONYMS.items():
        if ours in symbols.values():
            continue
        matches = [c for c in raw.header if c.lower() in names]
        other = {"source": SOURCE_NAMES, "target": TARGET_NAMES}.get(ours, ())
        if not matches and (column := other_column(raw.header, other, found)) is not None:
            matches = [column]
        exact = [c for c in matches if c == ours]
        if len(matches) > 1 and not exact:
            raise raw.fail(f"columns {shorten(matches)} could each be the {ours}; rename the right one to '{ours}'")
        if matches:
            found[(exact or matches)[0]] = ours
    return found


def has_edge_columns(raw: RawFile) -> bool:
    """Whether the header names a source and a target column."""
    lower = {c.lower() for c in raw.header}
    others = {"source": SOURCE_NAMES, "target": TARGET_NAMES}
    return all(
        lower.intersection(SYNONYMS[end]) or other_column(raw.header, names, ()) is not None
        for end, names in others.items()
    )


def has_columns(raw: RawFile, *columns: str) -> bool:
    """Whether the header holds all these columns, spelled exactly so."""
    return set(columns) <= set(raw.header)


def require(raw: RawFile, *columns: str) -> None:
    """Refuse a file whose header lacks one of the columns."""
    lacking = [c for c in columns if c not in raw.header]
    if lacking:
        raise raw.fail(f"lacks column(s) {shorten(lacking)}; found {shorten(raw.header or raw.first, 12)}")


def read_table(raw: RawFile, names: dict[str, str]) -> pd.DataFrame:
    """Parse with a header and rename the columns of the file to ours."""
    require(raw, *names)
    text = [c for c, ours in names.items() if ours in ("source", "target", "sign", "confidence", "evidence")]
    table = parse_table(raw, text_columns=text)
    other = [ours for c, ours in names.items() if ours in table and ours not in names]  # accessions beside symbols
    table = table.drop(columns=other).rename(columns=names)
    for column in ("probability", "weight", "score"):
        if column in table:
            table[column] = numbers(raw, table, column)
    return mark_used(table, names)


# -- plain tables ----


def read_edges(raw: RawFile) -> pd.DataFrame:
    """Any table that names its source and target columns."""
    names = canonical_names(raw)
    if not {"source", "target"} <= set(names.values()):
        raise raw.fail(
            f"needs a column 'source' (or tf, regulator) and 'target' (or gene); found {shorten(raw.first, 12)}"
        )
    return with_sign(read_table(raw, names), list(names.values()))


def with_sign(table: pd.DataFrame, taken: Sequence[str]) -> pd.DataFrame:
    """A table with the signs that one of its columns holds under another name, if any."""
    if "sign" in table:
        return table
    signs, columns, note = find_sign(table, taken)
    return table if signs is None else mark_used(table.assign(sign=signs), columns, note)


def write_edges(frame: pd.DataFrame, path: Path) -> None:
    """Our own table: everything but the network's name; tab separated when the name says tsv or txt."""
    write_table(path, frame, separator="\t" if {".tsv", ".txt"} & set(path.suffixes) else ",")


def is_posterior(raw: RawFile) -> bool:
    """The edge table of a fitted model."""
    return has_columns(raw, "source", "target", "weight", "inclusion")


def read_posterior(raw: RawFile) -> pd.DataFrame:
    """Posterior edges as the next prior: inclusion probability, and the sign of the posterior mean."""
    require(raw, "source", "target", "weight", "inclusion")
    table = parse_table(raw, text_columns=("source", "target"))
    inclusion = numbers(raw, table, "inclusion")
    outside = np.flatnonzero((inclusion < 0.0) | (inclusion > 1.0))
    if outside.size:
        raise raw.fail(f"column 'inclusion', row {outside[0] + 1} holds {inclusion[outside[0]]:g}, not a probability")
    sign = np.sign(numbers(raw, table, "weight")).astype(np.int8)
    return table[["source", "target"]].assign(probability=np.clip(inclusion, TINY, 1.0 - TINY), sign=sign)


def is_headerless(raw: RawFile) -> bool:
    """Rows of TF, target and a sign, or a weight and something else, with no header (three numbers are PANDA's)."""
    if raw.header or len(raw.first) < 3 or all(map(is_number, raw.first)):
        return False
    return sign_column(raw.rows) is not None or (
        len(raw.first) > 3 and is_number(raw.first[2]) and not all(map(is_number, raw.first[3:]))
    )


def read_headerless(raw: RawFile) -> pd.DataFrame:
    """TRRUST's and RegulonDB's lists: TF, target, then a word for the sign or a number; other columns are not used."""
    width, signs = len(raw.first), sign_column(raw.rows)
    if width < 2:
        raise raw.fail("has a single column: expected TF, target and what else is known of the edge")
    roles = {0: "source", 1: "target"}
    if signs is not None:
        roles[signs] = "sign"
    elif width > 2 and is_number(raw.first[2]):
        roles[2] = "weight"
    columns = [roles.get(i, f"column {i + 1}") for i in range(width)]
    table = parse_table(raw, text_columns=[c for c in columns if c != "weight"], columns=columns)
    if "weight" in table:
        table["weight"] = numbers(raw, table, "weight")
    return mark_used(table, roles.values())


def is_sif(raw: RawFile) -> bool:
    """Rows of TF, a word for the sign, and target, with no header."""
    return not raw.header and is_sif_row(raw.rows) and ".gmt" not in [s.lower() for s in raw.path.suffixes]


def read_sif(raw: RawFile) -> pd.DataFrame:
    """Cytoscape's simple interaction format, one target a line."""
    columns = ("source", "sign", "target")
    return mark_used(parse_table(raw, text_columns=columns, columns=columns), columns)


# -- tables of other inference programs ----


def is_arboreto(raw: RawFile) -> bool:
    """GENIE3 and GRNBoost2 as arboreto writes them."""
    return has_columns(raw, "TF", "target", "importance")


def read_arboreto(raw: RawFile) -> pd.DataFrame:
    """Importances, tab separated; an edge that is absent had importance 0. pySCENIC adds ``regulation`` and ``rho``."""
    names = {"TF": "source", "target": "target", "importance": "score"}
    table = with_sign(read_table(raw, names), list(names.values()))
    if "sign" in table:
        return table
    signs, columns, note = sign_of_correlation(table)
    return table if signs is None else mark_used(table.assign(sign=signs), columns, note)


def write_arboreto(frame: pd.DataFrame, path: Path) -> None:
    """Sorted by importance, as arboreto does."""
    table = pd.DataFrame({"TF": frame["source"], "target": frame["target"], "importance": frame["probability"]})
    write_table(path, table.sort_values("importance", ascending=False, kind="stable"), separator="\t")


def is_decoupler(raw: RawFile) -> bool:
    """Prior tables of decoupler/OmniPath: besides the edge they carry references."""
    lower = {c.lower() for c in raw.header}
    return has_columns(raw, "source", "target") and bool(lower & {"resources", "references", "sign_decision"})


def read_decoupler(raw: RawFile) -> pd.DataFrame:
    """CollecTRI, DoRothEA and the like; a table without weight means weight 1 for every edge."""
    return read_edges(raw)


def write_decoupler(frame: pd.DataFrame, path: Path) -> None:
    """Columns ``source, target, weight, resources`` with the signed probability as weight."""
    table = frame[["source", "target"]].assign(weight=signed_probability(frame), resources=frame["evidence"])
    write_table(path, table)


def signed_probability(frame: pd.DataFrame) -> np.ndarray:
    """Probability with the sign of the edge; an unknown sign counts as positive, shape (edge,)."""
    return np.where(frame["sign"] < 0, -1.0, 1.0) * frame["probability"].to_numpy()


def is_beeline_truth(raw: RawFile) -> bool:
    """``GroundTruthNetwork.csv``, formerly ``refNetwork.csv``."""
    return has_columns(raw, "Gene1", "Gene2") and "EdgeWeight" not in raw.header


def read_beeline_truth(raw: RawFile) -> pd.DataFrame:
    """``Gene1, Gene2`` and mostly ``Type`` (+ or -)."""
    names = {"Gene1": "source", "Gene2": "target"}
    names |= {"Type": "sign"} if "Type" in raw.header else {}
    return with_sign(read_table(raw, names), list(names.values()))


def write_beeline_truth(frame: pd.DataFrame, path: Path) -> None:
    """BEELINE's input; ``Type`` is left out of a network without signs."""
    table = pd.DataFrame({"Gene1": frame["source"], "Gene2": frame["target"]})
    if (frame["sign"] != 0).any():
        table["Type"] = frame["sign"].map({1: "+", -1: "-", 0: ""})
    write_table(path, table)


def is_beeline_ranked(raw: RawFile) -> bool:
    """``rankedEdges.csv``."""
    return has_columns(raw, "Gene1", "Gene2", "EdgeWeight")


def read_beeline_ranked(raw: RawFile) -> pd.DataFrame:
    """Ranking by the absolute value of ``EdgeWeight``."""
    names = {"Gene1": "source", "Gene2": "target", "EdgeWeight": "score"}
    return with_sign(read_table(raw, names), list(names.values()))


def write_beeline_ranked(frame: pd.DataFrame, path: Path) -> None:
    """Tab separated whatever the suffix, strongest edge first: BEELINE expects both."""
    table = pd.DataFrame({"Gene1": frame["source"], "Gene2": frame["target"], "EdgeWeight": signed_probability(frame)})
    order = frame["probability"].sort_values(ascending=False, kind="stable").index
    write_table(path, table.loc[order], separator="\t")


def is_celloracle_links(raw: RawFile) -> bool:
    """One cluster of CellOracle's ``Links``."""
    return has_columns(raw, "source", "target", "coef_mean")


def read_celloracle_links(raw: RawFile) -> pd.DataFrame:
    """Regression coefficients: never probabilities, also where all are below 1, so always through the odds map."""
    table = read_table(raw, {"source": "source", "target": "target", "coef_mean": "coef_mean"})
    coefficient = numbers(raw, table, "coef_mean")
    table, coefficient = table[coefficient != 0.0].reset_index(drop=True), coefficient[coefficient != 0.0]
    if table.empty:
        raise raw.fail("every 'coef_mean' is 0: there are no edges")
    return table.assign(probability=odds_map(np.abs(coefficient), 0.5), sign=np.sign(coefficient).astype(np.int8))


def is_inferelator_network(raw: RawFile) -> bool:
    """The inferelator's ``network.tsv.gz``."""
    return has_columns(raw, "target", "regulator", "combined_confidences")


def read_inferelator_network(raw: RawFile) -> pd.DataFrame:
    """Combined confidences in [0, 1]; the sign is that of the coefficients summed over bootstraps, where given."""
    table = read_table(raw, {"regulator": "source", "target": "target", "combined_confidences": "score"})
    if "beta.sign.sum" in table:
        table["sign"] = np.sign(numbers(raw, table, "beta.sign.sum")).astype(np.int8)
        table = mark_used(table, ["beta.sign.sum"])
    return with_sign(table, ["source", "target", "score"])

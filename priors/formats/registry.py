"""Every network and prior file format: one line of `FORMATS` each, found by content or forced by name."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from . import edges as edges
from . import graphs as graphs
from . import matrices as matrices
from . import others as others
from . import panda as panda
from . import scenic as scenic
from .columns import unused_note
from .files import RawFile, open_raw, shorten
from .gmt import parse_gmt, write_gmt_text
from .names import plain_names
from .spreadsheet import restore_names


@dataclass(frozen=True)
class Format:
    """A file format for networks.

    Attributes
    ----------
    name
        What ``format=`` takes.
    layout
        What is in the file, for messages and help.
    matches
        Whether an opened file looks like it.
    read
        File to a table with ``source``, ``target`` and whatever else the format knows.
    write
        The other way, or None where the file is the output of somebody's regression that an edge list cannot stand in
        for.
    loses
        What ``read(write(network))`` does not bring back (the network's name never travels).
    duplicates
        What a repeated edge means here: ``"mean"`` where repeats are normal, else ``"error"``.
    needs_names
        Whether the file may lack gene names, so that ``genes=`` is of use.
    """

    name: str
    layout: str
    matches: Callable[[RawFile], bool]
    read: Callable[[RawFile], pd.DataFrame]
    write: Callable[[pd.DataFrame, Path], None] | None = None
    loses: str = ""
    duplicates: Literal["error", "mean"] = "error"
    needs_names: bool = False


def _is_gmt(raw: RawFile) -> bool:
    return raw.kind == "text" and ".gmt" in [s.lower() for s in raw.path.suffixes]


def _read_gmt(raw: RawFile) -> pd.DataFrame:
    sets = parse_gmt(raw.text, raw.path)
    return pd.DataFrame([(name, gene) for name, genes in sets.items() for gene in genes], columns=["source", "target"])


def _write_gmt(frame: pd.DataFrame, path: Path) -> None:
    sets: dict[str, list[str]] = {}
    for source, target in zip(frame["source"], frame["target"], strict=True):
        sets.setdefault(source, []).append(target)
    write_gmt_text(sets, path, {})


# What weights, signed probabilities, can carry: they have no third value for a sign that is not known.
WEIGHT_LOSS = "evidence; unknown signs become + beside known ones, and signs are lost where none is negative"
ONLY_EDGES = "probability, sign, evidence"

FORMATS: tuple[Format, ...] = (
    Format("gmt", "set (as source), description, genes; tab", _is_gmt, _read_gmt, _write_gmt, ONLY_EDGES),
    Format(
        "genernib", "AnnData with uns['prediction']: source, target, weight",
        others.is_genernib, others.read_genernib, others.write_genernib, WEIGHT_LOSS, "mean",
    ),
    Format(
        "graphml", "GraphML with attributes of edges called as the columns of a table: Cytoscape, networkx",
        graphs.is_graphml, graphs.read_graphml, graphs.write_graphml, "the order of the edges",
    ),
    Format(
        "gexf", "GEXF, the same: Gephi, networkx", graphs.is_gexf, graphs.read_gexf, graphs.write_gexf,
        "the order of the edges",
    ),
    Format(
        "cytoscape", "json of Cytoscape (.cyjs), the same",
        graphs.is_cytoscape, graphs.read_cytoscape, graphs.write_cytoscape, "the order of the edges",
    ),
    Format(
        "posterior", "source, target, weight, ..., inclusion: a fitted model's edges.csv",
        edges.is_posterior, edges.read_posterior,
    ),
    Format(
        "arboreto", "TF, target, importance; tab",
        edges.is_arboreto, edges.read_arboreto, edges.write_arboreto, "sign, evidence, the order of the edges",
    ),
    Format(
        "pyscenic", "TF, MotifID, ..., Context, TargetGenes: regulons of pyscenic ctx, for pyscenic aucell",
        scenic.is_scenic, scenic.read_scenic, scenic.write_scenic,
        "evidence; unknown signs become +; the order of the edges",
    ),
    Format(
        "decoupler", "source, target, weight, resources/references/sign_decision",
        edges.is_decoupler, edges.read_decoupler, edges.write_decoupler, WEIGHT_LOSS.removeprefix("evidence; "),
    ),
    Format(
        "beeline-truth", "Gene1, Gene2[, Type]: GroundTruthNetwork.csv, refNetwork.csv",
        edges.is_beeline_truth, edges.read_beeline_truth, edges.write_beeline_truth, "probability, evidence", "mean",
    ),
    Format(
        "beeline-ranked", "Gene1, Gene2, EdgeWeight; tab, also when named .csv: rankedEdges.csv",
        edges.is_beeline_ranked, edges.read_beeline_ranked, edges.write_beeline_ranked,
        WEIGHT_LOSS + "; the order of the edges",
    ),
    Format(
        "celloracle-base", "peak_id, gene_short_name, a 0/1 column per TF; csv or parquet",
        matrices.is_celloracle_base, matrices.read_celloracle_base, matrices.write_celloracle_base, ONLY_EDGES,
    ),
    Format(
        "celloracle-links", "source, target, coef_mean, coef_abs, p, -logp",
        edges.is_celloracle_links, edges.read_celloracle_links,
    ),
    Format(
        "inferelator-prior", "matrix, genes in rows and TFs in columns; tab",
        matrices.is_inferelator_prior, matrices.read_inferelator_prior, matrices.write_inferelator_prior, WEIGHT_LOSS,
    ),
    Format(
        "inferelator-network", "target, regulator, combined_confidences, ...",
        edges.is_inferelator_network, edges.read_inferelator_network,
    ),
    Format(
        "panda-motif", "TF, gene, 0/1 without header; tab",
        panda.is_panda_motif, panda.read_panda_motif, panda.write_panda_motif, ONLY_EDGES,
    ),
    Format(
        "panda-ppi", "protein, protein, weight without header; tab; both directions are made",
        panda.is_panda_ppi, panda.read_panda_ppi, panda.write_panda_ppi, "direction, sign, evidence",
    ),
    Format("panda-output", "tf, gene, motif, force", panda.is_panda_output, panda.read_panda_output),
    Format(
        "ppi", "gene1, gene2[, weight] with header; both directions are made",
        panda.is_ppi, panda.read_ppi, panda.write_ppi, "direction, sign, evidence",
    ),
    Format(
        "headerless", "TF, target, sign or weight, ..., without header: TRRUST, RegulonDB",
        edges.is_headerless, edges.read_headerless, duplicates="mean",
    ),
    Format("sif", "TF, word for the sign, target, without header", edges.is_sif, edges.read_sif, duplicates="mean"),
    Format(
        "phoenix", "matrix, regulators in rows; with names, or numbers only beside a gene-name file (PHOENIX, DASH)",
        matrices.is_phoenix, matrices.read_phoenix, matrices.write_phoenix, WEIGHT_LOSS, needs_names=True,
    ),
    Format(
        "sergio", "gene, n, n regulators, n strengths, n cooperativities: SERGIO's targets file",
        others.is_sergio, others.read_sergio, needs_names=True,
    ),
    Format(
        "edges", "source (tf, regulator), target (gene) [, probability | weight | score, sign, confidence, evidence]",
        edges.has_edge_columns, edges.read_edges, edges.write_edges,
    ),
)  # fmt: skip


def format_named(name: str) -> Format:
    """The format of that name; ``ValueError`` with the known names otherwise."""
    for candidate in FORMATS:
        if candidate.name == name:
            return candidate
    raise ValueError(f"unknown format {name!r}; known formats: {', '.join(f.name for f in FORMATS)}")


def detect(raw: RawFile) -> Format:
    """The format a file looks like.

    Raises
    ------
    ValueError
        If it looks like none or several; the message says what was found and which formats there are.
    """
    candidates = [f for f in FORMATS if f.name != "edges" and f.matches(raw)]
    if not candidates and edges.has_edge_columns(raw):
        return format_named("edges")
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        listed = " or ".join(f"'{f.name}' ({f.layout})" for f in candidates)
        raise raw.fail(f"could be {listed}; say which with format=")
    what = "columns" if raw.header else "no header; first row"
    raise raw.fail(
        f"format not recognised; found {what} {shorten(raw.first, 12)}; expected columns 'source' and 'target', or "
        f"force one of: {', '.join(f.name for f in FORMATS)}"
    )


def read_edge_table(
    path: str | os.PathLike,
    *,
    format: str | None = None,
    genes: Sequence[str] | str | os.PathLike | None = None,
    where: Mapping[str, object] | None = None,
) -> tuple[pd.DataFrame, Format]:
    """Read any format into a table of edges.

    Returns
    -------
    table, format
        ``source``, ``target`` and those of ``probability``, ``weight``, ``score``, ``sign``, ``confidence``,
        ``evidence`` that the file tells; its other columns beside them. ``table.attrs["notes"]`` says what was taken
        for what, and what was not used.
    """
    forced = None if format is None else format_named(format)
    raw = open_raw(path, genes)
    companion = matrices.names_path(raw.path)
    if genes is None and not raw.header and companion.is_file() and (forced is None or forced.name == "phoenix"):
        raw = open_raw(path, companion)
    chosen = forced or detect(raw)
    if genes is not None and not chosen.needs_names:
        raise raw.fail(f"genes= is of no use for format '{chosen.name}', which carries its names")
    if (raw.kind == "hdf5") != (chosen.name == "genernib") or (
        raw.kind == "parquet" and chosen.name != "celloracle-base"
    ):
        raise raw.fail(f"is a {raw.kind} file, which format '{chosen.name}' never is")
    table = chosen.read(raw)
    used = {*table.attrs.get("used", ()), *(where or {})}
    notes = list(table.attrs.get("notes", ()))
    if "used" in table.attrs:
        notes += unused_note(raw.header or list(table.columns), used)
    table = _rows_where(raw, table, where or {})
    table, renamed = plain_names(restore_names(table))
    table.attrs["notes"] = [*notes, *renamed]
    return table, chosen


def _rows_where(raw: RawFile, table: pd.DataFrame, where: Mapping[str, object]) -> pd.DataFrame:
    """Rows whose columns hold the asked values; values compare as numbers where the column is numeric, else as text."""
    for column, value in where.items():
        if column not in table:
            raise raw.fail(f"has no column {column!r} to choose rows by; found {shorten(list(table), 12)}")
        cells = table[column]
        try:
            chosen = (
                cells == float(str(value)) if pd.api.types.is_numeric_dtype(cells) else cells.astype(str) == str(value)
            )
        except ValueError:
            raise raw.fail(f"column {column!r} holds numbers, but rows with {value!r} were asked for") from None
        if not chosen.any():
            raise raw.fail(f"no row has {column} = {value!r}; there are {shorten(list(pd.unique(cells)), 12)}")
        table = table[chosen]
    return table.reset_index(drop=True)


def write_edge_table(frame: pd.DataFrame, path: str | os.PathLike, format: str) -> None:
    """Write the five columns of `PriorNetwork.to_frame` in a format; what it cannot carry is stated in its ``loses``.

    Raises
    ------
    ValueError
        If the format is unknown or read-only, there are no edges, or the file cannot be written (nothing is left
        behind).
    """
    chosen = format_named(format)
    if chosen.write is None:
        writable = ", ".join(f.name for f in FORMATS if f.write)
        raise ValueError(f"format {format!r} can be read but not written; formats to write: {writable}")
    if frame.empty:
        raise ValueError(f"{path}: the network has no edges, so there is nothing to write")
    chosen.write(frame, Path(path))

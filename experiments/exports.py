"""Lists of edges in the formats of other programs, and as graphs of networkx."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..inference import Posterior
from ..inference.draws.intervals import LEVEL
from ..priors import PriorNetwork
from ..priors.formats import FORMATS
from ..priors.formats.files import write_table
from ..priors.formats.graphs import graph_of, write_cytoscape, write_gexf, write_graphml
from .files.network_files import NetworkFile, read_edges
from .files.result_tables import write_csv

if TYPE_CHECKING:
    import networkx

LEAST = 1e-6  # of a probability, whose odds a prior needs


@dataclass(frozen=True)
class Export:
    """A format that a list of a fit is written in: ``write`` takes a table with the columns of `Posterior.edges`;
    ``what`` is in the file, and what it ``loses`` of the table."""

    name: str
    what: str
    loses: str
    write: Callable[[pd.DataFrame, Path], None]


def edge_list(
    source: Posterior | pd.DataFrame,
    *,
    fdr: float | None = None,
    top: int | None = None,
    context: str | None = None,
    level: float = LEVEL,
) -> pd.DataFrame:
    """The list that is exported: `Posterior.edges` of a posterior, the first rows of its table.

    Parameters
    ----------
    source
        A fit of a network, or its edge table, best first.
    fdr, top, context, level
        As of `Posterior.edges`; all but ``top`` ask a posterior, which knows of which edges lists at a rate are made.

    Raises
    ------
    ValueError
        As `Posterior.edges`; a rate or a context of a table; nothing is left.
    """
    if isinstance(source, Posterior):
        table = source.edges(level=level, fdr=fdr, top=top, context=context)
    else:
        if context is not None:
            raise ValueError(
                f"context {context!r} asks a fit: give the folder of the run, or the table of that context"
            )
        if fdr is not None:
            raise ValueError("a list at a rate asks a fit: give the folder of the run, or take the best, `top=`")
        table = source
        table = table if top is None else table.head(top)
    if table.empty:
        raise ValueError("no edge is left: allow a higher rate (`fdr=`), or take the best (`top=`)")
    return table.reset_index(drop=True)


def to_networkx(
    source: Posterior | pd.DataFrame, *, fdr: float | None = None, top: int | None = None, context: str | None = None
) -> "networkx.DiGraph":
    """A list of edges as a directed graph of networkx, with all columns of the list as attributes of its edges.

    Parameters
    ----------
    source, fdr, top, context
        As of `edge_list`.

    Examples
    --------
    >>> table = pd.DataFrame({"source": ["A"], "target": ["B"], "weight": [0.5], "inclusion": [0.9]})
    >>> to_networkx(table).edges["A", "B"]["inclusion"]
    0.9
    """
    return graph_of(edge_list(source, fdr=fdr, top=top, context=context))


def export(
    source: Posterior | pd.DataFrame | PriorNetwork,
    path: Path | str,
    format: str = "edges",
    *,
    fdr: float | None = None,
    top: int | None = None,
    context: str | None = None,
) -> pd.DataFrame:
    """Write a list of edges in a format of `EXPORTS`, or any other that networks are written in.

    Parameters
    ----------
    source
        A fit, its edge table, or a prior network (of which ``top`` are the most probable).
    path
        File to write; one that ends in ``.gz`` is compressed.
    format
        Default ``edges``, the table itself.
    fdr, top, context
        As of `edge_list`; a prior network has neither.

    Returns
    -------
    DataFrame
        The rows that were written.

    Raises
    ------
    ValueError
        An unknown format, and as `edge_list`.
    """
    path = Path(path)
    if isinstance(source, PriorNetwork):
        return _network(source, path, format, fdr=fdr, top=top, context=context)
    table = edge_list(source, fdr=fdr, top=top, context=context)
    known = {entry.name: entry for entry in EXPORTS}
    if format in known:
        known[format].write(table, path)
    else:
        _check(format)
        _as_network(table).write(path, format=format)
    return table


def _network(
    network: PriorNetwork, path: Path, format: str, *, fdr: float | None, top: int | None, context: str | None
) -> pd.DataFrame:
    if fdr is not None or context is not None:
        raise ValueError("a rate or a context asks a fit, and this is a network without probabilities of a fit")
    frame = network.to_frame()
    if top is not None:
        frame = frame.sort_values("probability", ascending=False, kind="stable").head(top).reset_index(drop=True)
        network = PriorNetwork.from_edges(frame, name=network.name)
    own = {entry.name: entry for entry in EXPORTS if entry.name not in {f.name for f in FORMATS if f.write}}
    if format in own:
        own[format].write(_as_fit(frame), path)
    else:
        _check(format)
        network.write(path, format=format)
    return frame


def _check(format: str) -> None:
    names = [*(entry.name for entry in EXPORTS), *(f.name for f in FORMATS if f.write)]
    if format not in names:
        raise ValueError(f"unknown format {format!r}: choose one of {', '.join(dict.fromkeys(names))}")


def _as_network(table: pd.DataFrame) -> PriorNetwork:
    """Probabilities are those of the fit; of a point estimate sizes against the largest."""
    probability = table["inclusion"].to_numpy(dtype=np.float64)
    if np.isnan(probability).all():
        size = table["weight"].abs().to_numpy(dtype=np.float64)
        probability = size / (size.max() or 1.0)
    frame = pd.DataFrame(
        {
            "source": table["source"],
            "target": table["target"],
            "probability": probability.clip(LEAST, 1 - LEAST),
            "sign": np.sign(table["weight"]).astype(int),
            "evidence": "pyrogrn",
        }
    )
    return PriorNetwork.from_edges(frame, name="pyrogrn")


def _as_fit(frame: pd.DataFrame) -> pd.DataFrame:
    """A prior network as the columns of a list that exports read."""
    weight = np.where(frame["sign"] < 0, -1.0, 1.0) * frame["probability"]
    return frame[["source", "target", "sign"]].assign(weight=weight, inclusion=frame["probability"])


# -- formats ----
def _edges(table: pd.DataFrame, path: Path) -> None:
    write_csv(table, path)


def _sif(table: pd.DataFrame, path: Path) -> None:
    sign = table["sign"] if "sign" in table else np.sign(table["weight"])
    words = pd.Series(sign).map({1: "activates", -1: "represses"}).fillna("unknown")
    rows = pd.DataFrame({"source": table["source"], "word": words.to_numpy(), "target": table["target"]})
    write_table(path, rows, separator="\t", header=False)


def _celloracle_links(table: pd.DataFrame, path: Path) -> None:
    size = table["weight"].abs()
    p = (1 - table["inclusion"].fillna(1.0)).clip(1e-300, 1)
    columns = {"coef_mean": table["weight"], "coef_abs": size, "p": p, "-logp": -np.log10(p)}
    links = table[["source", "target"]].assign(**columns)
    write_table(path, links.sort_values("coef_abs", ascending=False, kind="stable", ignore_index=True), index=True)


def _decoupler(table: pd.DataFrame, path: Path) -> None:
    write_table(path, table[["source", "target", "weight"]].assign(resources="pyrogrn"))


def _inferelator(table: pd.DataFrame, path: Path) -> None:
    network = pd.DataFrame(
        {
            "target": table["target"],
            "regulator": table["source"],
            "combined_confidences": table["inclusion"],
            "beta.sign.sum": np.sign(table["weight"]),
        }
    )
    write_table(path, network, separator="\t")


def _gretapy(table: pd.DataFrame, path: Path) -> None:
    score = np.sign(table["weight"]) * table["inclusion"].fillna(table["weight"].abs())
    write_table(path, table[["source", "target"]].assign(score=score))


def _by_probability(name: str) -> Callable[[pd.DataFrame, Path], None]:
    return lambda table, path: _as_network(table).write(path, format=name)


EXPORTS: tuple[Export, ...] = (
    Export("edges", "csv with all columns", "nothing", _edges),
    Export("graphml", "GraphML: Cytoscape, networkx", "nothing", write_graphml),
    Export("gexf", "GEXF: Gephi, networkx", "nothing", write_gexf),
    Export("cytoscape", "json of Cytoscape (.cyjs)", "nothing", write_cytoscape),
    Export("sif", "SIF: source, activates or represses, target", "numbers", _sif),
    Export("celloracle-links", "CellOracle's links; p is 1 - probability, and no test", "intervals", _celloracle_links),
    Export("arboreto", "TF, target, importance (probability)", "signs, sizes, intervals", _by_probability("arboreto")),
    Export("decoupler", "source, target, weight: a net of decoupler", "probabilities, intervals", _decoupler),
    Export("inferelator-network", "inferelator's network.tsv", "sizes, intervals", _inferelator),
    Export("genernib", "geneRNIB's h5ad; weight is the signed probability", "sizes", _by_probability("genernib")),
    Export("gretapy", "source, target, score: the signed probability", "sizes, intervals", _gretapy),
)
"""Formats in which lists of a fit keep more than a prior network has; `priors.formats.FORMATS` has the others."""


def formats_told() -> list[str]:
    """A line for each format: its name, what it is, what it loses; lists of a fit first, then networks, then those
    that are only read."""
    own = [f"{entry.name:<20}{entry.what}; loses {entry.loses}" for entry in EXPORTS]
    others = [
        f"{entry.name:<20}{entry.layout}; loses {entry.loses or 'nothing'}"
        for entry in FORMATS
        if entry.write and entry.name not in {e.name for e in EXPORTS}
    ]
    read = [
        f"{entry.name:<20}{entry.layout}; only read (--from)"
        for entry in FORMATS
        if not entry.write and entry.name not in {e.name for e in EXPORTS}
    ]
    return [*own, *others, *read]


def source_of(given: Path, format: str | None = None) -> Posterior | pd.DataFrame | PriorNetwork:
    """What a command is given to export: the folder of a run, the table of one, or any other network.

    ``edges.csv`` beside the ``model/`` of its run is that run.
    """
    if given.name == "edges.csv" and (given.parent / "model").is_dir() and format is None:
        given = given.parent
    if given.is_dir():
        return Posterior.load(given / "model" if (given / "model").is_dir() else given)
    file = NetworkFile.parse(given)
    if file == NetworkFile(file.path) and format is None and file.path.is_file():
        table, _ = read_edges(given)
        if {"weight", "inclusion", "lfsr"} <= set(table.columns):
            return table
    return file.read(format=format)

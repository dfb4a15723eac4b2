"""Changes of files whose right outcome is known: the same values, or a refusal."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
from pyrogrn.experiments.files.network_files import NetworkFile
from pyrogrn.experiments.files.readers import read_expression, read_kinds, read_names

from . import known_meanings as meanings
from .sources import GENES, TFS, frame

Generator = np.random.Generator


@dataclass(frozen=True)
class Known:
    """A change and what must come of it.

    Attributes
    ----------
    name
        In reports.
    change
        Makes the changed file in a folder; returns its path.
    outcome
        Raises AssertionError where the outcome is wrong; given the path.
    """

    name: str
    change: Callable[[Generator, Path], Path]
    outcome: Callable[[Path], None]


def same_values(path: Path) -> None:
    """The genes and values of the sources, under their names."""
    data = read_expression(path, tfs=list(TFS))
    assert sorted(data.genes) == sorted(GENES), f"genes {data.genes}"
    wanted = frame()[list(data.genes)].to_numpy()
    found = data.X.numpy()
    assert found.shape == wanted.shape, f"{found.shape} for {wanted.shape}"
    order = np.lexsort(found.T), np.lexsort(wanted.T)
    assert np.allclose(found[order[0]], wanted[order[1]]), "other values"


def refused(read: Callable[[Path], object]) -> Callable[[Path], None]:
    """The reader raises what a user can mend."""

    def outcome(path: Path) -> None:
        try:
            read(path)
        except (ValueError, FileNotFoundError):
            return
        raise AssertionError("accepted")

    return outcome


expression_refused = refused(lambda path: read_expression(path, tfs=list(TFS)).X)


def same_network(path: Path) -> None:
    """The three edges, with their signs."""
    table = NetworkFile.parse(path).read(name="m").to_frame()
    found = set(zip(table["source"], table["target"], table["sign"], strict=True))
    assert found == {("SPI1", "CSF1R", 1), ("GATA1", "KLF1", -1), ("MYC", "HBB", 1)}, f"edges {found}"


def same_names(path: Path) -> None:
    """The regulators."""
    assert set(read_names(path, GENES)) == set(TFS), f"names {read_names(path, GENES)}"


# -- tables of expression that say the same ----
def table_written_otherwise(rng: Generator, folder: Path) -> Path:
    """Separator, ends of lines, mark of byte order, packing, comments, order of rows and columns, transposed."""
    table = frame()
    table = table.iloc[rng.permutation(len(table)), rng.permutation(table.shape[1])]
    if rng.random() < 0.4:
        table = table.T
    separator = str(rng.choice([",", "\t", ";", " "]))
    text = table.to_csv(sep=separator, index_label="cell", quoting=int(rng.choice([0, 2])))
    if rng.random() < 0.3 and separator != " ":
        text = "# a comment\n" + text
    if rng.random() < 0.3:
        text = text.replace("\n", "\r\n")
    if rng.random() < 0.2:
        text = text.replace("\n", "\n\n", 3)
    raw = text.encode("utf-8-sig" if rng.random() < 0.3 else "utf-8")
    path = folder / ("known.tsv" if separator == "\t" else "known.csv")
    if rng.random() < 0.3:
        path, raw = folder / (path.name + ".gz"), gzip.compress(raw)
    path.write_bytes(raw)
    return path


def headerless(rng: Generator, folder: Path) -> Path:
    """Genes × cells without the row of cell names: no gene may be lost."""
    path = folder / "headerless.csv"
    frame().T.iloc[rng.permutation(len(GENES))].to_csv(path, header=False)
    return path


def store_written_otherwise(rng: Generator, folder: Path) -> Path:
    """Dense, CSR or CSC; packed; of other number types."""
    import scipy.sparse as sp

    kind = [np.asarray, sp.csr_matrix, sp.csc_matrix][int(rng.integers(3))]
    values = frame().to_numpy().astype(str(rng.choice(["f4", "f8", "i4", "u2"])))
    path = folder / "known.h5ad"
    table = frame()
    made = anndata.AnnData(kind(values), pd.DataFrame(index=table.index), pd.DataFrame(index=table.columns))
    made.write_h5ad(path, compression="gzip" if rng.random() < 0.5 else None)
    return path


# -- expression that must be refused ----
def gene_twice(rng: Generator, folder: Path) -> Path:
    """Two columns of one name."""
    table = frame()
    i, j = rng.choice(len(GENES), 2, replace=False)
    table.columns = [GENES[i] if k == j else g for k, g in enumerate(GENES)]
    path = folder / "twice.csv"
    table.to_csv(path, index_label="cell")
    return path


def value_not_finite(rng: Generator, folder: Path) -> Path:
    """NaN or infinity in a table or a store, at any place."""
    table = frame()
    table.iloc[int(rng.integers(len(table))), int(rng.integers(len(GENES)))] = float(
        rng.choice([np.nan, np.inf, -np.inf])
    )
    path = folder / str(rng.choice(["bad.csv", "bad.h5ad"]))
    if path.suffix == ".csv":
        table.to_csv(path, index_label="cell")
    else:
        anndata.AnnData(
            table.to_numpy(), pd.DataFrame(index=table.index), pd.DataFrame(index=table.columns)
        ).write_h5ad(path)
    return path


def text_for_number(rng: Generator, folder: Path) -> Path:
    """A word where a number should be."""
    table = frame().astype(object)
    table.iloc[int(rng.integers(len(table))), int(rng.integers(len(GENES)))] = str(
        rng.choice(["x", "0x10", "1,5", "--", "1.2.3"])
    )
    path = folder / "word.csv"
    table.to_csv(path, index_label="cell", sep="\t")
    return path


def index_outside(rng: Generator, folder: Path) -> Path:
    """A sparse matrix with an index below zero or beyond its columns (rows)."""
    import scipy.sparse as sp

    by_row = rng.random() < 0.5
    table = frame()
    kind = sp.csr_matrix if by_row else sp.csc_matrix
    path = folder / "outside.h5ad"
    made = anndata.AnnData(kind(table.to_numpy()), pd.DataFrame(index=table.index), pd.DataFrame(index=table.columns))
    made.write_h5ad(path)
    with h5py.File(path, "r+") as store:
        indices = store["X/indices"]
        beyond = len(GENES) if by_row else len(table)
        indices[int(rng.integers(len(indices)))] = int(rng.choice([-1, -(10**6), beyond, beyond + 1, 2**30]))
    return path


def row_short(rng: Generator, folder: Path) -> Path:
    """A row with a cell more or less than the header."""
    lines = frame().to_csv(index_label="cell").splitlines()
    i = int(rng.integers(1, len(lines)))
    lines[i] = lines[i] + ",1" if rng.random() < 0.5 else lines[i].rpartition(",")[0]
    path = folder / "ragged.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def cut_archive(rng: Generator, folder: Path) -> Path:
    """A gzip cut short."""
    raw = gzip.compress(frame().to_csv(index_label="cell").encode())
    path = folder / "cut.csv.gz"
    path.write_bytes(raw[: int(rng.integers(20, len(raw) - 1))])
    return path


# -- networks, names, nodes ----
def network_written_otherwise(rng: Generator, folder: Path) -> Path:
    """Headers, words of signs, order, separators, repeated rows."""
    words = {1: ["1", "+", "activation", "Activator"], -1: ["-1", "-", "repression", "inhibitor"]}
    pair = int(rng.integers(4))
    edges = [("SPI1", "CSF1R", 1), ("GATA1", "KLF1", -1), ("MYC", "HBB", 1)]
    rows = [(s, t, words[sign][pair]) for s, t, sign in edges]
    rows = [rows[i] for i in rng.permutation(3)]
    if rng.random() < 0.3:
        rows.append(rows[0])
    heads = [
        ("source", "target", "sign"),
        ("TF", "target", "mode"),
        ("regulator", "gene", "effect"),
        ("tf", "gene", "regulation"),
    ]
    head = heads[int(rng.integers(len(heads)))]
    separator = str(rng.choice([",", "\t"]))
    lines = [separator.join(row) for row in (head, *rows)]
    path = folder / ("net.csv" if separator == "," else "net.tsv")
    path.write_text(("# comment\n" if rng.random() < 0.3 else "") + "\n".join(lines) + "\n")
    return Path(f"{path}?duplicates=mean")


def names_written_otherwise(rng: Generator, folder: Path) -> Path:
    """A list of names with a header, an index, other columns, quotes, in any order."""
    chosen = [TFS[i] for i in rng.permutation(3)]
    styles = [
        "\n".join(chosen),
        "gene\n" + "\n".join(chosen),
        '"","x"\n' + "\n".join(f'"{i}","{t}"' for i, t in enumerate(chosen, 1)),
        ",HGNC symbol,Ensembl ID\n" + "\n".join(f"{i},{t},ENSG0{i}" for i, t in enumerate(chosen)),
        "# a comment\n" + "\r\n".join([*chosen, chosen[0]]),
    ]
    path = folder / "names.txt"
    path.write_text(styles[int(rng.integers(len(styles)))] + "\n", newline="")
    return path


def node_twice(rng: Generator, folder: Path) -> Path:
    """A node listed twice."""
    path = folder / "nodes.csv"
    again = GENES[int(rng.integers(len(GENES)))]
    path.write_text("node,kind\n" + "".join(f"{g},protein\n" for g in (*GENES, again)))
    return path


KNOWN = (
    Known("table written otherwise: the same", table_written_otherwise, same_values),
    Known("headerless: no gene lost", headerless, same_values),
    Known("store written otherwise: the same", store_written_otherwise, same_values),
    Known("gene twice: refused", gene_twice, expression_refused),
    Known("value not finite: refused", value_not_finite, expression_refused),
    Known("text for a number: refused", text_for_number, expression_refused),
    Known("sparse index outside: refused", index_outside, expression_refused),
    Known("row too short or long: refused", row_short, expression_refused),
    Known("gzip cut short: refused", cut_archive, expression_refused),
    Known("network written otherwise: the same", network_written_otherwise, same_network),
    Known("names written otherwise: the same", names_written_otherwise, same_names),
    Known("node twice: refused", node_twice, refused(read_kinds)),
    Known("labels of perturbations: what they mean", meanings.labels_written, meanings.labels_mean),
    Known("signs as words: what they mean", meanings.signs_written, meanings.signs_mean),
    Known("annotations among the genes: the same genes", meanings.with_what_is_no_gene, same_values),
    Known("either way round: the prior and the truth decide", meanings.turned, meanings.voted),
    Known("z-scores, clipped or not: no levels", meanings.scaled, meanings.no_level),
)

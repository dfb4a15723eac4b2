"""Valid inputs that mutations start from: every format of every reader, and a folder of every kind of fit."""

import gzip
import warnings
from importlib.util import find_spec
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp
from command_line import call
from pyrogrn.priors import PriorNetwork
from pyrogrn.priors.formats.registry import FORMATS

from .stored_sources import make_stored

GENES = ("SPI1", "GATA1", "MYC", "CSF1R", "KLF1", "HBB")
TFS = GENES[:3]
CELLS = tuple(f"cell{i:02d}" for i in range(24))


def frame() -> pd.DataFrame:
    """Cells × genes, counts, in which regulators act."""
    rng = np.random.default_rng(0)
    regulators = rng.poisson(6.0, (len(CELLS), 3))
    targets = rng.poisson(1.0 + regulators)
    return pd.DataFrame(np.hstack([regulators, targets]).astype(float), index=list(CELLS), columns=list(GENES))


def annotated(table: pd.DataFrame, matrix: object) -> anndata.AnnData:
    """With every annotation that a command asks for."""
    obs = pd.DataFrame(
        {
            "pert": [("control", "SPI1", "GATA1_g2", "SPI1+MYC", "NTC", "control")[i % 6] for i in range(len(table))],
            "context": [("a", "b/c")[i % 2] for i in range(len(table))],
            "time": [f"{i % 4}h" for i in range(len(table))],
            "course": [f"t{i // 4}" for i in range(len(table))],
            "age": np.linspace(20, 60, len(table)),
        },
        index=table.index,
    )
    made = anndata.AnnData(matrix, obs=obs, var=pd.DataFrame(index=table.columns))
    made.layers["log"] = np.log1p(table.to_numpy())
    made.raw = made.copy()
    return made


def make_expression(folder: Path) -> None:
    """One file of every format, of the same values."""
    table = frame()
    values = table.to_numpy()
    table.to_csv(folder / "x.csv", index_label="cell")
    table.T.to_csv(folder / "genes_first.csv", index_label="gene")
    table.to_csv(folder / "x.tsv.gz", sep="\t", index_label="cell")
    table.to_csv(folder / "x.txt", sep=" ", index_label="cell")
    extra = table.assign(pert=["control", "SPI1"] * 12, time=[str(i // 2 % 4) for i in range(24)])
    extra["course"] = [f"t{i % 2}{i // 8}" for i in range(24)]
    extra.to_csv(folder / "labels.csv", index_label="cell")
    (extra[list(GENES)] * 0.37 + 0.5).assign(pert=extra["pert"]).to_csv(folder / "panel.csv", index_label="cell")
    others = np.random.default_rng(1).normal(
        2.0, 0.3, (len(CELLS), 40)
    )  # a screen finds its null in genes without effect
    screened = np.log1p(extra[list(GENES)]).assign(**{f"N{i}": others[:, i] for i in range(40)}, pert=extra["pert"])
    screened.loc[screened["pert"] == "SPI1", ["CSF1R", "KLF1"]] += [3.0, 4.0]
    screened.loc[screened["pert"] == "SPI1", "SPI1"] = 0.0
    screened.to_csv(folder / "screened.csv", index_label="cell")
    annotated(table, values).write_h5ad(folder / "dense.h5ad")
    annotated(table, sp.csr_matrix(values)).write_h5ad(folder / "csr.h5ad")
    annotated(table, sp.csc_matrix(values)).write_h5ad(folder / "csc.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        annotated(table, sp.csr_matrix(values)).write_zarr(folder / "x.zarr")
    with h5py.File(folder / "x.loom", "w") as store:
        store["matrix"] = values.T
        store["row_attrs/Gene"] = [g.encode() for g in GENES]
        store["col_attrs/CellID"] = [c.encode() for c in CELLS]
        store["col_attrs/pert"] = [b"control", b"SPI1"] * 12
    counts = sp.csc_matrix(values.T.astype(np.int32))
    with h5py.File(folder / "tenx.h5", "w") as store:
        group = store.create_group("matrix")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(counts, name)
        group["shape"] = np.array(counts.shape, dtype=np.int32)
        group["barcodes"] = [c.encode() for c in CELLS]
        group["features/id"] = [f"ENSG{i:011d}".encode() for i in range(len(GENES))]
        group["features/name"] = [g.encode() for g in GENES]
        group["features/feature_type"] = [b"Gene Expression"] * len(GENES)
    (folder / "mtx").mkdir()
    scipy.io.mmwrite(folder / "mtx" / "matrix.mtx", sp.coo_matrix(values.T.astype(int)))
    (folder / "mtx" / "features.tsv").write_text(
        "".join(f"ENSG{i}\t{g}\tGene Expression\n" for i, g in enumerate(GENES))
    )
    (folder / "mtx" / "barcodes.tsv.gz").write_bytes(gzip.compress("".join(f"{c}\n" for c in CELLS).encode()))
    lines = ["#1.2", f"{len(GENES)}\t{len(CELLS)}", "\t".join(["Name", "Description", *CELLS])]
    lines += ["\t".join([g, "na", *map(str, table[g])]) for g in GENES]
    (folder / "x.gct").write_text("\n".join(lines) + "\n")
    if find_spec("mudata"):  # an extra
        import mudata

        views = {"rna": annotated(table, values), "atac": annotated(table.add_suffix("_peak"), values)}
        mudata.MuData(views).write_h5mu(folder / "views.h5mu")
    try:
        table.to_parquet(folder / "x.parquet")
    except ImportError:  # an extra
        (folder / "x.parquet").write_bytes(b"PAR1PAR1")


def make_knowledge(folder: Path) -> None:
    """Networks in every format that can be written, and lists of everything else."""
    edges = pd.DataFrame(
        {
            "source": ["SPI1", "GATA1", "MYC", "SPI1", "GATA1"],
            "target": ["CSF1R", "KLF1", "HBB", "KLF1", "HBB"],
            "sign": [1, -1, 1, -1, 1],
            "probability": [0.9, 0.8, 0.7, 0.9, 0.6],
        }
    )
    edges.to_csv(folder / "truth.csv", index=False)
    network = PriorNetwork.from_edges(edges, name="known")
    suffix = {"gmt": ".gmt", "genernib": ".h5ad", "beeline-truth": ".csv", "edges": ".csv", "celloracle-base": ".csv"}
    for known in FORMATS:
        if known.write is not None:
            network.write(folder / f"net_{known.name}{suffix.get(known.name, '.tsv')}", format=known.name)
    (folder / "net_phoenix_gene_names.csv").rename(folder / "names_phoenix.csv")  # a list, no network
    (folder / "edges.csv").write_text("source,target,weight\nSPI1,CSF1R,.9\nGATA1,KLF1,.2\nMYC,HBB,.5\nSPI1,HBB,.1\n")
    (folder / "net_headerless.tsv").write_text("SPI1\tCSF1R\tActivation\t1\nGATA1\tKLF1\tRepression\t2\n")
    (folder / "net_mode.csv").write_text("TF,target,mode\nSPI1,CSF1R,1\nGATA1,KLF1,-1\nMYC,HBB,dual\n")
    (folder / "sets.gmt").write_text("one\tx\tSPI1\tCSF1R\tKLF1\ntwo\tx\tMYC\tHBB\tGATA1\n")
    (folder / "tfs.txt").write_text("\n".join(TFS) + "\n")
    (folder / "tfs.csv").write_text(",HGNC symbol,n\n" + "".join(f"{i},{t},5\n" for i, t in enumerate(TFS, 1)))
    (folder / "scores.csv").write_text("source,target,score\nSPI1,CSF1R,.9\nGATA1,KLF1,.2\nMYC,HBB,.5\nSPI1,HBB,.1\n")
    (folder / "targets.csv").write_text("1,1,0,1.46,2.0\n2,2,0,1,-4.1,4.9,2.0,2.0\n3,1,1,2.5,2.0\n")
    (folder / "regulators.csv").write_text("0,1.5,2.5\n")
    panel = frame() / frame().mean() - 1
    panel.index = [f"c{i}" for i in range(len(panel))]
    panel.to_csv(folder / "drugs.csv", index_label="condition")
    acts = pd.DataFrame(0.0, index=panel.index, columns=panel.columns)
    acts.iloc[:12, 0], acts.iloc[12:, 1] = 1.0, -0.5
    acts.to_csv(folder / "inputs.csv", index_label="condition")
    kinds = ["drug_activity", "protein", "protein", "protein", "protein", "phenotype"]
    (folder / "nodes.csv").write_text("node,kind\n" + "".join(f"{g},{k}\n" for g, k in zip(GENES, kinds, strict=True)))


QUICK = ("--restarts", 1, "--steps", 4)
FITS = {
    "linear": ("dense.h5ad", "--method", "linear", "--tfs", "tfs.txt", "--prior", "m=truth.csv", *QUICK),
    "contexts": ("dense.h5ad", "--method", "linear", "--tfs", "tfs.txt", "--context-key", "context", *QUICK),
    "muvi": ("dense.h5ad", "--method", "muvi", "--gene-sets", "l=sets.gmt", "--min-overlap", 2, "--factors", 1, *QUICK),
    "ppca": ("dense.h5ad", "--method", "ppca", "--factors", 1, *QUICK),
    "cellbox": ("drugs.csv", "--method", "cellbox", "--inputs", "inputs.csv", "--restarts", 1, "--steps", 2),
    "phoenix": (
        *("dense.h5ad", "--method", "phoenix", "--layer", "log", "--time-key", "time", "--trajectory-key", "course"),
        *("--restarts", 1, "--set", "guide.epochs=1", "--set", "guide.svi_steps=1", "--set", "model.hidden=2"),
    ),
}  # fmt: skip


def make_fits(folder: Path) -> dict[str, str]:
    """A folder ``run_NAME`` of each of `FITS`; returns what the command said of those that it refused."""
    refused = {}
    for name, (expression, *options) in FITS.items():
        there = [folder / o if isinstance(o, str) and (folder / o).is_file() else o for o in options]
        there = [f"{o.split('=')[0]}={folder / o.split('=')[1]}" if _is_entry(o, folder) else o for o in there]
        code, _, err = call("infer", folder / expression, *there, "--out", folder / f"run_{name}")
        if code:
            refused[name] = err
    return refused


def _is_entry(option: object, folder: Path) -> bool:
    """Whether an option is ``NAME=FILE`` of a file here."""
    return isinstance(option, str) and "=" in option and (folder / option.split("=")[1]).is_file()


def make_sources(folder: Path) -> Path:
    """All of it, in a new folder."""
    folder.mkdir(parents=True)
    make_expression(folder)
    make_knowledge(folder)
    refused = {**make_fits(folder), **make_stored(folder)}
    if refused:
        raise RuntimeError(f"valid inputs were refused: {refused}")
    return folder

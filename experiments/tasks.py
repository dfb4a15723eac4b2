"""Tasks: data with a known network, real and simulated, read from a folder of benchmark data."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from ..models import ExpressionData

BEELINE = {
    "beeline_mdc": ("chipseq", "nonspecific", "string"),
    "beeline_hhep": ("chipseq", "nonspecific", "string"),
    "beeline_mesc": ("chipseq", "nonspecific", "string", "lofgof"),
    "beeline_mhsc_gm": ("chipseq", "nonspecific", "string"),
}


@dataclass(frozen=True, eq=False)
class Task:
    """``data`` and the networks it is scored against, by name; each truth is scored within its own regulators."""

    name: str
    data: ExpressionData
    truths: dict[str, pd.DataFrame]


def beeline_task(folder: Path, name: str) -> Task:
    """A real BEELINE set (log-scale expression); candidates are all listed TFs, one fit serves every truth."""
    adata = anndata.read_h5ad(folder / name / "expression.h5ad")
    tfs = [g for g, is_tf in zip(adata.var_names, adata.var["is_tf"], strict=True) if is_tf]
    data = ExpressionData.from_anndata(adata, tfs=tfs)
    truths = {truth: pd.read_csv(folder / name / f"network_{truth}.csv.gz", dtype=str) for truth in BEELINE[name]}
    return Task(name, data, truths)


def sergio_task(folder: Path, name: str, layer: str) -> Task:
    """SERGIO cells; counts (`X`) as log1p of counts per million, clean expression as log1p, regulators those of the
    network."""
    adata = anndata.read_h5ad(folder / name / "expression.h5ad")
    network = pd.read_csv(folder / name / "network.csv", dtype={"source": str, "target": str})
    regulators = set(network["source"])
    tfs = [g for g in adata.var_names if g in regulators]
    data = ExpressionData.from_anndata(adata, layer=None if layer == "X" else layer, tfs=tfs)
    data = data.normalized("log1p-cpm") if layer == "X" else ExpressionData(data.X.log1p(), data.genes, data.tfs)
    return Task(f"{name}:{layer}", data.without_constant_genes(), {"network": network[["source", "target"]]})


def random_grn_tasks(folder: Path, split: str = "train", layer: str = "X") -> Iterator[Task]:
    """The simulated random networks of one split: 100 genes, 1,000 cells and another network each."""
    adata = anndata.read_h5ad(folder / "random_grns" / "expression.h5ad")
    networks = pd.read_csv(folder / "random_grns" / "networks.csv.gz", dtype={"source": str, "target": str})
    for graph in sorted(adata.obs.loc[adata.obs["split"] == split, "graph"].unique()):
        part = adata[adata.obs["graph"] == graph]
        network = networks.loc[networks["graph"] == graph, ["source", "target"]].reset_index(drop=True)
        regulators = set(network["source"])
        data = ExpressionData.from_anndata(
            part.copy(), layer=None if layer == "X" else layer, tfs=[g for g in part.var_names if g in regulators]
        )
        data = data.normalized("log1p-cpm") if layer != "X" else ExpressionData(data.X.log1p(), data.genes, data.tfs)
        yield Task(f"random_grns:{graph}", data.without_constant_genes(), {"network": network})


def truth_matrix(data: ExpressionData, truth: pd.DataFrame) -> np.ndarray:
    """``(tf, gene)`` bool."""
    tf = {name: i for i, name in enumerate(data.tfs)}
    gene = {name: i for i, name in enumerate(data.genes)}
    result = np.zeros((len(tf), len(gene)), dtype=bool)
    for source, target in zip(truth["source"], truth["target"], strict=True):
        if source in tf and target in gene:
            result[tf[source], gene[target]] = True
    return result

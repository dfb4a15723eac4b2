"""Simulated data as files, in the formats the tool reads."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from ..models.simulators import LinearSimulation
from ..priors import PriorNetwork


def write_simulation(simulation: LinearSimulation, folder: Path, *, prior_noise: float, seed: int) -> None:
    """Write expression.h5ad (with context and perturbation in ``.obs``), expression.csv.gz, tfs.csv, network.csv,
    prior.csv.

    ``prior_noise`` is the share of the true edges that prior.csv has at random places.
    """
    if not 0 <= prior_noise <= 1:
        raise ValueError(f"prior_noise is {prior_noise}, expected a share in [0, 1]")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error.strerror}. Choose another --out") from error
    data = simulation.data
    names = [f"cell{i:05d}" for i in range(data.num_cells)]
    perturbation = np.full(data.num_cells, "control", dtype=object)
    if data.perturbed is not None:
        cells, genes = data.perturbed.numpy().T
        perturbation[cells] = np.asarray(data.genes, dtype=object)[genes]
    obs = pd.DataFrame({"perturbation": perturbation.astype(str)}, index=names)
    if data.context is not None:
        obs["context"] = np.asarray(data.context_names)[data.context.numpy()]
    X = data.X.numpy()
    anndata.AnnData(X, obs=obs, var=pd.DataFrame(index=list(data.genes))).write_h5ad(folder / "expression.h5ad")
    pd.DataFrame(X, index=pd.Index(names, name="cell"), columns=list(data.genes)).to_csv(
        folder / "expression.csv.gz", float_format="%.5g"
    )
    pd.DataFrame({"tf": data.tfs}).to_csv(folder / "tfs.csv", index=False)
    simulation.network.to_csv(folder / "network.csv", index=False)
    truth = PriorNetwork.from_edges(simulation.network[["source", "target", "sign"]], name="truth")
    corrupted = truth.corrupted(prior_noise, np.random.default_rng(seed), sources=data.tfs, targets=data.genes)
    corrupted.to_frame()[["source", "target", "sign"]].to_csv(folder / "prior.csv", index=False)

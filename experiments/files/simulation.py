"""Simulated data as files, in the formats the tool reads."""

from collections.abc import Sequence
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from torch import Tensor

from ...models.simulators import (
    CourseSimulation,
    FactorSimulation,
    Kinetics,
    LinearSimulation,
    PanelSimulation,
    SergioSimulation,
    write_sergio,
)
from ...priors import PriorNetwork, write_gmt
from .stored import using_mudata
from .whole import whole_folder


def write_simulation(
    simulation: LinearSimulation | PanelSimulation | CourseSimulation,
    folder: Path,
    *,
    prior_noise: float,
    seed: int,
) -> None:
    """Write expression.h5ad (with context and perturbation, or time and trajectory, in ``.obs``), expression.csv.gz,
    tfs.csv, network.csv, prior.csv.

    ``prior_noise`` is the share of the true edges that prior.csv has at random places.
    """
    if not 0 <= prior_noise <= 1:
        raise ValueError(f"prior_noise is {prior_noise}, expected a share in [0, 1]")
    data = simulation.data
    names = _cell_names(data.num_cells)
    perturbation = np.full(data.num_cells, "control", dtype=object)
    if data.perturbed is not None:
        cells, genes = data.perturbed.numpy().T
        perturbation[cells] = np.asarray(data.genes, dtype=object)[genes]
    obs = pd.DataFrame({"perturbation": perturbation.astype(str)}, index=names)
    if data.context is not None:
        obs["context"] = np.asarray(data.context_names)[data.context.numpy()]
    if data.time is not None and data.trajectory is not None:
        obs = pd.DataFrame({"time": data.time.numpy()}, index=names)
        obs["trajectory"] = np.asarray(data.trajectory_names)[data.trajectory.numpy()]
    X = data.X.numpy()
    truth = PriorNetwork.from_edges(simulation.network[["source", "target", "sign"]], name="truth")
    corrupted = truth.corrupted(prior_noise, np.random.default_rng(seed), sources=data.tfs, targets=data.genes)
    with whole_folder(folder) as place:
        anndata.AnnData(X, obs=obs, var=pd.DataFrame(index=list(data.genes))).write_h5ad(place / "expression.h5ad")
        pd.DataFrame(X, index=pd.Index(names, name="cell"), columns=list(data.genes)).to_csv(
            place / "expression.csv.gz", float_format="%.5g"
        )
        pd.DataFrame({"tf": data.tfs}).to_csv(place / "tfs.csv", index=False)
        simulation.network.to_csv(place / "network.csv", index=False)
        corrupted.to_frame()[["source", "target", "sign"]].to_csv(place / "prior.csv", index=False)


def write_factor_simulation(simulation: FactorSimulation, folder: Path) -> None:
    """Write expression.h5ad (covariates and group in ``.obs``, missing values as NaN), gene_sets.gmt (as an analyst is
    given them) and the truth: loadings.csv (``program, gene, loading``; pairs that are not listed are 0), scores.csv
    (cell × program), covariate_effects.csv (``covariate, gene, effect``: direct ones), program_effects.csv (on
    programs, where there are any), true_sets.gmt.

    Files of what the simulation does not have (sets, covariates) are not written. Several views become
    expression.h5mu instead, with one modality each (extra ``multi``).

    Raises
    ------
    ValueError
        The folder cannot be written; several views without the package mudata.
    """
    data = simulation.data
    names = _cell_names(data.num_cells)
    obs = simulation.annotations.set_index(pd.Index(names))
    X = data.X.numpy()
    with whole_folder(folder) as place:
        if data.view is None:
            anndata.AnnData(X, obs=obs, var=pd.DataFrame(index=list(data.genes))).write_h5ad(place / "expression.h5ad")
        else:
            with using_mudata() as mudata:
                parts = {}
                for code, view in enumerate(data.view_names):
                    own = (data.view == code).numpy()
                    kept = ~np.isnan(X[:, own]).all(1)
                    genes, cells = np.asarray(data.genes)[own], obs.index[kept]
                    parts[view] = anndata.AnnData(
                        X[kept][:, own], obs=pd.DataFrame(index=cells), var=pd.DataFrame(index=genes)
                    )
                joined = mudata.MuData(parts)
                joined = joined[[name for name in names if name in joined.obs_names]].copy()
                joined.obs = joined.obs.join(obs)
                joined.write_h5mu(place / "expression.h5mu")
        if simulation.gene_sets:
            write_gmt(simulation.gene_sets, place / "gene_sets.gmt")
            write_gmt(simulation.true_sets, place / "true_sets.gmt")
        loadings = _long(simulation.W, ("program", simulation.factors), ("gene", data.genes), "loading")
        loadings[loadings["loading"] != 0].to_csv(place / "loadings.csv", index=False, float_format="%.6g")
        scores = pd.DataFrame(
            simulation.x.numpy(), index=pd.Index(names, name="cell"), columns=list(simulation.factors)
        )
        scores.to_csv(place / "scores.csv", float_format="%.6g")
        if len(simulation.beta):
            effects = _long(simulation.beta, ("covariate", simulation.covariates), ("gene", data.genes), "effect")
            effects.to_csv(place / "covariate_effects.csv", index=False, float_format="%.6g")
        if simulation.gamma.any():
            induced = _long(
                simulation.gamma, ("covariate", simulation.covariates), ("program", simulation.factors), "effect"
            )
            induced.to_csv(place / "program_effects.csv", index=False, float_format="%.6g")


def write_sergio_simulation(simulation: SergioSimulation, folder: Path) -> None:
    """Write expression.h5ad (X as read, layer ``clean`` without technical noise, ``cell_type`` in ``.obs``), tfs.csv,
    network.csv (``source, target, sign, k``) and SERGIO's input files, sergio_targets.csv and sergio_regulators.csv.

    Several networks go to a subfolder each: network_000, network_001, …

    Raises
    ------
    ValueError
        The folder cannot be written; a network that SERGIO's files cannot hold (see `write_sergio`).
    """
    number = simulation.kinetics.num_networks
    with whole_folder(folder) as whole:
        for i in range(number):
            place = whole if number == 1 else whole / f"network_{i:03d}"
            place.mkdir(exist_ok=True)
            write_sergio(
                Kinetics(**{name: value[i : i + 1] for name, value in vars(simulation.kinetics).items()}), place
            )
            data = simulation.data(i)
            obs = pd.DataFrame({"cell_type": simulation.cell_types}, index=_cell_names(data.num_cells))
            adata = anndata.AnnData(data.X.numpy(), obs=obs, var=pd.DataFrame(index=list(data.genes)))
            adata.layers["clean"] = simulation.data(i, "clean").X.numpy()
            adata.write_h5ad(place / "expression.h5ad")
            pd.DataFrame({"tf": data.tfs}).to_csv(place / "tfs.csv", index=False)
            simulation.network(i).to_csv(place / "network.csv", index=False, float_format="%.6g")


def _long(
    values: Tensor, rows: tuple[str, Sequence[str]], columns: tuple[str, Sequence[str]], name: str
) -> pd.DataFrame:
    """A matrix as a table with one row an entry, by row and then by column."""
    return pd.DataFrame(
        {
            rows[0]: np.repeat(np.asarray(rows[1], dtype=object), len(columns[1])),
            columns[0]: np.tile(np.asarray(columns[1], dtype=object), len(rows[1])),
            name: values.numpy().ravel(),
        }
    )


def _cell_names(number: int) -> list[str]:
    return [f"cell{i:05d}" for i in range(number)]

"""`tl.panel`: a network from perturbations at steady state, in the conditions of an AnnData."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ...inference import Posterior
from ...inference.draws.intervals import LEVEL
from ...inference.engines.base import Engine
from ...priors import EdgePrior
from ..files.known_names import known_names, network_notes
from .fitted import FitOptions, annotated_cells, check_method, run
from .given import Networks, networks_of, prior_of, regulators_of

METHODS = ("factorbox", "cellbox")


def panel(
    adata: Any,
    *,
    perturbation_key: str | None = None,
    inputs: pd.DataFrame | Path | str | None = None,
    kinds: Mapping[str, str] | None = None,
    tfs: Sequence[str] | Path | str | None = None,
    priors: Networks | None = None,
    method: str | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    modality: str | None = None,
    normalize: str = "auto",
    top_genes: int | None = None,
    context_key: str | None = None,
    min_cells: int | None = None,
    control: Sequence[str] = (),
    unmeasured: bool = False,
    edge_prior: EdgePrior | str | None = None,
    model_options: Mapping[str, Any] | None = None,
    guide: Engine | str | None = None,
    steps: int | None = None,
    restarts: int | None = None,
    seed: int = 0,
    device: str = "auto",
    level: float = LEVEL,
    key: str = "pyrogrn",
    progress: bool = False,
) -> Posterior:
    """Infer a network from a panel of perturbations, and write it into ``adata`` as `tl.network` does.

    Parameters
    ----------
    adata
        AnnData of conditions × genes (un-logged levels of FactorBox, log ratios of CellBox), or a MuData with
        ``modality``.
    perturbation_key
        Of FactorBox: column of ``adata.obs`` with the gene knocked down.
    inputs
        Of CellBox: conditions × nodes, what acts on each node from outside: a table with the names of the conditions, a
        file, or the name of a table in ``adata.obsm``.
    kinds
        Of CellBox: kind of each node (``drug_activity``, ``phenotype``). Default all alike.
    method
        Default ``factorbox`` with a ``perturbation_key``, ``cellbox`` with ``inputs``.
    tfs, priors, layer, use_raw, modality, context_key, min_cells, control, unmeasured, edge_prior
        As of `tl.network`.
    normalize
        As of `tl.network`; neither method wants logarithms of counts, so that ``auto`` (default) changes nothing.
    top_genes
        Keep this many of the most variable genes, and regulators, perturbed genes and nodes on which inputs act beside.
        Default all.
    model_options, guide, steps, restarts, seed, device, level, key, progress
        As of `tl.network`.

    Returns
    -------
    Posterior
        The fit; `Posterior.predict` answers what a knock-down or a dose does.

    Raises
    ------
    ValueError
        Anything that is wrong with the data or the options, in one line.
    """
    if (perturbation_key is None) is (inputs is None):
        raise ValueError("pass either perturbation_key=, the column of knock-downs (FactorBox), or inputs= (CellBox)")
    method = method or ("factorbox" if inputs is None else "cellbox")
    check_method(method, METHODS, "panel")
    if (method == "cellbox") is (inputs is None) or (kinds is not None and method != "cellbox"):
        raise ValueError("inputs= and kinds= are of method='cellbox', perturbation_key= of method='factorbox'")
    place = annotated_cells(adata, modality)
    networks = networks_of(priors)
    chosen: dict[str, Any] = {"networks": networks, **(model_options or {})}
    if kinds is not None:
        chosen["kinds"] = dict(kinds)
    chosen |= prior_of(edge_prior)
    reading = {
        "tfs": regulators_of(place, tfs),
        "layer": layer,
        "use_raw": use_raw,
        "modality": modality,
        "normalize": normalize,
        "top_genes": top_genes,
        "context_key": context_key,
        "min_cells": min_cells,
        "perturbation_key": perturbation_key,
        "control": tuple(control),
        "unmeasured": unmeasured,
        "inputs": _inputs(place, inputs),
    }
    posterior = run(
        adata,
        function="panel",
        method=method,
        reading=reading,
        chosen=chosen,
        known=known_names(networks),
        options=FitOptions(guide, steps, restarts, seed, device, level, key, progress),
    )
    return posterior.with_notes(network_notes(networks))


def _inputs(adata: Any, inputs: pd.DataFrame | Path | str | None) -> pd.DataFrame | Path | str | None:
    """A table of ``.obsm`` by its name, or as it was given."""
    if not isinstance(inputs, str) or inputs not in adata.obsm:
        return inputs
    table = adata.obsm[inputs]
    if not isinstance(table, pd.DataFrame):
        raise ValueError(f".obsm[{inputs!r}] has no names of nodes: store a table (a DataFrame) there")
    return table

"""`tl.network`: a network from the cells of an AnnData."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ...inference import Posterior
from ...inference.amortised import KINDS
from ...inference.draws.intervals import LEVEL
from ...inference.engines.base import Engine
from ...priors import EdgePrior, PriorNetwork
from ..files.known_names import known_names, network_notes
from ..preflight import AUTO, suggested
from .fitted import FitOptions, annotated_cells, check_method, run
from .given import Networks, networks_of, prior_of, regulators_of

METHODS = ("linear", "symphony", "pmf-grn", "netrex-cf", *KINDS)  # and auto


def network(
    adata: Any,
    *,
    tfs: Sequence[str] | Path | str | None = None,
    priors: Networks | None = None,
    method: str = "auto",
    layer: str | None = None,
    use_raw: bool = False,
    modality: str | None = None,
    normalize: str = "auto",
    top_genes: int | None = None,
    context_key: str | None = None,
    min_cells: int | None = None,
    perturbation_key: str | None = None,
    control: Sequence[str] = (),
    unmeasured: bool = False,
    evidence: Mapping[str, pd.DataFrame | PriorNetwork] | None = None,
    edge_prior: EdgePrior | str | None = None,
    targets: Sequence[str] | None = None,
    calibrate: bool = True,
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
    """Infer a network from cells, and write it into ``adata``: ``pyrogrn infer`` for an AnnData.

    ``adata.uns[key]`` holds ``settings``, ``edges``, ``diagnostics``, ``verdict``,
    ``remedies`` (what to pass to the same call where a check failed) and ``notes``;
    ``adata.varp[key + "_weight"]`` and ``[key + "_inclusion"]`` the same edges as sparse matrices, regulators in rows.

    Parameters
    ----------
    adata
        AnnData of cells × genes, in memory or backed, or a MuData with ``modality``.
    tfs
        Candidate regulators: names, the path of a list, or a column of ``adata.var`` that is True for them. Default
        every gene.
    priors
        Prior networks by name: each a `PriorNetwork`, a table of edges with columns ``source`` and ``target``, or a
        file; one alone needs no name.
    method
        ``linear``, ``symphony`` (with ``evidence``), ``pmf-grn``, ``netrex-cf``, ``glad``, ``glad-tf``, ``grnular``;
        ``auto`` (default): ``symphony`` with ``evidence``, else ``linear``.
    layer, use_raw, modality, normalize, top_genes, context_key, min_cells, perturbation_key, control, unmeasured
        As of `read_expression`; by default counts are normalised where the method wants logarithms (``auto``), and
        genes without variance are left out.
    evidence
        Of ``symphony``: tables of scores (regulators × genes) or lists of edges, by name.
    edge_prior
        A prior, or its name on the command line. Default that of the model.
    targets
        Genes to explain. Default all.
    calibrate
        Of ``linear``: learn on targets made on these regulators how often what the fit says is right, and correct its
        probabilities by that. Default True.
    model_options
        Other arguments of the model's ``from_data``. Default none.
    guide
        An engine, or its name on the command line. Default the most trustworthy that applies.
    steps, restarts
        Of a sampler: kept draws of a chain, chains; of a guide: most steps, random starts. Default those of the engine.
    seed
        Same seed, same draws.
    device
        ``auto``, ``cpu`` or ``cuda``.
    level
        Probability of the intervals. Default 0.89, as ArviZ.
    key
        Under which results are written. Default ``pyrogrn``.
    progress
        Show a progress bar. Default False.

    Returns
    -------
    Posterior
        The fit; `Posterior.edges` makes lists of it.

    Raises
    ------
    ValueError
        Anything that is wrong with the data or the options, in one line.

    Examples
    --------
    >>> import anndata, pandas as pd
    >>> from pyrogrn.models.simulators import simulate_linear
    >>> cells = simulate_linear(num_genes=8, num_tfs=2, num_cells=50, seed=0).data
    >>> adata = anndata.AnnData(cells.X.numpy(), var=pd.DataFrame(index=list(cells.genes)))
    >>> posterior = network(adata, tfs=list(cells.tfs), steps=20, restarts=2)
    >>> adata.varp["pyrogrn_inclusion"].shape
    (8, 8)
    """
    method = suggested(None, evidence=bool(evidence)).method if method == AUTO else method
    model = check_method(method, METHODS, "network")
    networks = networks_of(priors)
    chosen: dict[str, Any] = {"networks": networks, **(model_options or {})}
    chosen |= prior_of(edge_prior)
    if targets is not None:
        chosen["targets"] = list(targets)
    if ("evidence" in model.takes) is not bool(evidence):
        raise ValueError("method='symphony' and evidence= go together: the other methods take no evidence on edges")
    if evidence:
        chosen["evidence"] = dict(evidence)
    reading = {
        "tfs": regulators_of(annotated_cells(adata, modality), tfs),
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
    }
    posterior = run(
        adata,
        function="network",
        method=method,
        reading=reading,
        chosen=chosen,
        known=known_names(networks | dict(evidence or {})),
        options=FitOptions(
            guide, steps, restarts, seed, device, level, key, progress, calibrate and method == "linear"
        ),
    )
    return posterior.with_notes(network_notes(networks))

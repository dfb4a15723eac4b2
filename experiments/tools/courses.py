"""`tl.courses`: a network from time courses in the cells of an AnnData."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...inference import Posterior
from ...inference.draws.intervals import LEVEL
from ...inference.engines.base import Engine
from ...priors import EdgePrior
from ..files.known_names import known_names, network_notes
from .fitted import FitOptions, annotated_cells, check_method, run
from .given import Networks, networks_of, prior_of, regulators_of

METHODS = ("trajectory", "phoenix")


def courses(
    adata: Any,
    *,
    time_key: str,
    trajectory_key: str | None = None,
    metacells: int | None = None,
    tfs: Sequence[str] | Path | str | None = None,
    priors: Networks | None = None,
    method: str = "trajectory",
    layer: str | None = None,
    use_raw: bool = False,
    modality: str | None = None,
    normalize: str = "auto",
    top_genes: int | None = None,
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
    """Infer a network from time courses, and write it into ``adata`` as `tl.network` does.

    Parameters
    ----------
    adata
        AnnData of cells (or samples) × genes, or a MuData with ``modality``.
    time_key, trajectory_key
        Columns of ``adata.obs``: the time of each cell (``3``, ``24h``, ``day 3``, ``E8.5``), and the name of its time
        course (default one for all).
    metacells
        Average cells of like time into this many meta-cells a course, as pseudotime needs. Default none.
    method
        ``trajectory`` for edges, ``phoenix`` for dynamics.
    tfs, priors, layer, use_raw, modality, normalize, top_genes, edge_prior
        As of `tl.network`.
    model_options, guide, steps, restarts, seed, device, level, key, progress
        As of `tl.network`.

    Returns
    -------
    Posterior
        The fit; of ``phoenix``, `Posterior.course` predicts.

    Raises
    ------
    ValueError
        Anything that is wrong with the data or the options, in one line.
    """
    check_method(method, METHODS, "courses")
    place = annotated_cells(adata, modality)
    networks = networks_of(priors)
    chosen: dict[str, Any] = {"networks": networks, **(model_options or {})}
    chosen |= prior_of(edge_prior)
    reading = {
        "tfs": regulators_of(place, tfs),
        "layer": layer,
        "use_raw": use_raw,
        "modality": modality,
        "normalize": normalize,
        "top_genes": top_genes,
        "time_key": time_key,
        "trajectory_key": trajectory_key,
        "metacells": metacells,
    }
    posterior = run(
        adata,
        function="courses",
        method=method,
        reading=reading,
        chosen=chosen,
        known=known_names(networks),
        options=FitOptions(guide, steps, restarts, seed, device, level, key, progress),
    )
    return posterior.with_notes(network_notes(networks))

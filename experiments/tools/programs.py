"""`tl.programs`: gene programs from the cells of an AnnData."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...inference import Posterior
from ...inference.draws.intervals import LEVEL
from ...inference.engines.base import Engine
from ...priors import LoadingPrior, read_gmt
from ..commands.options import make_loading_prior
from ..files.known_names import known_names
from ..report.program_tables import GeneSets
from .fitted import FitOptions, annotated_cells, check_method, run

METHODS = ("muvi", "ppca")


def programs(
    adata: Any,
    *,
    gene_sets: GeneSets | Mapping[str, Sequence[str]] | Path | str | None = None,
    num_factors: int | None = None,
    method: str = "muvi",
    layer: str | None = None,
    use_raw: bool = False,
    modality: str | None = None,
    normalize: str = "auto",
    top_genes: int | None = None,
    context_key: str | None = None,
    covariates: Sequence[str] = (),
    missing: bool = False,
    loading_prior: LoadingPrior | str | None = None,
    likelihood: str | Mapping[str, str] | None = None,
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
    """Find gene programs in cells, and write them into ``adata``: ``pyrogrn infer --method muvi`` for an AnnData.

    ``adata.obsm["X_" + method]`` (and ``_sd``) holds the scores of the cells, ``adata.varm[method + "_loadings"]`` the
    loadings, ``adata.uns[key]`` the tables, ``settings``, ``diagnostics``, ``verdict``,
    ``remedies`` and ``notes``.

    Parameters
    ----------
    adata
        AnnData of cells × genes, or MuData: its modalities are views, unless ``modality`` names one.
    gene_sets
        Of ``muvi``: sets by library, ``{"hallmark": {"HYPOXIA": [...]}}``, sets alone, or a GMT file. Each becomes a
        program.
    num_factors
        Programs without a gene set. Default 10; beside gene sets 2.
    method
        ``muvi`` or ``ppca``.
    layer, use_raw, modality, normalize, top_genes, context_key, covariates, missing
        As of `read_expression`; by default as of `tl.network`.
    loading_prior
        A prior, or its name on the command line. Default that of the model.
    likelihood
        Of ``muvi``: one for all views, or by view. Default ``gaussian``.
    model_options, guide, steps, restarts, seed, device, level, key, progress
        As of `tl.network`.

    Returns
    -------
    Posterior
        The fit; `Posterior.programs` and `Posterior.scores` ask it.

    Raises
    ------
    ValueError
        Anything that is wrong with the data or the options, in one line.
    """
    check_method(method, METHODS, "programs")
    annotated_cells(adata, modality)
    libraries = _libraries(gene_sets)
    chosen: dict[str, Any] = dict(model_options or {})
    if method == "ppca" and (libraries or likelihood):
        raise ValueError("method='ppca' takes neither gene sets nor a likelihood: use method='muvi'")
    chosen |= {"num_factors": num_factors} if num_factors is not None else {}
    chosen |= {"gene_sets": libraries} if libraries else {}
    chosen |= {"likelihood": likelihood} if likelihood else {}
    if loading_prior is not None:
        named = isinstance(loading_prior, str)
        chosen["loading_prior"] = make_loading_prior(loading_prior, {}) if named else loading_prior  # type: ignore[arg-type]
    reading = {
        "tfs": None,
        "layer": layer,
        "use_raw": use_raw,
        "modality": modality,
        "normalize": normalize,
        "top_genes": top_genes,
        "context_key": context_key,
        "covariates": list(covariates) if not isinstance(covariates, str) else covariates,
        "missing": missing,
    }
    return run(
        adata,
        function="programs",
        method=method,
        reading=reading,
        chosen=chosen,
        known=known_names({}, gene_sets=libraries),
        options=FitOptions(guide, steps, restarts, seed, device, level, key, progress),
    )


def _libraries(gene_sets: Any) -> dict[str, Mapping[str, Sequence[str]]]:
    """Sets by library."""
    if gene_sets is None:
        return {}
    if isinstance(gene_sets, str | Path):
        name = Path(gene_sets).name.removesuffix(".gz").removesuffix(".gmt")
        return {name: read_gmt(gene_sets)}
    if not isinstance(gene_sets, Mapping) or any(isinstance(genes, str) for genes in gene_sets.values()):
        raise ValueError("gene_sets: expected lists of genes by the name of the set, such sets by library, or a file")
    if all(isinstance(sets, Mapping) for sets in gene_sets.values()):
        return {str(name): sets for name, sets in gene_sets.items()}
    return {"sets": gene_sets}

"""Activities of regulators by the methods of decoupler, on a list of edges made here."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from ..models import ExpressionData
from ..models.data.accepts import takes_anndata
from .regulons import MIN_TARGETS

METHODS = ("ulm", "mlm", "viper", "waggr", "zscore", "aucell", "gsea", "gsva", "ora", "udt", "mdt")
"""Of decoupler 2, as it calls them."""


@takes_anndata
def decoupler_scores(
    data: ExpressionData, edges: pd.DataFrame, *, method: str = "ulm", min_targets: int = MIN_TARGETS
) -> pd.DataFrame:
    """Score of each regulator in each cell, by a method of decoupler (the extra ``priors``).

    `regulons.activities` is the posterior of the fitted model, with sd; this is what the field compares with.

    Parameters
    ----------
    data
        Cells, on the scale that the method wants (logarithms for most).
    edges
        The list: ``source, target, weight``.
    method
        Default ``ulm``: for each cell and regulator the t-value of a regression of the levels of all genes on the
        regulator's weights.
    min_targets
        Fewest measured targets of a regulator. Default 3.

    Returns
    -------
    DataFrame
        ``cell, regulator, score, padj``, all regulators of a cell together; ``padj`` is NaN of methods that test
        nothing.

    Raises
    ------
    ValueError
        decoupler is not installed, an unknown method, no regulator with enough measured targets.
    """
    if method not in METHODS:
        raise ValueError(f"decoupler method {method!r}: choose one of {', '.join(METHODS)}")
    net = edges[["source", "target", "weight"]]
    net = net[net["target"].isin(data.genes) & (net["weight"] != 0)]
    counts = net["source"].value_counts()
    if not (counts >= min_targets).any():
        raise ValueError(f"no regulator has {min_targets} measured targets: take a longer list, or fewer `min_targets`")
    threads = torch.get_num_threads()
    try:
        import decoupler
    except ImportError as error:
        raise ValueError("decoupler is not installed: pip install '.[priors]'") from error
    names = data.labels.names if data.labels is not None else [str(i) for i in range(data.num_cells)]
    levels = data.rows(slice(0, data.num_cells)).double().cpu().numpy()
    table = pd.DataFrame(levels, index=list(names), columns=list(data.genes))
    try:
        made = getattr(decoupler.mt, method)(table, net, tmin=min_targets, verbose=False)
    finally:
        torch.set_num_threads(threads)  # decoupler's compiled loops set those of OpenMP, which torch shares
    score, padj = made if isinstance(made, tuple) else (made, None)
    return long_table(score, padj)


def long_table(score: pd.DataFrame, padj: pd.DataFrame | None) -> pd.DataFrame:
    """``cell, regulator, score, padj`` of tables cell × regulator."""
    cells, regulators = score.shape
    tested = np.full(score.shape, np.nan) if padj is None else padj.reindex_like(score).to_numpy()
    return pd.DataFrame(
        {
            "cell": score.index.repeat(regulators),
            "regulator": list(score.columns) * cells,
            "score": score.to_numpy().ravel(),
            "padj": tested.ravel(),
        }
    )


def mean_by_group(scores: pd.DataFrame, groups: Sequence[str]) -> pd.DataFrame:
    """``group, regulator, mean, cells`` of `decoupler_scores`, with the label of each cell."""
    cells = scores["cell"].drop_duplicates()
    label = pd.Series(list(groups), index=cells)
    grouped = scores.assign(group=scores["cell"].map(label)).groupby(["group", "regulator"], sort=False)["score"]
    return grouped.agg(mean="mean", cells="size").reset_index()

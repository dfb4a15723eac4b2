"""A fit written into an AnnData: settings, tables and diagnostics in ``uns``, edges in ``varp``, programs in ``varm``
and ``obsm``. Everything can be written by ``write_h5ad`` and read again."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ...inference import Posterior
from ...inference.diagnostics import verdict
from ...inference.points import is_point
from ...models import ExpressionData
from ..files.network_tables import BIG, WORTH_READING, is_big
from ..remedies import REMEDIES
from ..report.kind import Tables
from ..report.run import REPORTS


def write_fit(
    adata: Any,
    posterior: Posterior,
    data: ExpressionData,
    checks: pd.DataFrame,
    *,
    settings: Mapping[str, Any],
    level: float,
    preflight: Sequence[str] = (),
    mended: Sequence[str] = (),
    key: str = "pyrogrn",
) -> None:
    """Write ``uns[key]``: ``settings``, ``verdict``, ``diagnostics``, ``remedies``, ``notes``, and what is inferred.

    Of a network: ``uns[key]["edges"]`` (`Posterior.edges`; of more than a million edges those of a probability of at
    least 0.05), ``uns[key]["links"]`` (`Posterior.links`), and with several contexts ``uns[key]["edges_by_context"]``,
    with a column ``context``; ``varp[key + "_weight"]`` and ``varp[key + "_inclusion"]``, CSR matrices (regulator,
    target) of the same edges over all genes of ``adata``. Of programs: ``uns[key]["programs"]``, ``["factors"]`` and
    the other tables of the fit, and `Posterior.annotate`: scores in ``obsm``, loadings in ``varm``.

    Parameters
    ----------
    adata
        AnnData or MuData; changed in place.
    posterior, data
        The fit, and the cells it was made from.
    checks
        `Posterior.diagnose`.
    settings
        What was run; None is left out.
    level
        Probability of the intervals.
    preflight
        What was said before the fit; kept under ``uns[key]["preflight"]``.
    mended
        What to pass where checks failed, `remedies`; kept under ``uns[key]["remedies"]``.
    key
        Of all that is written. Default ``pyrogrn``.
    """
    found: dict[str, Any] = {
        "settings": storable(settings),
        "verdict": verdict(checks),
        "diagnostics": storable_checks(checks),
        "notes": np.array(list(posterior.notes), dtype=object),
        "preflight": np.array(list(preflight), dtype=object),
        REMEDIES: np.array(list(mended), dtype=object),
    }
    tables = REPORTS[posterior.model.infers].tables(posterior, data, level=level)
    write = {"network": _write_network, "programs": _write_programs}[posterior.model.infers]
    found |= write(adata, posterior, data, tables, level, key)
    adata.uns[key] = found


def _write_network(
    adata: Any, posterior: Posterior, data: ExpressionData, tables: Tables, level: float, key: str
) -> dict[str, Any]:
    top, least = None, None
    if is_big(posterior):
        top, least = (BIG, None) if is_point(posterior) else (None, WORTH_READING)
    edges = posterior.edges(level=level, top=top, least=least)
    values = {"weight": edges["weight"]} | ({} if is_point(posterior) else {"inclusion": edges["inclusion"]})
    for name, value in values.items():
        adata.varp[f"{key}_{name}"] = pairs_matrix(edges, value.to_numpy(), adata.var_names)
    found = {"edges": storable_table(edges), "links": storable_table(posterior.links())}
    contexts = posterior.coords["context"]
    if len(contexts) > 1:
        parts = [
            posterior.edges(level=level, context=c, top=top, least=least).assign(context=c) for c in map(str, contexts)
        ]
        found["edges_by_context"] = storable_table(pd.concat(parts, ignore_index=True))
    return found


def _write_programs(
    adata: Any, posterior: Posterior, data: ExpressionData, tables: Any, level: float, key: str
) -> dict[str, Any]:
    posterior.annotate(adata, data)
    names = ("programs", "factors", "gene_sets", "covariate_effects", "enrichment")
    found = {name: getattr(tables, name) for name in names}
    return {name: storable_table(table) for name, table in found.items() if table is not None}


def pairs_matrix(edges: pd.DataFrame, values: np.ndarray, genes: pd.Index) -> sp.csr_matrix:
    """``(gene, gene)`` CSR of one value an edge, regulators in rows; edges of genes that are not there are left out."""
    source, target = (genes.get_indexer(pd.Index(edges[name])) for name in ("source", "target"))
    there = (source >= 0) & (target >= 0)
    shape = (len(genes), len(genes))
    return sp.csr_matrix((values[there].astype(np.float32), (source[there], target[there])), shape=shape)


# -- what h5ad can hold ----
def storable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers, texts, arrays of texts, and dictionaries of these; what is None or empty is left out."""
    plain: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            plain[name] = storable(value)
        elif isinstance(value, str | bool | int | float):
            plain[name] = value
        elif value is not None and len(value):
            plain[name] = np.array([str(entry) for entry in value], dtype=object)
    return plain


def storable_table(table: pd.DataFrame) -> pd.DataFrame:
    """Texts as objects without gaps, and rows named by their number as text, as h5ad has them."""
    kept = table.reset_index(drop=True)
    for name in kept.columns:
        if kept[name].dtype == object or pd.api.types.is_string_dtype(kept[name]):
            kept[name] = kept[name].astype(object).fillna("").map(str).astype(object)
    kept.index = kept.index.astype(str)
    kept.attrs = {}
    return kept


def storable_checks(checks: pd.DataFrame) -> pd.DataFrame:
    """Diagnostics with one type a column: ``check, value, threshold`` as text, ``passed`` as ``yes``, ``no`` or
    ``not checked``, and ``meaning``."""
    passed = [
        "not checked" if value is None or pd.isna(value) else "yes" if value else "no" for value in checks["passed"]
    ]
    number = lambda v: v if isinstance(v, str) else "" if v is None or pd.isna(v) else f"{v:.4g}"
    texts = {name: [number(value) for value in checks[name]] for name in ("value", "threshold")}
    return storable_table(checks.assign(**texts, passed=passed))

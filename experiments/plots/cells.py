"""Programs over the cells of an embedding."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..figures.embedding import draw_embedded, embedded_scores
from .drawing import drawn


def umap_program(
    adata: Any, program: str, *, method: str = "muvi", basis: str = "X_umap", ax: Axes | None = None
) -> Axes:
    """The cells of an embedding, coloured by their score of a program.

    Parameters
    ----------
    adata
        AnnData in which `tl.programs` (or `Posterior.annotate`) has written.
    program
        Name of the program.
    method
        Of the fit: ``muvi`` or ``ppca``. Default ``muvi``.
    basis
        Of ``adata.obsm``: an embedding of two dimensions or more. Default ``X_umap``.
    ax
        Axes to draw into. Default a figure of its own.

    Raises
    ------
    ValueError
        No scores, no embedding, no such program.
    """
    if f"X_{method}" not in adata.obsm or method not in adata.uns:
        raise ValueError(f"no scores in .obsm['X_{method}']: run pyrogrn.tl.programs(adata, ...) first")
    if basis not in adata.obsm:
        raise ValueError(f"no embedding .obsm[{basis!r}]: there are {', '.join(sorted(adata.obsm))}")
    names = [str(name) for name in adata.uns[method]["programs"]]
    if program not in names:
        raise ValueError(f"no program {program!r}: there are {', '.join(names[:8])}")
    place = np.asarray(adata.obsm[basis], dtype=np.float64)[:, :2]
    score = np.asarray(adata.obsm[f"X_{method}"], dtype=np.float64)[:, names.index(program)]
    axes = basis.removeprefix("X_").upper()
    return drawn(
        ax,
        lambda: embedded_scores(place, score, name=program, axes=axes),
        lambda a: draw_embedded(a, place, score, name=program, axes=axes),
    )

"""How many programs: by the evidence lower bound, and by the density of held-out cells."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from ..models import ExpressionData, FactorModel
from .answers.cells import log_density
from .fit import fit
from .variational.guides import Blocked


def number_of_factors(
    make_model: Callable[[ExpressionData, int], FactorModel],
    data: ExpressionData,
    candidates: Sequence[int],
    *,
    held_out: float = 0.2,
    restarts: int = 2,
    seed: int = 0,
) -> pd.DataFrame:
    """Fit models of several sizes and compare them in two ways that do not need a truth.

    Parameters
    ----------
    make_model
        From cells and a number of factors to a model: ``lambda cells, k: MuVI(cells, num_factors=k)``.
    data
        Complete Gaussian cells.
    candidates
        Numbers of factors to try.
    held_out
        Share of the cells, drawn at random, whose density is predicted by a fit of the others. Default a fifth.
    restarts
        Of each fit; the best counts.
    seed
        Of the split and the fits.

    Returns
    -------
    DataFrame
        ``num_factors, evidence`` (lower bound on log p(data), all cells), ``held_out`` (mean log density of a held-out
        cell), ``standard_error`` of the difference to the best, and ``best_evidence, best_held_out`` flags.

    Raises
    ------
    ValueError
        No candidates, or a share that leaves no cells on either side.

    Examples
    --------
    >>> from pyrogrn import PPCA, simulate_ppca
    >>> cells = simulate_ppca(num_genes=20, num_cells=200, num_factors=2, seed=0).data
    >>> table = number_of_factors(lambda c, k: PPCA(c, num_factors=k), cells, [1, 2, 4])
    >>> int(table.loc[table["best_evidence"], "num_factors"].iloc[0])
    2
    """
    if not candidates:
        raise ValueError("no candidates: give the numbers of factors to try")
    number = round(held_out * data.num_cells)
    if not 0 < number < data.num_cells - 1:
        raise ValueError(f"held_out is {held_out} of {data.num_cells} cells: expected some on either side")
    order = np.random.default_rng(seed).permutation(data.num_cells)
    test, train = data.subset(np.sort(order[:number])), data.subset(np.sort(order[number:]))
    rows, densities = [], []
    for size in candidates:
        whole = fit(make_model(data, size), guide=Blocked(refresh=0), restarts=restarts, num_draws=1, seed=seed)
        part = fit(make_model(train, size), guide=Blocked(), restarts=restarts, num_draws=50, seed=seed)
        densities.append(log_density(part, test))
        rows.append({"num_factors": size, "evidence": float(np.nanmax(whole.history.elbo[:, -1]))})
    table = pd.DataFrame(rows)
    density = np.array(densities)  # (candidate, cell)
    best = int(density.mean(1).argmax())
    table["held_out"] = density.mean(1)
    table["standard_error"] = (density - density[best]).std(1, ddof=1) / np.sqrt(density.shape[1])
    table["best_evidence"] = table["evidence"] == table["evidence"].max()
    table["best_held_out"] = np.arange(len(table)) == best
    return table

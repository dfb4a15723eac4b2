r"""Variance flux analysis of a fitted dynamical network: which genes drive the variation of the others."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...models import Model
from ...models.dynamics.dynamics import ENVELOPES
from ...models.dynamics.flux import Unstable, exported, imported, variance_flux
from ...models.dynamics.settle import SETTLED, settle
from ..draws.fitted import PosteriorLike
from ..draws.intervals import LEVEL, check_draws, check_level
from ..points import without_certainty
from .registry import answers_of
from .results import Fluctuations


def flux_table(
    posterior: PosteriorLike[Model],
    *,
    context: str | None = None,
    level: float = LEVEL,
    num_draws: int = 20,
    seed: int = 0,
) -> tuple[pd.DataFrame, np.ndarray]:
    r"""Variance that each gene exports to, and imports from, the others at the undisturbed steady state.

    Around it, :math:`d\delta = J\delta\,dt + \sqrt{2D}\,dB`, and the stationary covariance solves
    :math:`J\Sigma+\Sigma J^\top+2D=0`. It is linear in the noise sources: :math:`\Sigma_{ii} = \sum_j V_{ji}`, with
    :math:`V_{ji}` the variance of gene i when gene j alone has noise. A gene's own noise is what the fit leaves
    unexplained: :math:`D_{jj} = \alpha_j(\varepsilon_j\phi'_j\sigma_j/\alpha_j)^2` for FactorBox, whose noise is in the
    drive, and :math:`\alpha_j\sigma_j^2` for CellBox, so that a gene without regulators would vary by exactly that (of
    log levels, where the drive is linear in them). Flows are shares of the affected gene's variance,
    :math:`v_{ji} = V_{ji}/\Sigma_{ii}`: *exported* :math:`\sum_{i\ne j} v_{ji}` counts genes' worth of variance,
    *imported* :math:`\sum_{i\ne j} v_{ij}` is between 0 and 1. What has no equation of its own does not vary and has no
    row: genes that are no targets, and the nodes of drugs, which nobody gives here; what the fit leaves unexplained of
    these is how far their response to a dose is from the assumed curve, no fluctuation.

    Parameters
    ----------
    context
        One context's network; needed where there are several.
    level, num_draws, seed
        Of the intervals; posterior draws used (a network of 1,000 genes takes seconds a draw).

    Returns
    -------
    DataFrame, array
        ``gene, exported, exported_sd, exported_lower, exported_upper, imported, imported_sd, imported_lower,
        imported_upper, top_probability, settled`` sorted by exported; ``settled`` is the share of draws that have a
        stationary variance (a stable steady state, not at the edge of an oscillation), the others are left out;
        ``top_probability`` is the share of draws in which the gene is among the ten that export most. And the mean
        ``(source, affected)`` shares, for figures.

    Raises
    ------
    ValueError
        Another model, no draw with a stable steady state; a ``level`` outside (0, 1), fewer than one draw.
    """
    check_level(level)
    check_draws(num_draws)
    model = posterior.model
    fluctuations = answers_of(model).fluctuations(model, context)
    draws = posterior.sample(num_draws, seed=seed)
    shares, total = [], np.zeros((len(model.genes), len(model.genes)))
    free = np.ones(len(model.genes), dtype=bool)
    for i in range(num_draws):
        one = {name: value[i : i + 1] for name, value in draws.items()}
        disturbed = fluctuations(one)
        free = disturbed.free.numpy()  # in every draw the same
        found = _shares(disturbed)
        if found is None:
            continue
        shares.append((exported(found).numpy(), imported(found).numpy()))
        total = total + found.numpy()
    if not shares:
        raise ValueError(
            f"none of {num_draws} draws has a stable steady state: there is no stationary variance. Give the fit "
            "hidden inputs (`hidden=20`) or fewer regulators"
        )
    sent, received = (np.stack(part) for part in zip(*shares, strict=True))
    table = pd.DataFrame({"gene": list(model.genes)})
    tail = (1 - level) / 2
    for name, values in (("exported", sent), ("imported", received)):
        table[name], table[f"{name}_sd"] = values.mean(0), values.std(0)
        table[f"{name}_lower"], table[f"{name}_upper"] = np.quantile(values, [tail, 1 - tail], axis=0)
    rank = (-sent).argsort(1).argsort(1)
    table["top_probability"] = (rank < 10).mean(0)
    table["settled"] = len(shares) / num_draws
    mean = total / len(shares)
    table = table[free].sort_values("exported", ascending=False, ignore_index=True)
    return without_certainty(posterior, table), mean


def _shares(one: Fluctuations) -> Tensor | None:
    """``(source, affected)`` shares of variance in one draw, or None where it has no stationary variance."""
    state = settle(one.dynamics, one.start, clamped=~one.free[None])
    if int(state.outcome[0, 0]) != SETTLED:
        return None
    x, sigma, dynamics = state.x[:, 0], one.sigma, one.dynamics
    if one.in_drive:
        drive = torch.einsum("ds,dst->dt", x, dynamics.W) + dynamics.bias
        sigma = dynamics.gain * ENVELOPES[dynamics.envelope].derivative(drive) * sigma / dynamics.decay
    diffusion = torch.where(one.free, dynamics.decay * sigma.square(), 0.0)
    try:
        flux = variance_flux(dynamics, x, diffusion, clamped=~one.free)[0]  # (source, affected)
    except Unstable:
        return None
    whole = flux.sum(0)
    return torch.where(whole > 0, flux / whole, 0.0)

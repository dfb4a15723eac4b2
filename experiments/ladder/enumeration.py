"""The engine beside the exact posterior: all graphs of a few of the user's regulators."""

import itertools
from dataclasses import replace

import numpy as np
from scipy import stats

from ...models import ExpressionData
from ...models.data.out_of_fold import within_contexts
from ...models.regression import NOISE_RATE, NOISE_SHAPE
from ...models.simulators import OutOfFold, WorldKind, semi_synthetic
from ...priors import SpikeSlab
from .path import UserPath

MOST_TFS, MOST_TARGETS = 5, 20  # 32 graphs of each target
GRID = np.exp(np.linspace(np.log(1e-3), np.log(30.0), 400))  # σ², for quadrature
EDGE_PROBABILITY, SLAB, SPIKE_RATIO = 0.2, 0.3, 0.05  # held: what is learned from all targets cannot be enumerated


def exact_inclusion(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    r"""P(edge | y) of every regulator by summing over all :math:`2^T` graphs and integrating the noise by quadrature.

    .. math:: p(y \mid \gamma) = \int N(y; 1\mu + XW, \sigma^2 I)\, N(W; 0, D_\gamma)\, \mathrm{InvGamma}(\sigma^2)\,
              dW\, d\mu\, d\sigma^2, \qquad D_\gamma = \mathrm{diag}(s^2 \rho^{2(1 - \gamma)})

    Parameters
    ----------
    X, y
        (cell, tf) and (cell,) in the units of the fit.
    """
    X, y = X - X.mean(0), y - y.mean()
    gram, moment, square, dof = X.T @ X, X.T @ y, float(y @ y), len(y) - 1
    graphs = np.array(list(itertools.product((0, 1), repeat=X.shape[1])))
    variance = np.square(SLAB * np.where(graphs == 1, 1.0, SPIKE_RATIO))  # (graph, tf)
    size = graphs.sum(1)
    prior = size * np.log(EDGE_PROBABILITY) + (graphs.shape[1] - size) * np.log1p(-EDGE_PROBABILITY)
    noise = GRID[:, None, None, None]
    precision = gram / noise + np.eye(len(gram)) / variance[:, :, None]  # (noise, graph, tf, tf)
    eta = moment / GRID[:, None]
    solved = np.linalg.solve(precision, np.broadcast_to(eta[:, None, :, None], (*precision.shape[:-1], 1)))[..., 0]
    fitted = (solved * eta[:, None]).sum(-1)
    log_det = np.linalg.slogdet(precision)[1] + np.log(variance).sum(-1)
    at = -0.5 * (dof * np.log(GRID)[:, None] + square / GRID[:, None] + log_det - fitted)
    at += (stats.invgamma.logpdf(GRID, NOISE_SHAPE, scale=NOISE_RATE) + np.log(GRID))[:, None]
    total = np.logaddexp.reduce(at, axis=0) + prior
    weight = np.exp(total - np.logaddexp.reduce(total))
    return weight @ graphs


def enumerated(data: ExpressionData, donors: OutOfFold, path: UserPath, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities of the path's engine and the exact ones, each (tf, target), on targets made on five of the
    user's regulators, under a spike-and-slab prior whose constants are held.

    Parameters
    ----------
    data, donors
        The real cells and what is explained of them.
    path
        Its engine must go with `SpikeSlab`.
    seed
        Of the choice of regulators, of the targets and of the fit.
    """
    generator = np.random.default_rng([seed, 7])
    chosen = generator.choice(len(data.tfs), size=min(MOST_TFS, len(data.tfs)), replace=False)
    few = data.annotated(tfs=[data.tfs[i] for i in sorted(chosen.tolist())])
    kind = WorldKind(responses=("linear",))
    world = semi_synthetic(few, donors, kind, num_targets=MOST_TARGETS, seed=seed)
    cells = replace(world.data, context=None, context_names=("all",), perturbed=None)
    prior = SpikeSlab(edge_probability=EDGE_PROBABILITY, slab_scale=SLAB, spike_ratio=SPIKE_RATIO)
    model = path.model(cells, prior=prior)
    posterior = replace(path, trial=None).fit(model, cells, seed=seed)  # the model's own probabilities
    column = [model.targets.index(name) for name in world.targets]
    found = posterior.moments["W"].inclusion[:, column].astype(float)
    X = cells.X.double().numpy(force=True)
    Z = within_contexts(X, np.zeros(len(X), dtype=int))[0] * np.sqrt((len(X) - 1) / len(X))
    tfs = len(cells.tfs)
    exact = np.stack([exact_inclusion(Z[:, :tfs], Z[:, i]) for i in range(tfs, Z.shape[1])], axis=1)
    return found, exact

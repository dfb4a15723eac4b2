"""Activities of regulators by a network, whether replicates agree on them, and whether the perturbed one is found."""

from collections.abc import Mapping

import numpy as np

from .perturbed_cells import PerturbedCells
from .score import Score, paired_t

LEAST_TARGETS = 3  # of a regulator whose activity is read; a slope through fewer genes says nothing
RANDOM = 50  # networks of equal size whose mean is subtracted; its error is then a seventh of one network's


def activity(profile: np.ndarray, weight: np.ndarray) -> np.ndarray:
    r"""Univariate linear model: t statistic of the slope of a profile over genes on a regulator's weights.

    .. math:: t = r\sqrt{\frac{G - 2}{1 - r^2}}, \qquad r = \operatorname{corr}_g(y_g, w_g)

    Parameters
    ----------
    profile
        ``(profile, gene)``.
    weight
        ``(regulator, gene)``, zero for what is no target.

    Returns
    -------
    ndarray
        ``(profile, regulator)``; 0 where either does not vary.
    """
    y = profile - profile.mean(-1, keepdims=True)
    w = weight - weight.mean(-1, keepdims=True)
    norm = np.sqrt(np.square(y).sum(-1))[:, None] * np.sqrt(np.square(w).sum(-1))[None]
    r = np.divide(y @ w.T, norm, out=np.zeros(norm.shape), where=norm > 0)
    return r * np.sqrt((profile.shape[-1] - 2) / np.maximum(1.0 - np.square(r), 1e-12))


def consistency_scores(networks: Mapping[str, np.ndarray], cells: PerturbedCells) -> dict[str, dict[str, Score]]:
    r"""Replicate consistency: how little of a regulator's activity differs between replicates of one condition.

    .. math:: 1 - \frac{\operatorname{mean}_c \operatorname{var}_r a_{cr}}{\operatorname{var}_{cr} a_{cr}}
              \quad\text{(at least 0)},

    over conditions c and replicates r in which the condition and controls have cells. Regulators with fewer than three
    targets score 0; those that no network has are left out. No scores where there is one replicate.
    """
    profiles = [cells.means(cells.group == group) for group in range(int(cells.group.max()) + 1)]
    responses = np.stack(profiles)  # (replicate, condition, gene)
    whole = np.isfinite(responses).all((0, 2))
    if len(profiles) < 2 or whole.sum() < 2:
        return {name: {} for name in networks}
    responses = responses[:, whole]
    regulators = _regulators(networks)
    found = {}
    for name, weight in networks.items():
        own = weight[regulators]
        a = np.stack([activity(profile, own) for profile in responses])  # (replicate, condition, regulator)
        within, total = a.var(0, ddof=1).mean(0), a.reshape(-1, a.shape[-1]).var(0, ddof=1)
        share = np.divide(within, total, out=np.ones_like(total), where=total > 0)
        share[np.count_nonzero(own, axis=1) < LEAST_TARGETS] = 1.0
        found[name] = {"replicates agree": Score("regulators", np.maximum(0.0, 1.0 - share))}
    return found


def recovery_scores(
    networks: Mapping[str, np.ndarray], cells: PerturbedCells, *, seed: int = 0
) -> dict[str, dict[str, Score]]:
    r"""TF recovery: is the perturbed regulator more active, one way or the other, than by random networks?

    .. math:: d_c = |a_{c}| - \operatorname{mean}_{k} |a^{(k)}_{c}|, \qquad t = \bar d \Big/ \frac{s_d}{\sqrt n}

    with a the activity of the perturbed regulator in its own condition and :math:`a^{(k)}` that by its weights handed
    to genes at random. ``recovery, all`` (t_rec_recall): over all perturbed genes that any network has as a regulator,
    0 where this one gives it fewer than three targets. ``recovery, found`` (t_rec_precision): over those of at least
    three targets alone; the regulators then differ from network to network, so it has no paired difference. The
    perturbed gene itself is left out of its profile.
    """
    anywhere = {int(gene) for gene in _regulators(networks)}
    judged = [place for place, gene in enumerate(cells.own) if gene in anywhere]
    found = {}
    for name, weight in networks.items():
        differences = np.array([_recovered(cells, place, weight, seed) for place in judged])
        enough = np.array([np.count_nonzero(weight[cells.own[place]]) >= LEAST_TARGETS for place in judged], dtype=bool)
        found[name] = {
            "recovery, all": Score("perturbations", differences, paired_t),
            "recovery, found": Score("perturbations", differences[enough], paired_t),
        }
    return found


def _recovered(cells: PerturbedCells, place: int, weight: np.ndarray, seed: int) -> float:
    """``d`` of one condition; 0 where its regulator has too few targets."""
    own = cells.own[place]
    others = np.arange(len(cells.genes)) != own
    row = weight[own, others]
    if np.count_nonzero(row) < LEAST_TARGETS:
        return 0.0
    generator = np.random.default_rng([seed, place])
    shuffled = np.stack([row, *(generator.permutation(row) for _ in range(RANDOM))])
    size = np.abs(activity(cells.responses[place][None, others], shuffled))[0]
    return float(size[0] - size[1:].mean())


def _regulators(networks: Mapping[str, np.ndarray]) -> np.ndarray:
    """Positions of the genes that regulate in any network."""
    return np.flatnonzero(np.any([w.any(1) for w in networks.values()], axis=0))

r"""How much was learned: bits between beliefs, log scores of a truth, and their differences with standard errors.

Beliefs about edges are their probabilities of existing, so all of these are sums over edges of functions of two
probabilities: the dependence between edges (which regulator explains a target when two could) is left out. So is what
edges share: a base rate that the data teach once, a few bits of the joint belief, counts at every edge, and the sum can
exceed the joint divergence many times. `rate_bits` is the part that one shift of all log-odds explains.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from scipy.optimize import brentq
from scipy.special import expit, logit, rel_entr

from ...inference.calibration import LOG_CLIP
from ...models import Model

NUM_PRIOR_DRAWS = 5_000  # of the hyperparameters: π to about 1% of itself
BLOCK = 4_000_000  # values drawn at once
SHIFT = 40.0  # of log-odds: beyond it probabilities are 0 or 1


def prior_inclusion(
    model: Model,
    *,
    threshold: float = 0.1,
    trust: float | None = None,
    num_draws: int = NUM_PRIOR_DRAWS,
    seed: int = 0,
) -> np.ndarray:
    r"""``(tf, target)`` probability of every edge before the data, the knowledge included:

    .. math:: \pi_{tg} = E\big[P(\gamma_{tg} = 1 \mid \theta, P_{tg}, S_{tg})\big], \qquad \theta \sim p(\theta),

    integrated over the hyperpriors θ (base rate, trust in each source, scales) by Monte Carlo. For families without an
    inclusion variable, :math:`P(|W_{tg}| > \delta)`. Edges of which the sources say the same share π, so each class of
    them is drawn once; 0 where an edge may not exist.

    Parameters
    ----------
    model
        With its `EdgePrior` bound to the knowledge.
    threshold
        δ, standardised units.
    trust
        A value at which every source's trust is held. Default: sampled.
    num_draws, seed
        Of θ.
    """
    knowledge, prior = model.knowledge, model.edge_prior
    allowed = prior.allowed.cpu()
    table = torch.cat([knowledge.probability, knowledge.sign]).flatten(1).T[allowed.flatten().cpu()].cpu()  # (edge, 2K)
    if table.shape[1]:
        classes, member = torch.unique(table, dim=0, return_inverse=True)
    else:
        classes, member = table[:1], torch.zeros(len(table), dtype=torch.long)
    number = len(knowledge.sources)
    features = classes.T.reshape(2, number, 1, len(classes))
    small = replace(
        knowledge,
        tfs=("tf",),
        targets=tuple(f"class {i}" for i in range(len(classes))),
        probability=features[0],
        sign=features[1],
        allowed=torch.ones(1, len(classes), dtype=torch.bool),
    )
    bound = prior.cpu().bind(small).double() if prior.allowed.device.type == "cpu" else prior.bind(small).cpu().double()
    held = {} if trust is None or not number else {"trust": torch.full((number,), float(trust), dtype=torch.float64)}
    story = poutine.condition(bound, data=held) if held else bound
    total, done = torch.zeros(len(classes), dtype=torch.float64), 0
    with torch.random.fork_rng(devices=[]), torch.no_grad(), pyro.get_param_store().scope():
        torch.manual_seed(seed)
        while done < num_draws:
            count = min(num_draws - done, max(1, BLOCK // len(classes)))
            with pyro.plate("prior_draw", count, dim=-3):
                trace = poutine.trace(story).get_trace(
                    pyro.plate("tf", 1, dim=-2), pyro.plate("target", len(classes), dim=-1)
                )
            if "inclusion" in trace.nodes:  # its conditional mean has less noise than draws of it
                family: Any = trace.nodes["inclusion"]["fn"]
                probability = family.mean
            else:
                sites: dict[str, Any] = {n: s["value"] for n, s in trace.nodes.items() if s["type"] == "sample"}
                probability = bound.inclusion(sites, threshold=threshold)
            total += probability.expand(count, 1, len(classes)).sum((0, 1))
            done += count
    result = torch.zeros(allowed.shape, dtype=torch.float64)
    result[allowed] = (total / num_draws)[member]
    return result.numpy()


def kl_bits(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    r"""Information gained on each edge, bits: :math:`q\log_2\frac{q}{\pi} + (1-q)\log_2\frac{1-q}{1-\pi}`.

    Parameters
    ----------
    after, before
        q and π, any shape. π is kept 1e-6 away from 0 and 1 where q differs: estimates of a probability by draws are
        no more certain.
    """
    q, p = np.asarray(after, dtype=np.float64), np.asarray(before, dtype=np.float64)
    p = np.where(p == q, p, p.clip(LOG_CLIP, 1 - LOG_CLIP))
    return (rel_entr(q, p) + rel_entr(1 - q, 1 - p)) / np.log(2)


def rate_bits(after: np.ndarray, before: np.ndarray) -> float:
    r"""The part of :math:`\sum KL(q\|\pi)` that one shift of all log-odds explains, bits:

    .. math:: \sum KL(\pi^\delta\|\pi), \qquad \operatorname{logit}\pi^\delta = \operatorname{logit}\pi + \delta,
              \qquad \sum \pi^\delta = \sum q.

    The rest is :math:`\sum KL(q\|\pi^\delta)`: which edges, given how many.

    Parameters
    ----------
    after, before
        q and π, any shape; edges with π of 0 or 1 are left out.
    """
    q, p = (np.asarray(v, dtype=np.float64).reshape(-1) for v in (after, before))
    free = (p > 0) & (p < 1)
    q, p = q[free], p[free]
    excess = lambda delta: float((expit(logit(p) + delta) - q).sum())
    if excess(-SHIFT) >= 0 or excess(SHIFT) <= 0:  # all are certain: no finite shift
        delta = -SHIFT if excess(-SHIFT) >= 0 else SHIFT
    else:
        delta = brentq(excess, -SHIFT, SHIFT)
    return float(kl_bits(expit(logit(p) + delta), p).sum())


def log_score_bits(probability: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Log2 probability given to what is true of each edge, ≤ 0; probabilities are kept 1e-6 away from 0 and 1."""
    p = np.asarray(probability, dtype=np.float64).clip(LOG_CLIP, 1 - LOG_CLIP)
    return np.log2(np.where(true, p, 1 - p))


@dataclass(frozen=True)
class Difference:
    """``value`` with its standard error ``se``."""

    value: float
    se: float


def mean_difference(first: np.ndarray, second: np.ndarray, group: np.ndarray) -> Difference:
    """Mean of ``first − second`` over pairs, with the standard error of a mean over groups.

    Parameters
    ----------
    first, second
        ``(pair,)`` scores of the same pairs.
    group
        ``(pair,)`` codes: the pairs of one target rise and fall together, as one regression says them.
    """
    gap = np.asarray(first, dtype=np.float64) - second
    mean = float(gap.mean())
    rest = np.bincount(group, weights=gap - mean)
    count = len(np.unique(group))
    error = np.sqrt(count / (count - 1) * (rest**2).sum()) / len(gap) if count > 1 else np.nan
    return Difference(mean, float(error))


def total_difference(first: np.ndarray, second: np.ndarray, group: np.ndarray) -> Difference:
    """Sum of ``first − second``, with the standard error of a sum over independent groups (cells), as ArviZ states an
    ELPD difference."""
    sums = np.bincount(group, weights=np.asarray(first, dtype=np.float64) - second)[np.unique(group)]
    error = np.sqrt(len(sums)) * sums.std(ddof=1) if len(sums) > 1 else np.nan
    return Difference(float(sums.sum()), float(error))


def ap_difference(
    first: np.ndarray, second: np.ndarray, true: np.ndarray, target: np.ndarray, *, num_bootstrap: int = 200
) -> Difference:
    """Difference of two average precisions; standard error by resampling targets, the same ones for both.

    Parameters
    ----------
    first, second
        ``(pair,)`` evidence of the same pairs, larger meaning more.
    true, target
        ``(pair,)`` bool and codes from 0.
    num_bootstrap
        Resamples: 200 give a standard error to about 5%.
    """
    curves = [_ordered(score, true, target) for score in (first, second)]
    width = int(target.max()) + 1
    once = np.ones(width)
    value = _weighted_ap(*curves[0], once) - _weighted_ap(*curves[1], once)
    generator = np.random.default_rng(0)
    draws = np.empty(num_bootstrap)
    for b in range(num_bootstrap):
        weight = generator.multinomial(width, np.full(width, 1 / width)).astype(float)
        draws[b] = _weighted_ap(*curves[0], weight) - _weighted_ap(*curves[1], weight)
    return Difference(value, float(np.nanstd(draws, ddof=1)))


def _ordered(score: np.ndarray, true: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)  # ties share a threshold
    return true[order].astype(float), target[order], last


def _weighted_ap(true: np.ndarray, target: np.ndarray, last: np.ndarray, weight: np.ndarray) -> float:
    count = weight[target]
    hits, chosen = np.cumsum(count * true)[last], np.cumsum(count)[last]
    gain = np.diff(hits, prepend=0.0)
    used = gain > 0
    return float((gain[used] * hits[used] / chosen[used]).sum() / hits[-1]) if hits[-1] else np.nan

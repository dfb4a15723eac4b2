r"""How regulators answer when some of them are clamped, where the regression of each on the others cannot know it.

A regression finds A → B and B → A alike, and where there is feedback its weights are no effects at all. So

- a regulator that was clamped in the data has *shown* what it does: the mean of the others in those cells, less that in
  cells without intervention, scaled by how far it is to move;
- any other is answered by networks drawn from all that one covariance allows (`models.dynamics.structures`): the order
  of regulators is uniform but for what is known of it, and feedback rotates it. Known are prior networks (a source that
  lists A → B and not B → A counts by the trust in it, an edge that a mask forbids for certain), and interventions: who
  answered to a regulator that was clamped comes after it, by the Bayes factor of an answer of the size of their
  correlation against none.

What genes that are no regulators do then follows from their regressions, which need no direction.
"""

import math

import numpy as np
import torch
from torch import Tensor

from ...models import LinearNetwork, Symphony
from ...models.dynamics.steady_state import respond
from ...models.dynamics.structures import draw_structures
from ..draws.fitted import PosteriorLike
from .observed_regulators import ObservedRegulators

MOST = 64  # regulators that networks are drawn of; of more, those that correlate most with the clamped ones
CERTAIN = 10.0  # log-odds of what is taken for known
ANSWERED = 2.0  # and the most that an answer counts: with feedback the one that answers may act on the other too
LEAST_CORRELATION = 0.1  # of two regulators, which an answer is expected to have at least

Linear = LinearNetwork | Symphony


def is_open(model: Linear) -> bool:
    """Whether two regulators are explained by each other."""
    place = {gene: i for i, gene in enumerate(model.targets)}
    both = [i for i, gene in enumerate(model.tfs) if gene in place]
    columns = [place[model.tfs[i]] for i in both]
    allowed = model.edge_prior.allowed.cpu()[both][:, columns]
    return bool((allowed & allowed.T).any())


def response_of_regulators(
    posterior: PosteriorLike[Linear],
    observed: ObservedRegulators,
    clamped: Tensor,
    level: Tensor,
    num_draws: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Changes ``(draw, tf)`` of all regulators when ``clamped`` (clamp,) ones change by ``level`` (clamp,), in units of
    the fit, and whether each draw settles ``(draw,)``."""
    generator = torch.Generator().manual_seed(seed)
    held = observed.measured(int(clamped[0])) if len(clamped) == 1 else None
    if held is not None:
        gap = held.mean - observed.free.mean
        root = torch.linalg.cholesky(_jittered(held.error + observed.free.error))
        noise = torch.randn(num_draws, len(gap), generator=generator, dtype=gap.dtype)
        change = (gap + noise @ root.mT) * (level[0] / gap[clamped[0]])
        change[:, clamped[0]] = level[0]
        return change, torch.ones(num_draws, dtype=torch.bool)
    free = observed.free
    near = _nearest(observed, clamped)
    scatter = _jittered(free.scatter[near][:, near])
    preference = preferences(posterior, observed)[near][:, near]
    found = draw_structures(scatter, free.count - 1, preference, num_draws, generator)
    inside = (near[:, None] == clamped).long().argmax(0)  # places of the clamped among the near
    every = torch.arange(len(near))
    response = respond(found.weights, every, inside, level, inside)
    change = torch.zeros(num_draws, len(free.mean), dtype=level.dtype)
    change[:, near] = response.change
    return change, found.settled & response.settled


def _jittered(matrix: Tensor) -> Tensor:
    return matrix + 1e-9 * matrix.diagonal().mean() * torch.eye(len(matrix), dtype=matrix.dtype)


def _nearest(observed: ObservedRegulators, clamped: Tensor) -> Tensor:
    """Positions of the regulators that networks are drawn of, ascending."""
    scatter, count = observed.free.scatter, observed.free.count
    most = min(MOST, max(int(count / 2), len(clamped) + 1))
    if len(scatter) <= most:
        return torch.arange(len(scatter))
    sd = scatter.diagonal().sqrt()
    close = (scatter / sd / sd[:, None])[clamped].abs().amax(0)
    close[clamped] = math.inf
    return close.topk(most).indices.sort().values


def preferences(posterior: PosteriorLike[Linear], observed: ObservedRegulators) -> Tensor:
    """``(tf, tf)`` antisymmetric: log-odds that the row comes before the column."""
    model = posterior.model
    size = len(model.tfs)
    towards = torch.zeros(size, size, dtype=torch.float64)
    place = {gene: i for i, gene in enumerate(model.targets)}
    both = [i for i, gene in enumerate(model.tfs) if gene in place]
    columns = [place[model.tfs[i]] for i in both]
    square = np.ix_(both, both)
    knowledge = model.knowledge.probability.cpu().double()
    if len(knowledge) and "trust" in posterior.draws:
        trust = torch.as_tensor(posterior.draws["trust"]).double().flatten(0, 1).mean(0)
        towards[square] += torch.einsum("k,kij->ij", trust, knowledge[:, both][:, :, columns])
    allowed = model.edge_prior.allowed.cpu()[both][:, columns].double()
    towards[square] += CERTAIN * allowed
    sd = (observed.free.scatter.diagonal() / max(observed.free.count - 1, 1.0)).sqrt()
    correlation = observed.free.scatter / observed.free.count / sd / sd[:, None]
    for u in observed.clamped:
        held = observed.measured(u)
        if held is None:
            continue
        gap = held.mean - observed.free.mean
        error = (held.error + observed.free.error).diagonal()
        size_of = gap[u].abs() / sd[u] * correlation[u].abs().clamp_min(LEAST_CORRELATION) * sd
        wide = error + size_of**2
        factor = 0.5 * (error / wide).log() + 0.5 * gap**2 * (1 / error - 1 / wide)
        factor[u] = 0.0
        towards[u] += factor.clamp(-ANSWERED, ANSWERED)
    return (towards - towards.T).clamp(-CERTAIN, CERTAIN)

r"""Prior networks as input features of amortised guides."""

import math

import torch
from torch import Tensor

from ...priors import EdgeKnowledge

PRIOR_CHANNELS = ("log-odds", "listed", "given")
"""Log-odds of the most confident source that lists the pair; whether one does; whether any knowledge was given. All 0:
none given."""
PRECISIONS = 20  # at which a list is tried
HIGHEST = 0.99  # confidences above it say no more: no source is right a hundred times in a row


def knowledge_channels(knowledge: EdgeKnowledge) -> Tensor:
    """``(tf, target, 3)`` features (`PRIOR_CHANNELS`) of the sources together."""
    listed = knowledge.listed
    channels = torch.zeros(*listed.shape, len(PRIOR_CHANNELS))
    if knowledge.sources:
        best = knowledge.probability.amax(0)
        channels[..., 0] = torch.where(listed, torch.logit(best.clamp(0.01, HIGHEST)), 0.0)
        channels[..., 1] = listed.float()
        channels[..., 2] = 1.0
    return channels


def simulated_knowledge(truth: Tensor, generator: torch.Generator) -> Tensor:
    """Corrupted prior networks of known ones, to train on: ``(graph, tf, gene, 3)``.

    Half of the graphs get none. Of the others each lists a share of its true edges (uniform between 10% and 100%), and
    so many false ones that a share of the list is true (likewise); all with one confidence, uniform between 0.5 and
    0.95, that does not tell how right the list is: the guide has to find that out from the data.
    """
    uniform = lambda low, high: low + (high - low) * torch.rand(len(truth), 1, 1, generator=generator)
    given = (uniform(0, 1) < 0.5).float()
    recall, precision, confidence = uniform(0.1, 1), uniform(0.1, 1), uniform(0.5, 0.95)
    chance = torch.rand(truth.shape, generator=generator)
    true = truth.sum((-2, -1), keepdim=True)
    false_rate = recall * true * (1 / precision - 1) / (truth[0].numel() - true).clamp_min(1)
    listed = (chance < torch.where(truth > 0, recall, false_rate.clamp_max(1.0))).float() * given
    return torch.stack([listed * torch.logit(confidence), listed, given.expand_as(listed)], dim=-1)


def log_odds_of_list(probability: Tensor, listed: Tensor, allowed: Tensor) -> float:
    r"""How much more likely a list of edges is if it tells something of the network than if it was drawn at random, at
    even odds before: the logarithm.

    Listed pairs are true with a precision c beyond that of a random list, uniform between the share :math:`\pi` of
    true pairs and 1; then a true pair is listed with probability :math:`r = c n / \pi N`, another with
    :math:`f = (1 - c) n / (1 - \pi) N`, and

    .. math:: p(\text{list} \mid c) = \prod_i q_i^{l_i} (1 - q_i)^{1 - l_i}, \qquad q_i = p_i r + (1 - p_i) f

    with the p that the guide states without the list, against :math:`q_i = n / N`. Where the cells say nothing of the
    network, p is the same everywhere, and so are the two.

    Parameters
    ----------
    probability
        ``(tf, gene)`` of every edge, without the list.
    listed, allowed
        ``(tf, gene)`` bool: the pairs that are listed, and those that may be edges.

    Returns
    -------
    float
        0 where nothing, or everything, is listed.
    """
    p, one = probability[allowed].double().clamp(1e-4, 1 - 1e-4), listed[allowed].double()
    number, share = float(one.sum()), float(p.mean())
    random = number / max(len(one), 1)
    if not 0 < random < 1:
        return 0.0
    of = lambda q: (one * q.log() + (1 - one) * (1 - q).log()).sum(-1)
    c = share + (1 - share) * torch.arange(1, PRECISIONS + 1, dtype=p.dtype, device=p.device)[:, None] / PRECISIONS
    recall, false = (c * random / share).clamp(max=0.999), ((1 - c) * random / (1 - share)).clamp(max=0.999)
    told = of(p * recall + (1 - p) * false)  # (precision,)
    return float(told.logsumexp(0) - math.log(PRECISIONS) - of(torch.full_like(p, random)))

r"""Prior networks as input features of amortised guides."""

import torch
from torch import Tensor

from ...priors import EdgeKnowledge

PRIOR_CHANNELS = ("log-odds", "listed", "given")
"""Log-odds of the most confident source that lists the pair; whether one does; whether any knowledge was given. All 0:
none given."""
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

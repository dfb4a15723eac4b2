"""A network of regressions as a trained network reads it."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...models import ExpressionData, LinearNetwork
from ..calibration import expected_list
from ..cut_directions import cut_directions
from .knowledge import knowledge_channels, log_odds_of_list
from .network import AmortisedNetwork

RATE = 0.1  # of a list with prior networks, beside that without
Inputs = tuple[Tensor, Tensor, Tensor]
"""Evidence, Z and knowledge, as `AmortisedNetwork.inputs` gives them."""


class Reading(NamedTuple):
    """``inputs`` that the head sees; ``logit`` (tf, target) log-odds of the edges; ``weight`` of the prior networks,
    and the log-odds ``without`` them, None without any."""

    inputs: Inputs
    logit: Tensor
    weight: float | None
    without: Tensor | None


def read(network: AmortisedNetwork, model: LinearNetwork, data: ExpressionData, *, seed: int) -> Reading:
    r"""What a trained network makes of the cells and of the model's prior networks; no gradients.

    The lists of its training were right in a tenth of their edges at least. One that is not, every edge of it moved,
    say, would be believed; so the guide is asked without it too, and

    .. math:: p = w\, p_{\text{with}} + (1 - w)\, p_{\text{without}}

    where w is the probability, at even odds before, that the list tells something of the network that the cells show
    without it (`log_odds_of_list`). ``inputs`` are those of the likelier of the two.
    """
    knowledge = knowledge_of(model)
    look = lambda channels: network.inputs(data.X.to(model.constant), model.tf_index, channels, seed=seed)
    with torch.no_grad():
        given = look(knowledge)
        logit = logit_of(network, given, model)
        listed = knowledge[:, model.target_index, 1] > 0
        if not listed.any():
            return Reading(given, logit, None, None)
        alone = look(torch.zeros_like(knowledge))
        without = logit_of(network, alone, model)
        odds = log_odds_of_list(torch.sigmoid(without), listed, model.edge_prior.allowed)
        weight = float(torch.sigmoid(torch.tensor(odds, dtype=torch.float64)))
        mixed = weight * torch.sigmoid(logit.double()) + (1 - weight) * torch.sigmoid(without.double())
        return Reading(given if weight >= 0.5 else alone, torch.logit(mixed).to(logit), weight, without)


def listed_edges(logit: Tensor, model: LinearNetwork) -> np.ndarray:
    """``(tf, target)`` whether an edge is in the list of which a tenth is expected to be wrong, of those whose
    direction is known (`cut_directions`)."""
    directed = cut_directions(model)
    found = np.zeros(directed.shape, dtype=bool)
    place = np.flatnonzero(directed)
    found.flat[place[expected_list(torch.sigmoid(logit.double()).cpu().numpy()[directed], RATE)]] = True
    return found


def knowledge_of(model: LinearNetwork) -> Tensor:
    """``(tf, gene, 3)`` channels of the prior networks, over all genes."""
    channels = knowledge_channels(model.knowledge).to(model.constant)
    knowledge = channels.new_zeros(len(model.tfs), len(model.genes), channels.shape[-1])
    knowledge[:, model.target_index] = channels
    knowledge[..., 2] = channels[..., 2].amax() if channels.numel() else 0.0
    return knowledge


def logit_of(network: AmortisedNetwork, inputs: Inputs, model: LinearNetwork) -> Tensor:
    """``(tf, target)`` log-odds of the edges."""
    return network.of_inputs(inputs, model.tf_index)[:, model.target_index].to(model.constant)

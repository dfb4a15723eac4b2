"""A network of regressions as a trained network reads it."""

import torch
from torch import Tensor

from ...models import ExpressionData, LinearNetwork
from .knowledge import knowledge_channels
from .network import AmortisedNetwork

Inputs = tuple[Tensor, Tensor, Tensor]
"""Evidence, Z and knowledge, as `AmortisedNetwork.inputs` gives them."""


def read(network: AmortisedNetwork, model: LinearNetwork, data: ExpressionData, *, seed: int) -> tuple[Inputs, Tensor]:
    """What the head sees of the cells and the model's prior networks, and log-odds ``(tf, target)``; no gradients."""
    knowledge = knowledge_of(model)
    with torch.no_grad():
        inputs = network.inputs(data.X.to(model.constant), model.tf_index, knowledge, seed=seed)
        return inputs, logit_of(network, inputs, model)


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

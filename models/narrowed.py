"""The same network with some of its targets: the regressions of the others are left out."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import torch

from .regression import RegressionNetwork

Network = TypeVar("Network", bound=RegressionNetwork)

BY_TARGET = ("anchor", "residual", "sse", "dof", "tf_mean", "target_mean", "log_count", "target_index")
"""Buffers whose last axis is that of the targets."""


def narrowed(model: Network, targets: Sequence[int]) -> Network:
    """The model of these targets alone, by their places in order; what it shares with ``model`` is not copied.

    Priors are bound to the targets that are left, so that hyperparameters are of as many edges as there are.
    """
    keep = torch.as_tensor(list(targets), device=model.constant.device)
    at = keep.cpu()
    place = {int(target): i for i, target in enumerate(at)}
    known = model.knowledge
    knowledge = replace(
        known,
        targets=tuple(known.targets[i] for i in at.tolist()),
        probability=known.probability[..., at.to(known.probability.device)],
        sign=known.sign[..., at.to(known.sign.device)],
        allowed=known.allowed[:, at.to(known.allowed.device)],
    )
    found = copy.copy(model)  # a module holds what it consists of in dictionaries, which a copy would share
    found._buffers, found._modules = dict(model._buffers), dict(model._modules)
    found.targets, found.knowledge = knowledge.targets, knowledge
    found.edge_prior = model.edge_prior.bind(knowledge)
    for name in BY_TARGET:
        found.register_buffer(name, getattr(model, name)[..., keep])
    own = torch.isin(model.own, keep)
    found.register_buffer("own", _renumbered(model.own[own], place))
    found.register_buffer("own_gram", model.own_gram[:, own])
    rows = model.clamped_rows
    cut = torch.isin(rows.target, keep)
    found.register_buffer("left_out", rows.vector[cut])
    found.register_buffer("left_out_target", _renumbered(rows.target[cut], place))
    return found


def _renumbered(targets: torch.Tensor, place: dict[int, int]) -> torch.Tensor:
    return torch.tensor([place[t] for t in targets.tolist()], dtype=targets.dtype, device=targets.device)

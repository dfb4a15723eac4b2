"""Targets that a network's own prior makes on the real regulators of a data set."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pyro import poutine

from ..data.expression import ExpressionData
from ..data.out_of_fold import OutOfFold, contexts_of, within_contexts
from ..regression import RegressionNetwork
from .semi_synthetic import World, check_regulators, new_names, with_targets


def own_world(
    data: ExpressionData,
    donors: OutOfFold,
    make_model: Callable[[ExpressionData], RegressionNetwork],
    *,
    num_targets: int,
    seed: int,
) -> World:
    r"""Draw W and the noise from the model's prior, and the targets from the model.

    .. math:: y_{cg} = m_{kg} + s_g \Big(\textstyle\sum_t W_{tg} z_{ct} + \sigma_g e_{cg}\Big), \qquad
              e_{cg} \sim N(0, 1)

    with z the regulators in standard deviations within contexts, and mean m and scale s those of real genes. An edge
    exists where the prior's inclusion variable says so, or, where it has none, where :math:`|W|` exceeds the model's
    threshold. Contexts share W.

    Parameters
    ----------
    data, donors
        The real cells, and of `donors_of` the same.
    make_model
        Cells to a network of the kind that is fitted, without prior networks.
    num_targets
        Targets to make.
    seed
        Same seed, same world; the global generators are not touched.
    """
    check_regulators(data)
    generator = np.random.default_rng([seed, 6])
    targets = new_names(num_targets, data.genes)
    empty = with_targets(data, data.tfs, targets, generator.normal(size=(data.num_cells, num_targets)))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(int(generator.integers(2**31)))
        model = make_model(empty)
        nodes: dict[str, Any] = dict(poutine.trace(poutine.uncondition(model)).get_trace().nodes)
    column = [model.targets.index(name) for name in targets]
    allowed = model.edge_prior.allowed
    weight = (nodes["W"]["value"] * allowed)[:, column].double().numpy(force=True)
    noise = nodes["noise_variance"]["value"].double().numpy(force=True)
    noise = noise.reshape(-1, len(model.targets))[0, column]
    exists = np.abs(weight) > model.threshold
    if "inclusion" in nodes:
        exists = ((nodes["inclusion"]["value"] > 0) & allowed)[:, column].numpy(force=True)
    context = contexts_of(data)
    Z, _, _ = within_contexts(data.select_genes(data.tfs).X.numpy(force=True), context)
    signal = Z @ weight
    Y = signal + np.sqrt(noise) * generator.normal(size=signal.shape)
    donor = generator.integers(len(donors.genes), size=num_targets)
    Y = donors.mean[:, donor][context] + donors.sd[donor] * Y
    variance = np.square(signal - signal.mean(0)).mean(0)
    return World(
        data=with_targets(data, data.tfs, targets, Y),
        targets=targets,
        sign=np.where(exists, np.sign(weight), 0).astype(int),
        acting=tuple(tuple(data.tfs[t] for t in np.flatnonzero(own)) for own in exists.T),
        responses=("linear",) * num_targets,
        r2=variance / (variance + noise),
        donors=tuple(donors.genes[i] for i in donor),
    )

"""A guide that was trained by hand becomes a posterior."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..models import ExpressionData, Model
from .engines.pyro_guide import PyroGuide, draw_fitted
from .posterior import Posterior
from .runs.history import History
from .runs.run import Run
from .variational.base import Guide
from .variational.draws import draw_guide
from .variational.foreign import Fitted, Restart, check_sites, laplace, latent_nodes, traced


def posterior_from(
    model: Model,
    guide: Callable[..., Any],
    batch: ExpressionData | None = None,
    *,
    losses: Sequence[float] = (),
    num_draws: int = 500,
    threshold: float | None = None,
    seed: int = 0,
) -> Posterior:
    """Draw from a guide after `pyro.infer.SVI` by hand: edges, programs, predictions and checks as of `fit`.

    Parameters
    ----------
    model
        What the guide was trained on; not the model in a plate of restarts (`restarted`).
    guide
        A guide of this package (its restarts are the chains), of `pyro.infer.autoguide`, or a function, whose
        parameters are those that Pyro's parameter store has now.
    batch
        What the guide is called with, where it was trained on minibatches. Default nothing.
    losses
        What ``svi.step()`` returned, one number a step: for the check that the bound has settled. Default unknown.
    num_draws, threshold, seed
        As of `fit`.

    Returns
    -------
    Posterior
        Never called calibrated: how a guide was trained by hand, nobody has tested.

    Raises
    ------
    ValueError
        A guide that misses sites of the model or has others, or that has no parameters; a model like `Phoenix`, whose W
        follows from weights that draws do not keep.
    """
    if not callable(guide) or isinstance(guide, type):
        raise ValueError(
            f"`guide` is {guide!r}: expected a guide made for the model and trained, as MeanField()(model)"
        )
    if num_draws < 1:
        raise ValueError(f"num_draws={num_draws}: expected at least 1")
    _check_direct(model, batch)
    threshold = model.threshold if threshold is None else threshold
    run = Run(seed=seed, threshold=threshold, num_draws=num_draws)
    devices = [model.constant.device] if model.constant.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        if isinstance(guide, Guide):
            name, number = guide.family, guide.num_restarts
            collector = draw_guide(model, guide, num_draws, threshold)
        else:
            name, number = PyroGuide.name, 1
            latent = latent_nodes(model, batch)
            check_sites(model, guide, traced(Restart(guide, None), batch), latent)
            shaped = laplace(Restart(guide, None), batch)
            collector = draw_fitted(model, Fitted(model, (Restart(shaped, None),), batch, latent), run)
    # one bound of all restarts together, at a rate that is not known
    elbo = np.repeat(-np.asarray(losses, dtype=float)[None] / number, number, axis=0)
    steps = np.arange(1, elbo.shape[1] + 1)
    history = History("trained by hand", elbo, steps, np.ones(len(steps)), 0.0)
    posterior = Posterior.from_collector(
        model,
        collector,
        history,
        guide=name,
        calibrated=False,
        seed=seed,
        threshold=None if collector.has_inclusion or "existence" in model.dims else threshold,
    )
    return replace(posterior, attributes=collector.extras())


def _check_direct(model: Model, batch: ExpressionData | None) -> None:
    """Refuse a model with sites that follow from others, which guides do not sample."""
    following = [name for name in model.dims if name not in latent_nodes(model, batch)]
    if following:
        sites = ", ".join(following)
        raise ValueError(
            f"{sites} of {type(model).__name__} follows from sites that a posterior does not keep: draw it by "
            f"`Predictive(model, guide=guide, num_samples=100, return_sites={following!r})`, or `fit` the model"
        )

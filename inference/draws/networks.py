"""Draws of the networks of contexts, where a model has one or several."""

import numpy as np

from ...models import Model
from .fitted import PosteriorLike
from .intervals import thin_of
from .moments import EdgeMoments, aligned


def joint_networks(posterior: PosteriorLike[Model]) -> tuple[np.ndarray, np.ndarray]:
    """Joint draws of W ``(chain, draw, context, tf, target)`` and its σ² ``(chain, draw, context, target)``."""
    draws = aligned(posterior.draws, thin_of(posterior))
    if "W_context" in draws:
        return draws["W_context"], draws["noise_variance"]
    return draws["W"][:, :, None], draws["noise_variance"][:, :, None]


def in_context(posterior: PosteriorLike[Model], context: str | None) -> tuple[EdgeMoments, np.ndarray]:
    """Moments and draws ``(chain, draw, tf, target)`` of one context's network; None: of the one that all share.

    Raises
    ------
    ValueError
        A context that the fit does not have.
    """
    if context is None:
        return posterior.moments["W"], posterior.draws["W"]
    k = context_index(posterior.coords["context"], context)
    if len(posterior.coords["context"]) == 1:
        return posterior.moments["W"], posterior.draws["W"]
    return posterior.moments["W_context"].context(k), posterior.draws["W_context"][:, :, k]


def context_index(names: list[str], context: str) -> int:
    """Position of a context among those of a fit."""
    if context not in names:
        raise ValueError(f"no context {context!r}: the fit has {names}")
    return names.index(context)

"""Laying factors on one another: over draws, chains, restarts, and on the truth."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ...models import FactorModel


def rotates_freely(model: FactorModel) -> bool:
    """Whether the prior cannot tell a rotation of the factors: all loadings alike."""
    return model.loading_prior.rotates_freely


def procrustes(W: Tensor, reference: Tensor) -> Tensor:
    """``(*batch, factor, factor)`` orthogonal Q for which Q W is closest to ``reference`` (factor, gene)."""
    left, _, right = torch.linalg.svd(reference @ W.mT)
    return left @ right


def matching(W: np.ndarray, reference: np.ndarray, free: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Which factor of ``W`` goes to each place of ``reference`` (both (factor, gene)), and its sign.

    The Hungarian method maximises the total absolute cosine. ``free`` (factor,) marks those that may change places;
    the others stay and only their sign is matched.
    """
    from scipy.optimize import linear_sum_assignment  # here: a seventh of a second to import

    norm = lambda v: v / np.linalg.norm(v, axis=1, keepdims=True).clip(1e-12)
    cosine = norm(reference) @ norm(W).T
    order = np.arange(len(reference))
    where = np.arange(len(reference)) if free is None else np.flatnonzero(free)
    if len(where) > 1:
        rows, columns = linear_sum_assignment(-np.abs(cosine[np.ix_(where, where)]))
        order[where[rows]] = where[columns]
    sign = np.sign(cosine[np.arange(len(order)), order])
    return order, np.where(sign == 0, 1.0, sign)


class Aligner:
    """Turns draws of a factor model so that they lie on ``reference`` (factor, gene).

    Signs of all factors are matched; unlabelled factors may change places (labelled ones are held by their gene set);
    where the prior is indifferent to rotation, the whole draw is rotated (Procrustes). The posterior does not change:
    the
    model has these symmetries.
    """

    def __init__(self, model: FactorModel, reference: Tensor) -> None:
        self.dims, self.rotate = model.dims, rotates_freely(model)
        self.free = ~np.array(model.labelled)
        self.reference = standard(model, reference.double().cpu())

    def __call__(self, sites: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sites ``(chain, *dims)``, aligned chain by chain."""
        W = sites["W"]
        aligned = dict(sites)
        if self.rotate:
            turn = procrustes(W.double().cpu(), self.reference).to(W)
            aligned["W"] = turn @ W
            for name in ("gamma", "x"):
                if name in sites:
                    aligned[name] = sites[name] @ turn.mT
            return aligned
        found = [matching(w, self.reference.numpy(), self.free) for w in W.double().cpu().numpy()]
        order = torch.tensor(np.stack([o for o, _ in found]), device=W.device)
        sign = torch.tensor(np.stack([s for _, s in found]), device=W.device)
        for name, value in sites.items():
            dims = self.dims.get(name, ())
            if "factor" not in dims:
                continue
            axis = 1 + dims.index("factor")
            shape = [1] * value.dim()
            shape[0], shape[axis] = order.shape
            aligned[name] = torch.take_along_dim(value, order.reshape(shape), dim=axis)
            if name in ("W", "gamma", "x"):
                aligned[name] = aligned[name] * sign.reshape(shape).to(value)
        return aligned


def standard(model: FactorModel, W: Tensor) -> Tensor:
    """``W`` (factor, gene) with unlabelled factors in falling order of size, and signs that read well.

    A labelled factor is up when its set's genes are up; another when its largest loadings are positive (third moment).
    """
    labelled = np.array(model.labelled)
    order = np.arange(len(W))
    order[~labelled] = order[~labelled][np.argsort(-(W[~labelled] ** 2).sum(1).numpy(), kind="stable")]
    W = W[torch.as_tensor(order)]
    listed = (model.knowledge.probability > 0).any(0).cpu().to(W)  # all False without sources
    up = torch.where(torch.as_tensor(labelled), (W * listed).sum(1), (W**3).sum(1))
    return W * torch.where(up < 0, -1.0, 1.0)[:, None].to(W)

"""Predictions of single values of NetREX-CF: a gene from the activities that the other genes of the cell give."""

import numpy as np
import torch

from ...models import ExpressionData, NetREXCF
from ...models.data.cell_labels import name_of
from ..draws.fitted import PosteriorLike
from .base import Answers
from .results import CellPredictions

NUM_CELLS = 1000  # whose errors give the sd of a gene


class FilterAnswers(Answers[NetREXCF]):
    """Values of cells. There is no noise variance to check them against, and an energy has no prior of its edges."""

    def unpredictable(self, model: NetREXCF, data: ExpressionData) -> str | None:
        return "Not checked: the objective has no noise variance."

    def checks_residuals(self, model: NetREXCF) -> bool:
        return True

    def has_edge_prior(self, model: NetREXCF) -> bool:
        return False  # an energy with a filter

    def cells(
        self, posterior: PosteriorLike[NetREXCF], data: ExpressionData, number: int, rng: np.random.Generator
    ) -> CellPredictions:
        return of_activities(posterior, data, number, rng)


def of_activities(
    posterior: PosteriorLike[NetREXCF], data: ExpressionData, number: int, rng: np.random.Generator
) -> CellPredictions:
    r"""Random (cell, target) pairs, in the units of the data.

    With :math:`H = \Theta(\Theta^\top\Theta + \kappa I)^{-1}\Theta^\top` the cell's activities explain :math:`Hx`;
    without the gene's own value the prediction is :math:`(Hx - h_{gg}x_g)/(1-h_{gg})`. The objective has no noise
    variance, so the sd of a gene is that of these errors over at most 1,000 cells of ``data``.
    """
    model = posterior.model
    Z = model.standardize(data).double()  # (cell, target)
    num_cells, num_targets = Z.shape
    pairs = np.sort(rng.choice(num_cells * num_targets, min(number, num_cells * num_targets), replace=False))
    cell, target = (torch.as_tensor(v, device=Z.device) for v in np.divmod(pairs, num_targets))
    rows = torch.as_tensor(np.sort(rng.choice(num_cells, min(num_cells, NUM_CELLS), replace=False)), device=Z.device)
    drawn = posterior.draws["W"]
    flat = torch.as_tensor(drawn.reshape(-1, *drawn.shape[2:]), device=Z.device).double()
    means, sds = [], []
    for W in flat:
        system = W @ W.T + model.activity_penalty.double() * torch.eye(len(W), dtype=W.dtype, device=W.device)
        gain = torch.linalg.solve(system, W)  # (tf, target)
        own = (W * gain).sum(0)  # h_gg
        without = lambda part, fitted, own=own: (fitted - own * part) / (1 - own)
        error = Z[rows] - without(Z[rows], Z[rows] @ gain.T @ W)
        fitted = torch.einsum("nt,nt->n", Z[cell] @ gain.T, W.T[target])
        means.append(without(Z[cell, target], fitted, own[target]))
        sds.append(error.square().mean(0).sqrt()[target])
    place = {gene: i for i, gene in enumerate(data.genes)}
    column = torch.tensor([place[g] for g in model.targets], device=Z.device)
    observed = data.rows(cell.cpu().numpy())[torch.arange(len(cell)), column[target]].double()
    unit = model.scale[model.target_index].double()[target]
    level = observed - unit * Z[cell, target]
    shape = (*drawn.shape[:2], len(cell))
    arrange = lambda values: torch.stack(values).reshape(shape).cpu().numpy()
    mean, sd = arrange([level + unit * m for m in means]), arrange([unit * s for s in sds])
    labels = [
        f"{name_of(data.labels, c)}:{model.targets[t]}" for c, t in zip(cell.tolist(), target.tolist(), strict=True)
    ]
    return CellPredictions(observed.cpu().numpy(), mean, sd, labels, cell.cpu().numpy())

r"""GRNULar and GRNULar-base: a sparse multi-task network from regulators to genes, unrolled, with learned sparsity."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from .cells import PenaltyNetwork, ThresholdNetwork, UnrolledState, soft_threshold

Weights = list[Tensor]
LEARNING_RATE, BETAS, EPSILON = 0.01, (0.9, 0.999), 1e-8  # Adam's own betas


class GRNULar(nn.Module):
    r"""Unrolled alternating minimisation of a regularised multi-task regression (Shrivastava et al. 2022, Algorithms 1
    and 2).

    .. math:: \min_{W, Z}\ \frac1M \sum_{k=1}^M \|X_O^k - f_W(X_T^k)\|^2 + \frac\lambda2 \Big\|\prod_i |W_i| - Z
              \Big\|_F^2 + \rho \|Z\|_1, \qquad f_W(x) = W_2^\top \mathrm{ReLU}(W_1^\top x + b_1) + b_2

    Each of L cells moves λ by Λ_nn, the weights by P steps of Adam (fitDNN-fast, Eq. 13) from those of the last cell,
    and Z by an entry-wise threshold ρ_nn; goodINIT fits the regression for ``init_epochs`` steps before.
    GRNULar-base instead fits new weights for ``init_epochs`` steps in every cell, Z and λ held constant (the paper's
    note on gradients).

    The regression is a mean over cells (the paper's sum would weigh Z less the more cells there are), of genes in units
    of their sd, so that one set of learned numbers serves any M and D. O are all genes; entries of a regulator on
    itself are masked.

    Parameters
    ----------
    num_iterations, num_inner
        L and P.
    num_layers
        2 or 3 layers of weights.
    hidden_per_tf, max_hidden
        Hidden units: 4 for each regulator, as the paper, at least 40 and at most ``max_hidden`` (its largest is
        500), but never fewer than regulators;
        the second hidden layer of three has as many.
    init_epochs
        E1, 200-500 in the paper.
    init_penalty
        λ⁰ of goodINIT, with Z⁰ = 0, as in the first call of fitDNN in Algorithm 1. Algorithm 2 fits without (0): then
        |W| keeps its random start, and on simulated clean cells Θ⁰ ranks edges a quarter as well
        (docs/results/amortised.md, cell by cell).
    decay
        δ of δ/2 ‖∏|W|‖², added to the objective in every cell. Default 0, the paper's cells, in which from the second
        one on weights are pulled towards Z alone, and no longer towards zero as in goodINIT: they rank worse than
        goodINIT does. With 0.3 they rank as well as it, and hardly better (docs/results/amortised.md, cell by cell).
    max_cells
        More cells are thinned evenly: beyond a thousand the fit changes little and the time grows in proportion.
    num_extra
        Prior features of a pair, see `ThresholdNetwork`.
    base
        GRNULar-base.

    Raises
    ------
    ValueError
        Layers other than 2 or 3, sizes below 1, a decay below 0.
    """

    def __init__(
        self,
        *,
        num_iterations: int = 15,
        num_inner: int = 5,
        num_layers: int = 2,
        hidden_per_tf: int = 4,
        max_hidden: int = 500,
        init_epochs: int = 300,
        init_penalty: float = 1.0,
        decay: float = 0.0,
        max_cells: int = 1000,
        num_extra: int = 0,
        base: bool = False,
    ) -> None:
        super().__init__()
        if num_layers not in (2, 3):
            raise ValueError(f"num_layers is {num_layers}, expected 2 or 3")
        sizes = (num_iterations, num_inner, hidden_per_tf, max_hidden, init_epochs, max_cells)
        if min(sizes) < 1:
            raise ValueError(f"L, P, hidden units, epochs and cells are {sizes}: expected at least 1 each")
        self.num_iterations, self.num_inner, self.num_layers = num_iterations, num_inner, num_layers
        self.hidden_per_tf, self.max_hidden, self.init_epochs = hidden_per_tf, max_hidden, init_epochs
        if not 0 <= decay < math.inf:
            raise ValueError(f"decay is {decay}, expected a number of at least 0")
        self.init_penalty, self.decay, self.max_cells, self.base = init_penalty, decay, max_cells, base
        self.threshold, self.penalty = ThresholdNetwork(num_extra), PenaltyNetwork()

    def forward(self, X: Tensor, tf_index: Tensor, *, extra: Tensor | None = None, seed: int = 0) -> UnrolledState:
        """Θ and Z ``(*graph, tf, gene)`` of cells ``(*graph, cell, gene)`` whose regulators are ``tf_index`` ``(*graph,
        tf)``; ``extra`` ``(*graph, tf, gene, num_extra)``."""
        return self.unroll(X, tf_index, self.initialise(X, tf_index, seed=seed), extra=extra, seed=seed)

    # -- goodINIT ----
    def initialise(self, X: Tensor, tf_index: Tensor, *, seed: int = 0) -> Weights:
        """goodINIT; nothing learned enters, so it can be kept for training."""
        x, y = self._inputs(X, tf_index)
        return self._fit(x, y, x.new_zeros(()), x.new_full(x.shape[:-2], self.init_penalty), seed, decay=0.0)

    def unroll(
        self,
        X: Tensor,
        tf_index: Tensor,
        weights: Sequence[Tensor],
        *,
        extra: Tensor | None = None,
        seed: int = 0,
    ) -> UnrolledState:
        """The L cells from given weights; differentiable in ρ_nn and Λ_nn through the P steps of every cell."""
        x, y = self._inputs(X, tf_index)
        covariance = x.mT @ y / x.shape[-2]  # (*graph, tf, gene)
        mask = not_self(tf_index, y.shape[-1])
        learning = torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters())
        current = [w.detach().requires_grad_() for w in weights]
        moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in current]
        theta = (dependency(current) * mask).detach()  # goodINIT's: no gradient of what is learned passes through it
        z, penalty = torch.zeros_like(theta), torch.ones_like(theta[..., 0, 0])
        step = 0
        for _ in range(self.num_iterations):
            penalty = self.penalty((z - theta).square().mean((-2, -1)), penalty)
            if self.base:
                theta = dependency(self._fit(x, y, z.detach(), penalty.detach(), seed, self.decay)) * mask
            else:
                for _ in range(self.num_inner):
                    step += 1
                    with torch.enable_grad():
                        # new names of the weights: λ and Z came from the old ones and are constants of J (Eq. 12)
                        current = [w.view_as(w) for w in current]
                        loss = self._loss(current, x, y, z, penalty, self.decay)
                        gradient = torch.autograd.grad(loss, current, create_graph=learning)
                        current = _adam(current, gradient, moments, step)
                    if not learning:
                        current = [w.detach().requires_grad_() for w in current]
                theta = dependency(current) * mask
            theta = theta if learning else theta.detach()
            z = soft_threshold(theta, self.threshold(theta, covariance, z, extra)) * mask
        state = UnrolledState(theta, z, penalty)
        return state if learning else UnrolledState(*(part.detach() for part in state))

    def _fit(self, x: Tensor, y: Tensor, z: Tensor, penalty: Tensor, seed: int, decay: float) -> Weights:
        """fitDNN: ``init_epochs`` steps of Adam from random weights (the same for every graph and every call of a
        seed)."""
        tfs, genes = x.shape[-1], y.shape[-1]
        hidden = max(tfs, min(max(40, self.hidden_per_tf * tfs), self.max_hidden))
        generator = torch.Generator().manual_seed(seed)
        sizes = [tfs, *([hidden] * (self.num_layers - 1)), genes]
        weights: Weights = []
        for inputs, outputs in pairwise(sizes):
            # torch's own default for linear layers
            for shape in ((inputs, outputs), (1, outputs)):
                start = (2 * torch.rand(shape, generator=generator) - 1) / math.sqrt(inputs)
                weights.append(start.to(x).expand(*x.shape[:-2], *shape).clone().requires_grad_())
        moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in weights]
        with torch.enable_grad():
            for step in range(1, self.init_epochs + 1):
                gradient = torch.autograd.grad(self._loss(weights, x, y, z, penalty, decay), weights)
                with torch.no_grad():
                    weights = _adam(weights, gradient, moments, step)
                weights = [w.requires_grad_() for w in weights]
        return [w.detach() for w in weights]

    def _loss(self, weights: Weights, x: Tensor, y: Tensor, z: Tensor, penalty: Tensor, decay: float) -> Tensor:
        """J (Eq. 12) with a decay, summed over graphs: their weights are separate, so each gets its own gradient."""
        h = x
        for i in range(self.num_layers):
            h = torch.matmul(h, weights[2 * i]) + weights[2 * i + 1]
            if i < self.num_layers - 1:
                h = torch.relu(h)
        theta = dependency(weights)
        distance = (theta - z).square().sum((-2, -1))
        loss = (h - y).square().sum() / x.shape[-2] + 0.5 * (penalty * distance).sum()
        return loss + 0.5 * decay * theta.square().sum() if decay else loss

    def _inputs(self, X: Tensor, tf_index: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised regulators and genes of at most ``max_cells`` cells; a constant gene is 0."""
        if X.shape[-2] > self.max_cells:
            X = X[..., torch.linspace(0, X.shape[-2] - 1, self.max_cells, device=X.device).long(), :]
        y = X - X.mean(-2, keepdim=True)
        y = y / (y.square().mean(-2, keepdim=True).sqrt() + 1e-6)
        x = y.gather(-1, tf_index[..., None, :].expand(*y.shape[:-1], -1))
        return x, y


def not_self(tf_index: Tensor, genes: int) -> Tensor:
    """``(*graph, tf, gene)`` 0 where a regulator meets itself, 1 elsewhere."""
    return 1.0 - torch.nn.functional.one_hot(tf_index, genes).float()


def dependency(weights: Weights) -> Tensor:
    r""":math:`\Theta = \prod_i |W_i|`, ``(*graph, tf, gene)``."""
    result = weights[0].abs()
    for weight in weights[2::2]:
        result = result @ weight.abs()
    return result


def _adam(weights: Weights, gradient: Sequence[Tensor], moments: list[tuple[Tensor, Tensor]], step: int) -> Weights:
    """One step of Adam as a function; ``moments`` are replaced in place, so gradients can flow through them."""
    first, second = BETAS
    result = []
    for i, (w, g) in enumerate(zip(weights, gradient, strict=True)):
        m, v = moments[i]
        m, v = first * m + (1 - first) * g, second * v + (1 - second) * g * g
        moments[i] = (m, v)
        # the root's gradient is infinite at 0: a weight that has never had a gradient stays where it is
        root = (v / (1 - second**step) + 1e-16).sqrt()
        result.append(w - LEARNING_RATE * (m / (1 - first**step)) / (root + EPSILON))
    return result

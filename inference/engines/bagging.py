r"""Bagged ridge regression on bootstrap samples of the cells, through reweighted Gram statistics."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...models import ExpressionData, Model
from ..draws.moments import Collector
from ..runs.history import History
from ..runs.run import Run
from ..runs.sampler import Sampler

SUM_BYTES = 2e8  # of weighted sums that are accumulated at once: as many bags as fit share one pass over the cells
SYSTEM_BYTES = 2e8  # of the ridge systems solved at once
CHUNK = 8192  # cells


@dataclass(frozen=True)
class Bagging(Sampler):
    r"""Ridge regressions of every target on its candidate regulators, one for each bootstrap sample of the cells.

    .. math:: \hat w_g^{(b)} = \arg\min_w \sum_c n_c^{(b)} (y_{cg} - \mu - w^\top x_c)^2 + \alpha\|w\|^2, \qquad
              n^{(b)} \sim \mathrm{Multinomial}(n, 1/n), \qquad \alpha = 1/s^2

    (CellOracle's bagging ridge; Breiman 1996, Kamimoto et al. 2023). s is the scale of the model's `Normal` prior:
    ``Normal(scale=0.316)`` is CellOracle's α = 10 on standardised genes. Cells in which an intervention clamps a target
    are left out of that target's regression.

    The bags are the draws, dealt to ``chains`` that are independent by design. Their spread is sampling variation of a
    shrunken estimate and not a posterior, so there is no calibration badge. CellOracle also offers each tree of the bag
    a random 80% of the candidates; here every candidate is in every bag.

    Needs the cells: ``fit(model, data, guide=Bagging())`` with the data the model was made from, one context.

    Parameters
    ----------
    num_bags
        Bootstrap samples. Default 100; CellOracle's 20 are too few for the ends of an interval.
    chains
        Equal parts into which the bags are dealt. Default 4.
    """

    num_bags: int = 100
    chains: int = 4
    name = "bagging"
    calibrated = False
    draws_chains = False  # bags are independent
    reads_cells = True
    length_options = ("chains", "num_bags")

    def __post_init__(self) -> None:
        if self.chains < 1 or self.num_bags < self.chains or self.num_bags % self.chains:
            raise ValueError(f"{self}: expected at least one bag a chain, and as many in each")

    def run(self, model: Model, data: ExpressionData | None, run: Run) -> tuple[Collector, History]:
        started = time.monotonic()
        if run.resume is not None:
            raise ValueError("bagging cannot be resumed: run it again (it is one pass over the cells by a few bags)")
        bags = _Bags(model, data)
        collector = Collector(model, self.chains, self.num_bags // self.chains, has_inclusion=False)
        waiting: list[tuple[Tensor, Tensor]] = []
        estimates = bags.estimates(self.num_bags, run.seed)
        with run.steps(0, self.num_bags) as steps:
            for bag in steps:
                waiting.append(next(estimates))
                if len(waiting) == self.chains:
                    W, noise = (torch.stack(part).to(model.constant) for part in zip(*waiting, strict=True))
                    present = ((W.abs() > run.threshold) & model.edge_prior.allowed).to(W)
                    collector.add({"W": W, "noise_variance": noise}, present)
                    waiting = []
                steps.tell(bag + 1, f"bag {bag + 1} of {self.num_bags}")
        return collector, History.every_step("budget", np.zeros((self.chains, 0)), time.monotonic() - started)


class _Bags:
    """The ridge regressions of one network and its cells, in float64."""

    def __init__(self, model: Any, data: ExpressionData | None) -> None:
        if not model.plain_regression or model.has_contexts:
            kind = "several contexts" if model.plain_regression else type(model).__name__
            raise ValueError(
                f"Bagging is for a LinearNetwork of one context, this is {kind}: fit one context at a time"
            )
        penalty = model.edge_prior.family.ridge_penalty
        if penalty is None:
            raise ValueError(
                "Bagging is ridge regression: it needs Normal(scale=...) with a fixed scale, alone without prior "
                "networks or in HardMask; Normal(scale=0.316) is CellOracle's penalty of 10"
            )
        if data is None:
            raise ValueError("Bagging resamples cells: pass the data as well, fit(model, data, guide=Bagging())")
        if tuple(data.genes) != tuple(model.genes):
            raise ValueError("`data` have other genes than the model: pass the data that the model was made from")
        self.model, self.data, self.penalty = model, data, penalty
        allowed = model.edge_prior.allowed
        self.allowed = allowed
        # the candidates of each target, padded to the same number
        self.size = int(allowed.sum(0).max())
        self.candidates = allowed.to(torch.int8).T.argsort(dim=1, descending=True, stable=True)[:, : self.size]
        self.padded = ~allowed.T.gather(1, self.candidates)  # (target, candidate)
        self.clamped = self._clamped_cells()

    def _clamped_cells(self) -> dict[int, Tensor]:
        """By target that an intervention clamps: the cells in which it does."""
        if self.data.perturbed is None or not len(self.data.perturbed):
            return {}
        place = {int(g): t for t, g in enumerate(self.model.target_index.tolist())}
        cells: dict[int, list[int]] = {}
        for cell, gene in self.data.perturbed.tolist():
            if gene in place:
                cells.setdefault(place[gene], []).append(cell)
        return {t: torch.tensor(c, device=self.data.device) for t, c in cells.items()}

    def estimates(self, num_bags: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """W ``(tf, target)`` and the residual variance ``(target,)`` of each bag."""
        num_tfs, num_targets = self.allowed.shape
        at_once = max(1, int(SUM_BYTES / (8 * (num_tfs + 1) * (num_tfs + num_targets))))
        for start in range(0, num_bags, at_once):
            numbers = range(start, min(start + at_once, num_bags))
            weights = np.stack([self._weights(seed, b) for b in numbers])
            weight = torch.as_tensor(weights, dtype=torch.float64, device=self.data.device)
            for sums, own in zip(self._sums(weight), weight, strict=True):
                yield self._solve(sums, own)

    def _weights(self, seed: int, bag: int) -> np.ndarray:
        n = self.data.num_cells
        return np.random.default_rng([seed, bag]).multinomial(n, np.full(n, 1 / n))

    def _standardised(self, rows: slice | np.ndarray) -> tuple[Tensor, Tensor]:
        """``(cell, 1 + tf)`` ones and regulators, ``(cell, target)``; off the mean of all cells, which costs no digits
        later."""
        m = self.model
        X = (self.data.rows(rows).double() - m.context_mean[0].double()) / m.scale.double()
        x = X[:, m.tf_index]
        return torch.cat([x.new_ones(len(x), 1), x], dim=1), X[:, m.target_index]

    def _sums(self, weight: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """For each bag: weighted products of ``[1, x]`` with itself and with y, and sums of y²; one pass."""
        sums: list[list[Tensor]] = []
        for start in range(0, self.data.num_cells, CHUNK):
            x, y = self._standardised(slice(start, min(start + CHUNK, self.data.num_cells)))
            for b, w in enumerate(weight[:, start : start + CHUNK]):
                scaled = (x * w[:, None]).T
                parts = [scaled @ x, scaled @ y, w @ y.square()]
                if start == 0:
                    sums.append(parts)
                else:
                    sums[b] = [total + part for total, part in zip(sums[b], parts, strict=True)]
        return [(gram, cross, square) for gram, cross, square in sums]

    def _solve(self, sums: tuple[Tensor, Tensor, Tensor], weight: Tensor) -> tuple[Tensor, Tensor]:
        gram, cross, square = sums
        W = gram.new_zeros(self.allowed.shape)
        noise = gram.new_zeros(len(self.candidates))
        step = max(1, int(SYSTEM_BYTES / (8 * max(self.size, 1) ** 2)))
        ordinary = [t for t in range(len(self.candidates)) if t not in self.clamped]
        for start in range(0, len(ordinary), step):
            chosen = torch.tensor(ordinary[start : start + step], device=gram.device)
            W[:, chosen], noise[chosen] = self._ridge(gram, cross[:, chosen], square[chosen], chosen)
        for t, cells in self.clamped.items():
            x, y = self._standardised(cells.cpu().numpy())
            scaled = (x * weight[cells, None]).T
            chosen = torch.tensor([t], device=gram.device)
            less = scaled @ x, scaled @ y[:, chosen], weight[cells] @ y[:, chosen].square()
            W[:, chosen], noise[chosen] = self._ridge(
                gram - less[0], cross[:, chosen] - less[1], square[chosen] - less[2], chosen
            )
        return W, noise

    def _ridge(self, gram: Tensor, cross: Tensor, square: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """``(tf, target)`` and ``(target,)`` of targets that share their cells; intercepts are not penalised."""
        count, mean_x, mean_y = gram[0, 0], gram[0, 1:] / gram[0, 0], cross[0] / gram[0, 0]
        centred = gram[1:, 1:] - count * torch.outer(mean_x, mean_x)
        b = cross[1:] - count * torch.outer(mean_x, mean_y)  # (tf, target)
        rows, pad = self.candidates[chosen], self.padded[chosen]
        system = centred[rows[:, :, None], rows[:, None, :]]
        system = torch.where(pad[:, :, None] | pad[:, None, :], 0.0, system)
        system = system + self.penalty * torch.eye(self.size, dtype=system.dtype, device=system.device)
        score = torch.where(pad, 0.0, b.T.gather(1, rows))
        w = torch.cholesky_solve(score[..., None], torch.linalg.cholesky(system))[..., 0]
        total = square - count * mean_y.square()
        # ||y − Xw||² = y'y − 2 w'b + w'Gw, and Gw = b − αw
        error = total - (w * score).sum(1) - self.penalty * w.square().sum(1)
        W = cross.new_zeros(len(centred), len(chosen))
        W.T.scatter_(1, rows, torch.where(pad, 0.0, w))
        return W, error / (count - 1).clamp_min(1)

r"""Gene influence: how far the other genes' trajectories move when one gene starts elsewhere."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..models.ode_solvers import Solver, simulate
from ..models.phoenix_layers import BlowUp, PhoenixParameters
from .draws.intervals import LEVEL

INFLUENCE_COLUMNS = ("gene", "influence", "sd", "lower", "upper", "error")
CACHED, RESIDENT = 2**17, 2**26  # numbers in a batch's state: fits the cache of a core; 256 MB on an accelerator
FEWEST = 64  # rows of a batch: matrix products of fewer waste the machine


class Influence(NamedTuple):
    """``score`` (*draw, gene), and its standard ``error`` (*draw, gene) from the finite number of random starts."""

    score: Tensor
    error: Tensor


class Forward:
    r"""Runge-Kutta of order 4 with fixed steps, results only: nothing is kept for gradients, buffers are reused, and
    :math:`\phi` is computed only of genes that some weight reads. A :class:`~pyrogrn.models.phoenix.Solver`.

    The same steps and results as `RungeKutta`, about twice as fast, and memory that does not grow with the steps. All
    rows of a batch share one Δt, as those of `simulate` do.

    Parameters
    ----------
    step
        Longest step; default 1, as `RungeKutta`.

    Raises
    ------
    ValueError
        ``step`` that is not positive; when called, Δt that differ.
    BlowUp
        When called: a result that is not finite, with the step after which it was seen.
    """

    def __init__(self, step: float = 1.0) -> None:
        if not step > 0:
            raise ValueError(f"Forward(step={step}): expected step > 0")
        self.step = step

    @torch.no_grad()
    def __call__(self, parameters: PhoenixParameters, start: Tensor, dt: Tensor, free: Tensor | None = None) -> Tensor:
        p, span = parameters, float(dt[0])
        if bool((dt != dt[0]).any()):
            raise ValueError("Forward needs the same Δt for all rows: use RungeKutta for pairs of different Δt")
        number = max(1, math.ceil(span / self.step - 1e-6))
        h = span / number
        read = ((p.W_sigma != 0) | (p.W_pi != 0)).flatten(0, -2).any(0).nonzero()[:, 0]
        W_sigma, W_pi = (W[..., read].mT.contiguous() for W in (p.W_sigma, p.W_pi))
        U = torch.cat([p.U_sigma, p.U_pi], dim=-1).mT.contiguous()  # (*draw, 2 hidden, gene)
        gain, b_sigma, b_pi = p.upsilon.relu()[..., None, :], p.b_sigma[..., None, :], p.b_pi[..., None, :]
        x, k, y = start.clone(), torch.empty_like(start), torch.empty_like(start)

        def rate(g: Tensor) -> Tensor:
            """ċ at g, written into k."""
            phi = g.index_select(-1, read).sub_(0.5)
            phi.div_(phi.abs().add_(1))
            sums = torch.matmul(phi, W_sigma).add_(b_sigma)
            products = torch.matmul(phi.log1p_(), W_pi).add_(b_pi).exp_()
            torch.matmul(torch.cat([sums, products], dim=-1), U, out=k)
            k.sub_(g).mul_(gain)
            return k if free is None else k.mul_(free)

        for done in range(number):
            total = rate(x).clone()
            total.add_(rate(torch.add(x, k, alpha=h / 2, out=y)), alpha=2)
            total.add_(rate(torch.add(x, k, alpha=h / 2, out=y)), alpha=2)
            total.add_(rate(torch.add(x, k, alpha=h, out=y)))
            x.add_(total, alpha=h / 6)
            if not bool(torch.isfinite(x.sum())):
                raise BlowUp(f"the solution is not finite after step {done + 1} of {number}", done + 1)
        return x


def senders(parameters: PhoenixParameters) -> Tensor:
    """``(gene,)`` whether a gene acts on another gene: a path of weights that are not zero leads from it, in one
    network (no draw axes), to another gene with υ > 0. All others have influence exactly zero."""
    p, moves = parameters, parameters.upsilon > 0
    result = torch.zeros_like(moves)
    for W, U in ((p.W_sigma, p.U_sigma), (p.W_pi, p.U_pi)):
        onto = (U != 0) & moves[:, None]  # (gene, hidden)
        elsewhere = onto.sum(0)[:, None] > onto.T  # (hidden, gene j): the unit acts on a gene that is not j
        result |= ((W != 0) & elsewhere).any(0)
    return result


@torch.no_grad()
def gene_influence(
    parameters: PhoenixParameters,
    times: Tensor,
    *,
    starts: int = 200,
    seed: int = 0,
    solver: Solver | None = None,
    rows: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Influence:
    r"""Influence of each gene on all others (DASH paper, B.8.1).

    .. math:: \mathrm{IS}_j = \frac1K \sum_{k=1}^{K} \frac{1}{|T|} \sum_{t \in T,\, t \ne 0} \frac1n
              \sum_{i \ne j} \big|\hat g_i(t)_k - \hat g_i^j(t)_k\big|

    Starts :math:`g(0)_k` are uniform on (0, 1); in :math:`g^j(0)_k` the level of gene j alone is drawn anew, uniform
    as well (the paper says "perturbed"; this is what its authors' program does). The authors' program draws other
    starts for each gene, from :math:`(-½, ½)`, and divides by n - 1; here the starts are as in the paper, common to
    all genes and draws: the unperturbed trajectories are solved once, and differences between genes hold less noise.

    Only genes that act on another gene (`senders`) are solved for: the influence of the others is exactly zero. That
    leaves ``(senders + 1) x starts`` trajectories; each costs about 8 n m multiplications in each of the four stages
    of a step, for n genes and m hidden neurons, half of them only for genes that weights read. Nine steps on one core
    take 7 s for 350 genes (m = 40) and 7 min for 2,000 (m = 100) without zeros, 18 h for 11,165 (m = 300); pruned so
    that a tenth of the genes act on others, 50 min for 11,165.

    Parameters
    ----------
    parameters
        A network, or one for each draw.
    times
        ``(time,)`` T, increasing; the first is t = 0. The paper does not give T, its authors' program has 0, 0.1, …,
        0.9 in units of the data's time.
    starts
        K, at least 2; default 200, as in the paper.
    seed
        Of the starts; the caller's generators are not touched.
    solver
        Default `Forward`.
    rows
        Trajectories in one solve. Memory grows with it: rows x genes x (times + about 9) numbers. Default: as many as
        the cache of a processor holds, at least 64; on an accelerator 256 MB for each time.
    progress
        Called with the number of trajectories done and their total.

    Raises
    ------
    ValueError
        ``starts`` below 2, ``rows`` below 1, times that do not increase.
    BlowUp
        A trajectory that is not finite.

    Examples
    --------
    >>> zero, one = torch.zeros(1, 2), torch.ones(1, 2)  # one neuron: the second gene follows the first
    >>> network = PhoenixParameters(
    ...     torch.tensor([[1.0, 0.0]]), zero, torch.tensor([[0.0], [1.0]]), zero.T, zero[:, 0], zero[:, 0], one[0]
    ... )
    >>> score, error = gene_influence(network, torch.tensor([0.0, 1.0]))
    >>> score[0] > 0.01, score[1]
    (tensor(True), tensor(0.))
    """
    if starts < 2 or (rows is not None and rows < 1):
        raise ValueError(f"starts={starts}, rows={rows}: expected at least 2 starts and 1 row")
    solve = solver or Forward()
    *draw, n = parameters.upsilon.shape
    number = math.prod(draw)
    flat = [
        PhoenixParameters(*(v.reshape(number, *v.shape[len(draw) :])[d] for v in parameters)) for d in range(number)
    ]
    generator = torch.Generator().manual_seed(seed)
    like = parameters.upsilon
    start, other = (torch.rand(starts, n, generator=generator).to(like) for _ in range(2))
    batch = rows or max(FEWEST, (CACHED if like.device.type == "cpu" else RESIDENT) // n)
    sending = [senders(one).nonzero()[:, 0] for one in flat]
    done, total = 0, sum((len(s) + 1) * starts for s in sending)
    results = []
    for one, sends in zip(flat, sending, strict=True):
        moved = torch.zeros(starts, n, dtype=torch.float64, device=like.device)
        base = torch.cat([simulate(one, part, times, solver=solve) for part in start.split(batch)], dim=1)
        done += starts
        rows_to_solve = torch.arange(len(sends) * starts, device=like.device).split(batch) if len(sends) else ()
        for part in rows_to_solve:
            gene, k = sends[part // starts], part % starts
            changed = start[k]
            here = torch.arange(len(part), device=like.device)
            changed[here, gene] = other[k, gene]
            path = simulate(one, changed, times, solver=solve)
            for t in range(1, len(times)):
                gap = path[t].sub_(base[t][k]).abs_()
                gap[here, gene] = 0.0
                moved[k, gene] += gap.sum(-1)
            done += len(part)
            if progress is not None:
                progress(done, total)
        moved /= n * len(times)
        results.append((moved.mean(0), moved.std(0) / math.sqrt(starts)))
    score, error = (torch.stack(v).to(like).reshape(*draw, n) for v in zip(*results, strict=True))
    return Influence(score, error)


def influence_table(influence: Influence, genes: Sequence[str], *, level: float = LEVEL) -> pd.DataFrame:
    """Influence scores as a table, the most influential gene first.

    Parameters
    ----------
    influence
        From `gene_influence`.
    genes
        Their names.
    level
        Of the interval over draws.

    Returns
    -------
    DataFrame
        ``gene, influence`` (mean over draws), ``sd, lower, upper`` over draws (NaN for a single network: it says
        nothing about uncertainty), ``error`` (standard error from the finite number of starts, mean over draws).

    Raises
    ------
    ValueError
        Another number of genes than scores; ``level`` outside (0, 1).
    """
    score = influence.score.detach().double().cpu().numpy()
    n = score.shape[-1]
    if len(genes) != n:
        raise ValueError(f"{len(genes)} gene names for {n} scores: pass the names in the model's order")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: expected between 0 and 1")
    draws = score.reshape(-1, n)
    spread = np.full((3, n), np.nan)
    if len(draws) > 1:
        tail = (1 - level) / 2
        spread = np.stack([draws.std(0, ddof=1), *np.quantile(draws, [tail, 1 - tail], axis=0)])
    error = influence.error.detach().double().cpu().numpy().reshape(-1, n).mean(0)
    values = (np.asarray(genes, dtype=object), draws.mean(0), *spread, error)
    table = pd.DataFrame(dict(zip(INFLUENCE_COLUMNS, values, strict=True)))
    return table.sort_values("influence", ascending=False, kind="stable", ignore_index=True)

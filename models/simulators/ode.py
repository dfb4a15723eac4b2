r"""Time courses of a random gene regulatory network that relaxes towards Hill-like targets."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from ..data.expression import ExpressionData
from ..dynamics.odeint import odeint

ERROR = 1e-6  # of the solver, far below any noise


@dataclass(frozen=True, eq=False)
class CourseSimulation:
    """Time courses and the truth behind them.

    Attributes
    ----------
    data
        Levels (cell, gene) with times and trajectories; every trajectory at the same times.
    network
        ``source, target, weight, sign``: the edges; ``weight`` per unit of the source's level.
    W
        (source, target).
    rate, bias
        (gene,) υ and b.
    """

    data: ExpressionData
    network: pd.DataFrame
    W: Tensor
    rate: Tensor
    bias: Tensor


def simulate_courses(
    *,
    num_genes: int = 50,
    num_regulators: int | None = None,
    in_degree: float = 2.0,
    repression: float = 0.3,
    strength: float = 4.0,
    rate_spread: float = 0.3,
    num_trajectories: int = 40,
    times: Sequence[float] = (0, 1, 2, 4, 7),
    noise: float = 0.02,
    seed: int = 0,
) -> CourseSimulation:
    r"""Draw a random network and courses from random starts.

    .. math:: \dot g_i = \upsilon_i\Big[\sigma\Big(\sum_j W_{ji}(g_j - \tfrac12) + b_i\Big) - g_i\Big], \qquad
              g(t_k) + \tau e

    σ the logistic function, so levels are between 0 and 1; starts uniform on (0, 1); e standard normal.

    Parameters
    ----------
    num_genes, num_regulators
        The first ``num_regulators`` genes may regulate every other; default all of them.
    in_degree
        Mean number of regulators of a gene (Bernoulli).
    repression
        Share of negative edges.
    strength
        Median :math:`|W|`, spread log-normally by 0.3. Default 4: one regulator moves its target over most of its
        range.
    rate_spread
        Sd of :math:`\log\upsilon` around 0.
    num_trajectories, times
        Courses, and when each is measured.
    noise
        τ.
    seed
        Seed; the global generators are not touched.

    Raises
    ------
    ValueError
        Options out of range, times that do not increase.

    Examples
    --------
    >>> simulate_courses(num_genes=5, num_trajectories=3, seed=1).data.X.shape
    torch.Size([15, 5])
    """
    regulators = num_genes if num_regulators is None else num_regulators
    if num_genes < 2 or not 1 <= regulators <= num_genes or not 0 < in_degree <= regulators:
        raise ValueError(
            f"in_degree is {in_degree} with {regulators} regulators of {num_genes} genes: expected at least two genes "
            "and 0 < in_degree <= regulators"
        )
    if not 0 <= repression <= 1 or not strength > 0 or min(rate_spread, noise) < 0 or num_trajectories < 1:
        raise ValueError(
            f"repression={repression}, strength={strength}, rate_spread={rate_spread}, noise={noise}, "
            f"num_trajectories={num_trajectories}: expected a share, positive, 0 or more, 0 or more, at least 1"
        )
    clock = torch.tensor([float(t) for t in times], dtype=torch.float64)
    if len(clock) < 2 or not bool((clock.diff() > 0).all()):
        raise ValueError(f"times are {list(times)}: expected at least two, increasing")
    genes = tuple(f"G{g:04d}" for g in range(num_genes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        W, rate, bias = _network(num_genes, regulators, in_degree, repression, strength, rate_spread)
        zero = clock.new_zeros(())
        start = pyro.sample("start", dist.Uniform(zero, zero + 1).expand([num_trajectories, num_genes]).to_event(2))

        def change(_: Tensor, g: Tensor) -> Tensor:
            return rate * (torch.sigmoid((g - 0.5) @ W + bias) - g)

        path = odeint(change, start, clock, rtol=ERROR, atol=ERROR)  # (time, trajectory, gene)
        X = pyro.sample("X", dist.Normal(path, noise).to_event(3)) if noise else path
    cells = X.transpose(0, 1).flatten(0, 1)  # times of one trajectory after another
    names = [f"course{k:03d}" for k in range(num_trajectories) for _ in clock]
    data = ExpressionData(cells.float(), genes, genes[:regulators])
    data = data.with_times(clock.repeat(num_trajectories).tolist(), names)
    source, target = torch.nonzero(W, as_tuple=True)
    weight = W[source, target].numpy()
    table = pd.DataFrame(
        {
            "source": [genes[s] for s in source.tolist()],
            "target": [genes[t] for t in target.tolist()],
            "weight": weight,
            "sign": (weight > 0).astype(int) * 2 - 1,
        }
    )
    return CourseSimulation(data, table, W, rate, bias)


def _network(
    n: int, regulators: int, in_degree: float, repression: float, strength: float, rate_spread: float
) -> tuple[Tensor, Tensor, Tensor]:
    """W (source, target), υ and b (gene,): a Pyro program."""
    zero = torch.zeros((), dtype=torch.float64)
    share = min(1.0, in_degree / max(regulators - 1, 1))
    shape = [regulators, n]
    present = pyro.sample("present", dist.Bernoulli(zero + share).expand(shape).to_event(2))
    negative = pyro.sample("negative", dist.Bernoulli(zero + repression).expand(shape).to_event(2))
    size = pyro.sample("size", dist.LogNormal((zero + strength).log(), 0.3).expand(shape).to_event(2))
    W = torch.zeros(n, n, dtype=torch.float64)
    W[:regulators] = present * size * (1 - 2 * negative)
    W.fill_diagonal_(0.0)
    rate = pyro.sample("rate", dist.Normal(zero, 1.0).expand([n]).to_event(1)).mul(rate_spread).exp()
    bias = pyro.sample("bias", dist.Normal(zero, 1.0).expand([n]).to_event(1))
    return W, rate, bias

r"""Perturbation panels from a known network at steady state: knock-downs, hidden inputs, several contexts."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from ..data.expression import ExpressionData
from ..dynamics.dynamics import Dynamics
from ..dynamics.settle import SETTLED, settle

ATTEMPTS = 100  # networks drawn before giving up
MARGIN = 0.95  # largest spectral radius of the loop gain at the control state: below 1 it is stable


@dataclass(frozen=True, eq=False)
class PanelSimulation:
    """A panel and the truth behind it.

    Attributes
    ----------
    data
        Levels (condition, gene), with the genes knocked down and the contexts.
    network
        ``source, target, weight, sign``: the edges of W; ``weight`` is what one control level of the source adds to
        the drive of the target.
    W
        (context, source, target): drive of the target for one unit of the source's level.
    present
        (source, target) bool.
    gain, bias
        (gene,) ε and (context, gene) b.
    control
        (gene,) level without noise, knock-downs and hidden inputs, the same in every context.
    z, beta
        (condition, factor) hidden inputs and (factor, gene) their effects on the drive.
    """

    data: ExpressionData
    network: pd.DataFrame
    W: Tensor
    present: Tensor
    gain: Tensor
    bias: Tensor
    control: Tensor
    z: Tensor
    beta: Tensor

    def dynamics(self, context: int = 0) -> Dynamics:
        """The dynamical system of a context."""
        return Dynamics(self.W[context], self.gain, torch.ones_like(self.gain), self.bias[context], "logistic")


def simulate_panel(
    *,
    num_genes: int = 100,
    num_regulators: int | None = None,
    in_degree: float = 3.0,
    repression: float = 0.5,
    scale: float = 0.6,
    num_contexts: int = 1,
    context_scale: float = 0.2,
    knocked_down: float = 1.0,
    remaining: tuple[float, float] = (0.1, 0.9),
    replicates: int = 1,
    num_controls: int = 5,
    drive_noise: float = 0.1,
    measurement_noise: float = 0.0,
    num_hidden: int = 0,
    hidden_scale: float = 0.2,
    seed: int = 0,
) -> PanelSimulation:
    r"""Draw a random network and the steady states of a knock-down panel.

    .. math:: x_{ci} = \varepsilon_i\,\phi\Big(\sum_j W_{kji} x_{cj} + b_{ki} + \beta_i^\top z_c + \sigma e_{ci}\Big)
              \quad\text{where i is free}, \qquad x_{ci} = s_i x^*_i \quad\text{where it is clamped},

    φ the logistic function, k the context of condition c, :math:`W_k = W + \Delta_k`, e and z standard normal. What is
    measured is :math:`x_{ci}\exp(\tau\,e'_{ci})`. The noise in the drive acts: it travels through the network, so that
    a gene's noise is correlated with its regulators' where there is feedback. The biases make :math:`x^*` a steady
    state of every context.

    Parameters
    ----------
    num_genes, num_regulators
        The first ``num_regulators`` genes may regulate every other; default all of them.
    in_degree
        Mean number of regulators of a gene (binomial).
    repression
        Share of negative edges.
    scale
        Median :math:`|W_{ji}|x^*_j`, spread log-normally by 0.3: what a regulator at its control level adds to the
        drive. Default 0.6: with three regulators, halving one moves the target by about a fifth.
    num_contexts, context_scale
        Contexts, and the sd of each context's deviation of an existing edge, in units of ``scale``.
    knocked_down
        Share of the genes that have a knock-down, chosen anew in each context.
    remaining
        Range of s, uniform, one value a gene and context.
    replicates, num_controls
        Conditions of each knock-down, and without any, in each context.
    drive_noise, measurement_noise
        σ and τ.
    num_hidden, hidden_scale
        Hidden inputs, and the sd of β.
    seed
        Seed; the global generators are not touched.

    Raises
    ------
    ValueError
        Options out of range; 100 networks without a stable steady state in every condition.

    Examples
    --------
    >>> simulate_panel(num_genes=10, num_controls=2, seed=1).data.X.shape
    torch.Size([12, 10])
    """
    low, high = remaining
    regulators = num_genes if num_regulators is None else num_regulators
    if num_genes < 2 or not 1 < regulators <= num_genes or not 0 < in_degree <= regulators - 1:
        raise ValueError(
            f"in_degree is {in_degree} with {regulators} regulators of {num_genes} genes: expected two of each or "
            "more, and 0 < in_degree < regulators"
        )
    if not 0 <= repression <= 1 or not 0 <= knocked_down <= 1:
        raise ValueError(f"repression={repression}, knocked_down={knocked_down}: expected shares from 0 to 1")
    if not 0 < low <= high:
        raise ValueError(f"remaining={remaining}: expected 0 < low <= high, shares of the control level")
    if min(num_contexts, replicates) < 1 or min(num_controls, num_hidden) < 0:
        raise ValueError(
            f"num_contexts={num_contexts}, replicates={replicates}, num_controls={num_controls}, "
            f"num_hidden={num_hidden}: expected at least 1, 1, 0 and 0"
        )
    if not scale > 0 or min(context_scale, drive_noise, measurement_noise, hidden_scale) < 0:
        raise ValueError("scale must be positive, context_scale, hidden_scale and the noises 0 or more")
    genes = tuple(f"G{g:04d}" for g in range(num_genes))
    number = round(knocked_down * num_genes)
    spread = context_scale * scale if num_contexts > 1 else 0.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(ATTEMPTS):
            network = _network(num_genes, regulators, in_degree, repression, scale, num_contexts, spread)
            if network is None:
                continue
            chosen = torch.stack([torch.randperm(num_genes)[:number] for _ in range(num_contexts)])
            panel = _conditions(
                network, chosen, remaining, replicates, num_controls, drive_noise, num_hidden, hidden_scale
            )
            if panel is not None:
                break
        else:
            raise ValueError(f"no stable panel in {ATTEMPTS} networks: lower scale, in_degree or the noise")
        W, present, relative, control, gain, bias = network
        X, z, beta = panel
        X = X * (measurement_noise * torch.randn_like(X)).exp()
    labels = [
        ["control"] * num_controls + [genes[g] for g in row for _ in range(replicates)] for row in chosen.tolist()
    ]
    names = [f"context{k}" for k, row in enumerate(labels) for _ in row]
    data = ExpressionData(X.float(), genes, genes[:regulators]).annotated(
        context=names if num_contexts > 1 else None, perturbed=[g for row in labels for g in row] if number else None
    )
    return PanelSimulation(data, _table(relative, present, genes), W, present, gain, bias, control, z, beta)


def _network(
    n: int, regulators: int, in_degree: float, repression: float, scale: float, contexts: int, spread: float
) -> tuple[Tensor, ...] | None:
    """W (context, source, target), present, relative weights W x*, control levels, gain, bias; None where the control
    state is unstable. A Pyro program."""
    zero = torch.zeros(n, dtype=torch.float64)
    with pyro.plate("source", n, dim=-2), pyro.plate("target", n, dim=-1):
        exists = pyro.sample("present", dist.Bernoulli(zero + in_degree / (regulators - 1)))
        size = pyro.sample("size", dist.LogNormal(zero, 0.3))
        represses = pyro.sample("represses", dist.Bernoulli(zero + repression))
        with pyro.plate("context", contexts, dim=-3):
            change = pyro.sample("change", dist.Normal(zero, 1.0))
    with pyro.plate("gene", n, dim=-1):
        control = pyro.sample("control", dist.LogNormal(zero, 1.0))
        share = pyro.sample("share", dist.Uniform(zero + 0.2, zero + 0.6))  # of ε, at the control state
    present = exists.bool()
    present.fill_diagonal_(False)
    present[regulators:] = False
    relative = scale * size * (1 - 2 * represses) * present  # (source, target)
    by_context = relative + spread * change * present  # (context, source, target)
    # d log x_i / d log x_j along an edge is (1 − share_i) W_ji x*_j
    loop = by_context * (1 - share)
    if float(torch.linalg.eigvals(loop).abs().amax()) >= MARGIN:
        return None
    bias = share.logit() - by_context.sum(1)
    return by_context / control[:, None], present, relative, control, control / share, bias


def _conditions(
    network: tuple[Tensor, ...],
    chosen: Tensor,
    remaining: tuple[float, float],
    replicates: int,
    controls: int,
    drive_noise: float,
    num_hidden: int,
    hidden_scale: float,
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Levels (condition, gene), hidden inputs and their effects; None where a condition has no stable steady state."""
    W, _, _, control, gain, bias = network
    contexts, n = W.shape[:2]
    rows = controls + replicates * chosen.shape[1]
    beta = hidden_scale * torch.randn(num_hidden, n, dtype=torch.float64)
    z = torch.randn(contexts, rows, num_hidden, dtype=torch.float64)
    levels = []
    for k in range(contexts):
        start, clamped = control.expand(rows, n).clone(), torch.zeros(rows, n, dtype=torch.bool)
        low, high = remaining
        share = low + (high - low) * torch.rand(chosen.shape[1], dtype=torch.float64)
        place = controls + torch.arange(rows - controls)
        gene = chosen[k].repeat_interleave(replicates)
        clamped[place, gene] = True
        start[place, gene] *= share.repeat_interleave(replicates)
        inputs = z[k] @ beta + drive_noise * torch.randn(rows, n, dtype=torch.float64)
        found = settle(
            Dynamics(W[k], gain, torch.ones_like(gain), bias[k], "logistic"), start, inputs=inputs, clamped=clamped
        )
        if bool((found.outcome != SETTLED).any()):
            return None
        levels.append(found.x)
    return torch.cat(levels), z.flatten(0, 1), beta


def _table(relative: Tensor, present: Tensor, genes: Sequence[str]) -> pd.DataFrame:
    source, target = torch.nonzero(present, as_tuple=True)
    weight = relative[source, target].numpy()
    return pd.DataFrame(
        {
            "source": [genes[s] for s in source.tolist()],
            "target": [genes[t] for t in target.tolist()],
            "weight": weight,
            "sign": (2 * (weight > 0) - 1).astype(int),
        }
    )

r"""Simulation-based calibration: does a fit recover what its own prior generates, as often as it says?"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
import torch
from pyro import poutine
from torch import Tensor

from ..models import ExpressionData, GramStatistics, LinearNetwork
from .fit import fit
from .runs.sampler import Sampler
from .variational.guides import GuideFactory

COVERAGE_LEVEL = 0.9
WEIGHTS = 4  # elements followed of a site the size of the network, spread evenly over the edges that may exist


@dataclass(frozen=True, eq=False)
class UnitStatistics(GramStatistics):
    """Statistics that are not standardised again: they are in the units of the model already.

    A network standardises by the sd of the sample, a function of the data; what is simulated from the prior stays in
    the prior's units, else the truth would not have been drawn from the prior that the fit assumes.
    """

    @property
    def scale(self) -> Tensor:
        return torch.ones(len(self.genes), dtype=self.square.dtype, device=self.square.device)


MakeModel = Callable[[GramStatistics], LinearNetwork]


@dataclass(frozen=True)
class LinearDesign:
    """The regressions that are simulated: fixed regulators, and targets that regulate nothing.

    The linear network is a conditional model of the targets given the regulators, so regulators T0, T1, … are drawn
    once from a normal and kept, and targets G0, G1, … are simulated.

    Parameters
    ----------
    num_tfs, num_targets, num_cells
        Sizes; cells are split evenly over contexts. Small: calibration is as hard at 40 cells as at 4,000, and cheaper.
    correlation
        Between any two regulators; what mean-field guides fail on.
    num_contexts
        Contexts.
    num_clamped
        Cells in which G0 is clamped by an intervention.
    standardised
        Whether fits divide what was simulated by the sd of each gene's sample, as those of users do: the true weights
        and noise are then converted likewise. Default no: the fit is in the units of its prior, and if it is the
        posterior every quantity must be calibrated.
    seed
        Of the regulators.
    """

    num_tfs: int = 3
    num_targets: int = 3
    num_cells: int = 40
    correlation: float = 0.5
    num_contexts: int = 1
    num_clamped: int = 0
    standardised: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.num_tfs, self.num_targets, self.num_contexts) < 1 or not 0 <= self.correlation < 1:
            raise ValueError(f"{self}: expected at least one of each and a correlation in [0, 1)")
        if self.num_cells < 4 * self.num_contexts + self.num_clamped:
            raise ValueError(f"{self}: expected at least four cells a context beside the clamped ones")

    @property
    def tfs(self) -> tuple[str, ...]:
        return tuple(f"T{i}" for i in range(self.num_tfs))

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(f"G{i}" for i in range(self.num_targets))

    def regulators(self) -> Tensor:
        """``(cell, tf)`` float64."""
        generator = torch.Generator().manual_seed(self.seed)
        own = torch.randn(self.num_cells, self.num_tfs, generator=generator, dtype=torch.float64)
        shared = torch.randn(self.num_cells, 1, generator=generator, dtype=torch.float64)
        return self.correlation**0.5 * shared + (1 - self.correlation) ** 0.5 * own

    def contexts(self) -> Tensor:
        """``(cell,)`` context of each cell, in turn."""
        return torch.arange(self.num_cells) % self.num_contexts

    def data(self, y: Tensor) -> ExpressionData:
        """The regulators and ``y`` ``(cell, target)``, with contexts and interventions."""
        labels = ["G0"] * self.num_clamped + ["control"] * (self.num_cells - self.num_clamped)
        genes = (*self.tfs, *self.targets)
        names = [f"context{k}" for k in self.contexts().tolist()]
        bare = ExpressionData(torch.cat([self.regulators(), y], dim=1), genes, self.tfs, dtype=torch.float64)
        return bare.annotated(context=names if self.num_contexts > 1 else None, perturbed=labels)

    def statistics(self, y: Tensor) -> UnitStatistics:
        """Of `data`, in the units of the model."""
        found = self.data(y).statistics()
        return UnitStatistics(*(getattr(found, f.name) for f in fields(found)))

    def simulate(self, make_model: MakeModel, seed: int) -> tuple[LinearNetwork, dict[str, np.ndarray]]:
        """A model on data from its own prior, and the sites ``(*dims)`` that made them."""
        y, truth = self.draw(make_model, seed)
        statistics: GramStatistics = self.statistics(y)
        if self.standardised:
            statistics = self.data(y).statistics()
            truth = self.converted(truth, statistics.scale)
        return make_model(statistics), {name: value.numpy() for name, value in truth.items()}

    def draw(self, make_model: MakeModel, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Responses ``(cell, target)`` from the prior of a model, and the sites ``(*dims)`` that made them, in its
        units."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            x = self.regulators()
            template = make_model(self.statistics(torch.randn(self.num_cells, self.num_targets, dtype=torch.float64)))
            if template.targets != self.targets:
                raise ValueError(
                    f"the model explains {template.targets}, expected the targets of the design: {self.targets}"
                )
            with torch.no_grad():
                nodes: dict[str, Any] = dict(poutine.trace(template).get_trace().nodes)
            sizes = {name: len(labels) for name, labels in template.coords.items()}
            truth = {n: nodes[n]["value"].reshape([sizes[d] for d in dims]) for n, dims in template.dims.items()}
            allowed = template.edge_prior.allowed
            truth |= {name: truth[name] * allowed for name in ("W", "W_context") if name in truth}
            W, noise = truth.get("W_context", truth["W"][None]).double(), truth["noise_variance"].double()
            context = self.contexts()
            mean = torch.einsum("ct,ctg->cg", x, W[context])
            noise = noise.expand(self.num_contexts, -1)[context]
            y = mean + noise.sqrt() * torch.randn(mean.shape, dtype=torch.float64)
            y[: self.num_clamped, 0] = -3.0
        return y, truth

    def converted(self, truth: dict[str, Tensor], sd: Tensor) -> dict[str, Tensor]:
        """The sites for genes divided by ``sd`` (gene,)."""
        tf, target = sd[: self.num_tfs].to(truth["W"]), sd[self.num_tfs :].to(truth["W"])
        truth = truth | {"noise_variance": truth["noise_variance"] / target**2}
        return truth | {name: truth[name] * tf[:, None] / target for name in ("W", "W_context") if name in truth}


@dataclass(frozen=True, eq=False)
class SBCResult:
    r"""What the simulations say of a model × guide.

    Attributes
    ----------
    table
        One row a quantity: ``bias`` and ``dispersion`` of the normal scores :math:`z = \Phi^{-1}(\mathrm{PIT})` (0
        and 1 when calibrated; dispersion above 1: intervals too narrow), ``coverage`` of 90% intervals with its
        ``standard_error``, ``ess`` (median effective draws of a fit), and ``pvalue``.
    pit
        ``(simulation, quantity)`` probability integral transforms, uniform when calibrated.
    inclusion, present
        ``(simulation, edge)`` reported probability of each edge, and whether it was there; ``None`` without inclusion
        variables.
    """

    table: pd.DataFrame
    pit: np.ndarray
    inclusion: np.ndarray | None
    present: np.ndarray | None

    @property
    def pvalue(self) -> float:
        """Over all quantities (Bonferroni): demanding ``pvalue > q`` fails a calibrated guide at most at rate q."""
        return float(min(1.0, self.table["pvalue"].min() * len(self.table)))


def simulation_based_calibration(
    make_model: MakeModel,
    guide: Sampler | GuideFactory,
    *,
    num_simulations: int = 100,
    design: LinearDesign | None = None,
    num_draws: int = 63,
    num_steps: int = 1500,
    fit_draws: int = 400,
    seed: int = 0,
) -> SBCResult:
    r"""Draw parameters from the prior and data from the model, fit, and see where the truth ranks among the draws.

    If the fit is the posterior, the rank of the true value among L independent draws is uniform on 0 … L (Talts et al.
    2018). Ties (inclusion variables) are broken at random, and ranks jittered within their cell, so that the PIT is
    exactly uniform. Three exact tests a quantity, with normal scores z: :math:`\sum z/\sqrt S` against N(0, 1) finds
    bias, :math:`\sum z^2` against :math:`\chi^2_S` finds intervals too narrow or too wide (Cook, Gelman & Rubin 2006),
    and Kolmogorov–Smirnov the rest; ``pvalue`` is three times the smallest.

    Parameters
    ----------
    make_model
        From statistics to a model of the targets of ``design``:
        ``lambda s: LinearNetwork(s, edge_prior=..., targets=design.targets)``.
    guide
        A sampler, or a variational family.
    num_simulations
        S. Default 100: an interval 20% too narrow gives a dispersion of 1.56, four standard errors from 1.
    design
        Default `LinearDesign()`.
    num_draws
        L, evenly spaced from the draws of a fit. Fewer than its effective draws, else autocorrelation looks like
        miscalibration: compare with ``ess``.
    num_steps, fit_draws
        Of variational fits: optimiser steps, and draws.
    seed
        Simulation i uses ``seed + i``. The global generators do not move.

    Raises
    ------
    ValueError
        Fewer than ten simulations, or fits with fewer than ``num_draws`` draws.
    """
    from arviz_stats.base import array_stats  # here: it takes half a second to import

    if num_simulations < 10:
        raise ValueError(f"num_simulations is {num_simulations}: expected at least 10")
    design = design if design is not None else LinearDesign()
    rng = np.random.default_rng(seed)
    pit, ess, inclusion, present = [], [], [], []
    names: list[str] = []
    for i in range(num_simulations):
        model, truth = design.simulate(make_model, seed + i)
        posterior = fit(model, guide=guide, restarts=1, num_steps=num_steps, num_draws=fit_draws, seed=seed + i)
        followed = _quantities(model)
        names = [_label(name, index) for name, index in followed]
        values = [np.moveaxis(posterior.draws[name], (0, 1), (-2, -1))[index] for name, index in followed]
        pit.append(
            [pit_of(thinned(v, num_draws), truth[n][k], rng) for v, (n, k) in zip(values, followed, strict=True)]
        )
        ess.append([array_stats.ess(v.astype(float), chain_axis=0, draw_axis=1) for v in values])
        if "inclusion" in truth:
            allowed = model.edge_prior.allowed.numpy()
            inclusion.append(posterior.moments["W"].inclusion[allowed])
            present.append(truth["inclusion"][allowed] > 0)
    u = np.array(pit)
    table = pd.DataFrame([verdict_of(column) for column in u.T])
    table.insert(0, "quantity", names)
    table["ess"] = np.nanmedian(np.array(ess), axis=0)
    return SBCResult(table, u, np.array(inclusion) if inclusion else None, np.array(present) if present else None)


Index = tuple[int, ...]


def _quantities(model: LinearNetwork) -> list[tuple[str, Index]]:
    """Every scalar, and a few elements of every other site; only edges that may exist."""
    followed: list[tuple[str, Index]] = []
    sizes = {name: len(labels) for name, labels in model.coords.items()}
    allowed = model.edge_prior.allowed.numpy()
    for site, dims in model.dims.items():
        places = list(np.ndindex(*(sizes[d] for d in dims)))
        if dims[-2:] == ("tf", "target"):
            places = [p for p in places if allowed[p[-2:]]]
        step = max(1, len(places) // WEIGHTS)
        followed += [(site, place) for place in places[::step][:WEIGHTS]]
    return followed


def _label(site: str, index: Index) -> str:
    return f"{site}[{','.join(map(str, index))}]" if index else site


def thinned(draws: np.ndarray, count: int) -> np.ndarray:
    """``count`` of ``(chain, draw)``, evenly spaced in every chain."""
    flat = draws.reshape(-1)
    if count > flat.size:
        raise ValueError(f"{flat.size} draws of a fit for num_draws={count}: draw more, or ask for fewer ranks")
    return flat[np.linspace(0, flat.size - 1, count).astype(int)]


def pit_of(draws: np.ndarray, truth: float, rng: np.random.Generator) -> float:
    """Randomised PIT: uniform in the cell of the rank, ties broken at random."""
    below, ties = int((draws < truth).sum()), int((draws == truth).sum())
    return float((below + rng.random() * (ties + 1)) / (len(draws) + 1))


def verdict_of(u: np.ndarray) -> dict[str, float]:
    """What probability integral transforms ``(simulation,)`` of one quantity say: a row of `SBCResult.table`."""
    from scipy import stats

    z = stats.norm.ppf(u.clip(1e-12, 1 - 1e-12))
    count = len(u)
    total = (z**2).sum()
    tails = min(stats.chi2.sf(total, count), stats.chi2.cdf(total, count))
    pvalues = (2 * stats.norm.sf(abs(z.sum()) / np.sqrt(count)), 2 * tails, stats.kstest(u, "uniform").pvalue)
    outside = (1 - COVERAGE_LEVEL) / 2
    return {
        "bias": z.mean(),
        "dispersion": total / count,
        "coverage": ((u > outside) & (u < 1 - outside)).mean(),
        "standard_error": np.sqrt(COVERAGE_LEVEL * (1 - COVERAGE_LEVEL) / count),
        "pvalue": min(1.0, 3 * min(pvalues)),
    }

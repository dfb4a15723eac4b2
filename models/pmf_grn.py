r"""PMF-GRN: expression as activities of regulators times a network, by probabilistic matrix factorisation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.nn.functional import one_hot, softplus

from ..priors import EdgeKnowledge, EdgePrior, Hyper, LogitNormal, PriorNetwork
from ..priors.hyper import as_hyper
from ..priors.inverse_gamma import InverseGamma
from .base import Model
from .data.accepts import takes_anndata
from .data.checks import constant_genes, some
from .data.expression import ExpressionData
from .depth import cell_names, stored_cell_names
from .observation.cells import LogPoisson
from .regression import NOISE_RATE, NOISE_SHAPE
from .state import State

GAUSSIAN, POISSON, NEGATIVE_BINOMIAL = "gaussian", "poisson", "negative-binomial"
KINDS = (GAUSSIAN, POISSON, NEGATIVE_BINOMIAL)
ACTIVITY_SPREAD = 0.5  # sd of log-activity: nine cells in ten between 0.4 and 2 times the mean
LEVEL_SCALE = 1.0  # of the intercept around the mean of the data, in units of the linear predictor
UNIT = math.log(math.e - 1)  # softplus of it is one
DISPERSION_MEAN, DISPERSION_SD = 1.5, 1.0  # log r of the negative binomial: r between 0.6 and 33, as factor models
START = 0.5  # share of the estimated log-activity that guides start from


class PMFGRN(Model):
    r"""Expression as the activities of regulators times a signed network (Skok Gibbs et al. 2024).

    .. math:: X \approx d\, U V, \qquad \log U_{ct} \sim N(\tau\kappa_t z_{ct} - \tfrac12\tau^2,\
              \tau^2(1-\kappa_t^2)), \qquad V = W = A \odot B \sim \text{edge prior}

    with activities U > 0 of the regulators in every cell, d the depth of a cell, A the existence and B the signed
    strength of every edge (`LogitNormal`; any other `EdgePrior` may stand in its place). The linear predictor is

    .. math:: \eta_{cg} = \mu_{kg} + \sum_t \frac{U_{ct} - 1}{\operatorname{sd}(U)}\, V_{tg}

    for cell c of group k. Centring at the typical activity moves :math:`\sum_t V_{tg}` into the intercept and changes
    nothing else. Likelihoods: *gaussian*, for log levels and ratios, :math:`x = \bar x_{kg} + s_g(\eta + e)`,
    :math:`e\sim N(0,\sigma_g^2)`, :math:`\sigma_g^2\sim\mathrm{InvGamma}(2, \tfrac12)`; *poisson* and
    *negative-binomial*, for counts, with rate :math:`d_c\, l_{kg}\operatorname{softplus}(\eta)`, l the gene's mean
    count at depth one and :math:`\log r_g\sim N(1.5, 1)`. Softplus is linear where there is expression and positive
    where repressors leave none; the authors' code has a rectifier there. The likelihood is untempered.

    *Scale.* Only the product UV is seen. The prior of U is fixed, with mean one and log-sd τ, so V is in standard
    deviations of the target (of counts: in multiples of its mean) per standard deviation of the regulator's activity,
    and how large V is, the edge prior learns.

    *Sign and names.* Nothing but the prior networks tells factors from one another in the paper's model, and reversing
    an activity together with its edges changes the fit little. Here :math:`z_{ct}`, the standardised expression of the
    regulator's own gene, has a correlation :math:`\kappa_t \in [0, 1)` with its log-activity that is learned: 0 for a
    regulator whose activity has nothing to do with its transcription, towards 1 as in a regression on expression.

    Parameters
    ----------
    data
        Cells; NaN are missing values. Genes in cells where an intervention clamps them are left out of the likelihood.
        Held dense, (cell, target), in the model and in what `Posterior.save` writes.
    edge_prior
        Prior on V. Default `LogitNormal`.
    networks
        Prior networks by name of the source.
    targets
        Genes to explain. Default all.
    likelihood
        ``"gaussian"`` (default), ``"poisson"`` or ``"negative-binomial"``. Depths of counts are ``data.size_factor``,
        else the sums over the genes of ``data``, with mean one.
    activity_spread
        τ. Default 0.5.
    own_expression
        κ: 0 for the paper's model, another number below 1 to fix it, or a `Hyper` with support [0, 1]. Default
        Beta(1, 1) for each regulator.

    Raises
    ------
    ValueError
        Unknown targets or likelihood, genes that do not vary, values that are no counts, cells without counts, κ
        outside [0, 1), a spread that is not positive; in `forward`, a minibatch without the numbers of its cells.

    Notes
    -----
    Activities are latent in every cell, so a guide holds cells × regulators of them and a step costs cells × regulators
    × targets. Minibatches reduce the second: ``fit(model, model.cells, batch_size=...)``.
    """

    name = "pmf-grn"
    story = "activities of regulators times a network"
    reference = "Skok Gibbs et al. 2024, Genome Biology 25:88"
    weight_meaning = (
        "by how many of its standard deviations (of counts: by how many times its mean) the target changes when the "
        "activity of the regulator changes by one standard deviation"
    )
    weight_unit = "sd of target per sd of activity"

    def __init__(
        self,
        data: ExpressionData,
        *,
        edge_prior: EdgePrior | None = None,
        networks: Mapping[str, PriorNetwork] | None = None,
        targets: Sequence[str] | None = None,
        likelihood: str = GAUSSIAN,
        activity_spread: float = ACTIVITY_SPREAD,
        own_expression: float | Hyper | None = None,
    ) -> None:
        super().__init__()
        if likelihood not in KINDS:
            raise ValueError(f"`likelihood` is {likelihood!r}: expected {', '.join(KINDS[:-1])} or {KINDS[-1]}")
        if not activity_spread > 0:
            raise ValueError(f"`activity_spread` is {activity_spread}, expected a positive number (0.5 by default)")
        if isinstance(own_expression, (int, float)) and not 0 <= own_expression < 1:
            raise ValueError(f"`own_expression` is {own_expression}, expected a number from 0 to below 1, or a Hyper")
        targets = tuple(targets) if targets is not None else data.genes
        place = {gene: i for i, gene in enumerate(data.genes)}
        unknown = [t for t in targets if t not in place]
        if unknown or not targets or len(set(targets)) < len(targets):
            found = f"{len(unknown)} not measured: {some(unknown)}" if unknown else "none, or repeated names"
            raise ValueError(f"`targets`: {found}. Expected names of genes in the data, each once")
        knowledge = EdgeKnowledge.from_networks(networks, data.tfs, targets)
        self._describe(data.context_names, cell_names(data), knowledge, edge_prior or LogitNormal(), likelihood)
        self.own_expression = Hyper(dist.Beta, 1.0, 1.0) if own_expression is None else as_hyper(own_expression)
        self.activity_spread = Hyper(float(activity_spread))
        self.expects = "log" if likelihood == GAUSSIAN else "any"  # counts are checked by what follows

        X = data.X.double().cpu()
        tf, target = (torch.tensor([place[g] for g in names]) for names in (data.tfs, targets))
        seen = ~X.isnan() & ~data.clamped.cpu()
        codes = torch.zeros(len(X), dtype=torch.long) if data.context is None else data.context.cpu()
        if likelihood == GAUSSIAN:
            depth = torch.ones(len(X), dtype=torch.float64)
            values = X
        else:
            depth = depths_of(data, X, seen)
            values = (X / depth[:, None]).log1p()
        centred, mean, scale = standardised(values, seen, codes, len(self.groups))
        flat = [data.genes[i] for i in sorted({*tf.tolist(), *target.tolist()}) if not scale[i] > 0]
        if flat:
            raise constant_genes(flat)
        if likelihood != GAUSSIAN:  # counts stay counts; their unit is the mean at depth one
            groups = one_hot(codes, len(self.groups)).double()
            exposure = groups.T @ (seen * depth[:, None])
            total = groups.T @ torch.where(seen, X, 0.0)
            mean = (total / exposure.clamp_min(1e-12)).clamp_min(0.5 / len(X))
            scale = torch.ones_like(scale)
        explained = centred if likelihood == GAUSSIAN else torch.where(seen, X, 0.0)
        own_z = centred[:, tf]
        for name, value in {
            "X": explained[:, target],
            "depth": depth,
            "mean": mean[:, target],
            "scale": scale[target],
            "own": own_z,
            "start": activity_start(own_z, centred[:, target], self.knowledge),
        }.items():
            self.register_buffer(name, value.float())
        self.register_buffer("seen", seen[:, target])
        self.register_buffer("group", codes)

    X: Tensor
    depth: Tensor
    mean: Tensor
    scale: Tensor
    own: Tensor
    start: Tensor
    seen: Tensor
    group: Tensor

    @classmethod
    @takes_anndata
    def from_data(
        cls,
        data: ExpressionData,
        *,
        edge_prior: EdgePrior | None = None,
        networks: Mapping[str, PriorNetwork] | None = None,
        targets: Sequence[str] | None = None,
        likelihood: str = GAUSSIAN,
        activity_spread: float = ACTIVITY_SPREAD,
        own_expression: float | Hyper | None = None,
    ) -> "PMFGRN":
        """As the constructor; on the data's device."""
        model = cls(
            data,
            edge_prior=edge_prior,
            networks=networks,
            targets=targets,
            likelihood=likelihood,
            activity_spread=activity_spread,
            own_expression=own_expression,
        )
        return model.to(data.device)

    def _describe(
        self,
        groups: Sequence[str],
        cells: Sequence[str],
        knowledge: EdgeKnowledge,
        edge_prior: EdgePrior,
        likelihood: str,
    ) -> None:
        """All but the data and the model's own hyperparameters."""
        self.groups, self.cell_names, self.likelihood = tuple(groups), tuple(cells), likelihood
        self.tfs, self.targets, self.knowledge = knowledge.tfs, knowledge.targets, knowledge
        self.genes = tuple(dict.fromkeys([*self.tfs, *self.targets]))  # that it says something of
        self.edge_prior = edge_prior.bind(knowledge)

    def to_state(self) -> dict[str, list[str]]:
        return {"groups": list(self.groups), "cells": list(self.cell_names), "likelihood": [self.likelihood]}

    def _restore(self, state: State, knowledge: EdgeKnowledge, edge_prior: EdgePrior) -> None:
        groups, likelihood = state.names("groups"), state.name("likelihood")
        self._describe(groups, stored_cell_names(state), knowledge, edge_prior, likelihood)
        # storage puts the saved values in their place
        self.own_expression, self.activity_spread = Hyper(0.0), Hyper(ACTIVITY_SPREAD)

    @property
    def num_cells(self) -> int:
        """Cells of the fit, of which each has activities."""
        return len(self.cell_names)

    @property
    def cells(self) -> "NumberedCells":
        """The cells of the fit with their numbers, to take minibatches of: ``fit(model, model.cells,
        batch_size=...)``."""
        number = torch.arange(self.num_cells, device=self.X.device)
        return NumberedCells(self.X, self.targets, device=self.X.device, dtype=self.X.dtype, number=number)

    # -- axes ----
    @property
    def coords(self) -> dict[str, list[str]]:
        return {
            "tf": list(self.tfs),
            "target": list(self.targets),
            "cell": list(self.cell_names),
            "group": list(self.groups),
            "context": [],  # one network for all groups
            "source": list(self.knowledge.sources),
            "signed_source": list(self.edge_prior.signed_sources),
        }

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        own: dict[str, tuple[str, ...]] = {"mu": ("group", "target"), "U": ("cell", "tf")}
        if not self.own_expression.is_fixed:
            own["own_expression"] = ("tf",)
        if self.likelihood == GAUSSIAN:
            own["noise_variance"] = ("target",)
        elif self.likelihood == NEGATIVE_BINOMIAL:
            own["dispersion"] = ("target",)
        return {**self.edge_prior.dims, **own}

    @property
    def max_plate_nesting(self) -> int:
        return 2

    def plate_of(self, site: str) -> dict[str, int]:
        """Plates of a site's dimensions; the regulators of U are an event."""
        return {"cell": -2} if site == "U" else {"group": -2, "tf": -2, "target": -1}

    @property
    def initial(self) -> dict[str, Tensor]:
        """Where guides start: activities that the listed targets and the regulator's own gene suggest, intercepts at
        the mean."""
        spread = self.activity_spread.constants[0]
        values = {
            "U": (START * spread * self.start - 0.5 * spread**2).exp()[:, None, :],
            "mu": self.start.new_tensor(0.0 if self.likelihood == GAUSSIAN else UNIT),
        }
        return values | (
            {"dispersion": self.start.new_tensor(DISPERSION_MEAN).exp()} if "dispersion" in self.dims else {}
        )

    # -- the generative story ----
    def forward(self, batch: ExpressionData | None = None) -> None:
        tf = pyro.plate("tf", len(self.tfs), dim=-2)
        target = pyro.plate("target", len(self.targets), dim=-1)
        V = self.edge_prior(tf, target)  # (tf, target)
        one = self.constant.new_ones(())
        kappa = self.own_expression.constants[0]
        if not self.own_expression.is_fixed:
            with tf:
                kappa = pyro.sample("own_expression", self.own_expression.distribution()).squeeze(-1)  # (tf,)
        with pyro.plate("group", len(self.groups), dim=-2), target:
            centre = 0.0 if self.likelihood == GAUSSIAN else UNIT
            mu = pyro.sample("mu", dist.Normal(centre * one, LEVEL_SCALE * one))  # (group, target)
        extra = one
        with target:
            if self.likelihood == GAUSSIAN:
                prior = InverseGamma(NOISE_SHAPE * one, NOISE_RATE * one)
                extra = pyro.sample("noise_variance", prior)  # (target,)
            elif self.likelihood == NEGATIVE_BINOMIAL:
                extra = pyro.sample("dispersion", dist.LogNormal(DISPERSION_MEAN * one, DISPERSION_SD * one))
        with pyro.plate("cell", self.num_cells, dim=-2):
            location, spread = self.activity_prior(kappa)
            U = pyro.sample("U", dist.LogNormal(location, spread).to_event(1)).squeeze(-2)  # (cell, tf)
        # p(X | U, V): all activities are in the density, of a minibatch only its cells are seen
        rows = slice(None) if batch is None else self.rows_of(batch)
        number = self.num_cells if batch is None else batch.num_cells
        eta = mu[..., self.group[rows], :] + self.standard(U[..., rows, :]) @ V  # (cell, target)
        cells = self.cells_given(eta, extra, rows).mask(self.seen[rows])
        with poutine.scale(scale=self.num_cells / number), pyro.plate("observed_cell", number, dim=-2), target:
            pyro.sample("X", cells, obs=self.X[rows])

    def activity_prior(self, kappa: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and sd of log U, each broadcastable to ``(*draw, cell, 1, tf)``; ``kappa`` is a number or ``(*draw,
        tf)``."""
        tau = self.activity_spread.constants[0]
        kappa = kappa[..., None, None, :] if kappa.dim() else kappa  # (*draw, 1, 1, tf)
        location = tau * kappa * self.own[:, None, :] - 0.5 * tau**2
        return location, (tau * (1 - kappa**2).clamp_min(1e-6).sqrt()).expand_as(location)

    def standard(self, U: Tensor) -> Tensor:
        """Activities less their prior mean, in their prior sd."""
        return (U - 1) / torch.expm1(self.activity_spread.constants[0] ** 2).sqrt()

    def cells_given(self, eta: Tensor, extra: Tensor, rows: slice | Tensor) -> TorchDistribution:
        """The distribution of the cells ``rows``, ``(*draw, cell, target)``, given the linear predictor, and noise
        variance or dispersion ``extra``."""
        if self.likelihood == GAUSSIAN:
            return dist.Normal(eta, extra.sqrt(), validate_args=False)
        log_rate = self.log_rate(eta, rows)
        if self.likelihood == POISSON:
            return LogPoisson(log_rate, validate_args=False)
        return dist.NegativeBinomial(extra, logits=log_rate - extra.log(), validate_args=False)

    def log_likelihood(self, eta: Tensor, extra: Tensor, rows: slice | Tensor) -> Tensor:
        """``(*draw, cell, target)`` log density of the cells ``rows``, given as `cells_given`."""
        return self.cells_given(eta, extra, rows).log_prob(self.X[rows])

    def log_rate(self, eta: Tensor, rows: slice | Tensor) -> Tensor:
        """``(*draw, cell, target)`` log of the expected count."""
        # softplus underflows to zero below -100 in float32, where its logarithm is η itself
        positive = torch.where(eta > -20, softplus(eta.clamp_min(-20)).log(), eta)
        return positive + self.depth[rows].log()[:, None] + self.mean[self.group[rows]].log()

    def simulate(self, values: Mapping[str, Tensor]) -> Tensor:
        """``(cell, target)`` new data given one draw of every site, laid out as in `forward`: in standard deviations
        from the mean, or counts. From the global generator."""
        V = values["W"].reshape(len(self.tfs), len(self.targets)) * self.edge_prior.allowed
        U = values["U"].reshape(self.num_cells, len(self.tfs))
        eta = values["mu"].reshape(len(self.groups), -1)[self.group] + self.standard(U) @ V
        if self.likelihood == GAUSSIAN:
            return torch.normal(eta, values["noise_variance"].reshape(-1).sqrt().expand_as(eta))
        rate = self.log_rate(eta, slice(None)).exp()
        if self.likelihood == NEGATIVE_BINOMIAL:
            dispersion = values["dispersion"].reshape(-1).expand_as(rate)
            rate = rate * torch.distributions.Gamma(dispersion, dispersion).sample()
        return torch.poisson(rate)

    def rows_of(self, batch: ExpressionData) -> Tensor:
        """Numbers of the cells of a minibatch.

        Raises
        ------
        ValueError
            Other data than ``model.cells``: activities belong to the cells of the fit.
        """
        if not isinstance(batch, NumberedCells):
            raise ValueError(
                "activities belong to the cells of the fit, and these have no numbers: pass `model.cells` as data"
            )
        return batch.number


@dataclass(frozen=True, eq=False)
class NumberedCells(ExpressionData):
    """`ExpressionData` whose minibatches know which cells of the whole they are: ``number`` (cell,)."""

    number: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))

    def subset(self, cells: np.ndarray) -> "NumberedCells":
        kept = super().subset(cells)
        cells = np.flatnonzero(cells) if np.asarray(cells).dtype == bool else np.asarray(cells, dtype=np.int64)
        number = self.number[torch.as_tensor(cells, device=self.number.device)]
        return replace(kept, number=number)  # type: ignore[call-arg, return-value]


# -- what the data say at first sight ----
def depths_of(data: ExpressionData, X: Tensor, seen: Tensor) -> Tensor:
    """``(cell,)`` depths with mean one, of counts ``X`` that are checked here."""
    filled = torch.where(X.isnan(), 0.0, X)
    wrong = ((filled < 0) | (filled != filled.round())).any(0)
    if bool(wrong.any()):
        names = [g for g, w in zip(data.genes, wrong.tolist(), strict=True) if w]
        raise ValueError(
            f"counts are expected by this likelihood, and {some(names, 3)} have other values: use gaussian"
        )
    depth = filled.sum(1) if data.size_factor is None else data.size_factor.double().cpu()
    empty = int((depth <= 0).sum())
    if empty:
        raise ValueError(f"{empty} of {len(X)} cells have no counts: drop them first")
    return depth / depth.mean()


def standardised(values: Tensor, seen: Tensor, codes: Tensor, num_groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """``(cell, gene)`` values centred in their group and divided by the sd within groups (zero where not seen), means
    ``(group, gene)`` and sds ``(gene,)``."""
    groups = one_hot(codes, num_groups).to(values)  # (cell, group)
    number = groups.T @ seen.to(values)
    filled = torch.where(seen, values, 0.0)
    mean = groups.T @ filled / number.clamp_min(1)
    centred = torch.where(seen, values - mean[codes], 0.0)
    square = centred.square().sum(0)
    square = torch.where(square <= 1e-24 * filled.square().sum(0), 0.0, square)  # rounding is no variation
    scale = (square / (number - 1).clamp_min(0).sum(0).clamp_min(1)).sqrt()
    return centred / torch.where(scale > 0, scale, 1.0), mean, scale


def activity_start(own: Tensor, targets: Tensor, knowledge: EdgeKnowledge) -> Tensor:
    """``(cell, tf)`` first guess of the log-activities, standardised: the mean of the listed targets, signed where the
    signs are known and turned to follow the regulator's own gene, together with that gene."""
    sign = torch.where(knowledge.sign != 0, knowledge.sign, 1.0)
    weight = (sign * knowledge.probability).sum(0).to(targets) * knowledge.allowed  # (tf, target)
    shared = targets @ weight.T
    shared = shared / shared.std(0).clamp_min(1e-9) * (weight.abs().sum(1) > 0)
    known = knowledge.sign.abs().sum((0, 2)) > 0  # (tf,)
    turn = torch.where(((shared * own).sum(0) < 0) & ~known, -1.0, 1.0)
    both = shared * turn + own
    return both / both.std(0).clamp_min(1e-9)

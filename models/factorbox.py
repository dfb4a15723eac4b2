r"""FactorBox: a perturbation panel at steady state, as one linear regression given the gains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from ..priors import EdgeKnowledge, EdgePrior, PriorNetwork, SpikeSlab
from .base import Model
from .data.accepts import takes_anndata
from .data.checks import some
from .data.expression import ExpressionData
from .data.measured_levels import CONTROLS
from .data.panel import Design, PanelStatistics, chebyshev, logit_of_share, panels_of
from .dynamics.dynamics import Dynamics
from .gaussian_block import GaussianBlock
from .knockdown_response import LEAST, Responses
from .observation.designs import CutDesign
from .observation.gram_normal import rows_of
from .observation.joined import joined
from .observation.levels import logit_normal
from .observation.panel_normal import PanelNormal, curves_in, moved_error
from .panel_batches import batch_levels
from .regression import Cuts, RegressionNetwork
from .regression_cells import by_cell, regress_cells
from .state import State, as_text

GAINS = ("fixed", "sampled")


class FittedDesign(NamedTuple):
    """``design`` of a context, its ``drive`` and ``projected`` drive (condition, target), in units."""

    design: Design
    drive: Tensor
    projected: Tensor

    @property
    def free(self) -> Tensor:
        """``(condition, target)`` where a target is not clamped."""
        return self.design.free

    @property
    def leverage(self) -> Tensor:
        """``(condition, target)`` share of the noise that intercept and hidden inputs follow."""
        return self.design.leverage[:, None].expand_as(self.drive)

    def regressors(self, row: int, target: int) -> Tensor:
        """``(tf,)`` what stands beside a target's weights in a condition."""
        return self.design.regressors(row, target)

    def fitted(self, weight: Tensor) -> Tensor:
        """``(condition, target)`` projected, of ``weight`` (tf, target)."""
        return self.design.project(self.design.MX @ weight)


class FactorBox(RegressionNetwork):
    r"""Steady states of :math:`\dot x_i = \varepsilon_i\,\phi(\sum_j W_{ji} \log x_j + b_i) - x_i` in every condition.

    φ is the logistic function, so that φ of a sum of logarithms is a Hill function with exponents W, and time is in
    units of each gene's decay. (The draft has :math:`x_j` for :math:`\log x_j`: ``levels="raw"``.) At steady state all
    conditions of a panel are one matrix equation, :math:`\varepsilon\odot\phi(\tilde X W + b) = X`, with
    :math:`\tilde X` the (log) levels with knocked-down genes clamped (FactorBox draft). Its noise sits in the
    drive, so the levels are logit-normal,

    .. math:: \operatorname{logit}\frac{x_{ci}}{\varepsilon_i} \sim N\Big(\sum_j W_{ji}\tilde x_{cj} + b_i
              + \beta_i^\top z_c,\ \sigma_i^2\Big), \qquad \varepsilon_i = x_{\max,i}\,(1+h_i), \qquad
              h_i\sim\mathrm{LogNormal}(0,1),

    with the Jacobian of the transform, for every gene i and condition c in which i is not clamped. Given h the weights
    are those of a linear regression, so every `EdgePrior`, guide and context of `RegressionNetwork` works here: with
    several contexts :math:`W_c = W + \Delta_c`, and ε, b, σ of each. ``headroom`` h is how far above its largest level
    a gene could still rise; at large h the model is log-linear.

    Each gene's equation is taken given the measured levels of the others: a pseudo-likelihood, which leaves out how
    noise travels around loops. Knock-downs tell directions apart; a gene without one is as in `LinearNetwork`.

    ``hidden`` inputs z (`panel.panels_of`) are what moves many genes of a condition at once without being the
    knock-down; their effects β and the basal input b are flat and integrated out. Weights are standardised: standard
    deviations of a target's drive per standard deviation of the regulator's level.

    Called with a batch of conditions, X is their levels, each logit-normal given the others, with intercepts as sites;
    hidden inputs and the noise of a measurement belong to whole panels, so with them there are no batches.

    Parameters
    ----------
    statistics
        `PanelStatistics` of the data.
    edge_prior
        Prior on W. Default `SpikeSlab`.
    networks
        Prior networks by name of the source.
    gain
        ``"fixed"`` (default): h at the maximum of its evidence under a ridge, target by target, as the alternating
        solution holds ε while it solves for W; any engine. ``"sampled"``: h is a site; any engine,
        and what `Alternate` asks for.

    Raises
    ------
    ValueError
        As `PanelStatistics.from_data`; an unknown ``gain``; statistics without curves for ``gain="sampled"``.
    """

    levels: str = "log"
    hidden: int = 0
    knockdown: float | None = None
    measurement: float | str = 0.0
    measured: tuple[Tensor, ...] = ()
    name = "factorbox"
    needs = ("perturbed",)
    rows = "conditions"
    expects = "levels"
    story = "a network at steady state, additive in the drive of each gene"
    reference = "FactorBox draft (shared steady-state CellBox); Yuan et al. 2021, Cell Systems 12:128"

    def __init__(
        self,
        statistics: PanelStatistics,
        *,
        edge_prior: EdgePrior | None = None,
        networks: Mapping[str, PriorNetwork] | None = None,
        gain: str = "fixed",
    ) -> None:
        Model.__init__(self)
        if gain not in GAINS:
            raise ValueError(f"gain={gain!r}: expected one of {', '.join(GAINS)}")
        if gain == "sampled" and not statistics.curve.shape[1]:
            raise ValueError(
                "gain='sampled' needs statistics with curves: PanelStatistics.from_data(data, curves=True)"
            )
        knowledge = EdgeKnowledge.from_networks(networks, statistics.tfs, statistics.targets)
        self._describe(statistics.genes, statistics.context_names, knowledge, edge_prior or SpikeSlab())
        s, position = statistics, {gene: i for i, gene in enumerate(statistics.genes)}
        tf = torch.tensor([position[t] for t in s.tfs], device=s.gram.device)
        target = torch.tensor([position[t] for t in s.targets], device=s.gram.device)
        anchor = _ridge_anchor(s, tf[:, None] == target)
        product = self._cut_product(s, s.gram @ anchor, anchor)
        residual = s.cross - product
        sse = (s.square - (anchor * (s.cross + residual)).sum(1)).clamp_min(1e-10)
        # what a guide starts from: the ridge solution at the ridge's own noise
        self.register_buffer("start_W", anchor.mean(0).float())
        for name, value in {
            "gram": s.gram,
            "cut": s.cut,
            "anchor": anchor,
            "residual": residual,
            "sse": sse,
            "dof": s.dof,
            "log_headroom": s.log_headroom,
            "top": s.top,
            "log_jacobian": s.log_jacobian,
            "scale": s.scale,
            "unit": s.unit,
            "level_mean": s.level_mean,
            "held": s.held,
            "floor": s.floor,
            "tf_mean": s.tf_mean,
            "target_mean": s.target_mean,
        }.items():
            self.register_buffer(name, value.float())
        # knocked-down targets are cut by vectors, none needs a Gram matrix of its own
        self.register_buffer("own", torch.zeros(0, dtype=torch.long, device=tf.device))
        self.register_buffer("own_gram", s.gram.new_zeros(len(s.gram), 0, *s.gram.shape[1:]).float())
        self.register_buffer("cut_context", s.cut_context)
        self.register_buffer("cut_target", s.cut_target)
        self.register_buffer("tf_index", tf)
        self.register_buffer("target_index", target)
        self.register_buffer("response_logs", torch.zeros(0))
        self.register_buffer("response_seen", torch.zeros(0, dtype=torch.bool))
        curves = gain == "sampled"
        gap = s.curve_own - (s.curve * anchor[:, None]).sum(2)  # dᵀ(y − X̃ŵ)
        for name, value in {
            "curve": s.curve,
            "curve_gap": gap,
            "curve_square": s.curve_square,
            "curve_jacobian": s.curve_jacobian,
        }.items():
            self.register_buffer(name, value.float() if curves else value.new_zeros(0).float())

    cut: Tensor
    cut_context: Tensor
    cut_target: Tensor
    log_headroom: Tensor
    top: Tensor
    log_jacobian: Tensor
    unit: Tensor
    level_mean: Tensor
    start_W: Tensor
    curve: Tensor
    response_logs: Tensor
    response_seen: Tensor
    held: Tensor
    floor: Tensor
    curve_gap: Tensor
    curve_square: Tensor
    curve_jacobian: Tensor

    @classmethod
    @takes_anndata
    def from_data(  # options of a panel instead of those of cells
        cls,
        data: ExpressionData,
        *,
        edge_prior: EdgePrior | None = None,
        networks: Mapping[str, PriorNetwork] | None = None,
        targets: Sequence[str] | None = None,
        gain: str = "fixed",
        levels: str = "log",
        hidden: int = 0,
        knockdown: float | None = None,
        measurement: float | str = 0.0,
    ) -> "FactorBox":
        """Statistics of a panel, then as the constructor; ``levels``, ``hidden``, ``knockdown``, ``measurement`` as
        `panels_of`."""
        statistics = PanelStatistics.from_data(
            data,
            targets=targets,
            levels=levels,
            hidden=hidden,
            knockdown=knockdown,
            measurement=measurement,
            curves=gain == "sampled",
        )
        model = cls(statistics, edge_prior=edge_prior, networks=networks, gain=gain)
        seen = Responses.from_data(data)
        if int(seen.seen.sum(1).max()) >= LEAST:
            model.response_logs, model.response_seen = seen.logs, seen.seen
        model.levels, model.hidden, model.knockdown = levels, hidden, knockdown
        model.measurement, model.measured = measurement, tuple(sd.cpu() for sd in statistics.measured)
        return model.to(data.device)

    def to_state(self) -> dict[str, list[str]]:
        own = {"levels": [self.levels], "hidden": as_text(self.hidden), "knockdown": as_text(self.knockdown)}
        if self.measurement:  # files of earlier versions have none
            own["measurement"] = [str(self.measurement)]
            own["measured"] = [str(value) for sd in self.measured for value in sd.tolist()]
        return {**super().to_state(), **own}

    def _restore(self, state: State, knowledge: EdgeKnowledge, edge_prior: EdgePrior) -> None:
        super()._restore(state, knowledge, edge_prior)
        self.levels, self.hidden = state.name("levels"), state.integer("hidden")
        self.knockdown = state.optional("knockdown")
        if "measurement" in state.entries:
            word = state.name("measurement")
            self.measurement = word if word == CONTROLS else float(word)
            flat = torch.tensor([float(value) for value in state.names("measured")], dtype=torch.float64)
            self.measured = flat.chunk(len(self.contexts))

    # -- axes ----
    @property
    def samples_gain(self) -> bool:
        return len(self.curve) > 0

    def learns_responses(self, context: int) -> bool:
        """Whether the context has enough single knock-downs, ten, to learn what they do."""
        return len(self.response_logs) > 0 and int(self.response_seen[context].sum()) >= LEAST

    def responses(self) -> Responses:
        """The single knock-downs of the panel."""
        return Responses(self.response_logs.cpu(), self.response_seen.cpu())

    def control_level(self, context: int) -> Tensor:
        """``(gene,)`` the panel's mean level (geometric, where the drive is linear in logarithms), in float64."""
        mean = self.level_mean[context].double().cpu()
        return mean.exp() if self.levels == "log" else mean

    def knockdown_level(self, gene: int, context: int) -> Tensor:
        """Level at which a knocked-down gene acts in the fit: its own, or by the median share of the context."""
        control, acting = self.control_level(context), self.held[context].double().cpu()
        acting = acting.exp() if self.levels == "log" else acting
        known = torch.isfinite(acting)
        if not bool(known.any()):
            raise ValueError(f"context {self.contexts[context]!r} has no knock-downs: give a level with `overexpress=`")
        return acting[gene] if known[gene] else (acting / control)[known].median() * control[gene]

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        if not self.samples_gain:
            return super().dims
        return {**super().dims, "headroom": ("context", "target") if self.has_contexts else ("target",)}

    # -- the generative story ----
    def _sample_headroom(self, target: pyro.plate, context: pyro.plate | None) -> Tensor | None:
        """``(*draw, [context,] 1, target)`` log h, or ``None`` where it is fixed."""
        if not self.samples_gain:
            return None
        prior = dist.LogNormal(self.constant.new_zeros(()), self.constant.new_ones(()))
        if context is None:
            with target:
                log_headroom = pyro.sample("headroom", prior).log()
        else:
            with context, target:
                log_headroom = pyro.sample("headroom", prior).log()
        return log_headroom[None] if log_headroom.dim() == 1 else log_headroom

    def _observe_statistics(self, W: Tensor, noise: Tensor, target: pyro.plate, context: pyro.plate | None) -> None:
        log_headroom = self._sample_headroom(target, context)
        observed = PanelNormal(W, noise, self.design(), log_headroom, validate_args=False)
        self._observe(observed.at(self.observed()), target, context)

    def design(self) -> CutDesign:
        """The regressions of all conditions without their responses; contexts lead everything if there are several."""
        wide = self.has_contexts
        pick = lambda v: v if wide else v[0]
        dof = self.dof[:, None] if wide else self.dof
        cuts = self.cuts
        return CutDesign(len(self.tfs), len(self.targets), pick(self.gram), pick(self.anchor), dof, None, *cuts)

    def observed(self) -> Tensor:
        parts: tuple[Tensor, ...] = (self.residual, self.sse, self.log_jacobian)
        if self.samples_gain:
            parts = (*parts, self.curve, self.curve_gap, self.curve_square, self.curve_jacobian)
        return joined(self, "X", parts, self._join)

    def _join(self, residual: Tensor, sse: Tensor, *more: Tensor) -> Tensor:
        jacobian, *curves = more
        flat = [curve.flatten(1, -2) for curve in curves]  # (context, row, target)
        return super()._join(residual, sse, jacobian[:, None], *flat)

    def response_shift(self, log_headroom: Tensor) -> Tensor:
        """``(*batch, [context], tf, target)`` change of X̃ᵀy from the anchor headroom."""
        curve = self.curve if self.has_contexts else self.curve[0]
        terms = chebyshev(log_headroom.squeeze(-2))
        return torch.einsum("...tn,...nst->...st", terms, curve)

    def squared_error(self, W: Tensor, log_headroom: Tensor | None = None) -> Tensor:
        """``(*batch, 1, target)`` residual sum of squares of ``W`` ``(*batch, tf, target)`` over the free conditions,
        at ``log_headroom`` ``(*batch, 1, target)`` or the anchor; contexts lead both if there are several."""
        error = super().squared_error(W)
        if log_headroom is None:
            return error
        curves = curves_in(rows_of(self.observed()), len(self.tfs))
        return moved_error(error, log_headroom, curves, W - self.design().anchor)

    @staticmethod
    def _cut_product(s: PanelStatistics, product: Tensor, W: Tensor) -> Tensor:
        """G_i w_i for all targets from the shared ``product`` = G W."""
        inner = (s.cut * W[s.cut_context, :, s.cut_target]).sum(1)
        product = product.clone()
        product.movedim(1, 2).index_put_((s.cut_context, s.cut_target), -inner[:, None] * s.cut, accumulate=True)
        return product

    def _observe_cells(
        self, W: Tensor, noise: Tensor, batch: ExpressionData, target: pyro.plate, context: pyro.plate | None
    ) -> None:
        # the levels themselves, condition by condition, with an intercept for each target
        log_headroom = self._sample_headroom(target, context)
        X, level, codes, free = batch_levels(self, batch)
        wide = self.has_contexts
        pick = lambda v: v if wide else v[0]
        of_cell = lambda v: by_cell(v, codes) if wide else v
        centre = pick(self.target_mean[:, None]) - (pick(self.tf_mean) * W).sum(-2, keepdim=True)
        x = level[:, self.tf_index] / self.scale[self.tf_index]
        drive, sd = regress_cells(x, W, noise, context=codes, levels=len(self.contexts), target=target, shift=centre)
        headroom = (pick(self.log_headroom[:, None]) if log_headroom is None else log_headroom).exp()
        top = of_cell(pick(self.top[:, None]) * (1 + headroom))  # (*draw, condition, target)
        levels = logit_normal(drive, sd, unit=self.unit, top=top)
        share = 1.0 if batch.population is None else batch.population / len(X)
        with poutine.scale(scale=share), pyro.plate("cell", len(X), dim=-2), target:
            pyro.sample("X", levels.mask(free), obs=X)

    def conditional(self, site: str, values: Mapping[str, Tensor]) -> GaussianBlock:
        if site != "W" or self.has_contexts or not self.samples_gain:
            return super().conditional(site, values)
        loc, scale = self.edge_prior.gaussian(values)
        shift = self.response_shift(values["headroom"].log())
        return self.weights_given(loc, scale, values["noise_variance"], shift)

    @property
    def cuts(self) -> Cuts:
        return Cuts(self.cut, self.cut_context, self.cut_target)

    def _moved_anchor(self) -> Tensor:
        outside = torch.where(self.edge_prior.allowed, 0.0, self.anchor[0])
        inner = (self.cut * outside[:, self.cut_target].T).sum(1)
        return (self.gram[0] @ outside).index_add(1, self.cut_target, -(inner[:, None] * self.cut).T)

    @property
    def initial(self) -> dict[str, Tensor]:
        """Where guides start: the ridge solution, its noise, and its headroom."""
        noise = (self.sse / self.dof).clamp(1e-3, 1.0)
        start = {"W": self.start_W, "noise_variance": noise, "headroom": self.log_headroom.exp()}
        if self.has_contexts:
            return (
                start
                | {name: start[name][:, None] for name in ("noise_variance", "headroom")}
                | {"W_context": self.anchor}
            )
        return start

    def designs(self, data: ExpressionData) -> list[FittedDesign]:
        """The regression of each context of the panel that was fitted, at the anchor headroom, in standardised units.

        Raises
        ------
        ValueError
            Other genes, or contexts, than those of the fit.
        """
        missing = [g for g in self.genes if g not in set(data.genes)]
        if missing or data.context_names != self.contexts:
            raise ValueError(
                f"`data` lack {len(missing)} genes of the fit ({some(missing, 3)}) or have other contexts "
                f"({some(data.context_names, 3)} for {some(self.contexts, 3)}): pass the panel that was fitted"
            )
        panels = panels_of(
            data.select_genes(self.genes),
            levels=self.levels,
            knockdown=self.knockdown,
            hidden=self.hidden,
            measurement=self.measurement,
        )
        scale, unit = self.scale.double(), self.unit.double()
        parts = []
        for k, panel in enumerate(panels):
            design = Design.of(panel, self.tf_index, self.target_index, scale)
            drive = design.raw(self.log_headroom[k].double()) / unit
            parts.append(FittedDesign(design, drive, design.project(drive)))
        return parts

    # -- the network as a dynamical system ----
    def system(self, W: Tensor, log_headroom: Tensor | None, context: int) -> "System":
        """The dynamical system of draws ``W`` ``(draw, tf, target)`` in a context, on the CPU in float64.

        ``log_headroom`` ``(draw, target)``, or the anchor's. A gene that is no target has no equation: hold it where it
        is. Hidden inputs are at zero, their mean.
        """
        double = lambda v: v.double().cpu()
        scale, unit, W = double(self.scale), double(self.unit), double(W)
        tf, target, size = self.tf_index.cpu(), self.target_index.cpu(), len(self.genes)
        bias = double(self.target_mean[context]) - torch.einsum("dst,st->dt", W, double(self.tf_mean[context]))
        anchor = double(self.log_headroom[context])
        h = anchor.expand(len(W), -1) if log_headroom is None else double(log_headroom)
        if log_headroom is not None:  # the drive that holds a gene at its mean level is another at another gain
            mean, top = self.control_level(context)[target], double(self.top[context])
            bias = bias + (logit_of_share(mean, top, h) - logit_of_share(mean, top, anchor)) / unit
        full = W.new_zeros(len(W), size, size)
        full[:, tf[:, None], target] = W * (unit / scale[tf][:, None])
        epsilon, offset = W.new_ones(len(W), size), W.new_zeros(len(W), size)
        epsilon[:, target] = double(self.top[context]) * (1 + h.exp())
        offset[:, target] = bias * unit
        one = torch.ones_like(epsilon)
        floor = double(self.floor[context])
        if self.levels == "raw":
            return System(Dynamics(full, epsilon, one, offset, "logistic"), epsilon, floor, logs=False)
        offset = offset + torch.einsum("ds,dst->dt", epsilon.log(), full)
        return System(Dynamics(full, one, one, offset, "log-logistic"), epsilon, floor, logs=True)


@dataclass(frozen=True, eq=False)
class System:
    r"""A FactorBox as `Dynamics` of a coordinate s of the levels, whose steady states are those of the levels.

    Where the drive is linear in levels, s = x. Where it is linear in log levels, :math:`s = \log(x/\varepsilon)` and
    :math:`\dot s = \log\phi(sW + b + \log\varepsilon\,W) - s`: at :math:`\dot s = 0` also :math:`\dot x = 0`, and
    there both have the same Jacobian, of log levels.
    """

    dynamics: Dynamics
    epsilon: Tensor
    floor: Tensor
    logs: bool

    def coordinate(self, x: Tensor) -> Tensor:
        """``(draw, condition, gene)`` s of levels; zero counts as ``floor`` (gene,), as it did in the fit."""
        return (torch.where(x > 0, x, self.floor) / self.epsilon[:, None]).log() if self.logs else x

    def level(self, s: Tensor) -> Tensor:
        """``(draw, condition, gene)`` levels at s."""
        return s.exp() * self.epsilon[:, None] if self.logs else s


def _ridge_anchor(s: PanelStatistics, self_edge: Tensor) -> Tensor:
    r"""``(context, tf, target)`` ridge solution :math:`(G + I/\rho_i)^{-1} X̃^\top y_i` without the self-edge;
    conditions that knock a target down are left in, since an anchor need only be near."""
    values, vectors = torch.linalg.eigh(s.gram)
    rotated = vectors.transpose(-1, -2) @ s.cross
    weight = 1.0 / (values.clamp_min(0.0)[:, :, None] + 1.0 / s.ratio)  # (context, eigen, target)
    anchor = vectors @ (weight * rotated)
    row, col = torch.nonzero(self_edge, as_tuple=True)
    own = vectors[:, row]  # (context, pair, eigen)
    column = torch.einsum("kse,kpe->ksp", vectors, own * weight[:, :, col].movedim(1, 2))
    step = anchor[:, row, col] / torch.einsum("kpe,kpe,kep->kp", own, own, weight[:, :, col])
    anchor[:, :, col] -= column * step[:, None]
    anchor[:, row, col] = 0.0
    return anchor

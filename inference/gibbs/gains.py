r"""Gibbs sampling of a FactorBox with its gains: the headroom of every gene moves with the network."""

import torch
from torch import Tensor

from ...models.data.panel import REACH, chebyshev
from ...models.factorbox import FactorBox
from ...models.regression import NOISE_RATE, NOISE_SHAPE
from .hyper import State
from .kernel import GibbsKernel
from .streams import uniform

GRID = 121  # log headrooms on [-3, 3], a twentieth apart: a gain of which two neighbours differ by at most 5%


class GainKernel(GibbsKernel):
    r"""`GibbsKernel` of a `FactorBox` with ``gain="sampled"``: a sweep ends with log h of every target, on a grid.

    Two moves, each an exact draw of the grid's conditional, for all targets and chains at once:

    1. h given W, with σ² integrated out (drawn right after):
       :math:`p(h \mid W) \propto p(h)\,|dy/dx|_h\,(b + \tfrac12\|y(h) - \tilde X W\|^2)^{-a}`.
    2. h with the weights of the target carried along, :math:`W \to W \rho(h')/\rho(h)`, ρ(h) the slope of the drive at
       the target's mean level: a gain too low makes every weight of its target too large, and neither moves without
       the other. The orbit is a group, so that the draw from its density times :math:`\rho^{\#W}` leaves the posterior
       alone (Liu & Sabatti 2000). Not with several contexts, whose weights have one another for a prior.

    Statistics of the drive are polynomials in log h (`FactorBox.curve`), so that a move costs `NODES` products with
    (tf, target) arrays, whatever the number of conditions.

    Raises
    ------
    ValueError
        As `GibbsKernel`.
    """

    holds_gains = False

    def __init__(self, model: FactorBox, *, num_chains: int = 4, seed: int = 0) -> None:
        super().__init__(model, num_chains=num_chains, seed=seed)
        like = self.sse
        self.box = model
        self.grid = torch.linspace(-REACH, REACH, GRID).to(like)
        self.terms = chebyshev(self.grid)  # (grid, coefficient)
        on_grid = lambda curve: torch.einsum("gn,knt->kgt", self.terms, curve)
        self.square = model.curve_square.to(like)
        # log p(h) in log h, with the Jacobian of the levels
        self.base = on_grid(model.curve_jacobian.to(like)) - 0.5 * self.grid.square()[:, None]
        anchor = model.log_headroom[:, None].expand(like.shape)
        self.place = (anchor[..., None] - self.grid).abs().argmin(-1)  # (context, chain, target)
        self.curve = model.curve.to(like)  # (context, coefficient, tf, target)
        self.gap = model.curve_gap.to(like)
        mean = model.level_mean[:, model.target_index].to(like)
        share = (mean.exp() if model.levels == "log" else mean) / model.top.to(like)  # of the largest level
        gain = 1 + self.grid.exp()[:, None]
        self.log_slope = -torch.log1p(-(share[:, None] / gain).clamp_max(1 - 1e-6))  # (context, grid, target)
        self._move_residual(self.terms[self.place])

    # -- the interface of the kernel ----
    @property  # type: ignore[misc]  # as in the base
    def initial_params(self) -> State:
        return super().initial_params | {"headroom": self._headroom()}

    def sample(self, params: State) -> State:
        state = super().sample(params)
        state["headroom"] = self._headroom()
        return state

    def snapshot(self, state: State) -> dict:
        return super().snapshot(state) | {"place": self.place.clone(), "residual": self.groups[0].residual.clone()}

    def restore(self, snapshot: dict) -> State:
        state = super().restore(snapshot)
        self.place = snapshot["place"].to(self.place.device)
        self.groups[0].residual.copy_(snapshot["residual"])
        return state

    def _headroom(self) -> Tensor:
        """``(context, chain, target)`` h."""
        return self.grid[self.place].exp()

    # -- what depends on the gains ----
    def _residual(self) -> Tensor:
        return self._completed().movedim(2, 1)

    def _move_residual(self, change: Tensor) -> None:
        """X̃ᵀy after a ``change`` (context, chain, target, coefficient) of the polynomials' terms."""
        shift = torch.einsum("knst,kctn->ksct", self.curve, change)
        self._completed().add_(shift)

    def _refresh(self, state: State) -> None:
        super()._refresh(state)
        terms = self.terms[self.place]  # (context, chain, target, coefficient)
        square = torch.einsum("kctn,kctm,knmt->kct", terms, terms, self.square)
        self.sse += square + 2 * torch.einsum("kctn,knt->kct", terms, self.gap)

    def _update_noise(self, state: State) -> None:
        self._move(state, along=False)
        if not self.regressions.has_contexts:
            self._move(state, along=True)
        super()._update_noise(state)

    def _move(self, state: State, *, along: bool) -> None:
        """Both moves: ``along`` carries the weights."""
        W, terms = state["W_context"], self.terms[self.place]
        step = W - self._by_chain(self.regressions.anchor)
        # ‖y(h') - X̃W‖² = ‖e + Δ‖² of the present residual e, Δ = d(h') - d(h)
        of_curve = lambda weights: torch.einsum("knst,kcst->kctn", self.curve, weights)
        inner = self.gap.movedim(1, 2)[:, None] + torch.einsum("knmt,kctm->kctn", self.square, terms) - of_curve(step)
        change = self.terms - terms[..., None, :]  # (context, chain, target, grid, coefficient)
        error = self.sse[..., None] + 2 * (change @ inner[..., None])[..., 0]
        error = error + torch.einsum("kctgn,knmt,kctgm->kctg", change, self.square, change)
        log_density = self.base.movedim(1, 2)[:, None].expand_as(error)
        factor = None
        if along:
            slope = self.log_slope.movedim(1, 2)[:, None].expand_as(error)
            now = slope.gather(-1, self.place[..., None])
            factor = (slope - now).exp()
            product = self._product(W)
            linear = (W * self._score(W)).sum(-2)[..., None] + (change @ of_curve(W)[..., None])[..., 0]
            error = error + (factor - 1).square() * (W * product).sum(-2)[..., None] - 2 * (factor - 1) * linear
            log_density = log_density + self._of_weights(state, factor, slope - now)
        log_density = log_density + self._of_error(state, error.clamp_min(0))
        chosen = self._draw(log_density)
        pick = lambda value: value.gather(-1, chosen[..., None])[..., 0]
        self.sse = pick(error)
        self._move_residual(self.terms[chosen] - terms)
        self.place = chosen
        if factor is not None:
            state["W_context"] = W * pick(factor)[..., None, :]
            state["W"] = state["W_context"][0]

    def _of_error(self, state: State, error: Tensor) -> Tensor:
        """Log-likelihood of residual sums of squares (context, chain, target, grid): σ² is integrated out where the
        prior of the weights does not know it."""
        if self.prior.measured_in == "noise":
            return -0.5 * error / state["noise_variance"][..., None]
        shape = NOISE_SHAPE + 0.5 * self._by_chain(self.regressions.dof)[..., None]
        return -shape * (NOISE_RATE + 0.5 * error).log()

    def _of_weights(self, state: State, factor: Tensor, log_factor: Tensor) -> Tensor:
        """Log prior of the weights multiplied by ``factor`` (context, chain, target, grid), with the volume of the
        move."""
        prior, W = self.edge_prior_state(state), state["W"]
        gate = state["inclusion"] > 0
        variance = torch.where(gate, prior.slab, prior.spike)
        square = (W.square() / variance * self.allowed).sum(-2)[None, ..., None]  # (1, chain, target, 1)
        log_prior = -0.5 * factor.square() * square
        if prior.loc is not None:
            pulled = (gate * W * prior.loc / variance * self.allowed).sum(-2)[None, ..., None]
            log_prior = log_prior + factor * pulled
        return log_prior + self.allowed.sum(-2)[..., None] * log_factor

    def _draw(self, log_density: Tensor) -> Tensor:
        """``(context, chain, target)`` places on the grid."""
        weight = (log_density - log_density.amax(-1, keepdim=True)).exp().cumsum(-1)
        u = uniform(weight.shape[:-1], self.generator, weight, axis=1)[..., None] * weight[..., -1:]
        return torch.searchsorted(weight, u).squeeze(-1).clamp_max(GRID - 1)

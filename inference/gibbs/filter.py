r"""The Gibbs sampler of a `Collaborative` prior: features of regulators and genes, with inclusion summed out."""

from functools import partial
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ...models import RegressionNetwork
from ...priors import Collaborative, EdgePrior, SpikeSlab
from .hyper import State, weighted
from .kernel import GibbsKernel
from .scoring_step import Evaluation, scoring_step

SCALE_STEPS = 4  # of τ given its features, which cost next to nothing
# log-likelihood ratio of an edge that is surely seen: float32 keeps sums of such terms, and not of millions
SURE = 100.0
STRETCHES = 2  # of τ with its features, a pass over the edges each


class FilterKernel(GibbsKernel):
    r"""`GibbsKernel` of a network with a `Collaborative` prior of strategy *inclusion* (also inside `HardMask`).

    Given the features the prior is a `SpikeSlab` whose log-odds have one term more. Given the weights, with
    :math:`L_{tg}` the log-likelihood ratio of slab to spike and every inclusion variable summed out,

    .. math:: \log p(W \mid \eta) = \sum_{tg} \log\frac{1 + e^{\eta_{tg} + L_{tg}}}{1 + e^{\eta_{tg}}} + \text{const},
              \qquad \eta_{tg} = a + \sum_k b_k P^k_{tg} + \sum_r u_{tr} v_{gr},

    so that the features of a regulator, those of a gene, and the intercept with the trust each move by one
    Fisher-scoring proposal (`scoring_step`); τ moves given v and with v stretched along, u and v against each other and
    by a common rotation. The inclusion variables follow by an exact draw, every sweep: a partially collapsed Gibbs step
    (van Dyk & Park 2008). It costs about fourteen passes over the edges beside the
    two of a sweep, and one more for each source.

    Raises
    ------
    ValueError
        For any other edge prior or strategy.
    """

    collapsed_every = 1

    def __init__(self, model: RegressionNetwork, *, num_chains: int = 4, seed: int = 0) -> None:
        super().__init__(model, num_chains=num_chains, seed=seed)
        prior = model.edge_prior.family
        self.filter: Collaborative = prior  # type: ignore[assignment]
        self.ranks = range(1, int(self.filter.rank) + 1)
        self.hyper.set_hyperprior("feature_scale", self.filter.feature_scale)

    def spike_slab(self, prior: EdgePrior) -> SpikeSlab:
        """The prior given the features, without their term."""
        plain = prior.given_features()
        if plain is None:
            raise ValueError(
                "the Gibbs sampler of features is for the prior Collaborative with strategy 'inclusion', this is "
                f"{type(prior).__name__} with {prior.strategy!r}: use the guides Blocked or MeanField"
            )
        return cast(SpikeSlab, plain)

    @property  # type: ignore[misc]  # as in the base
    def initial_params(self) -> State:
        """Chains start with features that say little: the weights come first, then what they recommend."""
        state = super().initial_params
        like, chains = self.probability, self.num_chains
        noise = lambda *shape: self.hyper.normal(like.new_empty(shape))
        for r in self.ranks:
            state[f"u_{r}"], state[f"v_{r}"] = noise(chains, like.shape[1], 1), 0.1 * noise(chains, 1, like.shape[2])
        state["feature_scale"] = self.first_value(self.filter.feature_scale, 0.5 * (0.3 * noise(chains)).exp())
        return state

    def _logit_terms(self, state: State) -> Tensor:
        return super()._logit_terms(state) + self.filter.recommendation(state)

    def _update_inclusion(self, state: State) -> None:
        """Nothing given the inclusion variables: all of it moves with them summed out."""

    def _update_collapsed(self, state: State) -> None:
        """Intercept and trust, features and their scale; then scales and inclusion variables as in the base."""
        _, odds = self.mixture(state)(state["edge_logit"], state["slab_scale"], state["spike_ratio"])
        # L; above SURE an edge is seen, and the terms of the density differ by constants alone
        ratio = (odds - state["edge_logit"][:, None, None] - self._logit_terms(state)).clamp(max=SURE)
        self._move_coefficients(state, ratio)
        offset = (state["edge_logit"][:, None, None] + super()._logit_terms(state)).expand_as(ratio)
        u = torch.cat([state[f"u_{r}"] for r in self.ranks], dim=2)  # (chain, tf, rank)
        v = torch.cat([state[f"v_{r}"] for r in self.ranks], dim=1).mT  # (chain, target, rank)
        scale = state["feature_scale"]
        generator = self.generator
        u = scoring_step(
            u, lambda rows: of_rows(rows, v, offset, ratio, self.allowed, torch.ones_like(scale)), generator
        )
        sides = offset.mT, ratio.mT, self.allowed.mT
        v = scoring_step(v, lambda rows: of_rows(rows, u, *sides, scale), generator)
        u, v = self._rotate(*self._balance(u, v, scale))
        if not self.filter.feature_scale.is_fixed:
            scale = self._walk_scale(v, scale)
            v, scale = self._stretch_features(u, v, scale, offset, ratio)
        for r in self.ranks:
            state[f"u_{r}"], state[f"v_{r}"] = u[..., r - 1 : r], v[..., r - 1 : r].mT
        state["feature_scale"] = scale
        super()._update_collapsed(state)

    # -- the moves ----
    def _move_coefficients(self, state: State, ratio: Tensor) -> None:
        """Intercept a and trust b by one scoring proposal, then each trust by a random walk (far from the mode the
        way back is never proposed); in place."""
        prior, probability = self.prior, self.prior.probability
        free, trusted = not prior.edge_logit.is_fixed, "trust" in state
        if not free and not trusted:
            return
        recommended = self.filter.recommendation(state)
        loc, sd = prior.edge_logit.constants if free else (0.0, 1.0)
        spread = prior.trust_prior.constants[0]
        columns = [torch.ones_like(self.allowed)[None]] if free else []
        design = torch.cat([*columns, *([probability] if trusted else [])])  # (term, tf, target)

        def evaluate(theta: Tensor) -> Evaluation:
            a = theta[:, 0] if free else state["edge_logit"]
            eta = a[:, None, None] + recommended
            if trusted:
                eta = eta + weighted(theta[:, int(free) :], probability)
            value, slope, weight = of_edges(eta, ratio, self.allowed)
            centre, precision = torch.zeros_like(theta), torch.full_like(theta, 1.0)
            if free:
                centre[:, 0], precision[:, 0] = loc, sd**-2
            if trusted:
                precision[:, int(free) :] = spread**-2
            density = value.double().sum((1, 2)) - 0.5 * (precision * (theta - centre) ** 2).sum(1)
            gradient = torch.einsum("ctg,ktg->ck", slope, design) - precision * (theta - centre)
            rows = [(weight * column).flatten(1) @ design.flatten(1).T for column in design]
            information = torch.stack(rows, dim=1) + torch.diag_embed(precision)
            return density, gradient, information

        parts = ([state["edge_logit"][:, None]] if free else []) + ([state["trust"]] if trusted else [])
        theta = scoring_step(
            torch.cat(parts, dim=1), evaluate, self.generator, inside=lambda new: (new[:, int(free) :] >= 0).all(1)
        )
        if free:
            state["edge_logit"] = theta[:, 0]
        if trusted:
            rest = state["edge_logit"][:, None, None] + recommended

            def density(trust: Tensor) -> Tensor:
                eta = rest + weighted(trust, probability)
                return collapsed(eta, ratio, self.allowed).double().sum((1, 2))

            state["trust"] = self.hyper.update_trust(theta[:, int(free) :], density)

    def _balance(self, u: Tensor, v: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """c u and v / c: every recommendation stays, so only the priors of the features decide."""
        first, second = u.square().sum((1, 2)), v.square().sum((1, 2)) / scale**2
        power = u[0].numel() - v[0].numel()
        density = lambda c: power * c.log() - 0.5 * (c**2 * first + second / c**2)
        factor = torch.ones_like(scale)
        for _ in range(SCALE_STEPS):
            step = self.hyper.step("balance", factor) * self.hyper.normal(factor)
            new = factor * step.exp()
            accepted = self.hyper.accept("balance", density(new) - density(factor), 0.44)
            factor = torch.where(accepted, new, factor)
        return u * factor[:, None, None], v / factor[:, None, None]

    def _rotate(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """A random rotation or reflection of the features, which changes nothing else."""
        size = u.shape[-1]
        turn, triangle = torch.linalg.qr(self.hyper.normal(u.new_empty(len(u), size, size)))
        turn = turn * triangle.diagonal(dim1=-2, dim2=-1).sign()[:, None]  # uniform (Haar), which QR alone is not
        return u @ turn, v @ turn

    def _walk_scale(self, v: Tensor, scale: Tensor) -> Tensor:
        """τ given the features."""
        square, count = v.square().sum((1, 2)), v[0].numel()
        prior = partial(self.hyper.log_hyperprior, "feature_scale")
        density = lambda s: prior(s) - count * s.log() - 0.5 * square / s**2
        for _ in range(SCALE_STEPS):
            new = scale * (self.hyper.step("feature_scale", scale) * self.hyper.normal(scale)).exp()
            accepted = self.hyper.accept("feature_scale", density(new) - density(scale), 0.44)
            scale = torch.where(accepted, new, scale)
        return scale

    def _stretch_features(
        self, u: Tensor, v: Tensor, scale: Tensor, offset: Tensor, ratio: Tensor
    ) -> tuple[Tensor, Tensor]:
        """c v and c τ: the prior of v / τ stays, the edges decide (interweaving; Yu & Meng 2011)."""
        recommended = u @ v.mT

        def terms(factor: Tensor) -> Tensor:
            return collapsed(offset + factor[:, None, None] * recommended, ratio, self.allowed).double().sum((1, 2))

        prior = partial(self.hyper.log_hyperprior, "feature_scale")
        factor = torch.ones_like(scale)
        current = terms(factor)
        for _ in range(STRETCHES):
            name = "feature stretch"
            new = factor * (self.hyper.step(name, factor) * self.hyper.normal(factor)).exp()
            found = terms(new)
            change = (found - current).to(scale) + prior(scale * new) - prior(scale * factor)
            accepted = self.hyper.accept(name, change, 0.44)
            factor, current = torch.where(accepted, new, factor), torch.where(accepted, found, current)
        return v * factor[:, None, None], scale * factor


# -- densities of the weights given the log-odds, inclusion summed out ----
def collapsed(eta: Tensor, ratio: Tensor, allowed: Tensor) -> Tensor:
    """``(chain, row, column)`` log p(w | η) of each edge up to a constant; zero where it may not exist."""
    return (softplus(eta + ratio) - softplus(eta)) * allowed


def of_edges(eta: Tensor, ratio: Tensor, allowed: Tensor) -> Evaluation:
    """`collapsed`, its slope in η, and the information of an edge that is seen, π (1 − π): an upper bound."""
    prior, posterior = torch.sigmoid(eta), torch.sigmoid(eta + ratio)
    return collapsed(eta, ratio, allowed), (posterior - prior) * allowed, prior * (1 - prior) * allowed


def of_rows(rows: Tensor, other: Tensor, offset: Tensor, ratio: Tensor, allowed: Tensor, sd: Tensor) -> Evaluation:
    """Density, gradient and information of the features ``rows`` ``(chain, row, rank)`` of one side, given those of the
    ``other`` ``(chain, column, rank)``; ``sd`` ``(chain,)`` of their prior."""
    value, slope, weight = of_edges(offset + rows @ other.mT, ratio, allowed)
    precision = sd[:, None, None] ** -2
    outer = (other[..., :, None] * other[..., None, :]).flatten(2)  # (chain, column, rank²)
    information = (weight @ outer).unflatten(-1, (rows.shape[-1],) * 2)
    information = information + precision[..., None] * torch.eye(rows.shape[-1], dtype=rows.dtype, device=rows.device)
    density = value.sum(-1) - 0.5 * (precision * rows**2).sum(-1)
    return density, slope @ other - precision * rows, information

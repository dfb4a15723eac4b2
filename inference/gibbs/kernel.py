r"""The exact posterior of the spike-and-slab network: Gibbs sampling on Gram statistics, as a Pyro MCMC kernel."""

import math
from typing import Any, cast

import pyro.distributions as dist
import torch
from pyro.infer.mcmc.mcmc_kernel import MCMCKernel
from torch import Tensor

from ...models import RegressionNetwork
from ...models.regression import FREE_RATE, FREE_SHAPE, NOISE_RATE, NOISE_SHAPE
from ...priors import EdgePrior, Hyper, SpikeSlab
from .collapsed import MixtureDensity, update_collapsed
from .hyper import HyperUpdates, State, slab_scale, weighted
from .regressions import Regressions
from .streams import normal, standard_gamma, uniform
from .sweep import EdgeGroup, EdgePriorState, sweep
from .twins import TwinDraws

REFRESH = (
    64  # sweeps between exact recomputations of the residual sums of squares (float32 drift stays below 1e-4 of them)
)
COLLAPSED = 3  # sweeps between the moves with inclusion summed out: four passes over the edges, as much as half a sweep
# up to here the matrix products of interweaving cost less than a third of a sweep, and it is done every time
FEW_TFS = 128


class RegressionKernel(MCMCKernel):
    """The moves of `GibbsKernel` on `Regressions`, of one network or of several side by side.

    Parameters
    ----------
    regressions
        Statistics of the data.
    hyper
        Moves of the hyperparameters, with the spike-and-slab prior, the edges that may exist and the generator.
    num_chains
        Independent chains, of all fits together.
    """

    collapsed_every = COLLAPSED

    def __init__(self, regressions: Regressions, hyper: HyperUpdates, *, num_chains: int) -> None:
        super().__init__()
        self.regressions, self.hyper, self.num_chains = regressions, hyper, num_chains
        self.prior = hyper.prior
        self.generator: Any = hyper.generator  # of one network a `torch.Generator`
        self.allowed = hyper.allowed.to(regressions.residual.dtype)
        own, num_targets = regressions.own, len(regressions.targets)
        shared = torch.ones(num_targets, dtype=torch.bool, device=self.allowed.device)
        shared[own] = False
        self.groups = []
        if bool(shared.any()):
            columns = torch.nonzero(shared).flatten() if len(own) else None
            self.groups.append(self._group(regressions.gram, columns, True))
        if len(own):
            self.groups.append(self._group(regressions.own_gram, own, False))
        self.twins = TwinDraws.of(regressions)
        # conditions cut from a target by a vector are drawn as missing responses, so that all targets share one Gram
        # matrix (data augmentation; Tanner & Wong 1987)
        self.cuts = regressions.cuts
        self.missing = self.cuts.vector.new_zeros(len(self.cuts.vector), num_chains)
        self.probability = torch.zeros(num_chains, len(regressions.tfs), num_targets).to(self.allowed)
        self.sse = torch.zeros(len(regressions.contexts), num_chains, num_targets).to(self.allowed)
        self.count = 0

    def _group(self, gram: Tensor, columns: Tensor | None, shared: bool) -> EdgeGroup:
        def place(value: Tensor) -> Tensor:  # (context, fit, tf, target) -> (context, block, tf, column)
            value = value if columns is None else value[..., columns]
            if shared:
                return value.repeat(1, 1, 1, self.num_chains // self.regressions.num_fits)
            return value.squeeze(1).movedim(-1, 1).unsqueeze(-1)

        return EdgeGroup(gram, place(self.regressions.anchor), place(self.regressions.residual), columns, shared)

    # -- the Pyro kernel interface ----
    def setup(self, warmup_steps: int, *args: Any, **kwargs: Any) -> None:
        self.warmup_steps = warmup_steps
        self.count = 0
        self.hyper.adapting = warmup_steps > 0

    @property  # type: ignore[misc]  # Pyro's base also allows setting it
    def initial_params(self) -> State:
        """Chains start apart: small random weights, noise between a tenth and all of the variance, hyperparameters
        drawn around their priors."""
        chains, data = self.num_chains, self.regressions
        like = self.probability
        gaussian = lambda *shape: normal(shape, self.generator, like)
        flat = lambda *shape: uniform(shape, self.generator, like)
        W = 0.05 * gaussian(*like.shape) * self.allowed

        constant = self.first_value
        prior = self.prior
        state: State = {
            "W": W,
            "inclusion": (flat(*like.shape) < 0.2).to(like) * self.allowed,
            "noise_variance": 0.1
            + 0.9 * uniform((len(data.contexts), chains, len(data.targets)), self.generator, like, axis=1),
            "edge_logit": constant(prior.edge_logit, -2 + 0.5 * gaussian(chains)),
            "slab_scale": constant(prior.slab_scale, 0.3 * (0.3 * gaussian(chains)).exp()),
            "spike_ratio": constant(prior.spike_ratio, 0.1 * (0.5 * gaussian(chains)).exp().clamp(max=5.0)),
            "W_context": W.expand(len(data.contexts), *W.shape).clone(),
        }
        if prior.has_hubs:
            state["hub"] = 0.1 * gaussian(chains, like.shape[1], 1)
            state["hub_scale"] = constant(prior.hub_scale, 0.5 * (0.3 * gaussian(chains)).exp())
        if "trust" in prior.dims:
            state["trust"] = flat(chains, len(prior.sources))
        if "sign_trust" in prior.dims:
            state["sign_trust"] = 0.5 * flat(chains, len(prior.signed_sources))
        if data.has_contexts:
            state["context_scale"] = 0.05 * (0.3 * gaussian(chains)).exp()
        self._refresh(state)
        return state

    def first_value(self, hyper: Hyper, value: Tensor) -> Tensor:
        """``(chain,)``: a fixed hyperparameter, else ``value``, or the prior's mean where that does not allow it."""
        if hyper.is_fixed:
            return hyper.constants[0].expand(self.num_chains).clone()
        value, prior = value.to(self.probability), hyper.distribution()
        return torch.where(prior.support.check(value), value, prior.mean)

    def sample(self, params: State) -> State:
        """One sweep: the next state."""
        state = {name: value.clone() for name, value in params.items()}
        if self.count == self.warmup_steps:
            self.hyper.adapting = False
        if self.count % REFRESH == 0:
            self._refresh(state)
        if len(self.missing):
            self._draw_missing(state)
        self._update_edges(state)
        self._update_noise(state)
        self._update_inclusion(state)
        self._update_scales(state)
        if self.count % self.collapsed_every == 0:
            self._update_collapsed(state)
        if self.count % (1 if len(self.regressions.tfs) <= FEW_TFS else COLLAPSED) == 0:
            self._stretch(state)
        self.count += 1
        return state

    def cleanup(self) -> None:
        """Nothing is held between runs."""

    def logging(self) -> dict[str, str]:
        return {"mean inclusion": f"{float(self.probability.sum() / self.allowed.sum() / self.num_chains):.3f}"}

    def diagnostics(self) -> dict[str, Any]:
        return {"steps": {name: value.exp().tolist() for name, value in self.hyper.log_step.items()}}

    def log_likelihood(self, state: State) -> Tensor:
        """``(chain,)`` log p(X | state), up to the constant of the counts: the trace that shows whether chains have
        settled. Where conditions are cut, of the completed data."""
        noise, dof = state["noise_variance"], self._by_chain(self.regressions.dof)
        return -0.5 * (dof * (2 * math.pi * noise).log() + self.sse / noise).sum((0, 2))

    def snapshot(self, state: State) -> dict[str, Any]:
        """All that the next sweep depends on, for a checkpoint."""
        return {
            "state": dict(state),
            "sse": self.sse.clone(),  # kept current in place
            "missing": self.missing.clone(),
            # of the completed data: a sum of all changes so far, which rounds otherwise when it is made anew
            "completed": self._completed().clone() if len(self.missing) else None,
            "count": self.count,
            "steps": dict(self.hyper.log_step),
            "generator": self.generator.get_state(),
        }

    def restore(self, snapshot: dict[str, Any]) -> State:
        """Continue from `snapshot`: the state to hand to `sample`."""
        device = self.probability.device
        self.sse, self.count = snapshot["sse"].to(device), snapshot["count"]
        if len(self.missing):
            self._put_missing(snapshot["missing"].to(device))
            if snapshot.get("completed") is not None:  # earlier versions kept none
                self._completed().copy_(snapshot["completed"])
        self.hyper.log_step = {name: value.to(device) for name, value in snapshot["steps"].items()}
        self.hyper.adapting = self.count < self.warmup_steps
        self.generator.set_state(snapshot["generator"].cpu())
        return {name: value.to(device) for name, value in snapshot["state"].items()}

    # -- the moves ----
    def _location(self, state: State) -> Tensor | None:
        if "sign_trust" not in state:
            return None
        return weighted(state["sign_trust"], self.prior.sign)

    def edge_prior_state(self, state: State) -> EdgePriorState:
        """The prior of every edge at the current hyperparameters."""
        logit = state["edge_logit"][:, None, None] + self._logit_terms(state)
        scale = slab_scale(self.prior, state)
        location = self._location(state)
        spike = (state["slab_scale"] * state["spike_ratio"])[:, None, None] ** 2
        if self.prior.measured_in == "noise":
            noise = state["noise_variance"][0][:, None]  # (chain, 1, target)
            scale, spike = scale * noise.sqrt(), spike * noise
        return EdgePriorState(logit, scale**2, spike, None if location is None else scale * location, self.allowed)

    def _in_unit(self, state: State) -> Tensor:
        """``(chain, tf, target)``: W in the unit of the prior's scales."""
        W = state["W"]
        return W / state["noise_variance"][0][:, None].sqrt() if self.prior.measured_in == "noise" else W

    def _update_edges(self, state: State) -> None:
        prior = self.edge_prior_state(state)
        for group in self.groups:
            sweep(
                group,
                prior,
                state["W"],
                state["W_context"],
                state["inclusion"],
                self.probability,
                self.sse,
                state["noise_variance"],
                state.get("context_scale"),
                self.generator,
            )
        self.twins.update(self, prior, state)

    def _update_scales(self, state: State) -> None:
        W = state["W"]
        state["W"] = self._in_unit(state)
        self.hyper.update_scales(state, self._location(state))
        state["W"] = W

    def _update_inclusion(self, state: State) -> None:
        self.hyper.update_inclusion(state)

    def _update_collapsed(self, state: State) -> None:
        """Intercept and scales with every inclusion variable summed out, then the inclusion variables given them."""
        update_collapsed(self.hyper, self.mixture(state), state)

    def mixture(self, state: State) -> MixtureDensity:
        """The weights with every inclusion variable summed out."""
        return MixtureDensity(
            self._in_unit(state),
            self._logit_terms(state),
            slab_scale(self.prior, state) / state["slab_scale"][:, None, None],
            self._location(state),
            self.allowed,
        )

    def _logit_terms(self, state: State) -> Tensor:
        """``(chain, tf or 1, target or 1)`` log-odds of inclusion without the intercept."""
        logit = torch.zeros_like(state["edge_logit"])[:, None, None]
        if self.prior.has_hubs:
            logit = logit + state["hub"]
        if self.prior.strategy == "inclusion" and "trust" in state:
            logit = logit + weighted(state["trust"], self.prior.probability)
        return logit

    def _update_noise(self, state: State) -> None:
        in_noise = self.prior.measured_in == "noise"
        shape, rate = (FREE_SHAPE, FREE_RATE) if in_noise else (NOISE_SHAPE, NOISE_RATE)
        shape = (shape + 0.5 * self._by_chain(self.regressions.dof)).expand_as(self.sse)
        rate = rate + 0.5 * self.sse.clamp_min(0)
        if in_noise:
            self._update_unit(state, shape, rate)
            return
        state["noise_variance"] = rate / standard_gamma(shape, self.generator, axis=1)

    def _update_unit(self, state: State, shape: Tensor, rate: Tensor) -> None:
        """The noise where the weights are in units of it: an inverse gamma again, but for a factor exp(B/σ) where slabs
        have means, which a Metropolis step takes in."""
        slab, gate = slab_scale(self.prior, state), state["inclusion"]
        spike = (state["slab_scale"] * state["spike_ratio"])[:, None, None]
        scale = torch.where(gate > 0, slab, spike)
        square = ((state["W"] / scale).square() * self.allowed).sum(1)
        shape = shape + 0.5 * self.allowed.sum(-2)
        old = state["noise_variance"]
        new = (rate + 0.5 * square) / standard_gamma(shape.expand_as(rate), self.generator, axis=1)
        location = self._location(state)
        if location is not None:
            pulled = (gate * state["W"] * location / slab).sum(1)
            change = pulled * (new.rsqrt() - old.rsqrt())
            u = uniform(change.shape, self.generator, change, axis=1)
            new = torch.where(u.log() < change, new, old)
        state["noise_variance"] = new

    def _stretch(self, state: State) -> None:
        """Interweaving for the widths of spike and slab and for the spread of contexts."""
        several = self.regressions.has_contexts
        if several:
            self.hyper.update_context_scale(state)
        if self.prior.spike_ratio.is_fixed and self.prior.slab_scale.is_fixed and not several:
            return
        residual = self._score(state["W_context"])
        inverse = 1.0 / state["noise_variance"][..., None, :]

        def act(name: str, direction: Tensor) -> Tensor:
            product = self._product(direction)
            linear = (direction * residual * inverse).sum((0, 2, 3))
            quadratic = (direction * product * inverse).sum((0, 2, 3))
            factor = self.hyper.stretch(state, name, linear, quadratic)
            step = (factor - 1)[:, None, None]
            self.sse += (step * direction * (step * product - 2 * residual)).sum(-2)
            residual.sub_(step * product)
            return step * direction

        for name, weights in (("spike_ratio", 1 - state["inclusion"]), ("slab_scale", state["inclusion"])):
            if getattr(self.prior, name).is_fixed:
                continue
            if name == "slab_scale" and self.prior.spike_ratio.is_fixed:
                weights = torch.ones_like(weights)  # the spike is a fixed share of the slab and goes with it
            change = act(name, (weights * state["W"]).expand_as(state["W_context"]))
            state["W_context"] = state["W_context"] + change
            state["W"] = state["W"] + change[0]
        if several:
            state["W_context"] = state["W_context"] + act("context_scale", state["W_context"] - state["W"])

    # -- matrix products over groups ----
    def _by_chain(self, value: Tensor) -> Tensor:
        return self.regressions.by_chain(value, self.num_chains)

    def _product(self, value: Tensor) -> Tensor:
        """``(context, chain, tf, target)``: G times ``value``."""
        return self.regressions.product(value)

    def _score(self, W: Tensor) -> Tensor:
        """``(context, chain, tf, target)``: b − G W."""
        return self._residual() - self._product(W - self._by_chain(self.regressions.anchor))

    def score_at(self, rows: Tensor, W: Tensor) -> Tensor:
        """``(context, chain, row, target)``: rows of `_score`."""
        gap = W - self._by_chain(self.regressions.anchor)
        return self._residual()[:, :, rows] - self.regressions.product(gap, rows)

    def _residual(self) -> Tensor:
        """``(context, chain or 1, tf, target)``: b − G ŵ at the anchor, of the completed data where conditions are
        cut."""
        if not len(self.missing):
            return self._by_chain(self.regressions.residual)
        return self._completed().movedim(2, 1)

    # -- conditions that are cut ----
    def _completed(self) -> Tensor:
        """``(context, tf, chain, target)`` view of the residuals that the sweep reads."""
        residual = self.groups[0].residual
        return residual.squeeze(1).unflatten(-1, (self.num_chains, -1))

    def _of_cuts(self, W: Tensor) -> Tensor:
        """``(pair, chain)``: v · (w − ŵ) of every cut for ``W`` ``(context, chain, tf, target)``."""
        gap = (W - self.regressions.anchor)[self.cuts.context, :, :, self.cuts.target]  # (pair, chain, tf)
        return torch.einsum("pct,pt->pc", gap, self.cuts.vector)

    def _put_missing(self, missing: Tensor) -> None:
        """Take over the responses ``(pair, chain)``, counted from the anchor's."""
        change = self.cuts.vector[:, :, None] * (missing - self.missing)[:, None]  # (pair, tf, chain)
        view = self._completed().permute(0, 3, 1, 2)  # (context, target, tf, chain)
        view.index_put_((self.cuts.context, self.cuts.target), change, accumulate=True)
        self.missing = missing

    def _draw_missing(self, state: State) -> None:
        fitted = self._of_cuts(state["W_context"])
        sd = state["noise_variance"][self.cuts.context, :, self.cuts.target].sqrt()
        noise = normal(sd.shape, self.generator, sd)
        new = fitted + sd * noise
        change = (new - fitted).square() - (self.missing - fitted).square()
        self.sse.permute(0, 2, 1).index_put_((self.cuts.context, self.cuts.target), change, accumulate=True)
        self._put_missing(new)

    def _refresh(self, state: State) -> None:
        gap = state["W_context"] - self._by_chain(self.regressions.anchor)
        product = self._product(gap)
        self.sse = self._by_chain(self.regressions.sse) + (gap * (product - 2 * self._residual())).sum(-2)
        if len(self.missing):
            squares = self.missing.square()
            place = (self.cuts.context, self.cuts.target)
            self.sse.permute(0, 2, 1).index_put_(place, squares, accumulate=True)


class GibbsKernel(RegressionKernel):
    r"""Gibbs sampler of a `LinearNetwork` or `FactorBox` with a `SpikeSlab` prior (also inside `HardMask`); all chains
    and targets at once.

    A sweep draws every (γ, W) with W integrated out of γ (`sweep.sweep`), those of regulators that can hardly be told
    apart once more in pairs (`twins.TwinDraws`), the noise variances (inverse gamma),
    and the hyperparameters: hubs, intercept and the trust of each source by Fisher-scoring Metropolis steps, scales by
    adaptive Metropolis steps with interweaving. Cost: one (tf × tf) · (tf × chain·target) product and two passes over
    the edges, independent of the number of cells. It targets the exact posterior.

    As a Pyro kernel, ``sample(params)`` maps one dict of sites to the next; every site has a leading ``chain``
    dimension. It keeps its own generator: the global random state does not move.

    Parameters
    ----------
    model
        The network; its device and dtype are used.
    num_chains
        Independent chains.
    seed
        Seed of the kernel's generator.

    Raises
    ------
    ValueError
        For any other edge prior.
    """

    def __init__(self, model: RegressionNetwork, *, num_chains: int = 4, seed: int = 0) -> None:
        prior = self.spike_slab(model.edge_prior.family)
        if prior.edge_logit.family not in (None, dist.Normal):
            raise ValueError(
                "the Gibbs sampler needs a Normal hyperprior of `edge_probability` (on the logit), this has "
                f"{prior.edge_logit.family.__name__}: use Hyper(dist.Normal, loc, scale) or a number"
            )
        if "headroom" in model.dims:
            raise ValueError(
                "the Gibbs sampler holds the gains: use gain='fixed', or the guides MeanField, Blocked, NUTS"
            )
        generator = torch.Generator(device=model.constant.device).manual_seed(seed)
        hyper = HyperUpdates(prior, model.edge_prior.allowed, generator, model.context_scale)
        super().__init__(Regressions.of([model]), hyper, num_chains=num_chains)
        self.model = model

    def spike_slab(self, prior: EdgePrior) -> SpikeSlab:
        """The prior that the moves are written for."""
        if not prior.independent_gates:
            raise ValueError(
                f"the Gibbs sampler is exact for SpikeSlab, this model has {type(prior).__name__}: use "
                "SpikeSlab (alone or in HardMask), or the guides Blocked, MeanField, or NUTS"
            )
        return cast(SpikeSlab, prior)

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
from ...priors.own_edges import ContextEdge
from .collapsed import MixtureDensity, update_collapsed
from .hyper import HyperUpdates, State, slab_scale, weighted
from .own_edges import OwnEdges, centre_of, location, stacked_prior, stretched
from .regressions import Regressions
from .streams import normal, standard_gamma, uniform
from .sweep import EdgeGroup, EdgePriorState, sweep
from .twins import TwinDraws
from .unit import update_shared_unit, update_unit

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
    own_edges
        Of contexts with edges of their own; ``hyper`` is then of all edges.
    """

    collapsed_every = COLLAPSED

    def __init__(
        self, regressions: Regressions, hyper: HyperUpdates, *, num_chains: int, own_edges: OwnEdges | None = None
    ) -> None:
        super().__init__()
        self.regressions, self.hyper, self.num_chains = regressions, hyper, num_chains
        self.own_edges = own_edges
        self.prior = hyper.prior if own_edges is None else own_edges.prior
        self.generator: Any = hyper.generator  # of one network a `torch.Generator`
        allowed = hyper.allowed if own_edges is None else own_edges.allowed
        self.allowed = allowed.to(regressions.residual.dtype)
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
        if own_edges is not None:
            own_edges.start(num_chains, self.allowed)

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
        if self.own_edges is not None:
            state["difference_rate"] = 0.05 * (0.3 * gaussian(chains)).exp()
            state |= {name: torch.zeros_like(state["W_context"]) for name in ("own", "own_gate", "own_weight")}
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

    def context_edge(self, state: State) -> ContextEdge | None:
        """The edges of contexts, where these have some of their own."""
        return None if self.own_edges is None else self.own_edges.drawn(state)

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
        return location(self.prior, state)

    def edge_prior_state(self, state: State) -> EdgePriorState:
        """The prior of every edge at the current hyperparameters."""
        logit = state["edge_logit"][:, None, None] + self._logit_terms(state)
        scale = slab_scale(self.prior, state)
        location = self._location(state)
        spike = (state["slab_scale"] * state["spike_ratio"])[:, None, None] ** 2
        if self.prior.measured_in == "noise":
            noise = self._unit(state["noise_variance"])[:, None]  # (chain, 1, target)
            scale, spike = scale * noise.sqrt(), spike * noise
        return EdgePriorState(logit, scale**2, spike, None if location is None else scale * location, self.allowed)

    def _unit(self, noise: Tensor) -> Tensor:
        """``(chain, target)`` the noise variance that scales are in units of, of ``noise`` ``(context, chain,
        target)``: that of all cells together."""
        if not self.regressions.has_contexts:
            return noise[0]
        return (self._by_chain(self.regressions.share) * noise).sum(0)

    def _in_unit(self, state: State, W: Tensor) -> Tensor:
        """``(chain, tf, target)``: weights in the unit of the prior's scales."""
        if self.prior.measured_in != "noise":
            return W
        sd = self._unit(state["noise_variance"])[:, None].sqrt()
        return W / (sd if self.own_edges is None else self.own_edges.wide(sd))

    def _all_edges(self, state: State) -> State:
        """The state with the edges that the hyperparameters are of: with those of contexts beside the shared ones."""
        return dict(state) if self.own_edges is None else self.own_edges.stacked(state, self.hyper)

    def _put_back(self, moved: State, state: State) -> None:
        """What moved of `_all_edges`, but not W, into the state."""
        if self.own_edges is None:
            state.update((name, value) for name, value in moved.items() if name != "W")
        else:
            self.own_edges.put_back(moved, state)

    def _update_edges(self, state: State) -> None:
        prior = self.edge_prior_state(state)
        for group in self.groups:
            if self.own_edges is not None:
                self.own_edges.sweep(group, prior, state, self.probability, self.sse, self.generator)
                continue
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
        moved = self._all_edges(state)
        moved["W"] = self._in_unit(state, moved["W"])
        self.hyper.update_scales(moved, location(self.hyper.prior, state))
        self._put_back(moved, state)

    def _update_inclusion(self, state: State) -> None:
        moved = self._all_edges(state)
        self.hyper.update_inclusion(moved)
        self._put_back(moved, state)

    def _update_collapsed(self, state: State) -> None:
        """Intercept and scales with every inclusion variable summed out, then the inclusion variables given them; of
        contexts, the rate of own edges with these summed out."""
        if self.own_edges is not None:
            self.own_edges.update_rate(state, self.edge_prior_state(state), self.hyper)
        moved = self._all_edges(state)
        update_collapsed(self.hyper, self.mixture(state), moved)
        self._put_back(moved, state)

    def mixture(self, state: State) -> MixtureDensity:
        """The weights with every inclusion variable summed out."""
        own = self.own_edges
        wide = (lambda value: value) if own is None else own.wide
        return MixtureDensity(
            self._in_unit(state, self._all_edges(state)["W"]),
            wide(self._logit_terms(state)),
            wide(slab_scale(self.prior, state) / state["slab_scale"][:, None, None]),
            location(self.hyper.prior, state),
            self.allowed if own is None else own.mask(state),
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
        prior = (FREE_SHAPE, FREE_RATE) if in_noise else (NOISE_SHAPE, NOISE_RATE)
        shape = (prior[0] + 0.5 * self._by_chain(self.regressions.dof)).expand_as(self.sse)
        rate = prior[1] + 0.5 * self.sse.clamp_min(0)
        if in_noise:
            self._update_unit(state, shape, rate)
            return
        state["noise_variance"] = rate / standard_gamma(shape, self.generator, axis=1)

    def _update_unit(self, state: State, shape: Tensor, rate: Tensor) -> None:
        """The noise where the weights are in units of it: an inverse gamma again, but for a factor exp(B/σ) where slabs
        have means, which a Metropolis step takes in. Of several contexts each proposes what its cells say, and the
        weights, in units of the noise of all, decide."""
        moved, own = self._all_edges(state), self.own_edges
        wide = (lambda value: value) if own is None else own.wide
        mask = self.allowed if own is None else own.mask(state)
        slab, gate = wide(slab_scale(self.prior, state)), moved["inclusion"]
        spike = (state["slab_scale"] * state["spike_ratio"])[:, None, None]
        scale = torch.where(gate > 0, slab, spike)
        of_targets = lambda value: value if own is None else value.unflatten(-1, (own.copies, -1)).sum(-2)
        square = of_targets(((moved["W"] / scale).square() * mask).sum(1))
        count = of_targets(mask.sum(-2))
        mean = location(self.hyper.prior, state)
        pulled = None if mean is None else of_targets((gate * moved["W"] * mean / slab).sum(1))
        old, sums = state["noise_variance"], (count, square, pulled)
        if self.regressions.has_contexts:
            share = self._by_chain(self.regressions.share)
            state["noise_variance"] = update_shared_unit(old, shape, rate, share, sums, self.generator)
        else:
            state["noise_variance"] = update_unit(old, shape, rate, sums, self.generator)

    def _stretch(self, state: State) -> None:
        """Interweaving for the widths of spike and slab and for the spread of contexts."""
        several = self.regressions.has_contexts
        own = self.own_edges
        if several:
            apart = state["W_context"] - (state["W"] if own is None else centre_of(state))
            square = (apart.square() * self.allowed).sum((0, 2, 3))
            self.hyper.update_context_scale(state, square, self.allowed.sum((-2, -1)) * len(apart))
        if self.prior.spike_ratio.is_fixed and self.prior.slab_scale.is_fixed and not several:
            return
        residual = self._score(state["W_context"])
        inverse = 1.0 / state["noise_variance"][..., None, :]

        def act(name: str, direction: Tensor) -> Tensor:  # (chain, 1, 1) by how much of it the weights change
            product = self._product(direction)
            linear = (direction * residual * inverse).sum((0, 2, 3))
            quadratic = (direction * product * inverse).sum((0, 2, 3))
            factor = self.hyper.stretch(state, name, linear, quadratic)
            step = (factor - 1)[:, None, None]
            self.sse += (step * direction * (step * product - 2 * residual)).sum(-2)
            residual.sub_(step * product)
            return step

        for name in ("spike_ratio", "slab_scale"):
            if getattr(self.prior, name).is_fixed:
                continue
            # a spike that is a fixed share of the slab goes with it
            whole = name == "slab_scale" and self.prior.spike_ratio.is_fixed
            shared, each = stretched(state, name, whole)
            step = act(name, each)
            state["W_context"] = state["W_context"] + step * each
            state["W"] = state["W"] + step * shared
            if own is not None:
                state["own_weight"] = state["own_weight"] + step * each * state["own"]
        if several:
            apart = state["W_context"] - (state["W"] if own is None else centre_of(state))
            state["W_context"] = state["W_context"] + act("context_scale", apart) * apart

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

    holds_gains = True
    """Whether gains that are sites are none of its moves."""

    def __init__(self, model: RegressionNetwork, *, num_chains: int = 4, seed: int = 0) -> None:
        prior = self.spike_slab(model.edge_prior.family)
        if prior.edge_logit.family not in (None, dist.Normal):
            raise ValueError(
                "the Gibbs sampler needs a Normal hyperprior of `edge_probability` (on the logit), this has "
                f"{prior.edge_logit.family.__name__}: use Hyper(dist.Normal, loc, scale) or a number"
            )
        if self.holds_gains and "headroom" in model.dims:
            raise ValueError(
                "this Gibbs sampler holds the gains: use gain='fixed', or the guides MeanField, Blocked, NUTS"
            )
        generator = torch.Generator(device=model.constant.device).manual_seed(seed)
        allowed, own = model.edge_prior.allowed, None
        if model.has_own_edges:
            count = len(model.contexts)
            own = OwnEdges(prior, allowed.to(model.residual.dtype), count, model.difference_rate)
            prior = stacked_prior(prior, own.copies)
            allowed = prior.allowed
        hyper = HyperUpdates(prior, allowed, generator, model.context_scale)
        super().__init__(Regressions.of([model]), hyper, num_chains=num_chains, own_edges=own)
        self.model = model

    def spike_slab(self, prior: EdgePrior) -> SpikeSlab:
        """The prior that the moves are written for."""
        if not prior.independent_gates:
            raise ValueError(
                f"the Gibbs sampler is exact for SpikeSlab, this model has {type(prior).__name__}: use "
                "SpikeSlab (alone or in HardMask), or the guides Blocked, MeanField, or NUTS"
            )
        return cast(SpikeSlab, prior)

r"""The exact posterior of the sparse spike-and-slab network: Gibbs sampling with the background integrated out."""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...models import RegressionNetwork
from ...priors import Hyper, SpikeSlab
from ..gibbs.hyper import State
from ..gibbs.streams import normal, uniform
from .background import Background, BackgroundLikelihood, Spectrum
from .classes import ClassSums, SparseUpdates
from .cuts import Cuts
from .lattice import WIDEST, lattice_draws
from .partners import partners_of
from .push import Push
from .settling import MOST
from .start import FIRST_LOGIT, SHARE, ridge_of
from .swept import EdgePriors, SweptTargets, TargetStatistics
from .tables import Sums, factors_kept
from .window import FEW_TFS, Window

ROUNDS = 3  # of a new h after each block (`lattice`)
FINDING = 4  # first blocks of the warm-up, in which the background is looked for far and wide
NEAR = 0.03  # widest spacing of the lattices after these, of more than `FEW_TFS`: where the likelihood is at hand
PUSHED = 0.5  # share of the warm-up in which hyperparameters are pushed on (`push`)
PART = 512  # targets whose products of matrices are taken together, and that may be on a machine of their own
LEAST_BACKGROUND = 1e-12  # h below which it is nothing in float32
SLIT = 1.0  # log s² is pushed no nearer than this to log h: as narrow as the background, all edges can be there


def background_of(state: State) -> Tensor:
    """``(chain,)`` float64 h = ρ² s²."""
    return (state["spike_ratio"] * state["slab_scale"]).square().clamp_min(LEAST_BACKGROUND)


class SparseKernel(SweptTargets):
    r"""Gibbs sampler of a `LinearNetwork` with a `SpikeSlab` prior in units of the noise, by compiled sweeps.

    The weight of an edge is :math:`W = w + u`: w is zero where the edge is absent and :math:`N(\sigma s m, \sigma^2
    \tau^2)` where it is present, :math:`\tau^2 = s^2 (1 - \rho^2)`; the background :math:`u \sim N(0, \sigma^2 h)`,
    :math:`h = \rho^2 s^2`, is the spike that present edges have too. That is the prior of `SpikeSlab`, and with u
    integrated out w is exactly sparse: a sweep touches the residual of a target only where an edge comes, goes or
    changes.

    A block is ``sweeps`` sweeps of (γ, w) and σ² of every target (`sweep.sweep_targets`), of those that ``effort`` says
    so many times more, then the hyperparameters from
    sums over the present edges; h, from the likelihood with u integrated out (`background`). Results depend on the
    seed alone, not on the number of threads, nor on where targets are swept.

    Parameters
    ----------
    model
        The network; its numbers are read on the CPU.
    num_chains, seed, sweeps
        As of `SparseGibbs`.
    threads
        That work at once. Default as many as torch may use.
    """

    def __init__(
        self, model: RegressionNetwork, *, num_chains: int, seed: int, sweeps: int, threads: int | None = None
    ) -> None:
        self.model = model
        prior: Any = model.edge_prior.family
        self.prior: SpikeSlab = prior if model.constant.device.type == "cpu" else copy.deepcopy(prior).cpu()
        self.generator = torch.Generator().manual_seed(seed)
        self.hyper = SparseUpdates(self.prior, model.edge_prior.allowed.cpu(), self.generator, model.context_scale)
        threads = torch.get_num_threads() if threads is None else threads
        super().__init__(self._statistics(num_chains), num_chains=num_chains, seed=seed, sweeps=sweeps, threads=threads)
        self.count, self.push = 0, Push(0)
        self.few = len(model.tfs) <= FEW_TFS
        self.state: State = {}

    def _statistics(self, num_chains: int) -> TargetStatistics:
        host = lambda value: value.detach().cpu().numpy()
        model, place = self.model, {name: i for i, name in enumerate(self.model.tfs)}
        own = np.array([place.get(name, -1) for name in model.targets], dtype=np.int64)
        special, rows = host(model.own), model.clamped_rows
        few, number = np.unique(host(rows.target), return_counts=True)
        shared = np.setdiff1d(np.arange(len(model.targets)), [*special, *few])
        gram, anchor, residual, sse = (host(v)[0] for v in (model.gram, model.anchor, model.residual, model.sse))

        def of(
            matrix: np.ndarray, at: np.ndarray, spectrum: Spectrum | None = None, cuts: Cuts | None = None
        ) -> Background:
            columns = slice(None) if len(at) == anchor.shape[1] else at  # all of them are not copied
            given = (anchor[:, columns], residual[:, columns], sse[columns], at, own[at], spectrum, cuts)
            return Background.of(matrix, *given)

        whole, share = (gram, 1.0) if model.counted is None else (host(model.counted[0])[0], model.counted[1])
        spectrum = Spectrum.of(whole, share) if len(shared) + len(few) else None
        groups = of(gram, shared, spectrum).parts(PART) if len(shared) else []
        if len(few):
            start = np.concatenate([[0], number.cumsum()]).astype(np.int64)
            cuts = Cuts(start, host(rows.vector), factors_kept(number, num_chains))
            groups += of(gram, few, spectrum, cuts).parts(PART)
        groups += [of(host(model.own_gram)[0, i], special[i : i + 1]) for i in range(len(special))]
        dof = model.dof[0].cpu().numpy().astype(np.float64)
        partners = partners_of(gram.astype(np.float64))
        classes = self.hyper.sparse
        parts, numbers = list(range(len(groups))), np.arange(len(own))
        return TargetStatistics(groups, parts, partners, classes.member, len(classes.tf), own, dof, numbers)

    # -- the start ----
    def start(self, num_warmup: int) -> None:
        """Chains start apart: at draws of the ridge solution with all edges present (`start`), hyperparameters drawn
        around what it says of their sizes."""
        self.num_warmup, self.count = num_warmup, 0
        self.effort[:] = 1
        self.hyper.adapting = num_warmup > 0
        chains, like = self.num_chains, torch.zeros(1)
        gaussian = lambda *shape: normal(shape, self.generator, like)
        flat = lambda *shape: uniform(shape, self.generator, like)
        prior, first = self.prior, self._first_value
        ridge = ridge_of(self.groups, self.dof)
        # the variance of an average edge is that of ridge
        slab = math.sqrt((1 - SHARE) * ridge.h * (1 + math.exp(-FIRST_LOGIT)))
        self.push = Push(round(PUSHED * num_warmup))
        self.state = {
            "edge_logit": first(prior.edge_logit, FIRST_LOGIT + 0.5 * gaussian(chains)),
            "slab_scale": first(prior.slab_scale, slab * (0.3 * gaussian(chains)).exp()).double(),
        }
        ratio = math.sqrt(SHARE * ridge.h) / self.state["slab_scale"] * (0.5 * gaussian(chains)).exp()
        self.state["spike_ratio"] = first(prior.spike_ratio, ratio.clamp(max=0.9).float()).double()
        if prior.has_hubs:
            self.state["hub"] = 0.1 * gaussian(chains, len(self.model.tfs), 1)
            self.state["hub_scale"] = first(prior.hub_scale, 0.5 * (0.3 * gaussian(chains)).exp())
        if "trust" in prior.dims:
            self.state["trust"] = flat(chains, len(prior.sources))
        if "sign_trust" in prior.dims:
            self.state["sign_trust"] = 0.5 * flat(chains, len(prior.signed_sources))
        self.begin(ridge, (0.5 * gaussian(chains)).exp().tolist(), background_of(self.state))

    def _first_value(self, hyper: Hyper, value: Tensor) -> Tensor:
        if hyper.is_fixed:
            return hyper.constants[0].float().expand(self.num_chains).clone()
        density = hyper.distribution()
        return torch.where(density.support.check(value), value, density.mean.float())

    # -- a block ----
    def step(self, streams: Sequence[Sums] | None = None) -> None:
        """``sweeps`` sweeps, then the hyperparameters; with ``streams``, one a chain, the last sweep is recorded."""
        if self.count == self.num_warmup:
            self.hyper.adapting = False
        self.sweep(self._priors(), self.count * self.sweeps * MOST, streams)
        self._update_hyper(self._sums())
        self.count += 1

    def _priors(self) -> list[EdgePriors]:
        """Of the edges, by chain."""
        found = []
        logits, locs = self.hyper.log_odds(self.state), self.hyper.location(self.state)
        for chain, h in enumerate(self.background.tolist()):
            slab = float(self.state["slab_scale"][chain])
            width, mean = slab**2 - h, slab * locs[chain].numpy()
            found.append(EdgePriors(logits[chain].numpy() - 0.5 * mean**2 / width, mean / width, width))
        return found

    def _sums(self) -> ClassSums:
        tables: dict[int, np.ndarray] = {}

        def work(group: int) -> None:
            tables[group] = self.class_tables(group)

        self._share_out(work, [(i,) for i in range(len(self.groups))])
        total = torch.zeros(3, self.num_chains, self.num_classes, dtype=torch.float64)  # begins on a cache line
        for group in range(len(self.groups)):  # in this order wherever they are summed up
            total += torch.from_numpy(tables[group])
        return ClassSums(*total)

    @property
    def finding(self) -> bool:
        """Whether the background is not yet known."""
        return self.count < min(FINDING, self.num_warmup)

    @property
    def pushing(self) -> bool:
        """Whether hyperparameters are pushed on; a budget may have cut the warm-up short."""
        return self.count < min(self.push.blocks, self.num_warmup)

    def _update_hyper(self, sums: ClassSums) -> None:
        self.hyper.update_given(self.state, sums.number.float())
        self.hyper.update_slab(self.state, sums, self.background)
        self._draw_background(sums)
        if self.pushing:
            self._push_on()
        h = background_of(self.state)
        self.refresh(h, self._window_for(h.numpy()))
        self.hyper.update_sign_trust(self.state, sums, self.background)

    def _push_on(self) -> None:
        """What is free, on the scale on which it is drawn, as far as its prior allows."""
        prior, state = self.prior, self.state
        if not prior.edge_logit.is_fixed:
            state["edge_logit"] = self.push("edge_logit", state["edge_logit"])
        log_slab, log_h = state["slab_scale"].log(), background_of(state).log()
        if not prior.slab_scale.is_fixed:
            log_slab = self.push("slab_scale", log_slab)
        if not prior.spike_ratio.is_fixed:
            log_h = self.push("background", log_h)
            if prior.slab_scale.is_fixed:
                log_h = torch.minimum(log_h, 2 * log_slab - SLIT)
            else:
                log_slab = torch.maximum(log_slab, 0.5 * (log_h + SLIT))
            self._place("spike_ratio", (0.5 * log_h - log_slab).exp())
        self._place("slab_scale", log_slab.exp())
        self.push.placed("slab_scale", state["slab_scale"].log())
        self.push.placed("background", background_of(state).log())

    def _place(self, name: str, value: Tensor) -> None:
        inside = torch.isfinite(self.hyper.log_hyperprior(name, value))
        self.state[name] = torch.where(inside, value, self.state[name])

    def _draw_background(self, sums: ClassSums) -> None:
        """h given the weights: ρ with s as it is; s, where ρ is fixed. Residuals are to be made anew, also so that
        rounding does not add up."""
        prior = self.prior
        name = "slab_scale" if prior.spike_ratio.is_fixed else "spike_ratio"
        if not getattr(prior, name).is_fixed:
            likelihoods = self._likelihoods_around(background_of(self.state).tolist())

            known, prior_of = self.hyper.slab_sums(self.state, sums), self.hyper.log_prior[name]
            slab, ratio = (self.state[key].numpy()[:, None] for key in ("slab_scale", "spike_ratio"))

            def density(logarithm: np.ndarray) -> np.ndarray:
                value = np.exp(logarithm)  # (chain, point)
                s, rho = (value, ratio) if name == "slab_scale" else (slab, value)
                h = np.where(rho < 1, np.maximum((rho * s) ** 2, LEAST_BACKGROUND), LEAST_BACKGROUND)
                with np.errstate(divide="ignore", invalid="ignore"):  # of ρ above one
                    found = self._sum_at(likelihoods, h) + self.hyper.slab_density(known, s, h) + prior_of(value)
                return np.where(rho < 1, found, -math.inf)

            widest = WIDEST if self.few or self.finding else NEAR
            drawn = lattice_draws(self.state[name].log().numpy(), density, self.generator, ROUNDS, widest)
            self.state[name] = torch.from_numpy(np.exp(drawn))

    def _likelihoods_around(self, h: Sequence[float]) -> list[list[Callable[[np.ndarray], np.ndarray]]]:
        """Of h, by chain and Gram matrix."""
        parts = self.likelihoods()
        found: list[list[Callable[[np.ndarray], np.ndarray]]] = [[] for _ in parts]

        def work(chain: int) -> None:
            found[chain] = [one.around(h[chain]) for one in BackgroundLikelihood.joined(parts[chain])]

        self._share_out(work, [(chain,) for chain in range(self.num_chains)])
        return found

    def _sum_at(self, likelihoods: Sequence[Sequence[Callable[[np.ndarray], np.ndarray]]], h: np.ndarray) -> np.ndarray:
        """``(chain, point)`` log likelihood at ``h`` (chain, point)."""
        found = np.zeros(h.shape)

        def work(chain: int) -> None:
            for one in likelihoods[chain]:
                found[chain] += one(h[chain])

        tasks = [(chain,) for chain in range(self.num_chains)]
        if self.finding:  # points are far apart
            self._share_out(work, tasks)
        else:
            for task in tasks:
                work(*task)
        return found

    def _window_for(self, h: np.ndarray) -> Window | None:
        """A range of h that holds those of all chains, the same as long as it does, and a rough one as long as chains
        are pushed on; none in the first blocks, and where the products that it saves cost less than a sweep."""
        if self.few or self.finding:
            return None
        if self.window is not None and self.window.rough == self.pushing and self.window.covers(h):
            return self.window
        return Window.around(h, max(float(group.values[-1]) for group in self.groups), rough=self.pushing)

    # -- what is read of it ----
    def sites(self, *, network: bool) -> dict[str, Tensor]:
        """The state as sites of the model, ``(chain, *dims)``; with ``network`` those of the size of it too, for which
        the background is drawn."""
        found = {name: value for name, value in self.state.items() if name in self.model.dims}
        found["noise_variance"] = torch.from_numpy(self.noise)
        if network:
            gates = torch.from_numpy(self.weight != 0)
            found["inclusion"] = gates.transpose(1, 2)
            found["W"] = torch.from_numpy(self.whole(self.count)).transpose(1, 2)
        return found

    def edges_at(self, place: np.ndarray) -> np.ndarray:
        """``(chain, edge)`` float32: W = w + u of the edges at ``place`` (edge,), target · tfs + tf, each with its own
        background drawn by itself."""
        mean, sd = self.weights_at(place)
        # of its own: what is kept does not change the chains
        found = np.empty(mean.shape, np.float32)

        def work(chain: int) -> None:
            rng = np.random.default_rng(np.random.SeedSequence([self.seed, self.count, 1, chain]))
            found[chain] = mean[chain] + sd[chain] * rng.standard_normal(len(place))

        self._share_out(work, [(chain,) for chain in range(self.num_chains)])
        return found

    @property
    def fit_of_targets(self) -> np.ndarray:
        """``(chain, target)`` log p(X | w, σ², h) of each target up to its determinant, which is that of all."""
        return -0.5 * (self.dof * np.log(2 * math.pi * self.noise) + self.sse / self.noise)

    def log_likelihood(self) -> np.ndarray:
        """``(chain,)`` log p(X | w, σ², h), the background integrated out."""
        found = self.fit_of_targets.sum(1)
        for chain, h in enumerate(self.background.tolist()):
            found[chain] += sum(group.log_determinant(h) for group in self.groups)
        return found

    @property
    def mean_inclusion(self) -> float:
        """Share of the edges that are present."""
        return float(self.num_edges.sum() / self.num_chains / self.hyper.num_edges)

    def hand_over(self, streams: Sequence[Sums]) -> None:
        """``streams`` hold what was recorded; here they do already."""

    def take_over(self, streams: Sequence[Sums]) -> None:
        """What was recorded before the state that was restored is in ``streams``."""

    # -- checkpoints ----
    def snapshot(self) -> dict[str, Any]:
        """All that the next block depends on, to be written at once: large arrays are those of this object, which go
        on to change."""
        arrays = {name: torch.from_numpy(getattr(self, name)) for name in ("residual", "sse", "noise")}
        place = np.flatnonzero(self.weight)
        return {
            **arrays,
            "place": torch.from_numpy(place),
            "weight": torch.from_numpy(self.weight.ravel()[place]),
            "background": self.background.clone(),
            "window": None if self.window is None else self.window.snapshot(),
            "state": {name: value.clone() for name, value in self.state.items()},
            "count": self.count,
            "num_warmup": self.num_warmup,
            "effort": torch.from_numpy(self.effort.copy()),
            "push": self.push.snapshot(),
            "steps": dict(self.hyper.log_step),
            "generator": self.generator.get_state(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Continue from `snapshot`, after `start`."""
        for name in ("residual", "sse", "noise"):
            getattr(self, name)[:] = snapshot[name].numpy()
        self.weight[:] = 0
        self.weight.ravel()[snapshot["place"].numpy()] = snapshot["weight"].numpy()
        self.count_edges()
        self.state, self.count = dict(snapshot["state"]), snapshot["count"]
        self.push = Push.restored(snapshot["push"])
        self.hyper.log_step = dict(snapshot["steps"])
        self.num_warmup, self.effort[:] = snapshot["num_warmup"], snapshot["effort"].numpy()
        self.hyper.adapting = self.count < self.num_warmup
        self.generator.set_state(snapshot["generator"])
        self.background = snapshot["background"]
        self.set_window(None if snapshot["window"] is None else Window(**snapshot["window"]))
        self.set_grams()

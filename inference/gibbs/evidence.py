r"""The Gibbs sampler of networks whose edges are observed too: the evidence enters the odds of every edge."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ...models import Symphony
from .collapsed import MixtureDensity, update_collapsed
from .hyper import State, slab_scale
from .kernel import GibbsKernel

# log-odds beyond which the differences of softplus are those of their arguments, and float32 would lose them
SURE = 1e3
POSITIVE = ("score_shift", "score_sd", "list_shift")  # moved in their logarithm; the correlation in its log-odds


@dataclass(eq=False)
class EvidenceMoments:
    r"""Sufficient statistics of the evidence given the inclusion variables.

    With :math:`f = (m_1, \ldots, m_L, m_1 Y_1, \ldots, m_L Y_L)` of an edge (m: measured), every density of
    `score_log_prob` is a function of :math:`\sum f f^\top` over the edges with the same existence and number of
    profiles; that of a list, of counts.

    ``outer`` (edge, 4 L²) of the edges with any score, ``group`` (edge,) their number of profiles less one; ``total``
    (group, 2 L, 2 L); ``place`` (edge,) flat; ``listed`` and ``covered`` (list, tf · target).
    """

    outer: Tensor
    group: Tensor
    total: Tensor
    place: Tensor
    listed: Tensor
    covered: Tensor

    @classmethod
    def of(cls, model: Symphony, allowed: Tensor) -> "EvidenceMoments":
        measured = (model.measured & allowed).flatten(1).T.double()  # (edge, profile)
        feature = torch.cat([measured, measured * model.score.flatten(1).T.double()], dim=1)
        number = measured.sum(1).long()
        place = torch.nonzero(number).flatten()
        feature, group = feature[place], number[place] - 1
        outer = (feature[:, :, None] * feature[:, None, :]).flatten(1)
        total = outer.new_zeros(max(len(model.profiles), 1), outer.shape[1]).index_add_(0, group, outer)
        covered = (model.covered & allowed).flatten(1).double()
        listed = (model.listed & model.covered & allowed).flatten(1).double()
        return cls(outer, group, total, place, listed, covered)

    def scores(self, inclusion: Tensor) -> Tensor:
        """``(chain, existence, group, 2 L, 2 L)`` moments of the edges that are absent and present."""
        size = round(math.sqrt(self.outer.shape[1]))
        gate = inclusion.flatten(1)[:, self.place].double()  # (chain, edge)
        present = torch.stack(
            [gate[:, self.group == n] @ self.outer[self.group == n] for n in range(len(self.total))], dim=1
        )
        return torch.stack([self.total - present, present], dim=1).unflatten(-1, (size, size))

    def lists(self, inclusion: Tensor) -> Tensor:
        """``(chain, existence, 2, list)`` numbers of edges that are covered, and listed."""
        gate = inclusion.flatten(1).double()
        present = torch.stack([gate @ self.covered.T, gate @ self.listed.T], dim=1)
        return torch.stack([torch.stack([self.covered.sum(1), self.listed.sum(1)]) - present, present], dim=1)


def scores_given(moments: Tensor, values: State) -> Tensor:
    """``(chain,)`` log density of the scores, up to a constant, from `EvidenceMoments.scores`."""
    absent, shift, sd = (values[n].double() for n in ("absent_score", "score_shift", "score_sd"))  # (chain, profile)
    profiles = absent.shape[1]
    mean = torch.stack([absent, absent + shift], dim=1)  # (chain, existence, profile)
    # z = f C: the standardised residuals of an edge
    C = torch.cat([torch.diag_embed(-mean / sd[:, None]), torch.diag_embed((1 / sd)[:, None].expand_as(mean))], dim=2)
    squares = torch.einsum("ceai,cegab,cebj->cgij", C, moments, C)  # (chain, group, profile, profile)
    square, total = squares.diagonal(dim1=-2, dim2=-1).sum(-1), squares.sum((-1, -2))
    counts = moments.diagonal(dim1=-2, dim2=-1)[..., :profiles].sum(1)  # (chain, group, profile)
    log_scale = (counts.sum(1) * sd.log()).sum(1)
    if "score_correlation" not in values:
        return -log_scale - 0.5 * square.sum(1)
    r = values["score_correlation"].double()[:, None]
    number = torch.arange(1, profiles + 1, dtype=r.dtype, device=r.device)
    edges = counts.sum(-1) / number  # (chain, group)
    whole = 1 - r + number * r
    quadratic = (square - r * total / whole) / (1 - r)
    log_det = edges * ((number - 1) * (1 - r).log() + whole.log())
    return -log_scale - 0.5 * (quadratic + log_det).sum(1)


def lists_given(counts: Tensor, values: State) -> Tensor:
    """``(chain,)`` log probability of the lists, from `EvidenceMoments.lists`."""
    logit, shift = values["list_logit"].double(), values["list_shift"].double()
    odds = torch.stack([logit, logit + shift], dim=1)  # (chain, existence, list)
    return (counts[:, :, 1] * odds - counts[:, :, 0] * softplus(odds)).sum((1, 2))


@dataclass(eq=False)
class ObservedMixture(MixtureDensity):
    """The weights and the evidence together: ``evidence`` ``(chain, tf, target)`` is what it adds to the log-odds."""

    evidence: Tensor

    def __call__(self, edge_logit: Tensor, slab: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
        terms, odds = super().__call__(edge_logit, slab, ratio)
        sure = odds.clamp(max=SURE)
        return terms - softplus(sure) + softplus(sure + self.evidence), odds + self.evidence


class EvidenceKernel(GibbsKernel):
    r"""`GibbsKernel` of a `Symphony`: the evidence adds its log-likelihood ratio to the odds of each edge, and its
    parameters move given the inclusion variables by adaptive Metropolis steps on moments (`EvidenceMoments`), and with
    the inclusion variables summed out every few sweeps.

    With L profiles, the moments keep 4 L² doubles for each edge that has a score, and a sweep takes one product over
    them; the steps on moments then cost the same for any number of edges. Those with the inclusion variables summed out
    visit every edge.
    """

    model: Symphony

    def __init__(self, model: Symphony, *, num_chains: int = 4, seed: int = 0) -> None:
        super().__init__(model, num_chains=num_chains, seed=seed)
        self.names = [n for n in model.dims if n in (*POSITIVE, "absent_score", "score_correlation", "list_logit")]
        # made once: building a distribution costs more than evaluating it for a few chains
        self.hyperprior = {n: getattr(model, n).distribution(False) for n in self.names}
        self.moments = EvidenceMoments.of(model, self.allowed > 0)

    @property  # type: ignore[misc]  # as in the base
    def initial_params(self) -> State:
        state = super().initial_params
        like = self.probability
        for name in self.names:
            dims = self.model.dims[name]
            shape = (self.num_chains, *(len(self.model.coords[d]) for d in dims))
            noise = torch.randn(shape, generator=self.generator, device=like.device, dtype=like.dtype)
            centre = {"absent_score": -0.2, "score_shift": 1.0, "score_sd": 0.9, "list_logit": -2.0}.get(name, 0.5)
            additive = name in ("absent_score", "list_logit")
            state[name] = centre + 0.1 * noise if additive else centre * (0.1 * noise).exp()
        if "score_correlation" in self.names:
            state["score_correlation"] = state["score_correlation"].clamp(0.05, 0.95)
        return state

    def sample(self, params: State) -> State:
        """One sweep: the next state."""
        state = super().sample(params)
        if self.names:
            self._update_evidence(state)
        return state

    def evidence_odds(self, state: State) -> Tensor:
        """``(chain, tf, target)``."""
        return self.model.evidence_odds({name: state[name].unflatten(0, (-1, 1, 1)) for name in self.names})

    def _logit_terms(self, state: State) -> Tensor:
        terms = super()._logit_terms(state)
        return terms + self.evidence_odds(state) if self.names else terms

    def _update_collapsed(self, state: State) -> None:
        if not self.names:
            super()._update_collapsed(state)
            return
        parts = (
            state["W"],
            super()._logit_terms(state),
            slab_scale(self.prior, state) / state["slab_scale"][:, None, None],
            self._location(state),
            self.allowed,
        )
        self._move_collapsed(state, MixtureDensity(*parts))
        update_collapsed(self.hyper, ObservedMixture(*parts, self.evidence_odds(state)), state)

    # -- parameters of the evidence ----
    def _update_evidence(self, state: State) -> None:
        """Every parameter in turn, given the inclusion variables; in place."""
        if self.model.profiles:
            scores = self.moments.scores(state["inclusion"])
            of_scores = [n for n in self.names if not n.startswith("list")]
            self._walk(state, of_scores, lambda values: scores_given(scores, values), "given")
        if self.model.lists:
            counts = self.moments.lists(state["inclusion"])
            self._walk(state, ["list_logit", "list_shift"], lambda values: lists_given(counts, values), "given")

    def _move_collapsed(self, state: State, weights: MixtureDensity) -> None:
        """Every parameter in turn, the inclusion variables summed out; `update_collapsed` draws those afterwards."""
        allowed = self.allowed
        _, odds = weights(state["edge_logit"], state["slab_scale"], state["spike_ratio"])
        odds = odds.clamp(max=SURE)

        def density(values: State) -> Tensor:
            shaped = {name: values[name].unflatten(0, (-1, 1, 1)) for name in self.names}
            absent = self.model.evidence_log_prob(torch.zeros_like(odds), shaped)
            present = self.model.evidence_log_prob(torch.ones_like(odds), shaped)
            total = absent - softplus(odds) + softplus(odds + present - absent)
            return (total * allowed).double().sum((1, 2))

        self._walk(state, self.names, density, "collapsed")

    def _walk(self, state: State, names: Sequence[str], density: Callable[[State], Tensor], kind: str) -> None:
        """A random-walk step of each parameter, all its profiles at once: positive ones in their logarithm, the
        correlation in its log-odds."""
        current = density(state)
        for name in names:
            hyper, old = self.hyperprior[name], state[name]
            label = f"{name} {kind}"
            step = self.hyper.step(label, state["edge_logit"])  # (chain,)
            noise = self.hyper.normal(old) * (step if old.dim() == 1 else step[:, None])
            if name == "score_correlation":
                new = torch.sigmoid(torch.logit(old) + noise).clamp(1e-6, 1 - 1e-6)
                jacobian = (new * (1 - new)).log() - (old * (1 - old)).log()
            elif name in POSITIVE:
                new, jacobian = old * noise.exp(), noise
            else:
                new, jacobian = old + noise, torch.zeros_like(noise)
            found = density({**state, name: new})
            prior = hyper.log_prob(new) - hyper.log_prob(old) + jacobian
            prior = prior if prior.dim() == 1 else prior.sum(1)
            accepted = self.hyper.accept(label, (found - current).to(prior) + prior, 0.44 if old.dim() == 1 else 0.3)
            current = torch.where(accepted, found, current)
            state[name] = torch.where(accepted if old.dim() == 1 else accepted[:, None], new, old)

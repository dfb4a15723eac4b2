"""The inclusion variables and weights of two edges on the same target, in closed form; all in float64."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .sweep import EdgePriorState

GATES = ((0, 0), (1, 0), (0, 1), (1, 1))


class PairPrecision(NamedTuple):
    """Symmetric 2 × 2 matrices, each part ``(*batch, target)``: the diagonal ``first``, ``second``, and ``both``."""

    first: Tensor
    second: Tensor
    both: Tensor

    def determinant(self) -> Tensor:
        """Not below zero."""
        return (self.first * self.second - self.both**2).clamp_min(0)

    def plus(self, first: Tensor, second: Tensor) -> "PairPrecision":
        """More on the diagonal."""
        return PairPrecision(self.first + first, self.second + second, self.both)

    def marginal(self, score: Tensor, variance: Tensor) -> tuple["PairPrecision", Tensor]:
        """Precision P and score s ``(*batch, 2, target)`` of w as those of W, where w ~ N(W, ω²), ω² ``variance``:
        (1 + ω² P)⁻¹ P and (1 + ω² P)⁻¹ s."""
        det = self.determinant()
        whole = 1 + variance * (self.first + self.second) + variance**2 * det
        seen = PairPrecision(
            (self.first + variance * det) / whole, (self.second + variance * det) / whole, self.both / whole
        )
        one, other = score[..., 0, :], score[..., 1, :]
        pull = (
            (1 + variance * self.second) * one - variance * self.both * other,
            (1 + variance * self.first) * other - variance * self.both * one,
        )
        return seen, torch.stack(pull, dim=-2) / whole[..., None, :]

    def draw(self, score: Tensor, noise: Tensor) -> Tensor:
        """``(*batch, 2, target)`` N(P⁻¹ s, P⁻¹) from standard normal ``noise``."""
        one, other = score[..., 0, :], score[..., 1, :]
        det = self.first * self.second - self.both**2
        a = (self.second * one - self.both * other) / det + (self.second / det).sqrt() * noise[..., 0, :]
        b = (other - self.both * a) / self.second + noise[..., 1, :] / self.second.sqrt()
        return torch.stack([a, b], dim=-2)


class PairPrior(NamedTuple):
    """The prior of the two edges, each ``(chain, 2, target)``, as `EdgePriorState`."""

    logit: Tensor
    slab: Tensor
    spike: Tensor
    loc: Tensor
    allowed: Tensor

    @classmethod
    def of(cls, prior: EdgePriorState, pair: Tensor, chains: slice, like: Tensor) -> "PairPrior":
        """Of regulators ``pair`` (2,) in ``chains``, in the shape and type of ``like`` ``(chain, 2, target)``."""

        def take(value: Tensor) -> Tensor:
            value = value if value.dim() == 3 else value[None]
            value = value[chains] if len(value) > 1 else value
            return (value[:, pair] if value.shape[1] > 1 else value).to(like).expand_as(like)

        loc = torch.zeros_like(like) if prior.loc is None else take(prior.loc)
        return cls(take(prior.logit), take(prior.slab), take(prior.spike), loc, take(prior.allowed))

    @property
    def both(self) -> Tensor:
        """``(chain, target)`` where both edges may exist."""
        return self.allowed.amin(1) > 0

    def shifted(self, shift: Tensor) -> "PairPrior":
        """More log-odds of inclusion, ``(chain, 2, 1)``."""
        return self._replace(logit=self.logit + shift)

    def log_prob(self, gate: Tensor) -> Tensor:
        """``(chain, target)`` of inclusion variables ``(chain, 2, target)``; one that may not be is certain."""
        return ((gate * self.logit - softplus(self.logit)) * self.allowed).sum(1)


class PairPosterior(NamedTuple):
    """``weight`` (value, chain, target): log p(γ, data) of the four values of γ, both weights integrated out, up to
    what is the same for every prior."""

    weight: Tensor

    @classmethod
    def of(cls, seen: PairPrecision, pull: Tensor, prior: PairPrior) -> "PairPosterior":
        """``seen`` and ``pull`` ``(chain, 2, target)`` are what the data say of the weights."""
        gates = pull.new_tensor(GATES)[:, None, :, None]  # (value, chain, 2, target)
        precision = torch.where(gates > 0, 1 / prior.slab, 1 / prior.spike)
        score = pull + gates * prior.loc / prior.slab
        a, b = precision[:, :, 0], precision[:, :, 1]
        one, other = score[:, :, 0], score[:, :, 1]
        # part by part: of copies, the determinant of what is seen is zero, and the rest is small beside its terms
        det = seen.determinant() + seen.first * b + seen.second * a + a * b
        quadratic = ((seen.second + b) * one**2 - 2 * seen.both * one * other + (seen.first + a) * other**2) / det
        inclusion = (gates * (prior.logit - 0.5 * prior.loc**2 / prior.slab) - softplus(prior.logit)).sum(2)
        return cls(inclusion + 0.5 * (a.log() + b.log() - det.log() + quadratic))

    @property
    def evidence(self) -> Tensor:
        """``(chain, target)`` log p(data), the inclusion variables summed out too."""
        return self.weight.logsumexp(0)


def draw_pair(
    seen: PairPrecision, pull: Tensor, prior: PairPrior, u: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Inclusion variables, P(γ = 1) with both weights integrated out, and weights, each ``(chain, 2, target)``.

    ``seen`` and ``pull`` as in `PairPosterior`; ``u`` ``(chain, target)`` uniform, ``noise`` ``(chain, 2, target)``
    standard normal.
    """
    table = pull.new_tensor(GATES)  # (value, 2)
    share = torch.softmax(PairPosterior.of(seen, pull, prior).weight, dim=0)  # (value, chain, target)
    chosen = (u >= share.cumsum(0)[:-1]).sum(0)  # (chain, target)
    gate = table[chosen].movedim(-1, -2)
    probability = torch.einsum("vct,vg->cgt", share, table)
    kept = torch.where(gate > 0, 1 / prior.slab, 1 / prior.spike)
    W = seen.plus(kept[:, 0], kept[:, 1]).draw(pull + gate * prior.loc / prior.slab, noise)
    return gate, probability, W

"""`ObservedEdges`: scores of edges and lists of edges, given which edges exist."""

from collections.abc import Mapping
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ...priors.evidence import list_log_prob, score_log_prob
from ...priors.shapes import broadcast_shapes
from .observable import Observable


class ObservedEdges(Observable):
    r"""What profiles of scores and lists say of every edge, given its existence e (from 0 to 1).

    .. math:: Y_{ltg} = a_l + \Delta_l\,e_{tg} + s_l\,(\sqrt r\,u_{tg} + \sqrt{1-r}\,\epsilon_{ltg}), \qquad
              \operatorname{logit} P(\text{list } l \text{ names } t, g) = c_l + d_l\,e_{tg}

    A value has, for each edge, its score in every profile and then 0 or 1 for every list: event shape ``(profile +
    list,)``, batch shape ``(*draw, tf, target)``. What was not measured, edges that no list covers and those that may
    not exist do not count, and are drawn as zero.

    Parameters
    ----------
    existence
        ``(*draw, tf, target)`` e.
    measured, covered
        ``(profile, tf, target)`` and ``(list, tf, target)`` bool: what counts.
    allowed
        ``(tf, target)`` bool: edges that may exist.
    parameters
        ``absent_score`` a, ``score_shift`` Δ, ``score_sd`` s ``(profile,)``, ``score_correlation`` r (with several
        profiles), ``list_logit`` c, ``list_shift`` d ``(list,)``, or of draws ``(*draw, 1, 1, ·)``.
    """

    arg_constraints = {"existence": constraints.unit_interval}  # noqa: RUF012 as every distribution of torch

    def __init__(
        self,
        existence: Tensor,
        measured: Tensor,
        covered: Tensor,
        allowed: Tensor,
        parameters: Mapping[str, Tensor],
        validate_args: bool | None = None,
    ) -> None:
        self.existence, self.measured, self.covered = existence, measured, covered
        self.allowed, self.parameters = allowed, parameters
        leads = [parameters[n].shape[:-1] for n in ("absent_score", "list_logit") if n in parameters]
        batch = broadcast_shapes(existence.shape, *leads)
        size = len(measured) + len(covered)
        super().__init__(batch, torch.Size([size]), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=1)
    def support(self) -> constraints.Constraint:
        """Real scores, then 0 or 1."""
        lengths = [n for n in (len(self.measured), len(self.covered)) if n]
        kinds = [k for k, n in ((constraints.real, len(self.measured)), (constraints.boolean, len(self.covered))) if n]
        return constraints.independent(constraints.cat(kinds, dim=-1, lengths=lengths), 1)

    def expanded(self, batch_shape: torch.Size) -> TorchDistribution | None:
        """With the existence of each edge in place."""
        existence = self.existence.expand(batch_shape)
        return ObservedEdges(existence, self.measured, self.covered, self.allowed, self.parameters, validate_args=False)

    def density(self, value: Tensor) -> Tensor:
        """``(*draw, tf, target)``."""
        profiles, given = len(self.measured), self.parameters
        total = torch.zeros_like(self.existence)
        if profiles:
            total = total + score_log_prob(
                self.existence,
                value[..., :profiles].movedim(-1, 0),
                self.measured,
                absent=given["absent_score"],
                shift=given["score_shift"],
                sd=given["score_sd"],
                correlation=given.get("score_correlation"),
            )
        if len(self.covered):
            total = total + list_log_prob(
                self.existence,
                value[..., profiles:].movedim(-1, 0),
                self.covered,
                logit=given["list_logit"],
                shift=given["list_shift"],
            )
        return total * self.allowed

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        given, shape = self.parameters, torch.Size(sample_shape) + self.batch_shape
        parts = []
        with torch.no_grad():
            e = self.existence.expand(shape)
            if len(self.measured):
                correlation = given.get("score_correlation", e.new_zeros(()))
                shared = torch.randn_like(e) * correlation.sqrt()
                for place, seen in enumerate(self.measured):
                    noise = shared + torch.randn_like(e) * (1 - correlation).sqrt()
                    mean = given["absent_score"][..., place] + given["score_shift"][..., place] * e
                    parts.append(torch.where(seen & self.allowed, mean + given["score_sd"][..., place] * noise, 0.0))
            for place, covered in enumerate(self.covered):
                odds = given["list_logit"][..., place] + given["list_shift"][..., place] * e
                named = torch.bernoulli(odds.sigmoid())
                parts.append(torch.where(covered & self.allowed, named, 0.0))
        return torch.stack(parts, dim=-1)

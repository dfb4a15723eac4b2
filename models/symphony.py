r"""Symphony: expression and what else is observed of the edges, such as chromatin accessibility, share one network."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from ..priors import EdgeKnowledge, EdgePrior, Hyper, PriorNetwork, SpikeSlab
from ..priors.edge_prior import TRUST_SCALE
from ..priors.evidence import EdgeEvidence
from .data.accepts import takes_anndata
from .data.expression import ExpressionData
from .data.gram import GramStatistics
from .gaussian_block import GaussianBlock
from .linear import LinearNetwork
from .observation.edge_evidence import ObservedEdges
from .observation.joined import joined
from .regression import RegressionNetwork
from .state import State

EVIDENCE_BUFFERS = ("score", "measured", "score_mean", "score_scale", "listed", "covered")
PARAMETERS = ("absent_score", "score_shift", "score_sd", "list_logit", "list_shift")


class Symphony(RegressionNetwork):
    r"""A linear network of which the edges, too, are observed: scores of every edge in some cell types or assays
    (accessibility of the target's regulatory regions at motifs of the regulator, responses in a screen), and lists of
    edges.

    .. math:: P(X, Y \mid \Theta, P, \Omega) = P(X\mid\Theta, P, \Omega_x)\;P(Y\mid\Theta, \Omega_y), \qquad
              \Theta = (\gamma, W)

    .. math:: Y_{ltg} = a_l + \Delta_l\,\gamma_{tg} + s_l\,(\sqrt r\,u_{tg} + \sqrt{1-r}\,\epsilon_{ltg}), \qquad
              \operatorname{logit} P(\text{list } l \text{ names } t, g) = c_l + d_l\,\gamma_{tg}

    with :math:`X` as in `LinearNetwork` (contexts are cell types that share γ and differ in the size of the effects),
    P prior networks that raise the odds of an edge as everywhere, and the existence γ of an edge the parent of its
    weight and of its evidence. Profiles of several cell types resemble one another beyond what edges explain: r, the
    correlation of the same edge's scores, keeps them from counting as independent. Priors, in standard deviations of
    the scores: :math:`a\sim N(0,1)`, :math:`\Delta\sim\mathrm{HalfNormal}(2)`, :math:`\log s\sim N(-0.2, 0.5^2)`,
    :math:`r\sim\mathrm{Beta}(1,1)`; :math:`c\sim N(-2, 1.5^2)`, :math:`d\sim\mathrm{HalfNormal}(3)`. Evidence is never
    taken to speak against an edge the more there is of it.

    **Evidence or prior.** Given the parameters, evidence acts on the odds of an edge exactly as a source of prior
    knowledge does: two normals of equal width make the log-odds linear in the score,

    .. math:: \operatorname{logit} P(\gamma = 1\mid Y) = \operatorname{logit}\pi + \frac{\Delta}{s^2}\Big(Y - a -
              \frac\Delta2\Big),

    that is, a source P = Y with trust :math:`b = \Delta/s^2`, and a list is a source with trust d. What differs is how
    b is learned. A prior's trust is learned from agreement with expression alone. Evidence has a density, so its own
    shape informs b as well: two humps tell edges from the rest without a single cell; and a shape that these densities
    do not have (skewness, many zeros) is read as edges too. Prefer evidence where its distribution given an edge is
    understood, prior networks where it is only believed to be larger for edges. And evidence knows missing values: an
    edge that nobody measured keeps its odds, while a prior network that does not name an edge speaks against it.

    This is the model class of Burdziak et al. (2019) at the level of its factorisation; their expression likelihood is
    a mixture with covariances made of the network, this one is the regression. Families without an inclusion variable
    have :math:`\gamma = W^2/(W^2+\delta^2)`, δ the `threshold`, in its place. Without evidence the model is
    `LinearNetwork`.

    Parameters
    ----------
    statistics
        `GramStatistics` of the expression data.
    evidence
        By name: a table (regulators × genes, NaN where nothing was measured) is a profile of scores, larger for edges,
        best on a scale on which they look normal (logarithms, log-odds); a `PriorNetwork` is a list, of the regulators
        that it has any edge of.
    edge_prior, networks, targets
        As in `LinearNetwork`.

    Raises
    ------
    ValueError
        As `LinearNetwork`; evidence that does not match the data, or a name that is among ``networks`` too.

    Examples
    --------
    >>> from pyrogrn.models.simulators import simulate_linear
    >>> data = simulate_linear(num_genes=4, num_tfs=2, num_cells=50, seed=0).data
    >>> access = pd.DataFrame([[0.1, 0.2, 2.0, 0.0], [0.3, 0.0, 0.1, 3.0]], index=data.tfs, columns=data.genes)
    >>> Symphony.from_data(data, evidence={"ATAC": access}).coords["profile"]
    ['ATAC']
    """

    name = "symphony"
    takes = ("evidence",)
    reference = "Burdziak et al. 2019, arXiv:1902.08138 (at the level of P(X|Θ)P(Y|Θ))"

    def __init__(
        self,
        statistics: GramStatistics,
        *,
        evidence: Mapping[str, pd.DataFrame | PriorNetwork] | None = None,
        edge_prior: EdgePrior | None = None,
        networks: Mapping[str, PriorNetwork] | None = None,
        targets: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        twice = sorted(set(evidence or {}) & set(networks or {}))
        if twice:
            raise ValueError(f"{twice} are both prior networks and evidence, and would count twice: pass each as one")
        linear = LinearNetwork(statistics, networks=networks, targets=targets)
        prior = edge_prior if edge_prior is not None else SpikeSlab()
        found = EdgeEvidence.of(evidence or {}, linear.tfs, linear.targets)
        self._describe(statistics.genes, statistics.context_names, linear.knowledge, prior)
        self._name_evidence(found.profiles, found.lists, found.notes)
        for name, buffer in linear.named_buffers(recurse=False):
            self.register_buffer(name, buffer)
        values = (found.score, found.measured, found.mean, found.scale, found.listed, found.covered)
        for name, value in zip(EVIDENCE_BUFFERS, values, strict=True):
            self.register_buffer(name, value)

    score: Tensor
    measured: Tensor
    score_mean: Tensor
    score_scale: Tensor
    listed: Tensor
    covered: Tensor

    def _name_evidence(self, profiles: Sequence[str], lists: Sequence[str], notes: Sequence[str]) -> None:
        self.profiles, self.lists, self.evidence_notes = tuple(profiles), tuple(lists), tuple(notes)
        self.absent_score = Hyper(dist.Normal, 0.0, 1.0)
        self.score_shift = Hyper(dist.HalfNormal, 2.0)
        self.score_sd = Hyper(dist.LogNormal, -0.2, 0.5)
        self.score_correlation = Hyper(dist.Beta, 1.0, 1.0)
        self.list_logit = Hyper(dist.Normal, -2.0, 1.5)
        self.list_shift = Hyper(dist.HalfNormal, TRUST_SCALE)

    @classmethod
    @takes_anndata
    def from_data(
        cls,
        data: ExpressionData,
        *,
        evidence: Mapping[str, pd.DataFrame | PriorNetwork] | None = None,
        edge_prior: EdgePrior | None = None,
        networks: Mapping[str, PriorNetwork] | None = None,
        targets: Sequence[str] | None = None,
    ) -> "Symphony":
        """One pass over the cells, then as the constructor; on the data's device."""
        model = cls(data.statistics(), evidence=evidence, edge_prior=edge_prior, networks=networks, targets=targets)
        return model.to(data.device)

    def to_state(self) -> dict[str, list[str]]:
        names = {"profiles": list(self.profiles), "lists": list(self.lists), "notes": list(self.evidence_notes)}
        return {**super().to_state(), **names}

    def _restore(self, state: State, knowledge: EdgeKnowledge, edge_prior: EdgePrior) -> None:
        super()._restore(state, knowledge, edge_prior)
        self._name_evidence(state.names("profiles"), state.names("lists"), state.names("notes"))

    # -- axes ----
    @property
    def has_evidence(self) -> bool:
        return bool(self.profiles or self.lists)

    @property
    def existence_site(self) -> str:
        """What tells whether an edge exists: ``inclusion``, or else ``W``."""
        return "inclusion" if "inclusion" in self.edge_prior.dims else "W"

    @property
    def coords(self) -> dict[str, list[str]]:
        return {**super().coords, "profile": list(self.profiles), "list": list(self.lists)}

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        own: dict[str, tuple[str, ...]] = {}
        if self.profiles:
            own |= {"absent_score": ("profile",), "score_shift": ("profile",), "score_sd": ("profile",)}
        if len(self.profiles) > 1:
            own |= {"score_correlation": ()}
        if self.lists:
            own |= {"list_logit": ("list",), "list_shift": ("list",)}
        return {**super().dims, **own}

    # -- the generative story ----
    def edges(self, tf: pyro.plate, target: pyro.plate) -> Tensor:
        if not self.has_evidence:
            return self.edge_prior(tf, target)
        values: dict[str, Tensor] = {}
        for name in PARAMETERS:
            if name in self.dims:
                size = len(self.coords[self.dims[name][0]])
                values[name] = pyro.sample(name, getattr(self, name).distribution().expand([size]).to_event(1))
        if "score_correlation" in self.dims:
            values["score_correlation"] = self.score_correlation("score_correlation")
        with poutine.trace() as record:
            W = self.edge_prior(tf, target)
        values |= {"W": W}
        if self.existence_site != "W":
            nodes: dict[str, Any] = dict(record.trace.nodes)
            values[self.existence_site] = nodes[self.existence_site]["value"]
        with tf, target:
            # a child of the gate in the gate's own plates, as W is: enumeration stays exact
            Y = self.observed_evidence()
            pyro.sample("Y", self.evidence_given(self.existence(values), values).at(Y), obs=Y)
        return W

    def existence(self, values: Mapping[str, Tensor]) -> Tensor:
        """``(*batch, tf, target)`` from 0 to 1, of a draw of the sites."""
        found = values[self.existence_site]
        if self.existence_site == "W":
            square = found.square()
            return square / (square + self.threshold**2)
        return found.to(self.constant.dtype)

    def evidence_given(self, existence: Tensor, values: Mapping[str, Tensor]) -> ObservedEdges:
        """The distribution of the evidence given the existence of the edges ``(*batch, tf, target)`` and the parameters
        ``(profile,)`` and ``(list,)``, or ``(*batch, 1, 1, profile)``."""
        return ObservedEdges(
            existence, self.measured, self.covered, self.edge_prior.allowed, values, validate_args=False
        )

    def observed_evidence(self) -> Tensor:
        """``(tf, target, profile + list)`` value of the site ``Y``."""
        join = lambda score, listed: torch.cat([score, listed.to(score)]).movedim(0, -1)
        return joined(self, "Y", (self.score, self.listed), join)

    def evidence_log_prob(self, existence: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """``(*batch, tf, target)`` log density of the evidence on each edge that may exist, given as
        `evidence_given`."""
        return self.evidence_given(existence, values).log_prob(self.observed_evidence())

    def evidence_odds(self, values: Mapping[str, Tensor]) -> Tensor:
        """``(*batch, tf, target)`` what the evidence adds to the log-odds of each edge."""
        one = self.edge_prior.allowed.to(self.constant.dtype)
        return self.evidence_log_prob(one, values) - self.evidence_log_prob(torch.zeros_like(one), values)

    def inclusion(self, values: Mapping[str, Tensor], *, threshold: float) -> Tensor:
        found = super().inclusion(values, threshold=threshold)
        if self.existence_site != "inclusion" or not self.has_evidence:
            return found
        tiny = torch.finfo(found.dtype).eps
        odds = torch.logit(found.clamp(tiny * 1e-3, 1 - tiny)) + self.evidence_odds(values)
        return torch.sigmoid(odds) * self.edge_prior.allowed

    def conditional(self, site: str, values: Mapping[str, Tensor]) -> GaussianBlock:
        if site == "W" and self.has_evidence and self.existence_site == "W":
            raise ValueError(
                f"with evidence on the edges, W is not Gaussian given the other sites of "
                f"{type(self.edge_prior).__name__}: use MeanField or LowRank, or the prior SpikeSlab"
            )
        return super().conditional(site, values)

    # cells one by one, as in the linear network
    _observe_cells = LinearNetwork._observe_cells
    standardize = LinearNetwork.standardize

r"""NetREX-CF: network component analysis whose network also obeys a collaborative filter of the prior networks."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from ..priors import EdgeKnowledge, EdgePrior, PriorNetwork
from ..priors.elastic_net import ElasticNet
from ..priors.host_values import kept
from .base import Model
from .data.accepts import takes_anndata
from .data.checks import constant_genes, some
from .data.expression import ExpressionData
from .state import State

logger = logging.getLogger(__name__)

PRESENCE = ("indicator", "absolute")
LEAST = 1e-10  # share of the largest eigenvalue below which a direction of the cells holds rounding only


@dataclass(frozen=True, eq=False)
class Components:
    """The expression as NetREX-CF sees it: ``X`` (gene, component) with :math:`XX^\\top` the correlations of the genes
    within contexts, ``mean`` (gene,), ``scale`` (gene,) and the number of cells."""

    genes: tuple[str, ...]
    X: Tensor
    mean: Tensor
    scale: Tensor
    num_cells: int

    @classmethod
    def from_data(cls, data: ExpressionData) -> "Components":
        """One pass over the cells; through cells or genes, whichever are fewer.

        Raises
        ------
        ValueError
            Missing values, constant genes, fewer than 3 cells.
        """
        data = data.complete()
        if data.num_cells < 3:
            raise ValueError(f"{data.num_cells} cells: expected at least 3 to explain variation between them")
        if data.perturbed is not None and len(data.perturbed):
            logger.warning("NetREX-CF knows no interventions: clamped genes are explained like all others")
        every = replace(data, tfs=data.genes, perturbed=None)
        if data.num_cells >= data.num_genes:
            statistics = every.statistics()
            statistics.require_variance()
            scale, gram = statistics.scale, statistics.cross.sum(0)
            share = statistics.count / statistics.count.sum()
            mean = (share[:, None] * statistics.mean).sum(0)
            values, vectors = torch.linalg.eigh(gram / (scale[:, None] * scale))
            kept = values > LEAST * values[-1]
            X = vectors[:, kept] * values[kept].sqrt()
        else:  # the rotation that diagonalises XᵀX: the same components
            block = data.rows(slice(0, data.num_cells)).double()
            mean = block.mean(0)
            spread = block - mean
            if data.context is not None:
                for k in range(data.num_contexts):
                    rows = data.context == k
                    spread[rows] = block[rows] - block[rows].mean(0) if bool(rows.any()) else spread[rows]
            occupied = 1 if data.context is None else len(data.context.unique())
            square = spread.square().sum(0)
            constant = square <= 1e-12 * (square + len(block) * mean.square())
            if bool(constant.any()):
                names = [g for g, c in zip(data.genes, constant.tolist(), strict=True) if c]
                raise constant_genes(names)
            scale = (square / (len(block) - occupied)).sqrt()
            spread = spread / scale
            values, vectors = torch.linalg.eigh(spread @ spread.T)
            kept = values > LEAST * values[-1]
            X = spread.T @ vectors[:, kept]
        # the sign of a component is arbitrary: its largest value is positive, in any order of the genes
        largest = X.gather(0, X.abs().argmax(0, keepdim=True))
        return cls(data.genes, X * largest.sign() / math.sqrt(data.num_cells), mean, scale, data.num_cells)


class NetREXCF(Model):
    r"""Network component analysis with a collaborative filter of the prior (Wang et al. 2022, Commun Biol 5:1282).

    With :math:`\Theta = W^\top` (target, tf), TF activities A and, from the sources of prior knowledge, the mask
    :math:`B = \mathbb 1(\sum_k P^k > 0)` and the confidence :math:`C = 1 + a\sum_k P^k`,

    .. math:: -\log p = \|X-\Theta A\|_2^2 + \kappa\|A\|_2^2 + \lambda\|\Theta\|_2^2 + \eta\|\Theta\|_1
              + \sum_{ij}\Omega_{ij}(M_{ij} - u_i^\top v_j)^2 + \rho(\|U\|^2 + \|V\|^2) + \text{const},

    .. math:: \Omega = \alpha_1 C|\Theta|\odot B + \alpha_2|\Theta|\odot(1-B) + C, \qquad
              M = |\Theta| + (1-|\Theta|)\odot B.

    This without ρ is the loss of Proposition 2 of the unified view on prior knowledge; ρ fixes the scale of u against
    v, which that loss leaves free. :math:`u_i^\top v_j` says how much the other edges of regulator and gene recommend
    this one. :math:`|\Theta|` inside Ω and M has two readings. As the *indicator* :math:`\mathbb 1(\Theta\ne 0)`, M is
    the network of edges that exist or are listed: an edge that no source lists costs
    :math:`(1+\alpha_2)(1-u^\top v)^2 - (u^\top v)^2`, unaffordable unless recommended, and a listed one
    :math:`\alpha_1 C(1-u^\top v)^2`; the filter recommends, expression screens. As the *absolute* value it is smooth
    almost everywhere, as gradients need, and weak: small unlisted edges cost next to nothing. Self-edges do not exist
    and enter no sum.

    X holds each gene's deviations from its mean (within contexts), in standard deviations and times
    :math:`\sqrt{e/n}` with n cells and ``expression_weight`` e: the first term is e times the share of variance not
    explained, summed over genes, so that the other weights do not depend on the number of cells. Cells are rotated to
    the components of X (`Components`), which changes no term, since A may be rotated with them; a step costs targets ×
    regulators × components for any number of cells.

    The objective is an energy whose weights are choices and not a likelihood fitted to the noise: its maximum is meant
    (`BlockDescent`, or `MapEstimate` for any edge prior), and no guide is calibrated on it. The sign of an activity is
    arbitrary; the engines turn it to that of the regulator's own expression.

    Parameters
    ----------
    components
        `Components` of the data.
    edge_prior
        Prior on W: the λ and η terms. Default ``ElasticNet(ridge=0.1, lasso=0.1)``, small beside the costs of the
        filter. Sources act through the filter alone, except in a `HardMask`, which also removes unlisted edges.
    networks
        Prior networks by name of the source.
    targets
        Genes to explain. Default all.
    presence
        How |Θ| is read in the filter: ``"indicator"`` (default with `ElasticNet`, whose engine `BlockDescent` gives
        exact zeros; to gradients every edge is present) or ``"absolute"`` (default with other priors).
    expression_weight
        e. Default 10: an edge that costs 2 must explain a fifth of its target's variance.
    rank
        Length of u and v. Default 5, at most regulators and targets.
    activity_penalty
        κ. Default 1.
    confidence
        a. Default 3: a pair that one source is sure of weighs four times an unlisted one in the filter.
    listed_cost, unlisted_cost
        :math:`\alpha_1, \alpha_2`. Default 0.1 and 1: a listed edge that the filter does not recommend at all costs
        about one more per unit, as an unlisted one does.
    latent_penalty
        ρ. Default 1.

    Raises
    ------
    ValueError
        As `Components.from_data`; targets that are not measured, penalties out of range, a source without overlap.

    Examples
    --------
    >>> from pyrogrn.models.simulators import simulate_linear
    >>> simulation = simulate_linear(num_genes=10, num_tfs=3, num_cells=50, seed=0)
    >>> NetREXCF.from_data(simulation.data, rank=2).dims["A"]
    ('tf', 'component')
    """

    name = "netrex-cf"
    minibatches = False
    story = "hidden activities of regulators, and a low-rank filter of the prior networks"
    reference = "Wang et al. 2022, Commun Biol 5:1282"
    weight_meaning = (
        "how many standard deviations of the target go with a unit of the regulator's activity; that unit is the "
        "regulator's own, so compare weights of one regulator"
    )
    weight_unit = "sd of target per unit of activity"

    X: Tensor
    start: Tensor
    mean: Tensor
    scale: Tensor
    expression_weight: Tensor
    activity_penalty: Tensor
    confidence: Tensor
    listed_cost: Tensor
    unlisted_cost: Tensor
    latent_penalty: Tensor
    rank: Tensor

    def __init__(
        self,
        components: Components,
        *,
        tfs: Sequence[str],
        edge_prior: EdgePrior | None = None,
        networks: Mapping[str, PriorNetwork] | None = None,
        targets: Sequence[str] | None = None,
        presence: str | None = None,
        expression_weight: float = 10.0,
        rank: int = 5,
        activity_penalty: float = 1.0,
        confidence: float = 3.0,
        listed_cost: float = 0.1,
        unlisted_cost: float = 1.0,
        latent_penalty: float = 1.0,
    ) -> None:
        super().__init__()
        targets = tuple(targets) if targets is not None else components.genes
        position = {gene: i for i, gene in enumerate(components.genes)}
        unknown = [g for g in (*targets, *tfs) if g not in position]
        if unknown or not targets or len(set(targets)) < len(targets):
            found = f"{len(unknown)} not measured: {some(unknown)}" if unknown else "none, or repeated names"
            raise ValueError(f"`targets`: {found}. Expected names of genes in the data, each once")
        constants = {
            "expression_weight": expression_weight,
            "activity_penalty": activity_penalty,
            "confidence": confidence,
            "listed_cost": listed_cost,
            "unlisted_cost": unlisted_cost,
            "latent_penalty": latent_penalty,
        }
        for name, value in constants.items():
            positive = not name.endswith(("cost", "confidence"))  # without these the scales are free
            if not 0 <= value < math.inf or (positive and value == 0):
                raise ValueError(f"`{name}` is {value}, expected a number {'above 0' if positive else 'of 0 or more'}")
            self.register_buffer(name, torch.tensor(float(value)))
        if rank < 1:
            raise ValueError(f"`rank` is {rank}, expected at least 1")
        knowledge = EdgeKnowledge.from_networks(networks, tuple(tfs), targets)
        prior = edge_prior if edge_prior is not None else ElasticNet(ridge=0.1, lasso=0.1)
        presence = presence if presence is not None else PRESENCE[0 if prior.exact_zeros else 1]
        if presence not in PRESENCE:
            raise ValueError(f"`presence` is {presence!r}, expected {' or '.join(PRESENCE)}")
        self._describe(components.genes, presence, knowledge, prior)
        unit = expression_weight**0.5
        self.register_buffer("rank", torch.tensor(min(rank, len(self.tfs), len(targets))))
        self.register_buffer("tf_index", torch.tensor([position[t] for t in self.tfs]))
        self.register_buffer("target_index", torch.tensor([position[t] for t in targets]))
        self.register_buffer("X", (unit * components.X[self.target_index]).float())
        # activities start at the regulators' own expression
        self.register_buffer("start", (unit * components.X[self.tf_index]).float())
        self.register_buffer("scale", components.scale.float())
        self.register_buffer("mean", components.mean.float())

    tf_index: Tensor
    target_index: Tensor

    @classmethod
    @takes_anndata
    def from_data(
        cls,
        data: ExpressionData,
        *,
        edge_prior: EdgePrior | None = None,
        networks: Mapping[str, PriorNetwork] | None = None,
        targets: Sequence[str] | None = None,
        presence: str | None = None,
        expression_weight: float = 10.0,
        rank: int = 5,
        activity_penalty: float = 1.0,
        confidence: float = 3.0,
        listed_cost: float = 0.1,
        unlisted_cost: float = 1.0,
        latent_penalty: float = 1.0,
    ) -> "NetREXCF":
        """Components of the data, then as the constructor; on the data's device."""
        return cls(
            Components.from_data(data),
            tfs=data.tfs,
            edge_prior=edge_prior,
            networks=networks,
            targets=targets,
            presence=presence,
            expression_weight=expression_weight,
            rank=rank,
            activity_penalty=activity_penalty,
            confidence=confidence,
            listed_cost=listed_cost,
            unlisted_cost=unlisted_cost,
            latent_penalty=latent_penalty,
        ).to(data.device)

    def _describe(self, genes: Sequence[str], presence: str, knowledge: EdgeKnowledge, edge_prior: EdgePrior) -> None:
        """All but the data."""
        self.presence = presence
        self.genes, self.tfs, self.targets = tuple(genes), knowledge.tfs, knowledge.targets
        self.knowledge = knowledge
        if not edge_prior.masks:
            none = torch.zeros(0, *knowledge.allowed.shape)
            knowledge = replace(knowledge, sources=(), probability=none, sign=none)
        self.edge_prior = edge_prior.bind(knowledge)
        self.register_buffer("evidence", self.knowledge.probability.sum(0), persistent=False)

    evidence: Tensor

    def to_state(self) -> dict[str, list[str]]:
        return {"genes": list(self.genes), "presence": [self.presence]}

    def _restore(self, state: State, knowledge: EdgeKnowledge, edge_prior: EdgePrior) -> None:
        self._describe(state.names("genes"), state.name("presence"), knowledge, edge_prior)

    # -- axes ----
    @property
    def coords(self) -> dict[str, list[str]]:
        return {
            "tf": list(self.tfs),
            "target": list(self.targets),
            "context": ["all"],
            "source": list(self.edge_prior.sources),
            "signed_source": list(self.edge_prior.signed_sources),
            "component": [str(i + 1) for i in range(self.X.shape[1])],
            "rank": [str(i + 1) for i in range(int(self.rank))],
        }

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        own = {"A": ("tf", "component"), "U": ("tf", "rank"), "V": ("target", "rank")}
        return {**self.edge_prior.dims, **own}

    @property
    def max_plate_nesting(self) -> int:
        return 2

    @property
    def initial(self) -> dict[str, Tensor]:
        return {"A": self.start[:, None], "U": self.X.new_tensor(0.3), "V": self.X.new_tensor(0.3)}

    # -- the filter ----
    @property
    def listed(self) -> Tensor:
        """``(tf, target)`` B: edges that some source lists, as 0 or 1."""
        return (self.evidence > 0).to(self.X)

    @property
    def weight(self) -> Tensor:
        """``(tf, target)`` C."""
        return 1 + self.confidence * self.evidence

    def present(self, W: Tensor) -> Tensor:
        """|Θ| as the filter reads it, for W of any shape."""
        return W.abs() if self.presence == "absolute" else (W != 0).to(W)

    def filter_cost(self, W: Tensor, recommended: Tensor) -> Tensor:
        """``(*batch, tf, target)`` Ω (M − uᵀv)² of every edge; 0 where not allowed."""
        size, B, C = self.present(W), self.listed, self.weight
        omega = self.listed_cost * C * size * B + self.unlisted_cost * size * (1 - B) + C
        M = size + (1 - size) * B
        return omega * (M - recommended).square() * self.edge_prior.allowed

    # -- the generative story ----
    def forward(self, batch: ExpressionData | None = None) -> None:
        if batch is not None:
            raise ValueError("NetREX-CF conditions on all cells at once: fit it without `batch_size`")
        tf = pyro.plate("tf", len(self.tfs), dim=-2)
        target = pyro.plate("target", len(self.targets), dim=-1)
        zero, components, rank = self.X.new_zeros(()), self.X.shape[1], kept(self, "rank", (self.rank,), int)
        latent = dist.Normal(zero, (2 * self.latent_penalty) ** -0.5).expand([rank]).to_event(1)
        W = self.edge_prior(tf, target)  # (tf, target)
        with tf:
            activity = dist.Normal(zero, (2 * self.activity_penalty) ** -0.5)
            A = pyro.sample("A", activity.expand([components]).to_event(1))  # (tf, 1, component)
            U = pyro.sample("U", latent)  # (tf, 1, rank)
        with target:
            V = pyro.sample("V", latent)  # (target, rank)
        explained = torch.einsum("...tg,...tc->...gc", W, A.squeeze(-2)).unsqueeze(-3)  # (1, target, component)
        with target:
            pyro.sample("X", dist.Normal(explained, zero + 0.5**0.5).to_event(1), obs=self.X)
        with tf, target:
            pyro.factor("prior_network", -self.filter_cost(W, (U * V).sum(-1)))

    # -- cells ----
    def standardize(self, data: ExpressionData) -> Tensor:
        """``(cell, target)`` values in units of the fit, off their mean.

        Raises
        ------
        ValueError
            Data that lack genes of the fit.
        """
        missing = [g for g in self.targets if g not in set(data.genes)]
        if missing:
            raise ValueError(f"`data` lack {len(missing)} genes of the fit: {some(missing)}. Pass the cells of the fit")
        place = {gene: i for i, gene in enumerate(data.genes)}
        X = data.rows(slice(0, data.num_cells))[:, [place[g] for g in self.targets]].to(self.scale)
        mean = self.mean[self.target_index].expand(len(X), -1)
        if data.context is not None:
            mean = torch.stack([X[data.context == k].mean(0) for k in range(data.num_contexts)])[data.context]
        return (X - mean) / self.scale[self.target_index]

    def activities(self, W: Tensor, X: Tensor) -> Tensor:
        """``(cell, tf)`` activities of cells ``X`` (cell, target) for a network W ``(tf, target)``:
        :math:`(\\Theta^\\top\\Theta + \\kappa I)^{-1}\\Theta^\\top x`."""
        system = W @ W.T + self.activity_penalty * torch.eye(len(W), dtype=W.dtype, device=W.device)
        return torch.linalg.solve(system, W @ X.T).T

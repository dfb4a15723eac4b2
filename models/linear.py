r"""The linear network: every gene a linear function of its regulators."""

import math
from collections.abc import Mapping, Sequence

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from ..priors import EdgeKnowledge, EdgePrior, Hyper, PriorNetwork, SpikeSlab
from .base import GaussianBlock, Model
from .data import ExpressionData, some
from .gram import GramStatistics, RegressionStatistics

NOISE_SHAPE, NOISE_RATE = 2.0, 0.5  # σ² ~ InvGamma: mean half of the target's variance, heavy right tail


class LinearNetwork(Model):
    r"""A linear-Gaussian gene regulatory network with any `EdgePrior`.

    .. math:: y_{cg} \sim N\Big(\mu_{kg} + \sum_t W_{ktg}\, x_{ct},\ \sigma_{kg}^2\Big), \qquad W_{tt} = 0, \qquad
              W_{ktg} \sim N(W_{tg}, \omega^2), \quad \sigma^2_{kg} \sim \mathrm{InvGamma}(2, \tfrac12)

    for cell c of context k (with one context :math:`W_{ktg} = W_{tg}`, so ω does not exist). The likelihood is an exact
    function of `GramStatistics`, with the flat intercepts :math:`\mu_{kg}` integrated out: a step costs the same for a
    thousand and a million cells. In cells where gene g is clamped by an intervention its own equation is cut. The
    linear GRN of CellOracle (Kamimoto et al. 2023) and TIGRESS (Haury et al. 2012).

    The joint density of a regulator and its targets is not the product of these regressions when regulators are targets
    too: for those the model is a dependency network (Heckerman et al. 2000), a pseudo-likelihood. It finds who is
    linked to whom, but a true A → B also yields B → A, so edges *between* regulators have no calibrated direction
    unless interventions on both ends cut them.

    Weights are standardised: standard deviations of the target per standard deviation of the regulator (within
    contexts); ``scale`` (gene) converts, :math:`W^{\mathrm{raw}}_{tg} = W_{tg}\, \mathrm{sd}_g / \mathrm{sd}_t`.

    Parameters
    ----------
    statistics
        `GramStatistics` of the data (``data.statistics()``).
    edge_prior
        Prior on W. Default `SpikeSlab`.
    networks
        Prior networks by name of the source.
    targets
        Genes to explain. Default all.

    Raises
    ------
    ValueError
        Constant genes, targets that are not measured, too few cells in a context, a prior network that matches no edge.

    Examples
    --------
    >>> from pyrogrn.models.simulators import simulate_linear
    >>> simulation = simulate_linear(num_genes=10, num_tfs=3, num_cells=50, seed=0)
    >>> LinearNetwork.from_data(simulation.data).dims["W"]
    ('tf', 'target')
    """

    name = "linear"
    reference = "Kamimoto et al. 2023, Nature 614:742; Haury et al. 2012, BMC Syst Biol 6:145"

    def __init__(
        self,
        statistics: GramStatistics,
        *,
        edge_prior: EdgePrior | None = None,
        networks: Mapping[str, PriorNetwork] | None = None,
        targets: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        targets = tuple(targets) if targets is not None else statistics.genes
        measured = set(statistics.genes)
        unknown = [t for t in targets if t not in measured]
        if unknown or not targets or len(set(targets)) < len(targets):
            found = f"{len(unknown)} not measured: {some(unknown)}" if unknown else "none, or repeated names"
            raise ValueError(f"`targets`: {found}. Expected names of genes in the data, each once")
        knowledge = EdgeKnowledge.from_networks(networks, statistics.tfs, targets)
        self._describe(statistics.genes, statistics.context_names, knowledge, edge_prior or SpikeSlab())
        regression = RegressionStatistics.from_statistics(statistics, targets=self.targets)
        self.register_buffer("own", regression.own)
        for name in ("gram", "own_gram", "anchor", "residual", "sse", "dof", "tf_mean", "target_mean", "log_count"):
            self.register_buffer(name, getattr(regression, name).float())
        position = {gene: i for i, gene in enumerate(self.genes)}
        self.register_buffer("tf_index", torch.tensor([position[t] for t in self.tfs]))
        self.register_buffer("target_index", torch.tensor([position[t] for t in self.targets]))
        self.register_buffer("scale", statistics.scale.float())
        share = statistics.count / statistics.count.sum()
        self.register_buffer("mean", (share[:, None] * statistics.mean).sum(0).float())
        self.register_buffer("context_mean", statistics.mean.float())
        self.register_buffer("minimum", statistics.minimum.float())

    def _describe(
        self, genes: Sequence[str], contexts: Sequence[str], knowledge: EdgeKnowledge, edge_prior: EdgePrior
    ) -> None:
        """All but the statistics of the data."""
        self.genes, self.contexts = tuple(genes), tuple(contexts)
        self.tfs, self.targets, self.knowledge = knowledge.tfs, knowledge.targets, knowledge
        self.edge_prior = edge_prior.bind(knowledge)
        # ω ~ HalfNormal(0.1): contexts differ by less than a typical edge unless the data say otherwise
        self.context_scale = Hyper(dist.HalfNormal, 0.1)

    gram: Tensor
    own: Tensor
    own_gram: Tensor
    anchor: Tensor
    residual: Tensor
    sse: Tensor
    dof: Tensor
    log_count: Tensor
    scale: Tensor
    mean: Tensor
    context_mean: Tensor
    minimum: Tensor
    tf_mean: Tensor
    target_mean: Tensor
    tf_index: Tensor
    target_index: Tensor

    @classmethod
    def from_data(
        cls,
        data: ExpressionData,
        *,
        edge_prior: EdgePrior | None = None,
        networks: Mapping[str, PriorNetwork] | None = None,
        targets: Sequence[str] | None = None,
    ) -> "LinearNetwork":
        """One pass over the cells, then as the constructor; on the data's device."""
        return cls(data.statistics(), edge_prior=edge_prior, networks=networks, targets=targets).to(data.device)

    def to_state(self) -> dict[str, list[str]]:
        return {"genes": list(self.genes), "contexts": list(self.contexts)}

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, Sequence[str]],
        *,
        knowledge: EdgeKnowledge,
        edge_prior: EdgePrior,
        buffers: Mapping[str, Tensor],
    ) -> "LinearNetwork":
        model = cls.__new__(cls)
        Model.__init__(model)
        model._describe(state["genes"], state["contexts"], knowledge, edge_prior)
        for name, value in buffers.items():
            model.register_buffer(name, value)
        return model

    # -- axes ----------------------------------------
    @property
    def has_contexts(self) -> bool:
        return len(self.contexts) > 1

    @property
    def coords(self) -> dict[str, list[str]]:
        return {
            "tf": list(self.tfs),
            "target": list(self.targets),
            "context": list(self.contexts),
            "source": list(self.knowledge.sources),
            "signed_source": list(self.edge_prior.signed_sources),
        }

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        own: dict[str, tuple[str, ...]] = {
            "noise_variance": ("context", "target") if self.has_contexts else ("target",)
        }
        if self.has_contexts:
            own |= {"context_scale": (), "W_context": ("context", "tf", "target")}
        return {**self.edge_prior.dims, **own}

    @property
    def max_plate_nesting(self) -> int:
        return 3 if self.has_contexts else 2

    # -- the generative story ----------------------------------------
    def forward(self, batch: ExpressionData | None = None) -> None:
        tf = pyro.plate("tf", len(self.tfs), dim=-2)
        target = pyro.plate("target", len(self.targets), dim=-1)
        context = pyro.plate("context", len(self.contexts), dim=-3) if self.has_contexts else None
        W = self.edge_prior(tf, target)  # (tf, target)
        noise_prior = dist.InverseGamma(self.constant.new_tensor(NOISE_SHAPE), self.constant.new_tensor(NOISE_RATE))
        if context is None:
            with target:
                noise = pyro.sample("noise_variance", noise_prior)  # (target,)
        else:
            spread = self.context_scale("context_scale")
            with context, target:
                noise = pyro.sample("noise_variance", noise_prior)  # (context, 1, target)
            with context, tf, target:
                W = pyro.sample("W_context", dist.Normal(W, spread))  # (context, tf, target)
            W = W * self.edge_prior.allowed
        if batch is None:
            self._observe_statistics(W, noise, target, context)
        else:
            self._observe_cells(W, noise, batch, target)

    def _observe_statistics(self, W: Tensor, noise: Tensor, target: pyro.plate, context: pyro.plate | None) -> None:
        # p(X | W, σ²) through the sufficient statistics, intercepts integrated out
        half = 0.5 * self.dof[:, None] if self.has_contexts else 0.5 * self.dof  # (context, 1, target) or (1, target)
        log_count = self.log_count[:, None] if self.has_contexts else self.log_count
        log_prob = -half * (math.log(2 * math.pi) + noise.log()) - 0.5 * log_count - 0.5 * self.squared_error(W) / noise
        with target:
            if context is None:
                pyro.factor("X", log_prob)
            else:
                with context:
                    pyro.factor("X", log_prob)

    def squared_error(self, W: Tensor) -> Tensor:
        """``(*batch, 1, target)`` centred residual sum of squares of ``W`` ``(*batch, tf, target)``; contexts lead both
        if there are several."""
        gram, anchor, residual, sse = self.gram, self.anchor, self.residual, self.sse[:, None]
        own_gram = self.own_gram
        if not self.has_contexts:
            gram, anchor, residual, sse, own_gram = gram[0], anchor[0], residual[0], sse[0], own_gram[0]
        step = W - anchor
        product = gram @ step
        if len(self.own):
            special = torch.einsum("...pst,...tp->...sp", own_gram, step[..., self.own])
            product = product.index_copy(-1, self.own, special)
        return sse + (step * (product - 2 * residual)).sum(-2, keepdim=True)

    def _observe_cells(self, W: Tensor, noise: Tensor, batch: ExpressionData, target: pyro.plate) -> None:
        # the plain likelihood, cell by cell: the reference for the Gram form, and what posterior prediction uses
        X, mask = self.standardize(batch)  # (cell, gene), (cell, target)
        context = torch.zeros(len(X), dtype=torch.long, device=X.device) if batch.context is None else batch.context
        levels = len(self.contexts)
        with target:
            offset = (
                pyro.sample("intercept", dist.Normal(X.new_zeros(levels, 1), X.new_tensor(10.0)).to_event(0))
                if levels == 1
                else None
            )
        if offset is None:
            with pyro.plate("context_intercept", levels, dim=-3), target:
                offset = pyro.sample(
                    "intercept", dist.Normal(X.new_zeros(()), X.new_tensor(10.0))
                )  # (context, 1, target)
        x, y = X[:, self.tf_index], X[:, self.target_index]
        if levels == 1:
            mean, sd = offset + x @ W, noise.sqrt().expand(*noise.shape[:-1], y.shape[-1])
        else:
            # (*batch, context, 1, target) -> (*batch, 1, cell, target): whatever is left of the context plate stays
            # left of it
            by_cell = lambda v: v.squeeze(-2)[..., context, :].unsqueeze(-3)  # noqa: E731
            offset, sd = by_cell(offset), by_cell(noise.sqrt())
            mean = offset + torch.einsum("ct,...ctg->...cg", x, W[..., context, :, :]).unsqueeze(-3)
        share = 1.0 if batch.population is None else batch.population / len(X)
        with poutine.scale(scale=share), pyro.plate("cell", len(X), dim=-2), target:
            pyro.sample("X", dist.Normal(mean, sd).mask(mask), obs=y)

    def standardize(self, batch: ExpressionData) -> tuple[Tensor, Tensor]:
        """``(cell, gene)`` values in units of the fit, and ``(cell, target)`` False where the target is clamped."""
        X = batch.X.to(self.scale)
        context = torch.zeros(len(X), dtype=torch.long, device=X.device) if batch.context is None else batch.context
        mask = torch.ones(len(X), len(self.genes), dtype=torch.bool, device=X.device)
        if batch.perturbed is not None:
            mask[batch.perturbed[:, 0], batch.perturbed[:, 1]] = False
        return (X - self.context_mean[context]) / self.scale, mask[:, self.target_index]

    # -- conjugacy ----------------------------------------
    def conditional(self, site: str, values: Mapping[str, Tensor]) -> GaussianBlock:
        r"""W given the scales and the noise: for each target :math:`N(\Lambda^{-1}\eta, \Lambda^{-1})`, :math:`\Lambda
        = G/\sigma^2 + S^{-2}`.

        One block a target, over its regulators: batch ``(*batch, target)``, event ``(tf,)``.
        """
        if site != "W":
            return super().conditional(site, values)
        if self.has_contexts:
            raise ValueError(
                "the Blocked guide handles one context: use the Gibbs sampler "
                "or MeanField for several, or fit them one by one"
            )
        loc, scale = self.edge_prior.gaussian(values)
        return self.weights_given(loc, scale, values["noise_variance"])

    def weights_given(self, loc: Tensor, scale: Tensor, noise: Tensor) -> GaussianBlock:
        """W for independent Gaussian priors N(``loc``, ``scale``²) of the edges, each broadcastable to ``(*batch, tf,
        target)``, and noise variances ``(*batch, 1, target)``; one context."""
        shape = torch.broadcast_shapes(scale.shape, self.anchor.shape[1:], noise.shape)
        allowed = self.edge_prior.allowed
        kept = torch.where(allowed, self.anchor[0], 0.0)
        # W = kept anchor + step; the prior of the step is N(loc − kept, scale²), edges that may not exist are uncoupled
        # from the data
        weight = scale.expand(shape) ** -2
        residual = torch.where(allowed, self.residual[0] + self._moved_anchor(), 0.0)
        eta = (residual / noise + weight * (loc - kept)).transpose(-1, -2)  # (*batch, target, tf)
        gram = self.gram[0].expand(len(self.targets), -1, -1)
        if len(self.own):
            gram = gram.index_copy(0, self.own, self.own_gram[0])
        gram = gram * (allowed.T[:, :, None] & allowed.T[:, None, :])
        precision = gram / noise.squeeze(-2)[..., None, None] + torch.diag_embed(weight.transpose(-1, -2))
        # in float64: two regulators that are copies of each other leave float32 no digits
        factor = torch.linalg.cholesky(precision.double())
        mean = torch.cholesky_solve(eta[..., None].double(), factor)[..., 0].to(kept)
        return GaussianBlock(kept.T + mean, factor.to(kept))

    def _moved_anchor(self) -> Tensor:
        """What of the anchor a mask takes away, as a change of the residual: G (anchor − anchor·allowed)."""
        outside = torch.where(self.edge_prior.allowed, 0.0, self.anchor[0])
        moved = self.gram[0] @ outside
        if len(self.own):
            moved = moved.index_copy(-1, self.own, torch.einsum("pst,tp->sp", self.own_gram[0], outside[:, self.own]))
        return moved

r"""The linear network: every gene a linear function of its regulators."""

from collections.abc import Mapping, Sequence

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from ..priors import EdgeKnowledge, EdgePrior, PriorNetwork, SpikeSlab
from .data.accepts import takes_anndata
from .data.checks import some
from .data.expression import ExpressionData
from .data.gram import GramStatistics, RegressionStatistics
from .narrowed import narrowed
from .regression import DIFFERENCES, RegressionNetwork
from .regression_cells import regress_cells

FEW_ROWS = 0.1
"""Share of the number of regulators: a target of which as many cells are clamped, at the most, is worked with as the
matrix of all cells less these (`RegressionStatistics`). A change of a coefficient costs so many rows more, and a matrix
of its own as many products as there are regulators, after every block. Measured at 160 and 300 regulators: rows up to a
tenth are quicker over warm-up and draws together; with more, the first blocks, in which h changes most, are slower."""


class LinearNetwork(RegressionNetwork):
    r"""A linear-Gaussian gene regulatory network with any `EdgePrior`.

    .. math:: y_{cg} \sim N\Big(\mu_{kg} + \sum_t W_{ktg}\, x_{ct},\ \sigma_{kg}^2\Big), \qquad W_{tt} = 0, \qquad
              \sigma^2_{kg} \sim \mathrm{InvGamma}(2, \tfrac12)

    .. math:: W_{ktg} \sim N(C_{ktg}, \omega^2), \qquad C_{ktg} = W_{tg} \text{ or, with probability } \pi_d,
              \text{ drawn anew from the prior of that edge}, \qquad \omega \sim \mathrm{HalfNormal}(0.1), \quad
              \pi_d \sim \mathrm{Beta}(1, 9)

    for cell c of context k (with one context :math:`W_{ktg} = W_{tg}`, and neither ω nor π_d exist): a context has the
    edge that all share, or one of its own, absent where the others have it, present where they have not, or of another
    size or sign (`OwnOrShared`). The likelihood is an exact
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
        Prior on W. Default `SpikeSlab` in units of the noise, ``unit="noise"``: calibrated on data that were
        standardised by their sample, where in those of the sd lists are too long.
    networks
        Prior networks by name of the source.
    targets
        Genes to explain. Default all.
    differences
        How contexts differ. ``"sparse"``: as above; a few edges may be gone, new or of opposite sign in a context, and
        a context of few cells borrows the others. ``"normal"``: :math:`W_{ktg} \sim N(W_{tg}, \omega^2)` alone, which
        takes a large difference for none. Default ``"sparse"`` where edges have independent inclusion variables
        (`SpikeSlab`), else ``"normal"``.

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
    plain_regression = True
    reference = "Kamimoto et al. 2023, Nature 614:742; Haury et al. 2012, BMC Syst Biol 6:145"

    def __init__(
        self,
        statistics: GramStatistics,
        *,
        edge_prior: EdgePrior | None = None,
        networks: Mapping[str, PriorNetwork] | None = None,
        targets: Sequence[str] | None = None,
        differences: str | None = None,
    ) -> None:
        super().__init__()
        targets = tuple(targets) if targets is not None else statistics.genes
        measured = set(statistics.genes)
        unknown = [t for t in targets if t not in measured]
        if unknown or not targets or len(set(targets)) < len(targets):
            found = f"{len(unknown)} not measured: {some(unknown)}" if unknown else "none, or repeated names"
            raise ValueError(f"`targets`: {found}. Expected names of genes in the data, each once")
        knowledge = EdgeKnowledge.from_networks(networks, statistics.tfs, targets)
        prior = edge_prior or SpikeSlab(unit="noise")
        kind = _kind_of(differences, prior.family, len(statistics.context_names))
        self._describe(statistics.genes, statistics.context_names, knowledge, prior, kind)
        regression = RegressionStatistics.from_statistics(statistics, targets=self.targets, share=FEW_ROWS)
        for name in ("own", "left_out_target"):
            self.register_buffer(name, getattr(regression, name))
        for name in (
            "gram",
            "own_gram",
            "left_out",
            "anchor",
            "residual",
            "sse",
            "dof",
            "tf_mean",
            "target_mean",
            "log_count",
        ):
            self.register_buffer(name, getattr(regression, name).float())
        position = {gene: i for i, gene in enumerate(self.genes)}
        self.register_buffer("tf_index", torch.tensor([position[t] for t in self.tfs]))
        self.register_buffer("target_index", torch.tensor([position[t] for t in self.targets]))
        self.register_buffer("scale", statistics.scale.float())
        share = statistics.count / statistics.count.sum()
        self.register_buffer("mean", (share[:, None] * statistics.mean).sum(0).float())
        self.register_buffer("context_mean", statistics.mean.float())
        self.register_buffer("minimum", statistics.minimum.float())

    @classmethod
    @takes_anndata
    def from_data(
        cls,
        data: ExpressionData,
        *,
        edge_prior: EdgePrior | None = None,
        networks: Mapping[str, PriorNetwork] | None = None,
        targets: Sequence[str] | None = None,
        differences: str | None = None,
    ) -> "LinearNetwork":
        """One pass over the cells, then as the constructor; on the data's device. Of every model ``data`` may be an
        AnnData or MuData, with the options of `data.accepts.expression_of`: ``from_data(adata, tfs=names,
        layer="log")``."""
        model = cls(
            data.statistics(), edge_prior=edge_prior, networks=networks, targets=targets, differences=differences
        )
        return model.to(data.device)

    def _observe_cells(
        self, W: Tensor, noise: Tensor, batch: ExpressionData, target: pyro.plate, context: pyro.plate | None
    ) -> None:
        # the plain likelihood, cell by cell: the reference for the Gram form, and what posterior prediction uses
        X, mask = self.standardize(batch)  # (cell, gene), (cell, target)
        codes = torch.zeros(len(X), dtype=torch.long, device=X.device) if batch.context is None else batch.context
        x, y = X[:, self.tf_index], X[:, self.target_index]
        mean, sd = regress_cells(x, W, noise, context=codes, levels=len(self.contexts), target=target)
        share = 1.0 if batch.population is None else batch.population / len(X)
        with poutine.scale(scale=share), pyro.plate("cell", len(X), dim=-2), target:
            pyro.sample("X", dist.Normal(mean, sd).mask(mask), obs=y)

    def standardize(self, batch: ExpressionData) -> tuple[Tensor, Tensor]:
        """``(cell, gene)`` values in units of the fit, and ``(cell, target)`` False where the target is clamped."""
        X = batch.X.to(self.scale)
        context = torch.zeros(len(X), dtype=torch.long, device=X.device) if batch.context is None else batch.context
        return (X - self.context_mean[context]) / self.scale, ~batch.clamped[:, self.target_index]

    def narrowed(self, targets: Sequence[int]) -> "LinearNetwork":
        return narrowed(self, targets)


def _kind_of(asked: str | None, prior: EdgePrior, num_contexts: int) -> str:
    """How contexts differ: as it is asked for, or as the prior allows."""
    if asked not in (None, *DIFFERENCES):
        raise ValueError(f"`differences` is {asked!r}, expected one of {', '.join(DIFFERENCES)}")
    if asked == "sparse" and not prior.independent_gates:
        raise ValueError(
            f"sparse differences of contexts need edges with independent inclusion variables, as those of SpikeSlab, "
            f"this prior is {type(prior).__name__}: use differences='normal'"
        )
    return "sparse" if asked != "normal" and prior.independent_gates and num_contexts > 1 else "normal"

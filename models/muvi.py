r"""MuVI: several views, gene sets, covariates, sparse programs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from ..priors import EdgeKnowledge, HorseshoeLoading, LoadingPrior, PriorNetwork, gene_sets_to_network
from ..priors.alignment import rename_hint
from .data.accepts import takes_anndata
from .data.checks import some
from .data.expression import ExpressionData
from .data.factor_statistics import FactorStatistics
from .depth import TOTALS
from .factor import FactorModel
from .likelihoods import GAUSSIAN, LIKELIHOODS
from .regression import NOISE_RATE, NOISE_SHAPE

GeneSets = Mapping[str, Mapping[str, Sequence[str]] | PriorNetwork]


class MuVI(FactorModel):
    r"""Multi-view, domain-informed factor model (Qoku & Buettner 2023; the poster's eq. 2).

    .. math:: y \mid x, W, \beta, \Psi \sim N(W^\top x + \beta^\top z, \Psi), \quad
              W_{kg} \sim N\big(0, (\tau_v \delta_{kv} \lambda_{kg})^2\big), \quad \tau, \delta, \lambda \sim C^+(1),
              \quad \beta \sim N(0, I)

    A labelled factor stands for a gene set: its loadings are expected among the set's genes, as far as the data trust
    the library (`LoadingPrior`). Further factors are free. The likelihood is not tempered: no weights of 1/n or 1/√d.
    Views may be Gaussian, Bernoulli or negative-binomial counts; values may be missing.

    Parameters
    ----------
    data
        Cells, or their `FactorStatistics` (Gaussian and complete).
    num_factors
        Unlabelled factors. Default 10 without gene sets, 2 beside them.
    gene_sets
        By library, gene sets (name → genes) or a `PriorNetwork` from sets to genes with confidences.
    loading_prior
        Default `HorseshoeLoading`.
    likelihood
        One for all views, or one by view. Default gaussian.
    standardize
        Divide Gaussian genes by their sd within groups. Default True.
    factor_effects
        Whether covariates act through programs as well (Γ). Default True.
    integrate
        Integrate the factors out where that is exact. Default True; False samples them, as the paper's guide does.
    min_overlap
        Fewest measured genes of a set that becomes a factor. Default 5.
    depth
        Of negative-binomial views: ``"totals"`` (default) takes the depth of each cell as an offset, by
        `models.depth.log_size_factors`, because a factor of all genes would stand for it otherwise; ``"none"`` takes
        cells as equally deep. ``data.size_factor``, where given, is the offset in either case.

    Raises
    ------
    ValueError
        No set has that overlap; set names that repeat; more factors than cells or genes allow; unknown likelihoods.

    Examples
    --------
    >>> from pyrogrn.models.simulators import simulate_muvi
    >>> simulation = simulate_muvi(num_genes=30, num_cells=60, num_sets=2, set_size=8, seed=0)
    >>> MuVI(simulation.data, gene_sets={"sets": simulation.gene_sets}, num_factors=1).dims["W"]
    ('factor', 'gene')
    """

    name = "muvi"
    takes = ("gene_sets",)
    reference = "Qoku & Buettner 2023, AISTATS, PMLR 206:11545"

    def __init__(
        self,
        data: ExpressionData | FactorStatistics,
        *,
        num_factors: int | None = None,
        gene_sets: GeneSets | None = None,
        loading_prior: LoadingPrior | None = None,
        likelihood: str | Mapping[str, str] = GAUSSIAN,
        standardize: bool = True,
        factor_effects: bool = True,
        integrate: bool = True,
        min_overlap: int = 5,
        noise_prior: tuple[float, float] = (NOISE_SHAPE, NOISE_RATE),
        depth: str = TOTALS,
    ) -> None:
        networks, labels = _labelled(gene_sets or {}, data.genes, min_overlap)
        free = num_factors if num_factors is not None else 2 if labels else 10
        if free < 0 or free + len(labels) < 1:
            raise ValueError(f"num_factors is {free} beside {len(labels)} gene sets: expected at least one factor")
        names = [*labels, *(f"factor_{k + 1}" for k in range(free))]
        repeated = sorted({n for n in names if names.count(n) > 1})
        if repeated:
            raise ValueError(f"factors are named by their sets and {some(repeated)} occur twice: rename the sets")
        views = data.view_names
        kinds = {view: likelihood for view in views} if isinstance(likelihood, str) else dict(likelihood)
        unknown = [k for k in kinds.values() if k not in LIKELIHOODS] or [v for v in kinds if v not in views]
        if unknown:
            raise ValueError(
                f"likelihood: {some(unknown)} is neither one of {', '.join(LIKELIHOODS)} nor one of the views "
                f"{list(views)}"
            )
        super().__init__(
            data,
            knowledge=EdgeKnowledge.of_programs(networks, names, data.genes),
            loading_prior=loading_prior or HorseshoeLoading(),
            likelihood={str(k): str(v) for k, v in kinds.items()},
            standardize=standardize,
            factor_effects=factor_effects,
            integrate=integrate,
            noise_prior=noise_prior,
            depth=depth,
        )
        self.expects = "log" if set(kinds.values()) <= {GAUSSIAN} else "any"  # others check what they are given

    @classmethod
    @takes_anndata
    def from_data(cls, data: ExpressionData, **options: Any) -> "MuVI":
        """As the constructor, on the data's device."""
        return cls(data, **options).to(data.device)


def _labelled(gene_sets: GeneSets, genes: Sequence[str], min_overlap: int) -> tuple[dict[str, PriorNetwork], list[str]]:
    """Libraries as networks from sets to measured genes, and the sets with enough of those, in order."""
    measured, networks = set(genes), {}
    labels: dict[str, None] = {}
    for library, sets in gene_sets.items():
        network = gene_sets_to_network(sets, name=library) if isinstance(sets, Mapping) else sets
        overlap: dict[str, int] = {}
        for source, target in zip(network.source, network.target, strict=True):
            overlap[source] = overlap.get(source, 0) + (target in measured)
        kept = [name for name, number in overlap.items() if number >= min_overlap]
        if not kept:
            best = max(overlap.values(), default=0)
            hint = rename_hint(network.targets, genes) if best == 0 else None
            example = some(sorted(set(network.target))[:3]), some(list(genes)[:3])
            raise ValueError(
                f"gene sets {library!r}: none of {len(overlap)} sets has {min_overlap} of the {len(measured)} measured "
                f"genes (the largest overlap is {best}; sets name {example[0]}, the data {example[1]}). "
                + (hint or "Use one kind of gene names, or lower the smallest overlap, `min_overlap=`")
            )
        chosen = torch.tensor([s in set(kept) for s in network.source]).numpy()
        networks[library] = replace(
            network,
            source=network.source[chosen],
            target=network.target[chosen],
            probability=network.probability[chosen],
            sign=0 * network.sign[chosen],
            evidence=network.evidence[chosen],
        )
        labels |= dict.fromkeys(kept)
    return networks, list(labels)

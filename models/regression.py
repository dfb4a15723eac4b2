"""What networks have in common that are a linear-Gaussian regression of each target given some of their sites."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from ..priors import EdgeKnowledge, EdgePrior, Hyper, SpikeSlab
from ..priors.host_values import kept
from ..priors.inverse_gamma import InverseGamma
from ..priors.own_edges import ContextEdge, OwnEdge, OwnOrShared
from ..priors.shapes import broadcast_shapes
from .base import Model
from .couplings import Grams, couplings
from .data.expression import ExpressionData
from .data.twins import Twins, twins_of
from .gaussian_block import GaussianBlock
from .observation.designs import ClampedDesign, Design, SharedDesign
from .observation.gram_normal import GramNormal, rows_of, squared_error
from .observation.joined import by_target, joined
from .regression_block import RegressionBlock
from .state import State

NOISE_SHAPE, NOISE_RATE = 2.0, 0.5  # σ² ~ InvGamma: mean half of the target's variance, heavy right tail
DIFFERENCES = ("sparse", "normal")
# the same where weights are in units of σ, and a network is the same in any unit of the target: what the prior says of
# σ² must not depend on what the target was divided by. As much as one cell with residual 0.03 sd
FREE_SHAPE, FREE_RATE = 0.5, 0.0005


class Cuts(NamedTuple):
    """``vector`` (pair, tf) with ``context`` and ``target`` (pair,): G_i = G − Σ v vᵀ for target i."""

    vector: Tensor
    context: Tensor
    target: Tensor


class RegressionNetwork(Model):
    r"""W with any `EdgePrior`, noise variances, and contexts that share W, under a likelihood that is Gaussian in W.

    .. math:: W \sim \text{edge prior}, \quad W_k \sim N(W, \omega^2), \quad \omega\sim\mathrm{HalfNormal}(0.1), \quad
              \sigma^2_{kg} \sim \mathrm{InvGamma}(2, \tfrac12)

    (:math:`\mathrm{InvGamma}(\tfrac12, 0.0005)`, all but flat in log σ², where the edge prior is in units of σ); or,
    with ``differences="sparse"``, contexts of which each has the shared edge or, at a rate that is learned, one of its
    own (`OwnOrShared`).

    A subclass registers the statistics of the regressions (`RegressionStatistics` says what they are) as buffers, and
    `scale` of the genes; `GibbsKernel` and the guides need no more. The site ``X`` is observed: those statistics under
    a `GramNormal` for the whole data, each cell for a batch of cells.
    """

    def _describe(
        self,
        genes: Sequence[str],
        contexts: Sequence[str],
        knowledge: EdgeKnowledge,
        edge_prior: EdgePrior,
        differences: str = "normal",
    ) -> None:
        """All but the statistics of the data."""
        self.genes, self.contexts = tuple(genes), tuple(contexts)
        self.tfs, self.targets, self.knowledge = knowledge.tfs, knowledge.targets, knowledge
        self.edge_prior = edge_prior.bind(knowledge)
        family = self.edge_prior.family
        if family.measured_in is None:
            family.measured_in = "sd"
        if family.measured_in == "noise" and not self.plain_regression:
            raise ValueError(
                f"scales in units of the noise are for a linear network, this is a {type(self).__name__}: use "
                f"{type(family).__name__}(unit='sd')"
            )
        self.differences = differences
        # ω ~ HalfNormal(0.1): contexts differ by less than a typical edge unless the data say otherwise
        self.context_scale = Hyper(dist.HalfNormal, 0.1)
        if self.has_own_edges:  # π_d ~ Beta(1, 9): one edge in ten is a context's own, and none is the likeliest rate
            self.difference_rate = Hyper(dist.Beta, 1.0, 9.0)

    difference_rate: Hyper
    gram: Tensor
    own: Tensor
    own_gram: Tensor
    anchor: Tensor
    residual: Tensor
    sse: Tensor
    dof: Tensor
    scale: Tensor
    tf_index: Tensor
    target_index: Tensor
    counted: tuple[Tensor, float] | None = None
    """Of a likelihood that counts for fewer cells, the Gram matrix of all and the share; `inference.recalibration`."""
    if TYPE_CHECKING:  # what only those have that regress cells: not every class that derives from this one
        log_count: Tensor
        mean: Tensor
        context_mean: Tensor
        minimum: Tensor
        tf_mean: Tensor
        target_mean: Tensor

    def to_state(self) -> dict[str, list[str]]:
        # files of earlier versions have no word for differences
        words = {"differences": [self.differences]} if self.has_own_edges else {}
        return {"genes": list(self.genes), "contexts": list(self.contexts), **words}

    def _restore(self, state: State, knowledge: EdgeKnowledge, edge_prior: EdgePrior) -> None:
        differences = state.name("differences") if "differences" in state.entries else "normal"
        self._describe(state.names("genes"), state.names("contexts"), knowledge, edge_prior, differences)

    # -- axes ----
    @property
    def has_contexts(self) -> bool:
        return len(self.contexts) > 1

    @property
    def has_own_edges(self) -> bool:
        """Whether a context has the shared edge or one of its own."""
        return self.has_contexts and self.differences == "sparse"

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
        if self.has_own_edges:
            own |= {"difference_rate": ()}
        return {**self.edge_prior.dims, **own}

    @property
    def max_plate_nesting(self) -> int:
        return 3 if self.has_contexts else 2

    @property
    def twins(self) -> tuple[Twins, ...]:
        """Pairs of regulators that correlate above 0.99 in what the fit conditions on, contexts together
        (`data.twins`): the data can hardly tell them apart, and they share the probability of an edge."""
        return twins_of(self.gram, self.tfs)

    # -- the generative story ----
    def forward(self, batch: ExpressionData | None = None) -> None:
        tf = pyro.plate("tf", len(self.tfs), dim=-2)
        target = pyro.plate("target", len(self.targets), dim=-1)
        context = pyro.plate("context", len(self.contexts), dim=-3) if self.has_contexts else None
        in_unit = self.edge_prior.family.measured_in == "noise"
        noise_prior = self._noise_prior()
        noise: Tensor | None = None
        with context or nullcontext(), target:
            if in_unit or self.has_own_edges:
                noise = pyro.sample("noise_variance", noise_prior)  # (target,) or (context, 1, target)
        unit = (self.unit_variance(noise).sqrt(),) if in_unit and noise is not None else ()
        if self.has_own_edges:
            W = self._own_or_shared(tf, target, context, unit)
        else:
            W = self.edge_prior(tf, target, *unit) if unit else self.edges(tf, target)  # (tf, target)
            spread = self.context_scale("context_scale") if context is not None else self.constant
            if noise is None:
                with context or nullcontext(), target:
                    noise = pyro.sample("noise_variance", noise_prior)
            if context is not None:
                with context, tf, target:
                    assert spread is not None
                    W = pyro.sample("W_context", dist.Normal(W, spread))  # (context, tf, target)
                W = W * self.edge_prior.allowed
        assert noise is not None
        self._observe_all(W, noise, batch, target, context)

    @property
    def hyper_without_edges(self) -> bool:
        """Whether `hyper` leaves the edges out."""
        prior = self.edge_prior
        return self.plain_regression and not self.has_contexts and not prior.masks and prior.independent_gates

    def hyper(self, batch: ExpressionData | None = None) -> Any:
        """Of independent edges with gates and one context the sites that are no edges alone: a network of any size
        costs little."""
        if not self.hyper_without_edges:
            return super().hyper(batch)
        in_unit = self.edge_prior.family.measured_in == "noise"
        if in_unit:
            self._sample_noise()
        cast(SpikeSlab, self.edge_prior.family).hyperparameters(pyro.plate("tf", len(self.tfs), dim=-2))
        return None if in_unit else self._sample_noise()

    def _sample_noise(self) -> Tensor:
        """``(target,)``, without contexts."""
        with pyro.plate("target", len(self.targets), dim=-1):
            return pyro.sample("noise_variance", self._noise_prior())

    def _noise_prior(self) -> InverseGamma:
        in_unit = self.edge_prior.family.measured_in == "noise"
        numbers = (FREE_SHAPE, FREE_RATE) if in_unit else (NOISE_SHAPE, NOISE_RATE)
        shape, rate = map(self.constant.new_tensor, numbers)
        return InverseGamma(shape, rate)

    def _own_or_shared(
        self, tf: pyro.plate, target: pyro.plate, context: pyro.plate | None, unit: Sequence[Tensor]
    ) -> Tensor:
        """W of every context ``(context, tf, target)``."""
        assert context is not None, "there are several"
        spread, rate = self.context_scale("context_scale"), self.difference_rate("difference_rate")
        prior = cast(SpikeSlab, self.edge_prior.family)
        edge = prior.components(tf, *unit)
        shared = prior.edges(edge, tf, target)
        with context, tf, target:
            W = pyro.sample("W_context", OwnOrShared(shared, spread, rate, edge))
        return W * self.edge_prior.allowed

    @property
    def cell_share(self) -> Tensor:
        """``(context, 1, target)`` of each context in the cells of each target."""
        return (self.dof / self.dof.sum(0))[:, None]

    def unit_variance(self, noise: Tensor) -> Tensor:
        """``(*batch, 1, target)`` the noise variance that scales are in units of: of all cells together."""
        if not self.has_contexts:
            return noise
        return (self.cell_share * noise).sum(
            -3, keepdim=noise.dim() > 3
        )  # without draws on the left, without a plate there

    def own_edge(self, values: Mapping[str, Tensor]) -> OwnEdge:
        """Whether each context's edge ``(*batch, context, tf, target)`` is the shared one, or its own and absent or
        present, given a draw of the sites."""
        prior = cast(SpikeSlab, self.edge_prior.family)
        edge = prior.given(self._in_unit(values))
        return OwnOrShared(values["W"], values["context_scale"], values["difference_rate"], edge).which(
            values["W_context"]
        )

    def context_edge(self, values: Mapping[str, Tensor], inclusion: Tensor) -> ContextEdge | None:
        if not self.has_own_edges:
            return None
        allowed = self.edge_prior.allowed
        found = OwnEdge(*(part * allowed for part in self.own_edge(values)))
        probability = found.shared * inclusion + found.present
        return ContextEdge(probability, probability, torch.where(allowed, found.shared, 1.0), found.absent)

    def _in_unit(self, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Values as a prior takes them, which knows one noise variance of a target."""
        if self.edge_prior.family.measured_in != "noise" or not self.has_contexts:
            return values
        return {**values, "noise_variance": self.unit_variance(values["noise_variance"])}

    def inclusion(self, values: Mapping[str, Tensor], *, threshold: float) -> Tensor:
        return super().inclusion(self._in_unit(values), threshold=threshold)

    def _observe_all(
        self, W: Tensor, noise: Tensor, batch: ExpressionData | None, target: pyro.plate, context: pyro.plate | None
    ) -> None:
        if batch is None:
            self._observe_statistics(W, noise, target, context)
        else:
            self._observe_cells(W, noise, batch, target, context)

    def edges(self, tf: pyro.plate, target: pyro.plate) -> Tensor:
        """Sample W ``(tf, target)``, and observe what else depends on the edges."""
        return self.edge_prior(tf, target)

    def _observe_statistics(self, W: Tensor, noise: Tensor, target: pyro.plate, context: pyro.plate | None) -> None:
        # p(X | W, σ²) through the sufficient statistics, intercepts integrated out
        observed = GramNormal(W, noise, self.design(), validate_args=False)
        self._observe(observed.at(self.observed()), target, context)

    def _observe(self, statistics: GramNormal, target: pyro.plate, context: pyro.plate | None) -> None:
        # the batch shape is (context or 1, 1, target): guides that read the plates of a model count on one for each
        with context or pyro.plate("regression", 1, dim=-2), target:
            pyro.sample("X", statistics, obs=self.observed())

    def design(self) -> Design:
        """The regressions without their responses; contexts lead everything if there are several."""
        wide = self.has_contexts
        pick = lambda v: v if wide else v[0]
        by = lambda v: v[:, None] if wide else v  # (context, 1, target) or (1, target)
        given = (
            len(self.tfs),
            len(self.targets),
            pick(self.gram),
            pick(self.anchor),
            by(self.dof),
            by(self.log_count),
            self.own,
            pick(self.own_gram),
        )
        rows = self.clamped_rows
        return ClampedDesign(*given, rows.vector, rows.target) if len(rows.target) else SharedDesign(*given)

    def observed(self) -> Tensor:
        """``([context,] 1, target, statistic)`` value of the site ``X`` of the whole data."""
        return joined(self, "X", (self.residual, self.sse), self._join)

    def _join(self, residual: Tensor, sse: Tensor, *more: Tensor) -> Tensor:
        value = by_target(residual, sse[:, None], *more)
        return value if self.has_contexts else value[0]

    def squared_error(self, W: Tensor) -> Tensor:
        """``(*batch, 1, target)`` centred residual sum of squares of ``W`` ``(*batch, tf, target)``; contexts lead both
        if there are several."""
        design = self.design()
        return squared_error(design, W - design.anchor, rows_of(self.observed()))

    @abstractmethod
    def _observe_cells(
        self, W: Tensor, noise: Tensor, batch: ExpressionData, target: pyro.plate, context: pyro.plate | None
    ) -> None:
        """Observe a batch cell by cell."""

    # -- conjugacy ----
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

    def weights_given(self, loc: Tensor, scale: Tensor, noise: Tensor, shift: Tensor | float = 0.0) -> GaussianBlock:
        """W for independent Gaussian priors N(``loc``, ``scale``²) of the edges, noise variances ``(*batch, 1,
        target)`` and ``shift``, what Xᵀy is more than at the anchor, each broadcastable to ``(*batch, tf, target)``;
        one context."""
        given = [v.shape for v in (loc, scale, noise, shift) if isinstance(v, Tensor)]
        shape = broadcast_shapes(self.anchor.shape[1:], *given)
        allowed = self.edge_prior.allowed
        centre = torch.where(allowed, self.anchor[0], 0.0)
        # W = centre + step; the prior of the step is N(loc − centre, scale²), edges that may not exist are uncoupled
        # from the data
        weight = scale.expand(shape) ** -2
        residual = torch.where(allowed, self.residual[0] + self._moved_anchor() + shift, 0.0)
        eta = (residual / noise + weight * (loc - centre)).transpose(-1, -2)  # (*batch, target, tf)
        cuts = self.cuts if len(self.cuts.target) else self.clamped_rows  # no model has both
        grams = Grams(self.gram[0], self.own, self.own_gram[0], cuts.vector, cuts.target)
        rows = [self._buffers.get(name) for name in ("left_out_target", "cut_target")]
        parts = [allowed, self.own, *(buffer for buffer in rows if buffer is not None)]
        found = kept(self, "couplings", parts, lambda *_: couplings(allowed, grams))
        return RegressionBlock(centre, noise, weight, eta, grams, found)

    @property
    def cuts(self) -> Cuts:
        """Conditions that are still in the shared Gram matrix and not in a target's regression; here none, clamped
        cells are out of ``own_gram`` already."""
        none = self.own.new_zeros(0)
        return Cuts(self.gram.new_zeros(0, len(self.tfs)), none, none)

    @property
    def clamped_rows(self) -> Cuts:
        """Cells in which a target is clamped and that are taken out of its Gram matrix, of targets that have no whole
        matrix of their own; one context."""
        rows, target = self._buffers.get("left_out"), self._buffers.get("left_out_target")
        if rows is None or target is None:  # of files of earlier versions, and of other models
            none = self.own.new_zeros(0)
            return Cuts(self.gram.new_zeros(0, len(self.tfs)), none, none)
        return Cuts(rows, torch.zeros_like(target), target)

    @property
    def perturbed(self) -> Tensor:
        """``(pair,)`` targets that are clamped in some cells, in order."""
        rows = self.clamped_rows.target
        return torch.cat([self.own, rows]).unique() if len(rows) else self.own

    def gram_of(self, context: int, target: int) -> Tensor:
        """``(tf, tf)`` of one target."""
        place, rows = torch.nonzero(self.own == target)[:, 0], self.clamped_rows
        if len(place):
            return self.own_gram[context, int(place)]
        mine = rows.vector[rows.target == target].double()
        return (self.gram[context].double() - mine.T @ mine).to(self.gram) if len(mine) else self.gram[context]

    def perturbed_gram(self) -> Tensor:
        """``(context, pair, tf, tf)`` of `perturbed`: as many whole matrices."""
        which, rows = self.perturbed, self.clamped_rows
        if not len(rows.target):
            return self.own_gram
        found = self.gram[:, None].repeat(1, len(which), 1, 1)
        found[:, torch.searchsorted(which, self.own)] = self.own_gram
        for target in rows.target.unique().tolist():
            found[0, which == target] = self.gram_of(0, target)
        return found

    def _moved_anchor(self) -> Tensor:
        """What of the anchor a mask takes away, as a change of the residual: G (anchor − anchor·allowed)."""
        outside = torch.where(self.edge_prior.allowed, 0.0, self.anchor[0])
        moved = self.gram[0] @ outside
        if len(self.own):
            moved = moved.index_copy(-1, self.own, torch.einsum("pst,tp->sp", self.own_gram[0], outside[:, self.own]))
        rows = self.clamped_rows
        if len(rows.target):
            lost = (rows.vector * outside.T[rows.target]).sum(-1, keepdim=True) * rows.vector  # (row, tf)
            moved = moved.index_add(-1, rows.target, -lost.T)
        return moved

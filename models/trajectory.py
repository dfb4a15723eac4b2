r"""The network of a time course: PHOENIX with one additive neuron a regulator, as an exact linear regression."""

from collections.abc import Mapping, Sequence

import pyro
import torch
from torch import Tensor

from ..priors import EdgeKnowledge, EdgePrior, PriorNetwork, SpikeSlab
from .base import Model
from .data.accepts import takes_anndata
from .data.checks import some
from .data.expression import ExpressionData
from .dynamics.relaxation import Activation, TrajectoryDesign, TrajectoryStatistics, checked_transitions, straight_paths
from .observation.designs import OwnLevelDesign
from .regression import Cuts, RegressionNetwork


class TrajectoryNetwork(RegressionNetwork):
    r"""Every gene relaxes towards what regulates it:

    .. math:: \dot g_i = \upsilon_i\Big[\sum_j W_{ji}\,\phi(g_j) + b_i - g_i\Big], \qquad \phi(x) = \frac{z}{1+|z|}.

    This is PHOENIX (Hossain et al. 2024, Genome Biology 25:127; equations in `Phoenix`) with its additive layer alone
    and a neuron for each regulator, so that an edge is one weight and not a sum over shared neurons. Between two
    measurements Δ apart the equation is solved exactly by

    .. math:: g_i(t+\Delta) = d\,g_i(t) + (1-d)\Big[\sum_j W_{ji}\int_0^1 k(s)\,\phi(g_j(s))\,ds + b_i\Big],
              \qquad d = e^{-\upsilon\Delta}, \quad k(s)\propto e^{-\upsilon\Delta(1-s)},

    linear in W given a rate and the path of the levels between both ends, which is taken as straight. Genes differ in
    their rate: each regression has, beside the regulators, the gene's own mean level on the path with a flat
    coefficient, which is what a rate other than υ adds (:math:`\dot g_i = \upsilon[\ldots - g_i] +
    (\upsilon_i-\upsilon)[\ldots-g_i]`), so υ need only be of the right order. Hence every `EdgePrior` and engine of
    `RegressionNetwork` works here, among them the exact Gibbs sampler: pairs of measurements are the observations, and
    one Gram matrix, less a vector for each target, serves all of them.

    What it leaves out: products of regulators, noise in the regulators' own levels, and bends between two
    measurements. On simulated time courses (`make bench`, section trajectory) edges are ranked well and their
    probabilities are too sure, so they wear no badge. It has no batches of cells: a cell is the end of one pair and the
    start of the next, so cells are not exchangeable, and some of them are no pairs; X is observed as the statistics of
    all pairs. Weights are standardised: standard deviations of a target's
    response per standard deviation of the regulator's φ. A self-edge never exists: the decay is the gene's own
    dynamics.

    Parameters
    ----------
    statistics
        `TrajectoryStatistics` of the data.
    edge_prior
        Prior on W. Default `SpikeSlab`.
    networks
        Prior networks by name of the source.

    Raises
    ------
    ValueError
        As `TrajectoryStatistics.from_data`.
    """

    name = "trajectory"
    needs = ("time",)
    rows = "samples"
    minibatches = False
    expects = "course"
    story = "relaxation towards an additive network"
    reference = "Hossain et al. 2024, Genome Biology 25:127 (PHOENIX's additive layer, one neuron a regulator)"

    def __init__(
        self,
        statistics: TrajectoryStatistics,
        *,
        edge_prior: EdgePrior | None = None,
        networks: Mapping[str, PriorNetwork] | None = None,
    ) -> None:
        Model.__init__(self)
        s = statistics
        knowledge = EdgeKnowledge.from_networks(networks, s.tfs, s.targets)
        self._describe(s.genes, ("all",), knowledge, edge_prior or SpikeSlab())
        position = {gene: i for i, gene in enumerate(s.genes)}
        self.register_buffer("tf_index", torch.tensor([position[t] for t in s.tfs]))
        self.register_buffer("target_index", torch.tensor([position[t] for t in s.targets]))
        residual = s.cross - (s.gram @ s.anchor - s.cut.T * (s.cut.T * s.anchor).sum(0))
        sse = (s.square - (s.anchor * (s.cross + residual)).sum(0)).clamp_min(1e-10)
        for name, value in {
            "gram": s.gram[None],
            "cut": s.cut,
            "anchor": s.anchor[None],
            "residual": residual[None],
            "sse": sse[None],
            "dof": torch.full((1, len(s.targets)), s.dof),
            "rate": torch.tensor(s.rate),
            "scale": s.scale,
            "unit": s.unit,
            "middle": s.activation.middle,
            "width": s.activation.width,
        }.items():
            self.register_buffer(name, value.float())
        self.register_buffer("own", torch.zeros(0, dtype=torch.long))
        self.register_buffer("own_gram", s.gram.new_zeros(1, 0, *s.gram.shape).float())

    cut: Tensor
    rate: Tensor
    unit: Tensor
    middle: Tensor
    width: Tensor

    @classmethod
    @takes_anndata
    def from_data(
        cls,
        data: ExpressionData,
        *,
        edge_prior: EdgePrior | None = None,
        networks: Mapping[str, PriorNetwork] | None = None,
        targets: Sequence[str] | None = None,
        rate: float | None = None,
    ) -> "TrajectoryNetwork":
        """Statistics of a time course (`ExpressionData.with_times`), then as the constructor.

        Parameters
        ----------
        data, edge_prior, networks, targets
            As every network.
        rate
            υ, per unit of time. Default: one lifetime in the median gap between measurements.
        """
        statistics = TrajectoryStatistics.from_data(data, targets=targets, rate=rate)
        return cls(statistics, edge_prior=edge_prior, networks=networks).to(data.device)

    # -- targets with their own level cut out ----
    @property
    def cuts(self) -> Cuts:
        target = torch.arange(len(self.targets), device=self.cut.device)
        return Cuts(self.cut, torch.zeros_like(target), target)

    def gram_product(self, value: Tensor) -> Tensor:
        """``(*batch, tf, target)``: each target's Gram matrix times ``value``."""
        v = self.cut.T
        return self.gram[0] @ value - v * (v * value).sum(-2, keepdim=True)

    def _moved_anchor(self) -> Tensor:
        return self.gram_product(torch.where(self.edge_prior.allowed, 0.0, self.anchor[0]))

    # -- the generative story ----
    def design(self) -> OwnLevelDesign:
        """The regressions of the pairs of times without their responses."""
        sizes = len(self.tfs), len(self.targets)
        return OwnLevelDesign(*sizes, self.gram[0], self.anchor[0], self.dof, None, *self.cuts)

    def _observe_cells(
        self, W: Tensor, noise: Tensor, batch: ExpressionData, target: pyro.plate, context: pyro.plate | None
    ) -> None:
        raise ValueError("TrajectoryNetwork conditions on the whole time course: fit it without `batch_size`")

    # -- the regression of given data ----
    def designs(self, data: ExpressionData) -> list[TrajectoryDesign]:
        """The regression of a time course, in standardised units; one, for the one context.

        Raises
        ------
        ValueError
            Data that lack genes of the fit, and as `TrajectoryStatistics.from_data`.
        """
        missing = [g for g in self.genes if g not in set(data.genes)]
        if missing:
            raise ValueError(f"`data` lack {len(missing)} genes of the fit: {some(missing)}. Pass the time course")
        transitions = checked_transitions(data.select_genes(self.genes))
        phi = Activation(self.middle.double().cpu(), self.width.double().cpu())(straight_paths(transitions))
        design = TrajectoryDesign.of(transitions, phi, float(self.rate), self.tf_index.cpu(), self.target_index.cpu())
        return [design.standardised(self.scale.double().cpu(), self.unit.double().cpu())]

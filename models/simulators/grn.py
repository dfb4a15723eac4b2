r"""Random regulatory networks with SERGIO kinetics, as a Pyro program."""

from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from .langevin import Kinetics

Range = tuple[float, float]


@dataclass(frozen=True)
class RandomGRN:
    r"""A family of random networks (Shrivastava et al. 2022, section 3.2), and wider ones.

    .. math:: P(t \to g) = \min(1, s\, a_t b_g), \qquad a_t \propto e^{h z_t},\ b_g \propto e^{d z_g}

    with means of a and b equal to 1. A gene that has no regulator gets one, drawn in proportion to a, so that the graph
    is connected as the simulator needs; regulators regulate each other in one random order, without circles.
    Regulators without a regulator are master regulators: in each cell type they are made at a low or a high rate.
    With ``copying`` c a gene takes, with probability c, the regulators of a gene before it instead of its own (a
    network that grows by duplication; Teichmann & Babu 2004): genes then share whole sets of regulators, as the operons
    and regulons of measured networks do. Strengths and signs are not copied.
    Ranges ``(low, high)`` are drawn from uniformly, once for each network (K and rates: once for each edge and type).

    Attributes
    ----------
    num_genes, num_tfs, num_types
        Sizes. Defaults of all fields: the paper's protocol.
    sparsity
        s, for regulator → other gene.
    tf_edges
        Expected number of edges among regulators.
    hubs, popularity
        h and d: how unequal out-degrees and in-degrees are (0: binomial, as in the paper; 1: heavy tails, as in
        measured networks).
    copying
        c; 0 in the paper.
    cascade
        κ: how much more often a regulator with many targets is itself regulated (a target weight
        :math:`e^{\kappa z_t}` among regulators, and a later place in their order). 0 in the paper; positive in
        measured networks (Bacillus subtilis: regulated regulators have three times the targets of the others,
        CollecTRI: four times).
    repressive
        Share of repressing edges.
    strength
        K.
    low_rate, high_rate, high_share
        Rates of master regulators, and the share of cell types in which a regulator is high.
    decay, noise
        λ and q of all genes of a network.
    hill
        Hill coefficient n.
    """

    num_genes: int = 100
    num_tfs: int = 10
    num_types: int = 5
    sparsity: Range = (0.1, 0.1)
    tf_edges: Range = (2.0, 2.0)
    hubs: Range = (0.0, 0.0)
    popularity: Range = (0.0, 0.0)
    copying: Range = (0.0, 0.0)
    cascade: Range = (0.0, 0.0)
    repressive: Range = (0.5, 0.5)
    strength: Range = (1.0, 5.0)
    low_rate: Range = (0.2, 0.5)
    high_rate: Range = (0.7, 1.0)
    high_share: Range = (0.5, 0.5)
    decay: Range = (1.0, 1.0)
    noise: Range = (0.1, 0.1)
    hill: float = 2.0

    def __post_init__(self) -> None:
        if not 1 <= self.num_tfs <= self.num_genes:
            raise ValueError(f"num_tfs={self.num_tfs}, num_genes={self.num_genes}: expected 1 <= num_tfs <= num_genes")
        if self.num_types < 1:
            raise ValueError(f"num_types is {self.num_types}, expected at least 1")
        if not self.hill > 0:
            raise ValueError(f"hill is {self.hill}, expected a positive Hill coefficient")
        for name, value in vars(self).items():
            if isinstance(value, tuple) and not (len(value) == 2 and 0 <= value[0] <= value[1]):
                raise ValueError(f"{name} is {value}, expected (low, high) with 0 <= low <= high")
        for name in ("sparsity", "copying", "repressive", "high_share"):
            if getattr(self, name)[1] > 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected shares in [0, 1]")

    def __call__(self, num_networks: int) -> Kinetics:
        """Draw that many networks; regulators are genes 0 … ``num_tfs`` − 1."""
        if num_networks < 1:
            raise ValueError(f"num_networks is {num_networks}, expected at least 1")
        n, tfs, genes = num_networks, self.num_tfs, self.num_genes
        each = {
            name: _uniform(name, getattr(self, name), (n, 1, 1))
            for name in (
                *("sparsity", "tf_edges", "hubs", "popularity", "copying", "cascade"),
                *("repressive", "high_share", "decay", "noise"),
            )
        }
        present = self._edges(n, each)
        repress = pyro.sample("represses", _event(dist.Bernoulli(each["repressive"].expand(n, tfs, genes))))
        strength = _uniform("strength", self.strength, (n, tfs, genes)) * (1 - 2 * repress) * present
        high = pyro.sample("high", _event(dist.Bernoulli(each["high_share"].expand(n, tfs, self.num_types))))
        low_rate = _uniform("low_rate", self.low_rate, (n, tfs, self.num_types))
        high_rate = _uniform("high_rate", self.high_rate, (n, tfs, self.num_types))
        is_master = present[..., :tfs].sum(1) == 0
        production = torch.zeros(n, genes, self.num_types)
        production[:, :tfs] = torch.where(high > 0, high_rate, low_rate) * is_master[..., None]
        return Kinetics(
            regulators=torch.arange(tfs).expand(n, tfs).contiguous(),
            strength=strength,
            hill=torch.full_like(strength, self.hill),
            production=production,
            decay=each["decay"][..., 0].expand(n, genes).contiguous(),
            noise=each["noise"][..., 0].expand(n, genes).contiguous(),
        )

    def _edges(self, n: int, each: dict[str, Tensor]) -> Tensor:
        """``(network, tf, gene)`` 0/1."""
        tfs, genes = self.num_tfs, self.num_genes
        hub = pyro.sample("hub", _event(dist.Normal(torch.zeros(n, tfs, 1), 1.0)))
        favour = pyro.sample("favour", _event(dist.Normal(torch.zeros(n, 1, genes), 1.0)))
        out = torch.softmax(each["hubs"] * hub, dim=1) * tfs  # mean 1
        into = torch.softmax(each["popularity"] * favour, dim=2) * genes
        probability = (each["sparsity"] * out * into).clamp_max(1.0)
        # among regulators: only down a random order; the same hubs, another density
        order = pyro.sample("order", _event(dist.Uniform(torch.zeros(n, tfs), 1.0)))
        place = order + each["cascade"][..., 0] * torch.special.ndtr(hub[..., 0])
        allowed = (place[:, :, None] < place[:, None, :]).float()
        pairs = max(tfs * (tfs - 1) / 2, 1)
        regulated = torch.softmax((each["cascade"] * hub).transpose(1, 2), dim=2) * tfs  # (network, 1, tf), mean 1
        among = (each["tf_edges"] / pairs * out * regulated).clamp_max(1.0) * allowed
        probability = torch.cat([among, probability[..., tfs:]], dim=-1)
        present = pyro.sample("present", _event(dist.Bernoulli(probability)))
        first = pyro.sample("first", _event(dist.Categorical(probs=out.transpose(1, 2).expand(n, genes, tfs))))
        orphan = present.sum(1) == 0  # (network, gene)
        orphan[:, :tfs] = False
        present = present + torch.nn.functional.one_hot(first, tfs).transpose(1, 2) * orphan[:, None]
        others = genes - tfs
        copies = pyro.sample("copies", _event(dist.Bernoulli(each["copying"][..., 0].expand(n, others))))
        earlier = torch.arange(others).clamp_min(1).float()
        model = pyro.sample("model_unit", _event(dist.Uniform(torch.zeros(n, others), 1.0)))
        origin = torch.arange(others).expand(n, others).clone()
        source = (model * earlier).long()
        network = torch.arange(n)
        for g in range(1, others):  # a copy of a copy has the regulators of the first
            origin[:, g] = torch.where(copies[:, g] > 0, origin[network, source[:, g]], origin[:, g])
        index = tfs + origin[:, None].expand(n, tfs, others)
        return torch.cat([present[..., :tfs], present.gather(2, index)], dim=-1)


def _event(distribution: dist.TorchDistribution) -> dist.TorchDistribution:
    return distribution.to_event(len(distribution.batch_shape))


def _uniform(name: str, bounds: Range, shape: tuple[int, ...]) -> Tensor:
    """A site drawn uniformly between two bounds; equal bounds are that value."""
    low, high = bounds
    unit = pyro.sample(f"{name}_unit", _event(dist.Uniform(torch.zeros(shape), torch.ones(()))))
    return pyro.deterministic(name, low + (high - low) * unit, event_dim=len(shape))

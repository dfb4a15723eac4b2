r"""The chemical Langevin equation of SERGIO at steady state, for many networks at once."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

NOISE_TYPES = {"dpd": (1.0, 1.0), "sp": (1.0, 0.0), "sd": (0.0, 1.0), "dp": (0.0, 1.0)}
"""Noise of production and of decay: both, production only, decay only (SERGIO's documentation says ``sd``, ``dp``
here too)."""
HUGE = 1e30  # beside which 1 is no digit
TINY = 1e-30  # an unexpressed regulator whose mean is 0 does nothing
CHUNK_BYTES = 2**18  # of productions, random numbers and states kept at a time: they stay in the cache


@dataclass(frozen=True, eq=False)
class Kinetics:
    r"""Networks of equal size with their rates: what SERGIO's two input files say, as tensors.

    Attributes
    ----------
    regulators
        ``(network, tf)`` positions of the regulators among the genes.
    strength
        ``(network, tf, gene)`` maximal interaction strength K, negative for repression, 0 where there is no edge.
    hill
        ``(network, tf, gene)`` Hill coefficients n.
    production
        ``(network, gene, type)`` basal production rate b of each gene in each cell type; 0 where it has none.
    decay
        ``(network, gene)`` decay rates λ.
    noise
        ``(network, gene)`` noise amplitudes q.

    Raises
    ------
    ValueError
        Shapes that do not fit together, regulators that are not distinct genes, a gene regulated by itself, rates that
        are negative or not finite.
    """

    regulators: Tensor
    strength: Tensor
    hill: Tensor
    production: Tensor
    decay: Tensor
    noise: Tensor

    def __post_init__(self) -> None:
        networks, tfs, genes = self.strength.shape
        expected = {
            "regulators": (networks, tfs),
            "hill": (networks, tfs, genes),
            "production": (networks, genes, self.num_types),
            "decay": (networks, genes),
            "noise": (networks, genes),
        }
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(f"{name} has shape {tuple(getattr(self, name).shape)}, expected {shape}")
        for name, lowest in (("strength", None), ("hill", 0.0), ("production", 0.0), ("decay", 0.0), ("noise", 0.0)):
            value = getattr(self, name)
            if not torch.isfinite(value).all() or (lowest is not None and (value < lowest).any()):
                raise ValueError(f"{name} has entries that are not finite{'' if lowest is None else ' or negative'}")
        if (self.decay <= 0).any():
            raise ValueError("a decay rate is 0: expression would grow without end. Use positive decay rates")
        ordered = self.regulators.sort(-1).values
        if tfs < 1 or ordered.min() < 0 or ordered.max() >= genes or (ordered.diff() == 0).any():
            raise ValueError(f"regulators are not distinct positions among {genes} genes, expected 0 ... {genes - 1}")
        own = self.strength.gather(-1, self.regulators[..., None])
        if (own != 0).any():
            raise ValueError(
                f"{int((own != 0).sum())} gene(s) regulate themselves: SERGIO's dynamics have no self-edges"
            )

    @property
    def num_networks(self) -> int:
        return self.strength.shape[0]

    @property
    def num_genes(self) -> int:
        return self.strength.shape[2]

    @property
    def num_types(self) -> int:
        return self.production.shape[-1]

    def to(self, device: torch.device | str) -> "Kinetics":
        return replace(self, **{name: value.to(device) for name, value in vars(self).items()})

    def levels(self) -> Tensor:
        """``(network, tf)`` number of steps of the longest chain of regulators above each regulator.

        Raises
        ------
        ValueError
            Regulators that regulate each other in a circle.
        """
        tfs = self.regulators.shape[1]
        among = self.among_regulators() != 0  # (network, source, target)
        level = torch.zeros_like(self.regulators)
        for _ in range(tfs + 1):
            above = torch.where(among, level[..., None] + 1, 0).amax(-2)
            if torch.equal(above, level):
                return level
            level = above
        raise ValueError(
            "the network has a cycle among its regulators: half-responses need an order. Remove the edges that close it"
        )

    def among_regulators(self) -> Tensor:
        """``(network, tf, tf)`` strengths of the edges between regulators."""
        return self.strength.gather(-1, self.regulators[:, None].expand(-1, self.regulators.shape[1], -1))


class ChemicalLangevin(TorchDistribution):
    r"""Cells of several types, drawn at random times from the stationary part of

    .. math:: dx_i = \Big(\sum_j p_{ij}(x_j) + b_i - \lambda_i x_i\Big) dt + q_i\sqrt{\textstyle\sum_j p_{ij} + b_i}\,
              dw_i + q_i \sqrt{\lambda_i x_i}\, dw_i'

    .. math:: p_{ij} = K_{ij}\, H(x_j)\ (K > 0), \qquad |K_{ij}|\,(1 - H(x_j))\ (K < 0), \qquad
              H(x) = \frac{x^n}{h_j^n + x^n}

    (Dibaeinia & Sinha 2020, equations 2-6), the half-response h_j being the mean expression of regulator j over all
    cell types; expression stays at or above 0. Each cell type is one trajectory of ``spacing`` × ``num_cells`` steps,
    begun at the steady state of the means, and its cells are its states at random times: cells of a type are
    therefore as correlated as in SERGIO. Genes are simulated in layers, regulators first.

    The two noises are independent and Gaussian, so one normal number of the summed variance serves both: the same
    distribution at half the cost. Given the regulators' whole trajectories, the productions of all targets at many
    times are one matrix product.

    ``event_shape`` is ``(network, type, cell, gene)``. There is no density: the program is for simulation, and for
    conditioning on its other sites.

    Parameters
    ----------
    kinetics
        Networks and rates.
    num_cells
        Cells of each type.
    spacing
        Steps simulated for each cell (SERGIO's sampling_state, 15).
    noise_type
        ``dpd`` production and decay (default), ``sp`` production, ``sd`` decay.
    dt
        Step of time (SERGIO's 0.01).

    Raises
    ------
    ValueError
        Sizes below 1, an unknown noise type, a cycle among regulators.
    """

    arg_constraints: dict[str, dist.constraints.Constraint] = {}  # noqa: RUF012 (torch's own protocol)
    support = dist.constraints.independent(dist.constraints.nonnegative, 4)

    def __init__(
        self, kinetics: Kinetics, *, num_cells: int, spacing: int = 15, noise_type: str = "dpd", dt: float = 0.01
    ) -> None:
        if num_cells < 1 or spacing < 1:
            raise ValueError(f"num_cells={num_cells}, spacing={spacing}: expected at least 1 each")
        if noise_type not in NOISE_TYPES:
            raise ValueError(f"noise_type is {noise_type!r}, expected one of {sorted(NOISE_TYPES)}")
        if not 0 < dt * float(kinetics.decay.max()) < 1:
            raise ValueError(f"dt={dt} with decay up to {float(kinetics.decay.max()):g}: expected 0 < dt x decay < 1")
        self.kinetics, self.num_cells, self.dt = kinetics, num_cells, dt
        self.num_steps = spacing * num_cells
        self.noise_type = noise_type
        self.level = kinetics.levels()
        shape = (kinetics.num_networks, kinetics.num_types, num_cells, kinetics.num_genes)
        super().__init__(batch_shape=torch.Size(), event_shape=torch.Size(shape), validate_args=False)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Expression ``(*sample_shape, network, type, cell, gene)``, from torch's global generator."""
        with torch.no_grad():
            draws = [self._simulate() for _ in range(sample_shape.numel())]
        return torch.stack(draws).reshape(*sample_shape, *self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        raise NotImplementedError("the stationary density of the Langevin equation has no closed form")

    # -- the program ----
    def _simulate(self) -> Tensor:
        k = self.kinetics
        networks, tfs, genes = k.strength.shape
        types, new = k.num_types, k.strength.new_zeros
        times = (torch.rand(networks, types, self.num_cells, device=k.strength.device) * self.num_steps).long()
        result = new(self.event_shape)

        # regulators, level by level: the whole trajectories are kept, for their targets
        x_tf = new(networks, self.num_steps, types, tfs)
        by_type = x_tf.permute(1, 2, 0, 3)  # (step, type, network, tf)
        half, mean = new(networks, 1, tfs), new(networks, types, tfs)
        edges, decay, noise = self._equations(k.regulators)
        for level in range(int(self.level.max()) + 1):
            network, tf = (self.level == level).nonzero(as_tuple=True)

            def production(
                first: int, last: int, network: Tensor = network, tf: Tensor = tf, half: Tensor = half
            ) -> Tensor:
                made = edges.production(x_tf[:, first:last], half)  # (step, network, type, tf)
                return made.transpose(1, 2)[:, :, network, tf]  # (step, type, regulator of this level)

            rate = decay[network, tf]
            start = edges.production(mean[:, None], half)[0].transpose(0, 1)[:, network, tf] / (rate * self.dt)
            for first, states in self._integrate(production, start, rate, noise[network, tf]):
                by_type[first : first + len(states), :, network, tf] = states
            at_level = (self.level == level)[:, None]
            mean = torch.where(at_level, x_tf.mean(1), mean)
            half = torch.where(at_level, mean.mean(1, keepdim=True), half)
        sampled = x_tf.transpose(1, 2).gather(2, times[..., None].expand(-1, -1, -1, tfs))
        result.scatter_(3, k.regulators[:, None, None].expand(-1, types, self.num_cells, -1), sampled)
        if genes == tfs:
            return result

        # all other genes at once; of their trajectories only the cells are kept
        is_tf = torch.zeros(networks, genes, dtype=torch.bool, device=times.device).scatter_(1, k.regulators, True)
        rest = (~is_tf).nonzero()[:, 1].reshape(networks, genes - tfs)
        edges, decay, noise = self._equations(rest)
        rate = decay[:, None]
        start = edges.production(mean[:, None], half)[0] / (rate * self.dt)
        cells = new(networks * types * self.num_cells, genes - tfs)
        when, order = times.flatten().sort()
        row, bounds = order // self.num_cells, when.tolist()  # row: network x type
        of_rest = lambda first, last: edges.production(x_tf[:, first:last], half)
        for first, states in self._integrate(of_rest, start, rate, noise[:, None]):
            here = slice(bisect_left(bounds, first), bisect_left(bounds, first + len(states)))
            cells[order[here]] = states.flatten(1, 2)[when[here] - first, row[here]]
        index = rest[:, None, None].expand(-1, types, self.num_cells, -1)
        return result.scatter_(3, index, cells.reshape(networks, types, self.num_cells, -1))

    def _equations(self, of: Tensor) -> tuple["_Edges", Tensor, Tensor]:
        """Productions, decay and noise of the genes at ``of`` ``(network, gene)``."""
        k = self.kinetics
        at = lambda v: v.gather(-1, of[:, None].expand(*v.shape[:-1], -1))
        edges = _Edges(at(k.strength), at(k.hill), at(k.production.transpose(1, 2)), self.dt)
        return edges, k.decay.gather(1, of), k.noise.gather(1, of)

    def _integrate(
        self, production: Callable[[int, int], Tensor], start: Tensor, decay: Tensor, noise: Tensor
    ) -> Iterator[tuple[int, Tensor]]:
        """Euler-Maruyama steps from ``start``; yields (first step, states ``(step, *shape of start)``) in pieces.

        ``production(a, b)`` gives the production rates of steps a … b − 1.
        """
        chunk = min(max(1, CHUNK_BYTES // (start.numel() * start.element_size())), self.num_steps)
        with_production, with_decay = NOISE_TYPES[self.noise_type]
        # buffers are made once: fresh memory costs more than the arithmetic
        new = start.contiguous().new_empty
        normal, states = new(chunk, *start.shape), new(chunk, *start.shape)
        lost, spread, x = new(start.shape), new(start.shape), start.contiguous()
        fraction = (decay * self.dt).expand_as(start).contiguous()
        for first in range(0, self.num_steps, chunk):
            count = min(chunk, self.num_steps - first)
            made = production(first, first + count)
            torch.randn(normal.shape, out=normal).mul_(noise)
            for gained, e, state in zip(made.unbind(), normal.unbind(), states.unbind(), strict=False):
                torch.mul(x, fraction, out=lost)
                if with_production and with_decay:
                    torch.add(gained, lost, out=spread)
                else:
                    spread.copy_(gained if with_production else lost)
                spread.sqrt_().mul_(e).add_(gained).sub_(lost).add_(x)
                x = torch.clamp_min(spread, 0.0, out=state)
            yield first, states[:count]


class _Edges:
    """Production by regulators, for edges grouped by Hill coefficient; all rates in units of one time step."""

    def __init__(self, strength: Tensor, hill: Tensor, basal: Tensor, dt: float) -> None:
        # |K| (1 − H) of a repressor is K·H plus the constant |K|
        self.constant = dt * (basal - strength.clamp_max(0.0).sum(1)[:, None])  # (network, type, gene)
        self.groups = [(n, dt * torch.where(hill == n, strength, 0.0)) for n in hill[strength != 0].unique().tolist()]
        self.buffer = strength.new_empty(0)

    def production(self, x: Tensor, half: Tensor) -> Tensor:
        """``(step, network, type, gene)`` at regulators ``x`` ``(network, step, type, tf)``; valid until the next
        call."""
        networks, steps, types, tfs = x.shape
        shape = (networks, steps, types, self.constant.shape[-1])
        if self.buffer.shape != shape:
            self.buffer = self.constant.new_empty(shape)
        self.buffer.copy_(self.constant[:, None])
        made = self.buffer.view(networks, steps * types, shape[-1])
        for n, strength in self.groups:
            if n == 2:
                power = x * x
                response = power / (power + (half * half + TINY)[:, None])
            else:  # relative to the half-response: powers of x itself would overflow for steep responses
                power = (x / (half + TINY)[:, None]).pow_(n).clamp_max_(HUGE)
                response = power / (power + 1)
            torch.baddbmm(made, response.reshape(networks, steps * types, tfs), strength, out=made)
        # a repressed gene's K·H + |K| may round to a hair below 0, of which the noise would take the root
        return self.buffer.clamp_min_(0.0).transpose(0, 1)

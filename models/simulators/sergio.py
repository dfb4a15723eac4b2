r"""SERGIO: single cells from regulatory networks, with technical noise, as a Pyro program (Dibaeinia & Sinha 2020)."""

from dataclasses import dataclass

import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from ..data.expression import ExpressionData
from .grn import RandomGRN
from .langevin import ChemicalLangevin, Kinetics

LAYERS = ("X", "clean")


@dataclass(frozen=True)
class TechnicalNoise:
    """From molecules to counts, in SERGIO's order; each step can be left out.

    Attributes
    ----------
    outlier_probability, outlier_mean, outlier_scale
        Share of outlier genes, whose expression is multiplied by a log-normal factor. Default 0: none.
    library_mean, library_scale
        Totals of the cells are log-normal with these parameters. Default ``None``: totals are left as they are.
    dropout_percentile, dropout_shape
        A value y is kept with probability logistic(shape · (log(y + 1) − that percentile of all log(y + 1))). Default
        ``None``: no dropout. Shape 6.5 is SERGIO's, 20 that of the GRNULar experiments.
    umi
        Poisson counts of what is left. Default True.
    """

    outlier_probability: float = 0.0
    outlier_mean: float = 0.8
    outlier_scale: float = 1.0
    library_mean: float | None = None
    library_scale: float = 0.4
    dropout_percentile: float | None = None
    dropout_shape: float = 6.5
    umi: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.outlier_probability <= 1:
            raise ValueError(f"outlier_probability is {self.outlier_probability}, expected a share in [0, 1]")
        if self.dropout_percentile is not None and not 0 <= self.dropout_percentile <= 100:
            raise ValueError(f"dropout_percentile is {self.dropout_percentile}, expected a value in [0, 100]")
        for name in ("outlier_scale", "library_scale", "dropout_shape"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a positive number")

    def __call__(self, clean: Tensor) -> Tensor:
        """Counts of expression ``(network, type, cell, gene)``."""
        n, _, _, genes = clean.shape
        event = lambda d: d.to_event(len(d.batch_shape))
        flat = clean.new_zeros
        y = clean
        if self.outlier_probability:
            outlier = pyro.sample("outlier", event(dist.Bernoulli(flat(n, 1, 1, genes) + self.outlier_probability)))
            factor = pyro.sample(
                "outlier_factor", event(dist.LogNormal(flat(n, 1, 1, genes) + self.outlier_mean, self.outlier_scale))
            )
            y = y * torch.where(outlier > 0, factor, 1.0)
        if self.library_mean is not None:
            library = pyro.sample(
                "library", event(dist.LogNormal(flat(*clean.shape[:3], 1) + self.library_mean, self.library_scale))
            )
            y = y * library / y.sum(-1, keepdim=True).clamp_min(1e-12)
        if self.dropout_percentile is not None:
            level = y.log1p()
            rank = max(1, round(self.dropout_percentile / 100 * level[0].numel()))
            middle = level.flatten(1).kthvalue(rank, dim=1).values
            logit = self.dropout_shape * (level - middle[:, None, None, None])
            y = y * pyro.sample("kept", event(dist.Bernoulli(logits=logit)))
        return pyro.sample("X", event(dist.Poisson(y))) if self.umi else pyro.deterministic("X", y)


@dataclass(frozen=True)
class Sergio:
    """The whole story: molecules of every cell (site ``clean``), and what is read of them (``X``).

    Parameters as in `ChemicalLangevin`; ``noise=None`` reads the molecules themselves.
    """

    num_cells: int = 300
    spacing: int = 15
    noise_type: str = "dpd"
    dt: float = 0.01
    noise: TechnicalNoise | None = None

    def __call__(self, kinetics: Kinetics) -> tuple[Tensor, Tensor]:
        """``clean`` and ``X``, both ``(network, type, cell, gene)``."""
        langevin = ChemicalLangevin(
            kinetics, num_cells=self.num_cells, spacing=self.spacing, noise_type=self.noise_type, dt=self.dt
        )
        clean = pyro.sample("clean", langevin)
        return clean, clean if self.noise is None else self.noise(clean)


@dataclass(frozen=True, eq=False)
class SergioSimulation:
    """Cells of several networks: ``clean`` and ``X`` ``(network, type, cell, gene)``, and the truth, ``kinetics``."""

    kinetics: Kinetics
    genes: tuple[str, ...]
    clean: Tensor
    X: Tensor

    def data(self, network: int = 0, layer: str = "X") -> ExpressionData:
        """Cells of one network as `ExpressionData` (types in order, cell by cell); regulators are those of the
        network."""
        if layer not in LAYERS:
            raise ValueError(f"layer is {layer!r}, expected one of {LAYERS}")
        values = getattr(self, layer)[network].flatten(0, 1).float()
        tfs = tuple(self.genes[i] for i in self.kinetics.regulators[network].tolist())
        return ExpressionData(values, self.genes, tfs)

    @property
    def cell_types(self) -> list[str]:
        """Type of each cell of `data`."""
        return [f"type{c}" for c in range(self.clean.shape[1]) for _ in range(self.clean.shape[2])]

    def network(self, network: int = 0) -> pd.DataFrame:
        """source, target, sign, k of one network."""
        strength = self.kinetics.strength[network]
        source, target = strength.nonzero(as_tuple=True)
        k = strength[source, target].cpu().numpy()
        regulators = self.kinetics.regulators[network][source].tolist()
        return pd.DataFrame(
            {
                "source": [self.genes[s] for s in regulators],
                "target": [self.genes[t] for t in target.tolist()],
                "sign": (2 * (k > 0) - 1).astype(int),
                "k": k,
            }
        )


def simulate_sergio(
    network: RandomGRN | Kinetics | None = None,
    *,
    num_networks: int = 1,
    num_cells: int = 200,
    spacing: int = 15,
    noise_type: str = "dpd",
    dt: float = 0.01,
    noise: TechnicalNoise | None = None,
    genes: tuple[str, ...] | None = None,
    seed: int = 0,
) -> SergioSimulation:
    """Simulate cells.

    Parameters
    ----------
    network
        Kinetics of given networks, all of them simulated, or a family to draw ``num_networks`` from. Default
        ``RandomGRN()``, the protocol of Shrivastava et al. 2022.
    num_cells
        Cells of each type (200: 1,000 cells of 5 types).
    spacing, noise_type, dt
        See `ChemicalLangevin`.
    noise
        Technical noise; default none.
    genes
        Names; default G0000, G0001, …
    seed
        Seed; the global generators are not touched.

    Raises
    ------
    ValueError
        Sizes below 1, a circle among regulators, another number of networks or gene names than the kinetics have.
    """
    given = network if isinstance(network, Kinetics) else None
    if given is not None and num_networks not in (1, given.num_networks):
        raise ValueError(f"num_networks is {num_networks}, but the kinetics given are of {given.num_networks} networks")
    on_gpu = [given.strength.device] if given is not None and given.strength.is_cuda else []
    # torch.manual_seed would also seed the generators of all GPUs, which are not put back
    with torch.random.fork_rng(devices=on_gpu), pyro.poutine.block():
        torch.default_generator.manual_seed(seed)
        for device in on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        kinetics = network if isinstance(network, Kinetics) else (network or RandomGRN())(num_networks)
        clean, X = Sergio(num_cells, spacing, noise_type, dt, noise)(kinetics)
    names = genes if genes is not None else tuple(f"G{g:04d}" for g in range(kinetics.num_genes))
    if len(names) != kinetics.num_genes:
        raise ValueError(f"{len(names)} gene names for {kinetics.num_genes} genes")
    return SergioSimulation(kinetics, tuple(names), clean, X)

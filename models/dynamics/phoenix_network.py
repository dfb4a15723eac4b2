r"""PHOENIX with one value for each weight: what is trained, pruned and read as a network."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..data.transitions import Transitions
from .ode_solvers import RungeKutta, Solver, simulate
from .phoenix_depth import Depth
from .phoenix_layers import PhoenixParameters, derivative

WEIGHTS = ("W_sigma", "W_pi", "U_sigma", "U_pi")  # of two layers


def effect_matrix(parameters: PhoenixParameters) -> Tensor:
    r"""``(*draw, gene source, gene target)``: C.2's estimate of who acts on whom.

    .. math:: D = U_\Sigma W_\Sigma + U_\Pi W_\Pi, \qquad
              \tilde D_{ij} = \frac{\upsilon_i D_{ij}}{\sum_{j'} |\upsilon_i D_{ij'}|}

    transposed; υ as the dynamics use it, ReLU(υ). A target on which nothing acts has zeros. An entry is exactly zero
    where masks leave no path.
    """
    p = parameters
    D = p.U_sigma @ p.W_sigma + p.U_pi @ p.W_pi
    scaled = p.upsilon.relu()[..., None] * D
    total = scaled.abs().sum(-1, keepdim=True)
    return torch.where(total > 0, scaled / total.clamp_min(torch.finfo(D.dtype).tiny), 0.0).mT


class PhoenixNetwork(nn.Module):
    """PHOENIX with one value for each weight: what is trained and pruned.

    Parameters
    ----------
    genes
        Names of the genes.
    hidden
        m, neurons of each hidden layer. The paper: 40 for 350 genes (default), 50 for 690 and 529, 300 for 11,165. Not
        with one layer.
    layers
        L of `Depth`. Default the paper's 2.
    solver
        Default `RungeKutta`.
    upsilon
        Where all υ start; default ``None``, uniform on (0, 1) as in the authors' program. A gene whose υ starts near 0
        and is pushed below has no gradient any more and stays still for good: on SIM350, 25 epochs of `DASH` switch
        off 9 of the 277 regulated genes from uniform starts and 4 from ``upsilon=1``. With 1 the error falls further
        and sooner, and training may then end at a lower sparsity.
    seed
        Of the starting weights; the caller's generators are not touched.

    Raises
    ------
    ValueError
        As `Depth`; ``upsilon`` that is not positive.
    """

    def __init__(
        self,
        genes: Sequence[str],
        *,
        hidden: int | None = None,
        layers: int = 2,
        solver: Solver | None = None,
        upsilon: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if upsilon is not None and not upsilon > 0:
            raise ValueError(f"upsilon is {upsilon}: expected a positive start, because ReLU has no gradient below 0")
        self.depth = Depth(len(genes), hidden, layers)
        self.paths = self.depth.paths
        self.genes, self.hidden, self.solver = tuple(genes), self.depth.neurons, solver or RungeKutta()
        start = self.depth.initial(seed)
        if upsilon is not None:
            start["upsilon"] = torch.full_like(start["upsilon"], upsilon)
        for name, value in start.items():
            self.register_parameter(name, nn.Parameter(value))
        for name in self.depth.names:
            self.register_buffer(f"{name}_mask", torch.ones_like(start[name]))

    # -- as a layered network ----
    def weights(self) -> dict[str, nn.Parameter]:
        return {name: getattr(self, name) for name in self.depth.names}

    def masks(self) -> dict[str, Tensor]:
        return {name: getattr(self, f"{name}_mask") for name in self.depth.names}

    def output_gain(self) -> Tensor:
        """``(gene,)`` ReLU(υ)."""
        return self.get_parameter("upsilon").detach().relu()

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """For an optimiser: υ learns five times as fast as the rest, as in the authors' program."""
        others = [p for name, p in self.named_parameters() if name != "upsilon"]
        return [{"params": others, "lr": rate}, {"params": [self.get_parameter("upsilon")], "lr": 5 * rate}]

    # -- dynamics ----
    def masked(self, gates: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Weights, biases and υ by name, with masks (and stochastic gates) applied."""
        values, masks = dict(self.named_parameters()), self.masks()
        kept: dict[str, Tensor] = {}
        for name, value in values.items():
            factor = masks.get(name)
            if factor is not None and gates is not None:
                factor = factor * gates[name]
            kept[name] = value if factor is None else value * factor
        return kept

    def current(self, gates: Mapping[str, Tensor] | None = None) -> PhoenixParameters:
        """The same as the two layers that the derivative has (`Depth.compose`)."""
        return self.depth.compose(self.masked(gates))

    def predict(self, batch: Transitions, gates: Mapping[str, Tensor] | None = None) -> Tensor:
        """``(pair, gene)`` at the end of each pair."""
        return self.solver(self.current(gates), batch.start, batch.dt)

    def loss(self, batch: Transitions, gates: Mapping[str, Tensor] | None = None) -> Tensor:
        """Mean squared error over observed values."""
        return self.errors(batch, gates).sum() / batch.observed.sum().clamp_min(1)

    def errors(self, batch: Transitions, gates: Mapping[str, Tensor] | None = None) -> Tensor:
        """``(pair, gene)`` squared errors, 0 where nothing was observed."""
        return (self.predict(batch, gates) - batch.stop).square() * batch.observed

    def derivative(self, g: Tensor) -> Tensor:
        r"""``(pair, gene)``: :math:`\dot g`, comparable to RNA velocity."""
        return derivative(self.current(), g)

    def trajectory(self, start: Tensor, times: Tensor, *, clamped: Mapping[str, float] | None = None) -> Tensor:
        """``(time, pair, gene)`` from any start; ``clamped`` holds genes (by name) at a level, 0 for a knock-out."""
        return simulate(self.current(), start, times, solver=self.solver, clamped=gene_indices(self.genes, clamped))

    def edges(self) -> Tensor:
        """``(source, target)``: `effect_matrix`."""
        return effect_matrix(self.current()).detach()


def gene_indices(genes: Sequence[str], levels: Mapping[str, float] | None) -> dict[int, float]:
    """Levels by index instead of name.

    Raises
    ------
    ValueError
        A name that is not among the genes.
    """
    place = {gene: i for i, gene in enumerate(genes)}
    unknown = sorted(set(levels or {}) - set(place))
    if unknown:
        raise ValueError(f"clamped genes {unknown} are not among the {len(place)} genes of the model: use its names")
    return {place[gene]: level for gene, level in (levels or {}).items()}

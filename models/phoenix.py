r"""PHOENIX: gene expression as a neural differential equation with additive and multiplicative regulation."""

from collections.abc import Mapping, Sequence

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from ..priors import EdgeKnowledge, EdgePrior
from .base import Model
from .ode_solvers import RungeKutta, Solver, simulate
from .phoenix_layers import PhoenixParameters, derivative, initial_parameters
from .phoenix_network import WEIGHTS, effect_matrix, gene_indices
from .transitions import Transitions


class Phoenix(Model):
    r"""Pairs of measurements of a time course as noisy ends of a neural differential equation (Hossain et al. 2024).

    .. math:: g(t_{k+1}) \sim N\big(\mathrm{solve}(g(t_k), \Delta t_k),\ \sigma^2\big), \qquad
              \dot g = \mathrm{ReLU}(\upsilon)\odot\big[U_\Sigma c_\Sigma(g) + U_\Pi c_\Pi(g) - g\big]

    with :math:`c_\Sigma = W_\Sigma\phi_\Sigma(g) + b_\Sigma` and
    :math:`c_\Pi = \exp(W_\Pi\phi_\Pi(g) + b_\Pi)`. Entries of W and U are normal with mean 0 and the sd of their
    ``scales``; biases N(0, 1); υ_i ~ N(1, 1); log σ ~ N(log of a quarter of the sd of the changes, 1). The start of a
    pair is taken as it was measured, as the paper does, so σ holds the noise of both ends.

    Parameters
    ----------
    transitions
        The pairs, at most those that one solve can hold in memory; ``forward(batch)`` takes fewer.
    hidden
        m; see `PhoenixNetwork`.
    masks
        ``(out, in)`` by weight: 0 where an entry is pruned and stays zero. Default none.
    scales
        ``(out, in)`` or a number by weight: prior sd. Default 0.5 for U and W; edge-informed scales go here.
    solver
        Default `RungeKutta`.

    Raises
    ------
    ValueError
        Masks or scales of unknown weights or wrong shapes, scales that are not positive.
    """

    traceable = False
    name = "phoenix"
    story = "a neural differential equation"
    reference = "Hossain et al. 2024, Genome Biology 25:127"

    def __init__(
        self,
        transitions: Transitions,
        *,
        hidden: int = 40,
        masks: Mapping[str, Tensor] | None = None,
        scales: Mapping[str, Tensor | float] | None = None,
        solver: Solver | None = None,
    ) -> None:
        super().__init__()
        if hidden < 1:
            raise ValueError(f"hidden is {hidden}: expected at least 1 neuron")
        self.genes, self.hidden, self.solver = transitions.genes, hidden, solver or RungeKutta()
        unknown = sorted((set(masks or {}) | set(scales or {})) - set(WEIGHTS))
        if unknown:
            raise ValueError(f"masks or scales of {unknown}: expected names among {list(WEIGHTS)}")
        n = len(self.genes)
        like = transitions.start
        for name in WEIGHTS:
            shape = (hidden, n) if name.startswith("W") else (n, hidden)
            for kind, given, default in (("mask", masks, 1.0), ("scale", scales, 0.5)):
                value = torch.as_tensor((given or {}).get(name, default)).to(like)
                if value.ndim and tuple(value.shape) != shape:
                    raise ValueError(f"{kind} of {name} has shape {tuple(value.shape)}, expected {shape} or a number")
                self.register_buffer(f"{name}_{kind}", value.expand(shape).clone())
            if not bool((getattr(self, f"{name}_scale") > 0).all()):
                raise ValueError(f"scale of {name} has values that are not positive: use a mask to leave entries out")
        self._hold(transitions)

    def _hold(self, transitions: Transitions) -> None:
        for name in ("start", "stop", "dt", "observed", "trajectory"):
            self.register_buffer(f"data_{name}", getattr(transitions, name))
        self.names = transitions.names
        change = (transitions.stop - transitions.start)[transitions.observed]
        center = (0.25 * change.square().mean().sqrt()).clamp_min(1e-4)
        self.register_buffer("noise_center", center.log())
        self.register_buffer("zero", torch.zeros_like(center))

    noise_center: Tensor
    zero: Tensor

    @property
    def transitions(self) -> Transitions:
        """What the model was made from, on its device."""
        start, stop, dt, observed, trajectory = (
            self.get_buffer(f"data_{n}") for n in ("start", "stop", "dt", "observed", "trajectory")
        )
        return Transitions(start, stop, dt, observed, trajectory, self.names, self.genes)

    def to_state(self) -> dict[str, list[str]]:
        return {"genes": list(self.genes), "trajectory": list(self.names), "hidden": [str(self.hidden)]}

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, Sequence[str]],
        *,
        knowledge: EdgeKnowledge,
        edge_prior: EdgePrior,
        buffers: Mapping[str, Tensor],
    ) -> "Phoenix":
        model = cls.__new__(cls)
        Model.__init__(model)
        model.genes, model.names = tuple(state["genes"]), tuple(state["trajectory"])
        model.hidden, model.solver = int(state["hidden"][0]), RungeKutta()
        for name, value in buffers.items():
            model.register_buffer(name, value)
        return model

    # -- axes ----------------------------------------
    @property
    def coords(self) -> dict[str, list[str]]:
        return {"gene": list(self.genes), "hidden": [f"h{i}" for i in range(self.hidden)], "context": ["all"]}

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        wide, tall = ("hidden", "gene"), ("gene", "hidden")
        matrices = {"W_sigma": wide, "W_pi": wide, "U_sigma": tall, "U_pi": tall}
        return {**matrices, "b_sigma": ("hidden",), "b_pi": ("hidden",), "upsilon": ("gene",), "noise": ()}

    @property
    def max_plate_nesting(self) -> int:
        return 2

    def plate_of(self, site: str) -> dict[str, int]:
        return {}

    @property
    def initial(self) -> dict[str, Tensor]:
        """Start of guides: the weights with which `PhoenixNetwork` starts with seed 0, noise at its centre."""
        start = initial_parameters(
            len(self.genes), self.hidden, generator=torch.Generator().manual_seed(0), dtype=torch.float32
        )
        values = {n: v.to(self.zero) for n, v in start._asdict().items()}
        return {**values, "upsilon": torch.ones_like(values["upsilon"]), "noise": self.noise_center.exp()}

    # -- the generative story ----------------------------------------
    def forward(self, batch: Transitions | None = None) -> None:  # type: ignore[override]
        """Sample the weights, and the pairs of ``batch`` (default all) given them."""
        everything = self.transitions
        pairs = everything if batch is None else batch
        values = {}
        for name, axes in self.dims.items():
            if name != "noise":
                values[name] = _without_plates(pyro.sample(name, self._prior(name)), len(axes))
        noise = pyro.sample("noise", dist.LogNormal(self.noise_center, 1.0))
        for name in WEIGHTS:
            values[name] = values[name] * self.get_buffer(f"{name}_mask")
        start = pairs.start.expand(*values["upsilon"].shape[:-1], *pairs.start.shape)
        mean = self.solver(PhoenixParameters(**values), start, pairs.dt)  # (*draw, pair, gene)
        with (
            poutine.scale(scale=everything.num_pairs / pairs.num_pairs),
            pyro.plate("pair", pairs.num_pairs, dim=-2),
            pyro.plate("gene", len(self.genes), dim=-1),
        ):
            pyro.sample("X", dist.Normal(mean, noise).mask(pairs.observed), obs=pairs.stop)

    def _prior(self, name: str) -> dist.TorchDistribution:
        if name in WEIGHTS:
            return dist.Normal(self.zero, self.get_buffer(f"{name}_scale")).to_event(2)
        if name == "upsilon":
            return dist.Normal(self.zero + 1, 1.0).expand([len(self.genes)]).to_event(1)
        return dist.Normal(self.zero, 1.0).expand([self.hidden]).to_event(1)

    # -- what draws say ----------------------------------------
    def parameters_of(self, draws: Mapping[str, Tensor]) -> PhoenixParameters:
        """The weights of draws ``(*draw, ...)`` of the sites, masks applied."""
        values = {name: draws[name] for name in PhoenixParameters._fields}
        for name in WEIGHTS:
            values[name] = values[name] * self.get_buffer(f"{name}_mask")
        return PhoenixParameters(**values)

    def derivative(self, parameters: PhoenixParameters, g: Tensor) -> Tensor:
        """``(*draw, pair, gene)``: `derivative`; ``g`` (*draw, pair, gene) or (pair, gene) for all draws."""
        return derivative(parameters, g)

    def solve(self, parameters: PhoenixParameters, start: Tensor, dt: Tensor) -> Tensor:
        """``(*draw, pair, gene)`` after ``dt`` (pair,), in one solve."""
        return self.solver(parameters, _for_draws(parameters, start), dt)

    def trajectory(
        self,
        parameters: PhoenixParameters,
        start: Tensor,
        times: Tensor,
        *,
        clamped: Mapping[str, float] | None = None,
    ) -> Tensor:
        """``(time, *draw, pair, gene)``; see `simulate`. ``clamped`` by name."""
        indices = gene_indices(self.genes, clamped)
        return simulate(parameters, _for_draws(parameters, start), times, solver=self.solver, clamped=indices)

    def edges(self, parameters: PhoenixParameters) -> Tensor:
        """``(*draw, source, target)``: `effect_matrix`."""
        return effect_matrix(parameters)


def _for_draws(parameters: PhoenixParameters, start: Tensor) -> Tensor:
    """``start`` with the draw axes of the parameters."""
    draw = parameters.upsilon.shape[:-1]
    return start if start.ndim > 2 else start.expand(*draw, *start.shape)


def _without_plates(value: Tensor, event_dim: int) -> Tensor:
    """A site without the two plate dimensions of size one that pad it under restarts."""
    lead = value.dim() - event_dim
    return value if lead == 0 else value.reshape(*value.shape[: max(0, lead - 2)], *value.shape[lead:])

r"""PHOENIX: gene expression as a neural differential equation with additive and multiplicative regulation."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from ..priors import EdgeKnowledge, EdgePrior, Hyper, Normal, PriorNetwork
from ..priors.host_values import kept
from .base import Model
from .data.accepts import takes_anndata
from .data.checks import constant_genes
from .data.expression import ExpressionData
from .data.transitions import Transitions
from .dynamics.ode_solvers import DOPRI5, Dopri5, FitSolver, RungeKutta, simulate, solver_of
from .dynamics.phoenix_depth import Depth
from .dynamics.phoenix_layers import PhoenixParameters, derivative
from .dynamics.phoenix_network import effect_matrix, gene_indices
from .dynamics.relaxation import undisturbed_pairs
from .state import State, as_text


class Phoenix(Model):
    r"""Pairs of measurements of a time course as noisy ends of a neural differential equation (Hossain et al. 2024).

    .. math:: g(t_{k+1}) \sim N\big(\mathrm{solve}(g(t_k), \Delta t_k),\ \sigma^2\big), \qquad
              \dot g = \mathrm{ReLU}(\upsilon)\odot\big[U_\Sigma c_\Sigma(g) + U_\Pi c_\Pi(g) - g\big]

    with :math:`c_\Sigma = W_\Sigma\phi_\Sigma(g) + b_\Sigma` and :math:`c_\Pi = \exp(W_\Pi\phi_\Pi(g) + b_\Pi)`. An
    entry of layer l is

    .. math:: w \sim N\big(0,\ s_l^2 \exp(\textstyle\sum_k b_k Q^k_w)\big), \qquad
              s_l\sim\mathrm{LogNormal}(\log 0.1, 1)

    with :math:`Q^k_w \in [0, 1]` how much source k of prior knowledge speaks for it (zero until `with_reference`
    is given a trained network), and :math:`b_k` the trust in that source, as every `EdgePrior` has it. Biases
    N(0, 1); υ_i ~ N(1, 1); log σ ~ N(log of a quarter of the sd of the changes, 1). The start of a pair is taken as it
    was measured, as the paper does, so σ holds the noise of both ends. Sites: ``trust``, ``weight_scale``, ``upsilon``,
    ``noise``, the weights and biases, and ``W`` (tf, target), the effect D̃ (C.2) that follows from them.

    Weights of neurons are no edges: different networks can have the same effects. So the model is fitted by `Pruned`
    (training, pruning, then the posterior of the weights that survive, each start a chain), and not by the engines of
    linear networks. `pyro.infer.SVI` by hand works, with an automatic guide that starts narrow (``init_scale=0.01``: a
    wide draw of the weights blows up), `MeanField` or any other: nothing is pruned then, the weights are one of many
    networks alike, and the effects are drawn by ``Predictive(model, guide=guide, num_samples=100,
    return_sites=["W"])``.

    Parameters
    ----------
    transitions
        The pairs, at most those that one solve can hold in memory; ``forward(batch)`` takes fewer.
    tfs
        Genes that may act on others. Default all; the columns of W_Σ and W_Π of other genes are zero.
    edge_prior
        `Normal`, of which only the trust coefficients are used: the weights have their own scales. Others are refused,
        and so is a scale. Signs of prior networks are not used: a neuron between two genes has none.
    networks
        Prior networks by name of the source.
    hidden
        m, neurons of each hidden layer; see `PhoenixNetwork`. Default 40; not with one layer.
    layers
        L of `Depth`, which has the equations of other depths. Default the paper's 2.
    coregulation
        Name of a source that says which regulators act together (a protein interaction network), DASH's C. It says
        nothing of edges then: it is no source of the prior, and has no trust. With two layers only, as DASH uses it.
    masks
        ``(out, in)`` by weight: 0 where an entry is pruned and stays zero. Default none.
    solver
        Default `RungeKutta`.

    Raises
    ------
    ValueError
        Masks of unknown weights or wrong shapes, another edge prior, regulators or prior networks without any gene of
        the data, ``coregulation`` with other than two layers, and as `Depth`.
    """

    traceable = False
    threshold = 0.01
    weight_meaning = "its share of all effects on the target, which add up to one in size"
    weight_unit = "share of all effects on the target"
    rows = "samples"
    name = "phoenix"
    needs = ("time",)
    neural_ode = True
    expects = "course"
    story = "a neural differential equation"
    reference = "Hossain et al. 2024, Genome Biology 25:127; DASH: arXiv:2403.04805"

    def __init__(
        self,
        transitions: Transitions,
        *,
        tfs: Sequence[str] | None = None,
        edge_prior: EdgePrior | None = None,
        networks: Mapping[str, PriorNetwork] | None = None,
        hidden: int | None = None,
        layers: int = 2,
        coregulation: str | None = None,
        masks: Mapping[str, Tensor] | None = None,
        solver: FitSolver | None = None,
    ) -> None:
        super().__init__()
        networks, depth = dict(networks or {}), Depth(len(transitions.genes), hidden, layers)
        if coregulation is not None and layers != 2:
            raise ValueError(f"coregulation with layers={layers}: DASH uses it with two layers only; leave it out")
        if coregulation is not None and coregulation not in networks:
            raise ValueError(f"coregulation {coregulation!r}: expected a source, one of {sorted(networks)}")
        if edge_prior is not None and not edge_prior.one_scale:
            raise ValueError(
                f"{type(edge_prior).__name__} does not go with PHOENIX, whose weights are of neurons and not of edges: "
                "use Normal, or the method trajectory, which takes every edge prior"
            )
        if edge_prior is not None and not _same(cast(Normal, edge_prior).scale, Normal().scale):
            raise ValueError(
                "the scale of Normal is not used by PHOENIX, whose weights have scales of their own: leave it out"
            )
        self.genes = transitions.genes
        regulators = self.genes if tfs is None else tuple(tfs)
        gene_indices(self.genes, dict.fromkeys(regulators, 0.0))
        acting = networks.pop(coregulation) if coregulation is not None else None
        self._describe(
            EdgeKnowledge.from_networks(networks, regulators, self.genes), edge_prior or Normal(), solver, depth
        )
        like = transitions.start
        sources = len(self.knowledge.sources)
        for name in depth.names:
            shape = self.shape_of(name)
            mask = torch.as_tensor((masks or {}).get(name, 1.0)).to(like)
            if mask.ndim and tuple(mask.shape) != shape:
                raise ValueError(f"mask of {name} has shape {tuple(mask.shape)}, expected {shape} or a number")
            mask = mask.expand(shape).clone()
            if name.startswith("W"):
                mask = mask * torch.isin(torch.arange(len(self.genes)), self.regulators()).to(like)
            self.register_buffer(f"{name}_mask", mask)
            self.register_buffer(f"{name}_confidence", like.new_zeros(sources, *shape))
        unknown = sorted(set(masks or {}) - set(depth.names))
        if unknown:
            raise ValueError(f"masks of {unknown}: expected names among {list(depth.names)}")
        self._hold(transitions)
        n = len(self.genes)
        C = like.new_zeros(0, 0)
        if acting is not None:
            found = torch.as_tensor(acting.align(self.genes, self.genes)[0].matrix(self.genes, self.genes)[0]).to(like)
            C = found + found.T + torch.eye(n).to(like)
        self.register_buffer("coregulation", C)
        self.register_buffer("least", transitions.start.amin(0))
        self.register_buffer("longest_step", like.new_tensor(self.solver.longest_step))
        for label, value in (("low", like.new_zeros(n)), ("size", like.new_ones(n)), ("time_unit", like.new_ones(()))):
            self.register_buffer(label, value)

    def _describe(self, knowledge: EdgeKnowledge, prior: EdgePrior, solver: FitSolver | None, depth: Depth) -> None:
        self.knowledge, self.edge_prior = knowledge, prior.bind(knowledge)
        self.tfs, self.targets, self.depth = knowledge.tfs, knowledge.targets, depth
        self.solver: FitSolver = solver or RungeKutta()
        self.weight_scale = Hyper(dist.LogNormal, -2.3, 1.0)

    @classmethod
    @takes_anndata
    def from_data(
        cls,
        data: ExpressionData,
        *,
        edge_prior: EdgePrior | None = None,
        networks: Mapping[str, PriorNetwork] | None = None,
        hidden: int | None = None,
        layers: int = 2,
        step: float | None = None,
        solver: str | None = None,
        coregulation: str | None = None,
    ) -> "Phoenix":
        """The pairs of a time course (`ExpressionData.with_times`), then as the constructor.

        φ is made for levels between 0 and 1. Where the data leave -0.5 to 1.5, each gene is laid on 0 to 1 (its least
        and largest value); predictions come back in the units of the data. Time is counted in halves of the median gap
        between measurements, so that υ = 1 is a plausible rate whatever its unit.

        Parameters
        ----------
        data, edge_prior, networks
            As every network; candidate regulators are those of the data.
        hidden, layers
            m and L, as the constructor.
        step
            Longest step of the solver, in those halves; see `RungeKutta`. Default 1.
        solver
            ``"dopri5"`` for steps that adapt, as the paper's (`Dopri5`). Default `RungeKutta`, which is quicker
            (docs/results/phoenix_speed.md).
        coregulation
            As the constructor.

        Raises
        ------
        ValueError
            Constant genes, another solver, a step of one whose steps adapt, and as `undisturbed_pairs`.
        """
        if solver not in (None, DOPRI5) or (solver is not None and step is not None):
            raise ValueError(f"solver={solver!r} and step={step}: expected {DOPRI5!r} without a step, or a step alone")
        pairs = undisturbed_pairs(data)
        low, size = _ranges(data)
        unit = pairs.dt.median() / 2
        pairs = replace(pairs, start=(pairs.start - low) / size, stop=(pairs.stop - low) / size, dt=pairs.dt / unit)
        model = cls(
            pairs,
            tfs=data.tfs,
            edge_prior=edge_prior,
            networks=networks,
            hidden=hidden,
            layers=layers,
            coregulation=coregulation,
            solver=Dopri5() if solver else RungeKutta(1.0 if step is None else step),
        )
        known = torch.where(torch.isfinite(data.X), data.X, torch.inf)
        least = (known.amin(0).to(low) - low) / size
        for name, value in (("low", low), ("size", size), ("time_unit", unit), ("least", least)):
            model.register_buffer(name, value)
        return model.to(data.device)

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
    low: Tensor
    size: Tensor
    least: Tensor
    longest_step: Tensor
    coregulation: Tensor
    time_unit: Tensor

    @property
    def has_coregulation(self) -> bool:
        return self.coregulation.numel() > 0

    def square_knowledge(self) -> Tensor:
        """``(source, gene, gene)`` confidences, regulators in rows; zero for genes that are no regulators."""
        n = len(self.genes)
        P = self.zero.new_zeros(len(self.knowledge.sources), n, n)
        P[:, self.regulators().to(P.device)] = self.knowledge.probability.to(P)
        return P

    @property
    def hidden(self) -> int:
        """Neurons of a hidden layer."""
        return self.depth.neurons

    def shape_of(self, name: str) -> tuple[int, int]:
        """``(out, in)`` of a weight."""
        return self.depth.shape(name)

    def regulators(self) -> Tensor:
        """``(tf,)`` positions of the regulators among the genes."""
        place = {gene: i for i, gene in enumerate(self.genes)}
        return torch.tensor([place[t] for t in self.tfs])

    @property
    def transitions(self) -> Transitions:
        """What the model was made from, on its device."""
        parts = [self.get_buffer(f"data_{n}") for n in ("start", "stop", "dt", "observed", "trajectory")]

        def made(start: Tensor, stop: Tensor, dt: Tensor, observed: Tensor, trajectory: Tensor) -> Transitions:
            return Transitions(start, stop, dt, observed, trajectory, self.names, self.genes)

        return kept(self, "transitions", parts, made)

    def to_state(self) -> dict[str, list[str]]:
        return {
            "genes": list(self.genes),
            "trajectory": list(self.names),
            "hidden": as_text(self.hidden),
            "layers": as_text(self.depth.layers),
            "step": self.solver.text,
        }

    def _restore(self, state: State, knowledge: EdgeKnowledge, edge_prior: EdgePrior) -> None:
        self.genes, self.names = state.names("genes"), state.names("trajectory")
        layers = state.integer("layers") if "layers" in state.entries else 2  # files of before had two
        depth = Depth(len(self.genes), None if layers == 1 else state.integer("hidden"), layers)
        self._describe(knowledge, edge_prior, solver_of(state.names("step")), depth)

    def copied(self) -> "Phoenix":
        """A copy with masks and confidences of its own, which shares the data."""
        other = copy.copy(self)
        other._buffers = dict(self._buffers)
        for name in self.depth.names:
            for kind in ("mask", "confidence"):
                other.register_buffer(f"{name}_{kind}", self.get_buffer(f"{name}_{kind}").clone())
        return other

    # -- axes ----
    @property
    def coords(self) -> dict[str, list[str]]:
        return {
            "tf": list(self.tfs),
            "target": list(self.targets),
            "weight": list(self.depth.names),
            "context": ["all"],
            "source": list(self.knowledge.sources),
            "signed_source": list(self.edge_prior.signed_sources),
        }

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        trust: dict[str, tuple[str, ...]] = {"trust": ("source",)} if self.knowledge.sources else {}
        return {"W": ("tf", "target"), **trust, "weight_scale": ("weight",), "upsilon": ("target",), "noise": ()}

    @property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the sites that differ between networks of equal effects, which is why they are not in `dims`."""
        biases: dict[str, tuple[int, ...]] = {"b_sigma": (self.hidden,), "b_pi": (self.hidden,)}
        return {name: self.shape_of(name) for name in self.depth.names} | biases

    @property
    def max_plate_nesting(self) -> int:
        return 2

    def plate_of(self, site: str) -> dict[str, int]:
        return {}

    data_start: Tensor
    data_dt: Tensor
    data_trajectory: Tensor

    def first_levels(self) -> Tensor:
        """``(trajectory, gene)`` the first measurement of each."""
        code = self.data_trajectory
        return torch.stack([self.data_start[torch.nonzero(code == k)[0, 0]] for k in range(len(self.names))])

    def durations(self) -> Tensor:
        """``(trajectory,)`` from first to last measurement, in units of the fit."""
        return torch.zeros_like(self.data_dt[: len(self.names)]).index_add(0, self.data_trajectory, self.data_dt)

    # -- prior knowledge of weights ----
    def with_reference(self, network: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        r"""Take masks, and from the sizes of a trained network's weights how much each source speaks for each of them.

        As DASH scores them (B.6): with the sizes of the other layers of the path held, those of layer l that would make
        the product of all the prior P; with two layers

        .. math:: Q_U = |P^\top (|W|)^+|, \qquad Q_W = |(|U|)^+ P^\top|,

        divided by the largest, so that the best supported entry of a layer has Q = 1.
        """
        P = self.square_knowledge().mT.double()  # (source, gene target, gene source)
        sizes = {name: (network[name].detach().abs().to(P) * masks[name].to(P)) for name in self.depth.names}
        for name in self.depth.names:
            self.get_buffer(f"{name}_mask").copy_(masks[name])
        for path in self.depth.paths:
            for place, name in enumerate(path.layers):
                wanted = P
                if behind := path.layers[place + 1 :]:
                    wanted = _pseudo_inverse(sizes, behind) @ wanted
                if before := path.layers[:place]:
                    wanted = wanted @ _pseudo_inverse(sizes, before)
                score = wanted.abs() * masks[name].to(wanted)
                largest = score.amax((-2, -1), keepdim=True) if len(score) else score
                confidence = torch.where(largest > 0, score / largest.clamp_min(1e-30), 0.0)
                self.get_buffer(f"{name}_confidence").copy_(confidence)

    # -- the generative story ----
    def hyper(self, batch: ExpressionData | None = None) -> dict[str, Tensor]:
        """Sample what is neither a weight nor data: trust, scales of the weights, rates and noise."""
        scales = self.weight_scale.distribution().expand([len(self.depth.names)]).to_event(1)
        rates = dist.Normal(self.zero + 1, 1.0).expand([len(self.genes)]).to_event(1)
        values = {}
        if self.knowledge.sources:
            trust = self.edge_prior.trust_prior.distribution().expand([len(self.knowledge.sources)])
            values["trust"] = pyro.sample("trust", trust.to_event(1))
        values["weight_scale"] = pyro.sample("weight_scale", scales)
        values["upsilon"] = pyro.sample("upsilon", rates)
        values["noise"] = pyro.sample("noise", dist.LogNormal(self.noise_center, 1.0))
        return values

    def forward(self, batch: Transitions | None = None) -> None:  # type: ignore[override]
        """Sample the weights, and the pairs of ``batch`` (default all) given them."""
        pairs = self.transitions if batch is None else batch
        values = self.hyper()
        weights = {"upsilon": _without_plates(values["upsilon"], 1)}
        for place, (name, shape) in enumerate(self.weight_shapes.items()):
            if name in self.depth.names:
                scale = values["weight_scale"][..., place, None, None] * self._spread(name, values.get("trust"))
                mask = self.get_buffer(f"{name}_mask")
                density = dist.Normal(self.zero, scale).expand([*scale.shape[:-2], *shape]).mask(mask > 0).to_event(2)
                weights[name] = _without_plates(pyro.sample(name, density), 2) * mask
            else:
                bias = dist.Normal(self.zero, 1.0).expand(shape).to_event(1)
                weights[name] = _without_plates(pyro.sample(name, bias), 1)
        parameters = self.depth.compose(weights)
        W = self.edges(parameters)
        # draws lie to the left of the plates that X has
        pyro.deterministic("W", W if W.dim() == 2 else W[..., None, None, :, :], event_dim=2)
        mean = self.solver(parameters, _for_draws(parameters, pairs.start), pairs.dt)  # (*draw, pair, gene)
        with (
            poutine.scale(scale=len(self.data_dt) / pairs.num_pairs),
            pyro.plate("pair", pairs.num_pairs, dim=-2),
            pyro.plate("gene", len(self.genes), dim=-1),
        ):
            pyro.sample("X", dist.Normal(mean, values["noise"]).mask(pairs.observed), obs=pairs.stop)

    def _spread(self, name: str, trust: Tensor | None) -> Tensor:
        """``(*draw, out, in)`` what knowledge multiplies the prior sd of a weight by: exp(½ Σ_k b_k Q^k)."""
        confidence = self.get_buffer(f"{name}_confidence")
        if trust is None:
            return self.zero.new_ones(self.shape_of(name))
        return (0.5 * torch.einsum("...k,koi->...oi", trust, confidence)).exp()

    # -- what draws say ----
    def solve(self, parameters: PhoenixParameters, start: Tensor, dt: Tensor) -> Tensor:
        """``(*draw, pair, gene)`` after ``dt`` (pair,), in one solve."""
        return self.solver(parameters, _for_draws(parameters, start), dt)

    def derivative(self, parameters: PhoenixParameters, g: Tensor) -> Tensor:
        """``(*draw, pair, gene)``: `derivative`; ``g (*draw, pair, gene)`` or ``(pair, gene)`` for all draws."""
        return derivative(parameters, g)

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
        """``(*draw, tf, target)``: `effect_matrix` of the regulators, without self-effects."""
        return effect_matrix(parameters)[..., self.regulators().to(self.zero.device), :] * self.edge_prior.allowed


def _for_draws(parameters: PhoenixParameters, start: Tensor) -> Tensor:
    """``start`` with the draw axes of the parameters."""
    draw = parameters.upsilon.shape[:-1]
    return start if start.ndim > 2 else start.expand(*draw, *start.shape)


def _pseudo_inverse(weights: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    """Moore and Penrose's of the product of some layers in a row, from the last to the first."""
    product = weights[names[0]]
    for name in names[1:]:
        product = weights[name] @ product
    return torch.linalg.pinv(product, rtol=1e-6)


def _same(one: Hyper, other: Hyper) -> bool:
    return one.family is other.family and torch.equal(one.constants, other.constants)


def _without_plates(value: Tensor, event_dim: int) -> Tensor:
    """A site without the two plate dimensions of size one that pad it under restarts."""
    lead = value.dim() - event_dim
    return value if lead == 0 else value.reshape(value.shape[: max(0, lead - 2)] + value.shape[lead:])


def _ranges(data: ExpressionData) -> tuple[Tensor, Tensor]:
    """``(gene,)`` zero and unit of the levels of the fit, in units of the data."""
    X = data.X
    known = torch.isfinite(X)
    low, high = torch.where(known, X, torch.inf).amin(0), torch.where(known, X, -torch.inf).amax(0)
    flat = [gene for gene, same in zip(data.genes, (low >= high).tolist(), strict=True) if same]
    if flat:
        raise constant_genes(flat)
    if float(low.min()) >= -0.5 and float(high.max()) <= 1.5:
        return torch.zeros_like(low), torch.ones_like(low)
    return low, high - low

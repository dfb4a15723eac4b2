r"""`AmortisedGuide`: a trained network as a Pyro guide of a linear network."""

from collections.abc import Mapping
from contextlib import ExitStack
from copy import deepcopy
from typing import Any, NamedTuple, cast

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import constraints
from pyro.nn import PyroModule, PyroParam
from torch import Tensor
from torch.distributions import biject_to

from ...models import ExpressionData, GaussianBlock, LinearNetwork
from ...priors import SpikeSlab
from ..gibbs.sites import sites_of
from ..variational.pyro_sites import ColumnNormal
from .distributions import Edges
from .edge_flips import Components, log_odds_given_rest
from .graphs import GivenGraph, sample_graphs, settle
from .network import AmortisedNetwork
from .reading import logit_of, read

TUNES = ("head", "all", "none")
CHAINS, SCANS = 4, 50  # from which noise and hyperparameters begin
NARROWEST = 0.02  # sd in unconstrained space below which a start would hardly move
INTERCEPT_SCALE = 10.0  # of the model's own prior, for batches of cells


class _Hyper(NamedTuple):
    """A continuous site that is not W: its support, its plates by name, and how many of its dimensions are an
    event."""

    name: str
    transform: Any
    plates: tuple[tuple[str, int, int], ...]
    event_dim: int


class AmortisedGuide(PyroModule):
    r"""q over the sites of a `LinearNetwork` with `SpikeSlab`, for `SVI`, `Importance`, `Predictive` and `poutine`.

    .. math:: q(\gamma, W, \sigma^2, \theta) = \prod_i q(\theta_i) \prod_g q(\sigma_g^2)\
              \prod_{tg}\mathrm{Bernoulli}(\gamma_{tg}; \pi_\phi(X)_{tg})\ \prod_g p(W_g \mid \gamma_g, \sigma^2_g,
              \theta, X)

    ``inclusion`` comes from the trained network, ``W`` from its exact conditional (one Cholesky factor a target, T³ for
    T regulators), the hyperparameters θ and ``noise_variance`` from normals in unconstrained space that begin where
    `GivenGraph` settles them given the network's own graphs. Every site lies in the plates of the model, and `log_prob`
    is right: with W integrated out exactly, :math:`\log p - \log q` does not depend on the draw of W.

    Trains with any `pyro.optim` under `Trace_ELBO`, `TraceGraph_ELBO` or `TraceEnum_ELBO`: gradients of φ are those of
    `Edges`, without a score function. Beside φ the normals learn. Pairs that may not be edges are drawn from the prior,
    so that they cancel.

    Made by ``Amortised("grnular")(model, data)``; parameters are ``network``, ``locs.SITE`` and ``scales.SITE`` of
    Pyro's store.

    Parameters
    ----------
    model
        The network; it is not part of the guide.
    network
        Trained weights; a copy is tuned.
    data
        The cells that the network reads, once; calls of the guide take the arguments of the model.
    tune
        What of φ learns: ``head`` (default), ``all`` (the unrolled cells too, run again at each step), ``none``.
    bound
        Largest log-odds of an edge, either way; an edge that is never drawn cannot be corrected. Default none.
    seed
        Of the channels and of the start of noise and hyperparameters; the global generators are not touched.
    """

    def __init__(
        self,
        model: LinearNetwork,
        network: AmortisedNetwork,
        data: ExpressionData,
        *,
        tune: str = "head",
        bound: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if tune not in TUNES:
            raise ValueError(f"`tune` is {tune!r}, expected one of {TUNES}")
        self.__dict__["model"] = model  # not a submodule: its buffers and parameters are not the guide's
        self.tune, self.bound = tune, bound
        copied = deepcopy(network).to(model.constant.device).eval().requires_grad_(False)
        if tune != "none":
            (copied.head if tune == "head" else copied).requires_grad_(True)
        self.network = copied
        inputs, logit, *_ = read(copied, model, data, seed=seed)
        if not torch.isfinite(logit).all():
            raise ValueError("the weights gave log-odds that are not finite: train them again")
        for name, value in zip(("evidence", "z", "knowledge"), inputs, strict=True):
            self.register_buffer(name, value)
        self.register_buffer("cells", data.X.float() if tune == "all" else data.X.new_zeros(0))
        self._hypers = _hypers(model)
        cells = next(data.minibatches(1, torch.Generator().manual_seed(0)))
        self._of_cells = "intercept" in _latent(model, cells)  # of batches of cells the model samples it
        self.locs, self.scales = PyroModule(), PyroModule()
        self._start(logit, seed)

    evidence: Tensor
    z: Tensor
    knowledge: Tensor
    cells: Tensor
    model: LinearNetwork

    def _start(self, logit: Tensor, seed: int) -> None:
        model = self.model
        kernel = GivenGraph(model, num_chains=CHAINS, seed=seed)
        kernel.setup(0)
        generator = torch.Generator(device=logit.device).manual_seed(seed + 1)
        state = settle(kernel, logit, generator)
        kernel.hyper.adapting = False
        found: dict[str, list[Tensor]] = {site.name: [] for site in self._hypers}
        for graph in sample_graphs(kernel, state, logit, SCANS, weigh=False, generator=generator).graph:
            state = kernel.given(state, graph)
            sites = sites_of(model, state)
            for site in self._hypers:
                found[site.name].append(sites[site.name])
        nodes = _latent(model, None)
        for site in self._hypers:
            shape = nodes[site.name]["value"].shape
            draws = torch.cat([v.reshape(CHAINS, *shape) for v in found[site.name]])
            free = site.transform.inv(draws)
            setattr(self.locs, site.name, PyroParam(free.mean(0)))
            scale = free.std(0).clamp_min(NARROWEST)
            setattr(self.scales, site.name, PyroParam(scale, constraint=constraints.softplus_positive))

    # -- q ----
    def logits(self) -> Tensor:
        """``(tf, target)`` log-odds of q(γ | X); differentiable in what is tuned."""
        z = self.z
        if self.tune == "all" and self.network.unrolled is not None:
            z = self._solved()
        logit = logit_of(self.network, (self.evidence, z, self.knowledge), self.model)
        return logit if self.bound is None else logit.clamp(-self.bound, self.bound)

    def _solved(self) -> Tensor:
        return self.network.solve_for_inputs(self.cells, self.model.tf_index, self.knowledge)

    def forward(self, batch: ExpressionData | None = None) -> dict[str, Tensor]:
        """Sample every site of the model; ``batch`` as the model takes it."""
        model, values = self.model, {}
        plates = {
            "tf": pyro.plate("tf", len(model.tfs), dim=-2),
            "target": pyro.plate("target", len(model.targets), dim=-1),
        }
        for site in self._hypers:
            normal = dist.Normal(getattr(self.locs, site.name), getattr(self.scales, site.name))
            q = dist.TransformedDistribution(normal.to_event(site.event_dim), [site.transform])
            with ExitStack() as stack:
                for name, _, _ in site.plates:
                    stack.enter_context(plates[name])
                values[site.name] = pyro.sample(site.name, q)
        values["noise_variance"] = _padded(values["noise_variance"])
        allowed, prior = model.edge_prior.allowed, self._slab.log_odds(values)
        logit = torch.where(allowed, self.logits(), prior)  # (*batch, tf, target)

        def flips(graph: Tensor) -> Tensor:
            return self._flips({**values, "inclusion": graph}, prior)

        with plates["tf"], plates["target"]:
            values["inclusion"] = pyro.sample("inclusion", Edges(logit, allowed, flips, carried=_enumerating()))
        block = model.conditional("W", values)
        with plates["tf"], plates["target"]:
            values["W"] = pyro.sample("W", ColumnNormal(*block.moments))
        if batch is not None and self._of_cells:
            with plates["target"]:
                values["intercept"] = pyro.sample("intercept", self._intercept(values))
        return values

    def _flips(self, values: Mapping[str, Tensor], prior: Tensor) -> Tensor:
        with torch.no_grad():
            graph = values["inclusion"]
            block: GaussianBlock = self.model.conditional("W", values)
            absent = self._slab.gaussian({**values, "inclusion": torch.zeros_like(graph)})
            present = self._slab.gaussian({**values, "inclusion": torch.ones_like(graph)})
            return log_odds_given_rest(block, graph, Components(*absent, *present), prior)

    @property
    def _slab(self) -> SpikeSlab:
        """The prior of the edges, of a mask the one beneath."""
        return cast(SpikeSlab, self.model.edge_prior.family)

    def _intercept(self, values: Mapping[str, Tensor]) -> dist.Normal:
        """Of batches of cells: its exact conditional given W and σ², all cells counted."""
        model = self.model
        unit = model.scale[model.target_index]
        W = values["W"] * model.edge_prior.allowed
        centre_tf = model.context_mean[0, model.tf_index] / model.scale[model.tf_index]
        shift = model.target_mean[0] - model.context_mean[0, model.target_index] / unit
        gap = shift - (W * (model.tf_mean[0] - centre_tf[:, None])).sum(-2, keepdim=True)
        share = (model.dof[0] + 1) / values["noise_variance"]
        precision = share + INTERCEPT_SCALE**-2
        return dist.Normal(share * gap / precision, precision**-0.5)


def _hypers(model: LinearNetwork) -> tuple[_Hyper, ...]:
    """What the model samples beside the graph and the weights, in its order."""
    found = []
    for name, node in _latent(model, None).items():
        if name in ("inclusion", "W"):
            continue
        plates = tuple((frame.name, frame.size, frame.dim) for frame in node["cond_indep_stack"])
        found.append(_Hyper(name, biject_to(node["fn"].support), plates, node["fn"].event_dim))
    return tuple(found)


def _latent(model: LinearNetwork, batch: ExpressionData | None) -> dict[str, Any]:
    """Nodes of the latent sites of one run of the model that nobody sees."""
    devices = [model.constant.device] if model.constant.is_cuda else []
    with torch.random.fork_rng(devices=devices), torch.no_grad(), poutine.block(), pyro.get_param_store().scope():
        trace = poutine.trace(model).get_trace(batch)
    return {name: trace.nodes[name] for name in trace.stochastic_nodes if name in model.dims or name == "intercept"}


def _padded(noise: Tensor) -> Tensor:
    """σ² ``(*batch, 1, target)``."""
    return noise[None] if noise.dim() == 1 else noise


def _enumerating() -> bool:
    """Whether an objective that enumerates is listening: it never asks for `ScoreParts`' entropy term."""
    from pyro.poutine.enum_messenger import EnumMessenger
    from pyro.poutine.runtime import _PYRO_STACK

    return any(isinstance(handler, EnumMessenger) for handler in _PYRO_STACK)

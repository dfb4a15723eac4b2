r"""CellBox: the response to drugs as the steady state of a network with a tanh envelope."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from ..priors import EdgeKnowledge, EdgePrior, Hyper, Laplace, PriorNetwork
from .base import Model
from .data.accepts import takes_anndata
from .data.checks import some
from .data.expression import ExpressionData
from .dynamics.dynamics import Dynamics
from .dynamics.settle import OSCILLATES, SETTLED, integrate, settle
from .state import State

SOLVERS = ("fixed-point", "ode")
DRUG_ACTIVITY, PHENOTYPE = "drug_activity", "phenotype"
DRUGS = "drugs"  # name of the source of knowledge that tells the edges of drugs from those between measured nodes
DRUG_PROBABILITY = 0.999  # all of them alike: only its product with the trust coefficient matters
HEADROOM = 4.0  # a node can rise to about four times its typical response before the envelope bends
NOISE_SHARE, NOISE_SPREAD = 0.25, 0.7  # noise sd around a quarter of the typical response, within a factor of two
GAIN_SPREAD, DECAY_SPREAD = 1.0, 0.1
ROOT_LIMIT, ROOT_PENALTY = 1.0, 100.0  # networks beyond the sure limit of stability lose 100 nats at a root of two
UNSETTLED = 50.0  # nats a node: as if missed by ten noise sds
START_TRUST = 7.0  # edges of drugs then start e^3.5 times as wide as those between measured nodes: at about 0.1
PRIOR_ROOT = 0.25  # all edges into a measured node together, a priori: such networks settle
ODE_TIME = 60.0  # times of the slowest decay: e^-60 of a start is left, and slow networks have a factor of three


class Prediction(NamedTuple):
    """``x`` (draw, condition, gene) steady states, NaN where there is none; ``outcome`` (draw, condition) as `settle`
    says."""

    x: Tensor
    outcome: Tensor


class CellBox(Model):
    r"""Responses x to constant inputs u, from x(0) = 0 (untreated):

    .. math:: \dot x_i = \varepsilon_i \tanh\Big(\sum_j W_{ji} x_j + u_i\Big) - \alpha_i x_i, \qquad
              X_{ci} \sim N\big(x_i(u_c),\ \sigma_i^2\big),

    with :math:`x(u)` the steady state, :math:`W_{ii} = 0` (Yuan et al. 2021). Node rules of the paper: drug-activity
    nodes receive no edges, phenotypes send none; so W is (tf, target) with the nodes that send and those that receive.
    ``X`` are log ratios to the untreated state. With r_i a node's root mean square response and r that of all,
    :math:`\log\varepsilon_i \sim N(\log\max(1, 4 r_i), 1)` (drug nodes :math:`N(0, 1)`), :math:`\log\alpha_i\sim
    N(0, 0.1^2)`, :math:`\log\sigma_i \sim N(\log(r/4), 0.7^2)`. A steady state only tells ε/α, so α keeps its prior and
    sets the unit of time.

    *Drugs never seen.* ``classes`` of drug nodes are sources too: the value of a class is the sum of its members, and
    its edges are what they have in common. Nothing in a training set tells the edges of a drug that is not in it; its
    classes (all drugs; a pathway) do, and its own edges, drawn from the prior, widen the intervals. The edges of drugs
    and classes differ in scale from those between measured nodes, which a hundred conditions hardly tell apart: they
    are listed in a source of prior knowledge called ``drugs``, whose trust coefficient is learned.

    *Stability.* :math:`|\tanh'| \le 1`, so with R the Perron root of the matrix :math:`|W_{ji}|\varepsilon_i/\alpha_i`
    every R < 1 has one steady state, reached from anywhere, for every input. The prior has the factor
    :math:`\exp(-100\,(R-1)_+^2)`: it forbids nothing that settles and keeps fits away from where nothing does. A
    condition that still has no steady state has the log likelihood -50 a node (as if missed by ten noise sds), a
    constant: finite, so that one draw does not end a fit, and far below what a network that fits the data has.

    Parameters
    ----------
    data
        ``X`` log ratios (condition, node) without missing values, and ``inputs`` u (`ExpressionData.with_inputs`).
    kinds
        Kind of each node by name; ``drug_activity`` and ``phenotype`` carry rules, other words are free. Nodes not
        named carry none.
    classes
        Members (drug-activity nodes) of each class by its name. Default one class ``drug`` of all; ``{}`` for none.
    edge_prior
        Prior on W. Default `Laplace` (its MAP is the paper's L1 penalty) with the scale 0.25/n for n measured nodes:
        the weights into a node then sum to about a quarter in size, and networks from the prior settle.
    networks
        Prior networks by name of the source.
    solver
        ``"fixed-point"`` (default; gradients by implicit differentiation) or ``"ode"`` (torchdiffeq, through the
        steps: slow, the reference).

    Raises
    ------
    ValueError
        No inputs, missing values, an unknown solver, kinds or classes of unknown nodes, inputs that never act, a source
        called ``drugs``; in `forward`, tracing.

    Notes
    -----
    `fit` does not trace it: how many steps a solve takes depends on the weights, and a trace would freeze it. Its
    default is one narrow fit of 250 steps, ``MeanField(spread=0.001, init_scale=0.003)``: the edges between measured
    nodes are of that size, and from the usual width a fit has to unlearn them first. Steps are in units of the prior's
    scale of each edge (`step_units`), with which networks stay among those that settle.
    """

    traceable = False
    name = "cellbox"
    needs = ("inputs",)
    rows = "conditions"
    weight_meaning = (
        "what a log ratio of one in the regulator adds to the drive of the target, which changes it the less the "
        "stronger it is driven already"
    )
    weight_unit = "drive of target per log ratio of regulator"
    expects = "ratios"
    own_sources: ClassVar[Mapping[str, str]] = {
        DRUGS: "the edges of drugs, which may be wider than those between measured nodes by a factor that is learned"
    }
    story = "a network of saturating responses to drugs"
    reference = "Yuan et al. 2021, Cell Systems 12:128"

    def __init__(
        self,
        data: ExpressionData,
        *,
        kinds: Mapping[str, str] | None = None,
        classes: Mapping[str, Sequence[str]] | None = None,
        edge_prior: EdgePrior | None = None,
        networks: Mapping[str, PriorNetwork] | None = None,
        solver: str = "fixed-point",
    ) -> None:
        super().__init__()
        kinds = dict(kinds or {})
        if data.inputs is None or not bool((data.inputs != 0).any()):
            raise ValueError("CellBox needs inputs that act: give `data.with_inputs(table)` with one row a condition")
        if bool(torch.isnan(data.X).any()):
            raise ValueError("X has missing values: CellBox needs every node in every condition; drop or impute them")
        unknown = sorted(set(kinds) - set(data.genes))
        if unknown:
            raise ValueError(f"`kinds` of {some(unknown)}, which are not measured: use names from the data's genes")
        drugs = tuple(g for g in data.genes if kinds.get(g) == DRUG_ACTIVITY)
        classes = ({"drug": drugs} if drugs else {}) if classes is None else dict(classes)
        self._check_classes(classes, data.genes, drugs)
        sources = (*(g for g in data.genes if kinds.get(g) != PHENOTYPE), *classes)
        targets = tuple(g for g in data.genes if kinds.get(g) != DRUG_ACTIVITY)
        knowledge = EdgeKnowledge.from_networks(
            self._with_drugs(networks, (*drugs, *classes), targets), sources, targets
        )
        default = Laplace(scale=PRIOR_ROOT / max(1, len(sources) - len(drugs) - len(classes)))
        self._describe(data.genes, knowledge, edge_prior or default, solver)
        X = data.X.float() if data.X.dtype == torch.float16 else data.X
        self.register_buffer("X", X)
        self.register_buffer("inputs", data.inputs.to(X))
        position = {gene: i for i, gene in enumerate(data.genes)}
        members = torch.zeros(len(sources), len(data.genes), dtype=X.dtype)
        for row, source in enumerate(sources):
            for gene in classes.get(source, (source,)):
                members[row, position[gene]] = 1.0
        self.register_buffer("members", members.to(X.device))  # (tf, gene): a source is the sum of its members
        self.register_buffer("target_index", torch.tensor([position[t] for t in targets], device=X.device))
        typical = X.square().mean(0).sqrt()  # (gene,)
        is_drug = torch.tensor([g in set(drugs) for g in data.genes], device=X.device)
        self.register_buffer("gain_center", torch.where(is_drug, 1.0, (HEADROOM * typical).clamp_min(1.0)))
        self.register_buffer("noise_center", NOISE_SHARE * X.square().mean().sqrt())

    X: Tensor
    inputs: Tensor
    members: Tensor
    target_index: Tensor
    gain_center: Tensor
    noise_center: Tensor

    @staticmethod
    def _check_classes(classes: Mapping[str, Sequence[str]], genes: Sequence[str], drugs: Sequence[str]) -> None:
        taken = sorted(set(classes) & set(genes))
        if taken:
            raise ValueError(f"classes called {some(taken)}, which are nodes: give the classes other names")
        for name, members in classes.items():
            other = sorted(set(members) - set(drugs))
            if other or not members:
                found = some(other) if other else "no members"
                raise ValueError(f"class {name!r} has {found}: expected nodes of kind {DRUG_ACTIVITY!r}")

    @staticmethod
    def _with_drugs(
        networks: Mapping[str, PriorNetwork] | None, sources: Sequence[str], targets: Sequence[str]
    ) -> dict[str, PriorNetwork]:
        named = dict(networks or {})
        if DRUGS in named:
            raise ValueError(f"a prior network is called {DRUGS!r}, which CellBox uses itself: give it another name")
        if not sources:
            return named
        pairs = pd.MultiIndex.from_product([sources, targets], names=["source", "target"]).to_frame(index=False)
        return {DRUGS: PriorNetwork.from_edges(pairs.assign(probability=DRUG_PROBABILITY), name=DRUGS), **named}

    def _describe(self, genes: Sequence[str], knowledge: EdgeKnowledge, edge_prior: EdgePrior, solver: str) -> None:
        """All but the data."""
        if solver not in SOLVERS:
            raise ValueError(f"`solver` is {solver!r}: expected {' or '.join(map(repr, SOLVERS))}")
        self.genes, self.solver = tuple(genes), solver
        self.tfs, self.targets, self.knowledge = knowledge.tfs, knowledge.targets, knowledge
        self.edge_prior = edge_prior.bind(knowledge)
        self.gain_spread, self.decay_spread = Hyper(GAIN_SPREAD), Hyper(DECAY_SPREAD)
        self.noise_spread = Hyper(NOISE_SPREAD)

    @classmethod
    @takes_anndata
    def from_data(
        cls,
        data: ExpressionData,
        *,
        kinds: Mapping[str, str] | None = None,
        classes: Mapping[str, Sequence[str]] | None = None,
        edge_prior: EdgePrior | None = None,
        networks: Mapping[str, PriorNetwork] | None = None,
        solver: str = "fixed-point",
    ) -> "CellBox":
        """As the constructor; on the data's device."""
        model = cls(data, kinds=kinds, classes=classes, edge_prior=edge_prior, networks=networks, solver=solver)
        return model.to(data.device)

    def to_state(self) -> dict[str, list[str]]:
        return {"genes": list(self.genes), "solver": [self.solver]}

    def _restore(self, state: State, knowledge: EdgeKnowledge, edge_prior: EdgePrior) -> None:
        self._describe(state.names("genes"), knowledge, edge_prior, state.name("solver"))

    # -- axes ----
    @property
    def coords(self) -> dict[str, list[str]]:
        return {
            "tf": list(self.tfs),
            "target": list(self.targets),
            "gene": list(self.genes),
            "context": ["all"],
            "source": list(self.knowledge.sources),
            "signed_source": list(self.edge_prior.signed_sources),
        }

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        return {**self.edge_prior.dims, "log_gain": ("gene",), "log_decay": ("gene",), "noise": ("gene",)}

    @property
    def max_plate_nesting(self) -> int:
        return 2

    def plate_of(self, site: str) -> dict[str, int]:
        return {"tf": -2, "target": -1, "gene": -1}

    @property
    def initial(self) -> dict[str, Tensor]:
        """Where guides start: gains at the centre of their prior, decay one, noise at the size of the data, edges of
        measured nodes so small that the first network settles."""
        zero = self.noise_center.new_zeros(())
        return {
            "W": zero,
            "trust": zero + START_TRUST,
            "log_gain": self.gain_center.log(),
            "log_decay": torch.zeros_like(self.gain_center),
            "noise": 2 * self.noise_center,
        }

    @property
    def step_units(self) -> dict[str, Tensor]:
        """Of W its scale a priori, trust in ``drugs`` being where it starts, if that is fixed and no wider than the
        default: steps of the rate itself, for all edges into a node together, reach networks that do not settle within
        a few of them. Wider priors expect edges that such steps would not reach."""
        size = self.edge_prior.family.edge_size
        drugs = torch.zeros(len(self.tfs), len(self.targets))
        if DRUGS in self.knowledge.sources:
            drugs = self.knowledge.probability[self.knowledge.sources.index(DRUGS)]
        among = max(1, int((drugs <= 0).any(1).sum()))
        if size is None or size * among > 1.01 * PRIOR_ROOT:
            return {}
        return {"W": (0.5 * START_TRUST * drugs.to(self.noise_center)).exp() * size}

    # -- the generative story ----
    def hyper(self, batch: ExpressionData | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor, pyro.plate]:
        """W ``(tf, target)``, log ε, log α and σ ``(gene,)``, and the plate of the genes: all that is sampled but the
        data, whose steady states take most of the time."""
        tf = pyro.plate("tf", len(self.tfs), dim=-2)
        target = pyro.plate("target", len(self.targets), dim=-1)
        W = self.edge_prior(tf, target)  # (tf, target)
        gene = pyro.plate("gene", len(self.genes), dim=-1)
        with gene:
            # logarithms, so that the mode of a MAP fit is the median of ε and α and not far below
            gain_prior = dist.Normal(self.gain_center.log(), self.gain_spread("gain_spread"))
            log_gain = pyro.sample("log_gain", gain_prior)  # (gene,)
            decay_prior = dist.Normal(torch.zeros_like(self.gain_center), self.decay_spread("decay_spread"))
            log_decay = pyro.sample("log_decay", decay_prior)  # (gene,)
            noise_prior = dist.LogNormal(self.noise_center.log(), self.noise_spread("noise_spread"))
            noise = pyro.sample("noise", noise_prior)  # (gene,)
        return W, log_gain, log_decay, noise, gene

    def forward(self, batch: ExpressionData | None = None) -> None:
        if torch.jit.is_tracing():
            raise ValueError(
                "CellBox cannot be traced, its solver stops when it has converged: run it as it is, which `fit` does"
            )
        if batch is not None and batch.inputs is None:
            raise ValueError("the batch has no inputs: give `batch.with_inputs(table)` with one row a condition")
        W, log_gain, log_decay, noise, gene = self.hyper(batch)
        dynamics = self.dynamics(W, log_gain, log_decay)
        excess = (perron_root(dynamics) - ROOT_LIMIT).clamp_min(0)  # (*draw,)
        pyro.factor("stable", -ROOT_PENALTY * excess.square()[..., None, None].to(W))
        X, u, share = self.X, self.inputs, 1.0
        if batch is not None:
            assert batch.inputs is not None  # refused above
            X, u = batch.X.to(self.X), batch.inputs.to(self.X)
            share = 1.0 if batch.population is None else batch.population / len(X)
        # p(X | W, ε, α, σ)
        x, outcome = self.solve(dynamics, u)
        settled = (outcome == SETTLED)[..., None]  # (*draw, condition, 1)
        mean = torch.where(settled, x.to(W), X)
        missed = torch.where(settled, 0.0, -UNSETTLED * len(self.genes)).to(W)
        with poutine.scale(scale=share), pyro.plate("condition", len(X), dim=-2):
            with gene:
                pyro.sample("X", dist.Normal(mean, noise).mask(settled), obs=X)
            pyro.factor("unsettled", missed)

    def dynamics(self, W: Tensor, log_gain: Tensor, log_decay: Tensor) -> Dynamics:
        """The system of ``W (*draw, tf, target)``, log ε and log α ``(*draw, gene)`` or ``(*draw, 1, gene)``, in
        float64."""
        W, gain, decay = W.double(), log_gain.double().exp(), log_decay.double().exp()
        if W.dim() > 2:  # sites drawn under plates are padded: (*draw, 1, gene)
            gain, decay = (v.squeeze(-2) if v.dim() == W.dim() else v for v in (gain, decay))
        among = torch.zeros(*W.shape[:-2], len(self.genes), len(self.genes), dtype=W.dtype, device=W.device)
        by_gene = self.members.to(W).T @ W  # (*draw, gene, target): a class adds its edges to those of its members
        among = among.index_copy(-1, self.target_index, by_gene)
        return Dynamics(W=among, gain=gain, decay=decay, bias=torch.zeros_like(gain), envelope="tanh")

    def solve(self, dynamics: Dynamics, inputs: Tensor, *, solver: str | None = None) -> Prediction:
        """Steady states ``(*draw, condition, gene)`` from the untreated state under ``inputs`` (condition, gene), by
        ``solver`` (default the model's)."""
        inputs = inputs.double()
        start = torch.zeros(*dynamics.W.shape[:-2], *inputs.shape, dtype=inputs.dtype, device=inputs.device)
        if (solver or self.solver) == "fixed-point":
            # drug nodes have no regulators: their states are known, and the rest is a smaller, tamer system
            fixed = torch.ones(len(self.genes), dtype=torch.bool, device=inputs.device)
            fixed[self.target_index] = False
            level = (dynamics.gain / dynamics.decay)[..., None, :] * torch.tanh(inputs)
            start = torch.where(fixed, level, start)
            return Prediction(*settle(dynamics, start, inputs=inputs, clamped=fixed.expand(inputs.shape)))
        end = ODE_TIME / float(dynamics.decay.detach().min())
        times = torch.tensor([0.0, end], dtype=start.dtype, device=start.device)
        x = integrate(dynamics, start, times, inputs=inputs, rtol=1e-7, atol=1e-9)[-1]
        still = dynamics.rate(x.detach(), inputs).abs().amax(-1) < 1e-5
        x = torch.where(still[..., None], x, torch.nan)
        return Prediction(x, torch.where(still, SETTLED, OSCILLATES).to(torch.int8))

    def predict(self, draws: Mapping[str, np.ndarray], inputs: Tensor, *, solver: str | None = None) -> Prediction:
        """Steady states of posterior draws under new inputs.

        Parameters
        ----------
        draws
            Sites ``W``, ``log_gain`` and ``log_decay`` with the same leading dimensions (``posterior.draws``: chain,
            draw).
        inputs
            ``(condition, gene)``: u of each condition.
        solver
            Default the model's.

        Returns
        -------
        Prediction
            Draws in one dimension.
        """
        if inputs.shape[-1:] != (len(self.genes),) or inputs.dim() != 2:
            raise ValueError(f"`inputs` has shape {tuple(inputs.shape)}, expected (condition, {len(self.genes)})")
        values = (torch.as_tensor(np.asarray(draws[n])).to(self.X.device) for n in ("W", "log_gain", "log_decay"))
        W, *rates = values
        W = W.reshape(-1, *W.shape[-2:]) * self.edge_prior.allowed
        with torch.no_grad():
            return self.solve(
                self.dynamics(W, *(v.reshape(-1, v.shape[-1]) for v in rates)), inputs.to(self.X.device), solver=solver
            )


def perron_root(dynamics: Dynamics, steps: int = 30) -> Tensor:
    r"""``(*draw,)`` largest eigenvalue of the non-negative matrix :math:`|W_{ji}|\,\varepsilon_i/\alpha_i`, an upper
    bound of the spectral radius of the tanh system anywhere.

    The two eigenvectors by power iteration, without gradient; the root as their Rayleigh quotient, whose gradient is
    exact at the eigenvectors.
    """
    A = dynamics.W.abs() * (dynamics.gain / dynamics.decay)[..., None, :]
    with torch.no_grad():
        # a small constant joins everything: the vectors stay positive in networks without cycles
        joined = A.detach() + 1e-6
        right = torch.full((*A.shape[:-1], 1), 1 / math.sqrt(A.shape[-1]), dtype=A.dtype, device=A.device)
        left = right
        for _ in range(steps):
            right, left = joined @ right, joined.transpose(-1, -2) @ left
            right, left = right / right.sum(-2, keepdim=True), left / left.sum(-2, keepdim=True)
    quotient = (left * (A @ right)).sum((-2, -1)) / (left * right).sum((-2, -1))
    return quotient

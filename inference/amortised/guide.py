r"""`Amortised`: a trained network as the guide of a linear network."""

import copy
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...models import ExpressionData, LinearNetwork, Model
from ...models.data.scale import scale_findings
from ..convergence import target_khat
from ..draws.moments import Collector
from ..gibbs.sites import sites_of
from ..runs.history import History
from ..runs.run import Run
from ..runs.sampler import Sampler
from .evidence import pair_evidence
from .graphs import WARMUP, GivenGraph, sample_graphs, settle
from .network import READS, AmortisedNetwork
from .novelty import FEATURES, NEIGHBOURS, distance, summary
from .pyro_guide import AmortisedGuide
from .reading import Inputs, listed_edges, logit_of, read
from .weights import load_weights

SCANS = 2  # between a new graph and its draw
GRAPHS_A_STEP = 8  # of fine-tuning
DEFENSIVE = 4.0  # largest log-odds of graphs that are to be weighed: an edge never drawn cannot be corrected
CORRECTIONS = ("none", "importance")


ECE_OF_BADGE = 0.02  # on fresh simulations, above which weights are not called calibrated


@dataclass(frozen=True)
class Amortised(Sampler):
    r"""A posterior over graphs learned on simulations, then everything else exactly given the graph.

    .. math:: q(\gamma, W, \sigma^2, \theta \mid X) = \prod_{tg} \mathrm{Bernoulli}(\gamma_{tg};
              \pi_\phi(X)_{tg})\ p(W, \sigma^2, \theta \mid \gamma, X)

    π_φ is one pass through an unrolled network (`AmortisedNetwork`); W, the noise and the hyperparameters given γ are
    drawn by conjugacy (`GivenGraph`). The simulated cells that π_φ was trained on are not linear, so its probabilities
    are those of the simulator's posterior, not of the linear model's: on cells like the simulated ones that is the
    point. ``correction`` and ``fine_tune`` turn towards the linear model instead.

    Parameters
    ----------
    weights
        A name in the package (``glad``, ``glad-tf``, ``grnular``, …; `weights.shipped`), or a file that ``pyrogrn
        train`` wrote.
    num_chains, num_samples
        Chains, and draws of each.
    correction
        ``importance``: the graphs of each target are resampled with Pareto-smoothed weights
        :math:`p(x_g, \gamma_g \mid \sigma^2, \theta) / q(\gamma_g)` (Vehtari et al. 2024), W integrated out. With σ²
        and θ where the guide's own graphs settle them, so it is the linear model's posterior of the graph given those,
        where k-hat, reported for each target, is below 0.7; the Gibbs sampler has them right as well.
    fine_tune
        Steps that raise the linear model's ELBO, up to a constant and at fixed σ² and θ, on the data at hand by moving
        φ (the head's numbers), with leave-one-out score-function gradients (Kool et al. 2019). Default 0.
    rate
        Learning rate of fine-tuning.
    reads
        What the probabilities are read off, each a posterior of its own training: ``both`` Z of the unrolled algorithm
        and the evidence of pairs, ``unrolled`` (Z alone, by two numbers), ``evidence`` (the head without Z). Default:
        whatever the weights were trained to read; those named ``NAME-unrolled`` and ``NAME-evidence`` read a part.

    Raises
    ------
    ValueError
        Unknown correction, sizes below 1; on fitting: weights of another version, a model other than a `LinearNetwork`
        with `SpikeSlab` and one context, data that are not the model's, no data.
    """

    weights: str = "grnular"
    num_chains: int = 4
    num_samples: int = 100
    correction: str = "none"
    fine_tune: int = 0
    rate: float = 1e-3
    reads: str | None = None
    name = "amortised"
    learns_on_simulations = True
    reads_cells = True
    expects = "trained on counts"  # of `models.data.scale.EXPECTATIONS`

    def __post_init__(self) -> None:
        if self.reads is not None and self.reads not in READS:
            raise ValueError(f"reads is {self.reads!r}, expected one of {READS}")
        if self.correction not in CORRECTIONS:
            raise ValueError(f"correction is {self.correction!r}, expected one of {CORRECTIONS}")
        if min(self.num_chains, self.num_samples) < 1 or self.fine_tune < 0 or self.rate <= 0:
            raise ValueError(f"{self}: expected at least one chain and sample, fine_tune >= 0 and a positive rate")

    @property
    def calibrated(self) -> bool:  # type: ignore[override]
        """As trained: calibrated on its simulator, if its ECE on fresh simulations says so. Turned towards the linear
        model by approximate means, or without knowing which genes regulate (``glad``): not."""
        if self.correction != "none" or self.fine_tune:
            return False
        network, about = load_weights(self.weights, reads=self.reads)
        return network.directed and float(about["about"]["scores"]["ece"]) <= ECE_OF_BADGE

    @property
    def why_not(self) -> str | None:
        if self.correction != "none" or self.fine_tune:
            return "NOT calibrated: turned towards the linear model by approximate means"
        network, about = load_weights(self.weights, reads=self.reads)
        ece = float(about["about"]["scores"]["ece"])
        if not network.directed or ece <= ECE_OF_BADGE:
            return None
        return f"NOT calibrated: its own fresh simulations find it off by {ece:.2f} (ECE)"

    def run(self, model: Model, data: ExpressionData | None, run: Run) -> tuple[Collector, History]:
        started = time.monotonic()
        network, about = load_weights(self.weights, reads=self.reads)
        model, data = _checked(model, data)
        if run.resume is not None:
            raise ValueError("an amortised fit takes seconds and keeps no checkpoint: run it again")
        kernel = GivenGraph(model, num_chains=self.num_chains, seed=run.seed)
        kernel.setup(WARMUP)
        generator = torch.Generator(device=model.constant.device).manual_seed(run.seed + 1)
        network = network.to(model.constant.device)
        inputs, logit, trusted, alone = read(network, model, data, seed=run.seed)
        if not torch.isfinite(logit).all():
            raise ValueError(f"the weights {self.weights!r} gave log-odds that are not finite: train them again")
        listed = [] if alone is None else [listed_edges(one, model) for one in (logit, alone)]
        state = settle(kernel, logit, generator)
        trace: list[np.ndarray] = []  # log-likelihood of every draw
        elbo: list[np.ndarray] = []  # of fine-tuning
        if self.fine_tune:
            logit = self._fine_tuned(network, inputs, model, kernel, state, generator, elbo, run)
            state = settle(kernel, logit, generator)
        kernel.hyper.adapting = False
        weigh = self.correction == "importance"
        proposal = logit.clamp(-DEFENSIVE, DEFENSIVE) if weigh else logit
        drawn = sample_graphs(kernel, state, proposal, self.num_samples, weigh=weigh, generator=generator)
        graphs, probability = drawn.graph, torch.sigmoid(logit) * kernel.allowed
        collector = Collector(model, self.num_chains, self.num_samples, has_inclusion=True)
        probability = probability.expand(self.num_chains, -1, -1)
        if weigh:
            log_weight = drawn.log_p - drawn.log_q  # (sample, chain, target)
            smoothed, khat = target_khat(log_weight.double().cpu().numpy())
            graphs, probability = _resampled(graphs, torch.as_tensor(smoothed).to(logit), generator)
            collector.notes["khat_target"] = khat
        with run.steps(0, self.num_samples) as steps:
            for step in steps:
                for _ in range(SCANS):
                    state = kernel.given(state, graphs[step])
                state["W"] = state["W"] * kernel.allowed
                collector.add(sites_of(model, state), probability)
                trace.append(kernel.log_likelihood(state).cpu().numpy().astype(np.float64))
                steps.tell(step + 1, "graphs")
        collector.notes |= _novelty(network, inputs[0], model, data, run.seed)
        if trusted is not None:
            kept = [int(listed[0].sum()), int((listed[0] & listed[1]).sum())]
            collector.notes |= {"knowledge_weight": np.array(trusted), "knowledge_listed": np.array(kept)}
        collector.notes["amortised_ece"] = np.array(about["about"]["scores"]["ece"])
        if elbo:
            collector.notes["fine_tune_elbo"] = np.stack(elbo, axis=1)
        return collector, History.every_step("budget", np.stack(trace, axis=1), time.monotonic() - started)

    def __call__(
        self, model: Model, data: ExpressionData | None, *, tune: str = "head", seed: int = 0
    ) -> AmortisedGuide:
        """The same as a Pyro guide of ``model``, for `SVI`, `Importance` and other algorithms of one's own; with
        ``correction="importance"`` no edge is more certain than `DEFENSIVE` log-odds, so that weights can correct it.
        ``tune`` and ``seed`` as in `AmortisedGuide`."""
        linear, cells = _checked(model, data)
        network, _ = load_weights(self.weights, reads=self.reads)
        bound = DEFENSIVE if self.correction == "importance" else None
        return AmortisedGuide(linear, network, cells, tune=tune, bound=bound, seed=seed)

    # -- pieces ----
    def _fine_tuned(
        self,
        network: AmortisedNetwork,
        inputs: Inputs,
        model: LinearNetwork,
        kernel: GivenGraph,
        state: dict[str, Tensor],
        generator: torch.Generator,
        elbo: list[np.ndarray],
        run: Run,
    ) -> Tensor:
        r"""Log-odds after raising :math:`E_q[\log p(X, \gamma \mid \sigma^2, \theta) - \log q(\gamma)]`; targets are
        independent given the scales, so each has a baseline of its own."""
        tuned = copy.deepcopy(network)
        tuned.head.requires_grad_(True)
        optimizer = torch.optim.Adam(tuned.head.parameters(), lr=self.rate)
        with run.steps(0, self.fine_tune) as steps:
            for step in steps:
                with torch.enable_grad():
                    logit = logit_of(tuned, inputs, model)
                    drawn = sample_graphs(kernel, state, logit.detach(), GRAPHS_A_STEP, weigh=True, generator=generator)
                    value = drawn.log_p - drawn.log_q  # (sample, chain, target)
                    flat = value.flatten(0, 1)
                    advantage = flat - (flat.sum(0) - flat) / (len(flat) - 1)
                    graph = drawn.graph.flatten(0, 1)
                    log_q = torch.where(graph > 0, logit, 0.0) - torch.nn.functional.softplus(logit)
                    log_q = (log_q * kernel.allowed).sum(1)
                    loss = -(advantage * log_q).mean(0).sum() / value.shape[-1]
                    optimizer.zero_grad()
                    loss.backward()
                    torch.nn.utils.clip_grad_norm_(tuned.head.parameters(), 1.0)
                    optimizer.step()
                elbo.append(value.sum(-1).mean(0).double().cpu().numpy())
                steps.tell(step + 1, f"ELBO {float(elbo[-1].mean()):.1f}")
        with torch.no_grad():
            return logit_of(tuned, inputs, model)


def _checked(model: Any, data: ExpressionData | None) -> tuple[LinearNetwork, ExpressionData]:
    if not model.plain_regression or "inclusion" not in model.dims:
        prior = type(model.edge_prior).__name__
        raise ValueError(
            "amortised guides sample the graph of a LinearNetwork with a SpikeSlab prior, this is "
            f"{type(model).__name__} with {prior}: use LinearNetwork.from_data(data)"
        )
    if model.has_contexts:
        raise ValueError(
            f"amortised guides take one context, this model has {len(model.contexts)}: fit them one by one"
        )
    if data is None:
        raise ValueError("amortised guides read the cells themselves: call fit(model, data, guide=Amortised(...))")
    if tuple(data.genes) != tuple(model.genes) or data.num_cells < 4:
        raise ValueError(
            f"the data have {data.num_genes} genes and {data.num_cells} cells, the model was made from other genes, or "
            "there are fewer than 4 cells: pass the data the model was made from"
        )
    for where, found in scale_findings(data, Amortised.expects):
        if found.fatal:
            raise ValueError(
                f"{where + ': ' if where else ''}the data look like {found.found}: {found.cost}. Give counts or "
                "un-logged levels"
            )
    return model, data


def _novelty(
    network: AmortisedNetwork, evidence: Tensor, model: LinearNetwork, data: ExpressionData, seed: int
) -> dict[str, np.ndarray]:
    """For diagnostics: ``training_worlds_p``, and ``training_worlds_outmost`` (feature, sd) of the three features that
    lie furthest out; nothing where the weights keep no worlds."""
    if len(network.worlds) <= NEIGHBOURS:
        return {}
    if not network.reads_evidence:
        X = data.X.to(model.constant)
        evidence = pair_evidence(X, network.sources(model.tf_index, X.shape[1]), seed=seed)
    found = distance(summary(evidence), network.worlds)
    outmost = [[FEATURES.index(name), sd] for name, sd in found.features]
    return {"training_worlds_p": np.array(found.p), "training_worlds_outmost": np.array(outmost)}


def _resampled(graphs: Tensor, weight: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Graphs ``(sample, chain, tf, target)`` redrawn target by target with weights ``(sample, chain, target)``, and the
    weighted probability of every edge ``(chain, tf, target)``."""
    probability = (graphs * weight[:, :, None]).sum(0)
    samples, chains, _, targets = graphs.shape
    rows = weight.permute(1, 2, 0).reshape(-1, samples)
    chosen = torch.multinomial(rows, samples, replacement=True, generator=generator)
    index = chosen.reshape(chains, targets, samples).permute(2, 0, 1)[:, :, None].expand_as(graphs)
    return graphs.gather(0, index), probability

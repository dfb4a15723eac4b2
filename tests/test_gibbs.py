"""The Gibbs sampler against brute force over graphs, its own prior, NUTS, and itself."""

import itertools
import math
from dataclasses import fields

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyrogrn.inference import NUTS, Gibbs, GibbsKernel, fit
from pyrogrn.inference.gibbs import kernel as gibbs
from pyrogrn.inference.gibbs import sweep as gibbs_sweep
from pyrogrn.inference.gibbs.hyper import truncated_normal
from pyrogrn.inference.gibbs.sites import sites_of
from pyrogrn.inference.gibbs.sweep import EdgeGroup
from pyrogrn.inference.sbc import UnitStatistics
from pyrogrn.models import ExpressionData, LinearNetwork
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import HardMask, Hyper, Normal, PriorNetwork, SpikeSlab
from scipy import integrate, stats

pytestmark = pytest.mark.usefixtures("seeded")


def networks(signed, targets=("G0", "G1", "G2")):
    a = [
        ("T0", targets[0], 0.9, 1),
        ("T1", targets[1], 0.8, -1),
        ("T2", targets[1], 0.5, 1),
        ("T0", targets[2], 0.6, 0),
    ]
    b = [("T1", targets[0], 0.9, 1), ("T2", targets[0], 0.7, 1)]
    columns = ["source", "target", "probability", "sign"]
    drop = [] if signed else ["sign"]
    return {
        n: PriorNetwork.from_edges(pd.DataFrame(r, columns=columns).drop(columns=drop), name=n)
        for n, r in (("a", a), ("b", b))
    }


# -- brute force over graphs ----

EDGE, SLAB, RATIO = 0.3, 0.45, 0.15
LEARNED = Hyper(dist.HalfNormal, 1.0)  # hubs, which are off by default
FIXED = {"edge_probability": EDGE, "slab_scale": SLAB, "spike_ratio": RATIO, "hub_scale": 0.0}
GRAPHS = np.array(list(itertools.product([0, 1], repeat=3)))


def regression(correlation, num_cells=40, num_targets=2, clamped=0, num_contexts=1, seed=1):
    """Three regulators that correlate in pairs, targets with weak effects, standardised; the first cells clamp G0."""
    rng = np.random.default_rng(seed)
    x = math.sqrt(correlation) * rng.normal(size=(num_cells, 1)) + math.sqrt(1 - correlation) * rng.normal(
        size=(num_cells, 3)
    )
    W = np.array([[0.4, 0.0], [0.0, -0.35], [0.15, 0.1]])[:, :num_targets]
    X = np.column_stack([x, x @ W + rng.normal(size=(num_cells, num_targets))])
    X[:clamped, 3] = 4.0
    context = np.arange(num_cells) % num_contexts
    pooled = np.sqrt(
        sum(((X[context == k] - X[context == k].mean(0)) ** 2).sum(0) for k in range(num_contexts))
        / (num_cells - num_contexts)
    )
    genes = ("T0", "T1", "T2", "G0", "G1")[: 3 + num_targets]
    data = ExpressionData(torch.as_tensor(X / pooled), genes, genes[:3], dtype=torch.float64)
    names = [f"k{k}" for k in context] if num_contexts > 1 else None
    labels = ["G0"] * clamped + ["control"] * (num_cells - clamped)
    return data.annotated(context=names, perturbed=labels), X / pooled


def posterior_of_graphs(log_prob):
    """Inclusion probabilities (…, 3) from log p(y | graph) (graph, …)."""
    prior = GRAPHS.sum(1) * math.log(EDGE) + (3 - GRAPHS.sum(1)) * math.log(1 - EDGE)
    joint = log_prob + prior.reshape(-1, *(1,) * (log_prob.ndim - 1))
    share = np.exp(joint - np.logaddexp.reduce(joint, axis=0))
    return np.tensordot(share, GRAPHS, axes=(0, 0))


def estimate(model, num_chains=48, num_warmup=20, num_samples=120, seed=0):
    """Inclusion probabilities and their Monte-Carlo standard errors from independent chains."""
    kernel = GibbsKernel(model, num_chains=num_chains, seed=seed)
    kernel.setup(num_warmup)
    state = kernel.initial_params
    total = torch.zeros_like(kernel.probability)
    for step in range(num_warmup + num_samples):
        state = kernel.sample(state)
        if step >= num_warmup:
            total += kernel.probability / num_samples
    return total.mean(0).numpy(), total.std(0).numpy() / math.sqrt(num_chains)


def agree(found, error, expected):
    """Within 4 standard errors, small enough to matter; 6 comparisons at most: one failure in 2,600 seeds."""
    assert error.max() < 0.02
    np.testing.assert_array_less(np.abs(found - expected), 4 * error + 1e-4)


@pytest.mark.parametrize("block", [32, 2], ids=["one-block", "two-blocks"])
@pytest.mark.parametrize("clamped", [0, 8])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_inclusion_equals_brute_force(correlation, clamped, block, exact, monkeypatch):
    monkeypatch.setattr(gibbs_sweep, "BLOCK", block)
    data, X = regression(correlation, clamped=clamped)
    model = LinearNetwork(data.statistics(), edge_prior=SpikeSlab(**FIXED), targets=["G0", "G1"]).double()
    assert model.own.tolist() == ([0] if clamped else [])
    found, error = estimate(model)
    log_prob = np.empty((8, 2))
    for i, graph in enumerate(GRAPHS):
        variance = np.where(graph, SLAB, SLAB * RATIO) ** 2
        for g in range(2):
            rows = X[clamped if g == 0 else 0 :]
            log_prob[i, g] = exact(rows[:, :3], rows[:, 3 + g], np.zeros(3), variance)[0]
    agree(found, error, posterior_of_graphs(log_prob).T)


def test_inclusion_with_sampled_trust_and_signs_equals_brute_force(exact):
    """Knowledge of one edge and its sign; trust and sign trust integrated out on a grid."""
    data, X = regression(0.5, num_targets=1)
    edges = pd.DataFrame({"source": ["T2"], "target": ["G0"], "probability": [0.8], "sign": [1]})
    model = LinearNetwork(
        data.statistics(),
        edge_prior=SpikeSlab(**FIXED),
        networks={"motif": PriorNetwork.from_edges(edges, name="motif")},
        targets=["G0"],
    ).double()
    found, error = estimate(model, num_samples=200)
    psi, b = (np.arange(60) + 0.5) * 5 / 60, (np.arange(200) + 0.5) * 15 / 200
    weight_psi, weight_b = stats.halfnorm.pdf(psi), stats.halfnorm.pdf(b, scale=3.0)
    known = (
        stats.logistic.cdf(math.log(EDGE / (1 - EDGE)) + 0.8 * b) @ weight_b / weight_b.sum()
    )  # π is linear in the sum
    share = np.empty(8)
    for i, graph in enumerate(GRAPHS):
        variance = np.where(graph, SLAB, SLAB * RATIO) ** 2
        terms = [exact(X[:, :3], X[:, 3], np.array([0, 0, m * SLAB * graph[2]]), variance)[0] for m in psi]
        log_prob = np.log(np.exp(np.array(terms) - terms[0]) @ weight_psi / weight_psi.sum()) + terms[0]
        pi = np.array([EDGE, EDGE, known])
        share[i] = log_prob + np.log(np.where(graph, pi, 1 - pi)).sum()
    share = np.exp(share - np.logaddexp.reduce(share))
    agree(found, error, (share @ GRAPHS)[:, None])


def test_inclusion_with_two_contexts_equals_brute_force():
    """Context weights integrated out over cells, both noises and ω on a grid."""
    data, X = regression(0.5, num_targets=1, num_contexts=2, num_cells=50)
    options = {"edge_prior": SpikeSlab(**FIXED), "targets": ["G0"], "differences": "normal"}
    model = LinearNetwork(data.statistics(), **options).double()
    found, error = estimate(model, num_samples=250)
    noise = np.exp(np.linspace(np.log(0.15), np.log(4.0), 40))
    omega = (np.arange(40) + 0.5) / 80  # HalfNormal(0.1) to five sd
    log_prob = np.zeros((8, len(omega)))
    for o, spread in enumerate(omega):
        parts = []  # by context: precision, score and log constant of the common W at every noise
        for k in range(2):
            x, y = X[k::2, :3], X[k::2, 3]
            x, y, n = x - x.mean(0), y - y.mean(), len(y)
            gram, cross = x.T @ x, x.T @ y
            inner = np.linalg.inv(gram / noise[:, None, None] + np.eye(3) / spread**2)  # of W_k given the rest
            one = np.eye(3) / spread**2 - inner / spread**4
            score = np.einsum("nst,nt->ns", inner, cross / noise[:, None]) / spread**2
            quadratic = np.einsum("ns,nst,nt->n", cross / noise[:, None], inner, cross / noise[:, None])
            constant = 0.5 * (quadratic - y @ y / noise + np.linalg.slogdet(inner)[1] - 6 * np.log(spread))
            constant += (
                -0.5 * (n - 1) * np.log(2 * np.pi * noise)
                + stats.invgamma.logpdf(noise, 2.0, scale=0.5)
                + np.log(noise)
            )
            parts.append((one, score, constant))
        precision = parts[0][0][:, None] + parts[1][0][None]  # (noise, noise, 3, 3)
        score = parts[0][1][:, None] + parts[1][1][None]
        constant = parts[0][2][:, None] + parts[1][2][None]
        for i, graph in enumerate(GRAPHS):
            variance = np.where(graph, SLAB, SLAB * RATIO) ** 2
            covariance = np.linalg.inv(precision + np.diag(1 / variance))
            quadratic = np.einsum("abs,abst,abt->ab", score, covariance, score)
            value = constant + 0.5 * (quadratic + np.linalg.slogdet(covariance)[1] - np.log(variance).sum())
            log_prob[i, o] = np.logaddexp.reduce(value.ravel()) + stats.halfnorm.logpdf(spread, scale=0.1)
    agree(found, error, posterior_of_graphs(np.logaddexp.reduce(log_prob, axis=1)[:, None]).T)


def test_signs_and_weights_equal_brute_force(exact):
    """P(edge exists and is positive): not the product of P(edge exists) and P(W > 0)."""
    data, X = regression(0.5, num_targets=1)
    model = LinearNetwork(data.statistics(), edge_prior=SpikeSlab(**FIXED), targets=["G0"]).double()
    posterior = fit(model, guide=Gibbs(num_chains=40, num_warmup=20, num_samples=250))
    prior = GRAPHS.sum(1) * math.log(EDGE) + (3 - GRAPHS.sum(1)) * math.log(1 - EDGE)
    found = [exact(X[:, :3], X[:, 3], np.zeros(3), np.where(graph, SLAB, SLAB * RATIO) ** 2) for graph in GRAPHS]
    share = np.array([f[0] for f in found]) + prior
    share = np.exp(share - np.logaddexp.reduce(share))
    mean = share @ np.array([f[1] for f in found])
    second = share @ np.array([np.diag(f[2]) + f[1] ** 2 for f in found])
    # a mixture over the noise is nearly a normal: its sign to 1e-3
    above = np.array([stats.norm.sf(0, f[1], np.sqrt(np.diag(f[2]))) for f in found])
    positive, negative = share @ (GRAPHS * above), share @ (GRAPHS * (1 - above))
    moments = posterior.moments["W"]
    # 10,000 draws, at least 2,000 effective: standard errors at most 0.011
    np.testing.assert_allclose(moments.positive[:, 0], positive, atol=0.045)
    np.testing.assert_allclose(moments.negative[:, 0], negative, atol=0.045)
    np.testing.assert_allclose(moments.positive + moments.negative, moments.inclusion, atol=1e-6)
    np.testing.assert_allclose(moments.mean[:, 0], mean, atol=4 * math.sqrt(second.max() / 2000))
    np.testing.assert_allclose(moments.sd[:, 0] ** 2, second - mean**2, rtol=0.15)
    table = posterior.edges().set_index("source").loc[["T0", "T1", "T2"]]
    np.testing.assert_allclose(table["lfsr"], 1 - np.maximum(positive, negative), atol=0.045)
    np.testing.assert_allclose(
        table["sign_probability"], np.maximum(positive, negative) / (positive + negative), atol=0.08
    )


# -- getting it right (Geweke 2004) ----


class JointKernel(GibbsKernel):
    """The sampler with a data set of its own for every chain, so that data and parameters can be drawn in turn."""

    def set_data(self, cross, square):
        """``cross`` (context, chain, tf, target) centred XᵀY, ``square`` (context, chain, target); anchor at zero."""
        self.cross, self.square = cross, square
        self.groups = [EdgeGroup(g.gram, 0 * g.pack(cross), g.pack(cross), g.columns, g.shared) for g in self.groups]

    def _score(self, W):
        return self.cross - self._product(W)

    def _refresh(self, state):
        W = state["W_context"]
        self.sse = self.square + (W * (self._product(W) - 2 * self.cross)).sum(-2)


def joint_model(prior, known, num_contexts, clamped, num_cells=40):
    """Three regulators, three targets, in the units of the prior; data that are replaced."""
    generator = torch.Generator().manual_seed(0)
    count = num_cells * num_contexts
    x = torch.randn(count, 3, generator=generator, dtype=torch.float64) + 0.7 * torch.randn(
        count, 1, generator=generator, dtype=torch.float64
    )
    y = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    genes = ("T0", "T1", "T2", "G0", "G1", "G2")
    labels = ["control"] * count
    for cell, gene in ((0, "G0"), (1, "G0"), (2, "G0"), (5, "G2"), (6, "G2"), (count - 1, "G0")) if clamped else ():
        labels[cell] = gene
    data = ExpressionData(torch.cat([x, y], 1), genes, genes[:3], dtype=torch.float64).annotated(
        context=[f"k{i % num_contexts}" for i in range(count)] if num_contexts > 1 else None, perturbed=labels
    )
    found = data.statistics()
    statistics = UnitStatistics(*(getattr(found, f.name) for f in fields(found)))
    return LinearNetwork(statistics, edge_prior=prior, networks=known, targets=genes[3:]).double(), data


def prior_state(model, num_chains):
    """The kernel's state drawn from the model's own prior."""
    with pyro.plate("chains", num_chains, dim=-(model.max_plate_nesting + 1)):
        nodes = poutine.trace(model).get_trace().nodes
    sizes = {name: len(labels) for name, labels in model.coords.items()}
    state = {
        n: nodes[n]["value"].reshape(num_chains, *(sizes[d] for d in dims)).double() for n, dims in model.dims.items()
    }
    contexts, allowed = len(model.contexts), model.edge_prior.allowed
    state["noise_variance"] = state["noise_variance"].reshape(num_chains, contexts, -1).movedim(0, 1)
    state["W_context"] = state["W_context"].movedim(0, 1) if "W_context" in state else state["W"][None]
    for name in ("W", "W_context", "inclusion"):
        state[name] = state[name] * allowed
    prior = model.edge_prior.base if isinstance(model.edge_prior, HardMask) else model.edge_prior
    if "hub" in state:
        state["hub"] = state["hub"][..., None]
    for name in ("edge_logit", "slab_scale", "spike_ratio", "hub_scale"):
        state.setdefault(name, getattr(prior, name).constants[0].expand(num_chains).double())
    if model.has_own_edges:
        state |= own_edges(model, state)
    return {name: value.clone() for name, value in state.items()}


def own_edges(model, state):
    """Which edges of contexts are their own, and the centres of these, given the weights that were drawn."""
    values = {n: v if n == "W_context" else v.reshape(-1, 1, *(v.shape[1:] or (1, 1))) for n, v in state.items()}
    values["W_context"] = state["W_context"].movedim(0, 1)  # (chain, context, tf, target)
    values["noise_variance"] = state["noise_variance"].movedim(0, 1)[:, :, None]
    for name in ("trust", "sign_trust"):
        if name in state:
            values[name] = state[name][:, None, None, None]
    found = model.own_edge(values)
    kind = dist.Categorical(probs=torch.stack(found, -1)).sample() * model.edge_prior.allowed
    edge = model.edge_prior.family.given(model._in_unit(values))
    spread = values["context_scale"]
    scale, mean = torch.where(kind == 2, edge.wide, edge.spike), torch.where(kind == 2, edge.loc, 0.0)
    precision = scale**-2 + spread**-2
    centre = dist.Normal((mean / scale**2 + values["W_context"] / spread**2) / precision, precision.rsqrt()).sample()
    by_context = lambda value: value.movedim(1, 0).double()
    return {
        "own": by_context((kind > 0).double()),
        "own_gate": by_context((kind == 2).double()),
        "own_weight": by_context(centre * (kind > 0)),
    }


def draw_data(model, data, state, generator):
    """Targets of every chain given its state, as centred XᵀY and yᵀy over the cells that are not clamped."""
    X, chains = data.X, len(state["W"])
    free = torch.ones(X.shape, dtype=torch.bool)
    if data.perturbed is not None:
        free[tuple(data.perturbed.T)] = False
    context = torch.zeros(len(X), dtype=torch.long) if data.context is None else data.context
    cross = torch.zeros(len(model.contexts), chains, 3, 3, dtype=torch.float64)
    square = torch.zeros(len(model.contexts), chains, 3, dtype=torch.float64)
    for k, g in np.ndindex(len(model.contexts), 3):
        x = X[(context == k) & free[:, 3 + g], :3]
        x = x - x.mean(0)
        e = torch.randn(chains, len(x), generator=generator, dtype=torch.float64)
        y = state["W_context"][k, :, :, g] @ x.T + state["noise_variance"][k, :, g, None].sqrt() * e
        y = y - y.mean(1, keepdim=True)
        cross[k, :, :, g], square[k, :, g] = y @ x, y.square().sum(1)
    return cross, square


def functions(state):
    """Scalar functions of a state, each (chain,): what is compared with the prior."""
    W, gate, noise = state["W"], state["inclusion"], state["noise_variance"]
    found = {
        n: state[n] for n in ("edge_logit", "slab_scale", "spike_ratio", "hub_scale", "context_scale") if n in state
    }
    for name in ("trust", "sign_trust"):
        if name in state:
            found |= {f"{name}[{j}]": state[name][:, j] for j in range(state[name].shape[1])}
            found[f"{name}*W"] = state[name][:, 0] * W[:, 0, 0]
            found[f"{name}*gate"] = state[name][:, 0] * gate[:, 0, 0]
    if "hub" in state:
        found |= {"hub": state["hub"][:, 0, 0], "hub square": state["hub"].square().sum((1, 2))}
    found |= {"W": W[:, 0, 0], "W other": W[:, 1, 2], "edges": gate.sum((1, 2)), "gate": gate[:, 1, 0]}
    found |= {
        "present": (gate * W).sum((1, 2)),
        "slab square": (gate * W**2).sum((1, 2)),
        "spike square": ((1 - gate) * W**2).sum((1, 2)),
    }
    found |= {"noise": noise[0, :, 0], "noises": noise.log().sum((0, 2)), "noise*W": noise[0, :, 0] * W[:, 0, 0].abs()}
    found |= {"slab*edges": state["slab_scale"] * gate.sum((1, 2)), "spike": state["slab_scale"] * state["spike_ratio"]}
    found["logit*edges"] = state["edge_logit"] * gate.sum((1, 2))
    if len(noise) > 1:
        apart = state["W_context"] - W
        found |= {"apart": apart.square().sum((0, 2, 3)).log(), "first apart": apart[0, :, 0, 0]}
    if "own" in state:
        own, own_gate = state["own"], state["own_gate"]
        found |= {"rate": state["difference_rate"], "own": own.sum((0, 2, 3)), "own gates": own_gate.sum((0, 2, 3))}
        found |= {"own weight": state["own_weight"].square().sum((0, 2, 3)), "own first": own[0, :, 1, 1]}
        found |= {"rate*own": state["difference_rate"] * own.sum((0, 2, 3)), "both own": own.prod(0).sum((1, 2))}
        found["weight of own gates"] = (own_gate * state["W_context"]).sum((0, 2, 3))
        found["gone"] = (own * (1 - own_gate) * state["inclusion"]).sum((0, 2, 3))
    return {name: value.numpy() for name, value in found.items() if float(value.std()) > 0}


def hubs(**options):
    return SpikeSlab(hub_scale=Hyper(dist.HalfNormal, 1.0), **options)


SETUPS = [
    pytest.param(hubs(), None, 1, False, id="plain"),
    pytest.param(SpikeSlab(spike_ratio=0.1), None, 1, False, id="no-hubs-fixed-ratio"),
    pytest.param(SpikeSlab(edge_probability=0.3, slab_scale=0.4, hub_scale=0.7), False, 1, False, id="fixed-slab"),
    pytest.param(hubs(), False, 1, False, id="trust-inclusion"),
    pytest.param(hubs(strategy="scale"), False, 1, False, id="trust-scale"),
    pytest.param(SpikeSlab(), True, 1, False, id="signs"),
    pytest.param(hubs(strategy="scale"), True, 1, True, id="signs-scale-interventions"),
    pytest.param(SpikeSlab(), None, 2, False, id="contexts"),
    pytest.param(SpikeSlab(), None, 1, True, id="interventions"),
    pytest.param(HardMask(hubs()), False, 1, False, id="hard-mask"),
    pytest.param(hubs(), True, 2, True, id="everything"),
    pytest.param(hubs(unit="noise"), None, 1, False, id="unit-noise"),
    pytest.param(SpikeSlab(unit="noise"), True, 1, True, id="unit-noise-signs-interventions"),
    pytest.param(SpikeSlab(unit="noise"), None, 2, False, id="contexts-unit-noise"),
    pytest.param(hubs(unit="noise", strategy="scale"), True, 3, True, id="contexts-everything-unit-noise"),
]


MOVES = {
    "edges": lambda kernel, state: kernel._update_edges(state),
    "noise": lambda kernel, state: kernel._update_noise(state),
    "inclusion": lambda kernel, state: kernel._update_inclusion(state),
    "scales": lambda kernel, state: kernel._update_scales(state),
    "collapsed": lambda kernel, state: kernel._update_collapsed(state),
    "stretch": lambda kernel, state: kernel._stretch(state),
}


def start(prior, signed, num_contexts, clamped, num_chains, seed):
    """A kernel, its data, and prior draws to start from."""
    known = None if signed is None else networks(signed)
    model, data = joint_model(prior, known, num_contexts, clamped)
    kernel = JointKernel(model, num_chains=num_chains, seed=seed)
    kernel.setup(0)
    return kernel, data, torch.Generator().manual_seed(seed + 1)


def pvalues_of(found, reference):
    assert set(found) == set(reference)
    return {name: stats.ks_2samp(found[name], reference[name], method="asymp").pvalue for name in found}


def after_sweeps(prior, signed, num_contexts, clamped, *, num_chains, num_sweeps, seed=1):
    """P-values by function after drawing data and sweeping in turn, from prior draws; chains are independent."""
    kernel, data, generator = start(prior, signed, num_contexts, clamped, num_chains, seed)
    state, drift = prior_state(kernel.model, num_chains), 0.0
    for _ in range(num_sweeps):
        kernel.set_data(*draw_data(kernel.model, data, state, generator))
        kernel._refresh(state)
        state = kernel.sample(state)
        current = kernel.sse.clone()
        kernel._refresh(state)
        drift = max(drift, float((current / kernel.sse - 1).abs().max()))
    # where the prior of the noise is all but flat, residuals are by far smaller than what they are differences of
    assert drift < 1e-5, "the residual sums of squares are kept current"
    return pvalues_of(functions(state), functions(prior_state(kernel.model, num_chains)))


def after_one_move(move, prior, signed, num_contexts, clamped, *, num_chains, repeats, seed=1):
    """P-values after many repeats of a single move on one draw of parameters and data: nothing covers up for it.

    The data have moved nothing, so functions of both are compared too.
    """
    kernel, data, generator = start(prior, signed, num_contexts, clamped, num_chains, seed)

    def draw():
        state = prior_state(kernel.model, num_chains)
        kernel.set_data(*draw_data(kernel.model, data, state, generator))
        kernel._refresh(state)
        return state

    def all_functions(state):
        noise = state["noise_variance"]
        fit = {
            "misfit": (kernel.sse / noise).sum((0, 2)),
            "sse": kernel.sse[0, :, 0],
            "score": (kernel._score(state["W_context"]) * state["W_context"]).sum((0, 2, 3)),
        }
        return functions(state) | {name: value.numpy() for name, value in fit.items()}

    reference = all_functions(draw())
    state = draw()
    for _ in range(repeats):
        MOVES[move](kernel, state)
    current = kernel.sse.clone()
    kernel._refresh(state)
    torch.testing.assert_close(current, kernel.sse, rtol=1e-7, atol=0)
    return pvalues_of(all_functions(state), reference)


LIMIT = 1e-7  # of each Kolmogorov-Smirnov test: 25 functions, 80 cases, so one failure in 5,000 seeds


@pytest.mark.parametrize(("prior", "signed", "num_contexts", "clamped"), SETUPS)
def test_drawing_data_and_sweeping_in_turn_leaves_the_prior(prior, signed, num_contexts, clamped, monkeypatch):
    """Chains that start at prior draws stay so if every move targets the posterior: 3,000 chains, 15 sweeps."""
    monkeypatch.setattr(gibbs_sweep, "BLOCK", 2)
    pvalues = after_sweeps(prior, signed, num_contexts, clamped, num_chains=3000, num_sweeps=15)
    assert not {name: p for name, p in pvalues.items() if p < LIMIT}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize(("prior", "signed", "num_contexts", "clamped"), SETUPS)
def test_every_move_alone_leaves_the_joint_distribution(move, prior, signed, num_contexts, clamped):
    pvalues = after_one_move(move, prior, signed, num_contexts, clamped, num_chains=3000, repeats=15)
    assert not {name: p for name, p in pvalues.items() if p < LIMIT}


@pytest.mark.slow
@pytest.mark.parametrize(("prior", "signed", "num_contexts", "clamped"), SETUPS)
def test_the_same_with_many_chains(prior, signed, num_contexts, clamped):
    """20,000 chains: moments of the hyperparameters to one percent."""
    pvalues = after_sweeps(prior, signed, num_contexts, clamped, num_chains=20_000, num_sweeps=30)
    assert min(pvalues.values()) > LIMIT, sorted((p, n) for n, p in pvalues.items())[:3]
    for move in MOVES:
        pvalues = after_one_move(move, prior, signed, num_contexts, clamped, num_chains=20_000, repeats=10)
        assert min(pvalues.values()) > LIMIT, (move, sorted((p, n) for n, p in pvalues.items())[:3])


def test_the_check_sees_a_missing_jacobian(monkeypatch):
    right = gibbs.HyperUpdates.log_hyperprior
    wrong = lambda self, name, value: right(self, name, value) - value.log()
    monkeypatch.setattr(gibbs.HyperUpdates, "log_hyperprior", wrong)
    pvalues = after_sweeps(SpikeSlab(hub_scale=LEARNED), None, 1, False, num_chains=3000, num_sweeps=15)
    assert min(pvalues.values()) < LIMIT


@pytest.mark.parametrize(("linear", "quadratic"), [(0.0, 1.0), (1.0, 0.5)])
def test_the_check_sees_a_stretch_that_forgets_part_of_the_likelihood(linear, quadratic, monkeypatch):
    right = gibbs.HyperUpdates.stretch
    wrong = lambda self, state, name, a, b: right(self, state, name, linear * a, quadratic * b)
    monkeypatch.setattr(gibbs.HyperUpdates, "stretch", wrong)
    pvalues = after_one_move(
        "stretch", SpikeSlab(edge_probability=0.5, hub_scale=LEARNED), None, 1, False, num_chains=6000, repeats=30
    )
    assert min(pvalues.values()) < LIMIT


def test_the_check_sees_a_wrong_noise(monkeypatch):
    monkeypatch.setattr(gibbs, "NOISE_SHAPE", 1.5)
    assert (
        min(after_one_move("noise", SpikeSlab(hub_scale=LEARNED), None, 1, False, num_chains=3000, repeats=2).values())
        < LIMIT
    )


# -- against another sampler ----


@pytest.mark.slow
@pytest.mark.parametrize(("num_contexts", "strategy"), [(1, "inclusion"), (2, "scale")])
def test_hyperparameters_agree_with_nuts(num_contexts, strategy):
    """A spike of a third of the slab, so that NUTS can move; means within 5 standard errors of both."""
    data, _ = regression(0.5, num_contexts=num_contexts, num_cells=60)
    prior = SpikeSlab(spike_ratio=Hyper(dist.Beta, 20.0, 40.0), strategy=strategy, hub_scale=LEARNED)
    known = networks(True, ("G0", "G1", "G1"))
    model = LinearNetwork(data.statistics(), edge_prior=prior, networks=known, targets=["G0", "G1"]).double()
    exact = fit(model, guide=Gibbs(num_chains=40, num_warmup=100, num_samples=400))
    nuts = fit(model, guide=NUTS(num_chains=4, num_warmup=150, num_samples=250))
    for name in set(model.dims) - {"inclusion"}:
        a, b = exact.draws[name].astype(float), nuts.draws[name].astype(float)
        one, other = a.mean(1), b.mean(1)  # by chain
        error = np.sqrt(
            one.var(0, ddof=1) / len(one) + np.maximum(other.var(0, ddof=1), b.var((0, 1)) / 100) / len(other)
        )
        np.testing.assert_array_less(np.abs(one.mean(0) - other.mean(0)), 5 * error + 1e-9, err_msg=name)
        spread = np.abs(np.log(a.std((0, 1)).clip(1e-9) / b.std((0, 1)).clip(1e-9)))
        assert spread.max() < 0.35, name


# -- the machinery ----


@pytest.fixture(scope="module")
def model(rich):
    return LinearNetwork(rich.data.statistics(), edge_prior=SpikeSlab(hub_scale=LEARNED))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_residual_sums_of_squares_are_kept_current(dtype):
    simulation = simulate_linear(num_genes=60, num_tfs=40, num_cells=300, num_contexts=2, num_perturbed=3, seed=1)
    model = LinearNetwork(simulation.data.statistics()).to(dtype)
    kernel = GibbsKernel(model, num_chains=2, seed=0)
    kernel.setup(10)
    state = kernel.initial_params
    for _ in range(gibbs.REFRESH - 1):
        state = kernel.sample(state)
    current = kernel.sse.clone()
    W = state["W_context"].movedim(0, 1)  # (chain, context, tf, target)
    expected = model.squared_error(W).squeeze(-2).movedim(0, 1)
    torch.testing.assert_close(current, expected, rtol=2e-4 if dtype == torch.float32 else 1e-9, atol=0)
    allowed = model.edge_prior.allowed
    assert float((state["W"] * ~allowed).abs().max()) == 0
    assert float((state["inclusion"] * ~allowed).abs().max()) == 0
    assert float((kernel.probability * ~allowed).abs().max()) == 0


def test_one_context_keeps_its_weights_in_step(tiny_data):
    kernel = GibbsKernel(LinearNetwork.from_data(tiny_data), num_chains=3)
    kernel.setup(5)
    state = kernel.initial_params
    for _ in range(10):
        state = kernel.sample(state)
        assert torch.equal(state["W"], state["W_context"][0])


@pytest.mark.parametrize("share", [1.0, 2.2, 3.9, 7.5])
def test_joint_draws_stay_joint_when_large_sites_are_thinned(share, tiny_data, monkeypatch):
    model = LinearNetwork.from_data(tiny_data)
    guide = Gibbs(num_chains=2, num_warmup=2, num_samples=23)
    whole = fit(model, guide=guide).draws
    monkeypatch.setattr("pyrogrn.inference.draws.moments.DRAW_BUDGET", 2 * 23 * 4 * 2 * 21 / share)
    thinned = fit(model, guide=guide)
    assert (thinned.draws["W"].shape[1] < 23) == (share > 1)
    assert thinned.draws["edge_logit"].shape[1] == 23
    pairs = set(zip(whole["edge_logit"].ravel().tolist(), whole["W"][..., 0, 4].ravel().tolist(), strict=True))
    drawn = thinned.sample(12)
    assert set(zip(drawn["edge_logit"].tolist(), drawn["W"][:, 0, 4].tolist(), strict=True)) <= pairs


def test_a_sweep_leaves_the_state_it_was_given_alone(model):
    kernel = GibbsKernel(model, num_chains=2)
    kernel.setup(5)
    state = kernel.initial_params
    before = {name: value.clone() for name, value in state.items()}
    kernel.sample(state)
    for name, value in before.items():
        assert torch.equal(state[name], value), name


def test_chains_are_reproducible_by_seed(model):
    options = {"num_chains": 2, "num_warmup": 10, "num_samples": 10}
    one, again, other = (fit(model, guide=Gibbs(**options), seed=seed) for seed in (3, 3, 4))
    for name in model.dims:
        np.testing.assert_array_equal(one.draws[name], again.draws[name])
        assert one.draws[name].shape[:2] == (2, 10)
    assert not np.array_equal(one.draws["W"], other.draws["W"])
    np.testing.assert_array_equal(one.moments["W"].inclusion, again.moments["W"].inclusion)


def test_a_snapshot_continues_to_the_same_numbers(model):
    def run(kernel, state, num_sweeps):
        for _ in range(num_sweeps):
            state = kernel.sample(state)
        return state

    kernel = GibbsKernel(model, num_chains=2, seed=5)
    kernel.setup(12)
    state = run(kernel, kernel.initial_params, 8)
    snapshot = kernel.snapshot(state)
    expected = run(kernel, state, 70)  # past the end of the warm-up, and past a refresh
    other = GibbsKernel(model, num_chains=2, seed=99)
    other.setup(12)
    found = run(other, other.restore(snapshot), 70)
    for name in expected:
        assert torch.equal(found[name], expected[name]), name
    assert torch.equal(other.sse, kernel.sse)
    assert other.hyper.adapting is kernel.hyper.adapting is False


def test_adaptation_ends_with_the_warm_up(model):
    kernel = GibbsKernel(model, num_chains=2)
    kernel.setup(6)
    state = kernel.initial_params
    for _ in range(6):
        state = kernel.sample(state)
    kernel.sample(state)
    steps = {name: value.clone() for name, value in kernel.hyper.log_step.items()}
    for _ in range(6):
        state = kernel.sample(state)
    assert all(torch.equal(value, kernel.hyper.log_step[name]) for name, value in steps.items())
    assert any(float((value - math.log(0.2)).abs().max()) > 0 for value in steps.values())


def test_sites_have_the_dims_of_the_model(model):
    kernel = GibbsKernel(model, num_chains=3)
    kernel.setup(2)
    sites = sites_of(model, kernel.sample(kernel.initial_params))
    sizes = {name: len(labels) for name, labels in model.coords.items()}
    for name, dims in model.dims.items():
        shape = (3, *(sizes[d] for d in dims))
        assert sites[name].reshape(shape).shape == shape, name


def test_priors_that_the_sampler_is_not_exact_for_are_refused(tiny_data):
    with pytest.raises(ValueError, match="this model has Normal"):
        GibbsKernel(LinearNetwork.from_data(tiny_data, edge_prior=Normal()))
    odd = SpikeSlab(edge_probability=Hyper(dist.Cauchy, -2.0, 1.0))
    with pytest.raises(ValueError, match="Normal hyperprior"):
        GibbsKernel(LinearNetwork.from_data(tiny_data, edge_prior=odd))
    with pytest.raises(ValueError, match="at least one chain"):
        Gibbs(num_chains=0)


@pytest.mark.parametrize("mean", [-25.0, -12.0, -3.0, 0.0, 4.0])
def test_truncated_normal_has_its_moments_in_the_tail(mean):
    draws = truncated_normal(torch.full((20_000,), mean), torch.ones(20_000), torch.Generator().manual_seed(0)).double()
    assert float(draws.min()) > 0
    density = lambda x: math.exp(-0.5 * x * x + x * mean)
    top = max(mean, 0) + 12
    mass, first, second = (
        integrate.quad(lambda x, p=p: x**p * density(x), 0, top, limit=200, points=[max(mean, 0.01)])[0]
        for p in range(3)
    )
    expected, variance = first / mass, second / mass - (first / mass) ** 2
    # five standard errors: fails once in two million seeds
    assert abs(float(draws.mean()) - expected) < 5 * math.sqrt(variance / 20_000)

"""The sparse sampler against brute force over graphs, its own prior, the dense sampler, and itself."""

import itertools
import math
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyrogrn.inference import Checkpoint, Gibbs, Posterior, SparseGibbs, fit, load_checkpoint
from pyrogrn.inference.engines.sparse_gibbs import refusal
from pyrogrn.inference.sbc import UnitStatistics
from pyrogrn.inference.sparse import classes, kernel, sweep, swept, tables
from pyrogrn.inference.sparse.background import Background
from pyrogrn.inference.sparse.kernel import SparseKernel
from pyrogrn.models import ExpressionData, FactorBox, LinearNetwork
from pyrogrn.models.regression import FREE_RATE, FREE_SHAPE
from pyrogrn.models.simulators import simulate_linear, simulate_panel
from pyrogrn.priors import Collaborative, HardMask, Hyper, Normal, PriorNetwork, SpikeSlab
from scipy import special, stats
from test_resume_exact import StopAt

pytestmark = pytest.mark.usefixtures("seeded")

EDGE, SLAB, RATIO = 0.3, 0.5, 0.25
FIXED = {"edge_probability": EDGE, "slab_scale": SLAB, "spike_ratio": RATIO}


def noise_slab(**options):
    return SpikeSlab(unit="noise", **options)


def regression(num_tfs=4, correlation=0.5, num_cells=40, clamped=0, seed=1):
    """Regulators that correlate in pairs, and G0, G1 with weak effects; the first cells clamp G0."""
    rng = np.random.default_rng(seed)
    shared, own = rng.normal(size=(num_cells, 1)), rng.normal(size=(num_cells, num_tfs))
    x = math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own
    W = np.zeros((num_tfs, 2))
    W[:3] = [[0.4, 0.0], [0.0, -0.35], [0.15, 0.1]]
    X = np.column_stack([x, x @ W + rng.normal(size=(num_cells, 2))])
    X[:clamped, num_tfs] = 4.0
    X = X / X.std(0, ddof=1)
    genes = (*(f"T{i}" for i in range(num_tfs)), "G0", "G1")
    labels = ["G0"] * clamped + ["control"] * (num_cells - clamped)
    return ExpressionData(torch.as_tensor(X), genes, genes[:num_tfs], dtype=torch.float64).annotated(perturbed=labels)


# -- brute force over graphs ----


def brute_force(x, y):
    """Inclusion, mean and sd of the weights: σ² integrated out of every graph in closed form (a Student t)."""
    x, y = x - x.mean(0), y - y.mean()
    graphs = np.array(list(itertools.product([0, 1], repeat=x.shape[1])))
    shape = FREE_SHAPE + 0.5 * (len(y) - 1)
    logs, means, seconds = [], [], []
    for graph in graphs:
        variance = np.where(graph, SLAB, SLAB * RATIO) ** 2
        precision = x.T @ x + np.diag(1 / variance)
        mean = np.linalg.solve(precision, x.T @ y)
        rate = FREE_RATE + 0.5 * (y @ y - mean @ precision @ mean)
        log = -0.5 * np.linalg.slogdet(precision)[1] - 0.5 * np.log(variance).sum() - shape * math.log(rate)
        logs.append(log + graph.sum() * math.log(EDGE / (1 - EDGE)))
        means.append(mean)
        seconds.append(mean**2 + rate / (shape - 1) * np.diag(np.linalg.inv(precision)))
    share = special.softmax(logs)
    mean = share @ np.array(means)
    return share @ graphs, mean, np.sqrt(share @ np.array(seconds) - mean**2)


@pytest.mark.parametrize("case", ["plain", "correlated", "clamped", "five", "of a regulator"])
def test_inclusion_and_weights_equal_brute_force(case):
    data = regression(
        num_tfs=5 if case == "five" else 4,
        correlation=0.9 if case == "correlated" else 0.5,
        clamped=8 if case == "clamped" else 0,
    )
    target = "T3" if case == "of a regulator" else "G0"
    others = [i for i, name in enumerate(data.tfs) if name != target]
    model = LinearNetwork(data.statistics(), edge_prior=noise_slab(**FIXED), targets=[target, "G1"])
    posterior = fit(model, guide=SparseGibbs(num_chains=8, num_warmup=20, num_samples=600, sweeps=4))
    moments = posterior.moments["W"]
    X = data.X.numpy()
    for column, name in enumerate((target, "G1")):
        rows = others if column == 0 else list(range(len(data.tfs)))
        cells = slice(8 if case == "clamped" and column == 0 else 0, None)
        inclusion, mean, sd = brute_force(X[cells][:, rows], X[cells, data.genes.index(name)])
        # 4,800 draws four sweeps apart, at least 3,000 effective: standard errors below 0.01, and sd / 54 of a mean
        np.testing.assert_allclose(moments.inclusion[rows, column], inclusion, atol=0.03)
        np.testing.assert_allclose(moments.mean[rows, column], mean, atol=0.07 * sd.max())
        np.testing.assert_allclose(moments.sd[rows, column], sd, rtol=0.05)
        drawn = posterior.draws["W"][:, :, rows, column].reshape(-1, len(rows))
        np.testing.assert_allclose(drawn.mean(0), mean, atol=0.08 * sd.max())
        np.testing.assert_allclose(drawn.std(0), sd, rtol=0.08)
        gates = posterior.draws["inclusion"][:, :, rows, column].reshape(-1, len(rows))
        np.testing.assert_allclose(gates.mean(0), inclusion, atol=0.04)
    if case == "of a regulator":
        assert moments.inclusion[3, 0] == moments.mean[3, 0] == moments.sd[3, 0] == 0
        assert not posterior.draws["W"][:, :, 3, 0].any()


def test_twins_share_an_edge_as_brute_force_says():
    data = regression(correlation=0.5)
    X = data.X.clone()
    X[:, 3] = X[:, 0] + 0.02 * X[:, 3]
    data = replace(data, matrix=X)
    model = LinearNetwork(UnitStatistics(*fields_of(data.statistics())), edge_prior=noise_slab(**FIXED), targets=["G0"])
    assert len(model.twins) == 1
    posterior = fit(model, guide=SparseGibbs(num_chains=8, num_warmup=20, num_samples=600, sweeps=4))
    inclusion, mean, sd = brute_force(X[:, :4].numpy(), X[:, 4].numpy())
    np.testing.assert_allclose(posterior.moments["W"].inclusion[:, 0], inclusion, atol=0.03)
    np.testing.assert_allclose(posterior.moments["W"].mean[:, 0], mean, atol=0.07 * sd.max())
    np.testing.assert_allclose(posterior.moments["W"].sd[:, 0], sd, rtol=0.05)


def fields_of(value):
    return [getattr(value, f.name) for f in fields(value)]


# -- the background ----


@pytest.mark.parametrize("own", [-1, 2])
def test_the_background_integrated_out_equals_whole_covariances(own):
    """Every statistic, and the density of y, as with the n × n covariance written out."""
    rng = np.random.default_rng(0)
    n, h, noise = 30, 0.3, 0.7
    x = rng.normal(size=(n, 4))
    x[:, 3] += 0.9 * x[:, 1]
    y = x[:, own] if own >= 0 else rng.normal(size=n)
    w = np.array([0.5, 0.0, 0.0, -0.3])
    keep = [j for j in range(4) if j != own]
    gram, anchor = x.T @ x, rng.normal(size=(4, 1))
    residual = x.T @ y[:, None] - gram @ anchor
    sse = np.square(y[:, None] - x @ anchor).sum(0)
    group = Background.of(gram, anchor, residual, sse, np.array([0]), np.array([own]))
    weight, z = w[None].astype(np.float32), np.empty((1, 4), np.float32)
    likelihood = group.likelihood(weight, np.array([noise]))

    def exact(h):
        M = np.eye(n) + h * x[:, keep] @ x[:, keep].T
        e = y - x @ w
        log = -0.5 * np.linalg.slogdet(M)[1] - 0.5 * e @ np.linalg.solve(M, e) / noise
        return M, e, log

    M, e, log = exact(h)
    np.testing.assert_allclose(
        (likelihood(np.array([h])) - likelihood(np.array([0.01])))[0], log - exact(0.01)[2], rtol=1e-4
    )
    np.testing.assert_allclose(group.log_determinant(h), -0.5 * np.linalg.slogdet(M)[1], rtol=1e-5)
    np.testing.assert_allclose(likelihood.around(0.2)(np.array([h])), likelihood(np.array([h])), rtol=1e-7)
    np.testing.assert_allclose(
        likelihood.around(0.02)(np.array([h])), likelihood(np.array([h])), rtol=1e-12
    )  # not near: not interpolated
    made = group.spectrum.gram(h)
    found = group.residual(weight, made, z)
    np.testing.assert_allclose(found[0], e @ np.linalg.solve(M, e), rtol=1e-4)
    np.testing.assert_allclose(z[0, keep], (x.T @ np.linalg.solve(M, e))[keep], rtol=1e-3, atol=1e-4)
    matrix = made.matrix.astype(float)
    if own >= 0:
        matrix = matrix + float(made.correction[own]) * np.outer(matrix[own], matrix[own])
    np.testing.assert_allclose(matrix[np.ix_(keep, keep)], (x.T @ np.linalg.solve(M, x))[np.ix_(keep, keep)], rtol=1e-4)
    # u given y: its mean and covariance
    precision = x[:, keep].T @ x[:, keep] + np.eye(len(keep)) / h
    many = np.repeat(z, 40_000, axis=0)
    wide = replace(group, targets=np.arange(40_000), own=np.full(40_000, own))
    drawn = wide.draw(many, np.full(40_000, noise), h, torch.Generator().manual_seed(0))[:, keep]
    covariance = noise * np.linalg.inv(precision)
    mean = np.linalg.solve(precision, x[:, keep].T @ e)
    np.testing.assert_allclose(drawn.mean(0), mean, atol=5 * math.sqrt(covariance.diagonal().max() / 40_000))
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.05 * covariance.max())


# -- getting it right (Geweke 2004) ----

COLUMNS = ["source", "target", "probability", "sign"]
KNOWN = pd.DataFrame([("T0", "G0", 0.9, 1), ("T1", "G1", 0.8, -1), ("T2", "T0", 0.5, 1)], columns=COLUMNS)
LEARNED = Hyper(dist.HalfNormal, 1.0)


def joint_model(prior, *, known=False, clamped=False):
    """Three regulators, which are targets too, and two more, in the units of the prior; data that are replaced."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    x[:, :3] += 0.7 * torch.randn(40, 1, generator=generator, dtype=torch.float64)
    genes = ("T0", "T1", "T2", "G0", "G1")
    data = ExpressionData(x, genes, genes[:3], dtype=torch.float64)
    data = data.annotated(perturbed=["G1"] * (6 * clamped) + ["control"] * (40 - 6 * clamped))
    networks = {"motif": PriorNetwork.from_edges(KNOWN, name="motif")} if known else None
    statistics = UnitStatistics(*fields_of(data.statistics()))
    return LinearNetwork(statistics, edge_prior=prior, networks=networks), data


class JointKernel(SparseKernel):
    """The sampler with responses of its own for every chain."""

    def set_state(self, values):
        """Sites drawn from the prior, (chain, …): w is what of W is no background, drawn given W."""
        fixed = lambda name: getattr(self.prior, name).constants[0].float().expand(self.num_chains)
        scalar = lambda name: values[name].float() if name in values else fixed(name).clone()
        self.state = {"edge_logit": scalar("edge_logit")}
        self.state |= {name: scalar(name).double() for name in ("slab_scale", "spike_ratio")}
        if self.prior.has_hubs:
            self.state |= {"hub": values["hub"][..., None].float(), "hub_scale": scalar("hub_scale")}
        self.state |= {name: values[name].float() for name in ("trust", "sign_trust") if name in values}
        self.noise[:] = values["noise_variance"].numpy()
        # W = w + u: w given W is normal, as a part of a sum
        h = kernel.background_of(self.state)[:, None, None]
        s = self.state["slab_scale"][:, None, None]
        sd = values["noise_variance"][:, None].sqrt()
        W = values["W"] / sd
        loc = torch.zeros_like(W)
        if "sign_trust" in values:
            loc = s * torch.einsum("ck,ktg->ctg", values["sign_trust"].double(), self.prior.sign.double())
        width = s**2 - h
        share = width / s**2
        w = loc + share * (W - loc) + (width * (1 - share)).sqrt() * torch.randn(W.shape, dtype=W.dtype)
        self.weight[:] = (w * sd * values["inclusion"]).transpose(1, 2).numpy()

    def set_data(self, cross, square):
        """(chain, tf, target) centred Xᵀy and (chain, target) yᵀy."""
        self.responses = [
            [
                replace(g, score=(cross[c][:, g.targets].T @ g.vectors).astype(np.float32), square=square[c, g.targets])
                for g in self.groups
            ]
            for c in range(self.num_chains)
        ]
        self.refresh(kernel.background_of(self.state))

    def _group_of(self, chain, i):
        return self.responses[chain][i]


def prior_values(model, num_chains):
    with pyro.plate("chains", num_chains, dim=-3):
        nodes = poutine.trace(model).get_trace().nodes
    sizes = {name: len(labels) for name, labels in model.coords.items()}
    values = {
        name: nodes[name]["value"].reshape(num_chains, *(sizes[d] for d in dims)).double()
        for name, dims in model.dims.items()
    }
    allowed = model.edge_prior.allowed
    return values | {"W": values["W"] * allowed, "inclusion": values["inclusion"] * allowed}


def draw_data(model, data, values, rng):
    """Responses of every chain. A dependency network: each target is drawn given the regulators as they are."""
    X = data.X.numpy()
    free = np.ones(X.shape, dtype=bool)
    if data.perturbed is not None:
        free[tuple(data.perturbed.T.numpy())] = False
    W, noise = values["W"].numpy(), values["noise_variance"].numpy()
    cross, square = np.zeros(W.shape), np.zeros(noise.shape)
    for g in range(noise.shape[1]):
        x = X[free[:, g]][:, :3]
        x = x - x.mean(0)
        y = W[:, :, g] @ x.T + np.sqrt(noise[:, g, None]) * rng.normal(size=(len(W), len(x)))
        y = y - y.mean(1, keepdims=True)
        cross[:, :, g], square[:, g] = y @ x, (y**2).sum(1)
    return cross, square


def functions(values):
    W, gate, noise = values["W"], values["inclusion"], values["noise_variance"]
    small = ("edge_logit", "slab_scale", "spike_ratio", "hub_scale")
    found = {name: values[name] for name in small if name in values}
    for name in ("trust", "sign_trust"):
        if name in values:
            found |= {name: values[name][:, 0], f"{name}*W": values[name][:, 0] * W[:, 0, 3]}
            found[f"{name}*gate"] = values[name][:, 0] * gate[:, 0, 3]
    if "hub" in values:
        found |= {"hub": values["hub"][:, 0], "hub square": values["hub"].square().sum(1)}
    found |= {"W": W[:, 0, 3], "own": W[:, 1, 0], "edges": gate.sum((1, 2)), "present": (gate * W).sum((1, 2))}
    found |= {"slab square": (gate * W**2).sum((1, 2)), "spike square": ((1 - gate) * W**2).sum((1, 2))}
    found |= {"noise": noise[:, 0], "noises": noise.log().sum(1), "noise*W": noise[:, 4] * W[:, 0, 4].abs()}
    return {name: value.double().numpy() for name, value in found.items() if float(value.double().std()) > 0}


def after_blocks(prior, *, known=False, clamped=False, num_chains=800, blocks=6, seed=1):
    """P-values by function after drawing data and sweeping in turn, from prior draws; chains are independent."""
    model, data = joint_model(prior, known=known, clamped=clamped)
    rng = np.random.default_rng(seed)
    joint = JointKernel(model, num_chains=num_chains, seed=seed, sweeps=2)
    joint.num_warmup = 0
    joint.hyper.adapting = False
    values = prior_values(model, num_chains)
    for _ in range(blocks):
        joint.set_state(values)
        joint.set_data(*draw_data(model, data, values, rng))
        joint.step()
        values = {**values, **{name: value.double() for name, value in joint.sites(network=True).items()}}
        if "hub" in values:
            values["hub"] = values["hub"].reshape(num_chains, -1)
    reference = functions(prior_values(model, num_chains))
    found = functions(values)
    assert set(found) == set(reference)
    return {name: stats.ks_2samp(found[name], reference[name], method="asymp").pvalue for name in found}


LIMIT = 1e-6  # of each Kolmogorov–Smirnov test: 20 functions, 7 cases, so one failure in 7,000 seeds
SETUPS = [
    pytest.param(noise_slab(), {}, id="plain"),
    pytest.param(noise_slab(spike_ratio=0.3), {}, id="fixed-ratio"),
    pytest.param(noise_slab(slab_scale=0.5, edge_probability=0.3), {}, id="fixed-slab"),
    pytest.param(noise_slab(hub_scale=LEARNED), {"known": True}, id="hubs-signs"),
    pytest.param(noise_slab(hub_scale=0.7), {"clamped": True}, id="interventions"),
]


@pytest.mark.parametrize(("prior", "options"), SETUPS)
def test_drawing_data_and_sweeping_in_turn_leaves_the_prior(prior, options):
    pvalues = after_blocks(prior, **options)
    assert not {name: p for name, p in pvalues.items() if p < LIMIT}


@pytest.mark.slow
@pytest.mark.parametrize(("prior", "options"), SETUPS)
def test_the_same_with_many_chains(prior, options):
    pvalues = after_blocks(prior, **options, num_chains=8000, blocks=15)
    assert not {name: p for name, p in pvalues.items() if p < LIMIT}


def test_the_check_sees_a_noise_that_forgets_the_weights(monkeypatch):
    monkeypatch.setattr(swept, "FREE_SHAPE", 1.5)
    assert min(after_blocks(noise_slab(), num_chains=2000).values()) < LIMIT


def test_the_check_sees_a_slab_that_forgets_its_determinant(monkeypatch):
    right = classes.SparseUpdates.slab_density

    def wrong(self, sums, slab, background):
        number = sums.number.reshape(-1, *[1] * (background.ndim - 1))
        return right(self, sums, slab, background) + 0.5 * number * np.log(slab**2 - background)

    monkeypatch.setattr(classes.SparseUpdates, "slab_density", wrong)
    assert min(after_blocks(noise_slab(edge_probability=0.5)).values()) < LIMIT


# -- the dense sampler ----


def small_network(**options):
    data = simulate_linear(num_genes=24, num_tfs=6, num_cells=120, edge_probability=0.2, seed=2).data
    return LinearNetwork.from_data(data, edge_prior=noise_slab(**options))


def test_same_posterior_as_the_dense_sampler():
    model = small_network()
    sparse = fit(model, guide=SparseGibbs(num_samples=300))
    dense = fit(model, guide=Gibbs(num_warmup=100, num_samples=600))
    one, other = sparse.moments["W"], dense.moments["W"]
    assert np.abs(one.inclusion - other.inclusion).max() < 0.08
    assert np.corrcoef(one.inclusion.ravel(), other.inclusion.ravel())[0, 1] > 0.998
    np.testing.assert_allclose(one.mean, other.mean, atol=0.02)
    for name in ("edge_logit", "slab_scale", "spike_ratio"):
        spread = dense.draws[name].std()
        assert abs(sparse.draws[name].mean() - dense.draws[name].mean()) < 0.35 * spread  # ESS of a hundred each
        np.testing.assert_allclose(sparse.draws[name].std(), spread, rtol=0.35)


# -- runs ----

SHORT = SparseGibbs(num_chains=2, num_warmup=4, num_samples=8, sweeps=2)


def with_motif():
    data = simulate_linear(num_genes=14, num_tfs=4, num_cells=60, edge_probability=0.4, seed=1).data
    data = data.annotated(perturbed=[data.genes[5]] * 5 + ["control"] * 55)
    frame = pd.DataFrame({"source": data.tfs[:2], "target": data.genes[5:7], "probability": 0.8, "sign": [1, -1]})
    prior = noise_slab(hub_scale=LEARNED)
    return LinearNetwork.from_data(
        data, edge_prior=prior, networks={"motif": PriorNetwork.from_edges(frame, name="motif")}
    )


def same(one, other):
    assert set(one.draws) == set(other.draws)
    for name, value in one.draws.items():
        np.testing.assert_array_equal(value, other.draws[name])
    for field in fields(one.moments["W"]):
        np.testing.assert_array_equal(getattr(one.moments["W"], field.name), getattr(other.moments["W"], field.name))
    np.testing.assert_array_equal(one.history.elbo, other.history.elbo)
    np.testing.assert_array_equal(one.attributes["chain_inclusion"], other.attributes["chain_inclusion"])


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch):
    monkeypatch.setattr(swept, "AT_ONCE", 3)
    model = with_motif()
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    one = fit(model, guide=SHORT, seed=3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    same(one, fit(model, guide=SHORT, seed=3))
    assert not np.array_equal(one.draws["W"], fit(model, guide=SHORT, seed=4).draws["W"])


@pytest.mark.parametrize("stop", [1, 4, 7, 12])
def test_what_is_resumed_is_equal_bit_for_bit(stop, tmp_path):
    model, path = with_motif(), tmp_path / "fit.ckpt"
    whole = fit(model, guide=SHORT)
    with pytest.raises(KeyboardInterrupt):
        fit(model, guide=SHORT, callbacks=[Checkpoint(path), StopAt(stop)])
    same(whole, fit(model, guide=SHORT, resume=load_checkpoint(path)))


def test_a_checkpoint_of_every_block_changes_nothing(tmp_path):
    """Which blocks have one is a matter of the clock."""
    model = with_motif()
    same(fit(model, guide=SHORT), fit(model, guide=SHORT, callbacks=[Checkpoint(tmp_path / "fit.ckpt", seconds=-1)]))


def test_targets_that_are_the_regulators():
    data = simulate_linear(num_genes=9, num_tfs=4, num_cells=60, seed=2).data
    posterior = fit(LinearNetwork.from_data(data, targets=data.tfs), guide=SHORT)
    assert len(posterior.edges()) == 12
    assert not posterior.moments["W"].inclusion.diagonal().any()


def test_a_saved_posterior_is_the_same(tmp_path):
    posterior = fit(with_motif(), guide=SHORT)
    posterior.save(tmp_path / "p")
    loaded = Posterior.load(tmp_path / "p")
    assert loaded.model.edge_prior.measured_in == "noise"
    assert loaded.guide == "sparse"
    pd.testing.assert_frame_equal(loaded.edges(), posterior.edges())
    tf = posterior.coords["tf"][0]
    pd.testing.assert_frame_equal(loaded.predict(knockout=[tf]), posterior.predict(knockout=[tf]))
    assert "R-hat" in " ".join(loaded.diagnose()["check"])


def test_draws_that_are_thinned_stay_joint(monkeypatch):
    model = small_network()
    whole = fit(model, guide=SHORT)
    monkeypatch.setattr("pyrogrn.inference.draws.moments.DRAW_BUDGET", 2 * 4 * 2 * 6 * 24 * 4)
    thinned = fit(model, guide=SHORT)
    assert thinned.draws["W"].shape[1] == 4
    assert thinned.draws["edge_logit"].shape[1] == 8
    np.testing.assert_array_equal(thinned.draws["edge_logit"], whole.draws["edge_logit"])
    np.testing.assert_array_equal(thinned.draws["W"], whole.draws["W"][:, ::2])


def test_rounding_does_not_add_up():
    """Hundreds of thousands of cells, a target that is almost explained: the residual stays that of the weights."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 40)) + rng.normal(size=(400, 1))
    gram = x.T @ x * 1000
    y = x[:, :3] @ np.array([1.0, -0.8, 0.5]) + 0.05 * rng.normal(size=400)
    group = Background.of(
        gram, np.zeros((40, 1)), 1000 * x.T @ y[:, None], np.array([1000 * y @ y]), np.array([0]), np.array([-1])
    )
    h = 1e-6
    gram_of_h = group.spectrum.gram(h)
    terms = tables.Terms.of(gram_of_h, np.full(40, -2.0), np.zeros(40), classes.UNNAMED, 25.0)
    weight, z = np.zeros((1, 40), np.float32), np.zeros((1, 40), np.float32)
    sse = group.residual(weight, gram_of_h, z)
    state = tables.Targets(
        weight, z, sse, np.ones(1), np.zeros(1, np.int64), np.array([4e5]), np.array([-1]), np.array([0])
    )
    partners = kernel.partners_of(gram)
    sweep.sweep_targets(np.array([0]), np.array([1]), 200, 0, 0, 1, gram_of_h, terms, partners, state, 2.0, 0.5)
    fresh = np.empty_like(z)
    exact = group.residual(weight, gram_of_h, fresh)
    scale = math.sqrt(float(state.noise[0]) * gram[0, 0])  # of the noise of a score
    assert np.abs(fresh - z).max() < 0.05 * scale
    np.testing.assert_allclose(sse, exact, rtol=1e-3)
    assert set(np.flatnonzero(weight[0])) >= {0, 1, 2}


# -- what it is not for ----


@pytest.mark.parametrize(
    ("prior", "words"),
    [
        (SpikeSlab(unit="sd"), "unit='noise'"),
        (Normal(), "exact for SpikeSlab"),
        (Collaborative(), "exact for SpikeSlab"),
        (noise_slab(strategy="scale"), "guide gibbs, or strategy inclusion"),
        (noise_slab(edge_probability=Hyper(dist.StudentT, 5.0)), "Normal hyperprior"),
        (HardMask(noise_slab()), "guide gibbs"),
    ],
)
def test_other_priors_are_refused_with_what_to_use(prior, words):
    data = simulate_linear(num_genes=8, num_tfs=3, num_cells=40, seed=0).data
    frame = pd.DataFrame({"source": data.tfs[:1], "target": data.genes[4:5]})
    known = {"a": PriorNetwork.from_edges(frame, name="a")}
    with pytest.raises(ValueError, match=words):
        fit(LinearNetwork.from_data(data, edge_prior=prior, networks=known), guide=SparseGibbs())


def test_other_models_are_refused():
    panel = simulate_panel(num_genes=6, in_degree=2, replicates=2, num_controls=6, seed=2).data
    with pytest.raises(ValueError, match="are for a linear network, this is a FactorBox"):
        FactorBox.from_data(panel, edge_prior=noise_slab())
    assert "linear networks" in refusal(FactorBox.from_data(panel))
    data = simulate_linear(num_genes=8, num_tfs=3, num_cells=40, num_contexts=2, seed=0).data
    assert "context" in refusal(LinearNetwork.from_data(data, edge_prior=noise_slab()))


def test_numbers_and_units_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="at least one chain"):
        SparseGibbs(sweeps=0)
    with pytest.raises(ValueError, match="expected one of sd, noise"):
        SpikeSlab(unit="kg")

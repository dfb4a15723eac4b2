"""The ArviZ DataTree: what is in it, exact densities, and that ArviZ can work with it."""

import math
from dataclasses import replace

import arviz_stats
import numpy as np
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from pyrogrn.inference import NUTS, Blocked, Gibbs, LowRank, MapEstimate, MeanField, fit
from pyrogrn.inference import datatree as D
from pyrogrn.inference.answers.cells import predict_cells, squared_residuals
from pyrogrn.inference.answers.registry import answers_of
from pyrogrn.inference.draws import moments
from pyrogrn.models import ExpressionData, LinearNetwork
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import HardMask, Horseshoe, Hyper, Laplace, Normal, PriorNetwork, SpikeSlab
from scipy import stats

LEARNED = Hyper(dist.HalfNormal, 1.0)  # hubs, which are off by default
GIBBS = Gibbs(num_chains=2, num_warmup=30, num_samples=40)


@pytest.fixture(scope="module")
def simulation():
    return simulate_linear(num_genes=9, num_tfs=4, num_cells=150, edge_probability=0.4, num_perturbed=2, seed=2)


@pytest.fixture(scope="module")
def networks(simulation):
    signed = PriorNetwork.from_edges(simulation.network[["source", "target", "sign"]], name="motif")
    plain = PriorNetwork.from_edges(simulation.network[["source", "target"]].iloc[::2], name="chip")
    return {"motif": signed, "chip": plain}


@pytest.fixture(scope="module")
def posterior(simulation, networks):
    prior = SpikeSlab(hub_scale=LEARNED)
    return fit(LinearNetwork.from_data(simulation.data, networks=networks, edge_prior=prior), guide=GIBBS)


@pytest.fixture(scope="module")
def variational(simulation, networks):
    model = LinearNetwork.from_data(simulation.data, edge_prior=Horseshoe(), networks=networks)
    return fit(model, guide=MeanField(), num_steps=60, num_draws=60, restarts=2)


@pytest.fixture(scope="module")
def tree(posterior, simulation):
    return D.to_datatree(posterior, simulation.data, num_observations=200)


@pytest.fixture(scope="module")
def several():
    """Three contexts with interventions, and its data."""
    data = simulate_linear(
        num_genes=7, num_tfs=3, num_cells=120, num_contexts=3, num_perturbed=1, edge_probability=0.4, seed=5
    ).data
    return fit(LinearNetwork.from_data(data), guide=GIBBS), data


def same_names(tree):
    """Variables that share their name with a dimension, which the schema forbids."""
    return {n for group in tree.children.values() for n in group.data_vars if n in group.dims}


# -- groups ----
def test_groups_of_a_sampler(tree, posterior):
    assert set(tree.children) == {
        *("posterior", "edges", "prior", "sample_stats", "log_prior", "trace"),
        *("observed_data", "posterior_predictive", "log_likelihood"),
    }
    assert same_names(tree) == set()
    assert dict(tree["posterior"].sizes) == {
        **{"chain": 2, "draw": 40, "tf": 4, "target": 9, "source": 2, "signed_source": 1}
    }
    assert tree["posterior"]["W"].dims == ("chain", "draw", "tf", "target")
    assert np.array_equal(tree["posterior"]["W"], posterior.draws["W"])
    assert tree["posterior"]["source"].values.tolist() == ["motif", "chip"]
    assert np.array_equal(tree["edges"]["inclusion"], posterior.moments["W"].inclusion)
    assert tree["edges"]["mean"].dims == ("tf", "target")
    assert tree["trace"]["log_likelihood"].dims == ("chain", "step")
    assert tree["trace"].sizes["step"] == 70
    assert set(tree["sample_stats"].data_vars) == {"lp"}


def test_groups_of_a_guide(variational):
    tree = variational.to_datatree()
    assert set(tree.children) == {"posterior", "edges", "prior", "sample_stats", "log_prior", "svi"}
    assert same_names(tree) == set()
    assert tree["svi"]["elbo"].dims == ("restart", "step")
    assert tree["svi"]["rate"].dims == ("step",)
    assert tree["svi"]["step"].values[-1] == 60
    assert set(tree["sample_stats"].data_vars) == {"lp", "lq"}
    assert dict(tree["sample_stats"].sizes) == {"chain": 2, "draw": 60}
    assert tree["posterior"]["local_scale"].dims == ("chain", "draw", "tf", "target")
    assert "local_scale" not in tree["prior"].data_vars


def test_groups_of_several_contexts(several):
    posterior, data = several
    tree = posterior.to_datatree(data)
    assert tree["posterior"]["W_context"].dims == ("chain", "draw", "context", "tf", "target")
    assert tree["posterior"]["noise_variance"].dims == ("chain", "draw", "context", "target")
    assert tree["edges_by_context"]["mean"].dims == ("context", "tf", "target")
    assert tree["edges"]["mean"].dims == ("tf", "target")
    assert tree["log_prior"]["noise_variance"].dims == ("chain", "draw", "context", "target")
    assert same_names(tree) == set()


def test_attributes_say_what_made_it(tree, variational):
    assert tree.attrs["inference_library"] == "pyro"
    assert tree.attrs["creation_library"] == "pyrogrn"
    assert (tree.attrs["guide"], tree.attrs["calibrated"], tree.attrs["model"]) == ("gibbs", 1, "linear")
    assert tree["posterior"].attrs["creation_library"] == "pyrogrn"
    assert "threshold" not in tree.attrs
    assert variational.to_datatree().attrs["threshold"] == 0.1


def test_it_can_be_written_and_read(tree, variational, tmp_path):
    for number, each in enumerate([tree, variational.to_datatree()]):
        path = tmp_path / f"{number}.nc"
        each.to_netcdf(path, engine="h5netcdf")
        with xr.open_datatree(path, engine="h5netcdf") as read:
            xr.testing.assert_equal(each, read.load())
            assert read.attrs["guide"] == each.attrs["guide"]


def test_large_networks_keep_their_most_probable_edges(posterior, simulation, monkeypatch):
    monkeypatch.setattr(D, "MAX_VALUES", 1000)
    monkeypatch.setattr(D, "NUM_EDGES", 6)
    group = posterior.to_datatree()["posterior"]
    assert "W" not in group.data_vars
    table = posterior.edges(top=6)
    assert group["edge"].values.tolist() == (table["source"] + " -> " + table["target"]).tolist()
    assert group["W_edge"].dims == ("chain", "draw", "edge")
    assert group["inclusion_edge"].dims == ("chain", "draw", "edge")
    assert group["W_edge"].mean(("chain", "draw")).values == pytest.approx(table["weight"].to_numpy(), abs=1e-5)
    assert group["trust"].dims == ("chain", "draw", "source")
    arviz_stats.summary(posterior.to_datatree(), var_names=["W_edge"])


def test_thinned_draws_are_joint_draws(simulation, networks, monkeypatch):
    model = LinearNetwork.from_data(simulation.data, networks=networks, edge_prior=SpikeSlab(hub_scale=LEARNED))
    whole = fit(model, guide=GIBBS)
    large = sum(4 * math.prod(v.shape[2:]) for v in whole.draws.values() if v.ndim > 3)
    monkeypatch.setattr(moments, "DRAW_BUDGET", 2 * 40 * large / 6.5)  # keep each seventh
    thinned = fit(model, guide=GIBBS)
    assert thinned.draws["W"].shape[1] == 6
    assert thinned.draws["trust"].shape[1] == 40
    tree = thinned.to_datatree(simulation.data)
    assert tree["posterior"]["draw"].values.tolist() == [0, 7, 14, 21, 28, 35]
    for name in ("W", "trust", "noise_variance"):
        assert np.array_equal(tree["posterior"][name], whole.draws[name][:, ::7])
    lp = whole.to_datatree()["sample_stats"]["lp"]
    assert tree["sample_stats"]["lp"].values == pytest.approx(lp.values[:, ::7])
    assert tree["log_likelihood"].sizes["draw"] == 6


def test_a_fit_without_draws_is_refused(posterior):
    empty = replace(posterior, draws={}, history=replace(posterior.history, reason="diverged at sweep 2: bad"))
    with pytest.raises(ValueError, match=r"no draws \(diverged at sweep 2"):
        empty.to_datatree()


# -- prior and densities ----
def test_prior_draws_have_the_prior_distribution(tree, posterior):
    prior = tree["prior"]
    sites = {name for name in posterior.draws if name not in ("W", "inclusion")}
    assert set(prior.data_vars) == sites
    assert dict(prior.sizes) == {"chain": 1, "draw": 500, "tf": 4, "target": 9, "source": 2, "signed_source": 1}
    expected = {
        "trust": stats.halfnorm(scale=3.0),
        "sign_trust": stats.halfnorm(scale=1.0),
        "edge_logit": stats.norm(-2.0, 1.5),
        "slab_scale": stats.lognorm(0.7, scale=math.exp(-1.2)),
        "spike_ratio": stats.beta(1.0, 9.0),
        "hub_scale": stats.halfnorm(scale=1.0),
        "noise_variance": stats.invgamma(2.0, scale=0.5),
    }
    for name, distribution in expected.items():
        values = prior[name].values.reshape(500, -1)[:, 0]
        assert stats.kstest(values, distribution.cdf).pvalue > 1e-4, name
    scaled = (prior["hub"] / prior["hub_scale"]).values.ravel()  # hubs move with their own scale
    assert stats.kstest(scaled, stats.norm.cdf).pvalue > 1e-4


@pytest.mark.parametrize(
    "edge_prior", [Normal(), Laplace(), Horseshoe(), SpikeSlab(hub_scale=LEARNED), HardMask(Horseshoe())]
)
@pytest.mark.parametrize("contexts", [False, True])
def test_prior_of_every_family(simulation, networks, several, edge_prior, contexts):
    data = several[1] if contexts else simulation.data
    model = LinearNetwork.from_data(data, edge_prior=edge_prior, networks=networks)
    draws = D.prior_draws(model, seed=1, num_draws=7)
    assert set(draws) == {n for n in model.dims if not D.is_edge_site(model, n)}
    for name, value in draws.items():
        assert value.shape == (1, 7, *(len(model.coords[d]) for d in model.dims[name]))
        assert np.isfinite(value).all()
    again = D.prior_draws(model, seed=1, num_draws=7)
    assert all(np.array_equal(draws[name], again[name]) for name in draws)


def test_log_prior_is_that_of_the_hyperpriors(tree, posterior):
    group, draws = tree["log_prior"], posterior.draws
    assert set(group.data_vars) == set(draws) - {"W", "inclusion", "hub"}  # hubs have a parent
    expected = {
        "trust": stats.halfnorm(scale=3.0),
        "slab_scale": stats.lognorm(0.7, scale=math.exp(-1.2)),
        "spike_ratio": stats.beta(1.0, 9.0),
        "noise_variance": stats.invgamma(2.0, scale=0.5),
    }
    for name, distribution in expected.items():
        assert group[name].values == pytest.approx(distribution.logpdf(draws[name].astype(float)), rel=1e-4)
        assert group[name].dims == tree["posterior"][name].dims


def marginal_likelihood(data: ExpressionData, model: LinearNetwork, W, noise):
    """log p(X | W, σ²) by hand: cell by cell, the flat intercept integrated out, clamped cells left out by target."""
    X = data.X.double().numpy() / model.scale.double().numpy()
    clamped = set() if data.perturbed is None else {(c, g) for c, g in data.perturbed.tolist()}
    total = 0.0
    for j, g in enumerate(model.target_index.tolist()):
        cells = [c for c in range(len(X)) if (c, g) not in clamped]
        error = X[cells, g] - X[cells][:, model.tf_index.numpy()] @ W[:, j]
        n, sse = len(cells), ((error - error.mean()) ** 2).sum()
        total += -0.5 * (n - 1) * math.log(2 * math.pi * noise[j]) - 0.5 * math.log(n) - 0.5 * sse / noise[j]
    return total


def test_log_joint_of_a_sampler_by_hand(simulation):
    model = LinearNetwork.from_data(simulation.data, edge_prior=SpikeSlab(hub_scale=LEARNED))
    posterior = fit(model, guide=Gibbs(num_chains=1, num_warmup=5, num_samples=3))
    lp = posterior.to_datatree()["sample_stats"]["lp"].values
    for i in range(3):
        z = {name: value[0, i].astype(float) for name, value in posterior.draws.items()}
        allowed = model.edge_prior.allowed.numpy()
        logit = (z["edge_logit"] + z["hub"])[:, None] + np.zeros((4, 9))
        gate = z["inclusion"][allowed]
        scale = np.where(z["inclusion"] > 0, z["slab_scale"], z["slab_scale"] * z["spike_ratio"])
        expected = (
            stats.bernoulli(1 / (1 + np.exp(-logit[allowed]))).logpmf(gate).sum()
            + stats.norm(0, scale[allowed]).logpdf(z["W"][allowed]).sum()
            + stats.norm(0, z["hub_scale"]).logpdf(z["hub"]).sum()
            + stats.halfnorm(scale=1.0).logpdf(z["hub_scale"])
            + stats.norm(-2.0, 1.5).logpdf(z["edge_logit"])
            + stats.lognorm(0.7, scale=math.exp(-1.2)).logpdf(z["slab_scale"])
            + stats.beta(1.0, 9.0).logpdf(z["spike_ratio"])
            + stats.invgamma(2.0, scale=0.5).logpdf(z["noise_variance"]).sum()
            + marginal_likelihood(simulation.data, model, z["W"], z["noise_variance"])
        )
        assert lp[0, i] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("guide", [MeanField(), LowRank(rank=2), Blocked(), MapEstimate()])
def test_densities_of_guides(simulation, guide):
    # no target is a regulator, so no edge is impossible and the stored draws are the guide's own
    targets = simulation.data.genes[4:]
    model = LinearNetwork.from_data(simulation.data, edge_prior=Normal(), targets=targets)
    posterior = fit(model, guide=guide, num_steps=50, num_draws=300, restarts=2)
    stored = posterior.to_datatree()["sample_stats"]
    assert stored["lp"].values == pytest.approx(D.log_joint_of(model, posterior.draws), rel=1e-5)
    assert ("lq" in stored) == (guide.name != "map")
    if "lq" in stored:  # their difference estimates the ELBO, of which the history has one-sample estimates
        gain = (stored["lp"] - stored["lq"]).mean("draw").values
        recent = posterior.history.elbo[:, -5:]
        assert gain == pytest.approx(recent.mean(1), abs=5 * max(10.0, float(recent.std())))


def test_log_density_of_mean_field_by_hand(simulation):
    targets = simulation.data.genes[4:]
    model = LinearNetwork.from_data(simulation.data, edge_prior=Normal(scale=0.3), targets=targets)
    posterior = fit(model, guide=MeanField(), num_steps=300, num_draws=400, restarts=1)
    lq = posterior.attributes["lq"][0]
    z = np.concatenate([posterior.draws["W"][0].reshape(400, -1), np.log(posterior.draws["noise_variance"][0])], axis=1)
    # the guide is normal in z with the moments of its draws; log σ² adds the Jacobian
    by_hand = stats.norm(z.mean(0), z.std(0)).logpdf(z).sum(1) - np.log(posterior.draws["noise_variance"][0]).sum(1)
    assert np.corrcoef(lq, by_hand)[0, 1] > 0.98
    assert lq.mean() == pytest.approx(by_hand.mean(), abs=1.0)


def test_no_lq_for_minibatches(simulation):
    model = LinearNetwork.from_data(simulation.data, edge_prior=Normal())
    fitted = {"guide": MeanField(), "num_steps": 10, "num_draws": 5, "restarts": 2, "batch_size": 50, "jit": False}
    posterior = fit(model, simulation.data, **fitted)
    assert set(posterior.to_datatree()["sample_stats"].data_vars) == {"lp"}
    assert np.isfinite(posterior.attributes["lp"]).all()


def test_missing_inclusion_variables_are_summed_out(simulation):
    prior = SpikeSlab(slab_scale=0.3, spike_ratio=0.1, hub_scale=0.0, edge_probability=0.3)
    model = LinearNetwork.from_data(simulation.data, edge_prior=prior)
    rng = np.random.default_rng(0)
    allowed = model.edge_prior.allowed.numpy()
    draws = {"W": 0.2 * rng.normal(size=(1, 3, 4, 9)) * allowed, "noise_variance": rng.uniform(0.3, 1, (1, 3, 9))}
    for i, lp in enumerate(D.log_joint_of(model, draws)[0]):
        W, noise = draws["W"][0, i], draws["noise_variance"][0, i]
        mixed = 0.3 * stats.norm(0, 0.3).pdf(W[allowed]) + 0.7 * stats.norm(0, 0.03).pdf(W[allowed])
        expected = np.log(mixed).sum() + stats.invgamma(2.0, scale=0.5).logpdf(noise).sum()
        assert lp == pytest.approx(expected + marginal_likelihood(simulation.data, model, W, noise), rel=1e-5)


def test_nuts_has_a_log_joint_but_no_trace():
    data = simulate_linear(num_genes=3, num_tfs=2, num_cells=40, seed=1).data
    model = LinearNetwork.from_data(data, edge_prior=Normal(scale=0.3))
    tree = fit(model, guide=NUTS(num_chains=1, num_warmup=4, num_samples=3)).to_datatree(data)
    assert "trace" not in tree.children
    assert np.isfinite(tree["sample_stats"]["lp"]).all()


# -- single cells ----
def test_predictions_are_the_regression_line(posterior, simulation):
    cells = predict_cells(posterior, simulation.data, num_observations=10**6)
    model, data = posterior.model, simulation.data
    pairs = [label.split(":") for label in cells.labels]
    assert len(pairs) == len(set(cells.labels)) == data.num_cells * 9 - len(data.perturbed)
    clamped = {(c, data.genes[g]) for c, g in data.perturbed.tolist()}
    assert not clamped & {(int(c), gene) for c, gene in pairs}
    X, scale = data.X.double().numpy(), model.scale.double().numpy()
    rows = [i for i, (_, gene) in enumerate(pairs) if gene == "G0006"]
    index = np.array([int(pairs[i][0]) for i in rows])
    x = X[index][:, :4] / scale[:4]
    line = np.einsum("ot,cdt->cdo", x, posterior.draws["W"][..., 6].astype(float)) * scale[6]
    assert cells.observed[rows] == pytest.approx(X[index, 6])
    # the same intercept for all cells of a draw, and over draws it has the residual's mean and standard error
    intercept = cells.mean[..., rows] - line
    assert np.ptp(intercept, axis=-1) == pytest.approx(0, abs=1e-6)
    residual = X[index, 6] - line.mean((0, 1))
    error = cells.sd[..., rows[0]].mean() / math.sqrt(len(rows))
    gap = intercept[..., 0] - (X[index, 6] - line).mean(-1)
    assert gap.std() == pytest.approx(error, rel=0.3)
    assert abs(gap.mean()) < 4 * error / math.sqrt(gap.size)
    assert residual.std() == pytest.approx(cells.sd[..., rows].mean(), rel=0.1)


def test_pointwise_likelihood_is_normal(tree, posterior, simulation):
    cells = predict_cells(posterior, simulation.data, num_observations=200)
    assert tree["observed_data"]["X"].values == pytest.approx(cells.observed)
    expected = stats.norm(cells.mean, cells.sd).logpdf(cells.observed)
    assert tree["log_likelihood"]["X"].values == pytest.approx(expected, rel=1e-6)
    assert tree["log_likelihood"]["X"].dims == ("chain", "draw", "observation")
    replicated = (tree["posterior_predictive"]["X"].values - cells.mean) / cells.sd
    assert stats.kstest(replicated.ravel()[::5], stats.norm.cdf).pvalue > 1e-4


def test_chosen_pairs_depend_on_the_seed_alone(posterior, simulation):
    first, again, other = (predict_cells(posterior, simulation.data, num_observations=30, seed=s) for s in (1, 1, 2))
    assert first.labels == again.labels
    assert np.array_equal(first.mean, again.mean)
    assert first.labels != other.labels
    assert len(first.labels) == 30


def test_contexts_and_gene_order_are_matched_by_name(several):
    posterior, data = several
    turned = data.select_genes(data.genes[::-1])
    names = [data.context_names[k] for k in data.context.tolist()]
    codes = torch.tensor([data.context_names[::-1].index(n) for n in names])
    renamed = ExpressionData(
        turned.X,
        turned.genes,
        turned.tfs,
        perturbed=turned.perturbed,
        context=codes,
        context_names=data.context_names[::-1],
    )
    first, second = predict_cells(posterior, data), predict_cells(posterior, renamed)
    assert first.labels == second.labels
    assert np.allclose(first.mean, second.mean)
    assert np.allclose(squared_residuals(posterior, data), squared_residuals(posterior, renamed), equal_nan=True)


def test_one_context_alone_can_be_predicted(several):
    posterior, data = several
    cells = np.flatnonzero(data.context.numpy() == 2)
    whole = predict_cells(posterior, data, num_observations=10**6)
    part = data.subset(cells)
    alone = ExpressionData(part.X, part.genes, part.tfs, context_names=(data.context_names[2],))
    few = predict_cells(posterior, alone, num_observations=10**6)
    place = {label: i for i, label in enumerate(whole.labels)}
    rows = [place[f"{cells[int(c)]}:{g}"] for c, g in (label.split(":") for label in few.labels)]
    assert np.allclose(few.sd, whole.sd[..., rows])
    assert np.allclose(few.mean.mean((0, 1)), whole.mean[..., rows].mean((0, 1)), atol=0.2)


def test_residuals_are_those_of_the_fit(several, posterior, simulation):
    for fitted, data in (several, (posterior, simulation.data)):
        ratio = squared_residuals(fitted, data)
        assert ratio.shape == (data.num_cells, len(fitted.model.targets))
        assert np.isnan(ratio).sum() == len(data.perturbed)
        assert np.nanmean(ratio) == pytest.approx(1, abs=0.05)


def test_other_data_are_refused(posterior, several, simulation):
    with pytest.raises(ValueError, match=r"lack 1 of the 9 genes of the fit, e.g. \['G0008'\]"):
        posterior.to_datatree(simulation.data.select_genes(simulation.data.genes[:-1]))
    fitted, data = several
    other = ExpressionData(data.X, data.genes, data.tfs, context_names=("liver",))
    with pytest.raises(ValueError, match=r"contexts \['liver'\] of `data` are not among"):
        fitted.to_datatree(other)
    genes = simulation.data.genes
    one = fit(LinearNetwork.from_data(simulation.data, targets=genes[4:6]), guide=GIBBS)
    clamped = ExpressionData(simulation.data.X[:1], genes, perturbed=torch.tensor([[0, 4], [0, 5]]))
    with pytest.raises(ValueError, match=r"every .* pair of `data` is clamped"):
        one.to_datatree(clamped)


# -- ArviZ ----
HYPER = ["trust", "slab_scale", "edge_logit"]


def test_arviz_stats_work_on_it(tree):
    table = arviz_stats.summary(tree, var_names=HYPER)
    assert list(table.index) == ["trust[motif]", "trust[chip]", "slab_scale", "edge_logit"]
    assert np.isfinite(arviz_stats.rhat(tree, var_names=HYPER)["slab_scale"])
    assert float(arviz_stats.ess(tree, var_names=HYPER)["edge_logit"]) > 1


@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto:UserWarning")
def test_loo(tree, variational, simulation):
    result = arviz_stats.loo(tree)
    assert result.n_data_points == 200
    pointwise = stats.norm.logpdf  # a sanity bound: no worse than the unconditional normal of each gene
    labels = [label.split(":")[1] for label in tree["observed_data"]["observation"].values]
    X = simulation.data.X.numpy()
    column = [simulation.data.genes.index(g) for g in labels]
    null = pointwise(tree["observed_data"]["X"].values, X.mean(0)[column], X.std(0)[column]).sum()
    assert result.elpd > null + 10
    approximate = variational.to_datatree(simulation.data, seed=1)
    assert np.isfinite(arviz_stats.loo(approximate).elpd)


def test_power_scaling(tree):
    table = arviz_stats.psense_summary(tree, var_names=HYPER)
    assert list(table.columns) == ["prior", "likelihood", "diagnosis"]
    assert (table[["prior", "likelihood"]] > 0).all().all()
    some = arviz_stats.psense(tree, var_names=["trust"], group="prior", group_var_names=[*HYPER, "spike_ratio"])
    assert np.isfinite(some["trust"]).all()


def test_arviz_plots(tree, variational):
    import matplotlib as mpl

    mpl.use("Agg")
    import arviz_plots as azp
    from matplotlib import pyplot as plt

    azp.plot_dist(tree, var_names=["trust", "slab_scale"], backend="matplotlib")
    azp.plot_ppc_dist(tree, backend="matplotlib", num_samples=10)
    azp.plot_trace(variational.to_datatree(), var_names=["tau"], backend="matplotlib")
    assert len(plt.get_fignums()) == 3
    plt.close("all")


def test_to_arviz_is_what_the_installed_arviz_plots(posterior, simulation):
    import arviz

    found = D.to_arviz(posterior, simulation.data)
    if int(arviz.__version__.split(".")[0]) >= 1:
        assert isinstance(found, xr.DataTree)
        return
    assert isinstance(found, arviz.InferenceData)
    assert {"posterior", "prior", "log_likelihood", "observed_data", "edges", "trace"} <= set(found.groups())
    assert list(arviz.summary(found, var_names=["slab_scale"]).index) == ["slab_scale"]


def test_the_same_predictions_are_made_once(posterior, simulation, monkeypatch):
    model, data = type(answers_of(posterior.model)), simulation.data
    first = predict_cells(posterior, data, num_observations=50, seed=3)
    whole = model.cells
    asked = []
    monkeypatch.setattr(model, "cells", lambda *given: asked.append(given[3]) or whole(*given))
    assert predict_cells(posterior, data, num_observations=50, seed=3) is first
    assert asked == []
    for number, seed in ((50, 4), (40, 4)):
        assert len(predict_cells(posterior, data, num_observations=number, seed=seed).observed) == number
    assert len(predict_cells(posterior, data.subset(np.arange(60)), num_observations=40, seed=4).observed) == 40
    assert asked == [50, 40, 40]

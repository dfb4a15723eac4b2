"""Fits of factor models: seeds, checkpoints, files, intervals against the exact sampler, calibration."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.inference import (
    NUTS,
    Blocked,
    Checkpoint,
    Gibbs,
    LowRank,
    MapEstimate,
    MeanField,
    Posterior,
    default_guide,
    fit,
    load_checkpoint,
)
from pyrogrn.inference.factors import gibbs as factor_gibbs
from pyrogrn.inference.sbc import pit_of, verdict_of
from pyrogrn.models import PPCA, ExpressionData, FactorStatistics, LinearNetwork, MuVI
from pyrogrn.models.simulators import simulate_muvi
from pyrogrn.priors import HorseshoeLoading, NormalLoading, SpikeSlabLoading

PRIORS = [NormalLoading, HorseshoeLoading, SpikeSlabLoading]
GUIDES = {
    "blocked": (Blocked(), {"restarts": 2, "num_steps": 15}),
    "product": (Blocked(refresh=0), {"restarts": 2, "num_steps": 15}),
    "gibbs": (Gibbs(num_chains=2, num_warmup=4, num_samples=8), {}),
    "mean-field": (MeanField(), {"restarts": 2, "num_steps": 15}),
    "low-rank": (LowRank(), {"restarts": 2, "num_steps": 15}),
    "map": (MapEstimate(), {"restarts": 2, "num_steps": 15}),
    "nuts": (NUTS(num_chains=1, num_warmup=4, num_samples=8), {}),
}


def simulated(**options):
    sizes = {"num_genes": 8, "num_cells": 30, "num_sets": 2, "set_size": 4, "num_covariates": 1, "seed": 1}
    return simulate_muvi(**(sizes | options))


def same_draws(one, other):
    assert set(one.draws) == set(other.draws)
    for name in one.draws:
        np.testing.assert_array_equal(one.draws[name], other.draws[name], err_msg=name)


# -- seeds, checkpoints, files ----


@pytest.mark.usefixtures("short_ascent")
@pytest.mark.parametrize("name", list(GUIDES))
def test_the_same_seed_gives_the_same_draws(name):
    guide, options = GUIDES[name]
    model = MuVI(simulated().data, num_factors=2, loading_prior=NormalLoading(scale=None))
    one, again, other = (fit(model, guide=guide, num_draws=8, seed=s, **options) for s in (3, 3, 4))
    same_draws(one, again)
    assert not np.array_equal(one.draws["W"], other.draws["W"])
    assert one.guide == guide.name


def test_blocked_is_the_default():
    assert isinstance(default_guide(MuVI(simulated().data, num_factors=1)), Blocked)


class Stop:
    """Interrupts a fit after some steps."""

    def __init__(self, after):
        self.after = after

    def __call__(self, state):
        if state.step == self.after:
            raise KeyboardInterrupt

    def close(self):
        pass


CASES = {
    "blocked": (Blocked(), {"num_steps": 25, "restarts": 2}, {}),
    "blocked, missing": (Blocked(), {"num_steps": 25, "restarts": 2}, {"missing": 0.1}),
    "blocked, counts": (Blocked(), {"num_steps": 12, "restarts": 2}, {"views": {"rna": "negative-binomial"}}),
    "blocked, minibatches": (Blocked(), {"num_steps": 25, "restarts": 1, "batch_size": 8}, {}),
    "gibbs": (Gibbs(num_chains=2, num_warmup=8, num_samples=10), {}, {}),
    "gibbs, missing": (Gibbs(num_chains=2, num_warmup=8, num_samples=10), {}, {"missing": 0.1}),
}


@pytest.fixture
def short_ascent(monkeypatch):
    """Where Markov chains start is not what is tested here."""
    monkeypatch.setattr(factor_gibbs, "ASCENT", 10)


@pytest.mark.usefixtures("short_ascent")
@pytest.mark.parametrize(("prior", "after"), [(HorseshoeLoading, 5), (HorseshoeLoading, 11), (SpikeSlabLoading, 11)])
@pytest.mark.parametrize("case", list(CASES))
def test_an_interrupted_fit_goes_on_to_the_same_numbers(case, after, prior, tmp_path):
    guide, options, kind = CASES[case]
    data = simulated(**kind).data
    options = {"guide": guide, "num_draws": 6, **options}
    model = MuVI(data, num_factors=2, loading_prior=prior(), likelihood=kind.get("views", "gaussian"))
    cells = data if not model.integrated or "batch_size" in options else None
    whole = fit(model, cells, **options)
    checkpoint = Checkpoint(tmp_path / "state.pt", seconds=1e9)
    with pytest.raises(KeyboardInterrupt):
        fit(model, cells, **options, callbacks=[checkpoint, Stop(after)])
    state = load_checkpoint(tmp_path / "state.pt")
    assert state["step"] == after
    resumed = fit(model, cells, **options, resume=state)
    same_draws(whole, resumed)
    np.testing.assert_array_equal(whole.history.elbo, resumed.history.elbo)
    with pytest.raises(ValueError, match="another fit") as caught:
        fit(model, cells, **options, seed=9, resume=state)
    assert "\n" not in str(caught.value)


class Last:
    """Keeps the state that a checkpoint written while draws are made would hold."""

    def __call__(self, state):
        self.state = state.snapshot()

    def close(self):
        pass


@pytest.mark.parametrize(("missing", "num_steps"), [(0.0, 3000), (0.1, 15)])
def test_a_fit_interrupted_while_drawing_goes_on_to_the_same_numbers(missing, num_steps):
    model = MuVI(simulated(missing=missing).data, num_factors=2, loading_prior=NormalLoading(scale=None))
    last = Last()
    options = {"guide": Blocked(), "num_steps": num_steps, "num_draws": 6, "restarts": 2}
    whole = fit(model, **options, callbacks=[last])
    same_draws(whole, fit(model, **options, resume=last.state))


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("kind", ["sets", "missing", "counts", "ppca"])
def test_a_posterior_comes_back_from_disk(kind, prior, tmp_path):
    views = {"rna": "negative-binomial", "protein": "gaussian"} if kind == "counts" else None
    simulation = simulated(missing=0.1 if kind == "missing" else 0.0, views=views, num_groups=2)
    data = simulation.data
    if kind == "ppca":
        model = PPCA(data, num_factors=2, loading_prior=prior())
    elif kind == "sets":
        model = MuVI(data, gene_sets={"sets": simulation.gene_sets}, min_overlap=2, loading_prior=prior())
    else:
        model = MuVI(data, num_factors=2, loading_prior=prior(), likelihood=views or "gaussian")
    posterior = fit(model, guide=Blocked(), num_steps=10, num_draws=6, restarts=2)
    posterior.save(tmp_path / "fit")
    again = Posterior.load(tmp_path / "fit")
    same_draws(posterior, again)
    pd.testing.assert_frame_equal(posterior.programs(), again.programs())
    pd.testing.assert_frame_equal(posterior.covariate_effects(), again.covariate_effects())
    for one, other in zip(posterior.scores(data), again.scores(data), strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert again.dims == posterior.dims
    assert again.coords == posterior.coords


def test_statistics_are_fitted_as_cells_are():
    data = simulated().data
    found = [
        fit(MuVI(source, num_factors=2), num_steps=10, num_draws=4, restarts=1)
        for source in (data, FactorStatistics.from_data(data))
    ]
    same_draws(*found)


# -- intervals ----


def test_intervals_of_effects_are_those_of_the_exact_sampler():
    """A covariate that correlates with the factor: refreshed draws have the exact sd of β."""
    simulation = simulate_muvi(
        num_genes=8, num_cells=60, num_sets=1, set_size=8, num_covariates=1, correlation=0.6, seed=3
    )
    model = MuVI(simulation.data, num_factors=1, loading_prior=NormalLoading())
    sd = {}
    for name, guide in (
        ("exact", Gibbs(num_chains=4, num_warmup=100, num_samples=250)),
        ("blocked", Blocked()),
        ("product", Blocked(refresh=0)),
    ):
        posterior = fit(model, guide=guide, restarts=1, num_draws=800)
        sd[name] = posterior.draws["beta"].std((0, 1)).mean()
    assert sd["blocked"] == pytest.approx(sd["exact"], rel=0.1)
    assert sd["product"] < 0.7 * sd["exact"]


@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_of_noise_hardly_a_loading_is_sure(missing):
    """A fit alone takes directions of the noise for programs; draws that walk on leave them but for a program of one
    gene, which is the gene's own noise under another name."""
    generator = torch.Generator().manual_seed(0)
    Y = torch.randn(300, 30, generator=generator, dtype=torch.float64)
    Y[torch.rand(300, 30, generator=generator) < missing] = torch.nan
    data = ExpressionData(Y, tuple(f"g{i}" for i in range(30)), missing=missing > 0)
    model = MuVI(data, num_factors=3)
    sure = {}
    for refresh in (None, 0):
        drawn = fit(model, data, guide=Blocked(refresh=refresh), restarts=2, num_draws=200).draws["W"]
        positive = (drawn > 0).mean((0, 1))
        sure[refresh] = int(((positive > 0.95) | (positive < 0.05)).sum())
    assert sure[None] <= 3
    assert sure[0] >= 11


def test_a_guide_is_not_taken_for_cells():
    model = MuVI(simulated().data, num_factors=1)
    with pytest.raises(
        TypeError, match=r"`data` is Gibbs: expected ExpressionData or AnnData.* a guide is given by name"
    ):
        fit(model, SHORT_GIBBS)


@pytest.mark.parametrize("refresh", [-1, 2.5, "many"])
def test_rounds_are_a_number(refresh):
    with pytest.raises(ValueError, match="expected a number of rounds"):
        Blocked(refresh=refresh)


@pytest.mark.parametrize(("views", "batch_size"), [({"rna": "negative-binomial"}, None), ({"rna": "gaussian"}, 8)])
def test_rounds_that_would_not_be_made_are_refused(views, batch_size):
    data = simulated(views=views).data
    model = MuVI(data, num_factors=1, likelihood=views)
    with pytest.raises(ValueError, match="refresh=300: draws walk on where all cells are used"):
        fit(model, data, guide=Blocked(refresh=300), num_steps=2, num_draws=2, restarts=1, batch_size=batch_size)


# -- simulation-based calibration ----
# Truth from the prior, cells from the model, a fit, and the rank of the truth among the draws: quantities that no sign
# or rotation of factors changes.


def simulated_from_the_prior(seed, num_factors, num_genes, num_cells):
    """Data, and the parameters behind them; the covariate is the same in all."""
    g = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)
    rng = np.random.default_rng(seed)
    Z = torch.tensor(np.random.default_rng(0).normal(size=(num_cells, 1)), dtype=torch.float32)
    W, beta, gamma = normal(num_factors, num_genes), normal(1, num_genes), normal(1, num_factors)
    noise = torch.from_numpy(0.5 / rng.gamma(2.0, size=num_genes))  # InvGamma(2, 1/2)
    z = Z.double() - Z.double().mean(0)
    x = z @ gamma + normal(num_cells, num_factors)
    Y = x @ W + z @ beta + noise.sqrt() * normal(num_cells, num_genes) + 3.0  # any intercept: it is flat
    genes = tuple(f"g{i}" for i in range(num_genes))
    data = ExpressionData(Y, genes, covariates=Z, covariate_names=("z",), dtype=torch.float64)
    return data, {"W": W, "beta": beta, "gamma": gamma, "noise_variance": noise}


def quantities(sites):
    """By name, ``(...)`` of sites ``(..., *dims)``; without signs and rotations."""
    W, beta, gamma, noise = (sites[n] for n in ("W", "beta", "gamma", "noise_variance"))
    inner = np.einsum("...kg,...kh->...gh", W, W)
    total = beta + np.einsum("...vk,...kg->...vg", gamma, W)
    found = {f"W² {g}": inner[..., g, g] for g in (0, 1)}
    found |= {"size": np.einsum("...gg->...", inner), "W₀W₁": inner[..., 0, 1], "W₂W₃": inner[..., 2, 3]}
    found |= {f"β {g}": beta[..., 0, g] for g in (0, 1)}
    found |= {f"noise {g}": noise[..., g] for g in (0, 1)}
    found |= {"total 0": total[..., 0, 0], "γ²": (gamma**2).sum((-2, -1))}
    return found


def calibration(guide, num_simulations, *, num_factors=1, num_genes=4, num_cells=25, num_ranks=63, **options):
    """Verdicts, one row a quantity."""
    rng = np.random.default_rng(1)
    pit = []
    for seed in range(num_simulations):
        data, truth = simulated_from_the_prior(seed, num_factors, num_genes, num_cells)
        model = MuVI(data, num_factors=num_factors, standardize=False, loading_prior=NormalLoading())
        posterior = fit(model, guide=guide, restarts=1, seed=seed, **options)
        drawn = quantities({n: v.reshape(-1, *v.shape[2:]) for n, v in posterior.draws.items()})
        true = quantities({n: v.numpy() for n, v in truth.items()})
        kept = np.linspace(0, len(drawn["size"]) - 1, num_ranks).astype(int)
        pit.append([pit_of(drawn[n][kept], float(true[n]), rng) for n in true])
    table = pd.DataFrame([verdict_of(column) for column in np.array(pit).T], index=list(true))
    return table


def passes(table, rate=1e-3):
    """All exact tests at once (Bonferroni); a calibrated fit fails at this rate at most."""
    return table["pvalue"].min() * len(table) > rate


SHORT_GIBBS = Gibbs(num_chains=1, num_warmup=20, num_samples=63)


def test_blocked_is_calibrated():
    table = calibration(Blocked(), 45, num_draws=63)
    assert passes(table), table.round(3).to_string()


@pytest.mark.usefixtures("short_ascent")
def test_gibbs_is_calibrated():
    table = calibration(SHORT_GIBBS, 30)
    assert passes(table), table.round(3).to_string()


def test_the_product_form_is_not():
    table = calibration(Blocked(refresh=0), 45, num_draws=63)
    assert not passes(table)
    assert table.loc["β 0", "dispersion"] > 2


SIZES = {
    "one factor": {"num_factors": 1},
    "two factors": {"num_factors": 2, "num_genes": 10, "num_cells": 40},
}


@pytest.mark.slow
@pytest.mark.parametrize("size", list(SIZES))
def test_blocked_is_calibrated_over_many_simulations(size):
    table = calibration(Blocked(), 200, num_draws=63, **SIZES[size])
    assert passes(table), table.round(3).to_string()


@pytest.mark.slow
def test_blocked_is_calibrated_where_noise_and_factors_can_hardly_be_told_apart():
    table = calibration(Blocked(), 200, num_draws=63, num_factors=2)
    assert passes(table), table.round(3).to_string()


@pytest.mark.slow
@pytest.mark.usefixtures("short_ascent")
@pytest.mark.parametrize("num_factors", [1, 2])
def test_gibbs_is_calibrated_over_many_simulations(num_factors):
    guide = Gibbs(num_chains=1, num_warmup=150, num_samples=63, thin=8)  # noise next to zero mixes slowly
    table = calibration(guide, 60, num_factors=num_factors)
    assert passes(table), table.round(3).to_string()


@pytest.mark.slow
def test_mean_field_is_not_calibrated():
    """As in the paper: factors sampled, everything independent."""
    table = calibration(MeanField(), 30, num_draws=200, num_steps=1500)
    assert not passes(table)


def test_guides_refuse_models_they_are_not_for():
    data = simulated().data
    with pytest.raises(ValueError, match="leave out `batch_size`") as caught:
        fit(MuVI(data, num_factors=1), data, guide=Gibbs(num_chains=1, num_warmup=1, num_samples=1), batch_size=10)
    assert "\n" not in str(caught.value)
    network = LinearNetwork.from_data(data)
    posterior = fit(network, num_steps=5, restarts=1, num_draws=3, guide=MeanField())
    with pytest.raises(ValueError, match="has edges and no programs"):
        posterior.programs()
    with pytest.raises(ValueError, match="has programs and no edges"):
        fit(MuVI(data, num_factors=1), num_steps=5, restarts=1, num_draws=3).edges()


def test_bounds_fall_with_too_few_factors_and_rise_no_more_beyond_enough():
    """The evidence lower bound as a choice of the number of factors: the poster's data, two factors."""
    simulation = simulate_muvi(
        num_genes=20, num_cells=100, num_sets=2, set_size=20, noise_variance=0.5, num_covariates=0, seed=4
    )
    bound = {}
    for m in (1, 2, 3, 4):
        model = PPCA(simulation.data, num_factors=m, loading_prior=NormalLoading(scale=None))
        bound[m] = fit(model, restarts=1, num_draws=2).history.elbo[:, -1].max()
    assert max(bound, key=bound.get) == 2
    assert bound[2] - bound[1] > 50
    assert math.isfinite(sum(bound.values()))

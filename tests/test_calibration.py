"""Calibration: its measures on tables of known answer, simulation-based calibration of every guide that claims it, and
whether the checks object to guides that are wrong."""

import json
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from pyrogrn.experiments import scores
from pyrogrn.inference import Blocked, Gibbs, MeanField, calibration, fit
from pyrogrn.inference.calibration import Recalibration, coverage, edge_calibration
from pyrogrn.inference.sbc import LinearDesign, pit_of, simulation_based_calibration, verdict_of
from pyrogrn.models import LinearNetwork
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import HardMask, Horseshoe, Hyper, Normal, PriorNetwork, SpikeSlab
from scipy import stats

# -- measures ----


def test_scores_of_edge_tables_use_the_measures_of_inference():
    for name in ("brier", "log_score", "expected_calibration_error", "reliability_table"):
        assert getattr(scores, name) is getattr(calibration, name)


def test_a_calibrated_table_has_an_error_of_the_size_of_its_standard_errors():
    rng = np.random.default_rng(0)
    p = rng.beta(0.4, 1.2, size=40_000)
    truth = rng.random(40_000) < p
    table = calibration.reliability_table(p, truth)
    z = (table["observed"] - table["probability"]) / table["standard_error"]
    assert np.abs(z).max() < 4.5  # 15 bins: fails once in 10,000 seeds
    assert calibration.expected_calibration_error(p, truth) < 0.01
    assert calibration.expected_calibration_error(p**0.5, truth) > 0.1


@pytest.fixture(scope="module")
def fitted():
    """A posterior of data from a simulator whose edges are the model's own kind, and the truth in its units."""
    simulation = simulate_linear(
        num_genes=25, num_tfs=5, num_cells=300, edge_probability=0.3, tf_correlation=0.5, seed=0
    )
    targets = simulation.data.genes[5:]
    model = LinearNetwork.from_data(simulation.data, edge_prior=SpikeSlab(hub_scale=LEARNED), targets=targets)
    with torch.random.fork_rng(devices=[]):
        posterior = fit(model, guide=Gibbs(num_warmup=100, num_samples=100))
    W = simulation.W[0] * model.scale[:5, None] / model.scale
    return posterior, W[:, 5:].numpy(), simulation.present[:, 5:].numpy()


def test_coverage_counts_true_weights_inside_intervals(fitted):
    posterior, W, _ = fitted
    table = coverage(posterior, W, levels=(0.5, 0.9)).set_index("level")
    draws = posterior.draws["W"].reshape(-1, *W.shape)
    for level in (0.5, 0.9):
        lower, upper = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
        inside = (lower <= W) & (upper >= W)
        assert table.loc[level, "coverage"] == pytest.approx(inside.mean(), abs=1e-9)
        assert table.loc[level, "count"] == W.size
        assert table.loc[level, "standard_error"] == pytest.approx(math.sqrt(level * (1 - level) / W.size))
    assert table.loc[0.9, "coverage"] > 0.8
    off = coverage(posterior, W + 1.0, levels=(0.9,))
    assert off["coverage"].item() == 0
    with pytest.raises(ValueError, match=r"`W` has shape \(5, 3\), the posterior has \(tf, target\) \(5, 20\)"):
        coverage(posterior, W[:, :3])
    with pytest.raises(ValueError, match="`levels` has 1"):
        coverage(posterior, W, levels=(1,))


def test_edge_calibration_is_over_edges_that_may_exist(fitted):
    posterior, _, present = fitted
    found = edge_calibration(posterior, present)
    p = posterior.moments["W"].inclusion.ravel().astype(float)
    assert found.brier == pytest.approx(((p - present.ravel()) ** 2).mean())
    assert found.table["count"].sum() == present.size
    assert found.ece < 0.1
    wrong = edge_calibration(posterior, ~present)
    assert wrong.ece > 0.5
    assert wrong.log_score > found.log_score
    with pytest.raises(ValueError, match="`present` has shape"):
        edge_calibration(posterior, present.T)


# -- recalibration ----


def overconfident(seed, count=20_000):
    """Reported probabilities, and truth with log-odds −0.7 + 0.4 logit p."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.5, 0.8, size=count).clip(1e-4, 1 - 1e-4)
    return p, rng.random(count) < 1 / (1 + np.exp(0.7) * ((1 - p) / p) ** 0.4)


@pytest.mark.parametrize("method", ["logistic", "isotonic"])
def test_recalibration_learned_on_one_set_repairs_another(method):
    learned = Recalibration.fit(*overconfident(0), method=method)
    p, truth = overconfident(1)
    before, after = (calibration.expected_calibration_error(q, truth) for q in (p, learned(p)))
    assert before > 0.12
    assert after < 0.015
    assert calibration.log_score(learned(p), truth) < calibration.log_score(p, truth)
    grid = np.linspace(0, 1, 1001)
    assert (np.diff(learned(grid)) >= 0).all()
    assert ((learned(grid) >= 0) & (learned(grid) <= 1)).all()
    assert learned(p.reshape(100, 200)).shape == (100, 200)


def test_logistic_recalibration_finds_its_two_numbers():
    learned = Recalibration.fit(*overconfident(2))
    # standard errors from the information at 20,000 edges are about 0.017 and 0.009: five of them
    assert learned.x[0] == pytest.approx(-0.7, abs=0.085)
    assert learned.y[0] == pytest.approx(0.4, abs=0.045)
    rng = np.random.default_rng(3)
    p = rng.beta(0.5, 0.8, size=20_000)
    honest = Recalibration.fit(p, rng.random(20_000) < p)
    np.testing.assert_allclose(honest(np.array([0.1, 0.5, 0.9])), [0.1, 0.5, 0.9], atol=0.02)


def test_recalibration_is_monotone_and_finite_on_extreme_tables():
    p = np.array([0.01, 0.02, 0.98, 0.99])
    sharp = Recalibration.fit(p, np.array([False, False, True, True]))
    assert np.isfinite(sharp(np.array([0.0, 0.5, 1.0]))).all()
    upside_down = Recalibration.fit(p, np.array([True, True, False, False]))
    assert upside_down.y[0] == 0
    np.testing.assert_allclose(upside_down(p), 0.5, atol=0.01)


@pytest.mark.parametrize("method", ["logistic", "isotonic"])
def test_recalibration_goes_through_json(method):
    learned = Recalibration.fit(*overconfident(4, 500), method=method)
    again = Recalibration.from_dict(json.loads(json.dumps(learned.to_dict())))
    assert again == learned
    with pytest.raises(ValueError, match="no 'x' in the recalibration"):
        Recalibration.from_dict({"method": method})


@pytest.mark.parametrize(
    ("probability", "truth", "message"),
    [
        ([0.1, 0.2], [True], "2 probabilities for 1 edges"),
        ([0.1, 1.2], [True, False], r"expected inclusion probabilities in \[0, 1\]"),
        ([0.1, 0.2], [True, True], "needs some of both"),
    ],
)
def test_recalibration_refuses_what_it_cannot_learn_from(probability, truth, message):
    with pytest.raises(ValueError, match=message):
        Recalibration.fit(np.array(probability), np.array(truth))


# -- the machinery of SBC ----


def test_pit_is_uniform_with_ties_and_without():
    rng = np.random.default_rng(0)
    continuous = [pit_of(rng.normal(size=15), rng.normal(), rng) for _ in range(4000)]
    binary = [pit_of((rng.random(15) < p).astype(float), float(rng.random() < p), rng) for p in rng.random(4000)]
    for u in (continuous, binary):
        assert stats.kstest(u, "uniform").pvalue > 1e-4


def test_the_verdict_is_a_test_of_its_size():
    rng = np.random.default_rng(1)
    pvalues = np.array([verdict_of(rng.random(40))["pvalue"] for _ in range(2000)])
    for level in (0.05, 0.2):
        assert (pvalues < level).mean() < level + 4 * math.sqrt(level * (1 - level) / 2000)
    z = rng.normal(size=100)
    narrow, shifted = verdict_of(stats.norm.cdf(1.7 * z)), verdict_of(stats.norm.cdf(z + 0.7))
    assert narrow["dispersion"] > 2
    assert narrow["coverage"] < 0.8
    assert shifted["bias"] > 0.5
    assert max(narrow["pvalue"], shifted["pvalue"]) < 1e-6


def test_a_simulation_is_data_from_the_model_in_its_own_units():
    design = LinearDesign(num_targets=2, num_cells=4000, num_contexts=2, num_clamped=50)
    model, truth = design.simulate(lambda s: LinearNetwork(s, edge_prior=Normal(), targets=design.targets), seed=3)
    assert set(truth) == set(model.dims)
    assert torch.equal(model.scale, torch.ones(5))
    assert model.dof.tolist() == [[2000 - 25 - 1, 2000 - 1], [2000 - 25 - 1, 2000 - 1]]
    # least squares finds the weights and the noise that were drawn
    np.testing.assert_allclose(model.anchor.numpy(), truth["W_context"], atol=0.25)
    noise = (model.sse / model.dof).numpy()
    np.testing.assert_allclose(noise, truth["noise_variance"], rtol=5 * math.sqrt(2 / 1900))
    again, _ = design.simulate(lambda s: LinearNetwork(s, edge_prior=Normal(), targets=design.targets), seed=3)
    assert torch.equal(again.residual, model.residual)


def test_bad_designs_are_refused():
    with pytest.raises(ValueError, match="four cells"):
        LinearDesign(num_cells=5, num_contexts=2)
    with pytest.raises(ValueError, match=r"correlation in \[0, 1\)"):
        LinearDesign(correlation=1.0)
    with pytest.raises(ValueError, match="expected the targets of the design"):
        LinearDesign().simulate(lambda s: LinearNetwork(s, edge_prior=Normal()), seed=0)
    with pytest.raises(ValueError, match="at least 10"):
        simulation_based_calibration(lambda s: LinearNetwork(s), Gibbs(), num_simulations=3)


# -- guides that claim calibration ----

LEARNED = Hyper(dist.HalfNormal, 1.0)  # hubs, which are off by default
FAILURE_RATE = 1e-3  # of each of the tests below, for a guide that is right


def known(design):
    """Two signed sources on the design's axes."""
    motif = [("T0", "G0", 0.9, 1), ("T1", "G1", 0.7, -1), ("T2", "G2", 0.8, 0)]
    screen = [("T0", "G0", 0.6, 0), ("T1", "G2", 0.5, 1)]
    columns = ["source", "target", "probability", "sign"]
    tables = {"motif": motif, "screen": screen}
    return {n: PriorNetwork.from_edges(pd.DataFrame(rows, columns=columns), name=n) for n, rows in tables.items()}


def run(prior, guide, design=None, informed=False, num_draws=31, **options):
    design = design or LinearDesign()
    networks = known(design) if informed else None
    make = lambda s: LinearNetwork(s, edge_prior=prior, networks=networks, targets=design.targets)
    return simulation_based_calibration(make, guide, design=design, num_draws=num_draws, **options)


GIBBS = Gibbs(num_chains=8, num_warmup=30, num_samples=40)


def test_gibbs_is_calibrated():
    result = run(SpikeSlab(hub_scale=LEARNED), GIBBS, num_simulations=20)
    assert result.pvalue > FAILURE_RATE, result.table.to_string()
    # 180 edges: the error of probabilities that are right, from their own standard errors
    p, truth = result.inclusion.ravel(), result.present.ravel()
    table = calibration.reliability_table(p, truth, num_bins=5)
    assert np.abs((table["observed"] - table["probability"]) / table["standard_error"]).max() < 4.5


def test_blocked_is_calibrated():
    result = run(Normal(), Blocked(), num_simulations=12, num_steps=500)
    assert result.pvalue > FAILURE_RATE, result.table.to_string()
    assert result.inclusion is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prior", "design", "informed"),
    [
        pytest.param(SpikeSlab(hub_scale=LEARNED), LinearDesign(correlation=0.9), False, id="correlated"),
        pytest.param(SpikeSlab(hub_scale=LEARNED), LinearDesign(num_clamped=6), True, id="knowledge-interventions"),
        pytest.param(SpikeSlab(strategy="scale", hub_scale=LEARNED), LinearDesign(), True, id="knowledge-scale"),
        pytest.param(SpikeSlab(hub_scale=LEARNED), LinearDesign(num_contexts=2, num_cells=60), False, id="contexts"),
        pytest.param(HardMask(SpikeSlab(hub_scale=LEARNED)), LinearDesign(), True, id="hard-mask"),
    ],
)
def test_gibbs_is_calibrated_in_every_setting(prior, design, informed):
    result = run(prior, Gibbs(num_chains=8, num_warmup=60, num_samples=100), design, informed, num_simulations=100)
    assert result.pvalue > FAILURE_RATE, result.table.to_string()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prior", "design", "informed"),
    [
        pytest.param(Normal(), LinearDesign(correlation=0.9), False, id="normal-correlated"),
        pytest.param(Normal(), LinearDesign(num_clamped=6), True, id="normal-knowledge-interventions"),
        pytest.param(Horseshoe(), LinearDesign(), False, id="horseshoe"),
        pytest.param(HardMask(), LinearDesign(), True, id="hard-mask"),
    ],
)
def test_blocked_is_calibrated_in_every_setting(prior, design, informed):
    result = run(prior, Blocked(), design, informed, num_simulations=100, num_steps=1000)
    assert result.pvalue > FAILURE_RATE, result.table.to_string()


# -- and guides that are wrong ----


@dataclass(frozen=True)
class Wrong(Gibbs):
    """Gibbs with draws of W ``narrow`` times too close to their mean, moved by ``shift`` of their sd."""

    narrow: float = 1.0
    shift: float = 0.0

    def run(self, *arguments, **options):
        collector, history = super().run(*arguments, **options)
        draws = torch.stack(collector.draws["W"], dim=1)  # (chain, draw, tf, target)
        mean, sd = draws.mean((0, 1)), draws.std((0, 1))
        collector.draws["W"] = list((mean + self.shift * sd + (draws - mean) / self.narrow).unbind(1))
        return collector, history


@pytest.mark.parametrize("fault", [{"narrow": 4.0}, {"shift": 2.0}], ids=["narrow", "biased"])
def test_the_check_objects_to_a_guide_that_is_too_narrow_or_biased(fault):
    guide = Wrong(num_chains=8, num_warmup=30, num_samples=30, **fault)
    result = run(SpikeSlab(), guide, num_simulations=12, num_draws=119)
    weights = result.table[result.table["quantity"].str.startswith("W")]
    assert result.pvalue < FAILURE_RATE, result.table.to_string()
    assert weights["pvalue"].min() == result.table["pvalue"].min()
    if "narrow" in fault:
        assert weights["dispersion"].mean() > 2
        assert weights["coverage"].mean() < 0.8
    else:
        assert weights["bias"].mean() < -0.7  # draws too high: the truth ranks low


def test_the_check_objects_to_mean_field_at_high_correlation():
    """Why `MeanField` carries no badge: most of the variance it should report is missing."""
    assert not MeanField.calibrated
    design = LinearDesign(correlation=0.95, num_cells=400, num_targets=2)
    result = run(Normal(scale=1.0), MeanField(), design, num_simulations=10, num_steps=600)
    weights = result.table["quantity"].str.startswith("W")
    assert result.table.loc[weights, "pvalue"].min() * len(result.table) < FAILURE_RATE
    assert result.table.loc[weights, "dispersion"].mean() > 3

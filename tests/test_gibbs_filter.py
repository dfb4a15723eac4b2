"""The Gibbs sampler of the collaborative prior: calibrated, right in its limits, and worth it where genes share
regulators."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyrogrn.experiments.benchmarks.collaborative import simulate_modules
from pyrogrn.experiments.methods import methods
from pyrogrn.inference import Blocked, Gibbs, MeanField, calibration, default_guide, fit
from pyrogrn.inference.engines.gibbs import kernel_of
from pyrogrn.inference.gibbs.collapsed import MixtureDensity
from pyrogrn.inference.gibbs.filter import SURE, FilterKernel, collapsed, of_rows
from pyrogrn.inference.sbc import LinearDesign
from pyrogrn.models import LinearNetwork
from pyrogrn.priors import Collaborative, HardMask, Hyper, SpikeSlab
from test_calibration import FAILURE_RATE, run
from test_collaborative import motif

pytestmark = pytest.mark.usefixtures("seeded")


def test_features_are_calibrated():
    """Every site against its own prior; R-hat cannot say this, as features turn freely."""
    guide = Gibbs(num_chains=8, num_warmup=40, num_samples=60)
    result = run(Collaborative(), guide, LinearDesign(num_tfs=4, num_targets=5), num_simulations=14)
    assert result.pvalue > FAILURE_RATE, result.table.to_string()
    assert {"u_1[0]", "v_2[0]", "feature_scale", "inclusion[0,0]"} <= set(result.table["quantity"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prior", "design", "informed"),
    [
        pytest.param(Collaborative(), LinearDesign(num_tfs=4, num_targets=6, correlation=0.9), False, id="correlated"),
        pytest.param(Collaborative(feature_scale=1.0), LinearDesign(num_clamped=6), True, id="knowledge-interventions"),
        pytest.param(Collaborative(edge_probability=0.2), LinearDesign(), True, id="intercept-fixed"),
        pytest.param(HardMask(Collaborative(rank=1)), LinearDesign(num_contexts=2, num_cells=60), True, id="hard-mask"),
    ],
)
def test_features_are_calibrated_in_every_setting(prior, design, informed):
    guide = Gibbs(num_chains=8, num_warmup=60, num_samples=100)
    result = run(prior, guide, design, informed, num_simulations=40)
    assert result.pvalue > FAILURE_RATE, result.table.to_string()


def test_rows_carry_their_gradient():
    """Slope and information of the features' density against automatic differentiation."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    rows, other, offset, ratio = draw(2, 3, 2), draw(2, 5, 2), draw(2, 3, 5), 3 * draw(2, 3, 5)
    allowed, sd = (draw(3, 5) > -1).double(), torch.tensor([0.5, 2.0], dtype=torch.float64)
    rows.requires_grad_()
    density, gradient, _ = of_rows(rows, other, offset, ratio, allowed, sd)
    torch.testing.assert_close(torch.autograd.grad(density.sum(), rows)[0], gradient)
    # where every edge is surely seen, the information is the negative curvature
    seen = lambda r: of_rows(r, other, offset, torch.full_like(ratio, 1e3), allowed, sd)
    hessian = torch.autograd.functional.hessian(lambda r: seen(r)[0].sum(), rows.detach())
    for chain in range(2):
        for row in range(3):
            torch.testing.assert_close(-hessian[chain, row, :, chain, row], seen(rows.detach())[2][chain, row])
    eta = offset + rows.detach() @ other.mT
    mixture = torch.logaddexp(
        torch.nn.functional.logsigmoid(eta) + ratio, torch.nn.functional.logsigmoid(-eta)
    )  # log(π e^L + 1 − π)
    torch.testing.assert_close(collapsed(eta, ratio, allowed), mixture * allowed)


def test_without_features_it_is_the_spike_and_slab_sampler(tiny_data):
    fixed = {"edge_probability": 0.2, "slab_scale": 0.4, "spike_ratio": 0.1}
    guide = Gibbs(num_chains=16, num_warmup=40, num_samples=150)
    found = []
    for prior in (Collaborative(feature_scale=1e-3, **fixed), SpikeSlab(**fixed)):
        model = LinearNetwork.from_data(tiny_data, edge_prior=prior, networks=motif(tiny_data))
        posterior = fit(model, guide=guide)
        chains = posterior.attributes["chain_inclusion"]
        found.append((chains.mean(0), chains.std(0, ddof=1) / 4))
        assert posterior.calibrated
    (a, a_error), (b, b_error) = found
    assert np.abs(a - b).max() > 0  # two samplers, not one
    np.testing.assert_array_less(np.abs(a - b), 5 * np.hypot(a_error, b_error) + 1e-3)


def test_recommendations_help_where_genes_share_regulators():
    """Log score of the true edges against spike and slab, and a scale that does not collapse as in a variational
    fit."""
    gain = []
    for seed in (1, 2):
        data, present, genes = simulate_modules(seed)
        fits = {}
        for name, prior in (("filter", Collaborative()), ("plain", SpikeSlab())):
            model = LinearNetwork.from_data(data, edge_prior=prior, targets=genes)
            fits[name] = fit(model, guide=Gibbs(num_warmup=100, num_samples=150), seed=seed)
        score = {n: calibration.log_score(p.moments["W"].inclusion.ravel(), present.ravel()) for n, p in fits.items()}
        gain.append(score["plain"] - score["filter"])
        assert fits["filter"].draws["feature_scale"].mean() > 0.6
    assert min(gain) > 0.003


def test_float32_keeps_the_sums_that_decide(tiny_data):
    """Weights of millions of spikes' width: the likelihood ratio is 1e6, what a move changes is 1."""
    generator = torch.Generator().manual_seed(0)
    W = 0.3 * torch.randn(1, 30, 300, generator=generator, dtype=torch.float64)
    eta, slab, ratio = torch.tensor([-1.0]), torch.tensor([0.3]), torch.tensor([2e-4])
    change = {}
    for dtype in (torch.float32, torch.float64):
        none = torch.zeros(1, 1, 1, dtype=dtype)
        density = MixtureDensity(W.to(dtype), none, none + 1, None, torch.ones(30, 300, dtype=dtype))
        before, after = (density(*(h.to(dtype) for h in (eta + d, slab, ratio)))[0] for d in (0.0, 0.01))
        odds = density(eta.to(dtype), slab.to(dtype), ratio.to(dtype))[1]
        assert float(odds.max()) > 1e6
        seen = (odds - eta.to(dtype)).clamp(max=SURE)
        moved = [collapsed((eta + d).to(dtype).expand_as(seen), seen, density.allowed) for d in (0.0, 0.01)]
        change[dtype] = torch.stack([(after - before).double().sum(), (moved[1] - moved[0]).double().sum()])
    torch.testing.assert_close(change[torch.float32], change[torch.float64], rtol=1e-3, atol=0.02)
    assert change[torch.float64].abs().min() > 1


@pytest.mark.parametrize("family", [dist.Uniform(0.0, 0.2), dist.Uniform(1.0, 3.0), dist.Beta(1.0, 1.0)])
def test_a_bounded_scale_of_features_stays_inside(family, tiny_data):
    names = [name for name in ("low", "high", "concentration1", "concentration0") if hasattr(family, name)]
    hyper = Hyper(type(family), *(float(getattr(family, name)) for name in names))
    model = LinearNetwork.from_data(tiny_data, edge_prior=Collaborative(feature_scale=hyper))
    scale = fit(model, guide=Gibbs(num_chains=4, num_warmup=20, num_samples=40)).draws["feature_scale"]
    assert family.support.check(torch.as_tensor(scale)).all()
    assert (scale.std(1) > 0).all()


def test_an_interrupted_chain_goes_on_to_the_same_numbers(tiny_data):
    make = lambda: FilterKernel(
        LinearNetwork.from_data(tiny_data, edge_prior=Collaborative(), networks=motif(tiny_data)), num_chains=2, seed=4
    )
    kernel = make()
    kernel.setup(5)
    state, middle = kernel.initial_params, None
    for step in range(10):
        state = kernel.sample(state)
        if step == 5:
            middle = kernel.snapshot(state)
    again = make()
    again.setup(5)
    resumed = again.restore(middle)
    for _ in range(4):
        resumed = again.sample(resumed)
    assert all(torch.equal(resumed[name], state[name]) for name in state)


def test_it_is_chosen_where_it_is_exact_and_refused_elsewhere(tiny_data):
    model = LinearNetwork.from_data(tiny_data, edge_prior=Collaborative())
    assert kernel_of(model) is FilterKernel
    assert isinstance(default_guide(model), Gibbs)
    scaled = LinearNetwork.from_data(tiny_data, edge_prior=Collaborative(strategy="scale"))
    assert isinstance(default_guide(scaled), Blocked)
    with pytest.raises(ValueError, match="strategy 'inclusion', this is Collaborative with 'scale'"):
        fit(scaled, guide=Gibbs(1, 1, 1))
    assert not fit(model, guide=MeanField(), num_steps=3, num_draws=2, restarts=1, jit=False).calibrated
    masked = LinearNetwork.from_data(
        tiny_data, edge_prior=HardMask(Collaborative(strategy="scale")), networks=motif(tiny_data)
    )
    assert not fit(masked, guide=Blocked(), num_steps=3, num_draws=2, restarts=1, jit=False).calibrated
    table = methods()
    rows = table[(table["edge_prior"] == "Collaborative") & (table["guide"] == "gibbs")].set_index("method")
    assert rows.loc["linear", "calibrated"]
    assert not rows.loc["trajectory", "calibrated"]
    assert "symphony" not in rows.index

"""The collaborative prior: its log-odds, the gate summed out, the closed form, and modules of genes that it finds."""

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from pyrogrn.experiments.benchmarks.collaborative import simulate_modules
from pyrogrn.inference import Blocked, MeanField, fit
from pyrogrn.inference.variational.elbo import log_joint
from pyrogrn.models import LinearNetwork
from pyrogrn.priors import Collaborative, HardMask, Hyper, Normal, PriorNetwork, SpikeSlab
from sklearn.metrics import roc_auc_score

pytestmark = pytest.mark.usefixtures("seeded")


def motif(data, probability=0.8):
    pairs = [(data.tfs[0], data.genes[4]), (data.tfs[1], data.genes[5])]
    frame = pd.DataFrame(pairs, columns=["source", "target"]).assign(probability=probability)
    return {"motif": PriorNetwork.from_edges(frame, name="motif")}


def values_of(model, seed=0):
    """Every continuous site at a random place, ``(1, *plates)``."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(1, *shape, generator=generator, dtype=torch.float64)
    tfs, targets = len(model.tfs), len(model.targets)
    values = {"W": 0.3 * draw(tfs, targets), "noise_variance": 0.5 + draw(1, targets).square()}
    for r in (1, 2):
        values |= {f"u_{r}": draw(tfs, 1), f"v_{r}": draw(1, targets)}
    return values | {"trust": draw(1, 1, 1).abs()}


FIXED = {"feature_scale": 0.7, "edge_probability": 0.2, "slab_scale": 0.4, "spike_ratio": 0.1, "scale": 0.3}


def test_the_gate_is_summed_out_exactly(tiny_data):
    """log p against the two-component mixture written out, edge by edge."""
    model = LinearNetwork.from_data(tiny_data, edge_prior=Collaborative(**FIXED), networks=motif(tiny_data)).double()
    values = values_of(model)
    found = log_joint(model, values, None, 1)[0]
    plain = LinearNetwork.from_data(tiny_data, edge_prior=Normal(scale=1.0)).double()
    likelihood = log_joint(plain, {n: values[n] for n in ("W", "noise_variance")}, None, 1)[0]
    likelihood = likelihood - dist.Normal(0.0, 1.0).log_prob(values["W"]).sum()
    recommended = sum(values[f"u_{r}"] * values[f"v_{r}"] for r in (1, 2))
    logit = np.log(0.2 / 0.8) + values["trust"][..., 0] * model.edge_prior.probability[0] + recommended
    slab, spike = dist.Normal(0.0, 0.4).log_prob(values["W"]), dist.Normal(0.0, 0.04).log_prob(values["W"])
    mixture = torch.logaddexp(
        torch.nn.functional.logsigmoid(logit) + slab, torch.nn.functional.logsigmoid(-logit) + spike
    )
    prior = dist.HalfNormal(3.0).log_prob(values["trust"]).sum()
    for r in (1, 2):
        prior = prior + dist.Normal(0.0, 1.0).log_prob(values[f"u_{r}"]).sum()
        prior = prior + dist.Normal(0.0, 0.7).log_prob(values[f"v_{r}"]).sum()
    torch.testing.assert_close(found, (likelihood + mixture.sum() + prior).reshape(1), rtol=1e-5, atol=1e-3)
    odds = logit + slab - spike
    inclusion = model.edge_prior.inclusion(values)
    torch.testing.assert_close(inclusion, torch.sigmoid(odds) * model.edge_prior.allowed)


def test_the_scale_is_the_conditional_that_blocked_draws_from(tiny_data):
    prior = Collaborative(strategy="scale", **FIXED)
    model = LinearNetwork.from_data(tiny_data, edge_prior=prior, networks=motif(tiny_data)).double()
    assert model.edge_prior.conditionally_gaussian
    values = values_of(model)
    loc, scale = model.edge_prior.gaussian(values)
    recommended = sum(values[f"u_{r}"] * values[f"v_{r}"] for r in (1, 2))
    evidence = values["trust"][..., 0] * model.edge_prior.probability[0] + recommended
    torch.testing.assert_close(scale, 0.3 * (0.5 * evidence).exp())
    assert float(loc.abs().max()) == 0
    W = values["W"]
    moved = values | {"W": W + 0.1}
    allowed = model.edge_prior.allowed
    block = model.conditional("W", values)  # p(W | rest): its density differs from the joint by a constant
    step = torch.where(allowed, W + 0.1, W)
    values, moved = values | {"W": W}, values | {"W": step}
    difference = float(log_joint(model, moved, None, 1)[0] - log_joint(model, values, None, 1)[0])

    def density(weights):
        gap = (weights.transpose(-1, -2) - block.mean)[..., None]
        return -0.5 * (block.factor.transpose(-1, -2) @ gap).square().sum()

    assert difference == pytest.approx(float(density(step) - density(W)), rel=1e-3, abs=1e-2)


def test_modules_of_genes_are_found():
    """Edges between regulators and genes of one module recommend each other, in either strategy."""
    data, present, genes = simulate_modules(0)
    for prior, guide in (
        (Collaborative(strategy="scale", feature_scale=1.0), Blocked()),
        (Collaborative(feature_scale=1.0), MeanField(spread=0.5)),
    ):
        model = LinearNetwork.from_data(data, edge_prior=prior, targets=genes)
        posterior = fit(model, guide=guide, num_steps=150, num_draws=20, restarts=1)
        draws = {n: torch.as_tensor(v[0]) for n, v in posterior.draws.items() if n[:2] in ("u_", "v_")}
        laid = {n: v[..., None] if n[0] == "u" else v[:, None, :] for n, v in draws.items()}
        recommended = model.edge_prior.recommendation(laid).mean(0).numpy()
        assert roc_auc_score(present.ravel(), recommended.ravel()) > 0.65


def test_without_features_it_is_spike_and_slab(tiny_data):
    """τ → 0: the same density as `SpikeSlab` but for that of the features."""
    fixed = {"edge_probability": 0.2, "slab_scale": 0.4, "spike_ratio": 0.1}
    one = LinearNetwork.from_data(tiny_data, edge_prior=Collaborative(feature_scale=1e-6, **fixed)).double()
    other = LinearNetwork.from_data(tiny_data, edge_prior=SpikeSlab(**fixed)).double()
    values = {n: v for n, v in values_of(one).items() if n != "trust"}
    values |= {f"v_{r}": 1e-6 * values[f"v_{r}"] for r in (1, 2)}
    features = sum(
        dist.Normal(0.0, 1.0).log_prob(values[f"u_{r}"]).sum() + dist.Normal(0.0, 1e-6).log_prob(values[f"v_{r}"]).sum()
        for r in (1, 2)
    )
    a = log_joint(one, values, None, 1)[0] - features
    b = log_joint(other, {n: values[n] for n in ("W", "noise_variance")}, None, 1)[0]
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(
    "make",
    [lambda: Collaborative(), lambda: Collaborative(strategy="scale"), lambda: HardMask(Collaborative(rank=1))],
)
def test_it_is_fitted(make, tiny_data):
    model = LinearNetwork.from_data(tiny_data, edge_prior=make(), networks=motif(tiny_data))
    posterior = fit(model, guide=MeanField(), num_steps=20, num_draws=6, restarts=2)
    for name, dims in model.dims.items():
        if name != "inclusion":  # summed out
            assert posterior.draws[name].shape == (2, 6, *(len(model.coords[d]) for d in dims)), name
    assert posterior.edges()["inclusion"].between(0, 1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"rank": 0}, "`rank` is 0"), ({"rank": 1.5}, "`rank` is 1.5"), ({"spike_ratio": 1.5}, "`spike_ratio` is 1.5")],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Collaborative(**options)
    with pytest.raises(ValueError, match="not by 'mask'"):
        Collaborative(strategy="mask")
    assert not Collaborative(strategy="inclusion", feature_scale=Hyper(dist.HalfNormal, 2.0)).conditionally_gaussian

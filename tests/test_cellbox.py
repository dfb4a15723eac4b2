"""CellBox: the two solvers, the node rules, what a fit finds and predicts, and what is refused."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.experiments.benchmarks import cellbox as benchmark
from pyrogrn.experiments.report.networks import write_report
from pyrogrn.inference import NUTS, Adam, MapEstimate, MeanField, NeverStop, fit
from pyrogrn.inference.datatree import prior_draws
from pyrogrn.inference.engines import nuts
from pyrogrn.inference.variational.elbo import log_joint
from pyrogrn.models import ExpressionData
from pyrogrn.models.cellbox import UNSETTLED, CellBox, perron_root
from pyrogrn.models.dynamics.dynamics import Dynamics
from pyrogrn.models.dynamics.settle import SETTLED
from pyrogrn.priors import EdgeKnowledge, Laplace, Normal, PriorNetwork

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "cellbox_melanoma"
NODES = ("P0", "P1", "P2", "P3", "cells", "aX", "aY", "aZ")
KINDS = {"cells": "phenotype", "aX": "drug_activity", "aY": "drug_activity", "aZ": "drug_activity"}
NARROW = {"spread": 0.001}


def truth():
    """Weights (node, node) of a small cascade, and inputs (condition, node): singles at two doses, pairs."""
    W = torch.zeros(8, 8, dtype=torch.float64)
    for source, target, weight in (
        ("aX", "P0", 1.2),
        ("aY", "P1", -0.8),
        ("aZ", "P0", 1.0),
        ("P0", "P2", 0.5),
        ("P2", "cells", 0.4),
        ("aY", "cells", 0.9),
    ):
        W[NODES.index(source), NODES.index(target)] = weight
    doses = [(a, b, c) for a in (0, -0.5, -1) for b in (0, -0.5, -1) for c in (0, -0.7) if (a, b, c) != (0, 0, 0)]
    inputs = torch.zeros(len(doses), 8, dtype=torch.float64)
    inputs[:, 5:] = torch.tensor(doses, dtype=torch.float64)
    return W, inputs


def simulated(noise=0.02):
    W, inputs = truth()
    x = torch.zeros_like(inputs)
    for _ in range(200):  # no cycles: a few steps suffice
        x = torch.tanh(x @ W + inputs)
    x = x + noise * torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    frame = pd.DataFrame(x.numpy(), columns=list(NODES))
    return ExpressionData.from_frame(frame).with_inputs(pd.DataFrame(inputs.numpy(), columns=list(NODES)))


def draws_of(model, size, num_draws=3):
    generator = torch.Generator().manual_seed(1)
    return {
        "W": size * torch.randn(num_draws, len(model.tfs), len(model.targets), generator=generator),
        "log_gain": 0.3 * torch.randn(num_draws, len(NODES), generator=generator),
        "log_decay": 0.3 * torch.randn(num_draws, len(NODES), generator=generator),
    }


def test_node_rules_are_in_the_axes():
    model = CellBox.from_data(simulated(), kinds=KINDS, classes={"all drugs": ["aX", "aY", "aZ"]})
    assert model.tfs == ("P0", "P1", "P2", "P3", "aX", "aY", "aZ", "all drugs")  # phenotypes send none
    assert model.targets == NODES[:5]  # drug nodes receive none
    assert not model.edge_prior.allowed.diagonal()[:4].any()
    draws = draws_of(model, 0.3, 1)
    draws["W"] *= model.edge_prior.allowed
    system = model.dynamics(*(draws[n] for n in ("W", "log_gain", "log_decay")))
    assert system.W.shape == (1, 8, 8)
    assert not system.W[0, :, 5:].any()
    assert not system.W[0, 4].any()
    # the edges of a class are added to those of its members
    found = system.W[0, 5, :5]
    torch.testing.assert_close(found, (draws["W"][0, 4] + draws["W"][0, 7]).double())


def test_the_two_solvers_agree_in_values_and_gradients():
    data = simulated()
    model = CellBox.from_data(data, kinds=KINDS)
    draws = draws_of(model, 0.25)
    states, slopes = [], []
    for solver in ("fixed-point", "ode"):
        values = {n: v.double().requires_grad_() for n, v in draws.items()}
        system = model.dynamics(values["W"] * model.edge_prior.allowed, values["log_gain"], values["log_decay"])
        x, outcome = model.solve(system, data.inputs, solver=solver)
        assert (outcome == SETTLED).all()
        (x * torch.arange(8)).sum().backward()
        states.append(x.detach())
        slopes.append([values[n].grad for n in draws])
    torch.testing.assert_close(*states, atol=1e-4, rtol=0)
    for ours, reference in zip(*slopes, strict=True):
        torch.testing.assert_close(ours, reference, atol=1e-3, rtol=1e-4)


def test_root_is_the_largest_eigenvalue_and_has_its_gradient():
    generator = torch.Generator().manual_seed(2)
    W = torch.randn(2, 6, 6, generator=generator, dtype=torch.float64)
    W.diagonal(dim1=-2, dim2=-1).zero_()
    one = torch.ones(2, 6, dtype=torch.float64)

    def root(W):
        return perron_root(Dynamics(W=W, gain=2 * one, decay=one, bias=0 * one, envelope="tanh"), steps=200)

    exact = torch.linalg.eigvals(2 * W.abs()).abs().amax(-1)
    torch.testing.assert_close(root(W), exact, atol=1e-4, rtol=0)
    W.requires_grad_()
    (slope,) = torch.autograd.grad(root(W).sum(), W)
    step = torch.zeros_like(W)
    step[0, 1, 2] = 1e-4
    with torch.no_grad():
        difference = (root(W + step) - root(W - step)).sum() / 2e-4
    assert slope[0, 1, 2].item() == pytest.approx(difference.item(), rel=1e-3)


def test_likelihood_is_gaussian_around_the_steady_state_and_finite_without_one():
    data = simulated()
    model = CellBox.from_data(data, kinds=KINDS, edge_prior=Normal(scale=0.1)).double()
    settled, unsettled = ({n: v.double() for n, v in draws_of(model, s, 1).items()} for s in (0.1, 0.0))
    unsettled["W"][0, [0, 1, 2], [1, 2, 0]] = torch.tensor([9.0, 9.0, -9.0], dtype=torch.float64)  # a ring oscillator
    for draws, count in ((settled, 0), (unsettled, None)):
        values = {n: v[:, None] if n != "W" else v for n, v in draws.items()}
        values |= {"noise": torch.full((1, 1, 8), 0.3), "trust": torch.full((1, 1, 1, 1), 2.0)}
        total, trace = log_joint(model, values, None, 1)
        assert torch.isfinite(total).all()
        W = draws["W"] * model.edge_prior.allowed
        x, outcome = model.solve(model.dynamics(W, draws["log_gain"], draws["log_decay"]), model.inputs)
        missed = int((outcome != SETTLED).sum())
        assert missed == count if count is not None else missed > 0
        expected = torch.distributions.Normal(x, 0.3).log_prob(model.X)[outcome == SETTLED].sum() if missed < 17 else 0
        found = trace.nodes["X"]["log_prob"].sum() + trace.nodes["unsettled"]["log_prob"].sum()
        assert float(found) == pytest.approx(float(expected) - UNSETTLED * 8 * missed, rel=1e-6)


def test_map_finds_the_edges_and_predicts_a_pair():
    data = simulated()
    both = ((data.inputs[:, 5] != 0) & (data.inputs[:, 6] != 0)).numpy()
    model = CellBox.from_data(data.subset(np.flatnonzero(~both)), kinds=KINDS, edge_prior=Laplace(scale=0.1))
    guide = MapEstimate(spread=0.001)
    posterior = fit(
        model, guide=guide, jit=False, restarts=2, num_steps=150, num_draws=1, optimizer=Adam(lr=0.08), stop=NeverStop()
    )
    x, outcome = model.predict(posterior.draws, data.inputs[torch.as_tensor(both)])
    assert x.shape == (2, int(both.sum()), 8)
    assert (outcome == SETTLED).all()
    assert np.corrcoef(x[0].numpy().ravel(), data.X[torch.as_tensor(both)].numpy().ravel())[0, 1] > 0.98
    table = posterior.edges().set_index(["source", "target"])["weight"]
    assert table["P0", "P2"] > 0.1


def test_a_drug_never_seen_has_the_effect_of_its_class_and_wide_intervals():
    data = simulated()
    seen = np.flatnonzero((data.inputs[:, 7] == 0).numpy())
    new = torch.zeros(1, 8)
    new[0, 7] = -0.7
    spread, effect = {}, {}
    for name, classes in (("class", {"MAPK": ["aX", "aZ"]}), ("none", {})):
        model = CellBox.from_data(data.subset(seen), kinds=KINDS, classes=classes)
        guide = MeanField(init_scale=0.01, **NARROW)
        posterior = fit(
            model,
            guide=guide,
            jit=False,
            restarts=1,
            num_steps=200,
            num_draws=200,
            optimizer=Adam(lr=0.06),
            stop=NeverStop(),
        )
        x = model.predict(posterior.draws, new).x[:, 0].numpy()
        effect[name], spread[name] = x[:, 0].mean(), x[:, 0].std()
    assert effect["class"] < effect["none"] - 0.1  # aX lowers P0
    assert spread["none"] > 0.03


def test_what_the_model_makes_itself_is_not_called_prior_knowledge_that_was_given(tmp_path):
    """Edges of drugs are told apart by a source of the model's own; who gave none reads of none."""
    given = PriorNetwork.from_edges(
        pd.DataFrame({"source": ["P0"], "target": ["P2"], "probability": [0.9]}), name="own"
    )
    for networks, number in (({}, 0), ({"pathways": given}, 1)):
        model = CellBox.from_data(simulated(), kinds=KINDS, networks=networks)
        guide = MeanField(init_scale=0.01, **NARROW)
        posterior = fit(model, guide=guide, jit=False, restarts=1, num_steps=20, num_draws=20, stop=NeverStop())
        edges = posterior.edges().set_index(["source", "target"])
        assert edges.loc["aX", "prior"].max() == 0
        assert edges.loc[("P0", "P2"), "prior"] == pytest.approx(0.9 if networks else 0)
        checks = posterior.diagnose()
        support = [name for name in checks["check"] if name.startswith("prior knowledge")]
        assert support == (["prior knowledge: pathways"] if networks else ["prior knowledge"])
        between = checks.set_index("check").loc["edges between regulators", "value"]
        assert not between > 0.5  # nothing acts on a drug: the direction of its edges is known
        reports = model.given_reports
        assert set(model.knowledge.reports) == {"drugs", *networks}
        assert list(reports) == list(networks) == posterior.trust()["source"].tolist()
        write_report(posterior, tmp_path / "r.html", diagnostics=checks, alignment=reports, command="pyrogrn infer")
        text = (tmp_path / "r.html").read_text()
        assert f"<strong>{number}</strong><span>sources of prior knowledge</span>" in text
        assert ("No prior knowledge was given" in text) is not bool(networks)
        assert ("What is each source of knowledge worth?" in text) is bool(networks)
        assert "“drugs” is no source that was given" in text
        assert "existence and sign together" not in text  # no prior of this one takes an effect for absent


def test_state_rebuilds_the_model():
    model = CellBox.from_data(simulated(), kinds=KINDS, solver="ode")
    buffers = dict(model.named_buffers(recurse=False))
    again = CellBox.from_state(
        model.to_state(), knowledge=model.knowledge, edge_prior=Laplace(scale=0.1), buffers=buffers
    )
    draws = draws_of(model, 0.2)
    assert again.solver == "ode"
    assert again.coords == model.coords
    assert again.dims == model.dims
    torch.testing.assert_close(again.predict(draws, model.inputs).x, model.predict(draws, model.inputs).x)
    assert isinstance(again.knowledge, EdgeKnowledge)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "euler"}, "`solver` is 'euler'"),
        ({"kinds": {"nobody": "phenotype"}}, "nobody"),
        ({"classes": {"P": ["P0"]}}, "expected nodes of kind"),
        ({"classes": {"P0": ["aX"]}}, "give the classes other names"),
        ({"networks": {"drugs": None}}, "give it another name"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CellBox.from_data(simulated(), **{"kinds": KINDS, **options})


def test_data_without_inputs_and_tracing_are_refused(monkeypatch):
    data = simulated()
    bare = ExpressionData(data.X, data.genes)
    with pytest.raises(ValueError, match="needs inputs that act"):
        CellBox.from_data(bare)
    model = CellBox.from_data(data, kinds=KINDS)
    fit(model, guide=MapEstimate(), num_steps=2, num_draws=1, restarts=1)  # not traced, though `jit` is on
    with monkeypatch.context() as patch:
        patch.setattr(torch.jit, "is_tracing", lambda: True)
        with pytest.raises(ValueError, match="cannot be traced"):
            model()
    with pytest.raises(ValueError, match="the batch has no inputs"):
        model(bare)
    with pytest.raises(ValueError, match=r"expected \(condition, 8\)"):
        model.predict(draws_of(model, 0.1), torch.zeros(3, 7))


def test_nuts_takes_a_model_that_cannot_be_traced(monkeypatch):
    """Its energies are those of the model as it is, and a trajectory that leaves the numbers is rejected."""
    data = simulated()
    model = CellBox.from_data(data, kinds=KINDS)
    monkeypatch.setattr(
        nuts, "PyroNUTS", partial(nuts.PyroNUTS, max_tree_depth=1, step_size=0.01, adapt_step_size=False)
    )
    posterior = fit(model, guide=NUTS(num_chains=1, num_warmup=2, num_samples=4))
    assert np.isfinite(posterior.draws["W"]).all()
    assert len(np.unique(posterior.draws["W"][0, :, 0])) > 1
    monkeypatch.setattr(nuts, "PyroNUTS", partial(nuts.PyroNUTS, step_size=1e4))
    stays = fit(model, guide=NUTS(num_chains=1, num_warmup=1, num_samples=3, spread=0.01)).draws["W"][0]
    assert np.isfinite(stays).all()
    assert (stays == stays[0]).all()


def test_prior_networks_enter():
    edges = pd.DataFrame({"source": ["P0"], "target": ["P2"], "probability": [0.9], "sign": [1]})
    network = PriorNetwork.from_edges(edges, name="pathways")
    model = CellBox.from_data(simulated(), kinds=KINDS, networks={"pathways": network})
    assert model.knowledge.sources == ("drugs", "pathways")
    assert model.dims["sign_trust"] == ("signed_source",)


def test_splits_of_the_benchmark_hold_out_what_they_say():
    if not DATA.is_dir():
        pytest.skip("the melanoma data are not here")
    study = benchmark.Study.read(DATA)
    assert study.X.shape == (67, 99)
    assert int(study.activity.sum()) == 12
    found = benchmark.splits(study)
    assert sum(task == benchmark.WITHOUT for task, _, _ in found) == 12
    for task, name, train in found:
        drugs = [study.drugs[i] for i in np.flatnonzero(train)]
        if task == benchmark.WITHOUT:
            assert not any(name in of for of in drugs)
        elif task == benchmark.WITH:
            assert all(name not in of or len(of) == 1 for of in drugs)
        elif task == benchmark.COMBINE:
            assert train.sum() == 23
            assert all(len(of) == 1 for of in drugs)
    task, _, train = next(s for s in found if s[0] == benchmark.COMBINE)
    result = benchmark.scores(study, ~train, benchmark.ridge(study, train), None)
    assert result["Pearson"] > 0.92


def test_draws_from_the_prior_solve_for_no_steady_state(monkeypatch):
    model = CellBox.from_data(simulated(), kinds=KINDS)
    expected = {site for site, dims in model.dims.items() if "tf" not in dims}
    monkeypatch.setattr(CellBox, "solve", lambda *_, **__: pytest.fail("it was solved"))
    drawn = prior_draws(model, num_draws=30)
    assert set(drawn) == expected
    assert all(value.shape[:2] == (1, 30) and (value[0, 0] != value[0, 1]).any() for value in drawn.values())

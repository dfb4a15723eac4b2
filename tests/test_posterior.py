"""The edge table and predictions of a posterior."""

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.inference import EDGE_COLUMNS, Blocked, Gibbs, MapEstimate, Posterior, fit
from pyrogrn.models import ExpressionData, LinearNetwork
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import HardMask, Normal, PriorNetwork


@pytest.fixture(scope="module")
def simulation():
    return simulate_linear(num_genes=25, num_tfs=6, num_cells=300, edge_probability=0.3, num_perturbed=2, seed=3)


@pytest.fixture(scope="module")
def posterior(simulation) -> Posterior:
    return fit(
        LinearNetwork.from_data(simulation.data), guide=Gibbs(num_chains=2, num_warmup=60, num_samples=80), seed=1
    )


def test_edge_table_is_complete_and_sorted(posterior):
    table = posterior.edges()
    assert tuple(table.columns) == EDGE_COLUMNS
    assert len(table) == 6 * 25 - 6  # no self-edges
    assert not (table["source"] == table["target"]).any()
    assert not table.duplicated(["source", "target"]).any()
    rounded = table["inclusion"].round(2).to_numpy()
    assert (np.diff(rounded) <= 0).all()
    ties = np.diff(rounded) == 0
    assert (np.diff(table["weight"].abs().to_numpy())[ties] <= 1e-12).all()


def test_columns_agree_with_the_draws(posterior):
    table = posterior.edges(level=0.8)
    row = table.iloc[3]
    t, g = posterior.coords["tf"].index(row["source"]), posterior.coords["target"].index(row["target"])
    draws = posterior.draws["W"][:, :, t, g].ravel()
    assert row["weight"] == pytest.approx(draws.mean(), abs=1e-4)
    assert row["sd"] == pytest.approx(draws.std(), rel=1e-3)
    assert row["lower"] == pytest.approx(np.quantile(draws, 0.1), abs=1e-5)
    assert row["upper"] == pytest.approx(np.quantile(draws, 0.9), abs=1e-5)
    gate = posterior.draws["inclusion"][:, :, t, g].ravel()
    # the table averages P(γ = 1 | rest), the draws are of γ: equal up to Monte Carlo error of 160 draws
    assert row["inclusion"] == pytest.approx(gate.mean(), abs=4 * 0.5 / np.sqrt(len(gate)))
    assert row["lfsr"] == pytest.approx(1 - row["inclusion"] * row["sign_probability"], abs=1e-3)


def test_fdr_keeps_the_largest_set_below_the_rate(posterior):
    whole = posterior.edges()
    inward = whole["target"].isin(posterior.coords["tf"])  # without direction, unless both ends were perturbed: links
    perturbed = {posterior.coords["target"][i] for i in posterior.model.own.tolist()}
    whole = whole[~inward | (whole["source"].isin(perturbed) & whole["target"].isin(perturbed))]
    for fdr in (0.01, 0.1, 0.3):
        kept = posterior.edges(fdr=fdr)
        assert (1 - kept["inclusion"]).mean() <= fdr
        best = np.sort(1 - whole["inclusion"].to_numpy())
        largest = int((np.cumsum(best) / np.arange(1, len(best) + 1) <= fdr).sum())
        assert len(kept) == largest


def test_hard_mask_lists_only_its_edges(simulation):
    network = PriorNetwork.from_edges(simulation.network[["source", "target"]].head(5), name="half")
    model = LinearNetwork.from_data(simulation.data, edge_prior=HardMask(Normal()), networks={"half": network})
    table = fit(model, guide=MapEstimate(), restarts=1, num_steps=50).edges()
    assert set(zip(table["source"], table["target"], strict=True)) == set(
        zip(network.source, network.target, strict=True)
    )


def test_sample_keeps_sites_of_one_draw_together(posterior):
    drawn = posterior.sample(20, seed=2)
    flat = posterior.draws["W"].reshape(-1, 6, 25)
    slab = posterior.draws["slab_scale"].reshape(-1)
    for W, scale in zip(drawn["W"], drawn["slab_scale"], strict=True):
        index = int(np.flatnonzero((flat == W).all((1, 2)))[0])
        assert slab[index] == scale


def test_knockout_is_the_steady_state_of_the_mean_network(simulation, posterior):
    gene = "G0000"
    table = posterior.predict(knockout=[gene]).set_index("gene")
    assert table.loc[gene, "mean"] == pytest.approx(0.0, abs=1e-5)
    assert (table["settled"] == 1).all()
    names, data = posterior.coords["target"], simulation.data
    cells = data.perturbed[data.perturbed[:, 1] == 0][:, 0]
    seen = data.X[cells].mean(0).numpy()
    # the truth at the same intervention, from the cells in which it was made: 50 cells, so a standard error of about
    # sd/7
    error = (table.loc[names, "mean"].to_numpy() - seen) / (data.X.std(0).numpy() / np.sqrt(len(cells)))
    assert np.median(np.abs(error)) < 3


def test_overexpression_and_knockout_pull_apart(posterior):
    up = posterior.predict(overexpress={"G0001": 9.0}).set_index("gene")
    down = posterior.predict(knockout=["G0001"]).set_index("gene")
    change_up, change_down = up["mean"] - up["control"], down["mean"] - down["control"]
    moved = change_up.abs() > 0.5
    assert moved.sum() > 1
    assert (np.sign(change_up[moved]) == -np.sign(change_down[moved])).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to predict"),
        ({"knockout": ["G0020"]}, "not among the 6 regulators"),
        ({"knockout": ["G0001"], "overexpress": {"G0001": 2.0}}, "clamped twice"),
        ({"knockout": ["G0001"], "context": "liver"}, "no context"),
    ],
)
def test_bad_predictions_are_refused(posterior, options, message):
    with pytest.raises(ValueError, match=message):
        posterior.predict(**options)


@pytest.mark.parametrize("options", [{"level": 1.0}, {"fdr": 0.0}, {"context": "liver"}])
def test_bad_tables_are_refused(posterior, options):
    with pytest.raises(ValueError, match=r"expected|no context"):
        posterior.edges(**options)


def test_contexts_have_their_own_tables():
    simulation = simulate_linear(
        num_genes=12, num_tfs=4, num_cells=400, edge_probability=0.4, num_contexts=2, context_scale=0.3, seed=5
    )
    posterior = fit(LinearNetwork.from_data(simulation.data), guide=Gibbs(num_chains=2, num_warmup=60, num_samples=60))
    first, second = (posterior.edges(context=c).set_index(["source", "target"]) for c in simulation.data.context_names)
    shared = posterior.edges().set_index(["source", "target"])
    # each context has its own edges, and most of them in common
    tables = [table["inclusion"].sort_index() for table in (first, second, shared)]
    assert not tables[0].equals(tables[1])
    assert np.abs(tables[0] - tables[1]).median() < 0.2
    around = LinearNetwork.from_data(simulation.data, differences="normal")
    plain = fit(around, guide=Gibbs(num_chains=2, num_warmup=5, num_samples=5))
    one, all_share = (plain.edges(context=c).set_index(["source", "target"]) for c in ("context0", None))
    assert one["inclusion"].equals(all_share["inclusion"].loc[one.index])
    truth = simulation.W.numpy()
    present = simulation.present.numpy()
    estimate = posterior.moments["W_context"].mean
    apart = (truth[0] - truth[1])[present]
    assert np.corrcoef(apart, (estimate[0] - estimate[1])[present])[0, 1] > 0.5
    assert not np.allclose(first["weight"].sort_index(), second["weight"].sort_index())


def test_fit_leaves_the_generators_alone(simulation):
    before = torch.get_rng_state()
    fit(LinearNetwork.from_data(simulation.data), guide=Gibbs(num_chains=1, num_warmup=2, num_samples=2), seed=7)
    fit(LinearNetwork.from_data(simulation.data), guide=MapEstimate(), restarts=1, num_steps=3, seed=7)
    assert torch.equal(torch.get_rng_state(), before)


def test_predictions_start_from_undisturbed_cells():
    """A → B → C with B knocked out in half of the cells: the state without intervention is not the mean of all
    cells."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4000, 3, generator=generator)
    A = 5 + noise[:, 0]
    B = 2 + 1.0 * A + 0.5 * noise[:, 1]
    B[2000:] = 0.0
    C = 1 + 1.0 * B + 0.5 * noise[:, 2]
    labels = ["control"] * 2000 + ["B"] * 2000
    data = ExpressionData(torch.stack([A, B, C], dim=1), ("A", "B", "C"), ("A", "B")).annotated(perturbed=labels)
    # only edges that exist: reversed ones would be another network
    network = PriorNetwork.from_edges(pd.DataFrame({"source": ["A", "B"], "target": ["B", "C"]}), name="chain")
    model = LinearNetwork.from_data(data, edge_prior=HardMask(Normal()), networks={"chain": network})
    table = fit(model, guide=Blocked(), restarts=1, num_steps=300).predict(knockout=["A"]).set_index("gene")
    assert table.loc["B", "control"] == pytest.approx(7, abs=0.15)
    assert table.loc["C", "control"] == pytest.approx(8, abs=0.15)
    assert table.loc["B", "mean"] == pytest.approx(2, abs=0.3)
    assert table.loc["C", "mean"] == pytest.approx(3, abs=0.3)

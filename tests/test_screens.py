"""Perturbation screens as prior networks."""

from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.experiments.files.readers import read_expression
from pyrogrn.models import ExpressionData
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import PriorNetwork, screens
from pyrogrn.priors.screens import _prior_degrees, _two_groups, screen_effects, screen_to_network
from scipy import stats

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def screen(effect, *, cells=60, controls=120, genes=40, seed=0, spread=1.0):
    """Perturbation ``P`` moves the first genes by ``effect`` (array), ``Q`` none; cells and labels."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(controls + 2 * cells, genes)) * spread
    X[controls : controls + cells, : len(effect)] += effect
    labels = ["control"] * controls + ["P"] * cells + ["Q"] * cells
    return ExpressionData(torch.tensor(X, dtype=torch.float32), tuple(f"G{i}" for i in range(genes))), labels


@pytest.mark.parametrize("prior", [0.0, np.inf])
def test_effects_are_those_of_welch_and_of_the_pooled_test(monkeypatch, prior):
    data, labels = screen(np.array([1.0, -1.0]))
    X, groups = data.X.double().numpy(), np.array(labels)
    X[groups == "P"] *= 3.0
    parts = [X[groups == g] for g in ("control", "P", "Q")]
    count = np.array([[120.0, 60.0, 60.0]])
    mean = np.stack([x.mean(0) for x in parts])[None]
    square = np.stack([len(x) * x.var(0) for x in parts])[None]
    monkeypatch.setattr(screens, "_prior_degrees", lambda *arguments: prior)
    effect, error, free = screens._welch(count, mean, square)
    pooled = square.sum((0, 1)) / 237
    for p in (1, 2):
        if prior == 0:
            both = (square[0, p] + square[0, 0]) / 178
            own = [np.maximum(x.var(0, ddof=1), both) for x in (parts[p], parts[0])]
            expected = stats.ttest_ind_from_stats(
                *(parts[p].mean(0), np.sqrt(own[0]), 60, parts[0].mean(0), np.sqrt(own[1]), 120), equal_var=False
            )
            np.testing.assert_allclose(effect[p - 1] / error[p - 1], expected.statistic, rtol=1e-9)
            a, b = own[0] / 60, own[1] / 120
            free_a, free_b = (
                np.where(v == both, 178, len(x) - 1) for v, x in zip(own, (parts[p], parts[0]), strict=True)
            )
            np.testing.assert_allclose(free[p - 1], (a + b) ** 2 / (a**2 / free_a + b**2 / free_b), rtol=1e-9)
        else:
            np.testing.assert_allclose(error[p - 1], np.sqrt(pooled * (1 / 60 + 1 / 120)), rtol=1e-9)
            assert np.isinf(free).all()


def test_what_both_groups_have_together_is_moderated_and_has_the_degrees_of_both(monkeypatch):
    """Variances 0 and 4 of twenty treated cells beside controls' 1, one over all groups, and a prior of 10."""
    monkeypatch.setattr(screens, "_prior_degrees", lambda *arguments: 10.0)
    count = np.array([[101.0, 20.0]])
    square = np.array([[[119.0, 43.0], [0.0, 76.0]]])  # 119 in all, of 119 degrees
    _, error, free = screens._welch(count, np.zeros((1, 2, 2)), square)
    together = 1.0  # (10 · 1 + 119) / (10 + 119): larger than (10 + 0) / 29 of the treated cells
    control = (10 + np.array([119, 43])) / 110
    a = np.array([together, (10 + 76) / 29]) / 20
    b = np.maximum(control, together) / 101
    np.testing.assert_allclose(error[0], np.sqrt(a + b), rtol=1e-12)
    expected = (a + b) ** 2 / (a**2 / np.array([129, 29]) + b**2 / np.array([110, 129]))
    np.testing.assert_allclose(free[0], expected, rtol=1e-12)


def test_moderated_tests_of_three_against_three_keep_the_width_of_their_null():
    """Variances scatter over groups (8 degrees): three cells have few degrees of their own, and the larger of a noisy
    variance and another would be too large."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(11), 3)
    spread = np.sqrt(8 / rng.chisquare(8, size=(11, 3000)))
    X = rng.normal(size=(33, 3000)) * spread[group]
    cells = X.reshape(11, 3, 3000)
    count, mean, square = np.full((1, 11), 3.0), cells.mean(1)[None], 3 * cells.var(1)[None]
    effect, error, free = screens._welch(count, mean, square)
    assert np.isfinite(free).all()
    score = screens._normal_score(effect / error, free)
    assert score.std() == pytest.approx(1.0, abs=0.03)  # unmoderated 0.945


def test_the_degrees_of_freedom_of_the_prior_are_recovered():
    rng = np.random.default_rng(0)
    degrees, prior = np.full(12, 8.0), 10.0
    variance = prior / rng.chisquare(prior, size=(12, 2000))
    own = variance * rng.chisquare(8.0, size=variance.shape) / 8.0
    # the pooled variance is the typical one here: s0² of the scaled inverse chi-square
    assert _prior_degrees(own, np.ones(2000), degrees) == pytest.approx(prior, rel=0.1)
    same = rng.chisquare(8.0, size=(12, 2000)) / 8.0
    assert _prior_degrees(same, np.ones(2000), degrees) > 100


def test_the_two_groups_are_calibrated_on_their_own_story():
    rng = np.random.default_rng(0)
    real = rng.random((20, 500)) < 0.2
    value = np.where(real, 4 * rng.normal(size=real.shape), 0.0)
    probability, shrinkage, positive = _two_groups(value + rng.normal(size=real.shape))
    assert probability.mean() == pytest.approx(0.2, abs=0.02)
    for low, high in ((0, 0.2), (0.2, 0.8), (0.8, 1.01)):
        inside = (probability >= low) & (probability < high)
        error = 4 * np.sqrt(0.25 / inside.sum())
        assert real[inside].mean() == pytest.approx(probability[inside].mean(), abs=error + 0.02)
    sure = real & (probability > 0.9)
    assert ((positive[sure] > 0.5) == (value[sure] > 0)).mean() > 0.98
    assert (shrinkage >= 0).all()
    assert (shrinkage <= 1).all()


def test_real_changes_are_found_with_their_sign_and_null_ones_are_not():
    data, labels = screen(np.array([1.5, -1.5, 1.0]))
    network = screen_to_network(data, name="screen", labels=labels)
    found = network.to_frame().set_index(["source", "target"])
    assert found.loc[("P", "G0"), "sign"] == -1  # knocked down, and the target rises: a repressor
    assert found.loc[("P", "G1"), "sign"] == 1
    assert (found.loc[[("P", "G0"), ("P", "G1"), ("P", "G2")], "probability"] > 0.95).all()
    rest = found.drop([("P", "G0"), ("P", "G1"), ("P", "G2")])
    assert (rest["probability"] < 0.9).all()
    assert found.loc[("P", "G0"), "evidence"].startswith("screen: change +1")
    up = screen_to_network(data, name="screen", labels=labels, direction="up")
    assert up.to_frame().set_index(["source", "target"]).loc[("P", "G0"), "sign"] == 1


def test_a_screen_without_effects_finds_none():
    """120 screens' worth of null tests: the mean probability stays small and almost nothing is above one half."""
    data, labels = screen(np.zeros(0), genes=2000, seed=3)
    probability = screen_effects(data, labels=labels).probability
    assert probability.mean() < 0.02
    assert (probability > 0.5).mean() < 0.001


def test_a_sparse_gene_without_counts_in_some_cells_has_not_changed():
    """Genes with a count in one cell of fifty: among sixty cells there are often none, and then no variance either."""
    rng = np.random.default_rng(0)
    counts = rng.binomial(1, rng.uniform(0.005, 0.05, 300), size=(1500, 300)).astype(np.float32)
    counts[:, :20] = rng.poisson(2.0, size=(1500, 20))
    changed = counts[1140:1200, 10:20]
    changed *= rng.random(changed.shape) < 0.2
    data = ExpressionData(torch.log1p(torch.tensor(counts)), tuple(f"G{i}" for i in range(300)))
    names = [f"P{i}" for i in range(6)]
    effects = screen_effects(data, labels=["control"] * 1140 + [name for name in names for _ in range(60)])
    assert (effects.probability[0, 10:20] > 0.9).all()
    null = np.delete(effects.probability.ravel(), np.arange(10, 20))
    assert null.max() < 0.9
    assert null.mean() < 0.01


def test_random_cells_of_sparse_counts_have_no_changes():
    """Negative binomial counts, means 0.05 to 0.5, sixty cells against a thousand: without a least variance some ten
    of these 3,000 tests are above one half."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        mean = np.exp(rng.uniform(np.log(0.05), np.log(0.5), 300))
        counts = rng.poisson(mean * rng.gamma(1.0, 1.0, size=(1600, 300)))
        data = ExpressionData(torch.log1p(torch.tensor(counts).float()), tuple(f"G{i}" for i in range(300)))
        labels = ["control"] * 1000 + [f"P{i}" for i in range(10) for _ in range(60)]
        assert (screen_effects(data, labels=labels).probability > 0.5).sum() <= 1


def test_batches_that_shift_all_cells_do_not_matter_within_contexts():
    data, labels = screen(np.array([1.5]))
    batch = np.arange(data.num_cells) % 2
    plain = screen_effects(data.annotated(context=batch.astype(str)), labels=labels)
    moved = replace(data, matrix=data.X + 7.0 * torch.tensor(batch, dtype=torch.float32)[:, None])
    shifted = screen_effects(moved.annotated(context=batch.astype(str)), labels=labels)
    np.testing.assert_allclose(plain.probability, shifted.probability, atol=1e-4)


def test_chunks_and_a_large_mean_do_not_matter():
    data, labels = screen(np.array([1.5]))
    data = data.to(dtype=torch.float64)
    shifted = replace(data, matrix=data.X + 1e4)
    a, b = (screen_effects(d, labels=labels).effect for d in (data, shifted))
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_wide_null_makes_findings_rare():
    """All genes of Q move a little, as batches do: the empirical null takes that up, the theoretical does not."""
    data, labels = screen(np.zeros(0), genes=500, seed=1)
    X = data.X.clone()
    X[-60:] += 0.4 * torch.randn(500, generator=torch.Generator().manual_seed(0))
    data = replace(data, matrix=X)
    empirical = screen_effects(data, labels=labels)
    theoretical = screen_effects(data, labels=labels, empirical_null=False)
    assert empirical.null_sd[1] > 1.5
    assert empirical.null_sd[0] < 1.2
    assert empirical.probability[1].sum() < 0.2 * theoretical.probability[1].sum()


def test_interventions_of_the_data_are_the_labels_unless_given():
    simulation = simulate_linear(num_genes=12, num_tfs=4, num_cells=100, num_perturbed=2, mean=2.0, seed=0)
    names = ["control"] * 100 + ["G0000"] * 50 + ["G0001"] * 50
    one, other = (screen_effects(simulation.data, labels=labels) for labels in (None, names))
    np.testing.assert_array_equal(one.probability, other.probability)
    assert one.perturbations == ("G0000", "G0001")
    assert np.isnan(one.effect[0, 0])
    assert one.probability[0, 0] == 0


def test_unmeasured_and_double_perturbations():
    data, labels = screen(np.array([1.5]))
    labels = ["P+Q" if i % 7 == 0 and name == "P" else name for i, name in enumerate(labels)]
    found = screen_effects(data, labels=[name.replace("control", " Control ") for name in labels])
    assert found.perturbations == ("P", "Q")  # neither is measured
    assert found.cells.tolist() == [labels.count("P"), 60]
    assert found.controls == 120


def test_a_panel_is_compared_with_itself():
    rng = np.random.default_rng(0)
    genes = tuple(f"G{i}" for i in range(80))
    X = rng.normal(size=(81, 80))
    X[3, 10] += 8.0
    X[np.arange(1, 81), np.arange(80)] -= 20.0  # each gene's own knock-down, left out
    data = ExpressionData(torch.tensor(X, dtype=torch.float32), genes)
    found = screen_effects(data, labels=["control", *genes])
    frame = found.to_frame()
    assert (frame.loc[0, "source"], frame.loc[0, "target"]) == ("G2", "G10")
    assert frame.loc[0, "probability"] > 0.95
    assert found.controls == 79
    assert found.probability.mean() < 0.05


def test_components_that_all_share_can_be_taken_out_of_a_panel():
    rng = np.random.default_rng(0)
    genes = tuple(f"G{i}" for i in range(100))
    X = 0.1 * rng.normal(size=(100, 100)) + 2.0 * np.outer(rng.normal(size=100), rng.normal(size=100))
    X[3, 10] += 2.0
    data = ExpressionData(torch.tensor(X, dtype=torch.float32), genes)
    plain, without = (screen_effects(data, labels=list(genes), hidden=k) for k in (0, 1))
    assert without.probability[list(without.perturbations).index("G3"), 10] > 0.9
    assert plain.probability[list(plain.perturbations).index("G3"), 10] < 0.5


def test_sources_and_least_probability():
    data, labels = screen(np.array([1.5, -1.5]))
    network = screen_to_network(data, name="screen", labels=labels, sources=["P", "elsewhere"], min_probability=0.5)
    assert network.sources == ("P",)
    assert (network.probability >= 0.5).all()


def test_a_network_is_written_and_read_back(tmp_path):
    data, labels = screen(np.array([1.5, -1.5]))
    network = screen_to_network(data, name="screen", labels=labels)
    network.write(tmp_path / "screen.csv")
    again = PriorNetwork.read(tmp_path / "screen.csv")
    pd.testing.assert_frame_equal(network.to_frame(), again.to_frame(), check_dtype=False)


def test_bad_input_is_refused_by_name():
    data, labels = screen(np.array([1.5]))
    with pytest.raises(ValueError, match="no cell has a single gene perturbed"):
        screen_effects(data)
    with pytest.raises(ValueError, match="3 labels for 240 cells"):
        screen_effects(data, labels=labels[:3])
    with pytest.raises(ValueError, match="0 control cells"):
        screen_effects(data, labels=["P" if name == "control" else name for name in labels])
    with pytest.raises(ValueError, match="`hidden` is 2"):
        screen_effects(data, labels=labels, hidden=2)
    with pytest.raises(ValueError, match="none of the 1 `sources` was perturbed"):
        screen_to_network(data, name="screen", labels=labels, sources=["R"])
    with pytest.raises(ValueError, match="`direction` is 'sideways'"):
        screen_to_network(data, name="screen", labels=labels, direction="sideways")
    with pytest.raises(ValueError, match="min_probability=2"):
        screen_to_network(data, name="screen", labels=labels, min_probability=2)
    with pytest.raises(ValueError, match="no gene varies"):
        screen_effects(replace(data, matrix=torch.ones_like(data.X)), labels=labels)
    with pytest.raises(ValueError, match="at least 3 perturbations"):
        screen_effects(data.subset(np.array([0, 120, 180])), labels=["control", "P", "Q"])


def test_the_interferon_pathway_in_real_cells():
    """Papalexi et al. 2021: IFNGR1, IFNGR2, JAK2 and STAT1 knock-outs switch interferon targets off."""
    file = DATA / "perturbseq_papalexi_thp1" / "expression.h5ad"
    if not file.exists():
        pytest.skip("no benchmark data beside the checkout")
    data = read_expression(file, tfs=None, normalize="log1p-cpm", drop_constant=True)
    labels = anndata.read_h5ad(file, backed="r").obs["perturbation"].astype(str).tolist()
    network = screen_to_network(data, name="papalexi", labels=labels)
    found = network.to_frame().set_index(["source", "target"])
    for source in ("IFNGR1", "IFNGR2", "JAK2", "STAT1"):
        assert found.loc[(source, "PSMB9"), "probability"] > 0.99
        assert found.loc[(source, "PSMB9"), "sign"] == 1

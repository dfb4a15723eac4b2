"""Scores of networks by perturbed cells: each against what it is by hand, and the network that made the cells wins."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from command_line import call
from pyrogrn.experiments.response_scores import SCORES, PerturbedCells, response_scores
from pyrogrn.experiments.response_scores.activity import activity
from pyrogrn.experiments.response_scores.distances import moved, wasserstein
from pyrogrn.experiments.response_scores.found import correlation_p, discoveries
from pyrogrn.experiments.response_scores.score import f_tenth, paired_t
from pyrogrn.experiments.response_scores.structural import _ridge
from pyrogrn.experiments.response_scores.weights import network_weights
from pyrogrn.models import ExpressionData

GENES = [f"G{i}" for i in range(30)]
REGULATORS = GENES[:5]
EACH = 40  # cells of a condition


def network() -> pd.DataFrame:
    """Every regulator has five targets of its own, every second edge is negative."""
    rows = [(REGULATORS[i % 5], gene, (0.8, -0.8)[i // 5 % 2]) for i, gene in enumerate(GENES[5:])]
    return pd.DataFrame(rows, columns=["source", "target", "weight"])


@pytest.fixture(scope="module")
def made() -> tuple[pd.DataFrame, list[str], list[str]]:
    """Levels, labels and replicates of cells in which controls and knock-outs of the five regulators are seen."""
    generator = np.random.default_rng(0)
    labels = ["control"] * (2 * EACH) + [gene for gene in REGULATORS for _ in range(EACH)]
    levels = generator.normal(size=(len(labels), len(GENES)))
    for cell, label in enumerate(labels):
        if label in REGULATORS:
            levels[cell, GENES.index(label)] = -3.0
    for source, target, weight in network().itertuples(index=False):
        levels[:, GENES.index(target)] += weight * levels[:, GENES.index(source)]
    replicates = [("one", "two")[i % 2] for i in range(len(labels))]
    return pd.DataFrame(levels + 5.0, columns=GENES), labels, replicates


@pytest.fixture(scope="module")
def cells(made) -> PerturbedCells:
    frame, labels, replicates = made
    return PerturbedCells.of(ExpressionData.from_frame(frame), labels, groups=replicates)


def moved_network() -> pd.DataFrame:
    """The same edges, each handed to the next regulator."""
    wrong = network()
    wrong["source"] = [REGULATORS[(REGULATORS.index(s) + 1) % 5] for s in wrong["source"]]
    return wrong


def test_the_network_that_made_the_cells_is_above_a_wrong_one_in_every_score(cells):
    found = response_scores({"true": network(), "moved": moved_network()}, cells)
    table = found.table().pivot_table(index="score", columns="network", values="value")
    assert set(table.index) == set(SCORES)
    same = table.index == "replicates agree"  # the same sets of targets under other names
    assert (table["true"] > table["moved"])[~same].all()
    assert table.loc[same, "true"].iloc[0] == pytest.approx(table.loc[same, "moved"].iloc[0])
    assert table.loc["distance, many", "true"] > 0.85
    assert table.loc["regression", "moved"] < 0.05
    difference = found.differences("true").set_index("score")
    clear = ["regression", "distance, few", "structural", "virtual cell", "recovery, all"]
    assert (difference.loc[clear, "upper"] < 0).all()


def test_what_is_found_is_what_the_network_is_right_about(cells):
    found = response_scores({"true": network(), "moved": moved_network()}, cells)
    true, moved_ = (found.scores[name] for name in ("true", "moved"))
    predicted = true["genes predicted"].values
    assert np.isnan(predicted[:5]).all(), "a gene without regulators is not asked"
    assert (predicted[5:] == 1).all()
    assert true["genes predicted"].value == pytest.approx(1.01 * 25 / 30 / (0.01 + 25 / 30))
    for score in ("perturbed found", "responses forecast"):
        assert (true[score].values == 1).all()
        assert not (moved_[score].values == 1).any()
        assert moved_[score].value == 0.0


def test_discoveries_are_those_of_benjamini_and_hochberg():
    p = np.array([0.001, np.nan, 0.02, 0.04, 0.3, 0.013])
    adjusted = scipy.stats.false_discovery_control(p[~np.isnan(p)])
    result = discoveries(p, 0.05)
    assert np.isnan(result[1])
    assert result[~np.isnan(p)].tolist() == (adjusted <= 0.05).astype(float).tolist()
    assert np.isnan(discoveries(np.full(3, np.nan), 0.05)).all()
    r, one_sided = correlation_p(np.arange(6.0), np.array([0.0, 2.0, 1.0, 3.0, 5.0, 4.0]))
    by_scipy = scipy.stats.pearsonr(np.arange(6.0), [0, 2, 1, 3, 5, 4], alternative="greater")
    assert (r, one_sided) == pytest.approx((by_scipy.statistic, by_scipy.pvalue))
    assert correlation_p(np.ones(5), np.arange(5.0)) == (0.0, 1.0)


def test_f_score_counts_found_asked_and_all():
    values = np.array([1.0, 1.0, 0.0, np.nan, np.nan])
    precision, recall = 2 / 3, 2 / 5
    assert f_tenth(values) == pytest.approx(1.01 * precision * recall / (0.01 * precision + recall))
    assert f_tenth(np.array([[np.nan, np.nan], [0.0, np.nan]])).tolist() == [0.0, 0.0]


def test_equal_networks_have_equal_scores_and_no_difference(cells):
    found = response_scores({"one": network(), "two": network().sample(frac=1, random_state=1)}, cells)
    assert np.allclose(found.differences("one")[["difference", "lower", "upper"]], 0.0, atol=1e-9)
    with pytest.raises(ValueError, match="no network 'three'"):
        found.differences("three")


def test_intervals_hold_the_value_and_do_not_move_between_calls(cells):
    table = response_scores({"true": network()}, cells).table()
    assert ((table["lower"] <= table["value"]) & (table["value"] <= table["upper"])).all()
    pd.testing.assert_frame_equal(table, response_scores({"true": network()}, cells).table())


def test_a_long_list_does_not_win_by_its_length(cells):
    everything = pd.DataFrame(
        [(s, t, 0.01) for s in REGULATORS for t in GENES[5:]], columns=["source", "target", "weight"]
    )
    table = response_scores({"true": network(), "all": everything}, cells).table()
    few = table[table["score"] == "regression, few"].set_index("network")["value"]
    assert few["true"] > few["all"]
    assert table.set_index("network").loc["all", "num_edges"].iloc[0] == 125


def test_cells_are_in_units_of_each_gene_around_their_controls(cells):
    assert np.allclose(cells.levels[cells.condition < 0].mean(0), 0)
    assert np.allclose(cells.levels.std(0), 1)
    assert cells.conditions == tuple(REGULATORS)
    assert (cells.own == np.arange(5)).all()
    assert (cells.responses[np.arange(5), np.arange(5)] < -1).all()


def test_several_perturbed_genes_and_unknown_labels_are_left_out_and_counted(made):
    frame, labels, _ = made
    labels = ["G0+G1", "unassigned", *labels[2:]]
    kept = PerturbedCells.of(ExpressionData.from_frame(frame), labels)
    assert kept.left_out == 2
    assert len(kept.levels) == len(labels) - 2


def test_perturbed_genes_need_not_be_measured(made):
    frame, labels, _ = made
    kept = PerturbedCells.of(ExpressionData.from_frame(frame.drop(columns=["G0", "G1", "G2"])), labels)
    assert kept.own.tolist() == [-1, -1, -1, 0, 1]
    scores = response_scores({"true": network()}, kept).table().set_index("score")
    assert scores.loc["distance, few", "number"] == 2
    assert scores.loc["structural", "number"] == 5


def test_what_the_cells_do_not_allow_is_no_score(made):
    frame, labels, _ = made
    few = [*range(3), *range(80, 83), *range(120, 123)]
    kept = PerturbedCells.of(ExpressionData.from_frame(frame.iloc[few]), [labels[i] for i in few])
    found = set(response_scores({"true": network()}, kept).table()["score"])
    assert set(SCORES) - found == {"virtual cell", "replicates agree"}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["control"] * 280, "0 perturbed genes and 280 control"),
        (["G0"] * 280, "1 perturbed genes and 0 control"),
        (["G0", "control"], "2 labels of perturbations for 280 cells"),
    ],
)
def test_cells_without_a_comparison_are_refused(made, labels, said):
    with pytest.raises(ValueError, match=said):
        PerturbedCells.of(ExpressionData.from_frame(made[0]), labels)


def test_tables_that_cannot_be_scored_are_refused(cells):
    with pytest.raises(ValueError, match="no network"):
        response_scores({}, cells)
    other = network().replace({"G0": "ENSG0"})
    with pytest.raises(ValueError, match=r"'named': no edge.*regulators"):
        response_scores({"named": other}, cells, tfs=["ENSG0"])
    with pytest.raises(ValueError, match="top is 0"):
        response_scores({"true": network()}, cells, top=0)


def test_the_best_edges_are_taken_and_repeats_averaged():
    edges = pd.DataFrame(
        {
            "source": ["A", "A", "A", "B", "B"],
            "target": ["B", "B", "C", "C", "B"],
            "weight": [1.0, 3.0, 5.0, -0.1, 9.0],
            "inclusion": [0.8, 0.8, 0.1, 0.9, 1.0],
        }
    )
    assert network_weights(edges, ["A", "B", "C"], top=2).tolist() == [[0, 2, 0], [0, 0, -0.1], [0, 0, 0]]
    assert network_weights(edges[["source", "target"]], ["A", "B", "C"]).max() == 1


def test_distances_are_scipys_for_samples_of_any_size():
    generator = np.random.default_rng(1)
    for m, n in ((7, 5), (1, 4), (6, 6), (1, 1)):
        x, y = generator.normal(size=(m, 3)), generator.normal(1, 2, size=(n, 3))
        expected = [scipy.stats.wasserstein_distance(x[:, i], y[:, i]) for i in range(3)]
        assert np.allclose(wasserstein(x, y), expected)


def test_the_place_of_a_gene_is_the_share_that_moved_less(cells):
    share = moved(cells, 0)
    assert np.isnan(share[0])
    assert sorted(share[1:]) == pytest.approx(np.linspace(0, 1, 29))


def test_activities_are_the_t_statistic_of_a_regression():
    generator = np.random.default_rng(2)
    y, w = generator.normal(size=(2, 20)), np.where(generator.random((3, 20)) < 0.4, 1.0, 0.0)
    found = activity(y, w)
    for i in range(2):
        for j in range(3):
            line = scipy.stats.linregress(w[j], y[i])
            assert found[i, j] == pytest.approx(line.slope / line.stderr)
    assert activity(y, np.zeros((1, 20))).tolist() == [[0], [0]]


def test_signs_bind_the_structural_regression_and_leave_it_where_they_agree():
    generator = np.random.default_rng(3)
    x = generator.normal(size=(200, 3))
    y = x @ [1.0, -1.0, 0.5] + generator.normal(size=200)
    inner, cross = x.T @ x, x.T @ y
    free = _ridge(inner, cross, None)
    assert np.allclose(_ridge(inner, cross, np.sign(free)), free)
    assert _ridge(inner, cross, np.array([1.0, 1.0, 1.0]))[1] == 0


def test_statistics_of_the_recovery_is_scipys():
    values = np.random.default_rng(4).normal(0.3, 1, 12)
    assert paired_t(values) == pytest.approx(scipy.stats.ttest_1samp(values, 0).statistic)
    assert paired_t(np.ones(4)) == 0


# -- command ----


def test_the_command_compares_networks(made, tmp_path):
    frame, labels, replicates = made
    obs = pd.DataFrame({"gene": labels, "rep": replicates}, index=[f"c{i}" for i in range(len(labels))])
    anndata.AnnData(frame.to_numpy(np.float32), obs=obs, var=pd.DataFrame(index=GENES)).write_h5ad(tmp_path / "c.h5ad")
    network().to_csv(tmp_path / "true.csv", index=False)
    (tmp_path / "run").mkdir()
    moved_network().to_csv(tmp_path / "run" / "edges.csv", index=False)
    files = (tmp_path / "c.h5ad", tmp_path / "true.csv", tmp_path / "run")
    keys = ("--perturbation-key", "gene", "--replicate-key", "rep")
    code, out, err = call("score-responses", *files, *keys, "--normalize", "none", "--out", tmp_path / "s.csv")
    assert code == 0, err
    assert "280 cells, 5 perturbed genes (5 measured), 80 controls" in err
    assert "differs from true" in out
    table = pd.read_csv(tmp_path / "s.csv")
    assert set(table["network"]) == {"true", "run"}
    assert set(table["score"]) == set(SCORES)
    assert table.loc[table["network"] == "run", "difference"].notna().sum() == len(SCORES) - 1
    assert "differ in number" not in err
    network().head(4).to_csv(tmp_path / "few.csv", index=False)
    files_of_two = (*files[:2], tmp_path / "few.csv")
    code, _, err = call("score-responses", *files_of_two, *keys, "--normalize", "none")
    assert code == 0, err
    whole = len(network())
    assert f"differ in number, which some scores reward: true {whole}, few 4; equally many: --top 4" in err
    code, _, err = call("score-responses", *files, "--perturbation-key", "guide", "--normalize", "none")
    assert code == 2
    assert "no column 'guide' in .obs; found gene, rep" in err


def test_the_command_reads_tables(made, tmp_path):
    frame, labels, _ = made
    frame.assign(gene=labels).to_csv(tmp_path / "c.csv", index_label="cell")
    network().to_csv(tmp_path / "true.csv", index=False)
    options = ("--perturbation-key", "gene", "--normalize", "none")
    code, out, err = call("score-responses", tmp_path / "c.csv", tmp_path / "true.csv", *options)
    assert code == 0, err
    assert "virtual cell" in out
    assert "no score 'replicates agree': it needs replicates" in err
    code, _, err = call(
        "score-responses", tmp_path / "c.csv", tmp_path / "true.csv", *options, "--replicate-key", "rep"
    )
    assert code == 2
    assert "--replicate-key is a column of .obs" in err


def test_controls_may_have_a_label_of_their_own(made, tmp_path):
    frame, labels, _ = made
    named = [{"control": "untouched"}.get(label, label) for label in labels]
    frame.assign(gene=named).to_csv(tmp_path / "c.csv", index_label="cell")
    network().to_csv(tmp_path / "true.csv", index=False)
    given = (tmp_path / "c.csv", tmp_path / "true.csv", "--perturbation-key", "gene", "--normalize", "none")
    code, _, err = call("score-responses", *given, "--control", "Untouched")
    assert code == 0, err
    assert "5 perturbed genes (5 measured), 80 controls" in err
    code, _, err = call("score-responses", *given)
    assert code == 2
    assert "0 control cells" in err
    assert "--control LABEL" in err
    code, _, err = call("score-responses", *given, "--control", "mock")
    assert code == 2
    assert "--control mock: no cell has that label" in err

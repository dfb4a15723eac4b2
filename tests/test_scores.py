"""Scores of edge tables: exact against scikit-learn, brute force and hand-computed examples."""

import time
from itertools import product

import numpy as np
import pandas as pd
import pytest
from pyrogrn.experiments import scores as S
from pyrogrn.experiments.matching import align, evidence_rank
from sklearn import metrics
from sklearn.calibration import calibration_curve


def table(*rows, columns=("source", "target", "weight")):
    return pd.DataFrame(rows, columns=list(columns))


def random_tables(seed=0, num_tfs=6, num_genes=30, num_true=40):
    """Edge table over all pairs with inclusion and signed weight (many ties in inclusion), and a signed truth."""
    generator = np.random.default_rng(seed)
    genes = [f"g{i}" for i in range(num_genes)]
    pairs = [(s, t) for s, t in product(genes[:num_tfs], genes) if s != t]
    edges = table(*pairs, columns=("source", "target"))
    edges["weight"] = generator.normal(size=len(pairs))
    edges["inclusion"] = generator.integers(0, 11, len(pairs)) / 10
    truth = edges.sample(num_true, random_state=seed)[["source", "target"]].assign(sign=1)
    truth.iloc[::3, 2] = -1
    return edges, truth


@pytest.fixture
def scored():
    """Scores with ties and zeros, and a truth, over 400 pairs."""
    generator = np.random.default_rng(1)
    return generator.integers(0, 12, 400) / 4.0, generator.random(400) < 0.2


# -- ranking ----


def test_ranking_scores_equal_scikit_learn_with_ties(scored):
    score, true = scored
    precision, recall, _ = metrics.precision_recall_curve(true, score)
    assert S.average_precision(score, true) == pytest.approx(metrics.average_precision_score(true, score), abs=1e-14)
    assert S.auroc(score, true) == pytest.approx(metrics.roc_auc_score(true, score), abs=1e-14)
    assert S.auprc_trapezoid(score, true) == pytest.approx(metrics.auc(recall, precision), abs=1e-14)


def test_auroc_is_the_share_of_pairs_in_order(scored):
    score, true = scored
    difference = score[true][:, None] - score[~true][None, :]
    assert S.auroc(score, true) == pytest.approx(((difference > 0) + 0.5 * (difference == 0)).mean(), abs=1e-14)


@pytest.mark.parametrize("constant", [0.0, 0.3, 5])
def test_constant_scores_are_exactly_chance(scored, constant):
    true = scored[1]
    score = np.full(len(true), constant)
    assert S.auroc(score, true) == 0.5
    assert S.average_precision(score, true) == true.mean()
    assert S.auprc_trapezoid(score, true) == pytest.approx((1 + true.mean()) / 2)  # the documented optimism


def test_ranking_scores_ignore_order_and_monotone_maps(scored):
    score, true = scored
    order = np.random.default_rng(2).permutation(len(score))
    for function in (S.average_precision, S.auroc, S.auprc_trapezoid, S.early_precision):
        assert function(score[order], true[order]) == pytest.approx(function(score, true), abs=1e-14)
        assert function(score**3, true) == pytest.approx(function(score, true), abs=1e-14)


def test_ranking_scores_without_both_classes():
    score = np.arange(4.0)
    for true in (np.zeros(4, bool), np.ones(4, bool)):
        assert np.isnan(S.auroc(score, true))
        assert np.isnan(S.balanced_accuracy(score > 1, true))
    assert np.isnan(S.average_precision(score, np.zeros(4, bool)))
    with pytest.raises(ValueError, match="1 of 4 scores are not numbers"):
        S.average_precision(np.where(np.arange(4) == 2, np.nan, score), np.ones(4, bool))
    assert np.isnan(S.auprc_trapezoid(score, np.zeros(4, bool)))
    assert np.isnan(S.early_precision(score, np.zeros(4, bool)))
    assert S.average_precision(score, np.ones(4, bool)) == 1.0


@pytest.mark.parametrize(
    ("score", "true", "expected"),
    [
        ([4, 3, 2, 1], [1, 0, 1, 0], 1 / 2),  # top 2
        ([4, 3, 3, 1], [1, 0, 1, 0], 2 / 3),  # the tie at the second place is taken whole
        ([4, 0, 0, 0], [1, 1, 0, 0], 1.0),  # zeros are not predictions
        ([0, 0, 0, 0], [1, 1, 0, 0], 0.0),
        ([1, 1, 1, 1], [1, 1, 0, 0], 1 / 2),
        ([1, 2], [1, 1], 1.0),
    ],
)
def test_early_precision_by_hand(score, true, expected):
    assert S.early_precision(np.array(score), np.array(true, bool)) == pytest.approx(expected)


def test_bootstrap_equals_resampling_by_hand(scored):
    score, true = scored
    target = np.arange(len(score)) % 20
    found = S.bootstrap_standard_errors(score, true, target, num_bootstrap=30, seed=3)
    generator, draws = np.random.default_rng(3), []
    for _ in range(30):
        rows = np.repeat(np.arange(len(score)), generator.multinomial(20, np.full(20, 1 / 20))[target])
        draws.append((S.average_precision(score[rows], true[rows]), S.auroc(score[rows], true[rows])))
    assert list(found.values()) == pytest.approx(list(np.std(draws, axis=0, ddof=1)))
    assert found == S.bootstrap_standard_errors(score, true, target, num_bootstrap=30, seed=3)


def test_bootstrap_standard_error_is_the_spread_over_data_sets():
    generator = np.random.default_rng(4)
    target = np.repeat(np.arange(80), 6)
    values, errors = [], []
    for _ in range(100):
        true = generator.random(len(target)) < 0.25
        score = true + 1.5 * generator.normal(size=len(target)) + generator.normal(size=80)[target]
        values.append(S.auroc(score, true))
        errors.append(S.bootstrap_standard_errors(score, true, target, num_bootstrap=40)["auroc_se"])
    spread = np.std(values, ddof=1)
    assert np.mean(errors) == pytest.approx(spread, rel=4 / np.sqrt(2 * 100))  # 4 standard errors of a spread over 100


def test_bootstrap_survives_resamples_of_one_class_and_refuses_one_draw():
    true = np.array([True, False, False])
    found = S.bootstrap_standard_errors(np.arange(3.0), true, np.arange(3), num_bootstrap=50)
    assert np.isfinite(found["auroc_se"])
    with pytest.raises(ValueError, match="at least 2"):
        S.bootstrap_standard_errors(np.arange(3.0), true, np.arange(3), num_bootstrap=1)


# -- decisions and probabilities ----


def test_decisions_by_hand():
    true = np.array([1, 1, 0, 0, 0], bool)
    called = np.array([1, 0, 1, 0, 0], bool)
    assert S.balanced_accuracy(called, true) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert S.structural_hamming_distance(called, true) == 2
    sign = np.array([1, -1, 0, 0, 0])
    assert S.signed_accuracy(np.array([0.5, 1, -1, 0, 0]), np.ones(5, bool), sign) == 0.5
    assert np.isnan(S.signed_accuracy(np.ones(5), np.zeros(5, bool), sign))


def test_probability_scores_by_hand():
    p, true = np.array([0.9, 0.2, 0.0]), np.array([True, False, True])
    assert S.brier(p, true) == pytest.approx((0.01 + 0.04 + 1) / 3)
    assert S.log_score(p, true) == pytest.approx(-(np.log(0.9) + np.log(0.8) + np.log(1e-6)) / 3)
    assert S.expected_calibration_error(p, true) == pytest.approx((0.1 + 0.2 + 1) / 3)
    assert S.expected_calibration_error(p, true, num_bins=1) == pytest.approx(2 / 3 - 1.1 / 3)


def test_brier_and_log_score_equal_scikit_learn():
    generator = np.random.default_rng(5)
    p = generator.uniform(0.01, 0.99, 500)
    true = generator.random(500) < 0.3
    assert S.brier(p, true) == pytest.approx(metrics.brier_score_loss(true, p))
    assert S.log_score(p, true) == pytest.approx(metrics.log_loss(true, p))
    table = S.reliability_table(p, true, num_bins=10)
    observed, stated = calibration_curve(true, p, n_bins=10, strategy="uniform")
    np.testing.assert_allclose(table["observed"], observed)
    np.testing.assert_allclose(table["probability"], stated)


def test_reliability_bins_include_their_upper_end_and_every_pair():
    p = np.array([0.0, 1 / 15, 0.07, 0.5, 1.0])
    found = S.reliability_table(p, np.array([0, 0, 1, 0, 1], bool))
    assert found["count"].tolist() == [2, 1, 1, 1]
    assert found["lower"].tolist() == pytest.approx([0, 1 / 15, 7 / 15, 14 / 15])
    assert found["observed"].tolist() == [0, 1, 0, 1]
    assert found["standard_error"].to_numpy()[2] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="num_bins"):
        S.reliability_table(p, p > 0.5, num_bins=0)


def test_calibrated_probabilities_pass_and_others_are_detected():
    generator = np.random.default_rng(6)
    p = generator.beta(0.5, 1.5, 20_000)
    true = generator.random(len(p)) < p
    logit = np.log(p / (1 - p))

    def worst(q):
        rows = S.reliability_table(q, true)
        return (np.abs(rows["probability"] - rows["observed"]) / rows["standard_error"]).max()

    assert S.expected_calibration_error(p, true) < 0.02
    assert worst(p) < 4
    overconfident, shifted = 1 / (1 + np.exp(-3 * logit)), 1 / (1 + np.exp(-logit - 1))
    for q in (overconfident, shifted):
        assert S.expected_calibration_error(q, true) > 0.08
        assert worst(q) > 10
        assert S.log_score(q, true) > S.log_score(p, true)
        assert S.brier(q, true) > S.brier(p, true)
        assert S.auroc(q, true) == pytest.approx(S.auroc(p, true), abs=1e-3)  # ranking cannot see it


# -- tables ----


def test_score_edges_equals_scikit_learn_on_the_full_grid():
    edges, truth = random_tables()
    found = S.score_edges(edges, truth, num_bootstrap=20)
    key = set(map(tuple, truth[["source", "target"]].to_numpy()))
    true = np.array([(s, t) in key for s, t in edges[["source", "target"]].to_numpy()])
    composite = edges["inclusion"].to_numpy() + 1e-6 * edges["weight"].abs().to_numpy()
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(true, composite))
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(true, composite))
    assert found["brier"] == pytest.approx(np.mean((edges["inclusion"] - true) ** 2))
    called = edges["inclusion"].to_numpy() >= 0.5
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(true, called))
    assert found["sparsity"] == pytest.approx(1 - called.mean())
    assert found["shd"] == (called != true).sum()
    assert found["base_rate"] == pytest.approx(true.mean())
    assert found["early_precision_ratio"] == pytest.approx(found["early_precision"] / true.mean())
    assert found["average_precision_ratio"] == pytest.approx(found["average_precision"] / true.mean())
    assert found["average_precision_se"] > 0
    assert found.reliability["count"].sum() == len(edges)
    assert str(found.matching) == "40 true edges among 174 pairs (6 TFs x 30 targets); not used: nothing"


def test_ties_in_inclusion_are_broken_by_weight_and_weight_alone_ranks_by_magnitude():
    edges = table(
        ("a", "b", 0.1, 0.5),
        ("a", "c", -2.0, 0.5),
        ("b", "c", 9.0, 0.2),
        columns=["source", "target", "weight", "inclusion"],
    )
    assert evidence_rank(edges).tolist() == [2, 3, 1]
    assert evidence_rank(edges, score="inclusion").tolist() == [2, 2, 1]
    assert evidence_rank(edges, score="weight").tolist() == [1, 2, 3]
    assert evidence_rank(edges.drop(columns="inclusion")).tolist() == [1, 2, 3]
    edges.loc[2, ["weight", "inclusion"]] = 0.0
    assert evidence_rank(edges).tolist() == [1, 2, 0]


def test_scores_ignore_row_order_gene_names_and_listing_of_zeros():
    edges, truth = random_tables(7)
    edges.loc[edges["inclusion"] < 0.4, ["inclusion", "weight"]] = 0.0
    expected = S.score_edges(edges, truth).values
    shuffled = edges.sample(frac=1, random_state=1), truth.sample(frac=1, random_state=2)
    rename = {f"g{i}": f"x{(7 * i) % 30}" for i in range(30)}
    renamed = [t.replace({"source": rename, "target": rename}) for t in (edges, truth)]
    listed = edges[(edges["inclusion"] > 0) | (edges["source"] == "g0")]  # g0 still shows every target
    for variant in (shuffled, renamed, (listed, truth)):
        assert S.score_edges(*variant).values == pytest.approx(expected, nan_ok=True)


def test_what_does_not_fit_is_counted():
    edges = table(("a", "b", 0.9), ("a", "c", -0.5), ("b", "c", 0.1), ("b", "b", 3.0), ("c", "a", 0.2))
    truth = table(("a", "b"), ("a", "b"), ("a", "a"), ("z", "b"), ("a", "q"), ("b", "c"), columns=["source", "target"])
    found = S.score_edges(edges, truth, tfs=["a", "b", "d"]).matching
    assert (found.num_tfs, found.num_targets, found.num_pairs, found.num_true) == (3, 3, 7, 2)
    assert (found.truth_duplicates, found.truth_self, found.truth_outside) == (1, 1, 2)
    assert (found.edges_self, found.edges_outside, found.tfs_absent) == (1, 1, 1)
    assert "2 known edges outside these regulators and genes" in str(found)
    only = S.score_edges(edges, truth[:1], restrict_to_truth_regulators=True)
    assert (only.matching.num_tfs, only.matching.num_pairs, only["base_rate"]) == (1, 2, 1 / 2)


def test_default_universe_is_sources_times_targets_of_the_edges():
    found = S.score_edges(table(("a", "b", 1.0), ("b", "c", 0.5)), table(("a", "b"), columns=["source", "target"]))
    assert found.matching.num_pairs == 3  # a -> b, a -> c, b -> c
    assert found["average_precision"] == 1.0


def test_calls_follow_the_documented_threshold():
    edges = table(("a", "b", 0.0), ("a", "c", -0.5), ("b", "c", 0.1))
    truth = table(("a", "c"), columns=["source", "target"])
    assert S.score_edges(edges, truth)["sparsity"] == pytest.approx(1 / 3)  # non-zeros
    assert S.score_edges(edges, truth, threshold=0.3)["shd"] == 0
    with_inclusion = edges.assign(inclusion=[0.6, 0.5, 0.4])
    assert S.score_edges(with_inclusion, truth)["shd"] == 1
    assert S.score_edges(with_inclusion, truth, threshold=0.55)["shd"] == 2
    importance = edges.rename(columns={"weight": "importance"}).assign(importance=[0.0, 2.0, 1.0])
    assert S.score_edges(importance, truth, score="importance")["sparsity"] == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="`threshold` needs"):
        S.score_edges(importance, truth, score="importance", threshold=1.0)


def test_between_regulators_the_direction_does_not_count_in_the_distance_of_cpdags():
    edges = table(("a", "b", 1.0), ("b", "a", 0.0), ("a", "x", 1.0), ("b", "x", 0.0))
    names = ["source", "target"]
    found = S.score_edges(edges, table(("b", "a"), ("a", "x"), columns=names))
    assert (found["shd"], found["shd_cpdag"]) == (2, 0)
    found = S.score_edges(edges, table(("b", "a"), ("b", "x"), columns=names))
    assert (found["shd"], found["shd_cpdag"]) == (4, 2)
    found = S.score_edges(edges, table(("a", "x"), columns=names))
    assert (found["shd"], found["shd_cpdag"]) == (1, 1)


def test_a_reversed_edge_counts_twice_in_shd():
    edges = table(("a", "b", 0.0), ("b", "a", 1.0))
    assert S.score_edges(edges, table(("a", "b"), columns=["source", "target"]))["shd"] == 2


def test_signs_and_weights_of_the_truth():
    edges = table(("a", "b", 2.0), ("a", "c", -1.0), ("b", "c", 0.5))
    signed = table(("a", "b", 1), ("a", "c", 1), ("b", "c", 0), columns=["source", "target", "sign"])
    weighted = table(("a", "b", 1.0), ("a", "c", -3.0))
    assert S.score_edges(edges, signed)["signed_accuracy"] == 0.5
    found = S.score_edges(edges, weighted)
    assert found["signed_accuracy"] == 1.0
    assert found["mse"] == pytest.approx((1 + 4 + 0.25) / 3)
    assert np.isnan(S.score_edges(edges.assign(weight=edges["weight"].abs()), signed)["signed_accuracy"])
    assert "mse" not in S.score_edges(edges, signed).values
    assert "ece" not in found.values
    assert found.reliability is None


def test_numeric_names_match_their_text():
    edges = table((0, 1, 1.0), (0, 2, 0.5))
    assert S.score_edges(edges, table(("0", "1"), columns=["source", "target"]))["auroc"] == 1.0


@pytest.mark.parametrize(
    ("truth", "cause"),
    [
        ([("B", "A"), ("C", "A")], "swapped"),
        ([("a", "b")], "upper and lower case"),
        ([("ENSG1", "ENSG2")], "different names"),
    ],
)
def test_no_overlap_names_the_cause(truth, cause):
    edges = table(("A", "B", 1.0), ("A", "C", 0.5))
    with pytest.raises(ValueError, match=cause):
        S.score_edges(edges, table(*truth, columns=["source", "target"]))


GOOD = table(("a", "b", 1.0), ("a", "c", 0.5))
TRUTH = table(("a", "b"), columns=["source", "target"])


@pytest.mark.parametrize(
    ("edges", "truth", "options", "message"),
    [
        (pd.concat([GOOD, GOOD]), TRUTH, {}, "repeats 2 pairs"),
        (GOOD.rename(columns={"source": "TF"}), TRUTH, {}, r"edge table has no column \['source'\]"),
        (GOOD, TRUTH.rename(columns={"target": "gene"}), {}, r"truth has no column \['target'\]"),
        (GOOD[:0], TRUTH, {}, "edge table is empty"),
        (GOOD, TRUTH[:0], {}, "truth is empty"),
        (GOOD.assign(target=["b", None]), TRUTH, {}, "without a source or target"),
        (GOOD.drop(columns="weight"), TRUTH, {}, "no column 'inclusion' or 'weight'"),
        (GOOD, TRUTH, {"score": "importance"}, "no column 'importance'"),
        (GOOD.assign(weight=[1.0, np.nan]), TRUTH, {}, "expected finite numbers"),
        (GOOD.assign(weight=["1.0", "high"]), TRUTH, {}, "holds 'high' in row 1"),
        (GOOD.assign(inclusion=[0.5, 1.5]), TRUTH, {}, r"expected values in \[0, 1\]"),
        (GOOD.assign(inclusion=[0.5, -0.5]), TRUTH, {}, "must not be negative"),
        (GOOD, TRUTH.assign(target="a"), {}, "nothing but self-loops"),
        (GOOD, TRUTH.assign(weight=0.0), {}, "1 edges of weight 0"),
        (GOOD, TRUTH, {"tfs": ["x", "y"]}, "None of the 2 `tfs`"),
    ],
)
def test_bad_input_is_refused_in_one_line(edges, truth, options, message):
    with pytest.raises(ValueError, match=message) as error:
        S.score_edges(edges, truth, **options)
    assert "\n" not in str(error.value)


def test_inputs_are_left_alone():
    edges, truth = random_tables()
    before = edges.copy(), truth.copy()
    S.score_edges(edges, truth, num_bootstrap=2)
    pd.testing.assert_frame_equal(edges, before[0])
    pd.testing.assert_frame_equal(truth, before[1])


def test_jaccard_of_the_top_pairs():
    first = table(("a", "b", 3.0), ("a", "c", -2.0), ("b", "c", 1.0), ("b", "b", 9.0), ("c", "a", 0.0))
    second = table(("b", "c", 3.0), ("a", "c", 2.0), ("a", "b", 1.0))
    assert S.jaccard_top_k(first, first, 2) == 1.0
    assert S.jaccard_top_k(first, second, 2) == pytest.approx(1 / 3)
    assert S.jaccard_top_k(first, second, 3) == 1.0
    assert S.jaccard_top_k(first, second, 100) == 1.0  # the zero and the self-pair never count
    tied = second.assign(weight=1.0)
    assert S.jaccard_top_k(tied, tied.sample(frac=1, random_state=0), 1) == 1.0
    nothing = first.assign(weight=0.0)
    assert S.jaccard_top_k(nothing, nothing, 2) == 1.0
    assert S.jaccard_top_k(first, nothing, 2) == 0.0
    with pytest.raises(ValueError, match="at least 1"):
        S.jaccard_top_k(first, second, 0)


def test_a_million_pairs_take_about_a_second():
    names = np.array([f"g{i}" for i in range(2000)], dtype=object)
    source, target = np.divmod(np.arange(500 * 2000), 2000)
    keep = source != target
    generator = np.random.default_rng(0)
    edges = pd.DataFrame({"source": names[source[keep]], "target": names[target[keep]]})
    edges = edges.assign(weight=generator.normal(size=len(edges)), inclusion=generator.random(len(edges)))
    truth = edges.sample(10_000, random_state=0)[["source", "target"]]
    pairs = align(edges, truth)
    start = time.process_time()
    for function in (S.average_precision, S.auroc, S.auprc_trapezoid, S.early_precision):
        function(pairs.score, pairs.true)
    assert time.process_time() - start < 1.0  # measured 0.1 s; a quadratic step would take minutes
    start = time.process_time()
    S.score_edges(edges, truth)
    assert time.process_time() - start < 5.0  # measured 0.65 s

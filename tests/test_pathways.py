"""Pathway influence: all permutations of six scores, exact moments, valid p-values, corrections, filters."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from pyrogrn.inference.neural_ode.pathways import PATHWAY_COLUMNS, pathway_influence
from scipy import stats

SCORES = pd.Series([5.0, 3.0, 2.0, 0.5, 0.25, 0.0], index=list("ABCDEF"))
SETS = {"mine": {"top": ["A", "B"], "mixed": ["A", "E", "F"], "bottom": ["D", "E", "F"], "one": ["C"]}}


def subsets(members: list[str]) -> np.ndarray:
    """Sums over every subset of that size: the permutation null, complete."""
    return np.array([sum(SCORES[list(c)]) for c in combinations(SCORES.index, len(members))])


@pytest.fixture(scope="module")
def table():
    return pathway_influence(SCORES, SETS, permutations=40_000, min_size=1).set_index("set")


class TestExact:
    def test_moments_are_those_of_all_permutations(self, table):
        for name, genes in SETS["mine"].items():
            null = subsets(genes)
            row = table.loc[name]
            assert row["score"] == pytest.approx(SCORES[genes].sum())
            assert row["mean"] == pytest.approx(null.mean())
            assert row["sd"] == pytest.approx(null.std())
            assert row["z"] == pytest.approx((row["score"] - null.mean()) / null.std())

    def test_pvalues_are_those_of_all_permutations(self, table):
        for name, genes in SETS["mine"].items():
            exact = (subsets(genes) >= SCORES[genes].sum() - 1e-12).mean()
            error = np.sqrt(exact * (1 - exact) / 40_000)
            assert abs(table.loc[name, "pvalue"] - exact) <= 4.5 * error + 1 / 40_000

    def test_permuted_moments_agree_with_the_paper(self):
        """The paper estimates mean and sd from its permutations: the same up to sampling error."""
        rng, n, K = np.random.default_rng(0), 60, 4000
        s = rng.gamma(0.5, size=n)
        scores = pd.Series(s, index=[f"g{i}" for i in range(n)])
        row = pathway_influence(scores, {"x": {"a": list(scores.index[:12])}}, annotated_only=False).iloc[0]
        null = np.array([rng.permutation(s)[:12].sum() for _ in range(K)])
        assert abs(null.mean() - row["mean"]) < 4.5 * row["sd"] / np.sqrt(K)
        error = np.sqrt((stats.kurtosis(null, fisher=False) - 1) / K) / 2  # of an sd, relative
        assert abs(null.std() / row["sd"] - 1) < 4.5 * error

    def test_ties_count(self):
        """Equal scores: every permutation reaches the sum, in whatever order it was added."""
        scores = pd.Series(0.1, index=[f"g{i}" for i in range(40)])
        found = pathway_influence(scores, {"x": {"a": [f"g{i}" for i in range(0, 40, 3)]}}, annotated_only=False)
        assert found["pvalue"].tolist() == [1.0]
        assert found["z"].tolist() == [0.0]

    def test_pvalues_hold_their_level_under_the_null(self):
        """r/K would reject too often when K is small; (r + 1)/(K + 1) does not."""
        rng, K, sets = np.random.default_rng(1), 19, 2000
        genes = [f"g{i}" for i in range(300)]
        named = {f"s{i}": rng.choice(genes, 10, replace=False).tolist() for i in range(sets)}
        low = []
        for seed in range(5):
            scores = pd.Series(rng.gamma(1.0, size=300), index=genes)
            found = pathway_influence(scores, {"x": named}, permutations=K, seed=seed)
            low.append((found["pvalue"] <= 0.05).mean())
        assert np.mean(low) == pytest.approx(0.05, abs=0.015)
        assert found["pvalue"].min() == 1 / 20


class TestCorrections:
    def test_bonferroni_and_false_discovery_rate(self, table):
        p = table["pvalue"].to_numpy()
        assert np.allclose(table["bonferroni"], np.minimum(1, 4 * p))
        assert np.allclose(np.sort(table["fdr"]), np.minimum.accumulate((np.sort(p) * 4 / np.arange(1, 5))[::-1])[::-1])
        assert list(table["z"]) == sorted(table["z"], reverse=True)

    def test_default_number_lets_a_set_pass(self):
        """200 sets: 1,000 permutations could not give an adjusted p below 0.05, the default can."""
        rng = np.random.default_rng(2)
        genes = [f"g{i}" for i in range(400)]
        s = rng.random(400)
        s[:10] += 50
        named = {f"s{i}": rng.choice(genes[10:], 8, replace=False).tolist() for i in range(199)}
        sets = {"x": {**named, "true": genes[:10]}}
        scores = pd.Series(s, index=genes)
        found = pathway_influence(scores, sets)
        assert found.iloc[0]["set"] == "true"
        assert found.iloc[0]["bonferroni"] < 0.05
        assert (found["bonferroni"] < 0.05).sum() == 1
        few = pathway_influence(scores, sets, permutations=1000)
        assert few["bonferroni"].min() > 0.05

    def test_same_seed_same_table(self):
        one, two = (pathway_influence(SCORES, SETS, min_size=1, seed=3) for _ in range(2))
        pd.testing.assert_frame_equal(one, two)


class TestSets:
    def test_sizes_and_annotation(self):
        scores = pd.concat([SCORES, pd.Series([9.0, 9.0], index=["unknown1", "unknown2"])])
        sets = {"one": {"pair": ["A", "B", "B", "absent"], "single": ["C"]}, "two": {"all": list("ABCDEF")}}
        found = pathway_influence(scores, sets, min_size=2, max_size=5)
        assert list(found.columns) == list(PATHWAY_COLUMNS)
        assert found[["set", "library", "genes"]].values.tolist() == [["pair", "one", 2]]
        assert found["mean"].item() == pytest.approx(2 * SCORES.mean())
        everything = pathway_influence(scores, sets, min_size=2, max_size=5, annotated_only=False)
        assert everything["mean"].item() == pytest.approx(2 * scores.mean())

    def test_a_set_of_all_genes_says_nothing(self):
        found = pathway_influence(SCORES, {"x": {"all": list("ABCDEF")}})
        assert found[["z", "pvalue"]].values.tolist() == [[0.0, 1.0]]

    def test_order_of_genes_does_not_matter(self):
        one = pathway_influence(SCORES, SETS, min_size=1)
        two = pathway_influence(SCORES[::-1], SETS, min_size=1)
        exact = ["set", "score", "mean", "sd", "z"]
        pd.testing.assert_frame_equal(one[exact], two[exact])

    def test_bad_input(self):
        with pytest.raises(ValueError, match="none of 4 gene sets has 5 to 500 of the 6"):
            pathway_influence(SCORES, SETS)
        with pytest.raises(ValueError, match="min_size=3, max_size=2"):
            pathway_influence(SCORES, SETS, min_size=3, max_size=2)
        with pytest.raises(ValueError, match="permutations is 0"):
            pathway_influence(SCORES, SETS, min_size=1, permutations=0)
        with pytest.raises(ValueError, match="1 of 6 scores are not finite"):
            pathway_influence(SCORES.where(SCORES < 5), SETS)
        with pytest.raises(ValueError, match="1 genes have several scores"):
            pathway_influence(pd.concat([SCORES, SCORES[:1]]), SETS)
        with pytest.raises(ValueError, match="none of 1 gene sets"):
            pathway_influence(SCORES, {"x": {"other": ["TP53"]}}, min_size=1)


def test_agrees_with_the_rank_test_on_a_strong_set():
    """Another test of the same question, on data where both must see it."""
    rng = np.random.default_rng(3)
    genes = [f"g{i}" for i in range(200)]
    s = rng.random(200)
    s[:15] += 0.5
    found = pathway_influence(pd.Series(s, index=genes), {"x": {"a": genes[:15]}}, annotated_only=False)
    rank = stats.mannwhitneyu(s[:15], s[15:], alternative="greater").pvalue
    assert found["pvalue"].item() < 0.01
    assert rank < 0.01

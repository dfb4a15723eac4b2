"""Enrichment of unlabelled programs: against scipy's test, under the null, and with bad input."""

import numpy as np
import pandas as pd
import pytest
from pyrogrn.experiments.enrichment import ENRICHMENT_COLUMNS, adjusted, enrich, mean_ranks, rank_test
from scipy import stats


def loadings(programs=3, genes=60, seed=0, digits=None):
    values = np.random.default_rng(seed).normal(size=(programs, genes))
    values = values if digits is None else values.round(digits)
    names = [f"factor_{k + 1}" for k in range(programs)], [f"g{i}" for i in range(genes)]
    return pd.DataFrame(values, index=names[0], columns=names[1])


def long(wide):
    table = wide.rename_axis("program").reset_index().melt("program", var_name="gene", value_name="loading")
    return table.sample(frac=1, random_state=0)


@pytest.mark.parametrize("digits", [None, 0])
def test_p_values_are_those_of_scipy(digits):
    wide = loadings(digits=digits)
    sets = {"a": {"x": [f"g{i}" for i in range(0, 20)], "y": [f"g{i}" for i in range(15, 23)]}}
    table = enrich(long(wide), sets).set_index(["program", "set"])
    for (program, name), row in table.iterrows():
        inside = wide.columns.isin(sets["a"][name])
        size = wide.loc[program].abs()
        test = stats.mannwhitneyu(size[inside], size[~inside], alternative="greater", method="asymptotic")
        assert row["pvalue"] == pytest.approx(test.pvalue, rel=1e-9)
        assert row["auc"] == pytest.approx(test.statistic / (inside.sum() * (~inside).sum()))


def test_columns_order_and_false_discovery_rate():
    table = enrich(long(loadings()), {"a": {f"s{k}": [f"g{i}" for i in range(k, k + 10)] for k in range(9)}})
    assert tuple(table.columns) == ENRICHMENT_COLUMNS
    assert len(table) == 27
    assert table.groupby("program")["pvalue"].apply(lambda p: p.is_monotonic_increasing).all()
    p = np.sort(table["pvalue"])  # Benjamini & Hochberg: the smallest p_j m / j over j from the test's rank on
    steps = np.minimum.accumulate((p * len(p) / np.arange(1, len(p) + 1))[::-1])[::-1].clip(max=1)
    assert np.sort(table["fdr"]) == pytest.approx(steps)
    assert (table["genes"] == 10).all()


def test_a_planted_set_is_found_with_its_direction():
    wide = loadings(genes=200)
    wide.iloc[0, :15] = 4.0
    wide.iloc[1, :15] = -4.0
    wide.iloc[2, :15] = [4.0, -4.0, 4.0] * 5
    table = enrich(
        long(wide), {"lib": {"planted": [f"g{i}" for i in range(15)], "other": [f"g{i}" for i in range(90, 110)]}}
    )
    planted = table[table["set"] == "planted"].set_index("program").sort_index()
    assert (planted["fdr"] < 1e-6).all()
    assert (planted["auc"] > 0.95).all()
    assert list(planted["direction"]) == ["positive", "negative", "positive"]  # 10 of 15 are positive
    assert (table.loc[table["set"] == "other", "fdr"] > 0.01).all()


def test_p_values_are_uniform_without_signal():
    rng = np.random.default_rng(3)
    values, member = np.abs(rng.normal(size=(1, 300))), np.zeros((300, 2000))
    for s in range(2000):
        member[rng.choice(300, 25, replace=False), s] = 1
    _, pvalue = rank_test(values, member)
    assert stats.kstest(pvalue.ravel(), "uniform").pvalue > 1e-3


def test_all_loadings_zero_is_no_evidence():
    wide = loadings() * 0
    table = enrich(long(wide), {"a": {"x": [f"g{i}" for i in range(9)]}})
    assert (table["pvalue"] == 1).all()
    assert (table["auc"] == 0.5).all()
    assert (table["direction"] == "mixed").all()


def test_sets_below_the_overlap_are_left_out_and_none_left_is_an_error():
    sets = {"a": {"small": ["g1", "g2", "not measured"], "large": [f"g{i}" for i in range(8)]}}
    assert set(enrich(long(loadings()), sets)["set"]) == {"large"}
    with pytest.raises(ValueError, match="none of 1 gene sets has 5 of the 60 measured genes"):
        enrich(long(loadings()), {"a": {"x": ["A", "B"]}})
    with pytest.raises(ValueError, match="min_overlap"):
        enrich(long(loadings()), sets, min_overlap=0)


def test_no_unlabelled_program_is_an_empty_table():
    table = enrich(pd.DataFrame(columns=["program", "gene", "loading"]), {"a": {"x": ["g1"]}})
    assert table.empty
    assert tuple(table.columns) == ENRICHMENT_COLUMNS


@pytest.mark.parametrize("digits", [1, 8])
def test_ranks_and_rates_are_those_of_scipy(digits):
    values = np.random.default_rng(0).random((3, 40)).round(digits)  # rounded: many are equal
    assert np.array_equal(mean_ranks(values), stats.rankdata(values, axis=1))
    assert np.allclose(adjusted(values[0]), stats.false_discovery_control(values[0]), rtol=1e-12)

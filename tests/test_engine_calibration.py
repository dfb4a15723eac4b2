"""The path that users take: files of raw numbers, standardised by what reads them, of networks from the prior."""

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.experiments.baselines import GENIE3, GRNBoost2
from pyrogrn.experiments.benchmarks import engine, engine_calibration
from pyrogrn.experiments.benchmarks.results import Results
from pyrogrn.inference import Gibbs, SparseGibbs, fit
from pyrogrn.inference.sbc import LinearDesign
from pyrogrn.models import ExpressionData, LinearNetwork
from pyrogrn.priors import SpikeSlab

pytestmark = pytest.mark.usefixtures("seeded")
DESIGN = LinearDesign(num_tfs=8, num_targets=12, num_cells=60)


def test_files_on_any_scale_are_calibrated(tmp_path):
    """Few data sets: what a slip of units or of standardising would do is far outside of these limits."""
    done = tmp_path / "done"
    done.mkdir()
    cases = [engine_calibration.kept(done, tmp_path, DESIGN, seed) for seed in range(5)]
    written = (tmp_path / "cells.csv").read_text()
    again = engine_calibration.kept(done, tmp_path, DESIGN, 0)  # read, not fitted again
    assert (tmp_path / "cells.csv").read_text() == written
    assert again["ranks"] == cases[0]["ranks"]
    np.testing.assert_array_equal(again["probability"], cases[0]["probability"])
    table = pd.read_csv(tmp_path / "cells.csv", index_col=0)
    assert table.std().max() / table.std().min() > 5  # raw numbers
    results = Results(tmp_path / "rows.csv")
    engine_calibration.add_rows(results, cases)
    value = lambda score: results.value(
        "5 files from the prior of the defaults", engine_calibration.METHOD, "all", score
    )
    assert value("smallest p of all ranks, Bonferroni") > 1e-4
    assert 0.8 < value("coverage of 90% intervals") < 0.98


@pytest.mark.parametrize("guide", [SparseGibbs(num_chains=2, num_warmup=20, num_samples=60), Gibbs(2, 100, 300)])
def test_a_network_is_the_same_in_any_unit_of_its_targets(guide):
    """Of a target that is all but explained the noise is a thousandth of the variance, of another it is most of it."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    explained = x @ [2.0, -1.5, 0.0] + 0.05 * rng.normal(size=60)
    vague = 0.4 * x[:, 0] + rng.normal(size=60)
    X = np.column_stack([x, explained, vague])
    genes = ("T0", "T1", "T2", "G0", "G1")
    data = ExpressionData(torch.as_tensor(X), genes, genes[:3], dtype=torch.float64)
    prior = SpikeSlab(unit="noise", edge_probability=0.3, slab_scale=20.0, spike_ratio=0.01)
    model = LinearNetwork(data.statistics(), edge_prior=prior, targets=genes[3:])
    posterior = fit(model, guide=guide)
    sd = X.std(0, ddof=1)
    noise = posterior.draws["noise_variance"].mean((0, 1)) * sd[3:] ** 2
    residual = [np.square(y - x @ np.linalg.lstsq(x, y, rcond=None)[0]).sum() / 57 for y in (explained, vague)]
    np.testing.assert_allclose(noise, residual, rtol=0.15)


def test_rows_of_rivals_are_of_the_same_targets(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "SOME_TARGETS", 4)
    monkeypatch.setattr(engine, "METHODS", {"sparse": (SpikeSlab(unit="noise"), SparseGibbs(2, 10, 10))})
    monkeypatch.setattr(engine, "GRNBoost2", lambda: GRNBoost2(num_trees=30))
    monkeypatch.setattr(engine, "GENIE3", lambda num_trees: GENIE3(num_trees=10))
    results = Results(tmp_path / "rows.csv")
    case = engine.Case(300, 20, 5, 0.4, False, True)
    engine.run_case(results, case)
    precision = {
        m: results.value(engine.of_some(case), m, 0, "average precision") for m in ("sparse", "lasso, BIC", "ridge")
    }
    assert all(value > 0.7 for value in precision.values()), precision
    assert results.value(engine.of_some(case), "genie3, 100 trees", 0, "CPU seconds, all targets") > 0

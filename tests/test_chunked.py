"""Gram statistics by Dask equal those in memory, from zarr and from backed h5ad, with contexts and interventions."""

from functools import partial

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.experiments.files.chunked import chunked_statistics, part_statistics
from pyrogrn.experiments.files.readers import read_expression

distributed = pytest.importorskip("distributed", reason="Dask is the extra `cluster`")
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
CELLS, GENES, TFS = 250, 12, 4
FIELDS = ("count", "mean", "cross", "square", "minimum")


@pytest.fixture(autouse=True)
def no_global_state_changed():
    """Instead of the guard of all tests: Dask's own threads draw from Python's global generator all the time."""


@pytest.fixture(scope="module")
def cells():
    """Cells of two contexts, unevenly spread over the file, with knock-outs; means far from zero."""
    generator = np.random.default_rng(1)
    X = 1000 + generator.normal(size=(CELLS, GENES)).cumsum(1).astype(np.float32)
    obs = pd.DataFrame(index=[f"c{i}" for i in range(CELLS)])
    obs["kind"] = np.where(np.arange(CELLS) < 170, "a", "b")
    obs["knocked"] = generator.choice(["control", "g1", "g2+g7"], size=CELLS, p=[0.8, 0.1, 0.1])
    return anndata.AnnData(X, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(GENES)]))


def open_file(path, backed):
    return partial(
        read_expression,
        path,
        tfs=[f"g{i}" for i in range(TFS)],
        context_key="kind",
        perturbation_key="knocked",
        backed=backed,
    )


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")  # what anndata still writes
@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_equal_to_statistics_in_memory(client, cells, tmp_path, suffix):
    path = tmp_path / f"cells.{suffix}"
    cells.write_h5ad(path) if suffix == "h5ad" else cells.write_zarr(path)
    expected = open_file(path, False)().statistics()
    found = chunked_statistics(open_file(path, True), client=client, rows=37)  # 7 parts, the last of 28
    assert (found.genes, found.tfs, found.context_names) == (expected.genes, expected.tfs, expected.context_names)
    for name in FIELDS:
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-7)
    assert found.clamped is not None
    assert expected.clamped is not None
    order = lambda c: (c.context * GENES + c.target).argsort()
    for name in ("context", "target", "count", "mean", "own", "gram", "cross", "square"):
        a = getattr(found.clamped, name)[order(found.clamped)]
        b = getattr(expected.clamped, name)[order(expected.clamped)]
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-7)


def test_a_part_reads_its_cells_alone(cells, tmp_path):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    part = part_statistics(open_file(tmp_path / "cells.h5ad", True), 160, 180)
    assert part.count.tolist() == [10, 10]
    torch.testing.assert_close(part.minimum, torch.as_tensor(cells.X[160:180].min(0)).double())


def test_bad_rows(cells):
    with pytest.raises(ValueError, match="rows=0: expected at least 1"):
        chunked_statistics(lambda: cells, client=None, rows=0)

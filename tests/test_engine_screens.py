"""Section `engine_screens` on a small screen."""

import numpy as np
import pytest
from pyrogrn.experiments.benchmarks import engine_screens
from pyrogrn.experiments.benchmarks.results import Results
from pyrogrn.models import LinearNetwork, linear


def test_a_made_screen_has_each_gene_perturbed_in_cells_of_its_own(monkeypatch):
    monkeypatch.setattr(linear, "FEW_ROWS", 0.25)  # three cells of twelve regulators
    data, truth = engine_screens.made(cells=120, genes=20, tfs=12, each=3)
    cell, gene = data.perturbed.numpy().T
    assert len(np.unique(cell)) == 60
    np.testing.assert_array_equal(np.bincount(gene), 3)
    assert truth.shape == (12, 20)
    assert not truth["G0"].any()
    assert not np.diag(truth).any()
    assert len(LinearNetwork.from_data(data).clamped_rows.target) == 60


def test_blocks_are_timed_with_rows_and_with_matrices(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_screens, "BLOCKS", 1)
    monkeypatch.setattr(linear, "FEW_ROWS", 0.25)
    results = Results(tmp_path / "rows.csv")
    engine_screens.blocks(results, "task", engine_screens.made(cells=120, genes=20, tfs=12, each=3)[0])
    assert [row["method"] for row in results.rows] == ["rows", "matrices"]
    assert all(row["value"] > 0 for row in results.rows)
    assert linear.FEW_ROWS == 0.25  # as it was


def test_the_plan_is_read_from_what_the_command_says():
    assert engine_screens.planned("a\nmemory: about 1.7 GB at its peak, 22 GB are free\n") == 1.7
    assert engine_screens.planned("memory: about 430 MB at its peak") == pytest.approx(0.43)
    with pytest.raises(ValueError, match="nothing of its memory"):
        engine_screens.planned("no word")

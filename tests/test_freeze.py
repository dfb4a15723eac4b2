"""The fingerprints of `make freeze`: the same twice, other where a number is other.

Their values are not kept here: kernels round differently from machine to machine. What is the same everywhere, up to
rounding, is in test_golden.py.
"""

import json

import freeze
import numpy as np
import pandas as pd
import pytest
import torch

CASE = "linear SpikeSlab, hubs, double"


@pytest.fixture
def one_thread():
    """The tool sets the number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_run_is_equal_to_itself_and_not_to_another(tmp_path, capsys, one_thread):
    file = tmp_path / "frozen.json"
    assert freeze.main(["--only", CASE, "--out", str(file)]) == 0
    assert freeze.main(["--only", CASE, "--compare", str(file)]) == 0
    assert "are equal" in capsys.readouterr().out
    frozen = json.loads(file.read_text())
    assert all(name.startswith(CASE) for name in frozen)
    frozen[f"{CASE} | draws/W"] = "other"
    del frozen[f"{CASE} | table"]
    frozen[f"{CASE} | elsewhere"] = "gone"
    file.write_text(json.dumps(frozen))
    assert freeze.main(["--only", CASE, "--compare", str(file)]) == 1
    found = capsys.readouterr().out
    assert all(line in found for line in (f"differs  {CASE} | draws/W", f"new      {CASE} | table", "gone     "))


def test_no_question_of_a_case_fails_otherwise_than_by_a_refusal():
    found = freeze.run("PPCA, tables") | freeze.run("bagging, tables")
    assert len(found) > 100
    assert not [line for line in found.items() if line[1].startswith("raised")]


def test_hashes_see_type_shape_and_every_digit():
    one = np.array([1.0, np.nan])
    others = [one[::-1], one.astype(np.float32), one[None], np.array([1.0 + 1e-15, np.nan])]
    assert freeze.of_array(one) == freeze.of_array(torch.tensor([1.0, np.nan], dtype=torch.float64))
    assert len({freeze.of_array(v) for v in (one, *others)}) == 5
    table = pd.DataFrame({"gene": ["A"], "mean": [0.1], "seconds": [3.0]})
    assert freeze.of_table(table) == freeze.of_table(table.assign(seconds=4.0))
    assert freeze.of_table(table) != freeze.of_table(table[["mean", "gene", "seconds"]])

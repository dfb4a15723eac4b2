"""Notebooks run from top to bottom, in a fresh process, in their fast setting; and none is forgotten. Those with
outputs (`make notebooks`) have the code of their sources."""

import base64
import io
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from matplotlib import pyplot as plt
from pyrogrn.experiments.site.executed import read_source, same_code, smaller

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = (
    "amortised_networks.py",
    "perturbation_panels.py",
    "from_file_to_edges.py",
    "from_your_anndata.py",
    "gene_programs.py",
    "prior_knowledge.py",
    "pyro_users.py",
    "time_courses.py",
)


def test_every_notebook_is_listed():
    assert {p.name for p in (ROOT / "notebooks").glob("*.py")} == set(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs(name, tmp_path):
    run(ROOT / "notebooks" / name, tmp_path)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_with_outputs_is_its_source(name):
    source = ROOT / "notebooks" / name
    notebook = source.with_suffix(".ipynb")
    assert same_code(source, notebook), "run `make notebooks`"
    stored = nbformat.read(notebook, as_version=4)
    nbformat.validate(stored)
    assert notebook.stat().st_size < 600_000
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    assert all(cell.execution_count for cell in code), "every cell was run"
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3


def test_other_code_is_not_the_same(tmp_path):
    source, notebook = tmp_path / "one.py", tmp_path / "one.ipynb"
    source.write_text("# %%\nx = 1\n")
    assert not same_code(source, notebook)
    nbformat.write(read_source(source), notebook)
    assert same_code(source, notebook)
    source.write_text("# %%\nx = 2\n")
    assert not same_code(source, notebook)


def test_a_smaller_picture_is_the_same_picture():
    figure, ax = plt.subplots(figsize=(4, 3))
    ax.plot([0, 1], [1, 0], "C1")
    whole = io.BytesIO()
    figure.savefig(whole, transparent=True)
    plt.close(figure)
    made = base64.b64decode(smaller(base64.b64encode(whole.getvalue()).decode()))
    assert len(made) < len(whole.getvalue())
    before, after = (plt.imread(io.BytesIO(data), format="png") for data in (whole.getvalue(), made))
    white = before[..., :3] * before[..., 3:] + 1 - before[..., 3:]
    assert np.abs(white - after[..., :3]).max() < 0.1


def run(script: Path, folder: Path) -> None:
    environment = {**os.environ, "PYROGRN_FAST": "1", "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]

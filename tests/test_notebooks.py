"""Notebooks run from top to bottom, in a fresh process, in their fast setting; and none is forgotten."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = (
    "amortised_networks.py",
    "perturbation_panels.py",
    "from_file_to_edges.py",
    "gene_programs.py",
    "prior_knowledge.py",
    "time_courses.py",
)


def test_every_notebook_is_listed():
    assert {p.name for p in (ROOT / "notebooks").glob("*.py")} == set(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs(name, tmp_path):
    run(ROOT / "notebooks" / name, tmp_path)


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

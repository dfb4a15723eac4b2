"""Notebooks run from top to bottom, in a fresh process, in their fast setting; and none is forgotten."""

import os
import re
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
)


def test_every_notebook_is_listed():
    assert {p.name for p in (ROOT / "notebooks").glob("*.py")} == set(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs(name, tmp_path):
    run(ROOT / "notebooks" / name, tmp_path)


def test_readme_example_runs(tmp_path):
    """The first Python block of the README, on the files that its first shell block makes."""
    code = python_blocks()[0]
    assert len(code.strip().splitlines()) <= 10
    simulate("linear --genes 30 --tfs 6 --cells 200 --seed 1 --out data", tmp_path)
    (tmp_path / "example.py").write_text(code)
    run(tmp_path / "example.py", tmp_path)
    assert (tmp_path / "report.html").exists()


def test_readme_example_of_programs_runs(tmp_path):
    """The second Python block of the README, on smaller data of the same kind."""
    size = "--genes 80 --cells 150 --sets 3 --set-size 20"
    simulate(f"muvi {size} --covariates 1 --correlation 0.5 --out cells", tmp_path)
    (tmp_path / "example.py").write_text(python_blocks()[1])
    run(tmp_path / "example.py", tmp_path)


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def simulate(arguments: str, folder: Path) -> None:
    """``pyrogrn simulate``, in a fresh process."""
    call = "from pyrogrn.experiments.cli import main; import sys; sys.argv = ['pyrogrn', *sys.argv[1:]]; main()"
    command = [sys.executable, "-c", call, "simulate", *arguments.split()]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)


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

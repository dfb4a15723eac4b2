"""Notebooks run from top to bottom, in a fresh process, in their fast setting; and none is forgotten."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ("from_file_to_edges.py",)


def test_every_notebook_is_listed():
    assert {p.name for p in (ROOT / "notebooks").glob("*.py")} == set(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs(name, tmp_path):
    run(ROOT / "notebooks" / name, tmp_path)


def test_readme_example_runs(tmp_path):
    """The first Python block of the README, on the files that its first shell block makes."""
    text = (ROOT / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    assert len(code.strip().splitlines()) <= 10
    simulate = "from pyrogrn.experiments.cli import main; import sys; sys.argv = ['pyrogrn', *sys.argv[1:]]; main()"
    arguments = ["simulate", "linear", "--genes", "30", "--tfs", "6", "--cells", "200", "--seed", "1", "--out", "data"]
    subprocess.run(
        [sys.executable, "-c", simulate, *arguments], cwd=tmp_path, check=True, capture_output=True, timeout=120
    )
    (tmp_path / "example.py").write_text(code)
    run(tmp_path / "example.py", tmp_path)
    assert (tmp_path / "report.html").exists()


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

"""What a small job does not wait for: packages that only other jobs use, and a search for garbage at the end."""

import json
import subprocess
import sys

import pytest
from pyrogrn.models.simulators import simulate_linear

# each takes a tenth of a second to a second to import
HEAVY = (
    "scipy.stats",
    "scipy.integrate",
    "scipy.optimize",
    "sklearn",
    "arviz_stats",
    "anndata",
    "zarr",
    "sympy",
    "distributed",
)


def loaded(code: str, *arguments: str) -> set[str]:
    """Which of `HEAVY` a new Python has imported after ``code``."""
    tell = f"\nimport json, sys; print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code + tell, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_package_imports_nothing_until_it_is_asked():
    code = "import pyrogrn, sys; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    assert loaded(code) == set()


def test_inference_waits_for_no_package_that_it_may_not_need():
    assert loaded("import pyrogrn.inference") == set()


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    data = simulate_linear(num_genes=6, num_tfs=2, num_cells=40, seed=1).data
    path = folder / "cells.csv"
    with path.open("w") as handle:
        handle.write("," + ",".join(data.genes) + "\n")
        handle.writelines(f"c{i}," + ",".join(map(str, row)) + "\n" for i, row in enumerate(data.X.tolist()))
    (folder / "tfs.csv").write_text("\n".join(data.tfs) + "\n")
    return path


def test_a_network_from_a_table_takes_none_of_them(table, tmp_path):
    code = (
        "import sys; from pyrogrn.experiments.entry import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code"
    )
    options = ("--tfs", str(table.parent / "tfs.csv"), "--steps", "12", "--out", str(tmp_path / "run"))
    assert loaded(code, "infer", str(table), *options) == set()
    assert (tmp_path / "run" / "posterior.nc").exists()

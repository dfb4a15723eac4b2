"""Read a file that `pyrogrn.tl` has written with other versions of anndata: give the Pythons to try.

Of each Python the newest anndata of 0.11, 0.12 and 0.13 that installs there (pip says where one does not). Each is put
into a folder of its own that is removed at the end. `make test-anndata` calls it; the network is needed.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

SERIES = ("0.11", "0.12", "0.13")
READ = """
import sys, warnings
warnings.simplefilter("error", FutureWarning)
import anndata
from importlib.metadata import version
adata = anndata.read_h5ad(sys.argv[1])
fit = adata.uns["pyrogrn"]
edges, checks = fit["edges"], fit["diagnostics"]
assert list(edges.columns)[:3] == ["source", "target", "weight"] and len(edges) > 5
assert edges["inclusion"].between(0, 1).all()
assert {"check", "value", "threshold", "passed", "meaning"} <= set(checks.columns)
assert adata.varp["pyrogrn_weight"].shape == (adata.n_vars, adata.n_vars)
assert adata.varp["pyrogrn_inclusion"].nnz and isinstance(fit["verdict"], str)
assert adata.obsm["X_muvi"].shape[0] == adata.n_obs and adata.varm["muvi_loadings"].shape[0] == adata.n_vars
python = sys.version.split()[0]
print(f"anndata {version('anndata')}, Python {python}: {len(edges)} edges, {len(checks)} checks, programs")
"""


def write(path: Path) -> None:
    """An h5ad with a network and programs in it."""
    import anndata
    import numpy as np
    import pandas as pd
    import pyrogrn

    rng = np.random.default_rng(0)
    genes = [f"G{i}" for i in range(12)]
    adata = anndata.AnnData(rng.poisson(5, (60, 12)).astype("float32"), var=pd.DataFrame(index=genes))
    pyrogrn.tl.network(adata, tfs=genes[:3], steps=20, restarts=2, calibrate=False)
    pyrogrn.tl.programs(adata, num_factors=2, steps=20, restarts=1, key="programs")
    adata.write_h5ad(path)


def main(pythons: list[str]) -> int:
    """0 where every version that installs reads the file."""
    failed = 0
    with tempfile.TemporaryDirectory() as made:
        file = Path(made) / "written.h5ad"
        write(file)
        for python in pythons:
            for series in SERIES:
                place = Path(made) / f"{Path(python).name}-{series}-{len(list(Path(made).iterdir()))}"
                subprocess.run([python, "-m", "venv", place], check=True)
                wanted = [place / "bin" / "pip", "install", "--quiet", f"anndata=={series}.*"]
                found = subprocess.run(wanted, capture_output=True, text=True, check=False)
                if found.returncode:
                    print(f"anndata {series}, {python}: does not install there")
                    continue
                read = subprocess.run([place / "bin" / "python", "-c", READ, file], check=False)
                failed += bool(read.returncode)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or [sys.executable]))

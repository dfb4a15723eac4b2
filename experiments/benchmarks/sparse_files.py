"""Statistics of sparse files of counts that are streamed: peak memory and time, each in a process of its own."""

import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd

from .memory import peak_memory
from .results import Results

AT_ONCE = 1 << 24  # numbers of a block that is made
NORMALIZE = "log1p-cpm"


class Size(NamedTuple):
    """Of a file: a share ``filled`` of its entries is not zero."""

    cells: int
    genes: int
    tfs: int
    filled: float

    @property
    def task(self) -> str:
        return f"{self.cells} cells x {self.genes} genes, {self.filled:.0%} not zero, {self.tfs} TFs"


SMALL, LARGE = Size(200_000, 5_000, 750, 0.08), Size(1_000_000, 10_000, 1_500, 0.06)
STORED = ("csr h5ad", "csc h5ad", "csr zarr")


def run_sparse_files(results: Results, small: Size = SMALL, large: Size = LARGE) -> None:
    """A file in every form, streamed and in memory; and a large one, CSR."""
    for size, forms in ((small, STORED), (large, STORED[:1])):
        for form in forms:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / ("cells." + form.split()[1])
                results.add(size.task, form, 0, "entries", write_counts(path, size, form))
                told = measured(path, size, backed=True, out=Path(folder) / "streamed.npz")
                add = partial(results.add, size.task, form, 0)
                add("CPU seconds", told["seconds"])
                add("peak MB", told["peak"] / 1e6)
                add("peak MB, imports alone", told["before"] / 1e6)
                if size is not small:
                    continue
                held = measured(path, size, backed=False, out=Path(folder) / "held.npz")
                add("peak MB, held in memory", held["peak"] / 1e6)
                one, other = (dict(np.load(Path(folder) / f"{name}.npz")) for name in ("streamed", "held"))
                apart = [np.abs(one[name] - other[name]).max() / np.abs(other[name]).max() for name in one]
                add("largest relative difference", max(apart))


def write_counts(path: Path, size: Size, form: str) -> float:
    """Counts at places at random, written in pieces as AnnData does; how many are not zero."""
    import zarr
    from anndata.io import write_elem

    zarred, by_cell = path.suffix == ".zarr", form.startswith("csr")
    root: Any = zarr.open_group(str(path), mode="w", zarr_format=2) if zarred else h5py.File(path, "w")
    root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    write_elem(root, "obs", pd.DataFrame(index=[f"c{i}" for i in range(size.cells)]))
    write_elem(root, "var", pd.DataFrame(index=[f"g{i}" for i in range(size.genes)]))
    group = root.create_group("X")
    group.attrs.update({"encoding-type": f"{form[:3]}_matrix", "encoding-version": "0.1.0"})
    group.attrs["shape"] = [size.cells, size.genes] if zarred else np.array([size.cells, size.genes])
    major, minor = (size.cells, size.genes) if by_cell else (size.genes, size.cells)
    room = int(1.01 * size.filled * major * minor) + 1000

    def array(name: str, shape: int, kind: Any) -> Any:
        options = {"compressors": None} if zarred else {"maxshape": (None,)}
        make = group.create_array if zarred else group.create_dataset
        return make(name, shape=(shape,), dtype=kind, chunks=(min(shape, 1 << 20),), **options)

    values, places = array("data", room, np.float32), array("indices", room, np.int32)
    pointers, total = np.zeros(major + 1, np.int64), 0
    rng, step = np.random.default_rng(0), max(1, AT_ONCE // minor)
    for start in range(0, major, step):
        lines = min(step, major - start)
        gaps = rng.geometric(size.filled, int(1.02 * size.filled * lines * minor) + 1000)
        place = gaps.cumsum() - 1
        place = place[place < lines * minor]
        line, number = place // minor, len(place)
        values[total : total + number] = rng.geometric(0.4, number).astype(np.float32)
        places[total : total + number] = (place - line * minor).astype(np.int32)
        pointers[start + 1 : start + lines + 1] = total + np.bincount(line, minlength=lines).cumsum()
        total += number
    for one in (values, places):
        one.resize((total,))
    array("indptr", major + 1, np.int64)[:] = pointers
    if not zarred:
        root.close()
    return float(total)


def measured(path: Path, size: Size, *, backed: bool, out: Path) -> dict[str, float]:
    """CPU seconds, and peak memory in bytes before and after the statistics, in a process of its own."""
    call = f"from {__name__} import child; child({str(path)!r}, {size.tfs}, {backed}, {str(out)!r})"
    done = subprocess.run([sys.executable, "-c", call], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def child(path: str, tfs: int, backed: bool, out: str) -> None:
    """Print what `measured` returns; the sums go to ``out``."""
    import time

    import torch

    from ..files.readers import read_expression

    torch.set_num_threads(1)
    started = time.process_time()
    data = read_expression(path, tfs=[f"g{i}" for i in range(tfs)], normalize=NORMALIZE, backed=backed)
    before = peak_memory()
    found = data.statistics()
    told = {"seconds": time.process_time() - started, "before": before, "peak": peak_memory()}
    if found.cross.numel() < 10**7:
        np.savez(out, mean=found.mean, cross=found.cross, square=found.square)
    print(json.dumps(told))

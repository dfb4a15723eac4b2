"""Every kind of expression file, told by its name."""

from collections.abc import Collection
from pathlib import Path

from .gct_file import read_gct
from .loom_file import read_loom
from .mtx_folder import find_mtx, read_mtx
from .parquet_file import read_parquet
from .stored import STORES, TABLES, Stored, read_stored
from .tenx_file import read_10x

OTHERS = (".loom", ".h5", ".hdf5", ".mtx", ".gct", ".parquet", ".pq")


def read_file(
    path: Path, *, layer: str | None, text: Collection[str], backed: bool | None, missing: bool = False
) -> Stored:
    """Read an expression file; the parameters are those of `read_stored`, which reads h5ad, zarr and plain tables.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; an unknown kind of file, or anything wrong with it.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    name = path.name.lower().removesuffix(".gz")
    kind = next((suffix for suffix in OTHERS if name.endswith(suffix)), None)
    market = find_mtx(path)
    if path.is_dir() and market is None:
        return read_stored(path, layer=layer, text=text, backed=backed, missing=missing)
    if kind is None and market is None:
        if not name.endswith((*TABLES, *STORES)):
            known = ", ".join((*STORES, *TABLES, *OTHERS))
            raise ValueError(
                f"unknown kind of file {path.suffix or path.name!r}: expected {known} (text also with .gz), or a "
                "folder with matrix.mtx"
            )
        return read_stored(path, layer=layer, text=text, backed=backed, missing=missing)
    if path.name.lower().endswith(".gz") and kind not in (".mtx", ".gct"):
        raise ValueError(f"is a compressed {kind} file: unpack it first (gunzip)")
    if backed:
        raise ValueError(f"a {kind or 'folder of mtx'} cannot be streamed: write it as .h5ad, or leave out backed=True")
    if kind == ".loom":
        return read_loom(path, layer)
    if layer is not None:
        raise ValueError(f"a {kind or 'folder of mtx'} has no layer {layer!r}: layers are in h5ad, zarr and loom")
    if market is not None:
        return read_mtx(market)
    if kind == ".gct":
        return read_gct(path)
    return read_parquet(path, text) if kind in (".parquet", ".pq") else read_10x(path)

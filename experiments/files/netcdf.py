"""A DataTree as NetCDF 4, written group by group."""

from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import numpy as np
import xarray as xr


def write_netcdf(tree: xr.DataTree, path: Path) -> None:
    """What ``tree.to_netcdf(path, engine="h5netcdf")`` writes, and `xarray.open_datatree` reads back as equal.

    xarray looks for a Dask cluster before it writes, whose import takes longer than writing.

    Parameters
    ----------
    tree
        Its coordinates are labels of dimensions; values are numbers, truth values or text.
    path
        File to write.
    """
    with h5netcdf.File(path, "w") as file:
        for node in tree.subtree:
            group = file if node is tree else file.create_group(node.path)
            dataset = node.to_dataset(inherit=False)
            group.attrs.update(dataset.attrs)
            for name, size in dataset.sizes.items():
                group.dimensions[str(name)] = size
            for name, variable in dataset.variables.items():
                _write(group, str(name), variable)


def _write(group: Any, name: str, variable: xr.Variable) -> None:
    values = np.asarray(variable.values)
    attributes = dict(variable.attrs)
    kind: Any = values.dtype
    if values.dtype == bool:  # netCDF has no truth values; xarray makes them again from this attribute
        values, kind, attributes = values.astype(np.int8), np.dtype(np.int8), {**attributes, "dtype": "bool"}
    elif values.dtype.kind in "OU":
        values, kind = values.astype(object), h5py.string_dtype()
    stored = group.create_variable(name, tuple(str(d) for d in variable.dims), kind)
    if values.size:
        stored[...] = values
    stored.attrs.update(attributes)

"""A DataTree written group by group is the one that xarray writes."""

import numpy as np
import xarray as xr
from pyrogrn.experiments.files.netcdf import write_netcdf


def tree() -> xr.DataTree:
    draws = xr.Dataset(
        {
            "W": (("chain", "draw", "tf", "target"), np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3)),
            "inclusion": (("chain", "draw"), np.array([[0, 1], [1, 1]], dtype=np.int8)),
            "alone": ((), 0.5),
        },
        coords={"chain": [0, 1], "draw": [0, 4], "tf": ["A", "B→é"], "target": ["g1", "a long name", ""]},
        attrs={"model": "linear", "seed": 3, "thin": 4, "threshold": 0.1},
    )
    draws["W"].attrs["unit"] = "sd"
    table = xr.Dataset({"mean": ("x", [1.0, np.nan]), "sure": ("x", [True, False])}, coords={"x": ["p", "q"]})
    empty = xr.Dataset({"nothing": ("none", np.zeros(0))})
    whole = xr.DataTree.from_dict({"posterior": draws, "tables/edges": table, "empty": empty})
    whole.attrs = {"limits": "one chain", "calibrated": 1}
    return whole


def test_read_back_as_xarray_writes_it(tmp_path):
    original = tree()
    write_netcdf(original, tmp_path / "own.nc")
    original.to_netcdf(tmp_path / "xarray.nc", engine="h5netcdf")
    with (
        xr.open_datatree(tmp_path / "own.nc", engine="h5netcdf") as own,
        xr.open_datatree(tmp_path / "xarray.nc", engine="h5netcdf") as theirs,
    ):
        xr.testing.assert_identical(own.load(), theirs.load())
        xr.testing.assert_equal(own, original)
        kinds = lambda found: {(n.path, v): n.variables[v].dtype for n in found.subtree for v in n.variables}
        assert kinds(own) == kinds(theirs)
        assert own.attrs == theirs.attrs
        assert own["posterior"].attrs == {"model": "linear", "seed": 3, "thin": 4, "threshold": 0.1}

"""A CSC matrix on disk, read by rows: its entries are put in order by rows in scratch files first."""

import shutil
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from ...models.data.passes import told
from .scratch import remove_abandoned, scratch_of

NAME = "pyrogrn-rows"
AT_ONCE = 1 << 22  # entries read at a time, and in a scratch file: 50 MB
MOST_FILES = 500  # open at once
ENTRY = np.dtype([("row", np.int32), ("column", np.int32), ("value", np.float32)])


class CscRows:
    """Rows of a stored CSC matrix, of which never more than a few million entries are in memory.

    When the first rows are asked for, the file is read once, and each entry goes to the scratch file of its rows, 12
    bytes each in the system's folder for such (``TMPDIR``), which goes with this object.

    Parameters
    ----------
    path
        Of the file, for messages.
    group
        ``data``, ``indices`` and ``indptr``, in HDF5 or zarr.
    shape
        (row, column).
    """

    def __init__(self, path: Path, group: Any, shape: tuple[int, int]) -> None:
        self.path, self.group, self.shape = path, group, shape
        self._scratch: Path | None = None
        self._rows = 1  # of a scratch file
        self._last: tuple[int, sp.csr_matrix] | None = None

    def __getitem__(self, rows: slice | np.ndarray) -> sp.csr_matrix:
        """``rows``: of step 1, or positions that rise."""
        if self._scratch is None:
            self._sort()
        wanted = np.arange(self.shape[0])[rows]
        if not len(wanted):
            return sp.csr_matrix((0, self.shape[1]), dtype=np.float32)
        parts = []
        for file in range(int(wanted[0]) // self._rows, int(wanted[-1]) // self._rows + 1):
            first = file * self._rows
            own = wanted[np.searchsorted(wanted, first) : np.searchsorted(wanted, first + self._rows)]
            if len(own):
                parts.append(self._read(file)[own - first])
        return sp.vstack(parts, format="csr")

    def _read(self, file: int) -> sp.csr_matrix:
        if self._last is None or self._last[0] != file:
            self._last = None
            place = self._place(file)
            entries = np.fromfile(place, ENTRY) if place.exists() else np.empty(0, ENTRY)
            number = min(self._rows, self.shape[0] - file * self._rows)
            triple = entries["value"], (entries["row"], entries["column"])
            self._last = file, sp.csr_matrix(triple, shape=(number, self.shape[1]))
        return self._last[1]

    def _place(self, file: int) -> Path:
        assert self._scratch is not None, "sorted before it is read"
        return self._scratch / str(file)

    def _sort(self) -> None:
        """Once through the file.

        Raises
        ------
        ValueError
            No room on the disk.
        """
        indices, values = self.group["indices"], self.group["data"]
        number = int(indices.shape[0])
        place = Path(tempfile.gettempdir())
        needed, free = ENTRY.itemsize * number, shutil.disk_usage(place).free
        if needed > free:
            raise ValueError(
                f"{self.path}: is CSC, and to read it by cells {needed / 1e9:.1f} GB of scratch files are needed in "
                f"{place}, where {free / 1e9:.1f} GB are free: set TMPDIR to a larger disk, or write the matrix as CSR"
            )
        files = min(max(1, -(-number // AT_ONCE)), MOST_FILES, self.shape[0])
        self._rows = -(-self.shape[0] // files)
        ends = np.asarray(self.group["indptr"][...], dtype=np.int64)
        remove_abandoned(place / NAME)
        own = scratch_of(place / NAME)  # of this process
        own.mkdir(exist_ok=True)
        self._scratch = Path(tempfile.mkdtemp(dir=own))
        release = weakref.finalize(self, _remove, self._scratch)
        try:
            for start in range(0, number, AT_ONCE):
                stop = min(start + AT_ONCE, number)
                self._spread(start, np.asarray(indices[start:stop]), np.asarray(values[start:stop]), ends)
                told("a CSC matrix put in order by cells", stop, number)
        except BaseException as error:
            release()
            self._scratch = None
            if isinstance(error, OSError):
                raise ValueError(f"{self.path}: scratch files in {place} ({error.strerror or error})") from error
            raise

    def _spread(self, start: int, rows: np.ndarray, values: np.ndarray, ends: np.ndarray) -> None:
        """Entries from ``start`` on to the scratch files of their rows."""
        if rows.min() < 0 or rows.max() >= self.shape[0]:
            raise ValueError(
                f"{self.path}: the matrix is no sparse matrix: it has an entry outside rows 0 to {self.shape[0] - 1}"
            )
        first = int(np.searchsorted(ends, start, side="right")) - 1
        last = int(np.searchsorted(ends, start + len(rows), side="left"))
        bounds = ends[first : last + 1].clip(start, start + len(rows))
        entries = np.empty(len(rows), ENTRY)
        file = rows // self._rows
        order = np.argsort(file.astype(np.uint16), kind="stable")
        entries["column"] = np.repeat(np.arange(first, last), np.diff(bounds))[order]
        entries["row"] = (rows - file * self._rows)[order]
        entries["value"] = values[order]
        numbers = np.bincount(file, minlength=1)
        for at, part in enumerate(np.split(entries, numbers.cumsum()[:-1])):
            if len(part):
                with self._place(at).open("ab") as handle:
                    part.tofile(handle)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # of other matrices of this process there are still files
        folder.parent.rmdir()

"""Damage to files: of text and tables, of bytes, of stores (HDF5), of archives (npz) and of manifests (JSON).

Each mutation takes a generator and a path and changes what is there; its name is its function's.
"""

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from pyrogrn.inference.runs.saving import MARK

Generator = np.random.Generator
Mutation = Callable[[Generator, Path], None]

NUMBERS = (
    "nan",
    "inf",
    "-inf",
    "1e400",
    "-1",
    "1e38",
    "0x10",
    "1_0",
    "1,5",
    "",
    " ",
    "NA",
    "None",
    "TRUE",
    "1e-320",
    "٣",
)
NAMES = (
    "",
    "nan",
    "\r",
    "=1+1",
    "+x",
    "-x",
    "@x",
    "a/b",
    "../x",
    "x" * 400,
    "日本",
    "\u202eabc",
    "a'b",
    '"',
    "$PATH",
    "NA",
    "1",
    "7157.0",
    "SPI1",
    "GATA1.1",
    " SPI1 ",
    "spi1",
    "\0",
    "{x}",
    "%s",
    "[b]",
    "\\",
    "None",
    "control",
    "A+B",
)


def pick(rng: Generator, values: Any) -> Any:
    """One of them."""
    return values[int(rng.integers(len(values)))]


# -- text ----
def _text(path: Path) -> tuple[str, bool]:
    raw = path.read_bytes()
    packed = raw[:2] == b"\x1f\x8b"
    return (gzip.decompress(raw) if packed else raw).decode("utf-8", "replace"), packed


def _write(path: Path, text: str | bytes, packed: bool) -> None:
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    path.write_bytes(gzip.compress(raw) if packed else raw)


def _table(change: Callable[[Generator, list[list[str]]], list[list[str]]]) -> Mutation:
    def mutate(rng: Generator, path: Path) -> None:
        text, packed = _text(path)
        lines = text.splitlines()
        separator = next((s for s in "\t, " if lines and s in lines[0]), ",")
        rows = change(rng, [line.split(separator) for line in lines] or [[""]])
        _write(path, "\n".join(separator.join(row) for row in rows) + "\n", packed)

    mutate.__name__ = change.__name__
    return mutate


def _place(rng: Generator, rows: list[list[str]]) -> tuple[int, int]:
    row = int(rng.integers(len(rows)))
    return row, int(rng.integers(max(len(rows[row]), 1)))


def odd_number(rng: Generator, rows: list[list[str]]) -> list[list[str]]:
    """A cell becomes a number that is none, or text."""
    i, j = _place(rng, rows)
    rows[i][j : j + 1] = [pick(rng, NUMBERS)]
    return rows


def odd_name(rng: Generator, rows: list[list[str]]) -> list[list[str]]:
    """A name of the first row or column becomes an odd one."""
    i, j = _place(rng, rows)
    if rng.random() < 0.5:
        rows[i][:1] = [pick(rng, NAMES)]
    else:
        rows[0][j : j + 1] = [pick(rng, NAMES)]
    return rows


def column_dropped(rng: Generator, rows: list[list[str]]) -> list[list[str]]:
    """Without one of its columns."""
    _, j = _place(rng, rows)
    return [row[:j] + row[j + 1 :] for row in rows]


def column_twice(rng: Generator, rows: list[list[str]]) -> list[list[str]]:
    """One column is there twice."""
    _, j = _place(rng, rows)
    return [row[: j + 1] + row[j:] for row in rows]


def row_twice(rng: Generator, rows: list[list[str]]) -> list[list[str]]:
    """One row is there twice."""
    i, _ = _place(rng, rows)
    return rows[: i + 1] + rows[i:]


def row_dropped(rng: Generator, rows: list[list[str]]) -> list[list[str]]:
    """Without one of its rows; of the first, without the header."""
    i = 0 if rng.random() < 0.5 else _place(rng, rows)[0]
    return rows[:i] + rows[i + 1 :] or [[""]]


def only_header(_: Generator, rows: list[list[str]]) -> list[list[str]]:
    """Nothing below the first row."""
    return rows[:1]


def ragged(rng: Generator, rows: list[list[str]]) -> list[list[str]]:
    """One row has more or fewer cells."""
    i, _ = _place(rng, rows)
    rows[i] = rows[i][:-1] if rng.random() < 0.5 else [*rows[i], "1"]
    return rows


def transposed(_: Generator, rows: list[list[str]]) -> list[list[str]]:
    """Rows become columns."""
    width = max(map(len, rows))
    full = [row + [""] * (width - len(row)) for row in rows]
    return [list(row) for row in zip(*full, strict=True)]


def all_the_same(rng: Generator, rows: list[list[str]]) -> list[list[str]]:
    """One column holds one value."""
    _, j = _place(rng, rows)
    return [row[:j] + rows[-1][j : j + 1] + row[j + 1 :] for row in rows]


def huge_numbers(rng: Generator, rows: list[list[str]]) -> list[list[str]]:
    """Values of one row are huge."""
    i, _ = _place(rng, rows)
    rows[i] = [*rows[i][:1], *(cell + "e30" if cell[:1].isdigit() else cell for cell in rows[i][1:])]
    return rows


def other_separator(rng: Generator, path: Path) -> None:
    """Another separator, or one of two."""
    text, packed = _text(path)
    old, new = next((s for s in "\t, " if s in text), ","), pick(rng, (";", "\t", ",", " ", "|", ",,"))
    _write(path, text.replace(old, new) if rng.random() < 0.7 else text.replace(old, new, 7), packed)


def other_encoding(rng: Generator, path: Path) -> None:
    """Other encodings, marks of byte order, ends of line."""
    text, packed = _text(path)
    how = pick(rng, ("utf-16", "utf-8-sig", "latin-1", "crlf", "cr", "nul", "comment", "quotes", "blank"))
    changed: str | bytes = {
        "crlf": text.replace("\n", "\r\n"),
        "cr": text.replace("\n", "\r"),
        "nul": text[:9] + "\0" + text[9:],
        "comment": "# made by x\n#\n" + text,
        "quotes": text.replace("1", '"1'),
        "blank": "\n\n" + text.replace("\n", "\n\n") + " \n",
    }.get(how, "")
    if not changed:
        changed = text.replace("S", "é" if how == "latin-1" else "S").encode(how, "replace")
    _write(path, changed, packed)


def gzipped(rng: Generator, path: Path) -> None:
    """Packed under the old name; or packed and cut short."""
    raw = gzip.compress(path.read_bytes())
    path.write_bytes(raw if rng.random() < 0.5 else raw[: len(raw) // 2])


# -- bytes ----
def truncated(rng: Generator, path: Path) -> None:
    """The end is missing."""
    raw = path.read_bytes()
    path.write_bytes(raw[: int(rng.integers(len(raw) + 1))])


def bits_flipped(rng: Generator, path: Path) -> None:
    """Some bits are turned over."""
    raw = bytearray(path.read_bytes())
    for _ in range(int(rng.integers(1, 12))) if raw else ():
        raw[int(rng.integers(len(raw)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(raw)


def block_zeroed(rng: Generator, path: Path) -> None:
    """A block of zeros, as after a crash of a disk."""
    raw = bytearray(path.read_bytes())
    start = int(rng.integers(len(raw) + 1))
    stop = min(start + int(rng.integers(1, 600)), len(raw))
    raw[start:stop] = bytes(stop - start)
    path.write_bytes(raw)


def emptied(rng: Generator, path: Path) -> None:
    """Nothing, or something else, under the name."""
    path.write_bytes(
        pick(rng, (b"", b"\n", b"<html>404</html>", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"\x1f\x8b", b"\x00" * 64))
    )


def a_folder(_: Generator, path: Path) -> None:
    """A folder where the file was."""
    path.unlink()
    path.mkdir()


def missing(_: Generator, path: Path) -> None:
    """No such file, or a link that leads nowhere."""
    path.unlink()
    path.symlink_to("nowhere")


# -- stores ----
def _store(change: Callable[[Generator, h5py.File, list[str]], None]) -> Mutation:
    def mutate(rng: Generator, path: Path) -> None:
        with h5py.File(path, "r+") as store:
            names: list[str] = []
            store.visit(names.append)
            change(rng, store, names)

    mutate.__name__ = change.__name__
    return mutate


def _sparse_parts(names: list[str], last: str) -> list[str]:
    return [name for name in names if name.rpartition("/")[2] == last]


def element_removed(rng: Generator, store: h5py.File, names: list[str]) -> None:
    """A group or matrix is missing."""
    del store[pick(rng, names)]


def element_of_other_type(rng: Generator, store: h5py.File, names: list[str]) -> None:
    """A group is a matrix, a matrix a number, names are numbers."""
    name = pick(rng, names)
    del store[name]
    other = (
        np.zeros((2, 3)),
        1.5,
        "text",
        np.arange(5),
        np.array([b"a", b"\xff"]),
        np.zeros(0),
        np.zeros((2, 2, 2)),
        None,
    )
    value = pick(rng, other)
    store.create_group(name) if value is None else store.create_dataset(name, data=value)


def link_elsewhere(rng: Generator, store: h5py.File, names: list[str]) -> None:
    """An element is a link into another file, to nowhere, or to the file itself."""
    name = pick(rng, names)
    del store[name]
    store[name] = pick(rng, (h5py.ExternalLink("/etc/passwd", "/x"), h5py.SoftLink("/nowhere"), h5py.SoftLink("/")))


def index_outside(rng: Generator, store: h5py.File, names: list[str]) -> None:
    """An index of a sparse matrix lies outside it."""
    names = _sparse_parts(names, "indices")
    if names:
        part = store[pick(rng, names)]
        part[int(rng.integers(len(part)))] = pick(rng, (-1, -1000000, 6, 24, 2**31 - 1))


def pointers_wrong(rng: Generator, store: h5py.File, names: list[str]) -> None:
    """Pointers of a sparse matrix do not rise, or lead too far."""
    names = _sparse_parts(names, "indptr")
    if names:
        part = store[pick(rng, names)]
        part[int(rng.integers(len(part)))] = pick(rng, (-5, 0, 10**6, 2**31 - 1))


def attribute_changed(rng: Generator, store: h5py.File, names: list[str]) -> None:
    """An attribute is missing, huge or of another type."""
    having = [name for name in names if len(store[name].attrs)]
    if not having:
        return
    attributes = store[pick(rng, having)].attrs
    key = pick(rng, sorted(attributes))
    value = pick(rng, (None, 7, "other", [-1, 5], [2**40, 2**40], [1, 2, 3], b"\xff", np.zeros(0)))
    del attributes[key]
    if value is not None:
        attributes[key] = value


def values_changed(rng: Generator, store: h5py.File, names: list[str]) -> None:
    """Values of a dataset are not finite, or names are all the same."""
    leaves = [n for n in names if isinstance(store[n], h5py.Dataset) and store[n].shape and store[n].size]
    if not leaves:
        return
    part = store[pick(rng, leaves)]
    if part.dtype.kind == "f":
        part[...] = pick(rng, (np.nan, np.inf, 0.0, 1e300, -1.0))
    elif part.dtype.kind in "iub":
        part[...] = pick(rng, (0, 1, 100))
    else:
        part[...] = pick(rng, (b"", b"nan", b"SPI1", b"\xff\xfe", b"x" * 500))


def claims_memory(rng: Generator, store: h5py.File, names: list[str]) -> None:
    """A dataset of nothing says it has a shape that no memory holds."""
    leaves = [n for n in names if isinstance(store[n], h5py.Dataset)]
    name = pick(rng, leaves) if leaves else "X"
    if name in store:
        del store[name]
    store.create_dataset(name, shape=pick(rng, ((10**6, 10**6), (10**9, 100), (2**40,))), dtype="f4", chunks=True)


# -- archives and manifests ----
def array_changed(rng: Generator, path: Path) -> None:
    """An array of an npz is missing, has another shape or type, is not finite, or claims a huge shape."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    if not arrays:
        return
    name = pick(rng, sorted(arrays))
    value, how = arrays.pop(name), int(rng.integers(8))
    changes: list[Callable[[], Any]] = [
        lambda: None,
        lambda: value[..., None],
        lambda: value.reshape(-1)[:1],
        lambda: np.full(value.shape, np.nan),
        lambda: value.astype(str),
        lambda: np.zeros(0),
        lambda: (np.zeros(value.shape) - 5).astype(int),
        lambda: value.astype(complex),
    ]
    changed = changes[how]()
    if changed is not None:
        arrays[name] = changed
    np.savez(path, **arrays)
    if rng.random() < 0.2:
        with zipfile.ZipFile(path, "a") as archive_file:
            head = io.BytesIO()
            shape = {"descr": "<f8", "fortran_order": False, "shape": (10**5, 10**6)}
            np.lib.format.write_array_header_1_0(head, shape)
            archive_file.writestr(f"{pick(rng, ('claimed', name))}_.npy", head.getvalue())


WRONG: tuple[Any, ...] = (None, True, -1, 0, 1e300, "x", "", [], {}, [1, "a"], {"a": None}, [[]], "nan", 2**70, "../x")


def manifest_changed(rng: Generator, path: Path) -> None:
    """A value somewhere in a JSON file is missing or of another type."""
    try:
        root = json.loads(path.read_text())
    except ValueError:
        return
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            places.append((node, key))
            walk(node[key])

    walk(root)
    if not places or rng.random() < 0.05:
        path.write_text(json.dumps(pick(rng, WRONG)))
        return
    node, key = pick(rng, places)
    if rng.random() < 0.3:
        del node[key]
    else:
        node[key] = pick(rng, WRONG)
    path.write_text(json.dumps(root))


def state_changed(rng: Generator, path: Path) -> None:
    """A value somewhere in a state that torch wrote is missing or another; with its old hash, or without one."""
    raw = path.read_bytes()
    state = torch.load(io.BytesIO(raw), weights_only=True)
    places = [(state, key) for key in (state if isinstance(state, dict) else range(len(state)))]
    node, key = pick(rng, places)
    if isinstance(node, dict) and rng.random() < 0.3:
        del node[key]
    elif isinstance(node, dict):
        node[key] = pick(rng, (None, -1, "x", {}, [], torch.zeros(2), torch.full((3, 1), float("nan"))))
    else:
        state = list(node)
        state[key] = torch.zeros(1)
    content = io.BytesIO()
    torch.save(state, content)
    path.write_bytes(content.getvalue() + (raw[raw.rindex(MARK) :] if rng.random() < 0.7 else b""))


TEXT: tuple[Mutation, ...] = (
    *map(_table, (odd_number, odd_name, column_dropped, column_twice, row_twice, row_dropped, only_header, ragged)),
    *map(_table, (transposed, all_the_same, huge_numbers)),
    *(other_separator, other_encoding, gzipped),
)
BYTES: tuple[Mutation, ...] = (truncated, bits_flipped, block_zeroed, emptied, a_folder, missing)
STORE: tuple[Mutation, ...] = tuple(
    map(
        _store,
        (
            *(element_removed, element_of_other_type, link_elsewhere, index_outside, pointers_wrong),
            *(attribute_changed, values_changed, claims_memory),
        ),
    )
)
ENDINGS: dict[str, tuple[Mutation, ...]] = {
    **dict.fromkeys((".h5ad", ".h5mu", ".loom", ".h5", ".nc"), STORE),
    **dict.fromkeys((".json", ".zattrs", ".zgroup", ".zarray"), (manifest_changed,)),
    ".npz": (array_changed,),
    ".pt": (state_changed,),
    ".parquet": (),
}


def mutate(rng: Generator, path: Path) -> str:
    """Damage a file, or one of the files of a folder, by one mutation that fits it; its name."""
    if path.is_dir():
        path = pick(rng, sorted(p for p in path.rglob("*") if p.is_file()) or [path])
    own = ENDINGS.get(path.suffix if path.suffix else path.name, TEXT)
    change = pick(rng, own if own and rng.random() < 0.75 else BYTES)
    try:
        change(rng, path)
    except Exception as error:  # damaged before, or too small for it
        return f"{change.__name__}({path.name}) not done: {type(error).__name__}"
    return f"{change.__name__}({path.name})"

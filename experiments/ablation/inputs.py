"""What all runs of an ablation share, as one file that a worker reads: the data and the networks."""

import hashlib
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...models import ExpressionData
from ...priors import PriorNetwork
from ..files.whole import whole_file

TENSORS = ("context", "perturbed", "time", "trajectory", "inputs", "covariates", "size_factor", "view")
LEAST_CELLS = 3  # to fit: with fewer nothing can be explained
NETWORK_COLUMNS = ("source", "target", "probability", "sign", "evidence")


@dataclass(frozen=True, eq=False)
class Inputs:
    """Data and networks of an ablation."""

    data: ExpressionData
    networks: dict[str, PriorNetwork]


def write_inputs(folder: Path, data: ExpressionData, networks: Mapping[str, PriorNetwork]) -> Path:
    """Write ``inputs-<hash of the content>.npz``; a file that is there already is not written again. Equal content has
    the same name in every folder."""
    arrays: dict[str, np.ndarray] = {
        "X": data.X.cpu().numpy(),
        "genes": np.array(data.genes, dtype=str),
        "tfs": np.array(data.tfs, dtype=str),
        "context_names": np.array(data.context_names, dtype=str),
        "trajectory_names": np.array(data.trajectory_names, dtype=str),
        "covariate_names": np.array(data.covariate_names, dtype=str),
        "networks": np.array(list(networks), dtype=str),
    }
    arrays |= {name: getattr(data, name).cpu().numpy() for name in TENSORS if getattr(data, name) is not None}
    if data.view is not None:
        arrays["view_names"] = np.array(data.view_names, dtype=str)
    if data.missing:
        arrays["missing"] = np.array(True)
    for i, network in enumerate(networks.values()):
        for column in NETWORK_COLUMNS:
            value = getattr(network, column)
            arrays[f"network{i}_{column}"] = value.astype(str) if value.dtype == object else value
    digest = hashlib.sha256()
    for name, value in sorted(arrays.items()):
        digest.update(f"{name}{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    path = folder / f"inputs-{digest.hexdigest()[:16]}.npz"
    if not path.exists():
        with whole_file(path) as place:
            np.savez_compressed(place, **arrays)  # type: ignore[arg-type]
    return path.resolve()


@lru_cache(maxsize=2)
def read_inputs(path: str) -> Inputs:
    """What `write_inputs` wrote; kept in memory for the next run of the same process."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    names = lambda key: tuple(arrays[key].tolist())
    tensors: dict[str, Any] = {name: torch.from_numpy(arrays[name]) for name in TENSORS if name in arrays}
    if "view" in arrays:
        tensors["view_names"] = names("view_names")
    data = ExpressionData(
        torch.from_numpy(arrays["X"]),
        names("genes"),
        names("tfs"),
        context_names=names("context_names"),
        trajectory_names=names("trajectory_names"),
        covariate_names=names("covariate_names"),
        missing="missing" in arrays,
        **tensors,
    )
    networks = {
        name: PriorNetwork(**{c: arrays[f"network{i}_{c}"] for c in NETWORK_COLUMNS}, name=name)
        for i, name in enumerate(names("networks"))
    }
    return Inputs(data, networks)


def split_cells(data: ExpressionData, share: float, seed: int) -> tuple[ExpressionData, ExpressionData | None]:
    """Cells to fit and cells to predict: ``share`` of the cells of every context, or of the time courses, whole ones.

    Of every context at least one cell is held out and at least one fitted; a context of one cell is fitted.

    Raises
    ------
    ValueError
        Fewer than two time courses, or one cell in each context.
    """
    if share == 0:
        return data, None
    generator = np.random.default_rng([seed, 7])
    if data.trajectory is not None:
        group = data.trajectory.cpu().numpy()
        courses = np.unique(group)
        if len(courses) < 2:
            raise ValueError("one time course cannot be split to predict a part of it: pass hold_out_cells=0")
        number = min(max(1, round(share * len(courses))), len(courses) - 1)
        test = np.isin(group, generator.choice(courses, number, replace=False))
    else:
        group = np.zeros(data.num_cells, dtype=int) if data.context is None else data.context.cpu().numpy()
        test = np.zeros(data.num_cells, dtype=bool)
        for code in np.unique(group):
            cells = np.flatnonzero(group == code)
            number = min(max(1, round(share * len(cells))), len(cells) - 1)
            test[generator.choice(cells, number, replace=False)] = True
        if not test.any():
            raise ValueError("every context has one cell, none can be held out: pass hold_out_cells=0")
    return data.subset(~test), data.subset(test)


def varying_in_training(data: ExpressionData, share: float, seeds: Sequence[int]) -> ExpressionData:
    """Without the genes that vary in the data but not among the cells fitted with some seed; ``notes`` say which.

    Raises
    ------
    ValueError
        As `split_cells`; too few cells, or no regulator, are left.
    """
    if share == 0:
        return data
    every = replace(data, tfs=data.genes)
    whole = set(every.without_constant_genes().genes)
    lost: set[str] = set()
    for seed in seeds:
        train = split_cells(every, share, seed)[0]
        if train.num_cells < LEAST_CELLS:
            raise ValueError(
                f"hold_out_cells={share:g} leaves {train.num_cells} of {data.num_cells} cells to fit, expected at "
                f"least {LEAST_CELLS}: pass a smaller share, or 0"
            )
        lost |= whole - set(train.without_constant_genes().genes)
    if not lost:
        return data
    names = [gene for gene in data.genes if gene in lost]
    if set(data.tfs) <= lost:
        raise ValueError(
            f"no regulator varies among the cells fitted with every seed ({', '.join(names[:3])}, ...): pass a smaller "
            "share of cells to hold out, or 0"
        )
    note = (
        f"{len(names)} genes dropped, which vary only among the cells held out with some seed: {', '.join(names[:5])}"
        + (", ..." if len(names) > 5 else "")
    )
    kept = data.select_genes([gene for gene in data.genes if gene not in lost])
    return replace(kept, notes=(*kept.notes, note))


def pack(values: np.ndarray, dtype: type = np.float32) -> dict[str, Any]:
    """An array as text, for results that are stored as JSON."""
    array: np.ndarray = np.ascontiguousarray(values, dtype=dtype)
    text = b64encode(zlib.compress(array.tobytes(), 6)).decode()
    return {"dtype": array.dtype.str, "shape": list(array.shape), "data": text}


def unpack(packed: Mapping[str, Any]) -> np.ndarray:
    """What `pack` packed."""
    flat = np.frombuffer(zlib.decompress(b64decode(packed["data"])), dtype=packed["dtype"])
    return flat.reshape(packed["shape"])

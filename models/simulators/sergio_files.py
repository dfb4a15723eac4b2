"""SERGIO's own two input files: the regulators of each target, and the production rates of the master regulators."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from .langevin import Kinetics

TARGETS, REGULATORS = "sergio_targets.csv", "sergio_regulators.csv"  # names of what `write_sergio` writes

Edge = tuple[int, float, float]  # regulator, strength, Hill coefficient


@dataclass(frozen=True, eq=False)
class SergioInputs:
    """What the files say: ``kinetics`` of one network, and ``genes``, names of its genes in order of SERGIO's ids.

    The files have no names: id 7 is gene G0007, as in `simulate_sergio`.
    """

    kinetics: Kinetics
    genes: tuple[str, ...]


def read_sergio(
    targets_file: Path | str,
    regulators_file: Path | str,
    *,
    hill: float | None = None,
    decay: float = 0.8,
    noise: float = 1.0,
) -> SergioInputs:
    """Read a network in SERGIO's format (Dibaeinia & Sinha 2020), comma-separated and without header.

    A row of the targets' file is ``target, number of regulators r, r regulators, r strengths K, r Hill coefficients``;
    a row of the regulators' file ``gene, rate in type 1, …, rate in type C``. Ids are whole numbers 0 … n − 1 (``3.0``
    is read as 3), each with one row in one of the files; empty lines are skipped.

    Parameters
    ----------
    targets_file, regulators_file
        The two files.
    hill
        One Hill coefficient for all edges (SERGIO's ``shared_coop_state`` above 0): those in the file, if any, are then
        not used. Default ``None``: the file has them.
    decay, noise
        λ and q of all genes, which are not in the files. Defaults: those of SERGIO's data sets DS1 to DS3.

    Returns
    -------
    SergioInputs
        float32. Its regulators are the master regulators and all genes that regulate another, in order of id.

    Raises
    ------
    ValueError
        A file that is missing, empty or not text; a row with another number of fields, entries that are not numbers,
        a gene with two rows; regulators without a row, ids that are missing, types that differ between rows, regulators
        that regulate each other in a circle.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     targets, regulators = Path(folder, "targets.txt"), Path(folder, "regulators.txt")
    ...     _ = targets.write_text("1,1,0,2.5,2\\n2,2,0,1,-3,1.5,2,2\\n")
    ...     _ = regulators.write_text("0,0.5,1.0\\n")
    ...     read_sergio(targets, regulators).kinetics.strength.tolist()
    [[[0.0, 2.5, -3.0], [0.0, 0.0, 1.5]]]
    """
    if hill is not None and not (math.isfinite(hill) and hill > 0):
        raise ValueError(f"hill is {hill}, expected a positive Hill coefficient")
    targets_file, regulators_file = Path(targets_file), Path(regulators_file)
    rates = _read_rates(regulators_file)
    edges = _read_edges(targets_file, hill)
    both = sorted(rates.keys() & edges.keys())
    if both:
        raise ValueError(
            f"{targets_file}: gene {both[0]} is a target here and a master regulator in {regulators_file.name}: "
            "leave one of the two rows out"
        )
    known = rates.keys() | edges.keys()
    for target, row in edges.items():
        unknown = [source for source, _, _ in row if source not in known]
        if unknown:
            raise ValueError(
                f"{targets_file}: gene {unknown[0]}, a regulator of gene {target}, has no row here or in "
                f"{regulators_file.name}: add its regulators or its rates"
            )
    if max(known) >= len(known):
        absent = next(g for g in range(len(known)) if g not in known)
        raise ValueError(
            f"{targets_file}: {len(known)} genes have a row, but gene {absent} has none while gene {max(known)} has: "
            f"number the genes 0 to {len(known) - 1}"
        )
    regulators = sorted(rates.keys() | {source for row in edges.values() for source, _, _ in row})
    position = {g: t for t, g in enumerate(regulators)}
    strength = torch.zeros(1, len(regulators), len(known))
    coefficient = torch.full_like(strength, 2.0 if hill is None else hill)  # of no effect where there is no edge
    for target, row in edges.items():
        for source, k, n in row:
            strength[0, position[source], target] = k
            coefficient[0, position[source], target] = n
    production = torch.zeros(1, len(known), len(next(iter(rates.values()))))
    for g, values in rates.items():
        production[0, g] = torch.tensor(values)
    kinetics = Kinetics(
        regulators=torch.tensor([regulators]),
        strength=strength,
        hill=coefficient,
        production=production,
        decay=torch.full((1, len(known)), float(decay)),
        noise=torch.full((1, len(known)), float(noise)),
    )
    try:
        kinetics.levels()  # refuses circles
    except ValueError as error:
        raise ValueError(f"{targets_file}: {error}") from error
    return SergioInputs(kinetics, tuple(f"G{g:04d}" for g in range(len(known))))


def write_sergio(kinetics: Kinetics, folder: Path | str) -> None:
    """Write ``sergio_targets.csv`` and ``sergio_regulators.csv``, as `read_sergio` and SERGIO read them.

    Genes without regulators are written as master regulators. The format has no place for decay rates and noise
    amplitudes: give them again where the files are read.

    Raises
    ------
    ValueError
        More than one network, a gene with both regulators and basal production (SERGIO has none), no gene with
        regulators, a folder that cannot be written.
    """
    if kinetics.num_networks != 1:
        raise ValueError(f"{kinetics.num_networks} networks, expected 1: SERGIO's files hold one network each")
    regulators = kinetics.regulators[0].tolist()
    strength, hill, production = (
        v[0].cpu().numpy() for v in (kinetics.strength, kinetics.hill, kinetics.production)
    )  # numpy's numbers print with as many digits as their precision needs
    is_target = (strength != 0).any(0)
    both = (is_target & (production > 0).any(-1)).nonzero()[0]
    if len(both):
        raise ValueError(
            f"gene {both[0]} has both regulators and basal production, which SERGIO's files cannot hold: set its "
            "production to 0"
        )
    if not is_target.any():
        raise ValueError("no gene has a regulator: SERGIO's file of targets would be empty. Add an edge")
    targets, masters = [], []
    for g in range(kinetics.num_genes):
        of = strength[:, g].nonzero()[0]
        if len(of):
            sources = [regulators[t] for t in of]
            targets.append([g, len(of), *sources, *strength[of, g], *hill[of, g]])
        else:
            masters.append([g, *production[g]])
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in ((TARGETS, targets), (REGULATORS, masters)):
            text = "".join(",".join(map(str, row)) + "\n" for row in rows)
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error.strerror}. Choose another folder") from error


# -- rows ----
def _read_edges(file: Path, hill: float | None) -> dict[int, list[Edge]]:
    """Target → its edges."""
    edges: dict[int, list[Edge]] = {}
    for where, row in _rows(file):
        if len(row) < 2:
            raise ValueError(
                f"{where}: 1 field, expected target, number of regulators, regulators, K, Hill coefficients"
            )
        target, count = _whole(where, row[0], "gene id"), _whole(where, row[1], "number of regulators")
        if count < 1:
            raise ValueError(f"{where}: gene {target} has no regulators: give its rates in the file of regulators")
        if len(row) == 2 + 2 * count and hill is None:
            raise ValueError(
                f"{where}: {len(row)} fields for {count} regulators, so there are no Hill coefficients: "
                "give one for all edges with hill="
            )
        if len(row) != 2 + 3 * count and not (hill is not None and len(row) == 2 + 2 * count):
            also = "" if hill is None else f" (or {2 + 2 * count}, without Hill coefficients)"
            raise ValueError(f"{where}: {len(row)} fields, expected {2 + 3 * count}{also} for {count} regulators")
        sources = [_whole(where, field, "gene id") for field in row[2 : 2 + count]]
        numbers = [_number(where, field) for field in row[2 + count :]]
        coefficients = [float(hill)] * count if hill is not None else numbers[count:]
        if target in edges:
            raise ValueError(f"{where}: gene {target} has two rows, expected one with all its regulators")
        if len(set(sources)) < count:
            raise ValueError(f"{where}: a regulator of gene {target} is listed twice, expected each once")
        if target in sources:
            raise ValueError(f"{where}: gene {target} regulates itself, which SERGIO's dynamics do not have: remove it")
        if min(coefficients) <= 0:
            raise ValueError(f"{where}: Hill coefficient {min(coefficients):g}, expected a positive number")
        edges[target] = list(zip(sources, numbers[:count], coefficients, strict=True))
    return edges


def _read_rates(file: Path) -> dict[int, list[float]]:
    """Master regulator → its rate in each type."""
    rates: dict[int, list[float]] = {}
    for where, row in _rows(file):
        if len(row) < 2:
            raise ValueError(f"{where}: 1 field, expected a gene id and its rate in each cell type")
        master, values = _whole(where, row[0], "gene id"), [_number(where, field) for field in row[1:]]
        if rates and len(values) != len(next(iter(rates.values()))):
            types = len(next(iter(rates.values())))
            raise ValueError(f"{where}: rates in {len(values)} cell types, expected {types} as in the rows before")
        if master in rates:
            raise ValueError(f"{where}: gene {master} has two rows, expected one")
        if min(values) < 0:
            raise ValueError(f"{where}: rate {min(values):g}, expected rates of 0 or more")
        rates[master] = values
    return rates


def _rows(file: Path) -> list[tuple[str, list[str]]]:
    """Place (file and line, for errors) and fields of each row."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise ValueError(f"{file}: no such file") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not a text file, expected comma-separated numbers") from error
    except OSError as error:
        raise ValueError(f"{file}: cannot be read: {error.strerror}") from error
    rows = [
        (f"{file}, line {number}", [field.strip() for field in line.split(",")])
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not rows:
        raise ValueError(f"{file}: the file is empty, expected comma-separated numbers")
    return rows


def _number(where: str, field: str) -> float:
    try:
        value = float(field)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: {field!r} is not a number")
    return value


def _whole(where: str, field: str, what: str) -> int:
    value = _number(where, field)
    if value < 0 or value != int(value):
        raise ValueError(f"{where}: {what} {field}, expected a whole number from 0 up")
    return int(value)

"""What is known of cells, given by name, as tensors: groups, interventions, times, inputs, regulators."""

from collections.abc import Collection, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...priors.alignment import rename_hint
from ...priors.perturbation_labels import PerturbationLabels, UnmatchedLabels, read_labels
from ...priors.perturbation_words import CONTROLS
from .checks import some


class Labels(NamedTuple):
    """Arguments of `ExpressionData.annotated` of the same names."""

    context: list[str] | None
    perturbed: list[object] | None
    covariates: pd.DataFrame | None


def labels_of(
    table: pd.DataFrame, context_key: str | None, perturbation_key: str | None, covariate_keys: Sequence[str]
) -> Labels:
    """Annotations from columns of a table with one row a cell; the columns are there.

    Raises
    ------
    ValueError
        Cells without a context.
    """
    if context_key is not None and bool(table[context_key].isna().any()):
        count = int(table[context_key].isna().sum())
        raise ValueError(f"{count} cells have no value of {context_key!r}: give every cell a context, or drop them")
    return Labels(
        context=None if context_key is None else table[context_key].astype(str).tolist(),
        perturbed=None if perturbation_key is None else table[perturbation_key].astype(object).tolist(),
        covariates=table[list(covariate_keys)] if covariate_keys else None,
    )


def codes_of(labels: Sequence[str]) -> tuple[Tensor, tuple[str, ...]]:
    """``(cell,)`` codes of one label a cell, and what they stand for, sorted."""
    names, codes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    return torch.as_tensor(codes), tuple(names.tolist())


def measured_tfs(tfs: Sequence[str], genes: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Those of ``tfs`` that are genes, each once, and a note of the others.

    Raises
    ------
    ValueError
        None is.
    """
    known = set(genes)
    wanted = list(dict.fromkeys(str(t) for t in tfs))
    found = tuple(t for t in wanted if t in known)
    if not found:
        hint = ""
        upper = {g.upper() for g in genes}
        if any(t.upper() in upper for t in wanted):
            hint = " They match when case is ignored: use the same case in both files."
        elif (renamed := rename_hint(wanted, genes)) is not None:
            hint = f" {renamed}"
        raise ValueError(f"none of {len(wanted)} TFs ({some(wanted, 3)}) is among the genes ({some(genes, 3)}).{hint}")
    if len(found) == len(wanted):
        return found, []
    missing = [t for t in wanted if t not in known]
    return found, [f"{len(found)} of {len(wanted)} listed TFs are measured; not measured: {some(missing, 3)}"]


Perturbations: TypeAlias = Sequence[object] | PerturbationLabels


class Interventions(NamedTuple):
    """``pairs`` (intervention, 2) of a cell and a gene, ``None`` where there is none; ``known`` (cell,) False where
    the label does not say what was perturbed; ``notes`` of what was mapped and not found."""

    pairs: Tensor | None
    known: np.ndarray
    notes: tuple[str, ...]


def interventions_of(
    labels: Perturbations,
    genes: Sequence[str],
    *,
    controls: Collection[str] = CONTROLS,
    unmeasured: bool = False,
) -> Interventions:
    """One label a cell as pairs of a cell, counted among the known ones, and a gene; see `read_labels`.

    Parameters
    ----------
    labels, genes
        One label a cell, or what was read of them (then the options below say nothing); the genes of the data.
    controls
        Labels of cells in which nothing was perturbed: ``(*CONTROLS, "my word")``. Default `CONTROLS`.
    unmeasured
        True: most perturbed genes may be missing from the data. Default False.

    Raises
    ------
    ValueError
        Less than half of the labels are genes, unless ``unmeasured`` is True; no label says what was perturbed.
    """
    try:
        read = (
            labels
            if isinstance(labels, PerturbationLabels)
            else read_labels(labels, genes, controls=controls, unmeasured=unmeasured)
        )
    except UnmatchedLabels as error:
        raise UnmatchedLabels(
            f"{error}. Pass labels that name genes as the data do, name controls in `controls`, or pass unmeasured=True"
        ) from error
    if not read.known.any():
        raise ValueError(
            "no cell says what was perturbed: every label is missing, stands for unknown or cannot be read"
        )
    position = {gene: i for i, gene in enumerate(genes)}
    kept = [names for names, known in zip(read.genes, read.known, strict=True) if known]
    pairs = [(cell, position[name]) for cell, names in enumerate(kept) for name in names if name in position]
    return Interventions(torch.tensor(pairs, dtype=torch.long) if pairs else None, read.known, read.notes)


def within(pairs: Tensor | None, column: int, size: int, keep: np.ndarray) -> Tensor | None:
    """Pairs whose entry in ``column`` is among ``keep``, counted by its place there; ``size`` is that of the axis."""
    if pairs is None:
        return None
    where = torch.full((size,), -1, dtype=torch.long)
    where[torch.as_tensor(keep)] = torch.arange(len(keep))
    moved = pairs.cpu().clone()
    moved[:, column] = where[moved[:, column]]
    return moved[moved[:, column] >= 0].to(pairs.device)


def times_of(
    time: Sequence[float], trajectory: Sequence[str] | None, num_cells: int
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """``(cell,)`` float64 times and codes of trajectories (default one, ``all``), and the names of these.

    Raises
    ------
    ValueError
        Another number of values than cells, times that are missing or no numbers.
    """
    try:
        times = torch.as_tensor(np.asarray(time, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise ValueError(f"times are not all numbers ({error}): give every cell its time, or drop it") from error
    names = ["all"] * num_cells if trajectory is None else [str(t) for t in trajectory]
    if tuple(times.shape) != (num_cells,) or len(names) != num_cells:
        raise ValueError(
            f"{len(times)} times and {len(names)} names of trajectories for {num_cells} cells: pass one a cell"
        )
    if infinite := int(torch.isinf(times).sum()):
        raise ValueError(f"{infinite} cells have an infinite time: give them a finite one, or drop them")
    if not bool(torch.isfinite(times).all()):
        raise ValueError(f"{int((~torch.isfinite(times)).sum())} cells have no time: give them one, or drop them")
    return times, *codes_of(names)


def inputs_of(table: pd.DataFrame, genes: Sequence[str], num_cells: int) -> Tensor:
    """``(cell, gene)`` float64 what acts on each gene from outside, zero where the table has no column of that name.

    Raises
    ------
    ValueError
        Another number of rows than cells, columns that are no genes or repeat, values that are no numbers.
    """
    if len(table) != num_cells:
        raise ValueError(f"{len(table)} rows of inputs for {num_cells} cells: pass one a cell")
    columns = [str(c) for c in table.columns]
    unknown = sorted(set(columns) - set(genes))
    if unknown or len(set(columns)) < len(columns):
        raise ValueError(
            f"inputs on {some(unknown) if unknown else 'repeated names'}, which are not among the genes "
            f"({some(genes, 3)}): name each gene once, as in the expression data"
        )
    try:
        values = torch.as_tensor(table.to_numpy(dtype=np.float64, copy=True))
    except (TypeError, ValueError) as error:
        raise ValueError(f"inputs are not all numbers ({error}): give 0 where nothing acts") from error
    position = {gene: i for i, gene in enumerate(genes)}
    inputs = torch.zeros(num_cells, len(genes), dtype=torch.float64)
    inputs[:, [position[c] for c in columns]] = values
    return inputs

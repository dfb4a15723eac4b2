"""Expression files, AnnData and MuData as `ExpressionData`, and lists of names.

Whatever is wrong with a file ends in one ``ValueError`` or ``FileNotFoundError`` of one line that begins with its path.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from ...models import NORMALIZATIONS, ExpressionData
from ...models.data.cell_labels import CellLabels, joined_labels
from ...models.data.checks import some
from ...models.data.containers import is_anndata, layer_of
from ...models.data.metacells import metacells as averaged
from ...models.data.normalization import Affine
from ...models.data.scale import scale_before, scale_findings
from ...models.data.time_labels import read_times
from ...priors.shortened import shortened
from .contexts import without_small_contexts
from .file_formats import read_file
from .inputs import with_inputs_of
from .name_lists import NameTable, read_name_table, read_names
from .objects import stored_of
from .orientation import as_cells, check_axis
from .perturbation_column import check_controls, with_perturbations
from .sources import about_source, has_modalities, one_modality, read_views, sources_of
from .stored import MISSING, Stored, about, text_rows
from .variable_genes import with_top_genes

__all__ = ["combined", "context_names", "read_expression", "read_kinds", "read_names"]

AUTO = "auto"  # the normalisation that the numbers ask for


def read_expression(
    paths: Any,
    *,
    tfs: Sequence[str] | Path | None,
    layer: str | None = None,
    use_raw: bool = False,
    modality: str | None = None,
    normalize: str = "none",
    context_key: str | None = None,
    perturbation_key: str | None = None,
    drop_constant: bool | None = False,
    top_genes: int | None = None,
    backed: bool | None = None,
    covariates: Sequence[str] = (),
    missing: bool = False,
    inputs: Path | str | pd.DataFrame | None = None,
    time_key: str | None = None,
    trajectory_key: str | None = None,
    genes_in: str | None = None,
    known: Mapping[str, Collection[str]] | None = None,
    min_cells: int | None = None,
    control: Sequence[str] = (),
    unmeasured: bool = False,
    metacells: int | None = None,
) -> ExpressionData:
    """Expression from one file, from several files that are several contexts, or from an AnnData or MuData.

    Formats by suffix: ``.h5ad`` and ``.zarr`` (dense, CSR, CSC); ``.h5mu``, each modality a view (needs the extra
    ``multi``, see `ExpressionData.from_mudata`); ``.csv``, ``.tsv``, ``.txt``, plain or ``.gz``, with names in the
    first column and the first row, separated by tab, comma, semicolon or spaces; ``.loom``; ``.h5`` of 10x; ``.mtx`` or
    a folder with ``matrix.mtx``, features and barcodes; ``.gct``; ``.parquet`` (needs the extra ``parquet``).
    Genes × cells is recognised where more names of genes (of the TFs and in ``known``) are among the rows than among
    the columns (not in h5mu). What was recognised, dropped or changed is in ``notes``.

    Parameters
    ----------
    paths
        One file, or several. Several become contexts named by the file's stem (with its folder where stems repeat),
        over the genes that all of them have. Or one AnnData (in memory or backed), or one MuData.
    tfs
        Candidate regulators, or the path of a list of them: in a table, the column is taken of which most names are in
        the expression file. ``None``: every gene, and rows are taken as cells unless ``known`` or the file's own header
        say otherwise.
    layer
        Layer of AnnData, h5ad and zarr to read instead of ``X``; ``raw`` is ``.raw`` where no layer is called so.
    use_raw
        True: read ``.raw``. Default False.
    modality
        Of a MuData or h5mu: the one modality to read. Default: all, each a view.
    normalize
        ``none``, ``log1p-cpm`` or ``zscore`` (see `ExpressionData.normalized`): each file by itself, over all its
        genes, before genes are dropped. ``auto``: ``log1p-cpm`` of counts and intensities, ``none`` of logarithms.
    context_key, perturbation_key
        Columns of ``.obs``, or of a table of cells × genes: the context of each cell, and the gene perturbed in it.
    drop_constant
        Drop genes without variance. Default False: the models refuse them by name. None: drop them unless the matrix is
        streamed, where finding them costs a pass over the file.
    top_genes
        Keep this many of the most variable genes, and candidate regulators and perturbed genes beside. Default all.
    backed
        True: stream the matrix from disk by rows and never hold it (CSC by way of scratch files, 12 bytes an entry in
        ``TMPDIR``). False: read it. Default: stream above 1 GB on disk, and what in memory would take more than half of
        what is free. Genes × cells cannot be streamed by cells, and h5mu is not: they are read, and refused with True.
    covariates
        Columns of ``.obs``, or of a table, that are covariates: numbers are scaled over all cells of all files,
        anything else is coded by levels (see `ExpressionData.annotated`). A column of text in which every entry of
        every file reads as a number is one of numbers. Default none.
    missing
        True: NaN, and in a table empty cells or NA, are missing values. Default False: they are refused. Modalities of
        an h5mu may lack cells in either case.
    inputs
        Table of what acts on genes from outside, conditions × genes, or its file: its rows are matched to the cells by
        name (`ExpressionData.with_inputs`). One expression file only.
    time_key, trajectory_key
        Columns as ``context_key``: the time of each cell, and the trajectory it is a point of (default: one for all).
        One expression file only.
    genes_in
        ``"rows"`` or ``"columns"``: where the genes of every file are, whatever the names say. Default: by the names.
    known
        Other names that are names of genes (of a prior, a truth, gene sets), by what they are. They take part in
        finding out where the genes are, and nothing else. Default none.
    min_cells
        Contexts with fewer cells are left out. Default: all are kept.
    control
        Labels in the column of perturbations that stand for controls, beside the usual ones
        (`pyrogrn.priors.perturbation_words.CONTROLS`). Default none.
    unmeasured
        True: most perturbed genes may be missing from the data. Default False: then the labels are refused.
    metacells
        Average the cells of each trajectory, in the order of their times, into this many meta-cells
        (`models.data.metacells`). Default: cells are taken as they are.

    Returns
    -------
    ExpressionData
        float32, on the CPU. The file of a streamed matrix stays open while the data live.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        For anything wrong with a file or its contents, in one line.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "cells.csv"
    >>> _ = path.write_text("cell,SPI1,CSF1R\\nc1,0.5,1\\nc2,2,4\\nc3,1,0\\n")
    >>> read_expression(path, tfs=["SPI1"]).X.shape
    torch.Size([3, 2])
    """
    sources = sources_of(paths)
    layer = layer_of(layer, use_raw)
    if normalize not in (AUTO, *NORMALIZATIONS):
        raise ValueError(f"unknown normalisation {normalize!r}: choose one of {', '.join((AUTO, *NORMALIZATIONS))}")
    if len(sources) > 1 and context_key is not None:
        raise ValueError(f"several files are several contexts: leave out context key {context_key!r}, or pass one file")
    if isinstance(covariates, str):
        raise ValueError(f"`covariates` is the text {covariates!r}: pass a list of columns, [{covariates!r}]")
    axis = check_axis(genes_in)
    if axis == "rows" and any(map(has_modalities, sources)):
        raise ValueError("an h5mu has its genes in columns: leave out genes in rows (--genes-in), or transpose it")
    listed = read_name_table(tfs) if isinstance(tfs, Path) else tfs
    names = context_names(sources) if len(sources) > 1 else []
    if len(sources) > 1 and time_key is not None:
        raise ValueError("time courses go in one expression file: join the files, with a column for --trajectory-key")
    if trajectory_key is not None and time_key is None:
        raise ValueError(f"trajectory key {trajectory_key!r} without a time key: name the column with the times too")
    keys = {"context": context_key, "perturbed": perturbation_key, "time": time_key, "trajectory": trajectory_key}
    wanted = [key for key in (*keys.values(), *covariates) if key is not None]
    if inputs is not None and (len(sources) > 1 or has_modalities(sources[0])):
        raise ValueError("inputs go with one expression file (h5ad, zarr, csv or tsv): join the conditions first")
    if control and perturbation_key is None:
        raise ValueError(f"control label {control[0]!r} without a perturbation key: name the column of the labels too")
    parts, tables, labels = [], [], []
    for source in sources:
        with about_source(source):
            source = one_modality(source, modality)
            if has_modalities(source):
                data, table = read_views(source, layer, wanted, missing=missing, backed=backed)
                listed, said = choose_names(listed, data.genes)
                data = data.with_missing(data.missing, *said)
            else:
                stored = (
                    stored_of(source, layer)
                    if is_anndata(source)
                    else read_file(source, layer=layer, text=set(wanted), backed=backed, missing=missing)
                )
                listed, said = choose_names(listed, {*stored.rows, *stored.columns})
                cells, turned = as_cells(stored, listed, known=known or {}, genes_in=axis, backed=backed)
                notes = [*cells.notes, *said, *turned]
                data, table = _expression(cells, notes, missing), cells.row_table
                if inputs is not None:
                    data = with_inputs_of(data, list(cells.rows), inputs)
            data = _annotated(data, keys, table, covariates)
            if perturbation_key is not None:
                labels.append(table[perturbation_key])
                data, table = with_perturbations(data, table, perturbation_key, control=control, unmeasured=unmeasured)
            if drop_constant is None:
                drop_constant = in_memory(data)
            parts.append(_normalized(data, normalize, drop_constant))
            tables.append(table[list(covariates)])
    if control:
        check_controls(control, labels)
    with about_source(sources[0]) if len(sources) == 1 else nullcontext():
        data = combined(parts, names) if len(sources) > 1 else parts[0]
        data = data.observed(genes=not drop_constant)
        data = data if listed is None or isinstance(listed, NameTable) else data.match_tfs(listed)
        if covariates:
            data = data.annotated(covariates=_one_table(tables))
        if min_cells is not None:
            data = without_small_contexts(data, min_cells)
        if metacells is not None:
            data = averaged(data, metacells)
        data = data.without_constant_genes() if drop_constant else data
        return data if top_genes is None else with_top_genes(data, top_genes)


def read_kinds(path: Path | str) -> dict[str, str]:
    """Kind of each node from a table with columns ``node`` and ``kind`` (CellBox).

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; no such columns, or a node listed twice.
    """
    path = Path(path)
    with about(path):
        rows = [[cell.strip() for cell in row] for row in text_rows(path, "a table of nodes")]
        header = rows[0] if rows else []
        if not {"node", "kind"} <= set(header):
            raise ValueError(f"has columns {some(header)}: expected node and kind")
        for number, row in enumerate(rows[1:], start=1):
            if len(row) != len(header):
                raise ValueError(
                    f"row {number} ({shortened(repr(row[0]))}) has {len(row)} cells under a header of {len(header)}"
                )
        nodes, kinds = ([row[header.index(name)] for row in rows[1:]] for name in ("node", "kind"))
        if "" in nodes:
            raise ValueError(f"row {nodes.index('') + 1} has no node: expected its name")
        twice = list(dict.fromkeys(node for node in nodes if nodes.count(node) > 1))
        if twice:
            raise ValueError(f"lists {some(twice, 3)} twice")
        return dict(zip(nodes, kinds, strict=True))


def choose_names(
    listed: Sequence[str] | NameTable | None, names: Collection[str]
) -> tuple[Sequence[str] | None, Sequence[str]]:
    """The TFs that a table of names lists under the names of the file, and what there is to say of the choice."""
    return listed.choose(names) if isinstance(listed, NameTable) else (listed, ())


# -- one file ----


def _expression(cells: Stored, notes: Sequence[str], missing: bool) -> ExpressionData:
    """All genes of a file, as they are."""
    matrix = cells.matrix
    if sp.issparse(matrix):
        matrix = sp.csr_matrix(matrix)
    elif isinstance(matrix, np.ndarray):
        matrix = torch.from_numpy(np.ascontiguousarray(matrix))
    notes = (f"{len(cells.rows)} cells x {len(cells.columns)} genes ({cells.kind})", *notes)
    named = CellLabels.of(cells.rows, cells.row_table)
    return ExpressionData(matrix, cells.columns, notes=notes, missing=missing, labels=named)


def _annotated(
    data: ExpressionData, keys: dict[str, str | None], table: pd.DataFrame, covariates: Sequence[str]
) -> ExpressionData:
    """Contexts and times of one file; that its covariates are there is checked."""
    for key in (*keys.values(), *covariates):
        if key is not None and key not in table:
            raise ValueError(f"cells have no annotation {key!r}: there are {[str(c) for c in table.columns] or 'none'}")
    for name in ("context", "trajectory"):
        key = keys[name]
        if key is not None and table[key].isna().any():
            count = int(table[key].isna().sum())
            raise ValueError(f"{count} cells have no value of {key!r}: give every cell a {name}, or drop them")
    columns = {name: None if key is None else table[key].astype(str).tolist() for name, key in keys.items()}
    if columns["time"] is not None:
        times = read_times(table[keys["time"]].tolist())
        data = data.with_times(times.values.tolist(), columns["trajectory"]).with_missing(data.missing, *times.notes)
    return data.annotated(context=columns["context"])


def _one_table(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The same columns of all files, one below the other.

    Categories stay categories. Columns of text in which every entry reads as a number become numbers, and what a table
    writes for no value NaN.
    """
    columns = []
    for i in range(tables[0].shape[1]):
        parts = [table.iloc[:, i] for table in tables]
        categorical = any(isinstance(part.dtype, pd.CategoricalDtype) for part in parts)
        column = pd.concat([part.astype(object) if categorical else part for part in parts], ignore_index=True)
        if categorical:
            column = column.astype("category")
        elif pd.api.types.infer_dtype(column) == "string":
            column = column.astype(object).where(~column.str.strip().str.lower().isin(MISSING), None)
            numbers = pd.to_numeric(column, errors="coerce")
            column = numbers if numbers.isna().equals(column.isna()) and numbers.notna().any() else column
        columns.append(column)
    return pd.concat(columns, axis=1)


def in_memory(data: ExpressionData) -> bool:
    """Whether the matrix is at hand, so that another pass over it costs little."""
    return isinstance(data.matrix, torch.Tensor) or sp.issparse(data.matrix)


def _normalized(data: ExpressionData, how: str, drop_constant: bool) -> ExpressionData:
    asked = how
    if how == AUTO:
        how = "log1p-cpm" if any(found.remedy == "log" for _, found in scale_findings(data, "log")) else "none"
    if how == "zscore" and drop_constant:
        # A constant gene becomes zeros, to be dropped when all files are there: it may be constant in one of them only.
        mean, variance = data.moments()
        data = replace(data, transform=Affine(mean, torch.where(variance > 0, variance, 1.0).sqrt()))
    else:
        data = data.normalized(how)
    chosen = f" (chosen for {scale_before(data)})" if asked == AUTO else ""
    return replace(data, notes=(*data.notes, f"normalisation: {how}{chosen}"))


# -- several files ----


class StackedRows:
    """Rows of data sets over the same genes, one below the other; each keeps its own matrix and normalisation."""

    def __init__(self, parts: Sequence[ExpressionData]) -> None:
        self.parts = tuple(parts)
        self.bounds = np.cumsum([0, *(part.num_cells for part in parts)])
        self.shape = (int(self.bounds[-1]), parts[0].num_genes)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        index = np.arange(self.shape[0])[rows]
        block = np.empty((len(index), self.shape[1]), dtype=np.float32)
        for part, start, stop in zip(self.parts, self.bounds[:-1], self.bounds[1:], strict=True):
            where = np.flatnonzero((index >= start) & (index < stop))
            if len(where):
                own = index[where] - start
                consecutive = isinstance(rows, slice) and rows.step in (None, 1)
                block[where] = part.rows(slice(int(own[0]), int(own[-1]) + 1) if consecutive else own).numpy()
        return block


def context_names(paths: Sequence[Path]) -> list[str]:
    """Contexts of several files: their stems, with the folder before them where stems repeat.

    Raises
    ------
    ValueError
        Two files that cannot be told apart that way.
    """
    stems = [(Path(path.stem) if path.suffix == ".gz" else path).stem for path in paths]
    if len(set(stems)) < len(stems):
        stems = [f"{path.absolute().parent.name}/{stem}" for path, stem in zip(paths, stems, strict=True)]
    repeated = sorted({name for name in stems if stems.count(name) > 1})
    if repeated:
        raise ValueError(f"contexts are named by file and {some(repeated)} occur twice: rename, or pass each file once")
    return stems


def combined(parts: Sequence[ExpressionData], names: Sequence[str]) -> ExpressionData:
    """One data set over the genes that all parts have; each part is a context of that name.

    Raises
    ------
    ValueError
        No gene in common; covariates or views that differ.
    """
    shared = set.intersection(*(set(part.genes) for part in parts))
    if not shared:
        examples = "; ".join(f"{name} has {some(part.genes, 3)}" for name, part in zip(names, parts, strict=True))
        raise ValueError(f"the files have no gene in common ({examples}): use one kind of gene names")
    genes = [gene for gene in parts[0].genes if gene in shared]
    notes = [f"{name}: {note}" for name, part in zip(names, parts, strict=True) for note in part.notes]
    if any(part.num_genes > len(genes) for part in parts):
        counts = ", ".join(f"{name} has {part.num_genes}" for name, part in zip(names, parts, strict=True))
        notes.append(f"{len(genes)} genes are in all {len(parts)} files and were kept ({counts})")
    parts = [part.select_genes(genes) for part in parts]
    sizes = torch.tensor([part.num_cells for part in parts])
    first = torch.cumsum(sizes, 0) - sizes
    perturbed = [
        part.perturbed + torch.stack([start, 0 * start])
        for part, start in zip(parts, first, strict=True)
        if part.perturbed is not None
    ]
    in_memory = all(isinstance(part.matrix, torch.Tensor) for part in parts)
    first_part = parts[0]
    for name, part in zip(names[1:], parts[1:], strict=True):
        if part.covariate_names != first_part.covariate_names:
            raise ValueError(
                f"{names[0]} has covariates {some(first_part.covariate_names)} and {name} has "
                f"{some(part.covariate_names)}: annotate the combined cells instead"
            )
        if _view_of(part) != _view_of(first_part):
            raise ValueError(f"{name} has views {some(part.view_names)}, or genes in other ones than {names[0]}")
    covariates = [part.covariates for part in parts if part.covariates is not None]
    return ExpressionData(
        torch.cat([part.X for part in parts]) if in_memory else StackedRows(parts),
        tuple(genes),
        context=torch.repeat_interleave(torch.arange(len(parts)), sizes),
        context_names=tuple(names),
        perturbed=torch.cat(perturbed) if perturbed else None,
        notes=tuple(notes),
        covariates=torch.cat(covariates) if covariates else None,
        covariate_names=first_part.covariate_names,
        view=first_part.view,
        view_names=first_part.view_names,
        missing=any(part.missing for part in parts),
        labels=joined_labels([part.labels for part in parts], names),
    )


def _view_of(data: ExpressionData) -> list[str]:
    """The view of each gene, by name."""
    codes = [0] * data.num_genes if data.view is None else data.view.tolist()
    return [data.view_names[code] for code in codes]

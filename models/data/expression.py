"""`ExpressionData`: what a model conditions on."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor

from ...priors.described import Described
from ...priors.perturbation_words import CONTROLS
from .annotations import Perturbations, codes_of, inputs_of, interventions_of, labels_of, measured_tfs, times_of, within
from .cell_labels import CellLabels
from .cell_selection import BY_CELL, selected_cells
from .checks import check_columns, check_fields, check_finite, check_genes, check_shape, check_tfs, positions_of
from .containers import cells_of, matrix_and_genes
from .covariates import encode_covariates
from .description import dropped_constant, facts_of_cells
from .gathered import gathered
from .gram import GramStatistics
from .matrix import RowTransform, read_rows, rows_at_once
from .missing import missing_notes
from .moments import context_moments, is_constant, overall
from .normalization import Affine, check_normalization, transform_of
from .time_labels import read_times
from .views import annotations_of, join_modalities, views_of

if TYPE_CHECKING:
    import anndata
    import mudata

logger = logging.getLogger(__name__)

INDICES = ("context", "perturbed", "time", "trajectory", "view")  # keep their type where blocks come in another
REALS = ("size_factor", "covariates", "inputs")


@dataclass(frozen=True, eq=False, repr=False)
class ExpressionData(Described):
    """Expression of genes in cells, with what is known of each cell.

    Parameters
    ----------
    matrix
        ``(cell, column)``: a tensor, a scipy CSR matrix (stays sparse until a block is needed), or a backed matrix that
        is read in blocks and never whole.
    genes
        Names of the genes, in the order of ``X``'s columns.
    tfs
        The candidate regulators, a subset of ``genes``. Empty: every gene is a candidate.
    context
        ``(cell,)`` integer codes into ``context_names`` (cell types, batches, files), or ``None``.
    perturbed
        ``(intervention, 2)`` pairs (cell, gene). An intervention clamps that gene in that cell: its incoming edges are
        cut there, so the cell says nothing of what regulates the gene but still tells what the gene regulates.
    size_factor
        ``(cell,)`` positive depth factors, or ``None``.
    transform
        Applied to every block of rows before genes are selected (normalisation by row needs all genes).
    column
        ``(gene,)`` positions of ``genes`` among the matrix columns, or ``None`` when they are the same.
    dtype, device
        Of the blocks handed out. Default float32 on the CPU.
    population
        Number of cells that a minibatch stands for; ``None`` when the data stand for themselves.
    notes
        What was recognised, dropped or changed on the way here, for the report.
    covariates, covariate_names
        ``(cell, covariate)`` float32 columns without an intercept, and their names; see `annotated`.
    view, view_names
        ``(gene,)`` integer codes into ``view_names`` (kinds of measurement), or ``None`` when there is one.
    missing
        True: NaN in the matrix are missing values. False (default): they are refused.
    inputs
        ``(cell, gene)`` what acts on each gene from outside (drugs), or ``None``; see `with_inputs`.
    time, trajectory, trajectory_names
        ``(cell,)`` float64 time, and integer codes of the trajectory that a cell is a point of; ``None`` when cells are
        no time course. See `with_times`.
    labels
        Names of cells and what their file says of them, or ``None``.

    Raises
    ------
    ValueError
        Wrong shapes, duplicate names, unknown TFs, and non-finite values (in-memory matrices here; backed ones when a
        block is read).

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> frame = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 3)), columns=["A", "B", "C"])
    >>> ExpressionData.from_frame(frame, tfs=["A"]).X.shape
    torch.Size([20, 3])
    """

    matrix: Any
    genes: tuple[str, ...]
    tfs: tuple[str, ...] = ()
    context: Tensor | None = None
    context_names: tuple[str, ...] = ("all",)
    perturbed: Tensor | None = None
    size_factor: Tensor | None = None
    transform: RowTransform | None = None
    column: np.ndarray | None = None
    dtype: torch.dtype = torch.float32
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    population: int | None = None
    notes: tuple[str, ...] = ()
    covariates: Tensor | None = None
    covariate_names: tuple[str, ...] = ()
    view: Tensor | None = None
    view_names: tuple[str, ...] = ("expression",)
    missing: bool = False
    inputs: Tensor | None = None
    time: Tensor | None = None
    trajectory: Tensor | None = None
    trajectory_names: tuple[str, ...] = ()
    labels: CellLabels | None = None

    def __post_init__(self) -> None:
        check_shape(self.matrix.shape)
        check_genes(self.genes, self.matrix.shape[1] if self.column is None else len(self.column))
        if not self.tfs:
            object.__setattr__(self, "tfs", self.genes)
        check_tfs(self.tfs, self.genes)
        check_fields(self)
        if isinstance(self.matrix, Tensor):
            check_finite(self.matrix, self.genes if self.column is None else None, missing=self.missing)
        elif sp.issparse(self.matrix):
            check_finite(torch.as_tensor(self.matrix.data), None, missing=self.missing)

    # -- sizes and names ----
    def facts(self) -> dict[str, str]:
        """See `description.facts_of_cells`."""
        return facts_of_cells(self)

    @property
    def num_cells(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def num_genes(self) -> int:
        return len(self.genes)

    @property
    def num_columns(self) -> int:
        return int(self.matrix.shape[1])

    @property
    def num_contexts(self) -> int:
        return len(self.context_names)

    @property
    def clamped(self) -> Tensor:
        """``(cell, gene)`` True where an intervention holds the gene."""
        mask = torch.zeros(self.num_cells, self.num_genes, dtype=torch.bool, device=self.device)
        if self.perturbed is not None:
            mask[self.perturbed[:, 0], self.perturbed[:, 1]] = True
        return mask

    @cached_property
    def tf_index(self) -> Tensor:
        """``(tf,)`` position of each candidate regulator among ``genes``."""
        return torch.as_tensor(positions_of(self.tfs, self.genes), device=self.device)

    # -- values ----
    def rows(self, rows: slice | np.ndarray) -> Tensor:
        """``(row, gene)`` dense block, normalised, checked to be finite (NaN pass where ``missing``)."""
        block = read_rows(self.matrix, rows, self.dtype).to(self.device)
        if self.transform is not None:
            block = self.transform(block)
        if self.column is not None:
            block = block[:, torch.as_tensor(self.column, device=block.device)]
        if not isinstance(self.matrix, Tensor) or self.transform is not None:
            check_finite(block, self.genes, missing=self.missing)
        return block

    @cached_property
    def X(self) -> Tensor:
        """``(cell, gene)``, dense; made once. For data larger than memory use `chunks` or `statistics`."""
        return self.rows(slice(0, self.num_cells)) if isinstance(self.matrix, Tensor) else gathered(self)

    def chunks(self, size: int | None = None) -> Iterator[tuple[int, Tensor]]:
        """``(first row, (row, gene) block)`` over all cells in order, ``size`` rows at a time (`rows_at_once`)."""
        for start in range(0, self.num_cells, size := size or rows_at_once(self.num_columns)):
            yield start, self.rows(slice(start, min(start + size, self.num_cells)))

    def minibatches(self, size: int, generator: torch.Generator | None = None) -> Iterator["ExpressionData"]:
        """One pass over all cells in random order, ``size`` at a time (or fewer at last), each standing for all."""
        order = torch.randperm(self.num_cells, generator=generator).numpy()
        for start in range(0, self.num_cells, size):
            yield replace(self.subset(order[start : start + size]), population=self.num_cells)

    def statistics(self, chunk_size: int | None = None) -> GramStatistics:
        """Sufficient statistics of every linear-Gaussian likelihood, in one pass: `GramStatistics.from_data`."""
        return GramStatistics.from_data(self, chunk_size=chunk_size)

    def complete(self) -> "ExpressionData":
        """The same data under the promise that no value is missing: the block that breaks it is refused, with its
        genes."""
        return self.with_missing(False)

    def with_missing(self, missing: bool, *notes: str) -> "ExpressionData":
        """Whether NaN are missing values, and what else there is to note."""
        if missing == self.missing and not notes:
            return self
        return replace(self, missing=missing, notes=(*self.notes, *notes))

    # -- derived data ----
    def subset(self, cells: np.ndarray) -> "ExpressionData":
        """The given cells (integer positions or a boolean mask), in memory."""
        cells = np.asarray(cells)
        cells = np.flatnonzero(cells) if cells.dtype == bool else cells.astype(np.int64)
        pick = torch.as_tensor(cells, device=self.device)
        by_cell = {name: value[pick] for name in BY_CELL if (value := getattr(self, name)) is not None}
        perturbed = within(self.perturbed, 0, self.num_cells, cells)
        matrix = self.rows(cells) if isinstance(self.matrix, Tensor) else gathered(self, cells)
        return replace(self, matrix=matrix, transform=None, column=None, perturbed=perturbed, **by_cell)

    def select_genes(self, genes: Sequence[str]) -> "ExpressionData":
        """Keep these genes, in this order; candidate regulators that are not among them are dropped, and so are views
        of which none is left (``notes`` say which)."""
        keep = positions_of(genes, self.genes)
        chosen = set(genes)
        tfs = tuple(t for t in self.tfs if t in chosen)
        if not tfs:
            raise ValueError("none of the candidate regulators is among the selected genes")
        view, view_names, notes = views_of(self.view, self.view_names, keep)
        return replace(
            self,
            genes=tuple(genes),
            tfs=tfs,
            column=keep if self.column is None else self.column[keep],
            perturbed=within(self.perturbed, 1, self.num_genes, keep),
            inputs=None if self.inputs is None else self.inputs[:, torch.as_tensor(keep, device=self.device)],
            view=view,
            view_names=view_names,
            notes=(*self.notes, *notes),
        )

    def without_constant_genes(self) -> "ExpressionData":
        """Drop genes that do not vary within any context (they can neither regulate nor be explained); ``notes`` say
        which."""
        count, mean, square = context_moments(self)
        flags = is_constant(count, mean, square).tolist()
        constant = [gene for gene, flag in zip(self.genes, flags, strict=True) if flag]
        if not constant:
            return self
        kept = self.select_genes([gene for gene, flag in zip(self.genes, flags, strict=True) if not flag])
        silent = 0 if isinstance(self.transform, Affine) else int(((mean == 0).all(0) & torch.tensor(flags)).sum())
        listed = set(self.tfs) if len(self.tfs) < self.num_genes else set()
        regulators = [gene for gene in constant if gene in listed]
        return replace(kept, notes=(*kept.notes, dropped_constant(constant, silent, regulators)))

    def moments(self) -> tuple[Tensor, Tensor]:
        """``(gene,)`` mean and variance over all cells that have a value, float64, in one pass."""
        return overall(context_moments(self))

    def normalized(self, how: str) -> "ExpressionData":
        """Return the data under one of the named normalisations, applied lazily to each block.

        ``none``: as they are. ``log1p-cpm``: ``log(1 + counts per million)``, refusing negative values. ``zscore``:
        each gene to mean 0 and variance 1 over all cells (constant genes are refused by name).
        """
        check_normalization(how)
        if how == "none":
            return self
        if self.transform is not None or self.column is not None:
            raise ValueError(
                "normalise before selecting genes and only once: depths are sums over all genes of the file"
            )
        return replace(self, transform=transform_of(self, how))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "ExpressionData":
        """Blocks come out on this device in this floating type; a matrix on disk stays there."""
        device = self.device if device is None else torch.device(device)
        dtype = self.dtype if dtype is None else dtype
        moved = {name: value.to(device) for name in INDICES if (value := getattr(self, name)) is not None}
        moved |= {name: value.to(device, dtype) for name in REALS if (value := getattr(self, name)) is not None}
        matrix = self.matrix.to(device=device, dtype=dtype) if isinstance(self.matrix, Tensor) else self.matrix
        return replace(self, matrix=matrix, device=device, dtype=dtype, **moved)

    # -- constructors ----
    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        tfs: Sequence[str] | None = None,
        context: Sequence[str] | None = None,
        perturbed: Sequence[str] | None = None,
        covariates: pd.DataFrame | None = None,
        missing: bool = False,
    ) -> "ExpressionData":
        """From a table with one row a cell and one column a gene.

        A table of genes × cells (BEELINE) is recognised when ``tfs`` are found among the rows and not among the
        columns; it is transposed, and ``notes`` say so. ``context`` and ``perturbed`` (a gene's name, several joined by
        ``+`` or ``,``, or a control label) have one entry a cell, ``covariates`` (see `annotated`) one row. NaN are
        missing values with ``missing``, and refused without.
        """
        values, genes, notes = cells_of(frame, tfs)
        named = CellLabels.of_frame(frame.T if notes else frame)  # a note says that it was turned
        own = values if values.flags.writeable else values.copy()  # a table of pandas 3 lends its values to be read
        data = cls(torch.as_tensor(own), genes, notes=notes, missing=missing, labels=named)
        return data.observed().annotated(tfs=tfs, context=context, perturbed=perturbed, covariates=covariates)

    @classmethod
    def from_anndata(
        cls,
        adata: "anndata.AnnData",
        *,
        layer: str | None = None,
        tfs: Sequence[str] | None = None,
        context_key: str | None = None,
        perturbation_key: str | None = None,
        covariate_keys: Sequence[str] = (),
        time_key: str | None = None,
        trajectory_key: str | None = None,
        missing: bool = False,
    ) -> "ExpressionData":
        """From an AnnData of cells × genes; dense, CSR, CSC, or backed (then read in blocks).

        Parameters
        ----------
        layer
            Name of the layer to read instead of ``.X``; ``"raw"`` is ``.raw`` where no layer is called so.
        tfs
            Candidate regulators; default every gene.
        context_key, perturbation_key
            Columns of ``.obs``: the context of each cell, and the gene perturbed in it.
        covariate_keys
            Columns of ``.obs`` that are covariates (see `annotated`). Default none.
        time_key, trajectory_key
            Columns of ``.obs``: time, and trajectory (default: all cells are points of one). See `with_times`.
        missing
            True: NaN are missing values. Default False: they are refused.
        """
        check_columns(adata.obs, (context_key, perturbation_key, *covariate_keys, time_key, trajectory_key))
        if trajectory_key is not None and time_key is None:
            raise ValueError(f"trajectory_key={trajectory_key!r} without time_key: name the column with the times")
        named = CellLabels.of(adata.obs_names, adata.obs)
        data = cls(*matrix_and_genes(adata, layer), missing=missing, labels=named).observed()
        if time_key is not None:
            names = None if trajectory_key is None else adata.obs[trajectory_key].astype(str).tolist()
            times = read_times(adata.obs[time_key].tolist())
            data = data.with_times(times.values.tolist(), names).with_missing(data.missing, *times.notes)
        labels = labels_of(adata.obs, context_key, perturbation_key, covariate_keys)
        return data.annotated(tfs=tfs, **labels._asdict())

    @classmethod
    def from_mudata(
        cls,
        mdata: "mudata.MuData",
        *,
        layer: str | Mapping[str, str] | None = None,
        tfs: Sequence[str] | None = None,
        context_key: str | None = None,
        perturbation_key: str | None = None,
        covariate_keys: Sequence[str] = (),
        missing: bool = False,
    ) -> "ExpressionData":
        """From a MuData: each modality is a view.

        Genes of the modalities follow one another; a name that several of them use becomes ``view:gene``. Cells are all
        of ``mdata.obs_names``; what a modality lacks is missing (NaN), and ``notes`` say how many cells that are. A
        cell without any value is kept.

        Parameters
        ----------
        layer
            Layer to read instead of ``.X``: one for all modalities, or by modality.
        tfs
            Candidate regulators; default every gene.
        context_key, perturbation_key, covariate_keys
            Columns of ``mdata.obs``, or else of the modalities' ``.obs``.
        missing
            True: NaN inside the modalities are missing values too. Default False: they are refused.

        Raises
        ------
        ValueError
            Modalities that share genes instead of cells, unknown layers or columns, a modality without any value.
        """
        named = CellLabels.of(mdata.obs_names, mdata.obs)
        joined = cls(**join_modalities(mdata, layer, missing=missing)._asdict(), labels=named)
        table = annotations_of(mdata, [context_key, perturbation_key, *covariate_keys])
        labels = labels_of(table, context_key, perturbation_key, covariate_keys)
        return joined.observed().annotated(tfs=tfs, **labels._asdict())

    def observed(self, *, genes: bool = True) -> "ExpressionData":
        """What is missing goes to ``notes``; ``missing`` becomes False where nothing is. One pass over the cells.

        ``genes``: whether a gene that no cell has is refused (default), or left to be dropped as constant.

        Raises
        ------
        ValueError
            A view without any value; a gene without any (unless ``genes`` is False).
        """
        if not self.missing:
            return self
        notes = missing_notes(self, genes=genes)
        return self.with_missing(bool(notes), *notes)

    def annotated(
        self,
        *,
        tfs: Sequence[str] | None = None,
        context: Sequence[str] | None = None,
        perturbed: Sequence[object] | None = None,
        covariates: pd.DataFrame | None = None,
    ) -> "ExpressionData":
        """A copy with candidate regulators, contexts, interventions and covariates given by name.

        ``covariates`` has one row a cell, in the order of the cells (its index is not looked at), and one column a
        covariate: numbers are centred and scaled to sd 1, text, categories and truth values become 0/1 columns
        ``name[level]`` for every level but the first (`covariates.encode_covariates`). It replaces earlier covariates.
        Annotate all cells together and take subsets then: scales and levels are those of the cells given.

        Raises
        ------
        ValueError
            Unknown TFs; covariates that are missing in a cell, constant, constant within every context, or collinear.
        """
        data = self if tfs is None else self.match_tfs(tfs)
        if context is not None:
            codes, names = codes_of(context)
            data = replace(data, context=codes.to(self.device), context_names=names)
        if covariates is not None and len(covariates) != self.num_cells:
            raise ValueError(f"{len(covariates)} rows of covariates for {self.num_cells} cells: pass one a cell")
        if perturbed is not None:
            data = data.with_interventions(perturbed)
            if covariates is not None and data.num_cells < self.num_cells:
                covariates = covariates[interventions_of(perturbed, self.genes).known]
        if covariates is not None:
            values, columns, notes = encode_covariates(covariates, data.context)
            values = values.to(self.device, self.dtype)
            data = replace(data, covariates=values, covariate_names=columns, notes=(*data.notes, *notes))
        return data

    def match_tfs(self, tfs: Sequence[str]) -> "ExpressionData":
        """Use those of ``tfs`` that are measured; the number of the others goes to ``notes``. None measured is an
        error."""
        found, notes = measured_tfs(tfs, self.genes)
        return replace(self, tfs=found, notes=self._noted(notes))

    def with_times(self, time: Sequence[float], trajectory: Sequence[str] | None = None) -> "ExpressionData":
        """A copy in which cells are points of time courses: one time a cell, and the name of its trajectory (default
        one for all). Rows may come in any order.

        Raises
        ------
        ValueError
            Another number of values than cells, times that are missing or no numbers.
        """
        times, codes, names = times_of(time, trajectory, self.num_cells)
        return replace(self, time=times.to(self.device), trajectory=codes.to(self.device), trajectory_names=names)

    def with_inputs(self, inputs: pd.DataFrame) -> "ExpressionData":
        """A copy with what acts on the genes from outside: one row a cell, in their order, and one column a gene that
        something acts on (zero on all others), as CellBox's ``pert`` matrix.

        Raises
        ------
        ValueError
            Another number of rows, columns that are no genes, values that are not finite numbers.
        """
        table = inputs_of(inputs, self.genes, self.num_cells)
        return replace(self, inputs=table.to(device=self.device, dtype=self.dtype))

    def with_interventions(
        self, labels: Perturbations, *, controls: Collection[str] = CONTROLS, unmeasured: bool = False
    ) -> "ExpressionData":
        """Read one label a cell: a control, a gene, a guide, or several genes; parameters as of `interventions_of`.

        Cells of which the label does not say what was perturbed (NaN, empty, ``unassigned``) are dropped; they are
        counted in ``notes``, as are guides that were mapped and genes that are not measured.

        Raises
        ------
        ValueError
            Another number of labels than cells, and what `interventions_of` refuses.
        """
        if len(labels) != self.num_cells:
            raise ValueError(f"{len(labels)} perturbation labels for {self.num_cells} cells: pass one a cell")
        pairs, known, notes = interventions_of(labels, self.genes, controls=controls, unmeasured=unmeasured)
        data = selected_cells(self, known)
        return replace(data, perturbed=None if pairs is None else pairs.to(self.device), notes=data._noted(notes))

    def _noted(self, notes: Sequence[str]) -> tuple[str, ...]:
        """All notes with new ones, which the log tells too."""
        for note in notes:
            logger.info(note)
        return (*self.notes, *notes)

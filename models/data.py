"""`ExpressionData`: what a model conditions on."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor

from .matrix import Affine, RowTransform, log1p_cpm, read_rows

if TYPE_CHECKING:
    import anndata
    import mudata

    from .gram import GramStatistics

logger = logging.getLogger(__name__)

CONTROL_LABELS = frozenset({"control", "ctrl", "non-targeting", "nt", "none", "wildtype", "wt", "nan", ""})
NORMALIZATIONS = ("none", "log1p-cpm", "zscore")


def some(names: Sequence[str], limit: int = 5) -> str:
    """The first names of a list, for an error message: ``['A', 'B'] and 7 more``."""
    shown = [str(n) for n in names[:limit]]
    return f"{shown}" + (f" and {len(names) - limit} more" if len(names) > limit else "")


@dataclass(frozen=True, eq=False)
class ExpressionData:
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

    def __post_init__(self) -> None:
        if len(self.matrix.shape) != 2 or min(self.matrix.shape) == 0:
            raise ValueError(
                f"expression has shape {tuple(self.matrix.shape)}, expected (cells, genes) with at least one of each"
            )
        width = self.matrix.shape[1] if self.column is None else len(self.column)
        if len(self.genes) != width:
            raise ValueError(f"{len(self.genes)} gene names for {width} columns: pass one name for each column")
        repeated = pd.Index(self.genes)
        if not repeated.is_unique:
            raise ValueError(
                f"duplicate gene names: {some(sorted(set(repeated[repeated.duplicated()])))}. "
                "Make them unique first (adata.var_names_make_unique())"
            )
        if not self.tfs:
            object.__setattr__(self, "tfs", self.genes)
        unknown = sorted(set(self.tfs) - set(self.genes))
        if unknown:
            raise ValueError(
                f"{len(unknown)} of {len(self.tfs)} `tfs` are not in `genes`: {some(unknown)}. "
                "Pass names from the expression file, or use match_tfs()"
            )
        if len(set(self.tfs)) != len(self.tfs):
            raise ValueError("`tfs` has repeated names: list each candidate regulator once")
        each = {name: getattr(self, name) for name in ("context", "size_factor", "time", "trajectory")}
        for name, value in each.items():
            if value is not None and tuple(value.shape) != (self.num_cells,):
                raise ValueError(
                    f"`{name}` has shape {tuple(value.shape)}, expected ({self.num_cells},): one value a cell"
                )
        if self.size_factor is not None and not bool((self.size_factor > 0).all()):
            raise ValueError("`size_factor` has values that are not positive: drop cells without counts first")
        if (self.time is None) is not (self.trajectory is None):
            raise ValueError("`time` and `trajectory` go together: pass both or neither (`with_times`)")
        self._check_covariates()
        self._check_views()
        if self.inputs is not None:
            shape = (self.num_cells, self.num_genes)
            if tuple(self.inputs.shape) != shape or not bool(torch.isfinite(self.inputs).all()):
                raise ValueError(f"`inputs` has shape {tuple(self.inputs.shape)}, expected {shape} finite numbers")
        if isinstance(self.matrix, Tensor):
            check_finite(self.matrix, self.genes if self.column is None else None, missing=self.missing)
        elif sp.issparse(self.matrix):
            check_finite(torch.as_tensor(self.matrix.data), None, missing=self.missing)

    def _check_covariates(self) -> None:
        number = len(self.covariate_names)
        if self.covariates is None:
            if number:
                raise ValueError(f"`covariate_names` has {number} names and `covariates` is None: pass both or neither")
            return
        if tuple(self.covariates.shape) != (self.num_cells, number):
            raise ValueError(
                f"`covariates` has shape {tuple(self.covariates.shape)}, expected ({self.num_cells}, {number}): one "
                "row a cell and one column a name"
            )
        if len(set(self.covariate_names)) < number:
            raise ValueError(f"`covariate_names` repeats a name: {some(self.covariate_names)}")
        if not bool(torch.isfinite(self.covariates).all()):
            bad = (~torch.isfinite(self.covariates)).any(0).tolist()
            names = [name for name, b in zip(self.covariate_names, bad, strict=True) if b]
            raise ValueError(f"covariates {some(names)} have NaN or infinite values: fill them in, or drop the cells")

    def _check_views(self) -> None:
        number = len(self.view_names)
        if number == 0 or len(set(self.view_names)) < number:
            raise ValueError(f"`view_names` is {list(self.view_names)}: expected one or more different names")
        if self.view is None:
            if number > 1:
                raise ValueError(f"{number} views are named and `view` is None: pass the view of each gene")
            return
        if tuple(self.view.shape) != (self.num_genes,) or self.view.dtype != torch.long:
            raise ValueError(
                f"`view` has shape {tuple(self.view.shape)} and type {self.view.dtype}, expected ({self.num_genes},) "
                "of torch.long: the place of each gene's view in `view_names`"
            )
        if int(self.view.min()) < 0 or int(self.view.max()) >= number:
            raise ValueError(f"`view` has codes outside 0 ... {number - 1}, the places in `view_names`")

    # -- sizes and names ----------------------------------------
    @property
    def num_cells(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def num_genes(self) -> int:
        return len(self.genes)

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
        position = {gene: i for i, gene in enumerate(self.genes)}
        return torch.tensor([position[tf] for tf in self.tfs], device=self.device)

    # -- values ----------------------------------------
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
        return self.rows(slice(0, self.num_cells))

    def chunks(self, size: int = 8192) -> Iterator[tuple[int, Tensor]]:
        """``(first row, (row, gene) block)`` over all cells in order, ``size`` rows at a time."""
        for start in range(0, self.num_cells, size):
            yield start, self.rows(slice(start, min(start + size, self.num_cells)))

    def minibatches(self, size: int, generator: torch.Generator | None = None) -> Iterator["ExpressionData"]:
        """One pass over all cells in random order, ``size`` at a time (the last may be smaller), each standing for all
        cells."""
        order = torch.randperm(self.num_cells, generator=generator).numpy()
        for start in range(0, self.num_cells, size):
            yield replace(self.subset(order[start : start + size]), population=self.num_cells)

    def statistics(self, chunk_size: int = 8192) -> "GramStatistics":
        """Sufficient statistics of every linear-Gaussian likelihood, in one pass. See `GramStatistics`.

        Raises
        ------
        ValueError
            A missing value: there are no such statistics then.
        """
        from .gram import GramStatistics

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

    # -- derived data ----------------------------------------
    def subset(self, cells: np.ndarray) -> "ExpressionData":
        """The given cells (integer positions or a boolean mask), in memory."""
        cells = np.asarray(cells)
        cells = np.flatnonzero(cells) if cells.dtype == bool else cells.astype(np.int64)
        perturbed = None
        if self.perturbed is not None:
            where = torch.full((self.num_cells,), -1, dtype=torch.long)
            where[torch.as_tensor(cells)] = torch.arange(len(cells))
            new = where[self.perturbed[:, 0].cpu()]
            perturbed = torch.stack([new, self.perturbed[:, 1].cpu()], dim=1)[new >= 0].to(self.device)
        pick = torch.as_tensor(cells, device=self.device)
        return replace(
            self,
            matrix=self.rows(cells),
            transform=None,
            column=None,
            context=None if self.context is None else self.context[pick],
            size_factor=None if self.size_factor is None else self.size_factor[pick],
            covariates=None if self.covariates is None else self.covariates[pick],
            inputs=None if self.inputs is None else self.inputs[pick],
            time=None if self.time is None else self.time[pick],
            trajectory=None if self.trajectory is None else self.trajectory[pick],
            perturbed=perturbed,
        )

    def select_genes(self, genes: Sequence[str]) -> "ExpressionData":
        """Keep these genes, in this order; candidate regulators that are not among them are dropped, and so are views
        of which none is left (``notes`` say which)."""
        position = {gene: i for i, gene in enumerate(self.genes)}
        unknown = [g for g in genes if g not in position]
        if unknown:
            raise ValueError(f"{len(unknown)} genes are not in the data: {some(unknown)}")
        keep = np.array([position[g] for g in genes], dtype=np.int64)
        perturbed = self.perturbed
        if perturbed is not None:
            where = torch.full((self.num_genes,), -1, dtype=torch.long)
            where[torch.as_tensor(keep)] = torch.arange(len(keep))
            new = where[perturbed[:, 1].cpu()]
            perturbed = torch.stack([perturbed[:, 0].cpu(), new], dim=1)[new >= 0].to(self.device)
        chosen = set(genes)
        tfs = tuple(t for t in self.tfs if t in chosen)
        if not tfs:
            raise ValueError("none of the candidate regulators is among the selected genes")
        view, view_names, notes = self.view, self.view_names, self.notes
        if view is not None:
            used, view = view[torch.as_tensor(keep, device=view.device)].unique(return_inverse=True)
            view_names = tuple(self.view_names[k] for k in used.tolist())
            gone = [name for name in self.view_names if name not in view_names]
            notes = (*notes, f"views without a gene left: {some(gone)}") if gone else notes
        return replace(
            self,
            genes=tuple(genes),
            tfs=tfs,
            column=keep if self.column is None else self.column[keep],
            perturbed=perturbed,
            inputs=None if self.inputs is None else self.inputs[:, torch.as_tensor(keep, device=self.device)],
            view=view,
            view_names=view_names,
            notes=notes,
        )

    def without_constant_genes(self) -> "ExpressionData":
        """Drop genes that do not vary within any context (they can neither regulate nor be explained); ``notes`` say
        which."""
        count, mean, square = self._context_moments()
        constant = is_constant(count, mean, square)
        if not bool(constant.any()):
            return self
        names = [g for g, c in zip(self.genes, constant.tolist(), strict=True) if c]
        kept = self.select_genes([g for g, c in zip(self.genes, constant.tolist(), strict=True) if not c])
        return replace(kept, notes=(*kept.notes, f"{len(names)} constant genes dropped: {some(names)}"))

    def moments(self) -> tuple[Tensor, Tensor]:
        """``(gene,)`` mean and variance over all cells that have a value, float64, in one pass."""
        count, mean, square = self._context_moments()
        share = count / count.sum(0).clamp_min(1)
        overall = (share * mean).sum(0)
        return overall, square.sum(0) / count.sum(0).clamp_min(1) + (share * (mean - overall) ** 2).sum(0)

    def _context_moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Numbers of values, means and centred sums of squares, each ``(context, gene)``."""
        shape = (self.num_contexts, self.num_genes)
        count, mean, square = (torch.zeros(shape, dtype=torch.float64) for _ in range(3))
        for start, block in self.chunks():
            block = block.double().cpu()
            codes = None if self.context is None else self.context[start : start + len(block)].cpu()
            for k in range(self.num_contexts):
                rows = block if codes is None else block[codes == k]
                if not len(rows):
                    continue
                number = (~rows.isnan()).sum(0) if self.missing else torch.full(shape[1:], len(rows))
                centre = rows.nansum(0) / number.clamp_min(1)
                total = (count[k] + number).clamp_min(1)
                shift = centre - mean[k]
                square[k] += (rows - centre).square().nansum(0) + shift**2 * (count[k] * number / total)
                mean[k] += shift * (number / total)
                count[k] += number
        return count, mean, square

    def normalized(self, how: str) -> "ExpressionData":
        """Return the data under one of the named normalisations, applied lazily to each block.

        ``none``: as they are. ``log1p-cpm``: ``log(1 + counts per million)``, refusing negative values. ``zscore``:
        each gene to mean 0 and variance 1 over all cells (constant genes are refused by name).
        """
        if how not in NORMALIZATIONS:
            raise ValueError(f"unknown normalisation {how!r}: choose one of {', '.join(NORMALIZATIONS)}")
        if how == "none":
            return self
        if self.transform is not None or self.column is not None:
            raise ValueError(
                "normalise before selecting genes and only once: depths are sums over all genes of the file"
            )
        if how == "log1p-cpm" and len(self.view_names) > 1:
            raise ValueError(
                f"log1p-cpm is for one view and there are {len(self.view_names)} ({some(self.view_names)}): normalise "
                "each modality before they are joined"
            )
        if how == "log1p-cpm":
            return replace(self, transform=log1p_cpm)
        mean, variance = self.moments()
        constant = [g for g, v in zip(self.genes, variance.tolist(), strict=True) if v == 0]
        if constant:
            raise ValueError(
                f"{len(constant)} constant genes cannot be z-scored: "
                f"{some(constant)}. Drop them first (--drop-constant)"
            )
        return replace(self, transform=Affine(mean, variance.sqrt()))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "ExpressionData":
        """Blocks come out on this device in this floating type; a matrix on disk stays there."""
        device = self.device if device is None else torch.device(device)
        dtype = self.dtype if dtype is None else dtype
        move = lambda value: None if value is None else value.to(device)  # noqa: E731
        matrix = self.matrix.to(device=device, dtype=dtype) if isinstance(self.matrix, Tensor) else self.matrix
        real = lambda value: None if value is None else value.to(device=device, dtype=dtype)  # noqa: E731
        return replace(
            self,
            matrix=matrix,
            device=device,
            dtype=dtype,
            context=move(self.context),
            perturbed=move(self.perturbed),
            size_factor=real(self.size_factor),
            covariates=real(self.covariates),
            inputs=real(self.inputs),
            time=move(self.time),
            trajectory=move(self.trajectory),
            view=move(self.view),
        )

    # -- constructors ----------------------------------------
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
        notes: tuple[str, ...] = ()
        frame, swapped = orient(frame, tfs)
        if swapped:
            notes = (
                "genes x cells recognised from the TF names and transposed: "
                f"{frame.shape[0]} cells x {frame.shape[1]} genes",
            )
        other = [str(c) for c, kind in frame.dtypes.items() if kind.kind not in "fiub"]
        if other:
            raise ValueError(
                f"columns that are not numbers: {some(other)}. Expected one column a gene; drop or move annotations"
            )
        genes = tuple(str(c) for c in frame.columns)
        data = cls(torch.as_tensor(frame.to_numpy(dtype=np.float32)), genes, notes=notes, missing=missing)
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
            Name of the layer to read instead of ``.X``.
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
        from .views import matrix_of

        wanted = (context_key, perturbation_key, *covariate_keys, time_key, trajectory_key)
        for key in wanted:
            if key is not None and key not in adata.obs:
                raise ValueError(f"no column {key!r} in .obs: it has {list(adata.obs.columns)}")
        if trajectory_key is not None and time_key is None:
            raise ValueError(f"trajectory_key={trajectory_key!r} without time_key: name the column with the times")
        data = cls(matrix_of(adata, layer), tuple(str(g) for g in adata.var_names), missing=missing).observed()
        if time_key is not None:
            names = None if trajectory_key is None else adata.obs[trajectory_key].astype(str).tolist()
            data = data.with_times(adata.obs[time_key].tolist(), names)
        return data._with_table(adata.obs, tfs, context_key, perturbation_key, covariate_keys)

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
        from .views import annotations_of, join_modalities

        joined = join_modalities(mdata, layer, missing=missing)
        keys = [key for key in (context_key, perturbation_key, *covariate_keys) if key is not None]
        table = annotations_of(mdata, list(dict.fromkeys(keys)))
        return joined.observed()._with_table(table, tfs, context_key, perturbation_key, covariate_keys)

    def _with_table(
        self,
        table: pd.DataFrame,
        tfs: Sequence[str] | None,
        context_key: str | None,
        perturbation_key: str | None,
        covariate_keys: Sequence[str],
    ) -> "ExpressionData":
        """Annotations from columns of a table with one row a cell; the columns are there."""
        if context_key is not None and bool(table[context_key].isna().any()):
            count = int(table[context_key].isna().sum())
            raise ValueError(f"{count} cells have no value of {context_key!r}: give every cell a context, or drop them")
        return self.annotated(
            tfs=tfs,
            context=None if context_key is None else table[context_key].astype(str).tolist(),
            perturbed=None if perturbation_key is None else table[perturbation_key].astype(str).tolist(),
            covariates=table[list(covariate_keys)] if covariate_keys else None,
        )

    def observed(self, *, genes: bool = True) -> "ExpressionData":
        """What is missing goes to ``notes``; ``missing`` becomes False where nothing is. See `views.observed`.

        Raises
        ------
        ValueError
            A view without any value; a gene without any (unless ``genes`` is False).
        """
        from .views import observed

        return observed(self, genes=genes)

    def annotated(
        self,
        *,
        tfs: Sequence[str] | None = None,
        context: Sequence[str] | None = None,
        perturbed: Sequence[str] | None = None,
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
        data = self
        if tfs is not None:
            data = data.match_tfs(tfs)
        if context is not None:
            names, codes = np.unique(np.asarray(context, dtype=str), return_inverse=True)
            data = replace(
                data, context=torch.as_tensor(codes, device=self.device), context_names=tuple(names.tolist())
            )
        if perturbed is not None:
            data = data.with_interventions(perturbed)
        if covariates is not None:
            if len(covariates) != self.num_cells:
                raise ValueError(f"{len(covariates)} rows of covariates for {self.num_cells} cells: pass one a cell")
            from .covariates import encode_covariates

            values, columns, notes = encode_covariates(covariates, data.context)
            values = values.to(device=self.device, dtype=self.dtype)
            data = replace(data, covariates=values, covariate_names=columns, notes=(*data.notes, *notes))
        return data

    def match_tfs(self, tfs: Sequence[str]) -> "ExpressionData":
        """Use those of ``tfs`` that are measured; the number of the others goes to ``notes``. None measured is an
        error."""
        known = set(self.genes)
        wanted = list(dict.fromkeys(str(t) for t in tfs))
        found = tuple(t for t in wanted if t in known)
        if not found:
            hint = ""
            upper = {g.upper() for g in self.genes}
            if any(t.upper() in upper for t in wanted):
                hint = " They match when case is ignored: use the same case in both files."
            raise ValueError(
                f"none of {len(wanted)} TFs ({some(wanted, 3)}) is among the genes ({some(self.genes, 3)}).{hint}"
            )
        notes = self.notes
        if len(found) < len(wanted):
            missing = [t for t in wanted if t not in known]
            notes = (*notes, f"{len(found)} of {len(wanted)} listed TFs are measured; not measured: {some(missing, 3)}")
            logger.info(notes[-1])
        return replace(self, tfs=found, notes=notes)

    def with_times(self, time: Sequence[float], trajectory: Sequence[str] | None = None) -> "ExpressionData":
        """A copy in which cells are points of time courses: one time a cell, and the name of its trajectory (default
        one for all). Rows may come in any order.

        Raises
        ------
        ValueError
            Another number of values than cells, times that are missing or no numbers.
        """
        try:
            times = torch.as_tensor(np.asarray(time, dtype=np.float64), device=self.device)
        except (TypeError, ValueError) as error:
            raise ValueError(f"times are not all numbers ({error}): give every cell its time, or drop it") from error
        names = ["all"] * self.num_cells if trajectory is None else [str(t) for t in trajectory]
        if tuple(times.shape) != (self.num_cells,) or len(names) != self.num_cells:
            raise ValueError(
                f"{len(times)} times and {len(names)} names of trajectories for {self.num_cells} cells: pass one a cell"
            )
        if not bool(torch.isfinite(times).all()):
            raise ValueError(f"{int((~torch.isfinite(times)).sum())} cells have no time: give them one, or drop them")
        unique, codes = np.unique(np.asarray(names, dtype=str), return_inverse=True)
        place = torch.as_tensor(codes, device=self.device)
        return replace(self, time=times, trajectory=place, trajectory_names=tuple(unique.tolist()))

    def with_inputs(self, inputs: pd.DataFrame) -> "ExpressionData":
        """A copy with what acts on the genes from outside: one row a cell, in their order, and one column a gene that
        something acts on (zero on all others), as CellBox's ``pert`` matrix.

        Raises
        ------
        ValueError
            Another number of rows, columns that are no genes, values that are not finite numbers.
        """
        if len(inputs) != self.num_cells:
            raise ValueError(f"{len(inputs)} rows of inputs for {self.num_cells} cells: pass one a cell")
        columns = [str(c) for c in inputs.columns]
        unknown = sorted(set(columns) - set(self.genes))
        if unknown or len(set(columns)) < len(columns):
            raise ValueError(
                f"inputs on {some(unknown) if unknown else 'repeated names'}, which are not among the genes "
                f"({some(self.genes, 3)}): name each gene once, as in the expression data"
            )
        position = {gene: i for i, gene in enumerate(self.genes)}
        table = torch.zeros(self.num_cells, self.num_genes, dtype=self.dtype, device=self.device)
        try:
            values = torch.as_tensor(inputs.to_numpy(dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise ValueError(f"inputs are not all numbers ({error}): give 0 where nothing acts") from error
        table[:, [position[c] for c in columns]] = values.to(table)
        return replace(self, inputs=table)

    def with_interventions(self, labels: Sequence[str]) -> "ExpressionData":
        """Read one label a cell: a control label, or the perturbed genes joined by ``+`` or ``,``; unmeasured genes are
        noted."""
        if len(labels) != self.num_cells:
            raise ValueError(f"{len(labels)} perturbation labels for {self.num_cells} cells: pass one a cell")
        position = {gene: i for i, gene in enumerate(self.genes)}
        pairs, unmeasured = [], set()
        for cell, label in enumerate(labels):
            if str(label).strip().lower() in CONTROL_LABELS:
                continue
            for gene in str(label).replace(",", "+").split("+"):
                gene = gene.strip()
                if gene in position:
                    pairs.append((cell, position[gene]))
                elif gene.lower() not in CONTROL_LABELS:
                    unmeasured.add(gene)
        notes = self.notes
        if unmeasured:
            notes = (
                *notes,
                f"{len(unmeasured)} perturbed genes are not measured, nothing to cut: {some(sorted(unmeasured), 3)}",
            )
            logger.info(notes[-1])
        table = torch.tensor(pairs, dtype=torch.long, device=self.device).reshape(-1, 2)
        return replace(self, perturbed=table if len(pairs) else None, notes=notes)


def is_constant(count: Tensor, mean: Tensor, square: Tensor) -> Tensor:
    """``(gene,)`` True where the variation within contexts is rounding error: below 1e-24 of the raw sum of squares.

    ``count`` ``(context,)`` or ``(context, gene)``, ``mean`` and centred sums of squares ``square`` ``(context,
    gene)``.
    """
    within = square.sum(0)
    count = count if count.dim() == 2 else count[:, None]
    return within <= 1e-24 * (within + (count * mean**2).sum(0))


def orient(frame: pd.DataFrame, tfs: Sequence[str] | None) -> tuple[pd.DataFrame, bool]:
    """Return the table as cells × genes, and whether it had to be transposed (decided by where the TF names are)."""
    if tfs is None:
        return frame, False
    names = {str(t) for t in tfs}
    in_columns = len(names & {str(c) for c in frame.columns})
    in_rows = len(names & {str(r) for r in frame.index})
    return (frame.T, True) if in_rows > in_columns else (frame, False)


def check_finite(values: Tensor, genes: Sequence[str] | None, *, missing: bool = False) -> None:
    """Refuse infinite values, and NaN unless they stand for missing ones, naming the genes when they are known."""
    finite = ~torch.isinf(values) if missing else torch.isfinite(values)
    if bool(finite.all()):
        return
    count = int((~finite).sum())
    kind = "infinite" if missing or not bool(torch.isnan(values).any()) else "NaN"
    where = ""
    if genes is not None and values.ndim == 2:
        bad = torch.nonzero(~finite.all(dim=0)).flatten().tolist()
        where = f" in genes {some([genes[i] for i in bad], 3)}"
    raise ValueError(f"{count} {kind} values in the expression matrix{where}: remove or impute them first")

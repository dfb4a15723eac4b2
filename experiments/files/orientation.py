"""Expression files as cells × genes: which way round a file is, and what is said of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ...models.data.checks import some
from ...models.data.orientation import Axis, count_votes, is_bare_integer
from ...priors.alignment import rename_hint
from .not_genes import without_annotations
from .stored import Stored

AXES: tuple[Axis, ...] = ("rows", "columns")


def check_axis(genes_in: str | None) -> Axis | None:
    """``genes_in`` as it is; anything but ``rows``, ``columns`` and None is refused."""
    axis = next((axis for axis in AXES if axis == genes_in), None)
    if genes_in is not None and axis is None:
        raise ValueError(f"genes in {genes_in!r}: choose rows (genes x cells) or columns (cells x genes)")
    return axis


def as_cells(
    stored: Stored,
    tfs: Sequence[str] | None,
    *,
    known: Mapping[str, Collection[str]],
    genes_in: Axis | None,
    backed: bool | None,
) -> tuple[Stored, list[str]]:
    """Cells in rows and genes in columns, and what there is to say about it.

    What the caller states (``genes_in``) decides; else where the names of genes are, those of the TFs and of ``known``
    (what it is -> its names); else what the file says of itself, its header or kind; else rows are cells.
    Columns that are no genes are left out.

    Raises
    ------
    ValueError
        TFs of which none is on either axis; genes × cells that are to be streamed.
    """
    votes = {"TFs": tfs, **known} if tfs is not None else dict(known)
    counts = {what: count_votes(stored.rows, stored.columns, names) for what, names in votes.items()}
    in_rows, in_columns = (sum(count[i] for count in counts.values()) for i in (0, 1))
    voted: Axis | None = None if in_rows == in_columns == 0 else "rows" if in_rows > in_columns else "columns"
    if tfs is not None and counts["TFs"] == (0, 0) and not _numbers_fit(stored, tfs, genes_in):
        raise ValueError(no_overlap(stored, list(dict.fromkeys(str(t) for t in tfs))))
    axis = genes_in or voted or stored.genes_in or "columns"
    cells = stored if axis == "columns" else _transposed(stored, backed)
    cells, left_out = without_annotations(cells, {str(name) for names in votes.values() for name in names or ()})
    shape = f"{len(cells.rows)} cells x {len(cells.columns)} genes"
    notes = left_out
    if genes_in is not None:
        if axis == "rows":
            notes.append(f"genes in rows, as asked for: {shape}")
    elif voted == "rows":
        sources = " and ".join(what for what, count in counts.items() if count[0])
        notes.append(f"genes x cells recognised from the {_names_of(sources)} and transposed: {shape}")
    elif voted is None and stored.genes_in == "rows":
        notes.append(f"genes x cells recognised from {stored.why} and transposed: {shape}")
    elif voted is None and stored.genes_in is None:
        notes.append(
            f"nothing says where the genes are: rows were taken as cells, {shape} ({some(cells.columns, 3)}); if the "
            "genes are in the rows, pass --genes-in rows"
        )
    if genes_in is None and voted is not None and min(in_rows, in_columns) > 0.2 * max(in_rows, in_columns):
        notes.append(
            f"names of genes are on both axes ({in_rows} in the rows, {in_columns} in the columns): say with "
            "--genes-in if genes are in the other one"
        )
    return cells, notes


def _names_of(sources: str) -> str:
    return "TF names" if sources == "TFs" else f"names of {sources}"


def _numbers_fit(stored: Stored, tfs: Sequence[str], genes_in: Axis | None) -> bool:
    """Whether TFs are numbers and so are genes that only count (SERGIO's): they tell no axis, and match nonetheless."""
    names = stored.rows if (genes_in or stored.genes_in or "columns") == "rows" else stored.columns
    both = set(map(str, tfs)) & set(names)
    if genes_in is not None:
        return bool(both)
    return bool(both) and all(map(is_bare_integer, names))


def _transposed(stored: Stored, backed: bool | None) -> Stored:
    if stored.is_on_disk and backed:
        raise ValueError("is genes x cells, which cannot be streamed by cells: transpose it, or leave out backed=True")
    return replace(stored.transposed(), genes_in="columns")


def no_overlap(stored: Stored, tfs: Sequence[str]) -> str:
    """Why no TF is measured, and what to do."""
    text = (
        f"none of the {len(tfs)} TFs ({some(tfs, 3)}) is among its {len(stored.columns)} columns "
        f"({some(stored.columns, 3)}) or {len(stored.rows)} rows ({some(stored.rows, 3)})"
    )
    numbers = set(tfs) & {*stored.rows, *stored.columns}
    if numbers:
        return (
            f"{text}: bare numbers such as {min(numbers)!r} are taken for numbers of rows, not for genes; if they are "
            "genes, pass --genes-in rows or columns"
        )
    folded = {name.casefold(): name for name in (*stored.rows, *stored.columns)}
    same = next(((tf, folded[tf.casefold()]) for tf in tfs if tf.casefold() in folded), None)
    if same is not None:
        return f"{text}. They match when case is ignored ({same[0]!r}, {same[1]!r}): use the same case in both files"
    renamed = rename_hint(tfs, [*stored.rows, *stored.columns])
    if renamed is not None:
        return f"{text}. {renamed}"
    for axis, table in (("var", stored.column_table), ("obs", stored.row_table)):
        for column in table.columns:
            if not set(tfs).isdisjoint(table[column].astype(str)):
                return f"{text}. They are in .{axis}[{column!r}]: make that the names (adata.{axis}_names = ...)"
    return f"{text}: pass TFs by the names that the file uses"

"""Edges listed without a header: ``TF, target, sign or weight, ...``, as TRRUST and RegulonDB hand them out."""

from collections.abc import Sequence

from .signs import is_signed

HEADER_ROLES = frozenset(
    "tf gene source target regulator regulators mode sign type weight gene1 gene2 id name".split()  # noqa: SIM905
)


def sign_column(rows: Sequence[Sequence[str]]) -> int | None:
    """The first column from the third on that holds words of signs in every row, the first one included."""
    if not rows or len(rows[0]) < 3 or any(len(row) != len(rows[0]) for row in rows):
        return None
    for i in range(2, len(rows[0])):
        cells = [row[i] for row in rows]
        if rows[0][i] and not all(map(_is_number, cells)) and is_signed(cells):
            return i
    return None


def is_sif_row(rows: Sequence[Sequence[str]]) -> bool:
    """Whether all rows are a name, a word for a sign, and a name: ``A activates B``."""
    if not rows or any(len(row) != 3 or not all(row) or _is_number(row[2]) for row in rows):
        return False
    words = [row[1] for row in rows]
    letters = all(len(word) == 1 and word.isalpha() for word in words)  # names of genes, more likely
    return not letters and not any(map(_is_number, words)) and is_signed(words)


def is_edge_row(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row is an edge rather than a header: it holds a sign, or numbers where a header has names.

    ``TF gene 1``: a number in the third place and none in the first two. A gene may be a number too (``SPI1 7157 1``):
    that is no header of a matrix where names of genes stand below it, or where the first column repeats.
    """
    first = rows[0] if rows else ()
    if (
        len(first) < 3
        or not first[0]
        or not first[1]
        or first[0][0] in "{[<"
        or {cell.lower() for cell in first[:2]} <= HEADER_ROLES
    ):
        return False
    if sign_column(rows) is not None or is_sif_row(rows):
        return True
    if not _is_number(first[2]):
        return False
    if not _is_number(first[0]) and not _is_number(first[1]):
        return True
    if all(map(_is_number, first[:3])):
        return False  # no names at all: other formats look at it
    below = [row for row in rows[1:] if len(row) == len(first)]
    words = any(not _is_number(row[1]) for row in below)
    return _is_number(first[0]) or words or len({row[0] for row in rows}) < len(rows)


def are_identifiers(rows: Sequence[Sequence[str]]) -> bool:
    """Whether whole numbers in the first two columns are names (Entrez ids) and no places in a list of genes: they are
    far larger than there are different ones."""
    try:
        numbers = {float(cell) for row in rows for cell in row[:2]}
    except ValueError:
        return False
    return bool(numbers) and all(n == int(n) > 0 for n in numbers) and max(numbers) > max(200, 10 * len(numbers))


def _is_number(cell: str) -> bool:
    try:
        return float(cell) - float(cell) == 0
    except ValueError:
        return False

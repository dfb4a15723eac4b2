"""GMT files: one gene set per line, ``name <tab> description <tab> gene <tab> gene ...``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from .files import write_text


def parse_gmt(text: str, origin: str | Path) -> dict[str, tuple[str, ...]]:
    """Gene sets of a GMT text in file order.

    The description may be empty or a link and is left out; empty cells are skipped and a gene listed twice in a set
    counts once. Names keep their case.

    Raises
    ------
    ValueError
        For a line with fewer than two tabs, a set without a name or genes, or a name used twice. ``origin`` starts the
        message.
    """
    sets: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        genes = tuple(dict.fromkeys(cell for cell in cells[2:] if cell))
        if not cells[0] or not genes:
            raise ValueError(
                f"{origin}: line {number} is not 'name <tab> description <tab> genes...' ({len(cells)} tab-separated "
                f"cells, name {cells[0]!r}, {len(genes)} genes)"
            )
        if cells[0] in sets:
            raise ValueError(f"{origin}: line {number} repeats the gene set '{cells[0]}'; sets need names of their own")
        sets[cells[0]] = genes
    return sets


def format_gmt(sets: Mapping[str, Sequence[str]], descriptions: Mapping[str, str]) -> str:
    """Text of a GMT file; tabs and line breaks inside names are refused with ``ValueError``."""
    lines = []
    for name, genes in sets.items():
        cells = [name, descriptions.get(name, ""), *genes]
        broken = [cell for cell in cells if "\t" in cell or "\n" in cell]
        if not name or not genes or not all(genes) or broken:
            raise ValueError(
                f"gene set {name!r} cannot be written as GMT: it needs a name, a gene or more, no tabs or line breaks"
            )
        lines.append("\t".join(cells))
    return "".join(f"{line}\n" for line in lines)


def write_gmt_text(sets: Mapping[str, Sequence[str]], path: Path, descriptions: Mapping[str, str]) -> None:
    """Format and write, compressed if the name ends in ``.gz``."""
    write_text(path, format_gmt(sets, descriptions))

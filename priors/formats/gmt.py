"""GMT files: one gene set per line, ``name <tab> description <tab> gene <tab> gene ...``."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..shortened import shortened
from .files import shorten, write_text

logger = logging.getLogger(__name__)


def parse_gmt(text: str, origin: str | Path) -> dict[str, tuple[str, ...]]:
    """Gene sets of a GMT text in file order.

    The description may be empty or a link and is left out; empty cells are skipped and a gene listed twice in a set
    counts once. Names keep their case.

    Lines that begin with ``#`` are comments. A set without genes is left out, with a line in the log.

    Raises
    ------
    ValueError
        For a line without a tab, a set without a name, no set with a gene, or a name used twice. ``origin`` starts the
        message.
    """
    sets: dict[str, tuple[str, ...]] = {}
    empty: list[str] = []
    refusal = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        genes = tuple(dict.fromkeys(cell for cell in cells[2:] if cell))
        if not cells[0] or not genes:
            message = (
                f"{origin}: line {number} is not 'name <tab> description <tab> genes...' ({len(cells)} tab-separated "
                f"cells, name {shortened(cells[0])!r}, {len(genes)} genes)"
            )
            if not cells[0] or len(cells) < 2:
                raise ValueError(message)
            refusal = refusal or message
            empty.append(cells[0])
            continue
        if cells[0] in sets:
            raise ValueError(f"{origin}: line {number} repeats the gene set '{cells[0]}'; sets need names of their own")
        sets[cells[0]] = genes
    if empty and not sets:
        raise ValueError(refusal)
    if empty:
        logger.warning("%s: %d gene sets without genes were left out: %s", origin, len(empty), shorten(empty))
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

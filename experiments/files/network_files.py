"""Networks as the command line names them: ``FILE``, or ``FILE?KEY=VALUE&KEY=VALUE``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ...priors import PriorNetwork
from ...priors.formats.files import open_raw
from ...priors.formats.names import plain_names
from ...priors.formats.sign_words import sign_of_word
from ...priors.formats.signs import find_sign
from ...priors.formats.spreadsheet import read_named, restore_names
from ...priors.repeated_edges import DUPLICATES

SIGNED = {"true": True, "false": False}
QUERY_HELP = "FILE?format=NAME, ?signed=false, ?duplicates=error or ?COLUMN=VALUE to choose rows"


@dataclass(frozen=True)
class NetworkFile:
    """What ``FILE?KEY=VALUE`` says.

    Attributes
    ----------
    path
        The file.
    format, signed, duplicates, genes
        As of `PriorNetwork.read`; None where they are not given.
    where
        Every other key: columns and the values of the rows to take.
    """

    path: Path
    format: str | None = None
    signed: bool | None = None
    duplicates: str | None = None
    genes: Path | None = None
    where: Mapping[str, str] | None = None

    @classmethod
    def parse(cls, entry: Path | str) -> "NetworkFile":
        """Split an entry; a file whose own name holds a ``?`` is taken whole.

        Raises
        ------
        ValueError
            A part without ``=``, or a value that the key does not take.
        """
        text = str(entry)
        name, mark, query = text.partition("?")
        if not mark or Path(text).exists():
            return cls(Path(text))
        options = {}
        for part in filter(None, query.split("&")):
            key, sep, value = part.partition("=")
            if not sep or not key:
                raise ValueError(f"{text}: {part!r} is no KEY=VALUE; expected {QUERY_HELP}")
            options[key] = value
        signed, duplicates = options.pop("signed", None), options.pop("duplicates", None)
        if signed is not None and signed not in SIGNED:
            raise ValueError(f"{text}: signed={signed}: expected true or false")
        if duplicates is not None and duplicates not in DUPLICATES:
            raise ValueError(f"{text}: duplicates={duplicates}: expected one of {', '.join(DUPLICATES)}")
        kind, genes = options.pop("format", None), options.pop("genes", None)
        return cls(
            Path(name),
            kind,
            None if signed is None else SIGNED[signed],
            duplicates,
            None if genes is None else Path(genes),
            options or None,
        )

    def read(self, name: str | None = None, *, format: str | None = None) -> PriorNetwork:
        """The network; ``format`` counts where the entry names none."""
        return PriorNetwork.read(
            self.path,
            name=name,
            format=self.format or format,
            signed=self.signed,
            duplicates=self.duplicates,  # type: ignore[arg-type]  # one of DUPLICATES
            genes=self.genes,
            where=self.where,
        )


def read_edges(entry: Path | str) -> tuple[pd.DataFrame, list[str]]:
    """A network file as a table of edges: one with columns ``source`` and ``target`` as it is, other formats, and those
    that are to be read in a stated way, through `PriorNetwork`.

    Returns
    -------
    table, notes
        What of the file was taken for what, or not used, is in the notes (not of a table that is taken as it is).
    """
    file = NetworkFile.parse(entry)
    if not file.path.exists():
        raise FileNotFoundError(f"no such file: {file.path}")
    if file == NetworkFile(file.path):
        table = _plain_table(file.path)
        if table is not None:
            return table
    network = file.read()
    return network.to_frame(), list(network.notes)


def _plain_table(path: Path) -> tuple[pd.DataFrame, list[str]] | None:
    """A table with ``source`` and ``target`` as it is, its signs as numbers; None where it is something else."""
    if path.is_dir() or not {".csv", ".tsv", ".txt"}.intersection(s.lower() for s in path.suffixes):
        return None
    try:
        raw = open_raw(path)
    except ValueError:  # PriorNetwork.read says what is wrong with it
        return None
    lower = [c.lower() for c in raw.header]
    if not {"source", "target"} <= set(raw.header) or any("symbol" in c for c in lower):
        return None
    try:
        table = read_named(raw.text, raw.separator)
    except (ValueError, pd.errors.ParserError):
        return None
    table, notes = plain_names(restore_names(table))
    if "sign" in table:
        if table["sign"].dtype.kind not in "fiu":
            table["sign"] = [sign_of_word("" if cell != cell else cell) for cell in table["sign"]]
            return None if table["sign"].isna().any() else (table.astype({"sign": int}), notes)
        return table, notes
    if "weight" in table:
        return table, notes
    signs, _, note = find_sign(table, ["source", "target"])
    return (table, notes) if signs is None else (table.assign(sign=signs), [*notes, note])

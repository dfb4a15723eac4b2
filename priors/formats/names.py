"""Names of genes as other programs write them: Entrez ids that became floats, regulons named after a TF and a sign."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

FLOAT_ID = re.compile(r"^(\d+)\.0+$")
# pySCENIC writes SPI1(+), SCENIC in R SPI1 (123g) and SPI1_extended (45g)
REGULON = re.compile(r"^(?P<tf>.*[^\s_])[\s_]*\((?P<sign>[+-])\)$")
REGULON_SIZE = re.compile(r"^(?P<tf>.*?[^\s_])(_extended)?\s*\(\d+g\)$")


def whole_number(name: str) -> str:
    """``7157.0``, which a table makes of an Entrez id beside a missing one, as ``7157``; any other name as it is."""
    match = FLOAT_ID.match(name)
    return match.group(1) if match else name


def regulon(name: str) -> tuple[str, int]:
    """The TF and the sign (0: none) of a regulon's name; a name of another kind as it is."""
    match = REGULON.match(name)
    if match:
        return match.group("tf"), 1 if match.group("sign") == "+" else -1
    match = REGULON_SIZE.match(name)
    return (match.group("tf") if match else name), 0


def plain_names(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Sources and targets of a table of edges under plain names, with the sign that a regulon's name carries.

    Returns
    -------
    table, notes
        The same object where nothing is to change.
    """
    notes: list[str] = []
    changed: dict[str, Any] = {}
    for column in ("source", "target"):
        names = table[column].tolist()
        plain = [whole_number(name.strip()) if isinstance(name, str) else name for name in names]
        floats = _changed(names, plain)
        if floats:
            notes.append(f"numbers such as {floats[0]!r} in column {column!r} are read as {whole_number(floats[0])!r}")
            changed[column] = plain
    sources = changed.get("source", table["source"].tolist())
    parts = [regulon(name.strip()) if isinstance(name, str) else (name, 0) for name in sources]
    renamed = _changed(sources, [tf for tf, _ in parts])
    if renamed:
        notes.append(f"regulons such as {renamed[0]!r} are read as regulator {regulon(renamed[0].strip())[0]!r}")
        changed["source"] = [tf for tf, _ in parts]
        signs = np.array([sign for _, sign in parts], dtype=np.int8)
        if signs.any() and "sign" not in table:
            changed["sign"] = signs
            notes[-1] += " with the sign of its name"
    return (table.assign(**changed) if changed else table), notes


def _changed(before: Sequence[object], after: Sequence[object]) -> list[str]:
    return [a for a, b in zip(before, after, strict=True) if isinstance(a, str) and a.strip() != b]

"""Signs of edges as databases write them: words, symbols, and pairs of yes/no columns."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from .sign_words import DASHES, sign_of_word

# Columns that hold signs under other names, best first, letters only. They are taken where their entries are signs.
SIGN_COLUMNS = (
    *("mode", "modeofregulation", "regulation", "regulationtype", "regulatoryeffect", "effect", "effecttype"),
    *("function", "interaction", "interactiontype", "type", "action", "direction", "sign", "mor", "polarity"),
    *("relation", "relationship", "edgetype", "modeofaction", "regulationdirection", "interactioneffect", "signed"),
)
YES = {"true": True, "1": True, "1.0": True, "yes": True, "t": True, "y": True}
FLAG_VALUES = {*YES, "false", "0", "0.0", "no", "f", "n", "y", "", "nan", "none", "na"}
FLAG_START = re.compile(r"^(is|has)(?=[ _.A-Z])[ _.]?")
LABEL = re.compile(r"pos|neg|up|down|true")  # alone, these say whether there is an edge
LEAST_CORRELATION = 0.03  # of a TF and its target in size, from which pySCENIC calls it activation or repression
CORRELATIONS = ("rho", "correlation", "corr", "cor", "pearson", "spearman")
# OmniPath: whether the references say that there is activation, inhibition
FLAGS = (("is_stimulation", "is_inhibition"), ("consensus_stimulation", "consensus_inhibition"))


def is_signed(cells: Sequence[object]) -> bool:
    """Whether cells are words or symbols of signs, and one of them at least of a known sign (numbers: a -1)."""
    signs = {str(cell).strip().translate(DASHES): sign_of_word(cell) for cell in cells}
    if not signs or None in signs.values():
        return False
    letters = {text.lower() for text, sign in signs.items() if sign} & {"p", "n"}
    if letters:  # phases, kinds of molecules, yes and no: signs only where both are there, and nothing else
        return letters == {"p", "n"} and all(text.lower() in letters for text, sign in signs.items() if sign)
    numbers = all(sign in ("", "0", "1", "-1", "0.0", "1.0", "-1.0", "+1", "nan") for sign in signs)
    return -1 in signs.values() if numbers else any(signs.values())


def find_sign(table: pd.DataFrame, taken: Sequence[str]) -> tuple[np.ndarray | None, tuple[str, ...], str]:
    """Signs, shape (row,), in a column or two columns of a table that are not called ``sign``.

    Parameters
    ----------
    table
        As the file has it.
    taken
        Columns that mean something else.

    Returns
    -------
    signs, columns, note
        None, no column and no note where there are none.
    """
    free = {re.sub("[^a-z]", "", str(c).lower()): c for c in reversed(list(table)) if c not in taken}
    for name in SIGN_COLUMNS:
        column = free.get(name)
        if column is None:
            continue
        cells = table[column].astype(object).where(table[column].notna(), "")
        known = {cell: sign_of_word(cell) for cell in pd.unique(cells)}
        odd = [cell for cell, sign in known.items() if sign is None]
        share = cells.isin(odd).mean() if odd else 0.0
        letters = odd and any(str(cell).strip().lower() in ("p", "n") for cell in known)
        if share > 0.5 or letters or not is_signed([cell for cell in known if cell not in odd]):
            continue
        note = f"signs are read from column {str(column)!r}"
        if odd:
            note += f" ({', '.join(map(repr, odd[:3]))} in {share:.0%} of the rows are no sign: unknown)"
        signs = cells.map({cell: sign or 0 for cell, sign in known.items()})
        return signs.to_numpy(dtype=np.int8), (str(column),), note
    lower = {str(c).lower(): c for c in table}
    pairs = [(lower[up], lower[down]) for up, down in FLAGS if up in lower and down in lower]
    if not pairs:
        return _flags(table, taken)
    flagged = np.zeros(len(table), dtype=np.int8)
    for up, down in pairs:  # where the first pair says both or neither, the second may decide
        found = _yes(table[up]).astype(np.int8) - _yes(table[down]).astype(np.int8)
        flagged = np.where(flagged == 0, found, flagged).astype(np.int8)
    columns = tuple(str(c) for pair in pairs for c in pair)
    return flagged, columns, f"signs are read from columns {', '.join(map(repr, columns))}"


def _flags(table: pd.DataFrame, taken: Sequence[str]) -> tuple[np.ndarray | None, tuple[str, ...], str]:
    """Signs of yes/no columns that are called by a sign: ``is_activation`` and ``is_repression``, ``activating``."""
    found: dict[int, list[str]] = {1: [], -1: []}
    for column in (name for name in table.columns if isinstance(name, str)):
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", FLAG_START.sub("", column))
        sign = sign_of_word(name) if column not in taken and len(name) > 1 else None
        values = set(table[column].astype(str).str.strip().str.lower()) if sign else set()
        if sign and values <= FLAG_VALUES:
            found[sign].append(column)
    columns = [*found[1], *found[-1]]
    told = any(_yes(table[column]).any() for column in columns)
    if not told or (not (found[1] and found[-1]) and all(LABEL.search(c.lower()) for c in columns)):
        return None, (), ""
    up, down = (np.any([_yes(table[c]) for c in found[s]] or [np.zeros(len(table), bool)], axis=0) for s in (1, -1))
    listed = f"signs are read from column{'s' * (len(columns) > 1)} {', '.join(map(repr, columns))}"
    alone = "" if found[1] and found[-1] else " (unknown where it does not hold)"
    return up.astype(np.int8) - down.astype(np.int8), tuple(columns), listed + alone


def sign_of_correlation(table: pd.DataFrame) -> tuple[np.ndarray | None, tuple[str, ...], str]:
    """Signs of a column of correlations between TF and target (pySCENIC's ``rho``), as of `find_sign`."""
    column = next((c for c in table if str(c).lower() in CORRELATIONS), None)
    if column is None:
        return None, (), ""
    rho = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)
    if not np.isfinite(rho).any() or np.nanmax(np.abs(rho)) > 1.0 + 1e-6:
        return None, (), ""
    sign = np.where(np.abs(np.nan_to_num(rho)) > LEAST_CORRELATION, np.sign(np.nan_to_num(rho)), 0).astype(np.int8)
    return sign, (str(column),), f"signs are those of the correlations in column {str(column)!r}"


def _yes(column: pd.Series) -> np.ndarray:
    return column.astype(str).str.strip().str.lower().isin(YES).to_numpy()

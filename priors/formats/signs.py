"""Signs of edges as databases write them: words, symbols, and pairs of yes/no columns."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

SIGN_WORDS = {
    **dict.fromkeys(("+", "1", "1.0", "+1", "->", "-->", "=>", "up", "a", "act"), 1),
    **dict.fromkeys(("-", "\u2212", "-1", "-1.0", "-|", "--|", "-|>", "down", "r", "rep"), -1),
    **dict.fromkeys(("0", "0.0", "", "?", "+/-", "-/+", "+-", "-+", "+,-", "\u00b1", "nan", "na", "none", "null"), 0),
}
NEUTRAL = re.compile(r"\b(unknown|dual|both|ambiguous|mixed|undefined|unspecified|undetermined|conflict\w*|neutral)\b")
# verbs and what is made of them, but not the promoters, enhancers and silencers that columns of regions hold
ACTIVATES = re.compile(
    r"\b(activ|stimul|induc|up[ -]?regul|posit|increas|derepress|disinhib|transactiv|enhanc(e|es|ed|ing|ement)\b|"
    r"promot(e|es|ed|ing|ion)\b)"
)
REPRESSES = re.compile(
    r"\b(repress|inhib|suppress|down[ -]?regul|negat|decreas|block|inactiv|deactiv|transrepress|"
    r"silenc(e|es|ed|ing)\b)"
)
# Columns that hold signs under other names, best first, letters only. They are taken where their entries are signs.
SIGN_COLUMNS = (
    *("mode", "modeofregulation", "regulation", "regulationtype", "regulatoryeffect", "effect", "effecttype"),
    *("function", "interaction", "interactiontype", "type", "action", "direction", "sign", "mor"),
)
LONGEST_WORD = 48  # of a sign: "down-regulates quantity by repression"
YES = {"true": True, "1": True, "1.0": True, "yes": True, "t": True}
# OmniPath: whether the references say that there is activation, inhibition
FLAGS = (("is_stimulation", "is_inhibition"), ("consensus_stimulation", "consensus_inhibition"))


def sign_of_word(word: object) -> int | None:
    """-1, 0 or +1 for a word or symbol (0: unknown, or both), None for one that says nothing of a sign."""
    text = str(word).strip().lower()
    if text in SIGN_WORDS:
        return SIGN_WORDS[text]
    if len(text) > LONGEST_WORD:
        return None
    signs = set()
    for part in re.split(r"[/;,|]|\bor\b|\band\b", text.replace("_", " ")):
        up, down = ACTIVATES.search(part), REPRESSES.search(part)
        if up and down:  # "down-regulates activity": what comes first
            signs.add(1 if up.start() < down.start() else -1)
        elif up or down:
            signs.add(1 if up else -1)
    if signs:
        return signs.pop() if len(signs) == 1 else 0
    return 0 if NEUTRAL.search(text) else None


def is_signed(cells: Sequence[object]) -> bool:
    """Whether cells are words or symbols of signs, and one of them at least of a known sign (numbers: a -1)."""
    signs = {str(cell).strip(): sign_of_word(cell) for cell in cells}
    if not signs or None in signs.values():
        return False
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
        if share > 0.5 or not is_signed([cell for cell in known if cell not in odd]):
            continue
        note = f"signs are read from column {str(column)!r}"
        if odd:
            note += f" ({', '.join(map(repr, odd[:3]))} in {share:.0%} of the rows are no sign: unknown)"
        signs = cells.map({cell: sign or 0 for cell, sign in known.items()})
        return signs.to_numpy(dtype=np.int8), (str(column),), note
    lower = {str(c).lower(): c for c in table}
    pairs = [(lower[up], lower[down]) for up, down in FLAGS if up in lower and down in lower]
    if not pairs:
        return None, (), ""
    flagged = np.zeros(len(table), dtype=np.int8)
    for up, down in pairs:  # where the first pair says both or neither, the second may decide
        found = _yes(table[up]).astype(np.int8) - _yes(table[down]).astype(np.int8)
        flagged = np.where(flagged == 0, found, flagged).astype(np.int8)
    columns = tuple(str(c) for pair in pairs for c in pair)
    return flagged, columns, f"signs are read from columns {', '.join(map(repr, columns))}"


def _yes(column: pd.Series) -> np.ndarray:
    return column.astype(str).str.strip().str.lower().isin(YES).to_numpy()

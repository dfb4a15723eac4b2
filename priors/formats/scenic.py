"""Regulons as ``pyscenic ctx`` writes them and ``pyscenic aucell`` reads them: a csv with two lines of headings and one
of the index, ``TF, MotifID`` and the columns of an enriched motif, among them

- ``TargetGenes``, a list of pairs ``[('HBB', 1.25), ...]``: gene and importance;
- ``Context``, a set of words, of which ``activating`` or ``repressing`` is the sign.

A regulator has a row for every motif and context; its regulon is their union, a gene with its largest importance.
"""

import csv
import re
from io import StringIO
from pathlib import Path

import pandas as pd

from .files import RawFile, shorten, write_text

COLUMNS = (
    *("AUC", "NES", "MotifSimilarityQvalue", "OrthologousIdentity", "Annotation", "Context", "TargetGenes"),
    "RankAtMax",
)
INDEX = ("TF", "MotifID")
# ('HBB', 1.25), and with numbers as newer numpy shows them: ('HBB', np.float64(1.25))
PAIR = re.compile(r"""\(\s*(['"])(.+?)\1\s*,\s*(?:np\.)?(?:float64\()?\s*([-+\w.]+)\s*\)""")
ACTIVATING, REPRESSING = "activating", "repressing"
NO_MOTIF = "listed by a network, no motif was looked at"


def is_scenic(raw: RawFile) -> bool:
    """By the headings, of which the first line says ``Enrichment`` alone; older files have one line of them."""
    top = [row for row in raw.rows[:3] if "TargetGenes" in row]
    return bool(top) and {"Context", "TargetGenes"} <= set(top[0]) and any(INDEX[0] in row for row in raw.rows[:3])


def read_scenic(raw: RawFile) -> pd.DataFrame:
    """``source, target, score, sign``: the largest importance of a target in the regulons of one sign; of a target in
    both of a regulator, the sign with the larger one."""
    rows = list(csv.reader(StringIO(raw.text, newline=None)))  # a carriage return alone ends a line, too
    at = next((i for i, row in enumerate(rows[:3]) if "TargetGenes" in row), None)
    if at is None:
        raise raw.fail(f"lacks column(s) ['TargetGenes']; found {shorten(raw.header or raw.first, 12)}")
    place = {name: i for i, name in enumerate(rows[at])}
    start = at + 1 + (rows[at + 1][:1] == [INDEX[0]] if len(rows) > at + 1 else 0)
    found: dict[tuple[str, str], tuple[float, int]] = {}
    for number, row in enumerate(rows[start:], start=start + 1):
        if not row:
            continue
        if len(row) != len(rows[at]) or not row[0]:
            raise raw.fail(f"line {number} has {len(row)} cells under {len(rows[at])} headings, or no regulator")
        pairs = PAIR.findall(row[place["TargetGenes"]])
        if not pairs:
            raise raw.fail(f"line {number}: TargetGenes holds no pair such as ('HBB', 1.25)")
        sign = -1 if REPRESSING in row[place["Context"]] else 1
        for _, gene, importance in pairs:
            try:
                value = float(importance)
            except ValueError:
                raise raw.fail(f"line {number}: importance {importance!r} of {gene!r} is no number") from None
            pair = (row[0], gene)
            if pair not in found or value > found[pair][0]:
                found[pair] = (value, sign)
    if not found:
        raise raw.fail("has headings but no rows; expected at least one regulon")
    return pd.DataFrame(
        {
            "source": [source for source, _ in found],
            "target": [target for _, target in found],
            "score": [value for value, _ in found.values()],
            "sign": [sign for _, sign in found.values()],
        }
    )


def write_scenic(frame: pd.DataFrame, path: Path) -> None:
    """One row a regulator and sign, importances are probabilities; the columns of a motif say that there was none."""
    heads = [["", "", *("Enrichment" for _ in COLUMNS)], ["", "", *COLUMNS], [*INDEX, *("" for _ in COLUMNS)]]
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerows(heads)
    words = frame["sign"].map({-1: REPRESSING}).fillna(ACTIVATING)
    for (source, word), rows in frame.groupby([frame["source"], words], sort=False):
        pairs = list(zip(map(str, rows["target"]), map(float, rows["probability"]), strict=True))
        context = f"frozenset({{'{word}', 'pyrogrn'}})"
        table.writerow([source, "none", 0.0, 0.0, "", "", NO_MOTIF, context, repr(pairs), len(pairs)])
    write_text(path, text.getvalue())

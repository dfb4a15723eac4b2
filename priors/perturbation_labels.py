"""Which genes were perturbed in a cell, read from one label a cell as laboratories and pipelines write it.

A label is, in this order: of a cell of which nothing is known (that cell is dropped), a gene by its exact name, a
control, genes joined by ``+``, ``,``, ``|``, ``;`` or ``&`` (or by ``_``, ``-``, ``:``, ``/`` or a space where every
part is a gene or a control), a guide of a gene (``KLF1_g2``, ``KLF1-1``, ``sgKLF1_2``), or any of these in other
letters.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .alignment import without_version
from .perturbation_words import ABSENT, CONTROLS, UNKNOWN, is_control_word, spelling

# share of the perturbed genes that are measured: below about a half the column, or the names, are wrong ones; small
# panels of a screen (9 of 19 genes of Papalexi et al. 2021) are not
ENOUGH = 0.45
EXAMPLES = 3
MOST_PIECES = 12  # of a label of several genes
CERTAIN = re.compile(r"\s*[+,|;&]\s*")  # no gene is spelt with these
POSSIBLE = ("__", "_", "-", ":", "/", " ", ".")
# what tells the guides of one gene apart, longest first: 'KLF1_+_1299.23-P1P2', 'KLF1_P1P2',
# 'KLF1_ACGTACGTACGTACGTACGT', 'KLF1.sg1', 'KLF1_2', 'KLF1g2'
GUIDE_ENDS = tuple(
    re.compile(pattern)
    for pattern in (
        r"[_-][+-][_-]\d+(\.\d+)?([_-]P\d(P\d)?)?$",
        r"[_-]P\d(P\d)?$",
        r"[_.:-][ACGTacgt]{15,}$",
        r"[\s_.:#/-]+(?:sg|sh|si|gRNA|sgRNA|grna|sgrna|guide|Guide|exon|g|G|rep|i|a|v)?[\s_.:#-]?\d*[a-d]?$",
        r"[\s_.:#/-]+(?:KO|KD|OE|ko|kd|oe|knockout|knockdown|overexpression|CRISPR[aios]*|crispr[aios]*|del|mut)$",
        r"\s*\(\d+\)$",
        r"(?:sgRNA|sg|g)\d+$",
    )
)
GUIDE_STARTS = re.compile(r"^(?:sgRNA|gRNA|sg|sh|si|g)[\s_.:-]*(?=.)")


class UnmatchedLabels(ValueError):
    """Labels of perturbations of which too few are genes of the data."""


@dataclass(frozen=True, eq=False)
class PerturbationLabels:
    """What the labels of cells say.

    Attributes
    ----------
    known
        ``(cell,)`` bool: False where it is not known whether and which gene was perturbed.
    genes
        Perturbed genes of each cell, none for controls and unknown cells; measured ones by their name in the data.
    notes
        What was mapped, dropped or found not to be measured, for the reader.
    """

    known: np.ndarray
    genes: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def read_labels(
    labels: Sequence[object],
    genes: Sequence[str],
    *,
    controls: Collection[str] = CONTROLS,
    unmeasured: bool = False,
) -> PerturbationLabels:
    """Perturbed genes of each cell from one label a cell.

    Parameters
    ----------
    labels
        One a cell; ``None`` and NaN are unknown.
    genes
        Of the data.
    controls
        Words for cells in which nothing was perturbed, upper and lower case, separators and numbers of guides alike.
        What is named here and not in `CONTROLS` is a control whatever else it might be.
    unmeasured
        True: most perturbed genes may be missing from the data. Default False.

    Raises
    ------
    UnmatchedLabels
        Less than about half of the different labels (guides of a gene count once, controls and unknown ones not) name
        a gene of the data.
    """
    text = pd.Series(list(labels), dtype=object)
    text = text.where(text.notna(), "").astype(str).str.strip()
    code, found = pd.factorize(text)
    count = np.bincount(code, minlength=len(found))
    names = [str(label) for label in found]
    reader = _Reader(genes, controls, names)
    read = [reader.read(label) for label in names]
    read = reader.without_guides(read)
    known = np.array([one is not None for one in read], dtype=bool)
    perturbed = {one: names[place] for place, one in reversed(list(enumerate(read))) if one}  # and a label of each
    lost = [label for one, label in perturbed.items() if not any(gene in reader.position for gene in one)][::-1]
    if lost and len(perturbed) - len(lost) < ENOUGH * len(perturbed) and not unmeasured:
        none = "none" if len(lost) == len(perturbed) else f"only {len(perturbed) - len(lost)}"
        raise UnmatchedLabels(
            f"{none} of the {len(perturbed)} labels of perturbations ({_quoted(lost)}) is a gene of the data "
            f"({_quoted(list(genes))})"
        )
    notes = [*_dropped(names, count, known), *reader.notes()]
    absent = sorted({gene for one in perturbed for gene in one if gene not in reader.position})
    if absent:
        notes.append(
            f"{len(absent)} perturbed genes are not measured, nothing to cut: {absent[:EXAMPLES]}" + _more(absent)
        )
    each = [one or () for one in read]
    return PerturbationLabels(known[code], tuple(each[place] for place in code), tuple(notes))


class _Reader:
    """Labels of one data set, one at a time; remembers what it mapped."""

    def __init__(self, genes: Sequence[str], controls: Collection[str], labels: Sequence[str]) -> None:
        self.position = {gene: i for i, gene in enumerate(genes)}
        folded = Counter(gene.casefold() for gene in genes)
        self.folded = {gene.casefold(): gene for gene in genes if folded[gene.casefold()] == 1}
        for gene in genes:
            if (plain := without_version(gene)) != gene:
                self.folded.setdefault(plain.casefold(), gene)
        default = {spelling(word) for word in CONTROLS}
        self.controls = frozenset(spelling(word) for word in controls)
        # words of the caller's own go before everything else
        self.own = {str(word).strip().casefold() for word in controls if spelling(word) not in default}
        # a gene that is not measured is one half of a double where it is a label by itself too
        self.single = {label for label in labels if re.fullmatch(r"(?=.*[^\W\d_])\w[^\W_]*", label)}
        self.guides: dict[str, str] = {}
        self.joined: dict[str, str] = {}
        self.cased: dict[str, str] = {}

    def read(self, label: str) -> tuple[str, ...] | None:
        """Perturbed genes of one label, none for a control; ``None`` where it says nothing."""
        if label.casefold() in self.own:
            return ()
        if label.casefold() in ABSENT:
            return None
        if label in self.position:
            return (label,)
        if self.is_control(label):
            return ()
        if spelling(label) in UNKNOWN:
            return None
        one = self.name(label, guides=False) or self.pair(label, guides=False)
        one = one or self.name(label, guides=True) or self.pair(label, guides=True)
        if one is not None:
            return one
        parts = [part for part in CERTAIN.split(label) if part]
        if len(parts) < 2:
            return (label,)  # not measured
        return tuple(dict.fromkeys(gene for part in parts for gene in self.read(part) or ()))

    def is_control(self, label: str) -> bool:
        return label.casefold() in self.own or is_control_word(label, self.controls)

    def name(self, label: str, *, guides: bool) -> tuple[str, ...] | None:
        """The one gene that a label is, by another letter case or as one of its guides."""
        if label in self.position:
            return (label,)
        if guides:
            for candidate in guide_targets(label):
                if candidate in self.position:
                    self.guides[label] = candidate
                    return (candidate,)
            for candidate in guide_targets(label):
                if candidate.casefold() in self.folded:
                    self.guides[label] = self.folded[candidate.casefold()]
                    return (self.guides[label],)
        elif label.casefold() in self.folded:
            self.cased[label] = self.folded[label.casefold()]
            return (self.cased[label],)
        return None

    def pair(self, label: str, *, guides: bool) -> tuple[str, ...] | None:
        """Two or more genes, or genes and controls, with something between them that may be part of a name."""

        def part(text: str) -> tuple[str, ...] | None:
            if text in self.position:
                return (text,)
            if text in self.single and not self.is_control(text):
                return (text,)
            return () if self.is_control(text) else self.name(text, guides=guides)

        for between in POSSIBLE:
            if between in label:
                found = _segments(label.split(between), between, part)
                if found:
                    genes = tuple(dict.fromkeys(found))
                    self.joined[label] = "+".join(genes)
                    return genes
        return None

    def without_guides(self, read: Sequence[tuple[str, ...] | None]) -> list[tuple[str, ...] | None]:
        """Where most labels are guides, those of genes that are not measured are taken for guides of one gene too."""
        measured = sum(any(gene in self.position for gene in one) for one in read if one)
        if 2 * len(self.guides) <= measured:
            return list(read)
        return [one and tuple(dict.fromkeys(map(self.stem, one))) for one in read]

    def stem(self, name: str) -> str:
        """A gene that is not measured, without what marks its guide."""
        if name in self.position:
            return name
        return next((stem for end in GUIDE_ENDS if (stem := end.sub("", name)) not in ("", name)), name)

    def notes(self) -> list[str]:
        """What was mapped to something else, with examples."""
        rows = (
            (self.guides, "labels are guides and stand for their genes"),
            (self.joined, "labels are several genes"),
            (self.cased, "labels differ from a gene in letter case or version only"),
        )
        found = []
        for table, what in rows:
            if table:
                shown = ", ".join(f"{label} as {gene}" for label, gene in list(table.items())[:EXAMPLES])
                found.append(f"{len(table)} {what}: {shown}" + _more(list(table)))
        return found


def guide_targets(label: str) -> list[str]:
    """What a label may be a guide of: without what marks the guide behind it, before it, or both."""
    starts = [label, GUIDE_STARTS.sub("", label)]
    ends = [end.sub("", start) for start in starts for end in GUIDE_ENDS]
    again = [end.sub("", stem) for stem in ends for end in GUIDE_ENDS]  # 'KLF1_g2_1', 'KLF1_KO_2'
    candidates = dict.fromkeys((starts[1], *ends, *again))
    return [candidate for candidate in candidates if candidate and candidate != label]


def _segments(pieces: list[str], between: str, part: Callable[[str], tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Genes of a label cut into parts at some of the places where ``between`` stands; ``None`` if there is no way."""
    if len(pieces) > MOST_PIECES:
        return None
    found: list[tuple[str, ...] | None] = [()]  # genes of the first n pieces
    for stop in range(1, len(pieces) + 1):
        found.append(None)
        for start in range(stop):
            before = found[start]
            one = (
                None
                if before is None or (start == 0 and stop == len(pieces))
                else part(between.join(pieces[start:stop]))
            )
            if before is not None and one is not None:
                found[stop] = (*before, *one)
                break
    return found[-1]


def _dropped(names: Sequence[str], count: np.ndarray, known: np.ndarray) -> list[str]:
    if known.all():
        return []
    each = ", ".join(f"{name or 'no label'} ({count[i]})" for i, name in enumerate(names) if not known[i])
    return [f"{count[~known].sum()} of {count.sum()} cells do not say what was perturbed and are left out: {each}"]


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:40]) for name in names[:EXAMPLES]) + _more(names)


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - EXAMPLES} more" if len(names) > EXAMPLES else ""

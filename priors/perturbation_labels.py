"""Which genes were perturbed in a cell, read from one label a cell as laboratories and pipelines write it.

A label is, in this order: of a cell of which nothing is known (that cell is dropped), a gene by its exact name, a
control, genes joined by ``+``, ``,``, ``|``, ``;``, ``&``, ``~``, ``*`` or ``and`` (or by ``_``, ``-``, ``:``, ``/`` or
a space where every part is a gene or a control), a guide of a gene (``KLF1_g2``, ``KLF1-1``, ``sgKLF1_2``,
``KO_KLF1``), or any of these in other letters. Where one part of a label is unknown, so is the cell. A label that holds
a gene of the data and is none of these is not read: its cells are dropped too, and named.
"""

import enum
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .alignment import without_version
from .perturbation_guides import MARK, NUMBER, guide_targets, stem_of
from .perturbation_words import CONTROLS, is_control_word, is_unknown_word, spelling

# share of the perturbed genes that are measured: below about a half the column, or the names, are wrong ones; small
# panels of a screen (9 of 19 genes of Papalexi et al. 2021) are not
ENOUGH = 0.45
EXAMPLES = 3
MOST_PIECES = 20  # of a label of several genes
CERTAIN = re.compile(r"\s*[,|;&~*\u00d7\t\r\n]\s*|\s+(?:and|AND|x|X|\+)\s+")  # no gene is spelt with these
PLUS = re.compile(r"\s*\+\s*")  # nor with this one, but strands of guides are
POSSIBLE = ("__", "_", "-", ":", "/", " ", ".")
BRACKETS = (("[", "]"), ("(", ")"), ("{", "}"))
ENDS = " \t\r\n,;|&+~*'\"`"  # that say nothing around a label
# genes called after another one, which is not what their label means: KLF1-AS1, KLF1-DT
NAMED_AFTER = re.compile(r"[\w.]+-(?:AS|DT|IT|OT|IN)\d*")


class Said(enum.Enum):
    """What a label says that names no gene and is no control: that nobody knows, or something that is not read."""

    UNKNOWN = "unknown"
    UNREAD = "unread"


Reading = tuple[str, ...] | Said


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

    def __len__(self) -> int:
        return len(self.genes)


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
    read = reader.without_guides([reader.interpret(label) for label in names])
    known = np.array([not isinstance(one, Said) for one in read], dtype=bool)
    _check_enough(read, names, genes, unmeasured=unmeasured)
    notes = [*_dropped(read, names, count), *reader.notes()]
    absent = sorted({gene for one in read if not isinstance(one, Said) for gene in one if gene not in reader.position})
    if absent:
        notes.append(
            f"{_number(absent, 'perturbed gene is', 'perturbed genes are')} not measured, nothing to cut: "
            f"{absent[:EXAMPLES]}{_more(absent)}"
        )
    each = [() if isinstance(one, Said) else one for one in read]
    return PerturbationLabels(known[code], tuple(each[place] for place in code), tuple(notes))


def _check_enough(read: Sequence[Reading], names: Sequence[str], genes: Sequence[str], *, unmeasured: bool) -> None:
    """Refuse labels of which too few are genes; a perturbation counts once, however many labels it has."""
    measured, first = set(genes), {one: names[i] for i, one in reversed(list(enumerate(read))) if one}
    first.pop(Said.UNKNOWN, None)
    first.pop(Said.UNREAD, None)
    unread = [name for name, one in zip(names, read, strict=True) if one is Said.UNREAD]
    lost = [label for one, label in first.items() if not isinstance(one, Said) and measured.isdisjoint(one)][::-1]
    lost, number = [*lost, *unread], len(first) + len(unread)
    if not lost or unmeasured or number - len(lost) >= ENOUGH * number:
        return
    few = number - len(lost)
    share = "none" if not few else f"only {few}"
    raise UnmatchedLabels(
        f"{share} of the {number} labels of perturbations ({_quoted(lost)}) {'is a gene' if few < 2 else 'are genes'} "
        f"of the data ({_quoted(list(genes))})"
    )


class _Reader:
    """Labels of one data set, one at a time; remembers what it mapped."""

    def __init__(self, genes: Sequence[str], controls: Collection[str], labels: Sequence[str]) -> None:
        self.position = {gene: i for i, gene in enumerate(genes)}
        folded = Counter(gene.casefold() for gene in genes)
        self.folded = {gene.casefold(): gene for gene in genes if folded[gene.casefold()] == 1}
        for gene in genes:
            if (plain := without_version(gene)) != gene:
                self.folded.setdefault(plain.casefold(), gene)
        self.numbered = all(NUMBER.fullmatch(gene) for gene in genes)  # genes are numbers themselves
        default = {spelling(word) for word in CONTROLS}
        self.controls = frozenset(spelling(word) for word in controls)
        # words of the caller's own go before everything else
        self.own = {str(word).strip().casefold() for word in controls if spelling(word) not in default}
        # a gene that is not measured is one half of a double where it is a label by itself too
        self.single = {label for label in labels if re.fullmatch(r"(?=.*[^\W\d_])\w[^\W_]*", label)}
        self.lettered = any(self.is_lettered(label) for label in labels)
        self.guides: dict[str, str] = {}
        self.joined: dict[str, str] = {}
        self.beside: dict[str, str] = {}
        self.cased: dict[str, str] = {}
        self.doubtful: dict[str, str] = {}

    def interpret(self, label: str) -> Reading:
        """What one label says, noted down."""
        read = self.read(label)
        if isinstance(read, Said) or not read or read == (label,):
            return read
        if len(read) == 1:
            gene = read[0]
            rest = re.sub(re.escape(gene), " ", label, flags=re.IGNORECASE).strip(ENDS + "_-:/.()[]{}")
            plain = self.plain(self.tidy(label))
            kind = self.cased if plain else self.beside if rest and self.is_control(rest) else self.guides
            kind[label] = gene
            return read
        self.joined[label] = "+".join(read)
        unsure = any(len(gene) == 1 and gene not in self.single for gene in read)
        if unsure and not CERTAIN.search(label) and "+" not in label:
            self.doubtful[label] = "+".join(read)
        return read

    def read(self, label: str) -> Reading:
        """Perturbed genes of one label, none for a control."""
        if label.casefold() in self.own:
            return ()
        if label in self.position:
            return (label,)
        if is_unknown_word(label) and not self.is_control(label):
            return Said.UNKNOWN
        text = self.tidy(label)
        if text in self.position:
            return (text,)
        if not text or self.is_control(text):
            return () if text else Said.UNKNOWN
        if is_unknown_word(text):
            return Said.UNKNOWN
        return self.resolved(text)

    def resolved(self, text: str) -> Reading:
        """Genes of a label that is neither a control nor unknown."""
        if (gene := self.plain(text)) is not None:
            return (gene,)
        if len(parts := CERTAIN.split(text)) > 1:
            return self.together(parts)
        if "+" in text:
            gene = self.guided(text)
            return self.together(PLUS.split(text)) if gene is None else (gene,)
        read = self.pair(text, guides=False)
        if read is None and (gene := self.guided(text)) is not None:
            return (gene,)
        if read is None:
            read = self.pair(text, guides=True)
        if read is None:  # not measured
            return Said.UNREAD if self.mentions(text) or not re.search(r"\w", text) else (text,)
        return read

    def together(self, parts: Sequence[str]) -> Reading:
        """What several parts say that are certainly separate: nothing where one of them is unknown or is not read."""
        read = [self.read(part) for part in parts if part.strip()]
        if not self.numbered and any(
            re.fullmatch(r"\d+", gene) for one in read if isinstance(one, tuple) for gene in one
        ):
            return Said.UNREAD  # a number beside genes is none
        for said in Said:
            if said in read:
                return said
        return tuple(dict.fromkeys(gene for one in read if not isinstance(one, Said) for gene in one))

    def tidy(self, label: str) -> str:
        """A label without quotes and brackets around it, and separators at its ends."""
        text = label.strip()
        before = ""
        while text != before:
            before = text
            if not text.endswith(("+/+", "+/-", "-/+")):
                text = text.strip(ENDS)
            for first, last in BRACKETS:
                if text[:1] == first and text[-1:] == last and first not in text[1:] and last not in text[:-1]:
                    text = text[1:-1].strip()
        return text

    def is_control(self, label: str) -> bool:
        return label.casefold() in self.own or is_control_word(label, self.controls)

    def plain(self, label: str) -> str | None:
        """The gene of that name, in any letter case and without its version."""
        return label if label in self.position else self.folded.get(label.casefold())

    def guided(self, label: str) -> str | None:
        """The gene that a label is a guide of."""
        exact = guide_targets(label, letters=self.lettered)
        folded = (self.folded.get(one.casefold()) for one in guide_targets(label, exact=False, letters=self.lettered))
        return next((one for one in exact if one in self.position), None) or next(filter(None, folded), None)

    def is_lettered(self, label: str) -> bool:
        """Whether a label is a gene and a letter that is no gene: so the guides of this column are told apart."""
        stem, _, letter = label.rpartition("_")
        return len(letter) == 1 and letter.isalpha() and self.plain(stem) is not None and self.plain(letter) is None

    def pair(self, label: str, *, guides: bool) -> Reading | None:
        """Two or more genes, or genes and controls, with something between them that may be part of a name."""
        unknown = "\0"

        def part(text: str) -> tuple[str, ...] | None:
            if not text or self.is_mark(text):
                return None
            if text in self.position:
                return (text,)
            if is_unknown_word(text):
                return (unknown,)
            if self.is_control(text):
                return ()
            gene = text if text in self.single else self.guided(text) if guides else self.plain(text)
            return None if gene is None else (gene,)

        def whole(text: str) -> tuple[str, ...] | None:
            read = self.read(text) if text else Said.UNREAD
            if isinstance(read, Said):
                return (unknown,) if read is Said.UNKNOWN else None
            return read if all(gene in self.position for gene in read) else None

        for between in POSSIBLE:
            if between in label:
                found = _segments(label.split(between), between, whole if between == "__" else part)
                if found:
                    return Said.UNKNOWN if unknown in found else tuple(dict.fromkeys(found))
        return None

    def is_mark(self, text: str) -> bool:
        """Whether a part of a label tells guides of a gene apart and is no gene, even where one is called so."""
        if NUMBER.fullmatch(text):
            return not self.numbered
        if text in self.single:
            return False
        letter = len(text) == 1 and text.isalpha()
        if letter and text in self.position:
            return self.lettered
        return MARK.fullmatch(text) is not None

    def mentions(self, label: str) -> bool:
        """Whether a gene of the data is a word of a label."""
        if NAMED_AFTER.fullmatch(label):
            return False
        words = {*re.split(r"[^\w-]|_", label), *re.split(r"[\W_]", label)}
        return any(len(word) > 1 and not word.isdigit() and self.plain(word) is not None for word in words)

    def without_guides(self, read: Sequence[Reading]) -> list[Reading]:
        """Where most labels are guides, those of genes that are not measured are taken for guides of one gene too."""
        measured = sum(any(gene in self.position for gene in one) for one in read if not isinstance(one, Said))
        if 2 * len(self.guides) <= measured:
            return list(read)
        return [one if isinstance(one, Said) else tuple(dict.fromkeys(map(self.stem, one))) for one in read]

    def stem(self, name: str) -> str:
        """A gene that is not measured, without what marks its guide."""
        return name if name in self.position else stem_of(name)

    def notes(self) -> list[str]:
        """What was mapped to something else, with examples."""
        rows = (
            (self.guides, "label is a guide and stands for its gene", "labels are guides and stand for their genes"),
            (self.joined, "label is several genes", "labels are several genes"),
            (self.beside, "label is a gene beside a control", "labels are genes beside controls"),
            (
                self.cased,
                "label differs from a gene in letter case, version or punctuation only",
                "labels differ from a gene in letter case, version or punctuation only",
            ),
            (
                self.doubtful,
                "label may be a guide, told apart by a letter that is also a gene; it is read as several genes",
                "labels may be guides, told apart by letters that are also genes; they are read as several genes",
            ),
        )
        found = []
        for table, one, several in rows:
            if table:
                shown = ", ".join(f"{label} as {gene}" for label, gene in list(table.items())[:EXAMPLES])
                found.append(f"{_number(table, one, several)}: {shown}{_more(list(table))}")
        return found


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


def _dropped(read: Sequence[Reading], names: Sequence[str], count: np.ndarray) -> list[str]:
    """What is said of cells that are left out, why, and under which labels."""
    why = {
        Said.UNKNOWN: ("does not say what was perturbed", "do not say what was perturbed", ""),
        Said.UNREAD: (
            "has a label that holds a gene of the data and cannot be read",
            "have labels that hold a gene of the data and cannot be read",
            "; write GENE, or GENE+GENE",
        ),
    }
    notes = []
    for said, (one, several, remedy) in why.items():
        lost = [i for i, what in enumerate(read) if what is said]
        if lost:
            cells = count[lost].sum()
            verb, are = (one, "is") if cells == 1 else (several, "are")
            each = ", ".join(f"{names[i][:40] or 'no label'} ({count[i]})" for i in lost)
            notes.append(f"{cells} of {count.sum()} cells {verb} and {are} left out: {each}{remedy}")
    return notes


def _number(things: Collection[str], one: str, several: str) -> str:
    return f"{len(things)} {one if len(things) == 1 else several}"


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:40]) for name in names[:EXAMPLES]) + _more(names)


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - EXAMPLES} more" if len(names) > EXAMPLES else ""

"""Words by which labels of perturbations say that nothing was perturbed, or that it is not known."""

import re
from collections.abc import Collection

CONTROLS = (  # of cells in which nothing was perturbed; spelt with any separators, in any case, and numbered or not
    *("control", "controls", "ctrl", "ctl", "cntrl", "neg", "nc", "negctrl"),
    *("negative control", "negative ctrl", "negative ctl", "neg control", "neg ctl"),
    *("non-targeting", "nontargeting control", "nontargeting ctrl", "non-target", "nontarget control", "no target"),
    *("non-targeting guide", "nontargeting sgrna", "not targeting", "nt", "ntc", "nt control", "nt ctrl"),
    *("safe-targeting", "safe target", "safe", "safe harbor", "safe harbour", "msafe"),
    *("intergenic", "intergenic control", "no site", "non-gene site", "one non-gene site", "non-essential"),
    *("unperturbed", "non-perturbed", "not perturbed", "no perturbation", "no perturb", "unmodified", "unedited"),
    *("scramble", "scrambled", "scr", "mock", "vehicle", "dmso", "pbs", "blank", "baseline", "reference"),
    *("untreated", "unstimulated", "untransduced", "uninfected", "parental", "none", "wildtype", "wt"),
    *("empty vector", "vector", "ev", "plko", "plko.1", "gfp", "egfp", "bfp", "yfp", "rfp", "mcherry", "tdtomato"),
    *("lacz", "luciferase", "luc", "aavs1", "rosa", "rosa26"),
)
ABSENT = frozenset(  # no word at all
    ["", "nan", "na", "n/a", "#n/a", "#na", "<na>", "null", "#null!", "nil", "nat", "-", "--", "?", ".", "*"]
)
UNKNOWN = frozenset(  # as `spelling` leaves them
    (
        *("unassigned", "notassigned", "noassignment", "unknown", "undetermined", "notdetermined", "unidentified"),
        *("unmapped", "uncalled", "nocall", "notcalled", "undefined", "unspecified", "unresolved", "unclear"),
        *("ambiguous", "empty", "missing", "noguide", "noguides", "nogrna", "nosgrna", "nobarcode", "notdetected"),
        *("nonedetected", "undetected", "noguidedetected", "nosgrnadetected", "nogrnadetected", "negative"),
        *("doublet", "doublets", "multiplet", "multiplets", "multiple", "multi", "multipleguides", "multiguide"),
        *("multiplesgrnas", "multiplesgrna", "multiplegrnas", "multisgrna", "mixed", "other", "others", "failed"),
        *("fail", "qcfail", "lowquality", "lowconfidence", "discarded", "filtered", "na", "nan", "nd"),
    )
)
SEPARATORS = re.compile(r"[\s_.:/#-]+")
NUMBER = re.compile(r"(?:sgrna|grna|guide|sg|g|rep)?\d+[a-d]?$")  # of a guide, a lane or a replicate
BEFORE = re.compile(r"^(?:sgrna|grna|sg|sh|si|chr[0-9xy]+|one)(?=.)")
BESIDE = re.compile(  # what stands beside a control and says nothing
    r"\d+(h|hr|d)?|[ACGT]{15,}|(?:sg|g|rep|sgrna|grna|guide|guides|cell|cells|human|mouse|hs|mm|pool|lib)\d*",
    re.IGNORECASE,
)
MOST_PARTS = 12
SHORT = 3  # letters up to which a word with a number and a letter at its end is a gene: NT5C
GENES_TOO = frozenset(["wt", "ev"])  # with a number at their end they are genes: WT1, EV1


def spelling(word: str) -> str:
    """A word without what spellings of it differ in: letter case and what stands between its parts."""
    return SEPARATORS.sub("", str(word).strip().casefold())


def is_control_word(label: str, words: Collection[str]) -> bool:
    """Whether a label is one of ``words`` (as `spelling` leaves them), numbered or named as a guide or not.

    A label of several parts is one where each part is a number, a sequence, or a control: ``NegCtrl0__NegCtrl0``,
    ``ctrl+ctrl``, ``neg_ctrl_non-targeting_00123``.
    """
    if _is_one(label, words):
        return True
    parts = [part for part in re.split(r"[+,|;&()\s_.:/#-]+", label) if part]
    return len(parts) <= MOST_PARTS and _all_controls([part for part in parts if not BESIDE.fullmatch(part)], words)


def is_unknown_word(label: str) -> bool:
    """Whether a label says that nobody knows what was perturbed, numbered (``doublet_2``) or not."""
    if label.strip().casefold() in ABSENT or spelling(label) in UNKNOWN:
        return True
    parts = [part for part in re.split(r"[()\s_.:/#-]+", label) if part and not BESIDE.fullmatch(part)]
    return bool(parts) and spelling("".join(parts)) in UNKNOWN


def _all_controls(parts: list[str], words: Collection[str], *, first: bool = True) -> bool:
    """Whether neighbouring parts, up to three at a time, are controls."""
    if not parts:
        return not first
    sizes = range(1, min(3, len(parts)) + 1)
    return any(_is_one("".join(parts[:n]), words) and _all_controls(parts[n:], words, first=False) for n in sizes)


def _is_one(label: str, words: Collection[str]) -> bool:
    plain = spelling(label)
    for text in (plain, BEFORE.sub("", plain)):
        stem = NUMBER.sub("", text)
        number = text[len(stem) :]
        with_letter = number[:1].isdigit() and number[-1:].isalpha()
        gene = (stem in GENES_TOO and number.isdigit()) or (len(stem) <= SHORT and with_letter)
        if text in words or (stem in words and not gene):
            return True
    return False

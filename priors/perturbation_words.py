"""Words by which labels of perturbations say that nothing was perturbed, or that it is not known."""

import re
from collections.abc import Collection

CONTROLS = (  # of cells in which nothing was perturbed; spelt with any separators, in any case, and numbered or not
    *(
        "control",
        "controls",
        "ctrl",
        "ctl",
        "cntrl",
        "negative control",
        "negctrl",
        "neg control",
        "neg ctl",
        "neg",
        "nc",
    ),
    *("nc", "neg ctl", "non-targeting", "nontargeting control", "non-target", "nontarget control", "nontargeting ctrl"),
    *("no target", "non-targeting guide", "nontargeting sgrna", "not targeting", "nt", "ntc", "nt control", "nt ctrl"),
    *(
        "safe-targeting",
        "safe target",
        "safe",
        "safe harbor",
        "safe harbour",
        "msafe",
        "intergenic",
        "intergenic control",
    ),
    *("unperturbed", "non-perturbed", "not perturbed", "no perturbation", "unmodified", "unedited"),
    *("scramble", "scrambled", "scr", "mock", "vehicle", "dmso", "untreated", "untransduced", "uninfected", "parental"),
    *("empty vector", "ev", "gfp", "egfp", "lacz", "luciferase", "luc", "aavs1", "rosa26"),
    *("none", "wildtype", "wt"),
)
ABSENT = frozenset(["", "nan", "na", "n/a", "<na>", "null", "nil", "nat", "-", "--", "?", ".", "*"])  # no word at all
UNKNOWN = frozenset(  # as `spelling` leaves them
    (
        *(
            "unassigned",
            "notassigned",
            "noassignment",
            "unknown",
            "undetermined",
            "unidentified",
            "unmapped",
            "uncalled",
        ),
        *("ambiguous", "empty", "missing", "noguide", "nogrna", "nosgrna", "nobarcode", "nocall", "notdetected"),
        *("nonedetected", "negative", "doublet", "doublets", "multiplet", "multiplets", "multiple"),
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
SHORT = 3  # letters up to which a word with a number at its end may be a gene: WT1, EV1


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
        bare = len(stem) <= SHORT and stem != "ntc" and stem + text[len(stem) :].lstrip("0123456789") == stem
        if text in words or (stem in words and not bare):
            return True
    return False

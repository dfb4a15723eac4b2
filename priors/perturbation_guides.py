"""What marks a guide, a clone or a construct of a gene in a label: ``KLF1_g2``, ``sgKLF1_2``, ``KO_KLF1``."""

import re

MOST_TOKENS = 12
# between the parts of a label; a plus only as the strand of a guide, 'KLF1_+_1299.23-P1P2'
BETWEEN = re.compile(r"(?:[\s_.:/#()\[\]-]|(?<=[_-])\+(?=[_-]))+")
# a part of a label that says which guide, clone, construct or time it is
MARK = re.compile(
    r"(?:sgrna|grna|shrna|sirna|sg|sh|si|guides?|exon|g|rep|replicate|clone|pos|strand|ko|kd|oe|ki|knock(?:out|down|in)|"
    r"overexpress(?:ion|ed)?|crispr(?:[aios]|ko|off|on)?|d?cas(?:9|12a|13d?)|krab|vpr?|orf|cdna|del(?:etion)?|"
    r"mut(?:ant)?|het|hom|i|a|v)?\d*[a-d]?|p\d+(?:p\d+)?|[acgt]{15,}|\d+(?:h|hrs?|d|days?)|[a-z]\d{2,4}[a-z]",
    re.IGNORECASE,
)
NUMBER = re.compile(r"\d+[a-d]?")
# what stands right before or behind a gene's name; a single letter only where the rest is a gene as it is spelt
STARTS = re.compile(r"^(?:sgRNA|gRNA|shRNA|siRNA|sg|sh|si|ko|kd|oe|KO|KD|OE|del)(?=.)")
ENDS = (
    re.compile(r"(?:sgRNA|sg|g)\d+$"),
    re.compile(r"(?:KO|KD|OE|ko|kd|oe)\d*$"),
    re.compile(r"(?:[pP]\d[pP]\d|p\d)$"),
    re.compile(r"[\s_(]*(?:-/-|\+/-|-/\+)\)?$"),
)
LETTER_STARTS, LETTER_ENDS = re.compile(r"^[gd\u0394\u03b4](?=.)"), re.compile(r"(?<=[A-Z0-9])i$")
# behind the name of a gene that is not measured, longest first
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


def guide_targets(label: str, *, exact: bool = True, letters: bool = False) -> list[str]:
    """What a label may be a guide of, longest first: its parts without those that mark a guide at either end.

    Parameters
    ----------
    label
        Of one gene.
    exact
        Whether one letter right beside the name may be such a mark (``dKLF1``, ``KLF1i``). Default True: the caller
        compares the spelling of genes.
    letters
        Whether any single letter behind a separator is one (``KLF1_T``). Default False.
    """
    tokens = [found.span() for found in re.finditer(r"[^\s_.:/#()\[\]-]+", label)]
    tokens = [(start, stop) for start, stop in tokens if label[start:stop] != "+"]
    if not tokens or len(tokens) > MOST_TOKENS:
        return []
    marked = [_marks(label[start:stop], letters=letters) for start, stop in tokens]
    spans = [
        label[tokens[first][0] : tokens[last][1]]
        for first in range(len(tokens))
        for last in range(first, len(tokens))
        if all(marked[:first]) and all(marked[last + 1 :])
    ]
    spans = [label, *sorted(spans, key=len, reverse=True)]
    starts, ends = [STARTS], list(ENDS)
    if exact:
        starts, ends = [STARTS, LETTER_STARTS], [*ENDS, LETTER_ENDS]
    beside = [start.sub("", span) for span in spans for start in starts]
    short = [end.sub("", span) for span in (*spans, *beside) for end in ends]
    return [found for found in dict.fromkeys((*spans, *beside, *short)) if found and found != label]


def _marks(text: str, *, letters: bool) -> bool:
    return MARK.fullmatch(text) is not None or (letters and len(text) == 1 and text.isalpha())


def stem_of(name: str) -> str:
    """A gene that is not measured, without what marks its guide."""
    return next((stem for end in GUIDE_ENDS if (stem := end.sub("", name)) not in ("", name)), name)

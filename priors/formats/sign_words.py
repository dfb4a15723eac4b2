"""Words and symbols for activation and repression: ``activator``, ``de-repression``, ``not activated``, ``-|``."""

import re

POSITIVE_WORDS = (
    *("+", "1", "1.0", "+1", "+1.0", "+ve", "->", "-->", "=>", "\u2192", "\u27f6", "\u2191"),
    *("up", "a", "act", "p", "pos", "stim", "inc"),
)
NEGATIVE_WORDS = (
    *("-", "-1", "-1.0", "-ve", "-|", "--|", "|-", "-|>", "\u22a3", "\u2193"),
    *("down", "dn", "r", "rep", "repr", "n", "neg", "inh", "dec"),
)
UNKNOWN_WORDS = (
    *("0", "0.0", "", "?", "\u2014", "+/-", "-/+", "+-", "-+", "+,-", "\u00b1"),
    *("nan", "na", "n/a", "none", "null"),
)
SIGN_WORDS = {
    **dict.fromkeys(POSITIVE_WORDS, 1),
    **dict.fromkeys(NEGATIVE_WORDS, -1),
    **dict.fromkeys(UNKNOWN_WORDS, 0),
}
DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212\u2500", "-"))
LONGEST_WORD = 64  # of a sign: "down-regulates quantity by repression"
NEUTRAL = re.compile(
    r"\b(unknown|dual|both|ambiguous|mixed|undefined|unspecified|undetermined|conflict\w*|neutral|either|unclear|"
    r"no effect|not known|context[- ]dependent|bifunctional)\b"
)
# what a word means is not known where one of these stands before it
NEGATION = re.compile(
    r"\b(no|not|non|never|neither|nor|without|lack\w*|absen\w*|loss|lost|los(?:es?|ing)|fail\w*|cannot|can't|un\w*able)\b"
    r"|n't\b"
)
# verbs and what is made of them, but not the promoters, enhancers and silencers that columns of regions hold, and not
# "activity", which is what is regulated
UP = (
    r"activ(?!it)|stimul|stim\b|induc|up[ -]?regul|posit|increas|potentiat|agonis|"
    r"enhanc(?:e|es|ed|ing|ement)\b|promot(?:e|es|ed|ing|ion)\b"
)
DOWN = (
    r"repress|inhib|suppress|down[ -]?regul|negat|decreas|block|reduc|attenuat|abolish|antagonis|"
    r"silenc(?:e|es|ed|ing)\b"
)
WORD = re.compile(
    r"\b(?P<before>(?:(?:non|un)[ -]?|(?:anti|de|dis|in|co|auto|self|trans|cis|hyper|super|counter)-?)*)"
    rf"(?:(?P<up>{UP})|(?P<down>{DOWN}))"
)
PARTS = re.compile(r"[/;,|()\[\]:]|\bor\b|\band\b")
MECHANISM = re.compile(r"\b(by|via|through)\b.*$")  # "down-regulates quantity by repression"


def sign_of_word(word: object) -> int | None:
    """-1, 0 or +1 for a word or symbol (0: unknown, or both), None for one that says nothing of a sign.

    A word that is denied (``not activated``, ``loss of activation``) is 0; what is done to a sign is multiplied
    (``de-repression``, ``inhibition of a repressor``: +1); parts that disagree, or that say ``dual``, are 0.
    """
    text = str(word).strip().lower()
    bare = text[1:-1].strip() if text[:1] + text[-1:] in ("()", "[]", "{}", "''", '""') else text
    for plain in (text, text.translate(DASHES), bare.translate(DASHES)):
        if plain in SIGN_WORDS:
            return SIGN_WORDS[plain]
    text = text.translate(DASHES)
    if len(text) > LONGEST_WORD:
        return None
    text = text.replace("_", " ")
    if NEUTRAL.search(text):
        return 0
    found = [_sign_of_part(MECHANISM.sub("", part)) for part in PARTS.split(text)]
    signs = {sign for sign in found if sign is not None}
    return None if not signs else signs.pop() if len(signs) == 1 else 0


def _sign_of_part(part: str) -> int | None:
    """Of words that belong together."""
    found = list(WORD.finditer(part))
    if not found:
        return None
    if NEGATION.search(part[: found[-1].start()]) or any(_denies(one["before"]) for one in found):
        return 0
    signs = [_sign(one) for one in found]
    sign = signs[0]
    for before, after, one in zip(found, found[1:], signs[1:], strict=False):
        between = part[before.end() : after.start()]
        acts = re.search(r"\bof\b", between) or re.search(r"(regul|increas|decreas|reduc)$", before[0])
        if acts:
            sign *= one
        elif one != sign:
            return 0
    return sign


def _sign(found: re.Match[str]) -> int:
    turned = len(re.findall(r"anti|de|dis|in|counter", found["before"]))
    return (1 if found["up"] else -1) * (-1) ** turned


def _denies(before: str) -> bool:
    return re.search(r"\b(non|un)", before) is not None

"""Messages as the command line says them: on one line, what to do in words that can be typed.

The library speaks of Python: a remedy stands in backticks, as `` `tfs=` `` or `` `data.without_constant_genes()` ``.
"""

import re
from collections.abc import Mapping

TYPED = {
    "`data.without_constant_genes()`": "--drop-constant",
    "`networks=`": "--prior NAME=FILE",
    "`hidden=20`": "--set model.hidden=20",
    "`num_steps=`": "--steps",
    "`max_iterations=`": "--steps",
    "`Normal(scale=0.316)`": "--set prior.scale=0.316",
}
"""Remedies whose option is not that of the same name."""
LONGEST_WORD = 160  # letters without a space; longer ones are names that nobody reads, or an attack
OPTION = re.compile(r"`([a-z_]+)=`")


def in_options(message: str, typed: Mapping[str, str] = TYPED) -> str:
    """``message`` with each remedy as an option of the command line.

    Examples
    --------
    >>> in_options("list fewer candidate regulators, `tfs=`")
    'list fewer candidate regulators, --tfs'
    """
    for words, option in typed.items():
        message = message.replace(words, option)
    return OPTION.sub(lambda found: "--" + found[1].replace("_", "-"), message)


def on_one_line(message: str) -> str:
    """``message`` without line breaks; a name too long to be read is cut in its middle."""
    long = re.compile(rf"\S{{{LONGEST_WORD},}}")
    return long.sub(lambda word: f"{word[0][:40]}…{word[0][-12:]}", " ".join(message.split()))

"""What a message of the library says to do, in words that can be typed at the command line.

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

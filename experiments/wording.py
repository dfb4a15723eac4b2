"""Messages as the command line says them: on one line, what to do in words that can be typed.

The library speaks of Python: a remedy stands in backticks, as `` `tfs=` `` or `` `data.without_constant_genes()` ``, or
is one of the phrases of `PHRASES`.
"""

import logging
import re
from collections.abc import Mapping

TYPED = {
    "`data.without_constant_genes()`": "--drop-constant",
    "`networks=`": "--prior NAME=FILE",
    "`controls=`": "--control LABEL",
    "`metacells=20`": "--metacells 20",
    "`hidden=20`": "--set model.hidden=20",
    "`num_steps=`": "--steps",
    "`steps=`": "predict --propagate",
    "`factor_effects=False`": "--set model.factor_effects=false",
    "`integrate=False`": "--set model.integrate=false",
    "`depth=none`": "--set model.depth=none",
    "`likelihood='negative-binomial'`": "--likelihood negative-binomial",
    "`max_iterations=`": "--steps",
    "`Normal(scale=0.316)`": "--set prior.scale=0.316",
    "Name one with `score=`": "Rename the column of the score to weight or inclusion",
}
"""Remedies whose option is not that of the same name."""
PHRASES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"or force one of: ", "or force one with FILE?format=NAME: "),
        (r"say which with format=", "say which with FILE?format=NAME"),
        (r"\(?(choose one|choose rows) with where=\)?", r"\1 with FILE?COLUMN=VALUE"),
        (r"pass duplicates='mean' to merge them", "merge them with FILE?duplicates=mean"),
        (r"\(from_edges\(\.\.\., duplicates='mean'\) merges\)", "(FILE?duplicates=mean merges)"),
        (r"pass genes= \(names, or a file with one per line\)", "pass FILE?genes=NAMES (a file with one name a line)"),
        (r"genes= is of no use", "?genes=NAMES is of no use"),
        (r" \(or pass check_orientation=False\)", ""),
        (r"pass signed=False", "pass FILE?signed=false"),
        (r"\(signed=True takes them\)", "(FILE?signed=true takes them)"),
        (r"stream it \(backed=True\) from a dense or CSR h5ad or zarr", "write it as a dense or CSR h5ad or zarr"),
        (r", or leave out backed=True", ""),
        (r"raise num_warmup and num_samples", "raise --steps, and --set guide.num_warmup=NUMBER"),
        (r"\braise num_(steps|samples)\b", "raise --steps"),
        (r"\braise num_draws\b", "take --guide gibbs"),
        (r"\braise guide\.svi_steps\b", "raise --set guide.svi_steps=NUMBER"),
        (r"\(adata\.var_names_make_unique\(\)\)", "(in Python: adata.var_names_make_unique())"),
        (r"drop the context$", "leave it out (--min-cells 3)"),
        (r"\(`with_times`\)", "(--time-key)"),
        (r"\bbackend='(loky|serial|dask)'", r"--backend \1"),
        (r"(?<![\w.`=])num_(tfs|genes|cells)\b(?!=)", r"--\1"),
        (r"(?<![\w.`=])num_(tfs|genes|cells)=(?=\d)", r"--\1 "),
        (r"\bgain='(fixed|sampled)'", r"--set model.gain=\1"),
    )
)
"""What the library says in other words -> what is typed instead, in this order."""
LONGEST_WORD = 160  # letters without a space; longer ones are names that nobody reads, or an attack
LONGEST_MESSAGE = 900  # letters that a terminal shows
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
    for phrase, words in PHRASES:
        message = phrase.sub(words, message)
    return OPTION.sub(lambda found: "--" + found[1].replace("_", "-"), message)


def on_one_line(message: str) -> str:
    """``message`` without line breaks; a name too long to be read, and a message too long to be shown, are cut in
    their middle."""
    long = re.compile(rf"\S{{{LONGEST_WORD},}}")
    text = long.sub(lambda word: f"{word[0][:40]}...{word[0][-12:]}", " ".join(message.split()))
    end = LONGEST_MESSAGE // 4
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - end - 5]} ... {text[-end:]}"


def for_command_line(message: str) -> str:
    """The message in one line, with remedies that can be typed."""
    return on_one_line(in_options(" ".join(message.split())))


class CommandFormatter(logging.Formatter):
    """Warnings of the library in the words of the command line."""

    def format(self, record: logging.LogRecord) -> str:
        """The message alone."""
        return for_command_line(record.getMessage())

"""The section of the report on contexts: where their networks differ, and how sure that is."""

from collections.abc import Mapping
from html import escape

import numpy as np
import pandas as pd

from ...inference import Posterior
from ...inference.answers.promise import why_no_list
from ...inference.draws.contexts import OTHERS, pairs_of
from ...inference.draws.differences import LIST_RATE
from ...inference.draws.intervals import LEVEL
from ..files.network_tables import tables_of_contexts
from .page import Cell, bar, paragraph, table
from .parts import probability, records

NUM_ROWS = 15
NUMERIC = ("difference", "sd", "lower", "upper", "differs", "sign_probability")


def contexts_section(posterior: Posterior) -> list[str]:
    """The surest differences between pairs of contexts, and the weights of the edges concerned in each context."""
    names = posterior.coords["context"]
    pairs = pairs_of(names)
    largest = [posterior.context_differences(*pair, top=NUM_ROWS) for pair in pairs]
    listed = why_no_list(posterior) is None
    found = pd.concat(largest, ignore_index=True)
    order = np.lexsort((-found["difference"].abs(), -found["differs"].round(2)))
    found = found.iloc[order[:NUM_ROWS]]
    delta = float(found["threshold"].iloc[0])
    rows = [
        [
            Cell(escape(row.source), "gene"),
            Cell(escape(row.target), "gene"),
            escape(row.context),
            escape(row.other),
            *(f"{value:+.3f}" if name != "sd" else f"{value:.3f}" for name, value in _numbers(row).items()),
            bar(row.differs, probability(row.differs)),
            probability(row.sign_probability),
        ]
        for row in records(found)
    ]
    others = f"each with the mean of {OTHERS}" if len(pairs) and pairs[0][1] == OTHERS else "every pair of them"
    sparse = not np.isfinite(delta)
    intro = f"Each context has its own weights. Contexts: {', '.join(names)}; compared is {others}."
    if listed:
        number = len(posterior.context_differences(fdr=LIST_RATE))
        intro += (
            f" {number:,} differences between edges into genes that are no regulators are in the list of which "
            f"{LIST_RATE:.0%} are expected to be none (differences.csv)."
        )
    if sparse:
        meaning = (
            "differs: probability that the two are not the same edge, be it gone, new, of another sign or size. An "
            "edge is a priori the one that all contexts share, or with a probability that is learned the context's own"
        )
    else:
        meaning = (
            f"differs: probability that the difference exceeds {delta:g} in size. Contexts share one prior on how far "
            "they lie from the shared network, which draws differences towards zero: few large ones among many small "
            "ones are underestimated"
        )
    caution = (
        "difference: posterior mean of the weight in the first context minus that in the other, from joint draws, with "
        f"its {LEVEL:.0%} interval; {meaning}. All are in differences_*.csv."
    )
    renamed = [
        f"{what['context']} is in {file}" for file, what in tables_of_contexts(names).items() if _hidden(file, what)
    ]
    if renamed:
        caution += f" By names of files (all in config.json): {'; '.join(renamed[:NUM_ROWS])}."
    return [
        paragraph(intro),
        table(("source", "target", "context", "other", *NUMERIC), rows, numeric=NUMERIC),
        paragraph(caution, "soft"),
    ]


def _hidden(file: str, what: Mapping[str, str]) -> bool:
    """Whether the edges of a context are in a file that is not called as it is."""
    return "other" not in what and file != f"edges_{what['context']}.csv"


def _numbers(row: object) -> dict[str, float]:
    return {name: float(getattr(row, name)) for name in NUMERIC[:4]}

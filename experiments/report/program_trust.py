"""How far a fit of programs trusts each library of gene sets, in words and a picture."""

from html import escape

import numpy as np

from ...inference import Posterior
from ...inference.answers.set_standing import MOST_OTHER, of_library
from .. import figures
from .knowledge import trust_band, trust_word
from .page import Cell, paragraph, table
from .parts import records
from .pictures import picture
from .program_tables import ProgramTables


def trust_section(posterior: Posterior, tables: ProgramTables) -> list[str]:
    """How far each library of gene sets was followed, and whether its sets are borne out."""
    trust = tables.trust
    if trust.empty:
        text = (
            "In this fit the gene sets entered with a fixed strength, not with one learned by library: there is no "
            "trust coefficient to report."
        )
        return [paragraph(text)]
    on_odds = posterior.model.edge_prior.strategy == "inclusion"
    effect = "odds of membership of a listed gene" if on_odds else "typical size of a listed gene's loading"
    factor = 0.9 if on_odds else 0.45  # b P, and half of it on the scale, at the confidence P = 0.9
    rows = []
    libraries = dict(zip(tables.factors["program"], tables.factors["library"], strict=True))
    for row in records(trust):
        word = trust_word(row)
        other, number = of_library(row.source, libraries, tables.standings)
        if number and other / number > MOST_OTHER and row.upper >= 0.3:
            word = f"not borne out: {other} of its {number} programs hold mostly other genes than their set"
        if not number:
            word = "not told: none of its programs has several genes"
        times = [f"×{np.exp(factor * value):.2f}" for value in (row.mean, row.lower, row.upper)]
        interval = f"{row.lower:.2f} to {row.upper:.2f}"
        library = Cell(escape(str(row.source)), "gene")
        rows.append([library, f"{row.mean:.2f}", interval, f"{times[0]} ({times[1]} to {times[2]})", word])
    band, odds = trust_band(posterior, tables.level)
    intro = (
        "Each library of gene sets has a trust coefficient b, at least 0, that is learned with the programs: at 0 its "
        "sets are ignored; the larger b, the more the genes that a set lists are favoured in its program. A library of "
        "random sets ends near 0. The last figures are for a gene listed with a confidence of 0.9."
    )
    header = ("library", "trust b", f"{tables.level:.0%} interval", effect, "in words")
    caption = "Grey: what was believed of any library before the data. Green: what is believed of each after them."
    drawn = figures.trust_in_sources(trust, prior=band, odds=odds, level=tables.level)
    shown = table(header, rows, numeric=header[1:3], detail=header[1:3])
    return [paragraph(intro), shown, picture(drawn, caption)]

"""What report.html says of a point estimate, which has no probabilities."""

from collections.abc import Mapping
from html import escape

import pandas as pd

from ...inference import Posterior
from ...inference.points import UNKNOWN
from ..figures import edge_forest
from .page import Cell, badge, paragraph, sign_cell, table
from .parts import count, records, trust_badges
from .pictures import network, picture

NUM_EDGES, NUM_DRAWN = 50, 60
NO_CERTAINTY = (
    "This is a point estimate: each weight is one number, and nothing says how sure it is. Probabilities, intervals "
    "and false sign rates are left empty, and no list can be made for a false discovery rate. An engine with a "
    "posterior gives them (the command pyrogrn methods lists which)."
)


def known_columns(texts: Mapping[str, str]) -> dict[str, str]:
    """Of what the columns mean, those that a point estimate fills."""
    uncertain = {*UNKNOWN, "lower, upper", "expected FDR"}
    named = {name: text for name, text in texts.items() if name not in uncertain}
    return named | {"empty columns": "What would need a posterior: this is a point estimate."}


def point_verdict(posterior: Posterior, weights: pd.Series, diagnostics: pd.DataFrame | None) -> list[str]:
    """The answer in one sentence, and the badges, of edges or loadings with these ``weights``."""
    what = "edge" if posterior.model.infers == "network" else "loading"
    largest = float(weights.abs().max()) if len(weights) else 0.0
    text = f"A point estimate: {count(int((weights != 0).sum()), what)} that are not zero, ranked by size (largest "
    text += f"{largest:.3g}), without probabilities"
    _, checked, engine, _ = trust_badges(posterior, diagnostics)
    lead = f'<p class="lead"><strong>{escape(text)}.</strong></p>'
    return [lead, f"<div>{badge('point estimate', None)}{checked}{engine}</div>", paragraph(NO_CERTAINTY, "soft")]


def point_edges(top: pd.DataFrame, unit: str) -> list[str]:
    """The largest effects: `Posterior.edges` of a point estimate, in a ``unit``."""
    rows = [
        [
            Cell(escape(edge.source), "gene"),
            sign_cell(edge.weight),
            Cell(escape(edge.target), "gene"),
            f"{edge.weight:+.3f}",
            f"{edge.prior:.2f}" if edge.prior > 0 else "–",
        ]
        for edge in records(top.head(NUM_EDGES))
    ]
    return [
        picture(edge_forest(top, unit=unit), "Dots: the estimates. A point estimate has no intervals."),
        paragraph(f"The {len(rows)} largest effects, as in edges.csv."),
        table(("source", "", "target", "weight", "prior"), rows, numeric=("weight", "prior")),
    ]


def point_network(top: pd.DataFrame, tfs: set[str]) -> list[str]:
    """The network of the largest effects."""
    drawn = top[top["weight"] != 0].head(NUM_DRAWN)
    if not len(drawn):
        return [paragraph("Every weight is zero: there is no network to draw.")]
    caption = "Arrows activate, bars repress; thicker lines are stronger effects. Only the largest are drawn."
    return [network(drawn, caption, tfs=tfs)]

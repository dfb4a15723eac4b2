"""What the report of a network says of prior knowledge: what was matched, and how far the data trust it."""

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from ...inference import Posterior
from ...inference.draws.intervals import LEVEL
from ...models import ExpressionData
from ...priors import AlignmentReport
from ...priors.edge_prior import TRUST_SCALE
from .. import figures
from .page import Cell, listing, paragraph, table, tiles
from .parts import half_normal_band, notes_on_data, records
from .pictures import picture


def given(posterior: Posterior, data: ExpressionData | None, alignment: Mapping[str, AlignmentReport]) -> list[str]:
    """What went in: numbers of cells, genes and sources, notes on the data, and how names matched."""
    coords = posterior.coords
    rows_are = posterior.model.rows
    numbers = {} if data is None else {rows_are: f"{data.num_cells:,}"}
    numbers |= {"genes": f"{len(coords['target']):,}", "candidate regulators": f"{len(coords['tf']):,}"}
    numbers |= {
        "context" if len(coords["context"]) == 1 else "contexts": str(len(coords["context"])),
        "sources of prior knowledge": str(len(posterior.model.given_sources)),
    }
    numbers["possible edges"] = f"{int(posterior.model.edge_prior.allowed.sum()):,}"
    if data is not None and data.perturbed is not None:
        pairs = data.perturbed.cpu().numpy()
        numbers[f"perturbed {rows_are}"] = f"{len(np.unique(pairs[:, 0])):,}"
        numbers["perturbed genes"] = f"{len(np.unique(pairs[:, 1])):,}"
    content = [tiles(numbers)]
    notes = notes_on_data(posterior, data)
    if notes:
        content += ["<h3>Expression: what was recognised, changed and dropped</h3>", listing(notes)]
    if data is not None and data.context is not None:
        cells = np.bincount(data.context.cpu().numpy(), minlength=data.num_contexts)
        rows = [[name, f"{n:,}"] for name, n in zip(data.context_names, cells, strict=True)]
        content += [
            f"<h3>{rows_are.capitalize()} by context</h3>",
            table(("context", rows_are), rows, numeric=(rows_are,)),
        ]
    if alignment:
        content += ["<h3>Prior knowledge: what matched the data</h3>", _matching(alignment)]
    return content


def _matching(alignment: Mapping[str, AlignmentReport]) -> str:
    keys = ("edges_in", "edges_out", "dropped_unknown_source", "dropped_unknown_target", "dropped_self")
    header = ("source", "edges listed", "edges used", "regulator not in data", "target not in data", "self-edges")
    rows, examples = [], []
    for name, report in alignment.items():
        values = report.to_dict()
        rows.append([Cell(escape(name), "gene"), *(f"{values[key]:,}" for key in keys)])
        unknown = [*report.unknown_sources, *report.unknown_targets]
        if unknown:
            examples.append(f"{name}: not in the data are, for example, {', '.join(unknown)}")
    return table(header, rows, numeric=header[1:]) + listing(examples)


def trusted(posterior: Posterior) -> list[str]:
    """How far the data trust each source, or why they were not asked."""
    prior = posterior.model.edge_prior
    given, own = posterior.model.given_sources, posterior.model.own_sources
    none = [] if given else [paragraph("No prior knowledge was given: the edges come from the expression data alone.")]
    if not posterior.coords["source"]:
        return none
    if prior.strategy == "mask":
        text = "Prior knowledge was used as a mask: edges that no source lists cannot exist, whatever the data say."
        return [paragraph(text)]
    told = [paragraph(f"“{name}” is no source that was given: {what}.") for name, what in own.items()]
    if not given:
        return [*none, *told]
    trust = posterior.trust()
    on_odds = prior.strategy == "inclusion"
    effect = "odds of an edge it lists" if on_odds else "typical strength of an edge it lists"
    factor = 0.9 if on_odds else 0.45  # b P, and half of it on the scale, at the confidence P = 0.9
    rows = []
    for row in records(trust):
        times = [np.exp(factor * value) for value in (row.mean, row.lower, row.upper)]
        rows.append(
            [
                Cell(escape(row.source), "gene"),
                f"{row.mean:.2f}",
                f"{row.lower:.2f} to {row.upper:.2f}",
                f"×{times[0]:.2f} (×{times[1]:.2f} to ×{times[2]:.2f})",
                trust_word(row),
            ]
        )
    band, _ = trust_band(posterior, LEVEL)
    intro = (
        "Each source of prior knowledge has a trust coefficient b, at least 0, that is learned with the network: at 0 "
        "the source changes nothing; the larger b, the more the edges that it lists are favoured. A source that lists "
        f"random edges ends near 0. {'Odds' if on_odds else 'Strength'}: for an edge listed with a confidence of 0.9."
    )
    header = ("source", "trust b", f"{LEVEL:.0%} interval", effect, "in words")
    caption = "Grey: what was believed of any source before the data. Green: what is believed of each after them."
    drawn = figures.trust_in_sources(trust, prior=band, odds=on_odds, level=LEVEL)
    shown = table(header, rows, numeric=header[1:3], detail=header[1:3])
    return [*none, *told, paragraph(intro), shown, picture(drawn, caption)]


def trust_word(row: Any) -> str:
    """What a row ``mean, lower, upper`` of a trust coefficient says: below 0.3 the odds of what a source lists hardly
    move."""
    if np.isnan(row.upper):
        return "a point estimate: how sure it is, is not known"
    if row.upper < 0.3:
        return "ignored: the data do not bear it out"
    if row.lower > 0.3:
        return "used: the data bear it out"
    return "hardly used: little support in the data" if row.mean < 0.3 else "used, with some doubt"


def trust_band(posterior: Posterior, level: float) -> tuple[tuple[float, float], bool]:
    """The central interval of a trust coefficient before the data, and whether it moves the odds of edges."""
    prior = posterior.model.edge_prior
    if posterior.model.infers == "programs":
        return half_normal_band(TRUST_SCALE, level), False
    return half_normal_band(float(prior.trust_prior.constants[0]), level), prior.strategy == "inclusion"

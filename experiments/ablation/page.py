"""The one page of an ablation, as HTML with its figures inside."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from ..files.whole import whole_file
from ..report.page import badge, glossary, listing, page, paragraph, section, table, tiles
from ..report.parts import count, records
from ..report.pictures import picture
from . import figures
from .measures import MEASURES
from .result import AblationResult
from .words import in_words_of

SIDE_BY_SIDE = 5  # measures of a table: with their errors as wide as a page
LARGEST_CHAIN_ERROR = 0.02  # mean error of a probability above which sums of bits are mostly noise
DELTAS = {
    "delta_log_score_bits": "log score",
    "delta_average_precision": "average precision",
    "delta_elpd": "prediction of held-out cells",
}


def write_page(result: AblationResult, path: Path | str, *, command: str = "Python", title: str = "Ablation") -> None:
    """Answer, figures, tables and small print of an ablation in one file.

    Parameters
    ----------
    result
        Of `ablate`.
    path
        File to write, ``.html``.
    command
        What was run.
    title
        Of the page.
    """
    summary = result.summary()
    measures = [name for name in DELTAS if summary[name].notna().any()]
    content = [
        f"<h1>{escape(title)}</h1>",
        paragraph(" ".join(headline(result, summary, measures)), "lead"),
        badge(*_badge(result)),
        tiles(_tiles(result)),
        section("worth", "What each source is worth", *_worth(summary, measures)),
        section("damage", "How wrong a source may be", *_damage(result, summary, measures)),
        section("sources", "What each source contributed", *_sources(result)),
        section("information", "Information", *_information(result, summary)),
        section("numbers", "All numbers", *_numbers(summary)),
        section(
            "terms",
            "What the numbers mean",
            glossary({name.replace("_", " "): text for name, text in {**MEASURES, **TERMS}.items()}),
        ),
    ]
    content = [in_words_of(result.settings, part) for part in content]
    content.append(section("made", "How this was made", *_made(result, command)))
    with whole_file(Path(path)) as place:
        place.write_text(page(title, "\n".join(content)), encoding="utf-8")


UNITS = {"delta_log_score_bits": " bits a pair", "delta_elpd": " nats"}
OPEN = 0.05  # share of plausible curves that never hurt, above which it is not said that a source hurts


TERMS = {
    "against none": "the same method, seed and cells without any source",
    "± ": "standard error over seeds: chains, cells held out, edges damaged",
    "[± ]": "standard error within a run: over targets (scores of edges), over cells (predictions); does not shrink "
    "with more seeds",
    "break-even": "the smallest damage at which the mean difference from the run without sources falls below zero",
    "89% interval of a break-even": "over seeds: chains, cells held out, edges damaged. It leaves out what seeds "
    "share: errors of the truth, which targets it has, the data, and what happens between the shares run and "
    "beyond the last",
    "never hurts": "share of plausible curves, over seeds, that stay above zero up to the largest share run",
}


def headline(result: AblationResult, summary: pd.DataFrame, measures: Sequence[str]) -> list[str]:
    """What was found, in sentences."""
    if not measures:
        return ["Neither a truth nor held-out cells: only what the sources changed is known."]
    name = measures[0]
    whole = summary[(summary["damage"] == "") & (summary["sources"] != "") & (summary["method"] != "prior-only")]
    whole = whole.dropna(subset=[name])
    if whole.empty:
        return []
    best = whole.iloc[int(whole[name].to_numpy().argmax())]
    error = float(
        np.hypot(best[f"{name}_se"] if best[f"{name}_se"] == best[f"{name}_se"] else 0, best[f"{name}_within"])
    )
    sentences = []
    if best[name] > 2 * error:
        sentences.append(
            f"By {DELTAS[name]}, the most was gained with {best['change']} "
            f"({figures.way_label(best)}): {best[name]:+.3g} ± {error:.2g}{UNITS.get(name, '')} against no source."
        )
    else:
        sentences.append(
            f"By {DELTAS[name]}, no choice of sources is clearly better than none: the best is {best['change']} with "
            f"{best[name]:+.3g} ± {error:.2g}{UNITS.get(name, '')}."
        )
    for row in records(result.break_even(name).head(3)):
        way = figures.way_label(pd.Series(vars(row)))
        lower, upper = (f"{v:.0%}" if v == v else "beyond the shares that were run" for v in (row.lower, row.upper))
        interval = (
            f"89% interval over seeds {lower} to {upper}"
            if row.lower == row.lower or row.upper == row.upper
            else ("no interval: too few seeds, or all beyond the shares that were run")
        )
        if row.break_even == row.break_even:
            is_open = not row.never <= OPEN  # also NaN: of one seed there are no other curves
            sentences.append(
                f"{row.sources} ({way}) {'stops helping' if is_open else 'begins to hurt'} at {row.break_even:.0%} of "
                f"the edges {row.damage} ({interval}; errors of the truth are left out)"
                + (
                    "."
                    if not is_open
                    else "; whether it hurts from there is open: one seed does not say how far others are from it."
                    if row.never != row.never
                    else f"; whether it hurts from there is open: of plausible curves {row.never:.0%} never do up "
                    f"to {row.largest:.0%}."
                )
            )
        else:
            sentences.append(
                f"{row.sources} ({way}) did not begin to hurt at any share that was run (up to {row.largest:.0%} of "
                f"the edges {row.damage})."
            )
    return sentences


def _badge(result: AblationResult) -> tuple[str, bool | None]:
    fitted = result.rows[result.rows["method"] != "prior-only"]
    if fitted.empty:
        return "no data were fitted: prior-only", None
    engines = fitted["calibrated"].astype(bool)
    if not engines.all():
        methods = ", ".join(sorted(set(fitted.loc[~engines, "method"])))
        return f"not calibrated: {methods}; take their log scores with care", None if engines.any() else False
    error = fitted["chain_error"]
    if error.isna().any():
        return "one chain: how far its probabilities can be trusted is not known; run several", None
    if error.max() > LARGEST_CHAIN_ERROR:
        return (
            f"chains too short: probabilities of edges have an error of {error.max():.2g} on average, "
            f"{LARGEST_CHAIN_ERROR:g} is the most for calibrated numbers; run more chains or steps"
        ), False
    return f"engines: calibrated on data from their models; errors of chains up to {error.max():.2g}", True


def _tiles(result: AblationResult) -> dict[str, str]:
    s = result.settings
    values = {"cells": f"{s['cells']:,}", "genes": f"{s['genes']:,}"}
    what = "gene sets" if "gene_sets" in s else "regulators"
    values[what] = f"{s[what.replace(' ', '_')]:,}"
    values |= {"sources": f"{len(result.sources):,}", "runs": f"{len(result.rows):,}", "seeds": f"{len(s['seeds'])}"}
    if s["pairs_scored"]:
        values |= {"pairs scored": f"{s['pairs_scored']:,}", "true edges among them": f"{s['true_edges']:,}"}
    return values


def _sources(result: AblationResult) -> list[str]:
    header = list(result.sources.columns)
    rows = [[_text(value) for value in row] for row in result.sources.itertuples(index=False)]
    plain = [name.replace("_", " ") for name in header]
    return [table(plain, rows, numeric=plain[1:], detail=plain[3:]), listing(result.notes)]


def _worth(summary: pd.DataFrame, measures: Sequence[str]) -> list[str]:
    caption = (
        "Right of zero a choice of sources is better than none. Points are means over seeds, thick bars 89% intervals "
        "over seeds, thin bars with the uncertainty of the truth or of the held-out cells added."
    )
    content = [picture(figures.source_effects(summary, measures), caption)]
    rows = []
    for row in summary[summary["damage"] == ""].to_dict("records"):
        cells = [figures.way_label(pd.Series(row)), row["change"]]
        cells += [_with_error(row, name) for name in (*measures, "moved_bits", "moved_bits_floor")]
        rows.append(cells)
    header = ["method", "sources", *(DELTAS[m] for m in measures), "moved (bits)", "of it noise (bits)"]
    return [*content, table(header, rows, numeric=header[2:], detail=[header[0], *header[3:]])]


def _damage(result: AblationResult, summary: pd.DataFrame, measures: Sequence[str]) -> list[str]:
    content = []
    for damage in ("moved", "flipped"):
        if not (summary["damage"] == damage).any():
            continue
        for name in measures:
            crossings = result.break_even(name)
            caption = (
                f"Mean over seeds with an 89% band. On the zero line: the break-even point with its 89% interval over "
                f"seeds, which leaves out errors of the truth. "
                f"Above zero the damaged source still helps ({DELTAS[name]})."
            )
            content.append(picture(figures.damage_curves(summary, crossings, name, damage), caption))
    if not content:
        return [paragraph("No source was damaged by degrees (--corrupt, --flip).")]
    rows = []
    for name in measures:
        for row in records(result.break_even(name)):
            place = f"{row.break_even:.0%}" if row.break_even == row.break_even else "not reached"
            ends = [f"{v:.0%}" if v == v else "not reached" for v in (row.lower, row.upper)]
            interval = f"{ends[0]} to {ends[1]}" if ends[0] != ends[1] else ends[0]
            never = "–" if row.never != row.never else f"{row.never:.0%}"
            way = figures.way_label(pd.Series(vars(row)))
            rows.append([way, row.sources, row.damage, DELTAS[name], place, interval, never])
    header = ["method", "sources", "damage", "measure", "break-even", "89% interval", "never hurts"]
    content.append(table(header, rows, numeric=header[4:], detail=(header[0], header[2], header[5])))
    trust = result.trust_summary()
    if len(trust) and (trust["damage"] == "moved").any():
        caption = "The data see through a wrong source if its trust falls as it is damaged. Bars: 89% intervals."
        content.append(picture(figures.trust_by_damage(trust), caption))
    return content


def _information(result: AblationResult, summary: pd.DataFrame) -> list[str]:
    text = (
        "Left: how far the data moved beliefs away from the prior, which has the sources in it: the sum over edges of "
        "KL(q‖π), q the probability of an edge after the data and π before, both with hyperparameters integrated out. "
        "Right: how far the sources moved beliefs, KL of q with them against q without. Lines across the bars: what "
        "the noise of the chains alone amounts to; bits not above it say nothing. Sums over edges count what edges "
        "share, as their base rate, once an edge, and can exceed the divergence of the joint beliefs; gain bits rate "
        "below is the part that one shift of all log-odds explains. Of the first method."
    )
    content = [picture(figures.bits(summary), text)]
    trust = result.trust_summary()
    if len(trust):
        rows = [
            [
                figures.way_label(pd.Series(vars(r))),
                r.change,
                r.source,
                f"{r.mean:.2f}",
                f"{r.lower:.2f} to {r.upper:.2f}",
            ]
            for r in records(trust[trust["trust"] == "sampled"])
        ]
        header = ["method", "change", "source", "trust b", "89% interval"]
        content += ["<h3>Trust in each source</h3>", table(header, rows, numeric=header[3:])]
    return content


def _numbers(summary: pd.DataFrame) -> list[str]:
    names = [n for n in MEASURES if n in summary and summary[n].notna().any()]
    ways = [(figures.way_label(pd.Series(row)), row) for row in summary.to_dict("records")]
    tables = []
    for start in range(0, len(names), SIDE_BY_SIDE):
        some = names[start : start + SIDE_BY_SIDE]
        header = ["method", "change", *(n.replace("_", " ") for n in some)]
        rows = [[way, row["change"], *(_with_error(row, n) for n in some)] for way, row in ways]
        tables.append(table(header, rows, numeric=header[2:]))
    return tables


def _with_error(row: dict, name: str) -> str:
    if row[name] != row[name]:
        return "–"
    text = f"{row[name]:.3g}"
    if row[f"{name}_se"] == row[f"{name}_se"]:
        text += f" ± {row[f'{name}_se']:.1g}"
    within = row.get(f"{name}_within", float("nan"))
    return text + (f" [± {within:.1g}]" if within == within else "")


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int | np.integer) else str(value)


def _plainly(value: object) -> str:
    """A setting as a text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{str(name).replace('_', ' ')} {_plainly(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plainly, value)) or "none"
    return "default" if value is None else str(value)


def _made(result: AblationResult, command: str) -> list[str]:
    settings = {k: v for k, v in result.settings.items() if k != "changes"}
    return [
        f"<pre>{escape(command)}</pre>",
        paragraph(f"{count(len(result.rows), 'run')}; rows.csv has every one of them."),
        glossary({name.replace("_", " "): _plainly(value) for name, value in settings.items()}),
    ]

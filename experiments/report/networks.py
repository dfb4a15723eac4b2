"""report.html: one file that tells a biologist what was found, how sure it is, and whether to believe it."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from ...inference import Posterior
from ...inference.answers.promise import why_no_list
from ...inference.choice import engine_of
from ...inference.draws.intervals import LEVEL
from ...inference.points import is_point
from ...inference.training_worlds import why_no_list as why_unlike
from ...models import ExpressionData
from ...priors import AlignmentReport
from .. import figures
from ..figures.edges import all_certain
from ..files.network_tables import NetworkTables
from ..matching import align
from ..scores import score_edges
from ..wording import in_options
from .contexts import contexts_section
from .degrees import out_degrees
from .found import NUM_DRAWN, NUM_FOREST, NUM_LINKS, RATES, Results
from .kind import Place, Predictive, ReportKind, asked, put
from .knowledge import given, trusted
from .next_steps import OF_DYNAMICS, next_steps
from .page import Cell, badge, bar, glossary, listing, page, paragraph, section, sign_cell, table, tiles
from .parts import count, diagnostics_section, made, predictions_section, probability, records, trust_badges
from .pictures import network, panels, picture
from .points import NO_CERTAINTY, known_columns, point_edges, point_network, point_verdict
from .program_tables import GeneSets
from .trial import OF_INCLUSION, UNTRIED, earned, is_tested, is_tried, trial_facts, unmeasured_causes

COLUMNS = {
    "source": "The regulator.",
    "target": "The gene it regulates.",
    "weight": "Posterior mean of the effect: {weight}. Positive: activation; negative: repression.",
    "sd": "Posterior standard deviation of the weight.",
    "lower, upper": f"The weight lies between them with a probability of {LEVEL:.0%}, given the model.",
    "inclusion": "Probability that the edge exists. If the model is right, "
    "about 80% of the edges at 0.8 are real, where the "
    "target is not itself a regulator; between two regulators the direction cannot be told without interventions.",
    "sign_probability": "Probability that the sign (activation or repression) is right, given that the edge exists.",
    "lfsr": "Local false sign rate: probability that the effect is absent or has the other sign. Small is good.",
    "prior": "Largest confidence that any source of prior knowledge has in the edge; 0 where none lists it.",
    "expected FDR": "Expected share of false edges in a list: the mean of 1 - inclusion over the list.",
}
OF_RANKS = (
    "Probability that the edge exists, as the model states it. It was not found to be true, on data of the kinds that "
    "this method is for: it ranks edges, and of those at 0.8 more than a fifth can be wrong."
)

OF_SIGNS = (
    "Local false sign rate: probability that the effect has the other sign. This prior takes no effect for absent."
)


def _columns(posterior: Posterior) -> dict[str, str]:
    """What the columns mean for this model and engine."""
    texts = COLUMNS | {"weight": COLUMNS["weight"].format(weight=posterior.model.weight_meaning)}
    if is_tried(posterior):
        texts |= OF_INCLUSION
    if is_point(posterior):
        return known_columns(texts)
    if posterior.threshold is not None:
        texts["lfsr"] = OF_SIGNS
    if why_no_list(posterior) is not None:
        texts["inclusion"] = OF_RANKS
        texts.pop("expected FDR")
    if engine_of(posterior.guide).prunes:
        texts["inclusion"] = (
            "Share of draws, over all trainings, in which the effect is not pruned and exceeds the threshold. It says "
            "how stable the edge is from training to training, not how probable: it is not calibrated."
        )
    return texts


def write_report(
    posterior: Posterior,
    path: Place,
    *,
    data: ExpressionData | None = None,
    diagnostics: pd.DataFrame | None,
    alignment: Mapping[str, AlignmentReport],
    command: str,
    truth: pd.DataFrame | None = None,
    predictive: Predictive = None,
) -> None:
    """Write the report: one self-contained HTML file with its figures inside, no script and no link to the outside.

    Parameters
    ----------
    posterior
        The fit. One that diverged is reported as such.
    path
        File to write, which is replaced only when the new one is complete; or a stream of text.
    data
        The cells, for their numbers.
    diagnostics
        `Posterior.diagnose`: ``check, value, threshold, passed, meaning``; None: not run, and the report says so.
    alignment
        What became of each prior network, by source.
    command
        What was run.
    truth
        A known network, ``source, target``: adds scores and a reliability diagram. One that cannot be compared is said.
    predictive
        Observed values (n,) and posterior predictive draws of them (draws, n), or what gives them when they are needed:
        adds the predictive check.

    Raises
    ------
    ValueError
        The file cannot be written.
    """
    usable = "W" in posterior.draws and bool(np.isfinite(posterior.moments["W"].mean).all())
    results = Results(posterior) if usable else None
    point = results is not None and is_point(posterior)
    parts = [
        ("result", "Result", _verdict(posterior, results, diagnostics)),
    ]
    if results is not None and point:
        parts += [
            ("edges", "Largest effects", point_edges(results.top, posterior.model.weight_unit)),
            ("network", "Network", point_network(results.top, set(results.tfs))),
            ("certainty", "How sure", [paragraph(NO_CERTAINTY)]),
        ]
    elif results is not None:
        parts += [
            ("edges", "Most probable edges", _edges(posterior, results)),
            ("network", "Network", _network(posterior, results)),
            ("certainty", "How sure", _certainty(posterior, results)),
        ]
        if len(posterior.coords["context"]) > 1:
            parts.append(("contexts", "Contexts", contexts_section(posterior)))
    parts.append(("diagnostics", "Can the fit be trusted?", diagnostics_section(posterior, diagnostics)))
    checked = asked(predictive)
    if checked is not None and results is not None:
        parts.append(("predictions", "Does the model describe the data?", predictions_section(*checked)))
    if truth is not None and results is not None:
        parts.append(("truth", "Against the known network", _against(results, truth)))
    if results is not None:
        first = next(iter(results.top["source"]), None)
        parts.append(("next", "What next", next_steps(posterior, first, listed=results.found.get(RATES[-1], 0) > 0)))
    parts.append(("input", "What went in", given(posterior, data, alignment)))
    if results is not None:
        parts.append(("prior", "Prior knowledge", trusted(posterior)))
    parts += [
        ("columns", "How to read the columns", [glossary(_columns(posterior))]),
        ("cite", "How to cite", [listing(_references(posterior))]),
        ("run", "How this was made", _made(posterior, command)),
    ]
    links = "".join(f'<a href="#{anchor}">{escape(title)}</a>' for anchor, title, _ in parts)
    head = f"<h1>Gene regulatory network: {escape(_size(posterior))}</h1>\n<nav>{links}</nav>"
    body = "\n".join([head, *(section(anchor, title, *content) for anchor, title, content in parts)])
    put(page("Gene regulatory network", body), path)


def _size(posterior: Posterior) -> str:
    coords = posterior.coords
    text = f"{len(coords['tf']):,} regulators, {len(coords['target']):,} genes"
    return text + (f", {len(coords['context'])} contexts" if len(coords["context"]) > 1 else "")


# -- what was found ----


def _verdict(posterior: Posterior, results: Results | None, diagnostics: pd.DataFrame | None) -> list[str]:
    """The answer in one sentence of plain words, and the badges."""
    if results is None:
        reason = posterior.history.reason
        text = f"No result: the fit {reason}. Use nothing of it; normalise the data or look for extreme values in them."
        return [f'<p class="lead"><strong>{escape(text)}</strong></p>', badge("no result", False)]
    if is_point(posterior):
        return point_verdict(posterior, results.top["weight"], diagnostics)
    strict, loose = (results.found.get(rate, 0) for rate in RATES)
    exists = "" if posterior.threshold is None else f" stronger than {posterior.threshold:g} in size"
    made_by = engine_of(posterior.guide)
    unlike = why_unlike(posterior)
    if made_by.prunes:  # shares of draws, which promise nothing about false discoveries
        stable = int((results.inclusion > 0.95).sum())
        text = f"{count(stable, 'effect')}{exists} in at least 95% of the draws of all trainings"
    elif results.why_none is not None:
        why = unlike or "of this method such lists were not found to be true"
        text = (
            f"{count(len(results.inclusion), 'possible edge')} in order of the probability to be{exists or ' there'}, "
            f"and no list at a stated share of errors: {why}"
        )
    elif strict:
        text = (
            f"{count(strict, 'regulatory edge')}{exists} can be named with 5% of them expected to be wrong (about "
            f"{results.wrong:,.0f}), {loose:,} with 10%"
        )
    elif loose:
        text = f"No list of edges{exists} reaches 5% expected errors; {count(loose, 'edge')} can be named at 10%"
    elif not results.promised.any():
        text = (
            "No regulatory edge can be named: every gene is a candidate regulator, and edges between regulators have "
            "no direction that these data tell"
        )
    else:
        known = "" if results.promised.all() else " whose direction is known"
        text = (
            f"No regulatory edge{exists} can be named with at most 10% expected errors: the most probable one{known} "
            f"has a probability of {results.inclusion[results.promised].max():.0%}"
        )
    tested = is_tested(posterior) and results.why_none is None
    failed, checked, engine, advice = trust_badges(posterior, diagnostics, tested=tested)
    if posterior.calibrated and failed == [] and unlike is None:
        advice += f", and {earned(posterior)}"
    if posterior.calibrated and results.why_none is None and not tested:
        advice += f". {UNTRIED}"
    if hidden := unmeasured_causes(posterior):
        advice += f". {hidden}"
    if len(results.links):
        text += f"; {count(len(results.links), 'link')} between regulators, without direction, at 10%"
    label = f"{strict:,} edges at 5% expected FDR"
    if results.why_none is not None:
        advice = advice.replace("; but ", "; and ", 1)  # two cautions are no contrast
        label = "edges by pruning" if made_by.prunes else "a ranking of edges"
    found = badge(label, True if strict and failed == [] and tested else None)
    sentence = f"<strong>{escape(text)}</strong>{escape(advice)}."
    caution = (
        f"An edge is a direct effect between measured genes in {posterior.model.story}: evidence of regulation, not "
        "proof of binding. An unmeasured common cause looks like an edge."
    )
    instead = [paragraph(OF_DYNAMICS)] if posterior.model.neural_ode else []
    badges = f"<div>{found}{checked}{engine}</div>"
    return [f'<p class="lead">{sentence}</p>', badges, *instead, paragraph(caution, "soft")]


def _edges(posterior: Posterior, results: Results) -> list[str]:
    shown = results.top
    rows = []
    for edge in records(shown):
        rows.append(
            [
                Cell(escape(edge.source), "gene"),
                sign_cell(edge.weight),
                Cell(escape(edge.target), "gene"),
                f"{edge.weight:+.3f}",
                f"{edge.sd:.3f}",
                f"{edge.lower:+.3f}",
                f"{edge.upper:+.3f}",
                bar(edge.inclusion, probability(edge.inclusion)),
                probability(edge.sign_probability),
                probability(edge.lfsr),
                f"{edge.prior:.2f}" if edge.prior > 0 else "–",
            ]
        )
    numeric = ("weight", "sd", "lower", "upper", "inclusion", "sign_probability", "lfsr", "prior")
    meaning = (
        "the edge exists" if posterior.threshold is None else f"its weight exceeds {posterior.threshold:g} in size"
    )
    caption = f"Dots: posterior mean; lines: {LEVEL:.0%} interval."
    if not all_certain(shown.head(NUM_FOREST)):
        caption += f" To the right, the probability that {meaning}."
    forest = figures.edge_forest(shown, level=LEVEL, count=NUM_FOREST, unit=posterior.model.weight_unit)
    detail = [name for name in numeric if name not in ("weight", "inclusion")]
    header = ("source", "", "target", *numeric)
    return [
        picture(forest, caption),
        paragraph(
            f"The {len(shown)} most probable edges, as in edges.csv: of those with the same probability to two "
            "decimals the larger effect first. The columns are explained further down."
        ),
        table(header, rows, numeric=numeric, detail=detail, ranks=results.why_none is not None),
        *_links(results),
    ]


def _links(results: Results) -> list[str]:
    """Pairs of regulators with an edge between them whose direction is not known."""
    if results.promised.all():
        return []
    if results.why_none is not None:
        return [paragraph("Edges between regulators have no direction that these data tell: links.csv has the pairs.")]
    text = (
        "Not in the lists: edges between regulators, whose direction these data do not tell. "
        f"{count(len(results.links), 'pair')} of regulators can be named as linked in a list that expects 10% to be "
        "wrong; all pairs are in links.csv."
    )
    names = ("weight_ab", "weight_ba")
    rows = [
        [
            Cell(escape(link.a), "gene"),
            Cell(escape(link.b), "gene"),
            bar(link.probability, probability(link.probability)),
            *(number(getattr(link, name)) for name in names),
        ]
        for link in records(results.links.head(NUM_LINKS))
    ]
    if not rows:
        return [paragraph(text)]
    return [
        paragraph(text),
        table(("a", "b", "probability", "a → b", "b → a"), rows, numeric=("probability", "a → b", "b → a")),
    ]


def number(value: float) -> str:
    """A weight; an edge that may not exist has none."""
    return "–" if np.isnan(value) else f"{value:+.3f}"


def _network(posterior: Posterior, results: Results) -> list[str]:
    caption = (
        "Arrows activate, bars repress; thicker lines are stronger effects, paler ones less certain. Only these edges "
        "are drawn: a gene without a line here may well be regulated."
    )
    likely = results.top[results.top["inclusion"] > 0.5].head(NUM_DRAWN)
    degrees = out_degrees(posterior)
    drawn = (
        network(likely, caption, tfs=set(results.tfs), degrees=degrees)
        if len(likely)
        else paragraph("No edge is more probable than not, so there is no network to draw.")
    )
    note = "The expected number of targets is the sum of the probabilities of a regulator's edges."
    return [drawn, picture(figures.out_degrees(degrees, level=LEVEL), note)]


def _certainty(posterior: Posterior, results: Results) -> list[str]:
    called = (results.inclusion > 0.5) & results.promised
    sure, model = int((called & (results.right > 0.95)).sum()), posterior.model
    wrong = f"{model.story} gets wrong"
    draws = posterior.draws
    if posterior.threshold is not None:
        background = (
            f"This prior has no inclusion variable: inclusion is the probability that the weight exceeds "
            f"{posterior.threshold:g} in size, and depends on that number."
        )
    elif "spike_ratio" in draws:
        width = draws["spike_ratio"].mean()
        background = (
            f"Small effects that are no edges were allowed for, with a learned width ({width:.2g} of that of edges): "
            f"this takes up part of what {wrong}."
        )
    else:
        background = (
            f"Nothing in this model takes up what {wrong}: on real {model.rows} the probabilities can be too certain."
        )
    more = f"{called.sum():,} of {results.promised.sum():,} edges are more probable than not"
    what = "existence and sign together are" if posterior.threshold is None else "the sign is"
    more += f"; for {sure:,} of them {what} 95% certain." if called.any() else "."
    facts = [
        *([] if results.why_none is None else [results.why_none[0].upper() + in_options(results.why_none[1:]) + "."]),
        *trial_facts(posterior),
        *(f"{note[0].upper()}{note[1:]}." for note in map(in_options, posterior.prediction_notes())),
        *([more] if results.promised.any() else []),
        background,
    ]
    if not results.promised.any():
        return [
            listing(facts),
            paragraph("Every gene is a regulator, so no edge has a known direction: see the links."),
        ]
    ends = "; vertical lines mark where lists of 5% and 10% expected false discovery rate end"
    prunes = engine_of(posterior.guide).prunes  # shares of draws, of which no list promises anything
    ends *= any(results.found.values()) and not prunes
    caption = f"First: how many edges have which probability{ends}. Second: probability against strength."
    overview = figures.inclusion_overview(
        results.inclusion[results.promised],
        results.weight[results.promised],
        threshold=posterior.threshold,
        rates=tuple(results.listed),
        unit=model.weight_unit,
    )
    return [listing(facts), panels(overview, caption)]


# -- whether to believe it ----


def _against(results: Results, truth: pd.DataFrame) -> list[str]:
    """Scores against a known network; the fit is done, so a truth that does not fit is said and not raised."""
    edges = results.table()
    try:
        scores = score_edges(edges, truth, restrict_to_truth_regulators=True)
        pairs = align(edges, truth, restrict_to_truth_regulators=True)
    except ValueError as error:
        return [paragraph(f"The known network could not be compared: {error}")]
    shown = {
        "average precision": "average_precision",
        "average precision over chance": "average_precision_ratio",
        "area under ROC curve": "auroc",
        f"precision of the top {int(pairs.true.sum()):,}": "early_precision",  # as many as there are true edges
        "share of true edges (chance)": "base_rate",
    }
    paragraphs = [paragraph(f"Over {scores.matching}; regulators without any known edge are left out.", "soft")]
    if pairs.inclusion is None:
        return [tiles({name: f"{scores[key]:.3f}" for name, key in shown.items()}), *paragraphs]
    shown["calibration error"] = "ece"
    values = {name: f"{scores[key]:.3f}" for name, key in shown.items()}
    found = _listed(results, truth) if results.listed else np.zeros(1, dtype=bool)
    if found.any():
        values["known among the edges at 5% expected FDR"] = f"{pairs.true[found].mean():.3f}"
    caption = (
        "Of the pairs rated 0.8, 80% should be true edges. Points below the grey bars: too certain; above: too "
        "doubtful. A known network that is incomplete makes every method look too certain."
    )
    return [
        tiles(values),
        *paragraphs,
        picture(figures.reliability_diagram(pairs.inclusion, pairs.true), caption),
    ]


def _listed(results: Results, truth: pd.DataFrame) -> np.ndarray:
    """Which of the pairs compared are in the list at 5%."""
    source, target = results.listed[RATES[0]]
    named = pd.DataFrame(
        {"source": np.asarray(results.tfs)[source], "target": np.asarray(results.genes)[target], "inclusion": 1.0}
    )
    edges = results.table().drop(columns="inclusion").merge(named, on=["source", "target"], how="left")
    pairs = align(edges.fillna({"inclusion": 0.0}), truth, restrict_to_truth_regulators=True)
    assert pairs.inclusion is not None, "there are probabilities"
    return np.asarray(pairs.inclusion > 0.5)


# -- the small print ----


def _references(posterior: Posterior) -> list[str]:
    prior = posterior.model.edge_prior.family
    entries = [
        f"This software: The PyroGRN developers, pyrogrn {version('pyrogrn')}.",
        f"The model, {posterior.model.name}: {posterior.model.reference}.",
    ]
    if engine_of(posterior.guide).learns_on_simulations:
        entries.append("Its guide, GLAD and GRNULar: Shrivastava et al. 2020, ICLR; 2022, J Comput Biol 29:27.")
        entries.append("The cells it learned on, SERGIO: Dibaeinia & Sinha 2020, Cell Systems 11:252.")
    if prior.reference:
        entries.append(f"Its prior on edges, {prior.reference}.")
    return [
        *entries,
        "Local false sign rate: Stephens 2017, Biostatistics 18:275. R-hat: Vehtari et al. 2021, Bayesian Anal 16:667.",
        "Pyro: Bingham et al. 2019, J Mach Learn Res 20:28. Cite the data and the sources of prior knowledge too.",
    ]


def _made(posterior: Posterior, command: str) -> list[str]:
    prior = posterior.model.edge_prior
    kind, family = type(prior).__name__, type(prior.family).__name__
    kind = kind if prior.family is prior else f"{kind}({family})"
    return made(
        posterior,
        command,
        {"edge prior": f"{kind}, prior knowledge by {prior.strategy}" if posterior.model.given_sources else kind},
    )


class NetworkReport(ReportKind):
    """Of networks: `NetworkTables` and `write_report`."""

    def tables(
        self,
        posterior: Posterior,
        data: ExpressionData | None,
        *,
        level: float,
        gene_sets: GeneSets | None = None,
        min_overlap: int = 5,
        all_edges: bool = False,
    ) -> NetworkTables:
        return NetworkTables(posterior, level, all_edges)

    def page(
        self,
        posterior: Posterior,
        path: Place,
        *,
        data: ExpressionData | None,
        diagnostics: pd.DataFrame | None,
        alignment: Mapping[str, AlignmentReport],
        command: str,
        truth: pd.DataFrame | None,
        predictive: Predictive,
        tables: Any,
    ) -> None:
        write_report(
            posterior,
            path,
            data=data,
            diagnostics=diagnostics,
            alignment=alignment,
            command=command,
            truth=truth,
            predictive=predictive,
        )


__all__: Sequence[str] = ("out_degrees", "write_report")

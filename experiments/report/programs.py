"""report.html of gene programs: what they are, how sure each gene is, and whether to believe it."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from ...inference import Posterior
from ...inference.answers.set_standing import LARGEST
from ...inference.draws.intervals import LEVEL
from ...inference.points import is_point
from ...models import ExpressionData
from ...priors import AlignmentReport
from ..figures import programs as program_figures
from .kind import Place, Predictive, ReportKind, asked, put
from .next_steps import program_steps
from .page import Cell, badge, glossary, listing, page, paragraph, section, table, tiles
from .parts import (
    count,
    diagnostics_section,
    made,
    notes_on_data,
    predictions_section,
    records,
    trust_badges,
)
from .pictures import panels, picture
from .points import known_columns, point_verdict
from .program_overview import MAX_LFSR, cut_name, glance, name_cell, top_genes
from .program_tables import GeneSets, ProgramTables
from .program_trust import trust_section

MIN_SHARE, MAX_FDR = 0.01, 0.05
OFF_UNIT = 2.0  # times off one the sd of scores is said: it is below one where scores are not sure, too


def write_program_report(
    posterior: Posterior,
    path: Place,
    *,
    data: ExpressionData | None,
    diagnostics: pd.DataFrame | None,
    alignment: Mapping[str, AlignmentReport],
    command: str,
    tables: ProgramTables | None,
    predictive: Predictive = None,
) -> None:
    """Write the report: one self-contained HTML file with its figures inside, no script and no link to the outside.

    Parameters
    ----------
    posterior
        The fit of a factor model.
    path
        File to write; it is replaced only when the new one is complete.
    data
        The cells, for their numbers and groups; None: left out.
    diagnostics
        `Posterior.diagnose`: ``check, value, threshold, passed, meaning``; None: not run, and the report says so.
    alignment
        What became of each gene-set library, by name.
    command
        What was run.
    tables
        What was found (`ProgramTables.collect`); None: the fit diverged, and the report says so.
    predictive
        Observed values (n,) and posterior predictive draws of them (draws, n): adds the predictive check.

    Raises
    ------
    ValueError
        The file cannot be written.
    """
    elsewhere = _elsewhere(tables)  # by the names of sets, which labels take the place of
    if tables is not None:
        tables = tables.labelled()
    parts = [("result", "Result", _verdict(posterior, tables, diagnostics))]
    if tables is not None:
        parts += [
            ("programs", "Programs at a glance", glance(tables)),
            ("genes", "Top genes of each program", top_genes(tables)),
        ]
        if tables.gene_sets is not None:
            parts.append(("sets", "Gene sets, repaired", _repaired(tables, tables.gene_sets, elsewhere)))
            parts.append(("trust", "Trust in each library", trust_section(posterior, tables)))
        if tables.covariate_effects is not None:
            parts.append(("covariates", "Covariates", _covariates(tables, tables.covariate_effects)))
        if tables.enrichment is not None:
            parts.append(
                ("enrichment", "What the programs without a gene set resemble", _enrichment(tables.enrichment))
            )
        if tables.scores is not None:
            parts.append(("scores", "Programs in the cells", _scores(tables, tables.scores, data)))
    parts.append(("diagnostics", "Can the fit be trusted?", diagnostics_section(posterior, diagnostics)))
    checked = asked(predictive)
    if checked is not None and tables is not None:
        parts.append(("predictions", "Does the model describe the data?", predictions_section(*checked)))
    if tables is not None:
        first = tables.programs["gene"].iloc[int(tables.programs["loading"].abs().to_numpy().argmax())]
        parts.append(("next", "What next", program_steps(posterior, str(first))))
    parts.append(("input", "What went in", _input(posterior, data, alignment)))
    level = LEVEL if tables is None else tables.level
    prior = type(posterior.model.edge_prior).__name__
    columns = known_columns(_columns(level)) if is_point(posterior) else _columns(level)
    parts += [
        ("columns", "How to read the columns", [glossary(columns)]),
        ("cite", "How to cite", [listing(_references(posterior))]),
        ("run", "How this was made", made(posterior, command, {"loading prior": prior})),
    ]
    links = "".join(f'<a href="#{anchor}">{escape(title)}</a>' for anchor, title, _ in parts)
    coords = posterior.coords
    size = f"{count(len(coords['factor']), 'program')}, {count(len(coords['gene']), 'gene')}"
    head = f"<h1>Gene programs: {escape(size)}</h1>\n<nav>{links}</nav>"
    body = "\n".join([head, *(section(anchor, title, *content) for anchor, title, content in parts)])
    put(page("Gene programs", body), path)


class ProgramReport(ReportKind):
    """Of gene programs: `ProgramTables` and `write_program_report`."""

    def check(self, truth: pd.DataFrame | None) -> None:
        if truth is not None:
            raise ValueError("`truth` is a network, and this fit has programs: leave it out")

    def tables(
        self,
        posterior: Posterior,
        data: ExpressionData | None,
        *,
        level: float,
        gene_sets: GeneSets | None = None,
        min_overlap: int = 5,
        all_edges: bool = False,
    ) -> ProgramTables:
        return ProgramTables.collect(posterior, data, level=level, gene_sets=gene_sets, min_overlap=min_overlap)

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
        write_program_report(
            posterior,
            path,
            data=data,
            diagnostics=diagnostics,
            alignment=alignment,
            command=command,
            tables=tables,
            predictive=predictive,
        )


# -- what was found ----


def _verdict(posterior: Posterior, tables: ProgramTables | None, diagnostics: pd.DataFrame | None) -> list[str]:
    """The answer in one sentence of plain words, and the badges."""
    if tables is None:
        reason = posterior.history.reason
        text = f"No result: the fit {reason}. Use nothing of it; normalise the data or look for extreme values in them."
        return [f'<p class="lead"><strong>{escape(text)}</strong></p>', badge("no result", False)]
    if is_point(posterior):
        return point_verdict(posterior, tables.programs["loading"], diagnostics)
    share = tables.importance()
    strong = share[share > MIN_SHARE].index
    sure = tables.programs[tables.programs["lfsr"] < MAX_LFSR]
    named = sure[sure["program"].isin(strong)]
    split = any(len(posterior.coords[axis]) > 1 for axis in ("view", "context"))
    where = " in a view or group" if split else ""
    if len(strong):
        one = len(strong) == 1
        text = (
            f"{count(len(strong), 'program')} of {len(share)} {'explains' if one else 'explain'} more than "
            f"{MIN_SHARE:.0%} of the variance{where}; {'it names' if one else 'together they name'} "
            f"{count(len(named['gene'].unique()), 'gene')} at a false sign rate below {MAX_LFSR:.0%}"
        )
    else:
        text = (
            f"No program explains more than {MIN_SHARE:.0%} of the variance{where}: the largest of {len(share)} "
            f"explains {share.iloc[0]:.2%}"
        )
    sets = tables.standings
    other, single, empty = (
        sum(getattr(one, kind) for one in sets.values()) for kind in ("minority", "single", "empty")
    )
    wrong = [
        (other, "mostly other genes"),
        (single, "one gene alone, which may be its noise"),
        (empty, "no gene: these cells do not show them"),
    ]
    if other or single or empty:
        told = ", ".join(f"{n} {'holds' if n == 1 else 'hold'} {what}" for n, what in wrong if n)
        text += f"; of {count(len(sets), 'program')} named after a gene set, {told}"
    failed, checked, engine, advice = trust_badges(posterior, diagnostics)
    good = len(strong) > 0 and len(named) > 0 and failed == []
    found = badge(f"{count(len(strong), 'program')} above {MIN_SHARE:.0%} of variance", True if good else None)
    genes = badge(f"{count(len(named), 'loading')} at {MAX_LFSR:.0%} lfsr", True if good else None)
    caution = (
        "A program is a set of genes that rise and fall together in a linear model: evidence of a shared cause, "
        "not proof of one. Programs without a gene set have no sign of their own: which end is positive is arbitrary."
    )
    sentence = f"<strong>{escape(text)}</strong>{escape(advice)}."
    badges = f"<div>{found}{genes}{checked}{engine}</div>"
    return [f'<p class="lead">{sentence}</p>', badges, paragraph(caution, "soft")]


def _repaired(tables: ProgramTables, sets: pd.DataFrame, elsewhere: Sequence[str]) -> list[str]:
    number = sets["status"].value_counts()
    totals = {
        "genes kept": f"{number.get('kept', 0):,}",
        "genes removed": f"{number.get('removed', 0):,}",
        "genes added": f"{number.get('added', 0):,}",
    }
    order = [name for name in tables.importance().index if (sets["program"] == name).any()]
    rows = []
    for name in order[:40]:
        part = sets[sets["program"] == name]
        many = part["status"].value_counts()
        rows.append(
            [
                name_cell(name),
                *(f"{many.get(status, 0):,}" for status in ("kept", "removed", "added")),
                f"{tables.standings[name].largest}",
                Cell(escape(_some_genes(part, "added")), "wide"),
                Cell(escape(_some_genes(part, "removed")), "wide"),
            ]
        )
    of_set = f"of the {LARGEST} largest, in the set"
    header = ("program", "kept", "removed", "added", of_set, "most probable additions", "least probable members")
    intro = (
        "Gene sets are lists made elsewhere. Here each is compared with these cells: genes of the set that do not move "
        "with the program are removed, genes outside it that do are added. In brackets, the probability that the "
        "gene belongs to the program. A program that holds more genes from outside its set than of it is called "
        "mostly not that set: read its genes, and not the name. All genes are in gene_sets.csv."
    )
    if any(one.empty for one in tables.standings.values()):
        intro += (
            " A program without a gene is one that these cells do not show: its set is removed as a whole, and nothing "
            "is said of single genes."
        )
    if any(one.single for one in tables.standings.values()):
        intro += " A program of one gene is no program: what one gene does by itself may as well be its noise."
    shown = table(header, rows, numeric=("kept", "removed", "added", of_set))
    return [paragraph(intro), listing(elsewhere), tiles(totals), shown]


def _elsewhere(tables: ProgramTables | None) -> list[str]:
    """Sets whose genes do move together, in a program that has not their name: nothing of them is to be removed.
    ``tables`` as they were made, before labels."""
    if tables is None:
        return []
    standing = tables.standings
    return [
        f"{name}: these cells have this set, as {program}, a program that was found without a set (AUC {auc:.2f}). The "
        f"program called {standing[name].label(name)} has hardly any of its genes: take {program} for it, and none of "
        "its genes for removed."
        for name, (program, auc) in tables.elsewhere.items()
    ]


def _some_genes(part: pd.DataFrame, status: str, number: int = 6) -> str:
    chosen = part[part["status"] == status].sort_values("probability", ascending=status == "removed", kind="stable")
    told = lambda row: row.gene if np.isnan(row.probability) else f"{row.gene} ({row.probability:.2f})"
    return ", ".join(told(row) for row in records(chosen.head(number))) or "–"


def _covariates(tables: ProgramTables, effects: pd.DataFrame) -> list[str]:
    sure = effects[effects["lfsr"] < MAX_LFSR]
    rows = []
    for name in dict.fromkeys(effects["covariate"]):
        kinds = sure[sure["covariate"] == name]["kind"].value_counts()
        strongest = effects[(effects["covariate"] == name) & (effects["kind"] == "gene")]
        strongest = strongest.reindex(strongest["effect"].abs().sort_values(ascending=False, kind="stable").index).head(
            5
        )
        text = ", ".join(f"{row.name} ({row.effect:+.2f})" for row in records(strongest))
        kind = [f"{kinds.get(k, 0):,}" for k in ("program", "gene")]
        rows.append([Cell(escape(str(name)), "gene"), *kind, Cell(escape(text or "–"), "wide")])
    header = ("covariate", "programs changed", "genes changed", "strongest direct effects on genes")
    intro = (
        "A covariate acts on a gene directly, or through a program: the two are estimated together, so neither takes "
        f"the credit of the other. Changed: false sign rate below {MAX_LFSR:.0%}. All are in covariate_effects.csv."
    )
    drawn = program_figures.covariate_forest(effects, level=tables.level)
    caption = "Dots: posterior mean; lines: interval. Blue: rises with the covariate; orange: falls."
    return [paragraph(intro), table(header, rows, numeric=header[1:3]), panels(drawn, caption)]


def _enrichment(enrichment: pd.DataFrame) -> list[str]:
    rows = []
    for name in dict.fromkeys(enrichment["program"]):
        part = enrichment[(enrichment["program"] == name) & (enrichment["fdr"] < MAX_FDR)]
        if part.empty:
            rows.append([name_cell(name), "no set at 5% false discovery rate", "", "", "", ""])
        for i, row in enumerate(records(part.head(5))):
            rows.append(
                [
                    name_cell(name, again=i > 0),
                    Cell(escape(cut_name(row.set)), "wide"),
                    f"{row.genes:,}",
                    f"{row.auc:.2f}",
                    f"{row.fdr:.2g}",
                    row.direction,
                ]
            )
    intro = (
        "Rank test of every gene set in every program that was found without one: AUC is the chance that a gene of the "
        "set has a larger loading than a gene outside it; 0.5 is chance. At most five sets a program; all are in "
        "enrichment.csv. Genes of a set move together, so small rates are a ranking more than a proof."
    )
    header = ("program", "gene set", "genes", "AUC", "fdr", "direction")
    return [paragraph(intro), table(header, rows, numeric=("genes", "AUC", "fdr"))]


def _scores(tables: ProgramTables, scores: pd.DataFrame, data: ExpressionData | None) -> list[str]:
    names = list(tables.importance().index)
    groups = None
    if data is not None and data.context is not None and data.num_contexts > 1:
        labels = np.asarray(data.context_names, dtype=object)[data.context.cpu().numpy()]
        groups = pd.Series(labels, index=scores.index)
    intro = (
        "A score says how active a program is in a cell, in standard deviations of the program; scores.csv.gz has all."
    )
    by = ", by group" if groups is not None else ""
    content = [paragraph(intro + _units(tables.importance(), scores))]
    if len(names) > 1:
        drawn = program_figures.scores_scatter(scores, (names[0], names[1]), groups)
        content.append(picture(drawn, f"The two programs that explain most: the score of each cell{by}."))
    drawn = program_figures.scores_by_group(scores, names[:12], groups)
    content.append(picture(drawn, f"How the scores of the most important programs spread over the cells{by}."))
    return content


def _units(importance: pd.Series, scores: pd.DataFrame) -> str:
    """Where cells differ by far less, or more, than the unit of a score, that they do: its loadings are per unit."""
    spread = scores[importance.index[importance > MIN_SHARE]].std()
    if not len(off := spread[(spread < 1 / OFF_UNIT) | (spread > OFF_UNIT)]):
        return ""
    told = ", ".join(f"{name} {value:.2f}" for name, value in off.head(4).items())
    return (
        f" In these cells the standard deviation of scores is not 1 but: {told}{', …' if len(off) > 4 else ''}. "
        "Loadings are the change of a gene by one unit of the score; times this number, by one standard deviation of "
        "the cells."
    )


# -- what went in ----


def _input(posterior: Posterior, data: ExpressionData | None, alignment: Mapping[str, AlignmentReport]) -> list[str]:
    coords = posterior.coords
    numbers = {} if data is None else {posterior.model.rows: f"{data.num_cells:,}"}
    numbers |= {"genes": f"{len(coords['gene']):,}", "programs": f"{len(coords['factor']):,}"}
    numbers |= {"views": f"{len(coords['view'])}", "groups of cells": f"{len(coords['context'])}"}
    numbers |= {"covariates": f"{len(coords['covariate'])}", "gene-set libraries": f"{len(coords['source'])}"}
    content = [tiles(numbers)]
    notes = notes_on_data(posterior, data)
    if notes:
        content += ["<h3>Expression: what was recognised, changed and dropped</h3>", listing(notes)]
    if coords["covariate"]:
        content.append(paragraph(f"Covariates: {', '.join(coords['covariate'])}."))
    if data is not None and data.view is not None and len(coords["view"]) > 1:
        genes = np.bincount(data.view.cpu().numpy(), minlength=len(data.view_names))
        rows = [[name, f"{n:,}"] for name, n in zip(data.view_names, genes, strict=True)]
        content += ["<h3>Genes by view</h3>", table(("view", "genes"), rows, numeric=("genes",))]
    if data is not None and data.context is not None:
        cells = np.bincount(data.context.cpu().numpy(), minlength=data.num_contexts)
        rows = [[name, f"{n:,}"] for name, n in zip(data.context_names, cells, strict=True)]
        content += ["<h3>Cells by group</h3>", table(("group", "cells"), rows, numeric=("cells",))]
    if alignment:
        header = ("library", "sets used", "memberships listed", "used", "gene not in data")
        rows, examples = [], []
        for name, report in alignment.items():
            values = (report.sources_matched, report.edges_in, report.edges_out, report.dropped_unknown_target)
            rows.append([Cell(escape(name), "gene"), *(f"{value:,}" for value in values)])
            if report.unknown_targets:
                examples.append(f"{name}: not in the data are, for example, {', '.join(report.unknown_targets)}")
        content += ["<h3>Gene sets: what matched the data</h3>", table(header, rows, numeric=header[1:])]
        content.append(listing(examples))
    return content


# -- the small print ----


def _columns(level: float) -> dict[str, str]:
    return {
        "program": "The name of its gene set, or factor_1, factor_2, … for programs found without one. Mostly not SET: "
        "it began with that set, and holds more genes from outside it.",
        "loading": "Posterior mean: by how much the gene changes when the score of the program rises by one, its "
        "standard deviation a priori. In units of the gene's own standard deviation where genes were standardised "
        "(muvi does).",
        "sd": "Posterior standard deviation of the loading.",
        "lower, upper": f"The loading lies between them with a probability of {level:.0%}, given the model.",
        "sign_probability": "Probability that the gene rises (or falls) with the program, given that it belongs to it.",
        "lfsr": "Local false sign rate: probability that the loading is absent or has the other sign. Small is good.",
        "prior": "Largest confidence that any library has in the gene as a member; 0 where none lists it.",
        "variance_explained": "Share of the variance of a view's genes, in a group of cells, due to the program.",
        "kept, removed, added": "A gene of the set that belongs to the program in these cells; one that does not; a "
        "gene outside the set that does.",
        "auc, fdr": "Of the enrichment test: chance that a member has a larger loading than a non-member; false "
        "discovery rate over all tests (Benjamini & Hochberg).",
        "score": "How active a program is in a cell: posterior mean, with its sd.",
    }


def _references(posterior: Posterior) -> list[str]:
    entries = [
        f"This software: The PyroGRN developers, pyrogrn {version('pyrogrn')}.",
        f"The model, {posterior.model.name}: {posterior.model.reference}.",
    ]
    if posterior.model.edge_prior.reference:
        entries.append(f"Its prior on loadings, {posterior.model.edge_prior.reference}.")
    return [
        *entries,
        "Local false sign rate: Stephens 2017, Biostatistics 18:275. R-hat: Vehtari et al. 2021, Bayesian Anal 16:667. "
        "False discovery rate: Benjamini & Hochberg 1995, J R Stat Soc B 57:289.",
        "Pyro: Bingham et al. 2019, J Mach Learn Res 20:28. Cite the data and the gene-set libraries too.",
    ]

"""What a fit says of one gene: of a network its regulators, targets, and what its knock-out does; of gene programs
those that it belongs to.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..inference import Posterior
from ..inference.answers.named_genes import check_measured
from ..inference.answers.promise import directed_edges
from ..inference.answers.tables import unsettled_note
from ..inference.draws.intervals import LEVEL
from ..inference.draws.layout import has_edges
from ..inference.points import is_point
from ..models.data.checks import some
from .figures.knockouts import most_changed
from .files.network_tables import WORTH_READING
from .signs import sign_word
from .wording import in_options


@dataclass(frozen=True)
class GenePage:
    """Tables of one ``gene``: ``regulators`` and ``targets`` (rows of `Posterior.edges`), ``knockout`` (rows of
    `Posterior.predict`, None where it regulates nothing here or the model does not predict), ``notes`` on it, the
    ``unit`` of effects, and whether they are a ``point`` estimate without probabilities."""

    gene: str
    level: float
    regulators: pd.DataFrame
    targets: pd.DataFrame
    knockout: pd.DataFrame | None
    notes: tuple[str, ...]
    unit: str
    point: bool = False

    def to_records(self) -> dict[str, Any]:
        """For JSON: what is not finite is null."""
        knockout = None if self.knockout is None else _plain(self.knockout)
        tables = {"regulators": _plain(self.regulators), "targets": _plain(self.targets), "knockout": knockout}
        return {"gene": self.gene, "level": self.level, **tables, "notes": list(self.notes)}

    def lines(self) -> list[str]:
        """For a terminal."""
        found = [self.gene]
        for title, table, other in (
            ("regulated by", self.regulators, "source"),
            ("regulates", self.targets, "target"),
        ):
            sure = "" if self.point else f", {self.level:.0%} interval, probability that the edge exists"
            found += ["", f"{title} (effect: {self.unit}{sure})"]
            none = "  nothing" if self.point else f"  nothing with a probability of at least {WORTH_READING:g}"
            found += [_edge_line(row, other) for row in table.to_dict("records")] or [none]
        if self.knockout is not None:
            found += ["", f"knocked out: the surest changes ({self.level:.0%} interval, in units of the data)"]
            found += [_change_line(row) for row in self.knockout.to_dict("records")] or [
                "  no other gene moves in a direction that is known"
            ]
        return [*found, *(f"note: {in_options(note)}" for note in self.notes)]


@dataclass(frozen=True)
class ProgramPage:
    """Of one ``gene`` rows of `Posterior.programs`, and of `Posterior.covariate_effects` the ``effects`` on it."""

    gene: str
    level: float
    programs: pd.DataFrame
    effects: pd.DataFrame

    def to_records(self) -> dict[str, Any]:
        """For JSON: what is not finite is null."""
        tables = {"programs": _plain(self.programs), "covariate_effects": _plain(self.effects)}
        return {"gene": self.gene, "level": self.level, **tables}

    def lines(self) -> list[str]:
        """For a terminal."""
        point = bool(self.programs["lower"].isna().all())
        sure = "" if point else f", {self.level:.0%} interval, false sign rate"
        found = [self.gene, "", f"in the programs (loading: change of the gene per sd of the program{sure})"]
        width = max([30, *map(len, self.programs["program"].astype(str))])
        found += [_program_line(row, width) for row in self.programs.to_dict("records")]
        if len(self.effects):
            found += ["", f"changed directly by (effect per unit of the covariate{sure})"]
            found += [_change("covariate", "effect", row) for row in self.effects.to_dict("records")]
        return found


def _plain(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.astype(object).where(table.notna(), None).to_dict("records")


def _program_line(row: dict[Any, Any], width: int) -> str:
    return _change("program", "loading", row, width) + (
        f"  in its gene set: {row['prior']:.2f}" if row["prior"] > 0 else ""
    )


def _change(name: str, value: str, row: dict[Any, Any], width: int = 30) -> str:
    sure = "" if np.isnan(row["lower"]) else f"  {row['lower']:+.2f} to {row['upper']:+.2f}  {row['lfsr']:.3f}"
    return f"  {row[name]!s:<{width}} {row[value]:+.2f}{sure}"


def _edge_line(row: dict[Any, Any], other: str) -> str:
    sign = sign_word(row["weight"])
    interval = "" if np.isnan(row["lower"]) else f"  {row['lower']:+.2f} to {row['upper']:+.2f}"
    sure = "" if np.isnan(row["inclusion"]) else f"  {row['inclusion']:.3f}"
    listed = f"  prior {row['prior']:.2f}" if row["prior"] > 0 else ""
    return f"  {row[other]!s:<16} {sign}  {row['weight']:+.2f}{interval}{sure}{listed}"


def _change_line(row: dict[Any, Any]) -> str:
    change, low, high = (row[name] - row["control"] for name in ("mean", "lower", "upper"))
    return f"  {row['gene']!s:<16} {change:+.3g}  {low:+.3g} to {high:+.3g}"  # levels may be thousandths


def _undirected(posterior: Posterior, shown: pd.DataFrame) -> list[str]:
    """That some of the edges shown may go the other way."""
    directed = directed_edges(posterior)
    row, column = ({name: i for i, name in enumerate(posterior.coords[axis])} for axis in ("tf", "target"))
    pairs = zip(shown["source"], shown["target"], strict=True)
    found = [sorted(pair) for pair in pairs if not directed[row[pair[0]], column[pair[1]]]]
    loose = list(dict.fromkeys(f"{one} and {other}" for one, other in found))  # an edge and its reverse are one link
    if not loose:
        return []
    return [f"between regulators the data do not tell the direction: {some(loose, 3)} are linked, one way or the other"]


def gene_page(
    posterior: Posterior,
    gene: str,
    *,
    top: int = 10,
    context: str | None = None,
    level: float = LEVEL,
    num_draws: int = 200,
) -> GenePage | ProgramPage:
    """Regulators and targets of a gene, the most probable first, those below 0.05 left out, and what knocking it out
    changes; of gene programs, its largest loadings and what covariates do to it.

    Parameters
    ----------
    posterior
        Any fit.
    gene
        A gene of the fit.
    top
        Rows of each table. Default 10.
    context, level
        As of `Posterior.edges`.
    num_draws
        Draws of the prediction. Default 200.

    Raises
    ------
    ValueError
        A gene that is not in the fit; a context of gene programs.
    """
    check_measured([gene], posterior.model.genes)
    if not has_edges(posterior.model):
        if context is not None:
            raise ValueError("programs have the same genes in all groups: leave out `context=`")
        return _program_page(posterior, gene, top=top, level=level)
    edges = posterior.edges(level=level, context=context)
    edges = edges[~(edges["inclusion"] < WORTH_READING) & (edges["weight"] != 0)]  # of a point estimate all but zeros
    regulators = edges[edges["target"] == gene].head(top).reset_index(drop=True)
    targets = edges[edges["source"] == gene].head(top).reset_index(drop=True)
    knockout, notes = None, _undirected(posterior, pd.concat([regulators, targets]))
    if gene in posterior.coords["tf"]:
        try:
            table = posterior.predict(knockout=[gene], context=context, level=level, num_draws=num_draws)
            if np.isfinite(table["mean"]).any():
                knockout = most_changed(table, top, [gene]).reset_index(drop=True)
            unsettled = unsettled_note(table)
            notes += [*posterior.prediction_notes(), *([] if unsettled is None else [unsettled])]
        except ValueError as error:  # a model that answers no knock-outs says why
            notes.append(str(error))
    else:
        notes += ["it was no candidate regulator, so the run does not say what it regulates"]
    return GenePage(
        gene, level, regulators, targets, knockout, tuple(notes), posterior.model.weight_unit, is_point(posterior)
    )


def _program_page(posterior: Posterior, gene: str, *, top: int, level: float) -> ProgramPage:
    table = posterior.programs(level=level)
    own = table[table["gene"] == gene]
    own = own.reindex(own["loading"].abs().sort_values(ascending=False, kind="stable").index).head(top)
    effects = table.head(0).assign(covariate="", effect=0.0)
    if posterior.coords["covariate"]:
        effects = posterior.covariate_effects(level=level)
        effects = effects[(effects["kind"] == "gene") & (effects["name"] == gene)]
    return ProgramPage(gene, level, own.reset_index(drop=True), effects.reset_index(drop=True))

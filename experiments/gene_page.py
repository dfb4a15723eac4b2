"""What a fit says of one gene: regulators, targets, and what its knock-out does."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..inference import Posterior
from ..inference.answers.named_genes import check_measured
from ..inference.answers.promise import directed_edges
from ..inference.draws.intervals import LEVEL
from ..inference.draws.layout import has_edges
from ..models.data.checks import some
from .figures.knockouts import most_changed
from .files.network_tables import WORTH_READING


@dataclass(frozen=True)
class GenePage:
    """Tables of one ``gene``: ``regulators`` and ``targets`` (rows of `Posterior.edges`), ``knockout`` (rows of
    `Posterior.predict`, None where it regulates nothing here or the model does not predict), ``notes`` on it."""

    gene: str
    level: float
    regulators: pd.DataFrame
    targets: pd.DataFrame
    knockout: pd.DataFrame | None
    notes: tuple[str, ...]

    def to_records(self) -> dict[str, Any]:
        """For JSON: what is not finite is null."""
        plain = lambda table: table.astype(object).where(table.notna(), None).to_dict("records")
        knockout = None if self.knockout is None else plain(self.knockout)
        tables = {"regulators": plain(self.regulators), "targets": plain(self.targets), "knockout": knockout}
        return {"gene": self.gene, "level": self.level, **tables, "notes": list(self.notes)}

    def lines(self) -> list[str]:
        """For a terminal."""
        found = [self.gene]
        for title, table, other in (
            ("regulated by", self.regulators, "source"),
            ("regulates", self.targets, "target"),
        ):
            found += ["", f"{title} (effect in sd, {self.level:.0%} interval, probability that the edge exists)"]
            none = f"  nothing with a probability of at least {WORTH_READING:g}"
            found += [_edge_line(row, other) for row in table.to_dict("records")] or [none]
        if self.knockout is not None:
            found += ["", f"knocked out: the surest changes ({self.level:.0%} interval, in units of the data)"]
            found += [_change_line(row) for row in self.knockout.to_dict("records")] or ["  nothing else moves"]
        return [*found, *(f"note: {note}" for note in self.notes)]


def _edge_line(row: dict[Any, Any], other: str) -> str:
    sign = "activates" if row["weight"] >= 0 else "represses"
    interval = "" if np.isnan(row["lower"]) else f"  {row['lower']:+.2f} to {row['upper']:+.2f}"
    sure = "" if np.isnan(row["inclusion"]) else f"  {row['inclusion']:.3f}"
    listed = f"  prior {row['prior']:.2f}" if row["prior"] > 0 else ""
    return f"  {row[other]!s:<16} {sign}  {row['weight']:+.2f}{interval}{sure}{listed}"


def _change_line(row: dict[Any, Any]) -> str:
    change, low, high = (row[name] - row["control"] for name in ("mean", "lower", "upper"))
    return f"  {row['gene']!s:<16} {change:+.3f}  {low:+.3f} to {high:+.3f}"


def _undirected(posterior: Posterior, shown: pd.DataFrame) -> list[str]:
    """That some of the edges shown may go the other way."""
    directed = directed_edges(posterior)
    row, column = ({name: i for i, name in enumerate(posterior.coords[axis])} for axis in ("tf", "target"))
    pairs = zip(shown["source"], shown["target"], strict=True)
    loose = [f"{s} and {t}" for s, t in pairs if not directed[row[s], column[t]]]
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
) -> GenePage:
    """Regulators and targets of a gene, the most probable first, those below 0.05 left out, and what knocking it out
    changes.

    Parameters
    ----------
    posterior
        A fit of a network.
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
        Gene programs, or a gene that is not in the fit.
    """
    if not has_edges(posterior.model):
        raise ValueError("this run has gene programs and no edges: posterior.programs() says in which a gene is")
    check_measured([gene], posterior.model.genes)
    edges = posterior.edges(level=level, context=context)
    edges = edges[~(edges["inclusion"] < WORTH_READING)]  # of a point estimate none is left out
    regulators = edges[edges["target"] == gene].head(top).reset_index(drop=True)
    targets = edges[edges["source"] == gene].head(top).reset_index(drop=True)
    knockout, notes = None, _undirected(posterior, pd.concat([regulators, targets]))
    if gene in posterior.coords["tf"]:
        try:
            table = posterior.predict(knockout=[gene], context=context, level=level, num_draws=num_draws)
            knockout = most_changed(table, top, [gene]).reset_index(drop=True)
            notes += posterior.prediction_notes()
        except ValueError as error:  # a model that answers no knock-outs says why
            notes.append(str(error))
    else:
        notes += ["it was no candidate regulator, so the run does not say what it regulates"]
    return GenePage(gene, level, regulators, targets, knockout, tuple(notes))

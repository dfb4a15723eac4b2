"""Before a fit, in words: what the numbers look like, what was done to them, and which method is for such data."""

from collections.abc import Callable, Collection
from typing import NamedTuple, TypeAlias

import numpy as np

from ..inference.amortised import KINDS
from ..models import ExpressionData
from ..models.data.scale import COUNTS, LEVELS, Scale, scale_before, scale_findings
from .files.column_words import PERTURBATION, TIME, says
from .files.scale_notes import expects_of

AUTO = "auto"
Named: TypeAlias = Callable[[str], str]
"""An option by its words, as it is typed or passed."""
MANY_GENES = 3000  # of a file that is not yet restricted: most vary little, and time and memory grow with all
ROWS_A_GENE = 6  # perturbed in as many rows or fewer, a gene is knocked down in a condition, not in single cells
MANY_ZEROS = 0.5


class Suggestion(NamedTuple):
    """A method, and why it is for these data."""

    method: str
    why: str

    def __str__(self) -> str:
        return f"{self.method}: {self.why}"


def suggested(
    data: ExpressionData | None,
    *,
    inputs: bool = False,
    times: bool = False,
    perturbed: bool = False,
    programs: bool = False,
    evidence: bool = False,
) -> Suggestion:
    """The method to begin with, by what is known of the cells.

    Parameters
    ----------
    data
        The cells as they were measured, looked at where perturbations are ``perturbed``; None: not read yet.
    inputs, times, perturbed, programs, evidence
        Whether there are inputs on nodes, times, labels of perturbations, gene sets (or another wish for programs),
        scores measured on edges.
    """
    if inputs:
        return Suggestion("cellbox", "inputs act on the nodes from outside")
    if times:
        return Suggestion("trajectory", "cells have times, and what changes between them says more than levels do")
    if programs:
        return Suggestion("muvi", "gene sets and programs are asked for")
    if evidence:
        return Suggestion("symphony", "there are scores measured on edges")
    if perturbed and data is not None and is_panel(data):
        return Suggestion("factorbox", "most rows are one knock-down each, in un-logged levels")
    if perturbed:
        return Suggestion("linear", "perturbed cells become interventions, which tell directions")
    return Suggestion("linear", "cells without times or perturbations: the one to begin with")


def normalization_for(method: str, asked: str, *, counted: bool = False) -> str:
    """What of ``asked`` goes to `read_expression`: ``auto`` is ``none`` for a method that does not want logarithms, or
    of which the likelihood is of counts (``counted``)."""
    wants = expects_of(method) in ("log", "course") and not counted
    return "none" if asked == AUTO and not wants else asked


def is_panel(data: ExpressionData) -> bool:
    """Whether most rows are conditions with one gene knocked down, few for each gene, in un-logged levels or counts."""
    if data.perturbed is None or not len(data.perturbed):
        return False
    cells, genes = (data.perturbed[:, i].cpu().numpy() for i in (0, 1))
    once = np.bincount(cells, minlength=data.num_cells) == 1
    few = np.median(np.unique(genes, return_counts=True)[1]) <= ROWS_A_GENE
    return bool(once.mean() > 0.5 and few and scale_before(data).kind in (COUNTS, LEVELS))


def preflight(
    data: ExpressionData,
    method: str,
    *,
    expects: str | None = None,
    normalize: str = "none",
    suggestion: Suggestion | None = None,
    used: Collection[str | None] = (),
    in_python: bool = False,
) -> list[str]:
    """Lines for the person who is about to run ``method``; what is wrong is said by `scale_notes`, and not here again.

    Parameters
    ----------
    data
        The cells as they will be fitted.
    method
        Its name on the command line.
    expects
        Scale that it is made for. Default that of its model or engine.
    normalize
        What was asked for.
    suggestion
        `suggested`; said where it is another method.
    used
        Columns of annotations that something was made of.
    in_python
        Name arguments of functions instead of options of the command line. Default False.

    Returns
    -------
    list
        What the numbers look like; whether they are what the method is made for; variable genes; another method;
        columns that nobody has named.
    """
    name: Named = lambda option: option.replace("-", "_") + "=" if in_python else f"--{option} "
    expects = expects or expects_of(method)
    scale, zeros = scale_before(data), share_of_zeros(data)
    lines = [f"the numbers as measured: {scale}, {zeros:.0%} of them zero"]
    if not scale_findings(data, expects):
        done = (
            "as they are" if data.transform is None else f"after {normalize if normalize != AUTO else 'normalisation'}"
        )
        lines.append(f"{method} can take them {done}")
    if data.num_genes > MANY_GENES and method not in KINDS:
        lines.append(
            f"{data.num_genes:,} genes, of which most vary little: {name('top-genes')}2000 keeps the most variable and "
            "the regulators"
        )
    lines += _of_regulators(data, method, scale, zeros, name)
    programs = suggestion is not None and {method, suggestion.method} == {"ppca", "muvi"}  # no gene sets: a choice
    if suggestion is not None and suggestion.method != method and not programs:
        lines.append(f"for such data there is {name('method')}{suggestion}")
    return [*lines, *_unused_columns(data, used, name)]


def share_of_zeros(data: ExpressionData) -> float:
    """Of the values of at most 500 cells."""
    rows = np.arange(data.num_cells)[:: -(-data.num_cells // 500)]
    block = data.rows(rows)
    return float((block == 0).double().mean())


def _of_regulators(data: ExpressionData, method: str, scale: Scale, zeros: float, name: Named) -> list[str]:
    """What dropout and dropped regulators mean to guides that learned on simulations; what it means to name none."""
    dropped = [note for note in data.notes if "candidate regulators among them" in note]
    if method in KINDS and dropped:
        return [
            f"{method} takes the regulators that are left for all there are: without some of them its edges are far "
            "more often wrong, give it a file in which they were measured"
        ]
    if method == "linear" and data.perturbed is None and set(data.genes) <= set(data.tfs):
        return [
            "every gene is a candidate regulator: an edge between regulators has no direction, so there will be links "
            f"and no list of edges; {name('tfs')}names the regulators"
        ]
    if method not in KINDS and scale.kind == COUNTS and zeros > MANY_ZEROS and len(data.tfs) < data.num_genes:
        return ["where all regulators are in the file, grnular reads such counts as they are: compare both"]
    return []


def _unused_columns(data: ExpressionData, used: Collection[str | None], name: Named) -> list[str]:
    """Columns whose names say that they are times or perturbations, and that nobody has named."""
    if data.labels is None:
        return []
    lines = []
    for column in map(str, data.labels.table.columns):
        if column in used or data.labels.table[column].nunique() < 2:
            continue
        if says(column, PERTURBATION) and data.perturbed is None:
            lines.append(
                f"column {column!r} looks like what was perturbed: {name('perturbation-key')}{column} reads it"
            )
        elif says(column, TIME) and data.time is None:
            lines.append(
                f"column {column!r} looks like a time: {name('time-key')}{column} reads it, of method trajectory"
            )
    return lines

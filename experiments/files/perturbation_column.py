"""The column of a file that says what was perturbed in each cell, as the command line takes it."""

from collections.abc import Collection, Sequence

import pandas as pd

from ...models import ExpressionData
from ...priors.perturbation_labels import PerturbationLabels, UnmatchedLabels, read_labels
from ...priors.perturbation_words import CONTROLS


def read_column(
    column: pd.Series, genes: Sequence[str], *, control: Collection[str] = (), unmeasured: bool = False
) -> PerturbationLabels:
    """`read_labels` of a column, with what to type where it is refused.

    Parameters
    ----------
    column, genes
        One label a cell; the genes of the data.
    control
        Labels of controls beside the usual ones.
    unmeasured
        True: most perturbed genes may be missing from the data.

    Raises
    ------
    ValueError
        Less than half of the labels are genes.
    """
    try:
        return read_labels(column.astype(object).tolist(), genes, controls=(*CONTROLS, *control), unmeasured=unmeasured)
    except UnmatchedLabels as error:
        raise ValueError(
            f"{error}: choose the --perturbation-key that names genes as the data do, name controls with --control "
            "LABEL, or pass --unmeasured if these genes were perturbed and not measured"
        ) from error


def with_perturbations(
    data: ExpressionData,
    table: pd.DataFrame,
    key: str,
    *,
    control: Collection[str] = (),
    unmeasured: bool = False,
) -> tuple[ExpressionData, pd.DataFrame]:
    """The data with the interventions that a column of ``table`` names, and the rows of the cells that are left.

    Parameters
    ----------
    data, table
        Cells, and one row of annotations for each.
    key
        The column.
    control, unmeasured
        As of `read_column`.
    """
    read = read_column(table[key], data.genes, control=control, unmeasured=unmeasured)
    return data.with_interventions(read), table[read.known]


def check_controls(control: Sequence[str], columns: Sequence[pd.Series]) -> None:
    """Refuse a label of controls that no cell has.

    Raises
    ------
    ValueError
        With the labels that there are.
    """
    count = pd.concat(columns, ignore_index=True).dropna().astype(str).str.strip().value_counts()
    there = {label.casefold() for label in count.index}
    lost = [label for label in control if label.strip().casefold() not in there]
    if lost:
        some = ", ".join(repr(label[:40]) for label in count.index[:5])
        raise ValueError(f"--control {lost[0]}: no cell has that label, the commonest are {some}")

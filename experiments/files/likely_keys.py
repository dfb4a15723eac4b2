"""Columns of annotations that say by their names what they hold: times, courses, what was perturbed."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from ...models import ExpressionData
from ...priors.perturbation_labels import read_labels
from .column_words import COURSE, PERTURBATION, TIME, says


class LikelyKeys(NamedTuple):
    """Columns, or None where there is none such."""

    time: str | None = None
    trajectory: str | None = None
    perturbation: str | None = None


def likely_keys(data: ExpressionData) -> LikelyKeys:
    """The columns that a reader of the file would take without asking.

    Times only where another column says which course a row belongs to, and no course has two rows of one time: rows of
    a course are measurements of one system, which cells of a day, or along a pseudotime, are not. What was perturbed
    only where most labels are genes of the file, or controls.
    """
    if data.labels is None:
        return LikelyKeys()
    table = data.labels.table
    varied = [column for column in map(str, table) if len(set(table[column])) > 1]
    named = lambda words: next((column for column in varied if says(column, words)), None)
    time, course, perturbation = named(TIME), named(COURSE), named(PERTURBATION)
    if time is not None and course is not None and _are_courses(table[time], table[course]):
        return LikelyKeys(time, course)
    if perturbation is not None and _are_genes(table[perturbation], data):
        return LikelyKeys(perturbation=perturbation)
    return LikelyKeys()


def _are_courses(time: pd.Series, course: pd.Series) -> bool:
    numbers = pd.to_numeric(time.astype(object), errors="coerce").to_numpy(dtype=float)
    pairs = pd.DataFrame({"time": numbers, "course": course.astype(str).to_numpy()})
    return bool(
        np.isfinite(numbers).all() and not pairs.duplicated().any() and pairs["course"].value_counts().min() > 1
    )


def _are_genes(column: pd.Series, data: ExpressionData) -> bool:
    try:
        read_labels(column.astype(object).tolist(), data.genes)
    except ValueError:
        return False
    return True

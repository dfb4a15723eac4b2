"""What is written of a fit, by what its model infers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from io import TextIOBase
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ...inference import Posterior
from ...models import ExpressionData
from ...priors import AlignmentReport
from ...priors.formats.files import replacing
from .program_tables import GeneSets

Place = Path | str | TextIOBase
"""A file, or a stream of text."""
Checked = tuple[np.ndarray, np.ndarray] | None
"""Observed values (n,) and predictive draws of them (draws, n)."""
Predictive = Checked | Callable[[], Checked]
"""These, or what gives them."""


def asked(predictive: Predictive) -> Checked:
    """What is meant."""
    return predictive() if callable(predictive) else predictive


def put(text: str, place: Place) -> None:
    """Write a page: a file is replaced only by a whole one.

    Raises
    ------
    ValueError
        The file cannot be written.
    """
    if isinstance(place, TextIOBase):
        place.write(text)
        return
    with replacing(Path(place)) as part:
        part.write_text(text, encoding="utf-8")


class Tables(Protocol):
    """What was found, computed once for the files and the page."""

    def files(self) -> Mapping[str, Mapping[str, str]]:
        """What is in those tables of which the name of the file does not tell, for config.json."""

    def write(self, folder: Path, *, top: int | None = None) -> None:
        """Into a folder; ``top``: rows of each table that grows with the genes."""


class ReportKind(ABC):
    """Tables and page of networks, or of gene programs; `report.REPORTS` has one by what a model infers."""

    def check(self, truth: pd.DataFrame | None) -> None:
        """Refuse a known network where there is nothing to compare with it."""
        return

    @abstractmethod
    def tables(
        self,
        posterior: Posterior,
        data: ExpressionData | None,
        *,
        level: float,
        gene_sets: GeneSets | None = None,
        min_overlap: int = 5,
        all_edges: bool = False,
    ) -> Tables:
        """All tables; ``gene_sets`` of at least ``min_overlap`` genes are those to test programs without a set for,
        ``all_edges`` of networks are written besides."""

    @abstractmethod
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
        """report.html; ``tables`` are those of the fit, None where it diverged before the first draw."""

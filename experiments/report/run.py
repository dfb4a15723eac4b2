"""`report`: the page of any fit, networks or programs."""

from pathlib import Path
from typing import Any

import pandas as pd

from ...inference import Posterior
from ...inference.draws.intervals import LEVEL
from ...models.data.containers import is_anndata, is_mudata
from ..files.fitted_cells import cells_of_fit, written_fit
from ..remedies import REMEDIES
from .kind import ReportKind
from .networks import NetworkReport
from .parts import checked_values
from .programs import ProgramReport

REPORTS: dict[str, ReportKind] = {"network": NetworkReport(), "programs": ProgramReport()}
"""By what a model infers (`Model.infers`)."""


def report(
    posterior: Posterior,
    path: Path | str,
    data: Any = None,
    *,
    truth: pd.DataFrame | None = None,
    command: str = "Python",
) -> None:
    """Run the diagnostics and, with ``data``, the predictive checks, and write the report of a fit to ``path``.

    ``data`` are the cells of the fit, or the AnnData (MuData) in which a function of `tl` has written it.

    Examples
    --------
    >>> report(posterior, "report.html", data)  # doctest: +SKIP
    """
    told: list[str] = []
    if is_anndata(data) or is_mudata(data):
        told = [str(line) for line in written_fit(data).get(REMEDIES, ())]
        data = cells_of_fit(data)
    kind = REPORTS[posterior.model.infers]
    kind.check(truth)
    checks = posterior.diagnose(data)
    checks.attrs[REMEDIES] = told
    predictive = checked_values(posterior, data)
    kind.page(
        posterior,
        path,
        data=data,
        diagnostics=checks,
        alignment=posterior.model.given_reports,
        command=command,
        truth=truth,
        predictive=predictive,
        tables=kind.tables(posterior, data, level=LEVEL) if posterior.draws else None,
    )

"""``pyrogrn infer --method celloracle``: a folder of results for each cell type, in one output folder."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from ...inference.choice import engine_of
from ...inference.diagnostics import verdict
from ...inference.runs.beside import Later
from ...models import ExpressionData
from ...priors import PriorNetwork
from ..celloracle import NUM_BAGS, celloracle, cells_of, links, unfit
from ..files.file_names import file_names
from ..files.result_tables import write_csv
from ..remedies import REMEDIES, remedies
from ..report.run import REPORTS
from .run import page_of, write_reports, write_results
from .run_folder import RunFolder


def run_celloracle(
    run: RunFolder,
    data: ExpressionData,
    networks: Mapping[str, PriorNetwork],
    options: Mapping[str, Any],
    *,
    config: Mapping[str, Any],
    level: float,
    top: int | None,
    truth: pd.DataFrame | None,
    seed: int,
    say: Callable[[str], None],
) -> list[tuple[str, Path, str, list[str]]]:
    """Fit every cell type (`celloracle`) and write what `infer` writes into a folder of its name, with CellOracle's own
    table of links beside edges.csv; where there is a single type to fit, straight into the output folder. Types that
    cannot be fitted (`unfit`) are left out with a note.

    Parameters
    ----------
    run
        Opened here, and complete or absent afterwards.
    data, networks
        Cells, their contexts the cell types; the base GRN.
    options
        ``estimator, ridge, lasso_scale, num_bags`` of `celloracle`.
    config, level, top, truth
        As `write_results` and `write_reports`.
    seed
        Of every cell type.
    say
        Told what is left out, and how each prior network matches the genes of each cell type.

    Returns
    -------
    list
        Name, folder and verdict of each cell type, and what to type where a check failed (`remedies`).

    Raises
    ------
    ValueError
        As `celloracle`; no cell type can be fitted, two of them would have one folder, or a fit diverged.
    """
    reasons = unfit(data, networks)
    kept = [name for name in data.context_names if name not in reasons]
    if not kept:
        raise ValueError(f"no cell type can be fitted: {next(iter(reasons.values()))}")
    notes = [f"left out: {reason}" for reason in reasons.values()]
    for note in notes:
        say(note)
    folders = file_names(kept)
    data, alone = data.with_missing(data.missing, *notes), len(kept) == 1
    run.open()
    written = []
    try:
        for name in kept:
            posterior = celloracle(data, networks, cell_types=[name], seed=seed, **options)[name]
            reason = posterior.history.reason
            if reason.startswith("diverged"):
                raise ValueError(
                    f"cell type {name!r}: the fit {reason}: try another --seed, or check the data for extreme values"
                )
            for report in posterior.model.given_reports.values():
                say(str(report) if alone else f"{name}: {report}")
            folder = run.partial if alone else run.partial / folders[name]
            if not alone:
                folder.mkdir()
            own = cells_of(data, name).select_genes(posterior.model.genes)
            tables = REPORTS[posterior.model.infers].tables(posterior, own, level=level)
            write_results(folder, posterior, tables, top=top, config=config)
            bags = options.get("num_bags", NUM_BAGS) if options.get("estimator", "bagging") == "bagging" else None
            told = partial(
                remedies,
                engine=engine_of(posterior.guide),
                steps=bags,
                restarts=None,
                as_measured=own if config.get("normalize") == "none" else None,
                length=None if bags is None else "model.num_bags",
            )
            page = Later(page_of(posterior, own, tables, config=config, truth=truth, told=told))
            checks = write_reports(folder, posterior, own, page)
            write_csv(links(posterior), folder / "links.csv")
            written.append((name, run.out if alone else run.out / folder.name, verdict(checks), checks.attrs[REMEDIES]))
        run.publish()
        run.close()
    except BaseException:
        run.discard()
        raise
    return written

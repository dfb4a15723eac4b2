"""What a run writes: results first, the report after, each file whole or not at all."""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from ...inference import Posterior
from ...inference.diagnostics import to_records, verdict
from ...inference.runs.beside import Beside, Later, Receive, Work
from ...models import ExpressionData
from ..files.netcdf import write_netcdf
from ..files.stored_config import read_config
from ..files.whole import refused, whole_file
from ..remedies import REMEDIES
from ..report.kind import Tables
from ..report.parts import checked_values
from ..report.run import REPORTS
from ..wording import for_command_line

REPORT_FILES = ("posterior.nc", "diagnostics.json", "report.html")


def write_results(
    folder: Path, posterior: Posterior, tables: Tables, *, top: int | None, config: Mapping[str, Any]
) -> None:
    """The model, the tables (of `NetworkTables.write` or `ProgramTables.write`) and the configuration."""
    with refused(folder):
        posterior.save(folder / "model")
        tables.write(folder, top=top)
        files = tables.files()
        config = {**config, "tables": files} if files else config
        (folder / "config.json").write_text(json.dumps(config, indent=1))


Page = Work[tuple[pd.DataFrame, str]]
"""Makes the diagnostics table and the page; it receives `checked_values`."""


def page_of(
    posterior: Posterior,
    data: ExpressionData,
    tables: Tables,
    *,
    config: Mapping[str, Any],
    truth: pd.DataFrame | None = None,
    told: Callable[[pd.DataFrame, Posterior], list[str]] | None = None,
) -> Page:
    """``truth`` is a known network, ``told`` makes of the diagnostics what to type where a check failed: in the page,
    and in ``attrs[REMEDIES]``."""

    def work(receive: Receive) -> tuple[pd.DataFrame, str]:
        checks = posterior.diagnose(data)
        checks = checks.assign(meaning=checks["meaning"].map(for_command_line))  # who reads them has typed a command
        checks.attrs[REMEDIES] = [] if told is None else told(checks, posterior)
        text = StringIO()
        REPORTS[posterior.model.infers].page(
            posterior,
            text,
            data=data,
            diagnostics=checks,
            alignment=posterior.model.given_reports,
            command=str(config["command"]),
            truth=truth,
            predictive=receive,
            tables=tables,
        )
        return checks, text.getvalue()

    return work


def write_reports(
    folder: Path,
    posterior: Posterior,
    data: ExpressionData,
    page: Beside[tuple[pd.DataFrame, str]] | Later[tuple[pd.DataFrame, str]],
) -> pd.DataFrame:
    """DataTree, diagnostics and report, `REPORT_FILES`; returns the diagnostics table. ``page`` does the work of
    `page_of`."""
    tree = posterior.to_datatree(data)
    with whole_file(folder / "posterior.nc") as path:
        write_netcdf(tree, path)
    page.send(checked_values(posterior, data))
    checks, text = page.result()
    report = {
        "verdict": verdict(checks),
        "checks": to_records(checks),
        "history": {"reason": posterior.history.reason, "seconds": posterior.history.seconds},
    }
    report |= {"arviz": for_command_line(tree.attrs["limits"])} if "limits" in tree.attrs else {}
    with whole_file(folder / "diagnostics.json") as path:
        path.write_text(json.dumps(report, indent=1))
    with whole_file(folder / "report.html") as path:
        path.write_text(text, encoding="utf-8")
    return checks


def same_run(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of the finished fit in ``folder``.

    Raises
    ------
    ValueError
        It was made from other data, or with another method, seed or settings, than ``config`` says.
    """
    stored = read_config(folder)
    told = ("method", "expression", "layer", "normalize", "seed", "settings")
    other = [name for name in told if stored.get(name) != config[name]]
    if other:
        raise ValueError(
            f"{folder} holds another run ({', '.join(other)} differ): give the same command again to finish it, or "
            "--overwrite to replace it"
        )
    return stored


def file_digest(path: Path) -> str:
    """First 16 hex digits of the SHA-256 of a file (of the listing, for a zarr folder)."""
    digest = hashlib.sha256()
    if path.is_dir():
        for part in sorted(path.rglob("*")):
            digest.update(f"{part.relative_to(path)}:{part.stat().st_size}".encode())
    else:
        with path.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    from importlib.metadata import version

    names = ("pyrogrn", "torch", "pyro-ppl", "numpy", "arviz-base")
    return {"python": sys.version.split()[0]} | {name: version(name) for name in names}

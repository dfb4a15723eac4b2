"""What a run writes: results first, the report after, each file whole or not at all."""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ...inference import Posterior
from ...inference.diagnostics import to_records, verdict
from ...models import ExpressionData
from ..files.netcdf import write_netcdf
from ..files.stored_config import read_config
from ..files.whole import refused, whole_file
from ..remedies import REMEDIES
from ..report.kind import Tables
from ..report.parts import checked_cells
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


def write_reports(
    folder: Path,
    posterior: Posterior,
    data: ExpressionData,
    tables: Tables,
    *,
    config: Mapping[str, Any],
    truth: pd.DataFrame | None = None,
    told: Callable[[pd.DataFrame], list[str]] | None = None,
) -> pd.DataFrame:
    """DataTree, diagnostics and report, `REPORT_FILES`; returns the diagnostics table. ``truth`` is a known network,
    ``told`` makes of the table what to type where a check failed: in the page, and in ``attrs[REMEDIES]``."""
    tree = posterior.to_datatree(data)
    with whole_file(folder / "posterior.nc") as path:
        write_netcdf(tree, path)
    checks = posterior.diagnose(data)
    checks = checks.assign(meaning=checks["meaning"].map(for_command_line))  # whoever reads them has typed a command
    checks.attrs[REMEDIES] = [] if told is None else told(checks)
    report = {
        "verdict": verdict(checks),
        "checks": to_records(checks),
        "history": {"reason": posterior.history.reason, "seconds": posterior.history.seconds},
    }
    report |= {"arviz": for_command_line(tree.attrs["limits"])} if "limits" in tree.attrs else {}
    with whole_file(folder / "diagnostics.json") as path:
        path.write_text(json.dumps(report, indent=1))
    with whole_file(folder / "report.html") as path:
        REPORTS[posterior.model.infers].page(
            posterior,
            path,
            data=data,
            diagnostics=checks,
            alignment=posterior.model.knowledge.reports,
            command=str(config["command"]),
            truth=truth,
            predictive=checked_cells(tree),
            tables=tables,
        )
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

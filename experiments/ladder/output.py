"""The folder of a calibration."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

from ..files.result_tables import write_csv
from . import figures
from .page import write_page
from .result import Calibration


def write(result: Calibration, folder: Path, *, config: Mapping[str, Any], title: str) -> None:
    """Write rows.csv, summary.csv, reliability.csv, figure_*.svg, report.html and config.json into a folder that
    exists."""
    write_csv(result.rows, folder / "rows.csv")
    summary, reliability = result.summary(), result.reliability()
    write_csv(summary, folder / "summary.csv")
    write_csv(reliability, folder / "reliability.csv")
    drawn = {
        "reliability": figures.reliability_curves(reliability),
        "false_discoveries": figures.false_discoveries(summary),
    }
    with mpl.rc_context({"svg.hashsalt": "pyrogrn", "svg.fonttype": "path"}):  # the same figure gives the same bytes
        for name, figure in drawn.items():
            figure.savefig(folder / f"figure_{name}.svg", metadata={"Date": None})
    write_page(result, folder / "report.html", command=str(config["command"]), title=title)
    (folder / "config.json").write_text(json.dumps({**config, "calibration": dict(result.settings)}, indent=1))

"""The figures of an ablation as files."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from ..files.whole import whole_file
from . import figures
from .page import DELTAS
from .result import AblationResult


def make_figures(result: AblationResult) -> dict[str, Figure]:
    """All figures that the result has something for, by name."""
    summary = result.summary()
    measures = [name for name in DELTAS if summary[name].notna().any()]
    found = {"sources": figures.source_effects(summary, measures), "bits": figures.bits(summary)}
    for damage in ("moved", "flipped"):
        if (summary["damage"] == damage).any():
            for name in measures:
                short = name.removeprefix("delta_")
                found[f"{damage}_{short}"] = figures.damage_curves(summary, result.break_even(name), name, damage)
    trust = result.trust_summary()
    if len(trust) and (trust["damage"] == "moved").any():
        found["trust"] = figures.trust_by_damage(trust)
    return found


def write_figures(result: AblationResult, folder: Path | str) -> list[Path]:
    """Every figure as ``figure_NAME.svg``; returns the files."""
    paths = []
    for name, figure in make_figures(result).items():
        path = Path(folder) / f"figure_{name}.svg"
        with mpl.rc_context({"svg.hashsalt": "pyrogrn", "svg.fonttype": "path"}), whole_file(path) as place:
            figure.savefig(place, metadata={"Date": None})
        paths.append(path)
    return paths

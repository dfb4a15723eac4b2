"""`AblationResult`: rows of all runs, and what they amount to."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...inference.draws.intervals import LEVEL
from ...priors.formats.spreadsheet import restore_names
from ..files.result_tables import write_csv
from ..files.whole import whole_folder

WAY = ["method", "strategy", "trust"]
SUMMARISED = (
    "average_precision",
    "auroc",
    "ece",
    "log_score_bits",
    "delta_average_precision",
    "delta_log_score_bits",
    "elpd",
    "delta_elpd",
    "expected_edges",
    "prior_edges",
    "gain_bits",
    "gain_bits_rate",
    "gain_bits_floor",
    "gain_bits_per_edge",
    "moved_bits",
    "moved_bits_floor",
    "moved_bits_per_edge",
    "set_average_precision",
    "set_share",
    "chain_error",
    "seconds",
)
WITHIN = ("delta_average_precision", "delta_log_score_bits", "delta_elpd")  # have an error of their own within a run
SWEPT = ("moved", "flipped")
NUM_CURVES = 4000


@dataclass(frozen=True, eq=False)
class AblationResult:
    """What `ablate` returns.

    Attributes
    ----------
    rows
        One row a run: ``method, strategy, trust, change, sources, damage, fraction, seed``, and the measures
        (`measures.MEASURES` says what they are).
    trust
        Posterior of the trust in each source, by run: ``source, mean, sd, lower, upper`` (89% interval).
    sources
        What each source contributed after matching (`sources.describe_sources`).
    notes
        What was noteworthy about the sources and the data, and which options a method does not take.
    settings
        What was run.
    """

    rows: pd.DataFrame
    trust: pd.DataFrame
    sources: pd.DataFrame
    notes: tuple[str, ...]
    settings: dict[str, Any]

    def summary(self) -> pd.DataFrame:
        """Mean over seeds of every measure, in the order of the rows.

        ``NAME_se`` is the standard error over seeds (chains, cells held out, edges damaged). Differences also have
        ``NAME_within``, the mean over seeds of the standard error within a run: over targets for scores of edges, over
        cells for predictions. The latter does not shrink with more seeds, which share the truth and the data.
        """
        keys = [*WAY, "change", "sources", "damage", "fraction"]
        groups = self.rows.groupby(keys, sort=False, dropna=False)
        table = groups.size().rename("seeds").to_frame()
        for name in (name for name in SUMMARISED if name in self.rows):
            table[name] = groups[name].mean()
            table[f"{name}_se"] = groups[name].std(ddof=1) / np.sqrt(groups[name].count())
            if name in WITHIN:
                table[f"{name}_within"] = groups[f"{name}_se"].mean()
        return table.reset_index()

    def trust_summary(self) -> pd.DataFrame:
        """Trust in each source by change: posterior mean, sd and interval, averaged over seeds, and the standard error
        of the mean over seeds."""
        if self.trust.empty:
            return self.trust
        keys = [*WAY, "change", "damage", "fraction", "source"]
        groups = self.trust.groupby(keys, sort=False, dropna=False)
        table = groups[["mean", "sd", "lower", "upper"]].mean()
        table["mean_se"] = groups["mean"].std(ddof=1) / np.sqrt(groups["mean"].count())
        return table.reset_index()

    def break_even(self, measure: str = "delta_log_score_bits", *, level: float = LEVEL) -> pd.DataFrame:
        r"""At which damage a source starts to hurt: the smallest share at which ``measure`` falls below zero.

        The difference from the run without sources is averaged over seeds at every share and joined by straight lines,
        beginning with the undamaged sources; the first crossing of zero is the break-even point. The interval repeats
        this on curves drawn around the means, with t-distributed errors whose variance is pooled over the shares
        (n − 1 degrees of freedom for each share with n seeds): three seeds alone say little of their own spread. The
        interval covers what differs between seeds: chains, cells held out, edges damaged. It leaves out what seeds
        share: errors of the truth, the choice of its targets (``NAME_within`` of `summary`), the data, and what the
        curve does between the shares run and beyond the largest. Damage that changes no fit, as flipped signs where the
        way of entering takes none, has no row.

        Parameters
        ----------
        measure
            ``delta_log_score_bits`` (default), ``delta_average_precision`` or ``delta_elpd``.
        level
            Of the interval.

        Returns
        -------
        DataFrame
            ``method, strategy, trust, sources, damage, measure, break_even, lower, upper, never, largest``: shares; NaN
            where the curve stays above zero up to ``largest``, the largest share run, and ``never`` the share of drawn
            curves that do.
        """
        if measure not in WITHIN:
            raise ValueError(f"no break-even of {measure!r}: choose one of {', '.join(WITHIN)}")
        found = []
        generator = np.random.default_rng(0)
        for damage in SWEPT:
            damaged = self.rows[self.rows["damage"] == damage]
            for way, part in damaged.groupby([*WAY, "sources"], sort=False):
                same = (self.rows[[*WAY, "sources"]] == list(way)).all(axis=1)
                whole = self.rows[same & (self.rows["damage"] == "")]
                curve = pd.concat([whole, part])[["fraction", "seed", measure]].dropna()
                groups = curve.groupby("fraction")[measure]
                if whole.empty or groups.ngroups < 2:
                    continue
                if curve.groupby("seed")[measure].nunique().eq(1).all():
                    continue
                share, mean = np.array(list(groups.groups), dtype=float), groups.mean().to_numpy()
                number = groups.count().to_numpy()
                freedom = int((number - 1).sum())
                row = dict(zip([*WAY, "sources"], way, strict=True)) | {"damage": damage, "measure": measure}
                row |= {"break_even": crossing(share, mean), "lower": np.nan, "upper": np.nan, "never": np.nan}
                row["largest"] = float(share[-1])
                if freedom > 0:
                    pooled = float(groups.var(ddof=1).fillna(0).to_numpy() @ (number - 1) / freedom)
                    noise = generator.standard_t(freedom, (NUM_CURVES, len(share))) * np.sqrt(pooled / number)
                    drawn = np.array([crossing(share, curve) for curve in mean + noise])
                    place = np.round(np.array([(1 - level) / 2, (1 + level) / 2]) * (NUM_CURVES - 1)).astype(int)
                    row |= dict(zip(("lower", "upper"), np.sort(drawn)[place], strict=True))  # NaN come last: never
                    row["never"] = float(np.isnan(drawn).mean())
                found.append(row)
        columns = [*WAY, "sources", "damage", "measure", "break_even", "lower", "upper", "never", "largest"]
        return pd.DataFrame(found, columns=columns)

    def write(self, folder: Path | str) -> None:
        """``rows.csv``, ``summary.csv``, ``trust.csv``, ``sources.csv``, ``break_even.csv`` and ``settings.json``."""
        crossings = [self.break_even(name) for name in WITHIN]
        tables = {
            "rows": self.rows,
            "summary": self.summary(),
            "trust": self.trust,
            "sources": self.sources,
            "break_even": pd.concat([c for c in crossings if len(c)] or crossings[:1], ignore_index=True),
        }
        settings = {**self.settings, "notes": list(self.notes)}
        with whole_folder(Path(folder)) as place:
            for name, table in tables.items():
                write_csv(table, place / f"{name}.csv")
            (place / "settings.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path | str) -> "AblationResult":
        """What `write` wrote, to the six digits of its files.

        ``FileNotFoundError`` where a file is missing.
        """
        folder, text = Path(folder), dict.fromkeys((*WAY, "change", "sources", "damage"), str)
        tables = {}
        for name in ("rows", "trust", "sources"):
            path = folder / f"{name}.csv"
            empty = path.stat().st_size <= 1
            tables[name] = (
                pd.DataFrame() if empty else pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
            )
            strings = [c for c in text if c in tables[name]]
            tables[name][strings] = tables[name][strings].fillna("")
            tables[name] = restore_names(tables[name], ("change", "sources", "source"))
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        return cls(**tables, notes=tuple(settings.pop("notes")), settings=settings)


def crossing(share: np.ndarray, value: np.ndarray) -> float:
    """First share at which straight lines through the points go below zero; NaN if they never do."""
    below = np.flatnonzero(value < 0)
    if not below.size:
        return float("nan")
    i = int(below[0])
    if i == 0:
        return float(share[0])
    part = value[i - 1] / (value[i - 1] - value[i])
    return float(share[i - 1] + part * (share[i] - share[i - 1]))

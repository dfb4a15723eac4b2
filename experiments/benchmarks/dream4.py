"""A network of DREAM4, as a panel and as courses, and what its knock-outs say of edges."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ...models import ExpressionData
from ...models.data.panel import Panel
from ...priors import PriorNetwork
from .edge_scores import table_of

SHIFT = 0.05  # added to DREAM4 levels, which reach 0: near the sd of their noise, and the logarithm is tame above it


@dataclass(frozen=True, eq=False)
class Dream4:
    """One network of the challenge: wild-type rows (the first points of the time series), knock-outs, knock-downs, and
    time series (series, point, gene) with their times."""

    genes: tuple[str, ...]
    wild_type: np.ndarray
    knockouts: np.ndarray
    knockdowns: np.ndarray
    series: np.ndarray
    times: np.ndarray
    truth: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> "Dream4":
        """From ``size100_K``."""
        knockouts = pd.read_csv(folder / "knockouts.csv.gz", index_col=0)
        knockdowns = pd.read_csv(folder / "knockdowns.csv.gz", index_col=0)
        series = pd.read_csv(folder / "timeseries.csv.gz")
        genes = tuple(knockouts.columns)
        if tuple(knockouts.index) != genes or tuple(knockdowns.index) != genes:
            raise ValueError(f"{folder}: rows of knock-outs and knock-downs must be the genes, in the columns' order")
        points = np.stack([part[list(genes)].to_numpy() for _, part in series.groupby("series", sort=True)])
        times = series.loc[series["series"] == series["series"].iloc[0], "time"].to_numpy()
        truth = pd.read_csv(folder / "network.csv")
        return cls(genes, points[:, 0], knockouts.to_numpy(), knockdowns.to_numpy(), points, times, truth)

    def z_scores(self) -> np.ndarray:
        """``(source, target)`` change of the target in the knock-out of the source, from its mean over all knock-outs
        and in their standard deviations, negated."""
        others = np.where(np.eye(len(self.genes), dtype=bool), np.nan, self.knockouts)
        return -(self.knockouts - np.nanmean(others, 0)) / np.nanstd(others, 0)

    def data(self, *, knockouts: bool = True, knockdowns: bool = True, ends: bool = False) -> ExpressionData:
        """Steady states as a panel: wild type, knock-outs and knock-downs clamped at their own level; ``ends``: also
        the last point before the unknown perturbation of each time series is removed, and the last of all (nothing
        clamped). Levels are shifted by SHIFT."""
        rows, labels = [self.wild_type], ["control"] * len(self.wild_type)
        for wanted, block in ((knockouts, self.knockouts), (knockdowns, self.knockdowns)):
            if wanted:
                rows.append(block)
                labels += list(self.genes)
        if ends:
            for at in (len(self.times) // 2, -1):
                rows.append(self.series[:, at])
                labels += ["control"] * len(self.series)
        X = torch.as_tensor(np.concatenate(rows) + SHIFT, dtype=torch.float32)
        return ExpressionData(X, self.genes).annotated(perturbed=labels)

    def rates(self, lifetime: float) -> Panel:
        r"""Rows :math:`(x(t), x(t) + \tau\,\Delta x/\Delta t)` of the second half of the series, where the unknown
        perturbation is gone: levels that drive, and the response they drive at (production over decay)."""
        half = len(self.times) // 2
        x, step = self.series[:, half:-1], np.diff(self.times)[half:, None]
        moved = x + lifetime * np.diff(self.series[:, half:], axis=1) / step
        flat = lambda v: torch.as_tensor(v.reshape(-1, len(self.genes)) + SHIFT)
        level, aim = flat(x), flat(moved).clamp_min(0.2 * SHIFT)
        return Panel(aim, level, torch.zeros(level.shape, dtype=torch.bool), level.new_zeros(len(level), 0))


def knockout_evidence(z: np.ndarray, genes: tuple[str, ...]) -> PriorNetwork:
    """Knock-out z-scores as a prior network: the probability that a response is not noise, from a mixture of two
    centred normals (expectation-maximisation), with the sign of the response. Responses are of direct and indirect
    targets alike; how far they speak of edges is for the trust in the source to learn."""
    off = ~np.eye(len(genes), dtype=bool)
    square, share, narrow, wide = z[off] ** 2, 0.1, 0.5, 4.0
    for _ in range(100):
        odds = np.log(share / (1 - share)) + 0.5 * np.log(narrow / wide) + 0.5 * square * (1 / narrow - 1 / wide)
        p = 1 / (1 + np.exp(-odds.clip(-30, 30)))
        share, narrow, wide = p.mean(), ((1 - p) @ square) / (1 - p).sum(), (p @ square) / p.sum()
    table = table_of(z, genes).rename(columns={"weight": "z"})
    table["probability"] = p.clip(0.01, 0.99)
    table["sign"] = np.sign(table["z"]).astype(int)
    return PriorNetwork.from_edges(table.drop(columns="z"), name="knock-outs")

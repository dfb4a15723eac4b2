r"""Whether the rows of a trajectory can be one system in time, and whether they are levels.

A differential equation is fitted to changes between neighbouring rows. Single cells that are ordered by a pseudotime
are different systems: their neighbours differ by what cells of one moment differ by, however close they are in time.
For rows :math:`x_1, \dots, x_n` of one trajectory in order of time let :math:`D_h` be the mean of
:math:`(x_{k+h} - x_k)^2` over k, s² the variance over rows, and

.. math:: \eta = \frac{D_1}{2 s^2}, \qquad \rho = \frac{D_2 / s^2}{D_1 / s^2},

where quotients by s² are averaged over genes (η is von Neumann's ratio, 1941, halved).
If :math:`x_k = m(t_k) + e_k`, with e independent
between rows and of variance σ², then :math:`D_1 = 2\sigma^2 + a` with a the change of m, which is of order 1/n² for
many rows, so η tends to :math:`\sigma^2/s^2`, the share of the variance that rows at the same time have (1: neighbours
differ as random rows do), and ρ to 1: a change that does not grow with the time it had. One system that moves has
ρ = 4 where it moves steadily and 2 where it diffuses.

Refused is a trajectory of many rows with :math:`\eta \ge 1/4` (rows at one time are scattered by half of the sd of the
whole course, or more) and :math:`\rho \le 3/2` (then :math:`a \le \sigma^2/2.5`: at least five sixths of a change
between neighbours is scatter). Many rows are 50 at uneven times, as no experiment is planned, or 200. A course so noisy
that it is refused as well has no more to say in its single changes than unrelated cells have. Breast tumours smoothed
along pseudotime have η = 0.03; three lineages of single cells of bone marrow 0.91 to 0.98.
"""

from typing import NamedTuple

import numpy as np

from ...priors.shortened import shortened
from .expression import ExpressionData

FEWEST_UNEVEN, FEWEST = 50, 200  # rows of a trajectory that are looked at, at uneven times and at any
UNEVEN = 0.25  # sd of the gaps between rows over their mean
LARGEST_SCATTER, SMALLEST_GROWTH = 0.25, 1.5  # of η and ρ
SAID_SCATTER = 0.05  # η from which rows that are not refused are spoken of


class Smoothness(NamedTuple):
    """η, ``scatter``, and ρ, ``growth``, of a trajectory of ``rows`` rows; ``uneven`` the coefficient of variation of
    its gaps."""

    rows: int
    scatter: float
    growth: float
    uneven: float

    @property
    def unrelated(self) -> bool:
        """Whether neighbouring rows are no two moments of one system."""
        return self.by_scatter and self.scatter >= LARGEST_SCATTER

    @property
    def by_scatter(self) -> bool:
        """Whether many rows change from one to the next by scatter, however large that is."""
        many = self.rows >= FEWEST or (self.rows >= FEWEST_UNEVEN and self.uneven >= UNEVEN)
        return many and self.growth <= SMALLEST_GROWTH


def smoothness(X: np.ndarray, time: np.ndarray) -> Smoothness:
    """η and ρ of one trajectory.

    Parameters
    ----------
    X
        ``(row, gene)``, at least three rows; NaN are missing values and leave out the pairs they are in.
    time
        ``(row,)``.

    Examples
    --------
    >>> t = np.linspace(0, 1, 60)
    >>> course = smoothness(np.sin(3 * t)[:, None], t)
    >>> course.scatter < 0.01, round(course.growth, 1)
    (True, 4.0)
    """
    order = np.argsort(time, kind="stable")
    x, gaps = np.asarray(X, dtype=np.float64)[order], np.diff(np.asarray(time, dtype=np.float64)[order])
    x = x[:, np.isfinite(x).sum(0) > 2]
    spread = np.nanvar(x, axis=0, ddof=1)
    x, spread = x[:, spread > 0], spread[spread > 0]
    if not x.shape[1]:
        return Smoothness(len(order), 0.0, 2.0, 0.0)
    with np.errstate(invalid="ignore"):
        one, two = (np.square(x[h:] - x[:-h]) for h in (1, 2))
    whole = np.isfinite(one).any(0) & np.isfinite(two).any(0)
    one, two, spread = one[:, whole], two[:, whole], spread[whole]
    if not one.shape[1]:
        return Smoothness(len(order), 0.0, 2.0, 0.0)
    scatter = np.nanmean(one, axis=0) / (2 * spread)
    growth = (np.nanmean(two, axis=0) / spread).mean() / max(2 * float(scatter.mean()), 1e-300)
    mean_gap = float(gaps.mean())
    uneven = float(gaps.std()) / mean_gap if mean_gap > 0 else 0.0
    return Smoothness(len(order), float(scatter.mean()), float(growth), uneven)


def check_courses(data: ExpressionData) -> None:
    """Refuse trajectories whose rows are no moments of one system, and times that repeat within one.

    Raises
    ------
    ValueError
        Which, and by what it is seen.
    """
    if data.time is None or data.trajectory is None:
        return
    time, code = data.time.cpu().numpy(), data.trajectory.cpu().numpy()
    for k, name in enumerate(data.trajectory_names):
        rows = np.flatnonzero(code == k)
        _check_ties(time[rows], name)
        if len(rows) < FEWEST_UNEVEN:
            continue
        found = smoothness(data.rows(rows).cpu().numpy(), time[rows])
        if found.unrelated:
            raise ValueError(
                f"the {len(rows)} rows of trajectory {shortened(name)!r} are not one system in time: changes between "
                f"neighbouring rows are {found.scatter:.0%} of those between random rows and do not grow with the time "
                f"between them ({found.growth:.2f} times as large over two steps), as of single cells ordered by a "
                "pseudotime. Average them along it into meta-cells, `metacells=20`, or name the rows of each system "
                "with `trajectory_key=`"
            )


def _check_ties(time: np.ndarray, name: str) -> None:
    """Refuse times that repeat: of replicates, or of cells."""
    values, counts = np.unique(time, return_counts=True)
    if len(values) == len(time):
        return
    twice = float(values[np.argmax(counts > 1)])
    found = f"trajectory {name!r} has time {twice:g} more than once"
    if len(time) >= FEWEST_UNEVEN:
        raise ValueError(
            f"{found}, and {len(time)} rows at {len(values)} times: rows of one trajectory must be one system. Of "
            "single cells, or many replicates, average those of like time, `metacells=20`; of several systems, name "
            "the rows of each with `trajectory_key=`"
        )
    raise ValueError(f"{found}: average replicates, or name them as different trajectories, `trajectory_key=`")


def course_notes(data: ExpressionData) -> list[str]:
    """What there is to say of a time course: that its changes are scatter, that its values are no levels."""
    if data.time is None or data.trajectory is None:
        return []
    time, code = data.time.cpu().numpy(), data.trajectory.cpu().numpy()
    first, notes = [], []
    for k, name in enumerate(data.trajectory_names):
        rows = np.flatnonzero(code == k)
        first.append(rows[np.argmin(time[rows])])
        if len(rows) >= FEWEST_UNEVEN:
            found = smoothness(data.rows(rows).cpu().numpy(), time[rows])
            if found.by_scatter and found.scatter >= SAID_SCATTER:
                notes.append(
                    f"changes between neighbouring rows of trajectory {shortened(name)!r} are scatter "
                    f"({found.scatter:.0%} of those between random rows) and do not grow with time: if the rows are "
                    "cells in pseudotime, average them into meta-cells, `metacells=20`"
                )
    return [*notes, *_start_notes(data, first)]


def _start_notes(data: ExpressionData, first: list[int]) -> list[str]:
    """Of the rows with which trajectories begin."""
    start = data.rows(np.array(first)).cpu().numpy()
    number = len(first)
    if start.shape[1] < 2 or not np.isfinite(start).all():
        return []
    which = "its" if number == 1 else f"all {number}"
    for value, kind in ((0.0, "log fold changes"), (1.0, "fold changes")):
        if bool(np.allclose(start, value, rtol=0, atol=1e-6)):
            told = "the trajectory begins" if number == 1 else f"{which} trajectories begin"
            return [
                f"{told} with {value:g} of every gene: these look like {kind} against the first time, and what "
                "regulates a gene are levels. Give the levels (the logarithms, not divided by those of the first time)"
            ]
    if number > 1 and bool(np.allclose(start, start[:1], rtol=1e-6, atol=1e-9)):
        return [
            f"{which} trajectories begin with the same values of all genes: if these are not measurements but what "
            "the data were divided by, give the levels; the same start tells nothing apart"
        ]
    return []

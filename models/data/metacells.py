"""Rows of a trajectory averaged along its time: cells of a pseudotime as a course."""

from dataclasses import replace

import numpy as np
import torch

from ...priors.shortened import shortened
from .cell_labels import CellLabels
from .expression import ExpressionData


def metacells(data: ExpressionData, number: int) -> ExpressionData:
    """The means of ``number`` bins of each trajectory, of rows that follow each other in time, as equal in size as they
    can be (they differ by one row at most); the time of a mean is the mean of its times, its name
    ``TRAJECTORY:BIN`` where the rows have names.

    Levels are averaged in the units of ``data`` (after normalisation), missing values left out. A mean of m unrelated
    cells has their scatter divided by √m, and hides what differs between cells of like time. The more bins the finer
    the course and the noisier each; 20 bins of some hundred cells is a start, and `course_checks.check_courses` refuses
    more bins than the scatter allows.

    Parameters
    ----------
    data
        With times (`ExpressionData.with_times`).
    number
        Bins of each trajectory, at least 2.

    Raises
    ------
    ValueError
        Data without times, with contexts, interventions or inputs; a trajectory with fewer rows than bins; two bins of
        the same time.

    Examples
    --------
    >>> cells = ExpressionData(torch.arange(6.0)[:, None].repeat(1, 2), ("A", "B")).with_times(range(6))
    >>> metacells(cells, 3).X[:, 0]
    tensor([0.5000, 2.5000, 4.5000])
    """
    if data.time is None or data.trajectory is None:
        raise ValueError("meta-cells are means of rows of like time, and the data have none: pass `time_key=`")
    if number < 2:
        raise ValueError(f"`metacells=` {number}: expected at least 2 bins of each trajectory")
    if data.num_contexts > 1 or data.perturbed is not None or data.inputs is not None:
        raise ValueError("meta-cells mix cells of different contexts, interventions or inputs: make them for each")
    time, code = data.time.cpu().numpy(), data.trajectory.cpu().numpy()
    means, times, names, sizes = [], [], [], []
    for k, name in enumerate(data.trajectory_names):
        rows = np.flatnonzero(code == k)
        if len(rows) < number:
            raise ValueError(
                f"trajectory {shortened(name)!r} has {len(rows)} rows for {number} meta-cells: ask for fewer"
            )
        bins = np.array_split(rows[np.argsort(time[rows], kind="stable")], number)
        when = [float(time[part].mean()) for part in bins]
        if len(set(when)) < number:
            raise ValueError(
                f"trajectory {shortened(name)!r} has {len(np.unique(time[rows]))} different times, and several of "
                f"{number} meta-cells would have the same: ask for fewer"
            )
        means += [data.rows(part).double().nanmean(0) for part in bins]
        times += when
        names += [name] * number
        sizes += [len(part) for part in bins]
    mean = torch.stack(means).to(data.dtype)
    called = [f"{name}:{i % number + 1}" for i, name in enumerate(names)]
    size = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    course = replace(
        data,
        matrix=mean,
        transform=None,
        column=None,
        context=None,
        size_factor=None,
        covariates=None,
        covariate_names=(),
        time=None,
        trajectory=None,
        trajectory_names=(),
        labels=None if data.labels is None else CellLabels.of(called),
        missing=bool(torch.isnan(mean).any()),
    )
    said = (
        f"{data.num_cells} rows averaged into {number} meta-cells of each of {len(data.trajectory_names)} "
        f"trajectories, {size} rows that follow each other in time in each"
    )
    return course.with_times(times, names).with_missing(course.missing, said)

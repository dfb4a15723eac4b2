"""Single cells in pseudotime are no time course: seen, refused, or averaged on request; real courses pass."""

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import call
from pyrogrn import read_expression
from pyrogrn.models import ExpressionData, Phoenix, TrajectoryNetwork
from pyrogrn.models.data.course_checks import check_courses, course_notes, smoothness
from pyrogrn.models.data.metacells import metacells

GENES = tuple(f"G{i}" for i in range(8))


def cells(number=150, *, scatter=1.0, times="uneven", seed=0):
    """A course of eight genes at random times, each row another system with its own ``scatter``."""
    rng = np.random.default_rng(seed)
    time = np.sort(rng.uniform(0, 1, number)) if times == "uneven" else np.arange(number, dtype=float)
    phase = np.linspace(0, 3, len(GENES))
    path = np.sin(3 * time[:, None] / time.max() + phase)
    return path + scatter * rng.normal(size=path.shape), time


def data_of(X, time, trajectory=None):
    return ExpressionData(torch.as_tensor(X, dtype=torch.float32), GENES).with_times(time.tolist(), trajectory)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("times", ["uneven", "ranks"])
def test_unrelated_cells_are_refused(seed, times):
    data = data_of(*cells(250, times=times, seed=seed))
    with pytest.raises(ValueError, match=r"not one system in time.*`metacells=20`.*`trajectory_key=`"):
        check_courses(data)
    for kind in (TrajectoryNetwork, Phoenix):
        with pytest.raises(ValueError, match="not one system in time"):
            kind.from_data(data)


@pytest.mark.parametrize("seed", range(5))
def test_scatter_is_the_share_of_the_variance_at_one_time(seed):
    X, time = cells(2000, scatter=0.5, seed=seed)
    trend = np.sin(3 * time[:, None] / time.max() + np.linspace(0, 3, len(GENES)))
    share = (0.25 / (trend.var(0) + 0.25)).mean()
    found = smoothness(X, time)
    assert found.scatter == pytest.approx(share, rel=0.08)
    assert found.growth == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("number", "scatter", "times"),
    [(178, 0.2, "uneven"), (20, 1.0, "uneven"), (60, 1.0, "planned"), (400, 0.0, "uneven"), (400, 0.2, "planned")],
)
def test_courses_pass(seed, number, scatter, times):
    """Smooth and dense, short and noisy, planned and noisy."""
    check_courses(data_of(*cells(number, scatter=scatter, times=times, seed=seed)))


@pytest.mark.parametrize("seed", range(5))
def test_one_system_that_diffuses_passes(seed):
    rng = np.random.default_rng(seed)
    X, time = np.cumsum(rng.normal(size=(300, len(GENES))), axis=0), np.sort(rng.uniform(size=300))
    check_courses(data_of(X, time))
    assert smoothness(X, time).growth == pytest.approx(2.0, abs=0.2)


def test_a_course_of_scatter_is_spoken_of():
    (note,) = course_notes(data_of(*cells(250, scatter=0.3)))
    assert "do not grow with time" in note
    assert course_notes(data_of(*cells(250, scatter=0.05))) == []


def test_metacells_are_means_of_neighbours_in_time():
    X, time = cells(103)
    order = np.random.default_rng(1).permutation(103)
    course = metacells(data_of(X[order], time[order], ["a"] * 103), 10)
    parts = np.array_split(np.arange(103), 10)
    assert np.allclose(course.X.numpy(), [X[part].mean(0) for part in parts], atol=1e-6)
    assert np.allclose(course.time.numpy(), [time[part].mean() for part in parts])
    assert "103 rows averaged into 10 meta-cells of each of 1 trajectories, 10 to 11 rows" in course.notes[-1]
    check_courses(course)


def test_metacells_that_cannot_be_made():
    X, time = cells(30)
    data = data_of(X, time)
    for number, words in ((1, "at least 2"), (31, "30 rows for 31")):
        with pytest.raises(ValueError, match=words):
            metacells(data, number)
    with pytest.raises(ValueError, match="2 different times"):
        metacells(data_of(X, np.repeat([0.0, 1.0], 15)), 10)
    with pytest.raises(ValueError, match="have none"):
        metacells(ExpressionData(torch.as_tensor(X), GENES), 3)


def test_ties_are_of_replicates_or_of_cells():
    X, time = cells(100)
    with pytest.raises(ValueError, match=r"100 rows at 2[01] times.*`metacells=20`"):
        check_courses(data_of(X, np.round(20 * time) / 20))
    with pytest.raises(ValueError, match=r"has time 0 more than once: average replicates"):
        check_courses(data_of(X[:6], np.array([0.0, 0, 1, 2, 3, 4])))


def test_infinite_times_are_called_that():
    with pytest.raises(ValueError, match="2 cells have an infinite time"):
        data_of(cells(9)[0], np.array([0.0, 1, 2, 3, 4, 5, 6, np.inf, -np.inf]))


@pytest.mark.parametrize(("first", "kind"), [(0.0, "log fold changes"), (1.0, " fold changes")])
def test_fold_changes_to_the_first_time_are_named(first, kind):
    X, names = np.random.default_rng(0).normal(size=(12, len(GENES))) + 5, ["a"] * 4 + ["b"] * 4 + ["c"] * 4
    time = np.tile([0.0, 1, 2, 3], 3)
    assert course_notes(data_of(X, time, names)) == []
    X[::4] = first
    (note,) = course_notes(data_of(X, time, names))
    assert "all 3 trajectories begin" in note
    assert kind in note
    X[::4] = 3.5
    assert "begin with the same values" in course_notes(data_of(X, time, names))[0]


def test_the_command_line(tmp_path):
    X, time = cells(150)
    table = pd.DataFrame(X, columns=GENES).assign(pt=np.round(time, 4), tied=np.round(time, 1))
    table.index = [f"c{i}" for i in range(len(table))]
    table.to_csv(tmp_path / "cells.csv")
    fit = ["infer", tmp_path / "cells.csv", "--method", "trajectory", "--restarts", 1, "--steps", 5]
    for key, words in (("pt", "not one system in time"), ("tied", "more than once")):
        code, _, err = call(*fit, "--time-key", key, "--out", tmp_path / "refused")
        assert code == 2
        assert words in err
        assert "--metacells 20" in err
        assert not (tmp_path / "refused").exists()
    said = "150 rows averaged into 15 meta-cells"
    code, _, err = call(*fit, "--time-key", "pt", "--metacells", 15, "--out", tmp_path / "run")
    assert code == 0, err
    assert said in err
    assert said in (tmp_path / "run" / "report.html").read_text()
    data = read_expression([tmp_path / "cells.csv"], tfs=None, time_key="pt", metacells=15)
    assert list(data.labels.names) == [f"all:{i + 1}" for i in range(15)]
    code, _, err = call("infer", tmp_path / "cells.csv", "--metacells", 15, "--out", tmp_path / "no")
    assert code == 2
    assert "--metacells does not go with --method linear" in err

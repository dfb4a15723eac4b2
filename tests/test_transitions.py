"""Time courses as pairs: order, gaps, unequal lengths, and what is refused."""

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.models import ExpressionData
from pyrogrn.models.data.transitions import Transitions

GENES = ("A", "B")


def make(values, time, trajectory):
    return Transitions.from_arrays(torch.tensor(values, dtype=torch.float32), time, trajectory, genes=GENES)


def test_rows_in_any_order_and_trajectories_of_unequal_length():
    pairs = make([[3, 3], [0, 0], [1, 1], [5, 6], [7, 8]], [4.0, 0.0, 1.0, 2.0, 0.5], ["x", "x", "x", "y", "y"])
    assert pairs.num_pairs == 3
    assert torch.equal(pairs.start, torch.tensor([[0.0, 0], [1, 1], [7, 8]]))
    assert torch.equal(pairs.stop, torch.tensor([[1.0, 1], [3, 3], [5, 6]]))
    assert torch.equal(pairs.dt, torch.tensor([1.0, 3.0, 1.5]))
    assert pairs.trajectory.tolist() == [0, 0, 1]
    assert pairs.names == ("x", "y")
    assert bool(pairs.observed.all())


def test_shuffled_rows_give_the_same_pairs(seeded):
    X, time = torch.rand(12, 2), np.tile([0.0, 2.0, 3.0], 4)
    names = np.repeat(["a", "b", "c", "d"], 3)
    order = torch.randperm(12)
    one = Transitions.from_arrays(X, time, names, genes=GENES)
    other = Transitions.from_arrays(X[order], time[order], names[order], genes=GENES)
    for name in one.names:
        (left, _), (right, _) = one.split([name]), other.split([name])
        assert torch.equal(left.start, right.start)
        assert torch.equal(left.stop, right.stop)


def test_missing_targets_are_masked_and_missing_starts_carried_forward():
    nan = float("nan")
    pairs = make([[1.0, nan], [nan, 4.0], [3.0, nan], [nan, 8.0]], [0, 1, 2, 3], ["a"] * 4)
    assert pairs.observed.tolist() == [[False, True], [True, False], [False, True]]
    # A: 1, carried 1, 3; B: no earlier value, so its mean 6, then 4, carried 4. Never the target's own value.
    assert torch.equal(pairs.start, torch.tensor([[1.0, 6.0], [1.0, 4.0], [3.0, 4.0]]))
    assert "3 missing starting values" in pairs.notes[0]


def test_a_trajectory_of_one_point_is_left_out_and_named():
    pairs = make([[0, 0], [1, 1], [9, 9]], [0, 1, 0], ["a", "a", "lonely"])
    assert pairs.names == ("a",)
    assert "lonely" in pairs.notes[0]


@pytest.mark.parametrize(
    ("values", "time", "trajectory", "message"),
    [
        ([[0, 0], [1, 1]], [0, 0], ["a", "b"], "no trajectory has more than one time point"),
        ([[0, 0], [1, 1], [2, 2]], [0, 1, 1], ["a", "a", "a"], "'a' has time 1 more than once"),
        ([[0, 0], [1, 1]], [0, float("nan")], ["a", "a"], "1 times are NaN"),
        ([[0, 0], [1, 1]], [0, 1, 2], ["a", "a"], "2 rows"),
        ([[0, float("inf")], [1, 1]], [0, 1], ["a", "a"], "infinite"),
        ([[0, float("nan")], [1, float("nan")]], [0, 1], ["a", "a"], "no value at all: .*'B'"),
        ([[0], [1]], [0, 1], ["a", "a"], "expected"),
    ],
)
def test_bad_input_is_refused_by_name(values, time, trajectory, message):
    with pytest.raises(ValueError, match=message) as error:
        make(values, time, trajectory)
    assert "\n" not in str(error.value)


@pytest.fixture
def several(seeded):
    return Transitions.from_arrays(torch.rand(30, 2), [0, 1, 2] * 10, np.repeat(range(10), 3), genes=GENES)


def test_split_and_folds_part_whole_trajectories(several):
    chosen, rest = several.split(["3", "7"])
    assert chosen.num_pairs == 4
    assert rest.num_pairs == 16
    held = [set(out.trajectory.tolist()) for _, out in several.folds(4, seed=1)]
    assert sorted(t for part in held for t in part) == list(range(10))
    for training, out in several.folds(4, seed=1):
        assert not set(training.trajectory.tolist()) & set(out.trajectory.tolist())
        assert training.num_pairs + out.num_pairs == several.num_pairs
    with pytest.raises(ValueError, match="not in the data"):
        several.split(["none"])
    with pytest.raises(ValueError, match="both parts"):
        several.split([str(i) for i in range(10)])
    with pytest.raises(ValueError, match="11 folds of 10"):
        next(several.folds(11))


def test_minibatches_hold_whole_trajectories_once(several):
    batches = list(several.minibatches(3, torch.Generator().manual_seed(0)))
    assert [b.num_pairs for b in batches] == [6, 6, 6, 2]
    assert sorted(t for b in batches for t in set(b.trajectory.tolist())) == list(range(10))
    assert next(iter(several.minibatches(99))) is several


def test_from_expression_data_and_to():
    frame = pd.DataFrame([[0.0, 1.0], [2.0, 3.0]], columns=list(GENES))
    data = ExpressionData.from_frame(frame)
    with pytest.raises(ValueError, match="no times"):
        Transitions.from_data(data)
    pairs = Transitions.from_data(data.with_times([1, 0], ["a", "a"]))
    assert torch.equal(pairs.start, torch.tensor([[2.0, 3.0]]))
    assert pairs.to(dtype=torch.float64).start.dtype == torch.float64
    assert pairs.genes == GENES


def test_shapes_are_checked():
    good = make([[0, 0], [1, 1]], [0, 1], ["a", "a"])
    with pytest.raises(ValueError, match="`start` has shape"):
        Transitions(good.start[:, :1], good.stop, good.dt, good.observed, good.trajectory, good.names, good.genes)
    with pytest.raises(ValueError, match="must increase"):
        Transitions(good.start, good.stop, -good.dt, good.observed, good.trajectory, good.names, good.genes)
    with pytest.raises(ValueError, match="not finite"):
        Transitions(
            good.start + float("nan"), good.stop, good.dt, good.observed, good.trajectory, good.names, good.genes
        )

"""Trainings in a stack: each is what it would have been alone, ends by itself, and bad stacks are refused."""

import numpy as np
import pytest
import torch
from pyrogrn.inference.neural_ode import LearningRate, train
from pyrogrn.inference.neural_ode import fine_tuning as F
from pyrogrn.inference.neural_ode.fine_tuning import Tuning, fine_tune, standard_error
from pyrogrn.inference.neural_ode.stacked import Job, train_many
from pyrogrn.inference.neural_ode.training import Diverged
from pyrogrn.inference.pruning import CNODE, DASH, IMP, HardConcrete, Magnitude, NoPruning, PathReg, Schedule
from pyrogrn.models.data.transitions import Transitions
from pyrogrn.models.dynamics.ode_solvers import Dopri5, RungeKutta
from pyrogrn.models.dynamics.phoenix_network import PhoenixNetwork
from pyrogrn.models.dynamics.prior_loss import PriorLoss

GENES = tuple("ABCDEF")
PRIOR = (torch.rand(6, 6, generator=torch.Generator().manual_seed(5)) < 0.4).float()
FAST = LearningRate(start=0.01)


def course(trajectories, seed, times=(0.0, 1.0, 3.0)):
    """Genes that relax towards a mix of the others."""
    generator = torch.Generator().manual_seed(seed)
    start, mix = torch.rand(trajectories, 6, generator=generator), torch.rand(6, 6, generator=generator) / 6
    rows = torch.cat([start @ mix + (start - start @ mix) * np.exp(-t) for t in times])
    when = np.repeat(times, trajectories)
    return Transitions.from_arrays(rows, when, [f"s{k}" for k in range(trajectories)] * len(times), genes=GENES)


@pytest.fixture(scope="module")
def data():
    return course(8, 0)


@pytest.fixture(scope="module")
def held():
    return course(4, 1)


def small(**options):
    return PhoenixNetwork(GENES, hidden=4, **{"solver": RungeKutta(0.5), **options})


MAKE = {
    "none": lambda: None,
    "imp": lambda: IMP(schedule=Schedule(2, 0.5, every=3, share=0.2)),
    "dash": lambda: DASH(PRIOR, schedule=Schedule(2, 0.3, every=3)),
    "magnitude": lambda: Magnitude(0.5),
    "cnode": lambda: CNODE(strength=0.01),
    "l0": HardConcrete,
    "pathreg": PathReg,
}


@pytest.mark.parametrize("loss", [False, True])
def test_each_run_is_what_it_would_be_alone(data, held, loss):
    extra = PriorLoss(PRIOR, points=8) if loss else None
    options = {"extra_loss": extra, "learning": FAST}
    jobs = [Job(small(seed=s), data, held, make(), seed=s, **options) for s, make in enumerate(MAKE.values())]
    together = train_many(jobs, num_epochs=5)
    for seed, (job, found) in enumerate(zip(jobs, together, strict=True)):
        alone = train(job.network, data, validation=held, sparsifier=job.sparsifier, seed=seed, num_epochs=5, **options)
        np.testing.assert_allclose(found.history.validation, alone.history.validation, rtol=2e-4)
        np.testing.assert_allclose(found.history.rate, alone.history.rate)
        assert found.sparsity == pytest.approx(alone.sparsity)
        assert found.history.best == alone.history.best
        for name, mask in found.network.masks().items():
            assert torch.equal(mask, alone.network.masks()[name])
            torch.testing.assert_close(found.network.weights()[name], alone.network.weights()[name], rtol=0, atol=2e-3)


def test_the_callers_networks_stay_and_a_run_that_ends_leaves_the_others_going(data, held):
    jobs = [
        Job(small(seed=s), data, held, seed=s, learning=LearningRate(start=rate)) for s, rate in ((0, 1), (1, 5e-3))
    ]
    before = {n: v.clone() for n, v in jobs[0].network.state_dict().items()}
    ended = []
    found = train_many(jobs, num_epochs=30, patience=4, done=lambda number, fitted: ended.append((number, fitted)))
    assert [number for number, _ in ended] == [0, 1]
    assert [fitted for _, fitted in ended] == found
    assert found[0].history.reason == "converged"
    assert len(found[0].history.train) < len(found[1].history.train)
    assert all(torch.equal(v, before[n]) for n, v in jobs[0].network.state_dict().items())
    alone = train(jobs[1].network, data, validation=held, seed=1, learning=jobs[1].learning, num_epochs=30, patience=4)
    np.testing.assert_allclose(found[1].history.validation, alone.history.validation, rtol=1e-3)


def test_some_points_of_the_prior_loss_a_step_are_all_of_them_in_an_epoch(data, held):
    extra = PriorLoss(PRIOR, points=12)
    runs = [
        train_many([Job(small(), data, held, extra_loss=extra, extra_points=n, learning=FAST)], num_epochs=20)[0]
        for n in (None, 1)
    ]
    errors = [float(extra(run.network).detach()) for run in runs]
    assert errors[1] == pytest.approx(errors[0], rel=0.1)
    assert runs[0].history.validation[-1] != runs[1].history.validation[-1]


class Explodes(NoPruning):
    """Makes the weights of a run too large for its solver in one epoch, by default the third."""

    def __init__(self, when=3):
        self.when = when

    def before_epoch(self, epoch, network):
        if epoch == self.when:
            with torch.no_grad():
                network.weights()["W_pi"].fill_(1e4)
        return False


def test_a_run_that_blows_up_ends_and_the_others_go_on(data, held):
    jobs = [Job(small(seed=s), data, held, sparsifier, learning=FAST) for s, sparsifier in ((0, None), (1, Explodes()))]
    found = train_many(jobs, num_epochs=5)
    assert found[1].history.reason.startswith("diverged at epoch 3")
    assert len(found[1].history.train) == 2
    assert found[1].validation == pytest.approx(found[1].history.validation.min(), rel=1e-4)
    assert found[0].history.reason == "budget"
    alone = train(jobs[0].network, data, validation=held, learning=FAST, num_epochs=5)
    np.testing.assert_allclose(found[0].history.validation, alone.history.validation, rtol=2e-4)


def test_a_run_that_blows_up_at_once_has_no_error_and_the_others_go_on(data, held):
    jobs = [
        Job(small(seed=s), data, held, sparsifier, learning=FAST) for s, sparsifier in ((0, None), (1, Explodes(1)))
    ]
    ended = {}
    found = train_many(jobs, num_epochs=3, done=lambda number, fitted: ended.update({number: fitted}))
    assert list(ended.values()) == [found[1], found[0]]
    assert found[1].history.reason.startswith("diverged at epoch 1")
    assert (found[1].validation, found[1].history.best, len(found[1].history.train)) == (np.inf, 0, 0)
    assert all(torch.equal(v, jobs[1].network.state_dict()[n]) for n, v in found[1].network.state_dict().items())
    alone = train(jobs[0].network, data, validation=held, learning=FAST, num_epochs=3)
    np.testing.assert_allclose(found[0].history.validation, alone.history.validation, rtol=2e-4)
    with pytest.raises(Diverged, match=r"diverged at epoch 1, step \d+ of the solver: .*Start from smaller weights"):
        train_many(jobs[1:], num_epochs=3)
    with pytest.raises(Diverged, match="diverged at epoch 1"):
        train(jobs[1].network, data, validation=held, sparsifier=Explodes(1), num_epochs=3)


@pytest.mark.parametrize("solver", [RungeKutta(0.5), Dopri5(rtol=1e-3, atol=1e-4)])
def test_a_share_that_blows_up_at_once_is_never_taken(data, held, solver, monkeypatch):
    broken = set()

    class Pruned(Magnitude):
        def before_epoch(self, epoch, network):
            if self.fraction in broken:
                Explodes(1).before_epoch(epoch, network)
            return super().before_epoch(epoch, network)

    monkeypatch.setattr(F, "Magnitude", Pruned)
    dense, how = small(solver=solver), Tuning(num_epochs=1, learning=FAST)
    broken.add(0.9)
    share, fitted = fine_tune(dense, data, held, how, grid=(0.2, 0.9))
    assert share == 0.2
    assert np.isfinite(fitted.validation)
    broken.add(0.2)
    with pytest.raises(Diverged, match="diverged at epoch 1"):
        fine_tune(dense, data, held, how, grid=(0.2, 0.9))


@pytest.mark.parametrize("solver", [RungeKutta(0.5), Dopri5(rtol=1e-3, atol=1e-4)])
def test_fine_tuning_takes_the_sparsest_that_is_as_good(data, held, solver):
    dense = train(small(solver=RungeKutta(0.5)), data, validation=held, learning=FAST, num_epochs=15).network
    dense.solver = solver
    how = Tuning(num_epochs=3, learning=FAST)
    grid = (0.2, 0.5, 0.99)
    share, fitted = fine_tune(dense, data, held, how, grid=grid)
    alone = [
        train(dense, data, validation=held, sparsifier=Magnitude(p), learning=FAST, num_epochs=3).validation
        for p in grid
    ]
    limit = min(alone) + standard_error(fitted.network, held) * 2  # that of the best, or near it
    assert share == pytest.approx(fitted.sparsity, abs=0.05)
    assert alone[grid.index(share)] <= limit
    assert fitted.validation == pytest.approx(alone[grid.index(share)], rel=1e-3)
    assert sum(int((m == 0).sum()) for m in dense.masks().values()) == 0
    with pytest.raises(ValueError, match="no share"):
        fine_tune(dense, data, held, how, grid=())


def test_stacks_that_cannot_be_are_refused(data, held):
    one = Job(small(), data, held)
    with pytest.raises(ValueError, match="at least one"):
        train_many([])
    with pytest.raises(ValueError, match="one size"):
        train_many([one, Job(PhoenixNetwork(GENES, hidden=5, solver=RungeKutta(0.5)), data, held)])
    with pytest.raises(ValueError, match="prior loss"):
        train_many([one, Job(small(), data, held, extra_loss=PriorLoss(PRIOR))])
    with pytest.raises(ValueError, match="adapts its steps"):
        train_many([Job(small(solver=Dopri5()), data, held)])
    with pytest.raises(ValueError, match="extra_points=0"):
        train_many([Job(small(), data, held, extra_loss=PriorLoss(PRIOR), extra_points=0)])
    with pytest.raises(ValueError, match="numbers of trajectories"):
        train_many([one, Job(small(), course(7, 0), held)])
    with pytest.raises(ValueError, match="intervals"):
        train_many([one, Job(small(), course(8, 0, (0.0, 2.0, 3.0)), held)])

"""The training loop: it learns, prunes, slows down, stops, returns the best, resumes to the same numbers, and ends in
order where the solution blows up."""

import numpy as np
import pytest
import torch
from pyrogrn.inference.neural_ode import LearningRate
from pyrogrn.inference.neural_ode import train as train_network
from pyrogrn.inference.pruning import CNODE, DASH, IMP, HardConcrete, PathReg, Schedule
from pyrogrn.inference.runs.callbacks import Checkpoint, load_checkpoint
from pyrogrn.models.data.transitions import Transitions
from pyrogrn.models.dynamics.ode_solvers import Dopri5, RungeKutta
from pyrogrn.models.dynamics.phoenix_layers import BlowUp
from pyrogrn.models.dynamics.phoenix_network import PhoenixNetwork
from pyrogrn.models.dynamics.prior_loss import PriorLoss

GENES = tuple("ABCDEF")
TRUE = ((0, 2, 0.9), (1, 3, -0.8), (2, 4, 0.7), (0, 5, -0.6))  # source, target, effect


def course(trajectories, seed):
    """Genes 0 and 1 stay; the others follow ġ = ½ + effect·(source - ½) - g, solved exactly enough by small steps."""
    g = torch.rand(trajectories, 6, generator=torch.Generator().manual_seed(seed))
    rows, when, name = [], [], []
    for t in range(4):
        rows.append(g.clone())
        when += [float(t)] * trajectories
        name += [f"s{seed}_{k}" for k in range(trajectories)]
        for _ in range(50):
            target = torch.full_like(g, 0.5)
            for source, to, effect in TRUE:
                target[:, to] += effect * (g[:, source] - 0.5)
            rate = target - g
            rate[:, :2] = 0
            g = g + 0.02 * rate
    return Transitions.from_arrays(torch.cat(rows), when, name, genes=GENES)


@pytest.fixture(scope="module")
def data():
    return course(24, 0)


@pytest.fixture(scope="module")
def held():
    return course(6, 1)


@pytest.fixture(scope="module")
def prior():
    P = torch.zeros(6, 6)
    for source, target, _ in TRUE:
        P[source, target] = 1.0
    return P


FAST = LearningRate(start=0.01)


def train(network, data, *, batch_size=4, **options):
    """In steps of four trajectories: quicker here, and as good on so few genes."""
    return train_network(network, data, batch_size=batch_size, **options)


def small(**options):
    return PhoenixNetwork(GENES, hidden=4, **{"solver": RungeKutta(0.5), **options})


def test_it_learns_and_leaves_the_callers_network_alone(data, held):
    network = small()
    before = {n: v.clone() for n, v in network.state_dict().items()}
    out = train(network, data, validation=held, num_epochs=60, learning=FAST)
    assert out.validation < 0.15 * out.history.validation[0]
    assert out.validation == pytest.approx(out.history.validation.min(), rel=1e-5)
    assert out.history.best == out.history.validation.argmin() + 1
    assert all(torch.equal(v, before[n]) for n, v in network.state_dict().items())


def test_dash_finds_the_network_that_the_prior_hints_at(data, held, prior):
    schedule = Schedule(3, 0.3, every=10, share=0.1, last_epoch=30)
    dash = DASH(prior, strength=0.3, schedule=schedule)
    network = PhoenixNetwork(GENES, hidden=8, solver=RungeKutta(0.5), upsilon=1.0)
    out = train(network, data, validation=held, sparsifier=dash, num_epochs=100, learning=LearningRate(start=0.003))
    E = out.network.edges()
    found = torch.stack([E[s, t].abs() for s, t, _ in TRUE])
    others = E.abs()[prior == 0]
    assert found.median() > 5 * others.median()
    signs = [np.sign(E[source, target].item()) * np.sign(effect) for source, target, effect in TRUE]
    assert sum(s > 0 for s in signs) >= 3
    assert min(signs) >= 0


def test_same_seed_gives_the_same_numbers(data, held):
    runs = [train(small(), data, validation=held, num_epochs=4, seed=s, sparsifier=HardConcrete()) for s in (0, 0, 1)]
    assert np.array_equal(runs[0].history.validation, runs[1].history.validation)
    assert not np.array_equal(runs[0].history.validation, runs[2].history.validation)


def test_the_schedule_is_seen_in_the_history_and_the_rate_starts_anew(data, held):
    learning = LearningRate(start=0.01, patience=0, tolerance=10.0)  # nothing counts as an improvement
    schedule = Schedule(3, 0.5, every=4, share=0.5)
    out = train(small(), data, validation=held, sparsifier=IMP(schedule=schedule), num_epochs=9, learning=learning)
    assert out.history.sparsity[2] == pytest.approx(0.5, abs=0.05)
    assert out.history.sparsity[8] == pytest.approx(0.875, abs=0.05)
    rate = out.history.rate
    assert rate[[0, 2, 3, 7]] == pytest.approx(0.01)
    assert rate[[4, 5, 6]] == pytest.approx([0.01, 0.009, 0.0081])  # the first epoch after pruning is the reference


def test_it_stops_when_nothing_improves(data, held):
    out = train(small(), data, validation=held, num_epochs=200, patience=3, learning=LearningRate(start=1.0))
    assert out.history.reason == "converged"
    assert len(out.history.train) == out.history.best + 3


def test_slack_returns_a_sparser_model(data, held):
    options = {"num_epochs": 40, "learning": FAST, "sparsifier": IMP(schedule=Schedule(3, 0.3, every=5, share=0.3))}
    strict = train(small(), data, validation=held, **options)
    loose = train(small(), data, validation=held, slack=1e9, **options)
    assert loose.sparsity == pytest.approx(loose.history.sparsity.max(), abs=1e-6)
    assert loose.sparsity >= strict.sparsity
    assert loose.validation >= strict.validation


@pytest.mark.parametrize("kind", [CNODE, HardConcrete, PathReg])
def test_penalties_make_it_sparser(kind, data, held):
    loose, strict = (
        train(small(), data, validation=held, num_epochs=40, learning=LearningRate(start=0.02), slack=0.0, sparsifier=s)
        for s in (kind(strength=0.0), kind(strength=1.0))
    )
    size = [sum(w.detach().abs().sum() for w in run.network.weights().values()) for run in (loose, strict)]
    assert strict.sparsity > loose.sparsity or size[1] < 0.8 * size[0]


def test_what_is_returned_is_what_was_validated_with_gates_folded_in(data, held):
    out = train(small(), data, validation=held, num_epochs=15, learning=FAST, sparsifier=HardConcrete(strength=0.1))
    assert out.validation == pytest.approx(out.history.validation.min(), rel=1e-4)
    with torch.no_grad():
        assert float(out.network.loss(held)) == pytest.approx(out.validation)


def test_prior_loss_pulls_towards_the_prior(data, held, prior):
    loss = PriorLoss(prior, points=100)
    plain = train(small(), data, validation=held, num_epochs=15, learning=FAST)
    pulled = train(small(), data, validation=held, num_epochs=15, learning=FAST, extra_loss=loss, extra_share=0.5)
    with torch.no_grad():
        assert loss(pulled.network) < loss(plain.network)


class StopAfter:
    def __init__(self, epoch):
        self.epoch = epoch

    def __call__(self, state):
        if state.step == self.epoch:
            raise KeyboardInterrupt

    def close(self):
        pass


@pytest.mark.parametrize("kind", ["dash", "l0"])
def test_an_interrupted_run_resumes_to_the_same_numbers(kind, data, held, prior, tmp_path):
    def sparsifier():
        return DASH(prior, schedule=Schedule(3, 0.3, every=4, share=0.2)) if kind == "dash" else HardConcrete()

    options = {"validation": held, "num_epochs": 12, "learning": FAST, "batch_size": 4, "slack": 1.0}
    whole = train(small(), data, sparsifier=sparsifier(), **options)
    path = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        train(small(), data, sparsifier=sparsifier(), callbacks=[Checkpoint(path), StopAfter(6)], **options)
    state = load_checkpoint(path)
    assert state["step"] == 6
    again = train(small(), data, sparsifier=sparsifier(), resume=state, **options)
    assert np.array_equal(again.history.validation, whole.history.validation)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name])
    with pytest.raises(ValueError, match="belongs to another run"):
        train(small(), data, sparsifier=sparsifier(), resume=state, **{**options, "seed": 3})


class BlowsUpLater:
    """A solver that fails once, after so many calls."""

    def __init__(self, calls):
        self.calls = calls

    def __call__(self, parameters, start, dt, free=None):
        self.calls -= 1
        if self.calls == -1:
            raise BlowUp("the solution is not finite after step 2 of 6, in 1 pairs", 2)
        return RungeKutta(0.5)(parameters, start, dt, free)


def test_a_blow_up_ends_the_run_in_order(data, held, tmp_path):
    path = tmp_path / "run.pt"
    network = small(solver=BlowsUpLater(7 * 4 + 2))  # six batches and a validation an epoch
    out = train(
        network, data, validation=held, num_epochs=20, batch_size=4, learning=FAST, callbacks=[Checkpoint(path, 1e9)]
    )
    assert out.history.reason.startswith("diverged at epoch 5, step 2 of the solver")
    assert len(out.history.train) == 4
    state = load_checkpoint(path)
    assert state["step"] == 4
    resumed = train(small(), data, validation=held, num_epochs=20, batch_size=4, learning=FAST, resume=state)
    straight = train(small(), data, validation=held, num_epochs=20, batch_size=4, learning=FAST)
    assert np.array_equal(resumed.history.validation, straight.history.validation)


def test_a_blow_up_at_once_is_an_error(data, held):
    with pytest.raises(ValueError, match="diverged at epoch 1, step 2"):
        train(small(solver=BlowsUpLater(2)), data, validation=held)


def test_options_are_checked(data, held):
    for options in ({"num_epochs": 0}, {"batch_size": 0}, {"slack": -1.0}, {"extra_share": 1.0}):
        with pytest.raises(ValueError, match="expected"):
            train(small(), data, validation=held, **options)
    for options in ({"start": 0.0}, {"factor": 1.0}, {"patience": -1}):
        with pytest.raises(ValueError, match="expected"):
            LearningRate(**options)


def test_dopri5_trains_too(data, held):
    out = train(small(solver=Dopri5()), data, validation=held, num_epochs=3, learning=FAST)
    fixed = train(small(solver=RungeKutta(0.1)), data, validation=held, num_epochs=3, learning=FAST)
    assert out.history.validation == pytest.approx(fixed.history.validation, rel=1e-2)

"""Restarts that come to the same place go on as one; draws are told of, can be interrupted, and are not thrown away."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from pyrogrn.inference import Blocked, MeanField, choice, fit
from pyrogrn.inference.choice import default_length
from pyrogrn.inference.datatree import prior_draws
from pyrogrn.inference.draws import moments
from pyrogrn.inference.draws.moments import Collector
from pyrogrn.inference.factors import walk as walks
from pyrogrn.inference.factors.restarts import Restarts, same_place, select
from pyrogrn.inference.factors.start import start
from pyrogrn.inference.factors.sweep import REFRESH, GramRound
from pyrogrn.inference.factors.walk import LEAST, num_drawn
from pyrogrn.inference.runs.callbacks import Progress
from pyrogrn.models import PPCA, MuVI
from pyrogrn.models.observation.gram_factors import GramFactors
from pyrogrn.models.simulators import simulate_muvi
from pyrogrn.priors import Take

pytestmark = pytest.mark.usefixtures("seeded")


def simulated(**options):
    return simulate_muvi(**{"num_genes": 30, "num_cells": 120, "num_sets": 3, "set_size": 8, "seed": 1} | options)


def climbed(model, rounds, chains=3):
    engine = GramRound(model)
    state = start(engine, chains)
    for _ in range(rounds):
        state = engine(state, Take(draws=False))
    return engine, state


def test_rotations_of_one_another_are_one_place():
    model = PPCA(simulated().data, num_factors=3)
    _, state = climbed(model, 150)
    assert same_place(model, state).tolist() == [0, 0, 0]
    restarts = Restarts(np.arange(3))
    assert len(restarts.looked_at(model, state).loadings) == 1
    assert restarts.row.tolist() == [0, 0, 0]
    assert restarts.of_each(np.array([7.0])).tolist() == [7, 7, 7]


def test_different_places_stay_apart():
    model = MuVI(simulated().data, num_factors=3)
    _, state = climbed(model, 60)
    other = state.loadings.clone()
    other[1, :, 0] = 0.0  # a program that is not there
    state = select(state, torch.arange(3))
    object.__setattr__(state, "loadings", other)
    assert same_place(model, state).tolist() == [0, 1, 0]
    restarts = Restarts(np.arange(3))
    kept = restarts.looked_at(model, state)
    assert restarts.row.tolist() == [0, 1, 0]
    torch.testing.assert_close(kept.loadings, other[:2])


def test_another_bound_is_another_place():
    model = PPCA(simulated().data, num_factors=3)
    _, state = climbed(model, 150)
    object.__setattr__(state, "bound", state.bound + torch.tensor([0.0, 5.0, 0.0]))
    assert same_place(model, state).tolist() == [0, 1, 0]


def test_alike_restarts_are_one_chain_with_the_posterior_of_a_single_start():
    model = PPCA(simulated().data, num_factors=3)
    many, one = fit(model, restarts=4, num_draws=400), fit(model, restarts=1, num_draws=400)
    assert many.draws["W"].shape[:2] == (1, 400)
    assert many.history.elbo.shape[0] == 4  # every restart has its record
    assert many.attributes["restarts_kept"].tolist() == [0, 1, 2, 3]
    assert (many.attributes["restart_agreement"] > 0.999).all()
    checks = many.diagnose().set_index("check")
    said = [str(meaning) for check, meaning in checks["meaning"].items() if str(check).startswith("R-hat")]
    assert said
    assert set(said) == {"Needs at least two places where 4 restarts ended, and there was one."}
    np.testing.assert_allclose(many.history.elbo[:, -1].max(), one.history.elbo[:, -1].max(), rtol=1e-5)
    size = lambda posterior: np.einsum("cdkg,cdkg->cdg", *2 * (posterior.draws["W"],)).mean((0, 1))  # no rotation
    np.testing.assert_allclose(size(many), size(one), rtol=0.15, atol=0.02)


def test_draws_are_told_of_after_the_ascent():
    told = []

    class Listener:
        def __call__(self, state):
            told.append((state.step, state.total, state.message))

        def close(self):
            pass

    model = MuVI(simulated().data, num_factors=2)
    fit(model, guide=Blocked(), restarts=2, num_draws=30, num_steps=12, callbacks=[Listener()])
    assert told[11][:2] == (12, 12)
    assert told[-1] == (30 + REFRESH - 1, 30 + REFRESH - 1, "draws")


def test_the_bar_begins_anew_for_the_draws():
    class State:
        message = ""

        def __init__(self, step, total):
            self.step, self.total = step, total

    bar = Progress()
    bar(State(1, 12))
    first = bar._bar
    bar(State(2, 12))
    assert bar._bar is first
    bar(State(1, 30))
    assert bar._bar is not first
    assert bar._bar.total == 30
    bar.close()


def test_an_interrupt_ends_the_draws_between_two_blocks(monkeypatch):
    monkeypatch.setattr(walks, "TOGETHER", 1)  # one by one
    steps, kept = [], REFRESH + 5

    class Interrupting:
        def __call__(self, state):
            steps.append((state.step, state.message))
            if steps[-1] == (kept, "draws"):
                os.kill(os.getpid(), signal.SIGINT)

        def close(self):
            pass

    model, length = MuVI(simulated().data, num_factors=2), {"restarts": 1, "num_draws": 50, "num_steps": 12}
    with pytest.raises(KeyboardInterrupt):
        fit(model, guide=Blocked(), callbacks=[Interrupting()], **length)
    assert kept <= steps[-1][0] < REFRESH - 1 + 50


@pytest.mark.parametrize(("asked", "chains", "thin", "drawn"), [(500, 1, 1, 500), (500, 4, 3, 125), (500, 4, 9, 56)])
def test_no_more_is_drawn_than_is_kept(monkeypatch, asked, chains, thin, drawn):
    model = MuVI(simulated().data, num_factors=2)
    large = sum(4 * model.coords["factor"].__len__() * 30 for name in ("W", "local_scale"))
    monkeypatch.setattr(moments, "DRAW_BUDGET", chains * asked * (large + 8) / thin)
    planned = Collector(model, chains, asked, has_inclusion=False)
    number = num_drawn(planned, given=True)
    assert number == min(planned.kept, drawn if thin == 1 else max(LEAST, -(-asked // chains)))
    assert abs(number - drawn) <= 2


@pytest.mark.parametrize(("chains", "drawn"), [(1, 250), (2, 125), (4, 100)])
def test_of_many_loadings_fewer_draws_are_made_where_nobody_asked(monkeypatch, chains, drawn):
    model = MuVI(simulated().data, num_factors=2)
    planned = Collector(model, chains, 500, has_inclusion=False)
    assert num_drawn(planned, given=False) == 500
    monkeypatch.setattr(walks, "MANY", model.edge_prior.allowed.numel() - 1)
    assert num_drawn(planned, given=False) == drawn
    assert num_drawn(planned, given=True) == 500


def test_what_is_asked_for_is_drawn(monkeypatch):
    monkeypatch.setattr(walks, "MANY", 1)
    model = MuVI(simulated().data, num_factors=2)
    assert fit(model, num_steps=2, restarts=1, num_draws=300).draws["W"].shape[1] == 300
    assert fit(model, num_steps=2, restarts=1).draws["W"].shape[1] == 250


def test_two_restarts_are_made_of_many_loadings_by_blocked_alone(monkeypatch):
    model = MuVI(simulated().data, num_factors=2)
    assert default_length(model).restarts == 4
    number = model.edge_prior.allowed.numel()
    rows = [replace(row, large=row.large and row.large._replace(weights=number - 1)) for row in choice.CHOICES]
    monkeypatch.setattr(choice, "CHOICES", rows)
    assert default_length(model).restarts == default_length(model, Blocked()).restarts == 2
    assert default_length(model, MeanField()).restarts == 4


@pytest.mark.parametrize(("refresh", "effective", "wrong"), [(0, 600, 0.02), (50, 60, 0.15)])
def test_many_draws_at_once_have_the_moments_of_one_by_one(monkeypatch, refresh, effective, wrong):
    model = MuVI(simulated(num_covariates=1, correlation=0.4).data, num_factors=2)
    options = {"guide": Blocked(refresh=refresh), "restarts": 1, "num_draws": 600}
    together = fit(model, **options).moments["W"]
    monkeypatch.setattr(walks, "DRAWN", 1)
    monkeypatch.setattr(walks, "WALKERS", 7)  # which does not divide their number
    single = fit(model, **options).moments["W"]
    error = np.sqrt((together.sd**2 + single.sd**2) / effective)
    assert np.abs((together.mean - single.mean) / error).max() < 4.5
    np.testing.assert_allclose(np.log(together.sd / single.sd).mean(), 0, atol=wrong)


def test_draws_of_several_places_are_laid_walker_after_walker(monkeypatch):
    """A place moves on by one round for each draw of a walker; between walkers it does not go on."""
    monkeypatch.setattr(walks, "WALKERS", 3)
    place = iter(range(100))
    engine = lambda state, take: next(place)
    monkeypatch.setattr(walks, "draw_state", lambda *_: -1)
    assert [next(walk) for walk in [walks.walk(engine, None, 3, 2)] for _ in range(4)] == [0, 1, 2, 3]

    model = MuVI(simulated().data, num_factors=2)
    collector = Collector(model, 2, 7, has_inclusion=False)
    for draw in range(7):  # 0, 3, 6 of the first walker, 1, 4 of the second
        collector.keep({"tau": torch.full((2,), float(draw))})
    collector.by_walker(3)
    assert torch.stack(collector.draws["tau"])[:, 1, 0].tolist() == [0, 3, 6, 1, 4, 2, 5]


def test_walks_say_how_many_walkers_there_were():
    model = MuVI(simulated().data, num_factors=2)
    posterior = fit(model, restarts=1, num_draws=60, num_steps=50)
    assert int(posterior.attributes["walkers"]) == 60
    assert "effective draws" in set(posterior.diagnose()["check"])
    alone = fit(model, guide=Blocked(refresh=0), restarts=1, num_draws=60, num_steps=50)
    assert "walkers" not in alone.attributes
    assert "effective draws" not in set(alone.diagnose()["check"])


def test_prior_draws_ask_for_no_likelihood(monkeypatch):
    def refuse(self, value):
        raise AssertionError("the likelihood was worked out")

    model = MuVI(simulated().data, num_factors=2)
    monkeypatch.setattr(GramFactors, "density", refuse)
    assert prior_draws(model, num_draws=7)["noise_variance"].shape == (1, 7, 30)

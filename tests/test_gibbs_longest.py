"""The dense sampler draws on where its draws do not yet say enough, and only where that was allowed."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from pyrogrn.experiments import remedies
from pyrogrn.experiments.commands.options import make_guide
from pyrogrn.inference import Checkpoint, Gibbs, SparseGibbs, choice, diagnostics, fit, load_checkpoint
from pyrogrn.inference.choice import default_guide
from pyrogrn.inference.engines import gibbs as engine
from pyrogrn.inference.many import fit_many
from pyrogrn.inference.sparse import settling
from pyrogrn.inference.sparse.settling import OF_LIKELIHOOD, slow
from pyrogrn.models import PPCA, LinearNetwork, TrajectoryNetwork
from pyrogrn.models.simulators import simulate_courses, simulate_linear, simulate_ppca
from test_resume_exact import StopAt

SHORT = Gibbs(num_chains=2, num_warmup=5, num_samples=8)
SLOW = ["R-hat of slab_scale 1.30"]


@pytest.fixture
def model():
    return TrajectoryNetwork.from_data(simulate_courses(num_genes=5, num_trajectories=8, noise=0.05, seed=3).data)


def never(monkeypatch):
    """Draws are never enough."""
    monkeypatch.setattr(engine, "slow", lambda _: SLOW)
    monkeypatch.setattr(engine, "not_reached", lambda *_: SLOW)


def number(posterior):
    return posterior.draws["edge_logit"].shape[1]


def test_of_itself_it_draws_what_was_asked_for(model, monkeypatch):
    never(monkeypatch)
    posterior = fit(model, guide=SHORT)
    assert number(posterior) == 8
    assert posterior.history.reason == "budget"


@pytest.mark.parametrize("thin", [1, 2])
def test_half_as_many_again_until_it_is_enough(model, monkeypatch, thin):
    said = iter([SLOW, SLOW, []])
    monkeypatch.setattr(engine, "slow", lambda _: next(said))
    posterior = fit(model, guide=replace(SHORT, longest=4, thin=thin))
    assert number(posterior) == 16
    assert posterior.history.reason == "budget"
    assert posterior.history.elbo.shape[1] == 5 + 16 * thin


def test_at_the_most_as_many_as_are_allowed_and_what_is_left_is_said(model, monkeypatch):
    never(monkeypatch)
    posterior = fit(model, guide=replace(SHORT, num_samples=5, longest=2))
    assert number(posterior) == 10
    assert posterior.history.reason == f"budget; {SLOW[0]}"


def test_not_where_longer_chains_would_not_help(model, monkeypatch):
    left = [f"{OF_LIKELIHOOD} 1.12"]
    monkeypatch.setattr(engine, "not_reached", lambda *_: left)
    monkeypatch.setattr(engine, "slow", lambda _: [])
    posterior = fit(model, guide=replace(SHORT, longest=4))
    assert number(posterior) == 8
    assert posterior.history.reason == f"budget; {left[0]}"


def test_the_first_draws_are_those_of_a_run_that_ends_there(model, monkeypatch):
    short = fit(model, guide=SHORT, seed=3)
    never(monkeypatch)
    long = fit(model, guide=replace(SHORT, longest=2), seed=3)
    for site, value in short.draws.items():
        np.testing.assert_array_equal(long.draws[site][:, :8], value, err_msg=site)


@pytest.mark.parametrize("stop", [10, 13, 15])  # before, at and after the first end
def test_what_is_resumed_goes_on_to_the_same_end(model, monkeypatch, tmp_path, stop):
    never(monkeypatch)
    guide, path = replace(SHORT, longest=2), tmp_path / "checkpoint.pt"
    whole = fit(model, guide=guide, seed=3)
    with pytest.raises(KeyboardInterrupt):
        fit(model, guide=guide, seed=3, callbacks=[Checkpoint(path), StopAt(stop)])
    found = fit(model, guide=guide, seed=3, resume=load_checkpoint(path))
    assert number(found) == 16
    for site, value in whole.draws.items():
        np.testing.assert_array_equal(found.draws[site], value, err_msg=site)
    np.testing.assert_array_equal(found.history.elbo, whole.history.elbo)


def test_what_is_slow_would_fail_the_checks():
    assert (settling.CHECKED_RHAT, settling.LEAST_ESS) == (diagnostics.RHAT_HYPER, diagnostics.MIN_ESS)
    rng = np.random.default_rng(0)
    good = {"slab_scale": rng.normal(size=(4, 60)), "edge_logit": np.full((4, 60), 0.2)}
    assert slow(good) == []
    assert slow({"edge_logit": good["edge_logit"]}) == []  # fixed: it has no R-hat
    (said, _) = slow(good | {"spike_ratio": good["slab_scale"] + np.arange(4)[:, None]})
    assert said.startswith("R-hat of spike_ratio")
    few = np.sin(np.arange(60) / 8)[None] + 0.01 * rng.normal(size=(4, 60))
    assert any(text.endswith("effective draws of spike_ratio") for text in slow(good | {"spike_ratio": few}))
    assert slow({"spike_ratio": few[:, :49]}) == []  # nothing can be told of so few


def test_it_is_for_networks_one_at_a_time():
    with pytest.raises(ValueError, match="longest=0: expected at least 1"):
        Gibbs(longest=0)
    programs = PPCA(simulate_ppca(num_genes=8, num_cells=30).data, num_factors=2)
    with pytest.raises(ValueError, match="longest=2 is for networks"):
        fit(programs, guide=replace(SHORT, longest=2))
    network = LinearNetwork.from_data(simulate_linear(num_genes=7, num_tfs=3, num_cells=60, seed=1).data)
    with pytest.raises(ValueError, match="longest=2: fits in one program are of one length"):
        fit_many([network], guide=replace(SHORT, longest=2))


def test_of_courses_of_many_edges_it_goes_by_its_draws(model, monkeypatch):
    assert default_guide(model) == Gibbs()
    monkeypatch.setattr(choice, "MANY_EDGES", 1)
    assert default_guide(model) == Gibbs(num_warmup=150, num_samples=150, longest=4)
    network = LinearNetwork.from_data(simulate_linear(num_genes=7, num_tfs=3, num_cells=60, seed=1).data)
    assert default_guide(network).name == "sparse"


def test_steps_of_the_command_are_so_many():
    default = Gibbs(num_warmup=150, num_samples=150, longest=4)
    chosen = make_guide(None, {}, default, restarts=None, steps=400)
    assert chosen == Gibbs(num_warmup=150, num_samples=400)
    assert make_guide(None, {}, default, restarts=3, steps=None) == replace(default, num_chains=3)
    assert make_guide(None, {"longest": 2}, default, restarts=None, steps=400) == replace(chosen, longest=2)
    assert make_guide(None, {}, SparseGibbs(longest=3), restarts=None, steps=30).longest == 3  # as it was told


def test_a_run_twice_as_long_is_longer_than_one_that_went_on(model):
    posterior = fit(model, guide=SHORT)
    longer = partial(remedies._longer, posterior, length="--steps")
    assert longer(engine=Gibbs(num_warmup=150, num_samples=150, longest=4), steps=None)["--steps"] == 1200
    assert longer(engine=Gibbs(num_samples=400), steps=400)["--steps"] == 800
    assert longer(engine=Gibbs(), steps=None)["--steps"] == 800


def test_it_is_called_as_before_where_nothing_is_new():
    """By their names checkpoints are told apart: those of earlier versions go on."""
    assert Gibbs().identity == "Gibbs(num_chains=4, num_warmup=300, num_samples=400, thin=1)"
    assert Gibbs(longest=3).identity == "Gibbs(num_chains=4, num_warmup=300, num_samples=400, thin=1, longest=3)"
    assert repr(Gibbs()) == "Gibbs(num_chains=4, num_warmup=300, num_samples=400, thin=1, longest=1)"

"""Where the chains of the sparse sampler begin, which targets are swept more often, and when a run ends."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.experiments.commands.options import make_guide
from pyrogrn.inference import Checkpoint, Posterior, SparseGibbs, fit, load_checkpoint
from pyrogrn.inference.draws.kept_edges import KeptEdges
from pyrogrn.inference.draws.moments import aligned
from pyrogrn.inference.engines import sparse_gibbs as engine
from pyrogrn.inference.sparse import settling, start
from pyrogrn.inference.sparse.background import Background
from pyrogrn.inference.sparse.moments import SparseCollector
from test_resume_exact import StopAt
from test_sparse import SHORT, small_network, with_motif

pytestmark = pytest.mark.usefixtures("seeded")


def test_chains_begin_at_the_ridge_solution():
    """The largest restricted likelihood of a known variance, and draws around the ridge weights."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 12))
    u, h = rng.normal(size=(12, 200)) * 0.3, 0.09
    y = x @ u + rng.normal(size=(300, 200)) * 1.0
    part = np.arange(200)
    group = Background.of(x.T @ x, np.zeros((12, 200)), x.T @ y, np.square(y).sum(0), part, np.full(200, -1))
    ridge = start.ridge_of([group], np.full(200, 300.0))
    assert 0.7 * h < ridge.h < 1.4 * h  # the grid has steps of 1.26, 2,400 effects know h to 3%
    np.testing.assert_allclose(ridge.noise[0].mean(), 1.0, rtol=0.02)
    drawn = start.draw_ridge(group, ridge.noise[0], ridge.h, torch.Generator().manual_seed(0))
    exact = np.linalg.solve(x.T @ x + np.eye(12) / ridge.h, x.T @ y).T
    assert np.abs(drawn - exact).mean() < 0.1  # sd of a draw is 1/√300
    assert np.abs(drawn - exact).mean() > 0.02


def test_targets_of_which_chains_disagree_are_swept_more_often():
    rng = np.random.default_rng(0)
    traces = settling.Traces()
    for _ in range(20):
        likelihood, edges = rng.normal(size=(4, 100)), np.full((4, 100), 3.0)
        likelihood[0, 7] += 9
        edges[1, 11] = 5
        traces.add(likelihood, edges)
    effort = settling.effort_of(traces.rhat(split=False))
    assert set(np.flatnonzero(effort > 1)) == {7, 11}
    assert effort.sum() <= 100 * (1 + settling.MOST_WORK)
    again = settling.Traces.restored(traces.snapshot())
    np.testing.assert_array_equal(again.rhat(), traces.rhat())
    # more of it is a sweep more, not another sampler
    model = small_network()
    one, other = (SparseGibbs(num_chains=1).kernel(model) for _ in range(2))
    for part in (one, other):
        part.start(0)
    other.effort[3] = 4
    one.step()
    other.step()
    differs = (one.weight != other.weight).any((0, 2))
    assert list(np.flatnonzero(differs)) == [3]


def test_what_is_not_reached_is_said_and_more_is_drawn(monkeypatch):
    model = with_motif()
    said = iter([["R-hat of slab_scale 1.30"], [], []])
    monkeypatch.setattr(engine, "not_reached", lambda *_: next(said))
    posterior = fit(model, guide=SHORT)
    assert posterior.draws["edge_logit"].shape[1] == 12  # half as many again
    assert posterior.history.reason == "budget"
    monkeypatch.setattr(engine, "not_reached", lambda *_: ["R-hat of slab_scale 1.30"])
    posterior = fit(model, guide=replace(SHORT, longest=3))
    assert posterior.draws["edge_logit"].shape[1] == 24
    assert posterior.history.reason == "budget; R-hat of slab_scale 1.30"
    odd = fit(model, guide=replace(SHORT, num_samples=5, longest=3))
    assert odd.draws["edge_logit"].shape[1] == 15


UNSETTLED = f"7% {settling.OF_TARGETS}"
ENDS = [([], 8), ([UNSETTLED], 8), (["R-hat of slab_scale 1.30"], 24), (["31 effective draws of slab_scale"], 24)]


def test_small_networks_may_be_drawn_longer():
    assert [engine.longest_of(edges) for edges in (600, 2e5, 1e7)] == [8, 5, 3]


@pytest.mark.parametrize(("also", "draws"), ENDS)
def test_more_draws_end_where_only_targets_are_apart(also, draws, monkeypatch):
    """Chains that stay apart in a few targets do not meet in three times as many."""
    left = [f"{settling.OF_LIKELIHOOD} 1.12", *also]
    monkeypatch.setattr(engine, "not_reached", lambda *_: left)
    posterior = fit(with_motif(), guide=replace(SHORT, longest=3))
    assert posterior.draws["edge_logit"].shape[1] == draws
    assert posterior.history.reason == "; ".join(["budget", *left])


def test_draws_that_disagree_are_not_done():
    rng = np.random.default_rng(0)
    traces = settling.Traces()
    for _ in range(60):
        traces.add(rng.normal(size=(4, 30)), np.ones((4, 30)))
    good = {"slab_scale": rng.normal(size=(4, 60)), "spike_ratio": np.full((4, 60), 0.2)}
    assert settling.not_reached(good, rng.normal(size=(4, 60)), traces) == []
    apart = {"slab_scale": good["slab_scale"] + np.arange(4)[:, None]}
    assert "R-hat of slab_scale" in settling.not_reached(apart, rng.normal(size=(4, 60)), traces)[0]
    slow = {"slab_scale": np.sin(np.arange(60) / 8)[None] + 0.01 * rng.normal(size=(4, 60))}
    assert any(
        "effective draws of slab_scale" in part for part in settling.not_reached(slow, good["slab_scale"], traces)
    )
    assert settling.not_reached(apart, rng.normal(size=(4, 40)), traces) == []  # nothing can be told of forty


def test_a_budget_that_is_spent_ends_the_run_and_says_so():
    model = with_motif()
    posterior = fit(model, guide=replace(SHORT, num_warmup=200, num_samples=400, budget=1e-9))
    assert posterior.draws["edge_logit"].shape[1] == engine.LEAST_DRAWS
    assert posterior.history.elbo.shape[1] == engine.LEAST_WARMUP + engine.LEAST_DRAWS
    assert posterior.history.reason.startswith("time budget: 10 of 400 draws by chain")
    row = posterior.diagnose().set_index("check").loc["fit ended in order"]
    assert row["passed"]
    assert "time was up" in row["meaning"]
    with pytest.raises(ValueError, match="minutes"):
        SparseGibbs(budget=0.0)
    with pytest.raises(ValueError, match="longest=0"):
        SparseGibbs(longest=0)


def test_the_command_hands_a_budget_on_and_refuses_it_for_others():
    chosen = make_guide(None, {}, SparseGibbs(), restarts=None, steps=30, budget=2.0)
    assert chosen == SparseGibbs(num_samples=30, budget=2.0)
    with pytest.raises(ValueError, match="--budget is for the guide sparse, this is gibbs"):
        make_guide("gibbs", {}, SparseGibbs(), restarts=None, steps=None, budget=2.0)


# -- draws that are kept ----


def test_of_large_networks_every_draw_of_the_edges_that_matter_is_kept(monkeypatch, tmp_path):
    model = small_network()
    guide = SparseGibbs(num_chains=4, num_warmup=40, num_samples=60, longest=1)
    whole = fit(model, guide=guide)
    assert KeptEdges.of(whole) is None
    monkeypatch.setattr("pyrogrn.inference.draws.moments.DRAW_BUDGET", 4 * 4 * 2 * 6 * 24 * 4)
    thinned = fit(model, guide=guide)
    assert thinned.draws["W"].shape[1] <= 4
    every = KeptEdges.of(thinned)
    assert every.draws.shape[:2] == (4, 60)
    tf, target = np.divmod(every.place, 24)
    inclusion = whole.moments["W"].inclusion
    kept = np.zeros_like(inclusion, dtype=bool)
    kept[tf, target] = True
    assert kept[inclusion > 0.2].all()  # 80 states of a warm-up, of which four are enough
    # the states of the chains are the same, and only the background was drawn anew: two draws of the same normal
    other = whole.draws["W"][:, :, tf, target]
    background = (whole.draws["slab_scale"] * whole.draws["spike_ratio"])[..., None]
    z = (every.draws - other) / (background * np.sqrt(whole.draws["noise_variance"][:, :, target]))
    assert np.abs(z).max() < 8
    assert abs(z.mean()) < 0.05
    assert 0.8 < z.std() < 1.45  # at most √2, less where the data know the background
    mine, other = every.draws.reshape(240, -1), other.reshape(240, -1)
    np.testing.assert_allclose(mine.std(0), other.std(0), rtol=0.3, atol=0.002)
    # of 240 draws at least a quarter effective: five standard errors, and the draw of each edge is averaged out in one
    error = 5 * mine.std(0) / np.sqrt(60)
    assert (np.abs(mine.mean(0) - thinned.moments["W"].mean[tf, target]) < error + 0.002).all()
    one, two = (p.edges(top=10).set_index(["source", "target"]) for p in (whole, thinned))
    both = one.index.intersection(two.index)
    np.testing.assert_allclose(one.loc[both, "lower"], two.loc[both, "lower"], atol=0.05)
    assert np.isfinite(thinned.diagnose().set_index("check").loc["R-hat of the edges", "value"])
    thinned.save(tmp_path / "p")
    pd.testing.assert_frame_equal(Posterior.load(tmp_path / "p").edges(), thinned.edges())
    monkeypatch.setattr("pyrogrn.inference.sparse.moments.EDGE_BUDGET", 4 * 4 * 60 * 5)
    fewer = KeptEdges.of(fit(model, guide=guide))
    assert len(fewer.place) == 5
    assert (inclusion.ravel()[fewer.place] > 0.9).all()


def test_runs_that_keep_edges_resume_bit_for_bit(monkeypatch, tmp_path):
    monkeypatch.setattr("pyrogrn.inference.draws.moments.DRAW_BUDGET", 1000)
    model, path = with_motif(), tmp_path / "fit.ckpt"
    whole = fit(model, guide=SHORT)
    for stop in (3, 9):
        with pytest.raises(KeyboardInterrupt):
            fit(model, guide=SHORT, callbacks=[Checkpoint(path), StopAt(stop)])
        again = fit(model, guide=SHORT, resume=load_checkpoint(path))
        np.testing.assert_array_equal(KeptEdges.of(again).draws, KeptEdges.of(whole).draws)
        np.testing.assert_array_equal(KeptEdges.of(again).place, KeptEdges.of(whole).place)


def test_of_a_run_that_goes_on_draws_are_kept_within_the_budget(monkeypatch):
    model = small_network()
    tfs, targets = model.edge_prior.allowed.shape
    monkeypatch.setattr("pyrogrn.inference.draws.moments.DRAW_BUDGET", 2 * 8 * tfs * targets * 10)
    collector = SparseCollector(model, 2, 10)
    assert collector.thin == 1
    for draw in range(25):
        if draw == 10:
            collector.lengthen(15)
        if draw == 15:
            collector.lengthen(25)
        number = torch.full((2,), float(draw))
        edges = {"W": number[:, None, None].expand(2, tfs, targets), "inclusion": torch.ones(2, tfs, targets) > 0}
        collector.add({"edge_logit": number} | (edges if collector.wants_network else {}))
    kept = collector.stacked()
    assert kept["W"][0, :, 0, 0].tolist() == list(range(0, 25, 4))
    assert kept["edge_logit"].shape == (2, 25)
    both = aligned(kept, collector.extras()["thin"])
    np.testing.assert_array_equal(both["edge_logit"], both["W"][:, :, 0, 0])

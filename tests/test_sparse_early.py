"""Runs of the sparse sampler that end before they have all draws: where it is allowed, where not, and equal numbers."""

from dataclasses import replace

import numpy as np
import pytest
from pyrogrn.experiments.commands.options import make_guide
from pyrogrn.inference import Checkpoint, SparseGibbs, fit, load_checkpoint
from pyrogrn.inference.engines import sparse_gibbs as engine
from pyrogrn.inference.sparse import early, settling
from pyrogrn.models import LinearNetwork
from pyrogrn.models.simulators import simulate_linear
from test_resume_exact import StopAt
from test_sparse import noise_slab, small_network

pytestmark = pytest.mark.usefixtures("seeded")
SOON = SparseGibbs(num_warmup=20, num_samples=200, shortest=50, longest=1)


def easy_network():
    """Many targets of few regulators, whose edges and hyperparameters are known well."""
    data = simulate_linear(num_genes=200, num_tfs=8, num_cells=300, edge_probability=0.2, seed=0).data
    return LinearNetwork.from_data(data, edge_prior=noise_slab())


def hard_network():
    """Fewer cells than regulators: chains drift."""
    data = simulate_linear(num_genes=60, num_tfs=30, num_cells=20, edge_probability=0.2, seed=0).data
    return LinearNetwork.from_data(data, edge_prior=noise_slab())


def drawn(posterior):
    return posterior.draws["edge_logit"].shape[1]


def test_easy_data_end_early_and_say_what_the_long_run_says():
    model = easy_network()
    short, long = fit(model, guide=SOON), fit(model, guide=replace(SOON, shortest=200), seed=1)
    assert short.history.reason == "converged"
    assert 50 <= drawn(short) < 200
    assert drawn(short) % early.LOOK_EVERY == 0
    assert drawn(long) == 200
    error = short.moments["W"].inclusion - long.moments["W"].inclusion
    assert np.sqrt(np.square(error[long.moments["W"].inclusion > 0.05]).mean()) < 2 * early.MOST_ERROR
    hypers = ("edge_logit", "slab_scale")
    for name in hypers:  # 80 effective draws: four standard errors of each run
        assert abs(short.draws[name].mean() - long.draws[name].mean()) < 0.6 * long.draws[name].std()


def test_hard_data_do_not():
    posterior = fit(hard_network(), guide=SOON)
    assert drawn(posterior) == 200
    assert posterior.history.reason.startswith("budget")


def test_draws_that_were_asked_for_are_taken():
    assert SparseGibbs().fewest_draws(1e6) == settling.FEWEST
    assert SparseGibbs().fewest_draws(100.0) == 100  # small networks: all
    assert SparseGibbs(num_samples=400).fewest_draws(1e6) == 400
    assert SparseGibbs(shortest=70).fewest_draws(1e6) == 70
    assert SparseGibbs().sized(num_chains=4, num_warmup=40, num_samples=100).fewest_draws(1e6) == 100
    assert make_guide(None, {}, SparseGibbs(), restarts=None, steps=100).fewest_draws(1e6) == 100
    assert make_guide(None, {}, SparseGibbs(), restarts=None, steps=None).fewest_draws(1e6) == settling.FEWEST
    assert drawn(fit(easy_network(), guide=SparseGibbs(longest=1))) == 100
    with pytest.raises(ValueError, match="shortest=0"):
        SparseGibbs(shortest=0)


def test_runs_that_end_early_resume_bit_for_bit(tmp_path):
    model, path = easy_network(), tmp_path / "fit.ckpt"
    whole = fit(model, guide=SOON)
    last = whole.history.elbo.shape[1]
    for stop in (45, last - 1, last):
        with pytest.raises(KeyboardInterrupt):
            fit(model, guide=SOON, callbacks=[Checkpoint(path), StopAt(stop)])
        again = fit(model, guide=SOON, resume=load_checkpoint(path))
        assert again.history.reason == "converged"
        np.testing.assert_array_equal(again.history.elbo, whole.history.elbo)
        np.testing.assert_array_equal(again.moments["W"].inclusion, whole.moments["W"].inclusion)


def test_chains_that_disagree_on_edges_are_not_precise():
    rng = np.random.default_rng(0)
    likely = rng.random((30, 20)) < 0.3
    alike = [np.where(likely, 40 + rng.integers(-1, 2, likely.shape), 0.1).astype(np.float32) for _ in range(4)]
    parts = [early.spread_of([chain[:10] for chain in alike], 50), early.spread_of([c[10:] for c in alike], 50)]
    spread = np.sum(parts, axis=0)
    np.testing.assert_allclose(spread, early.spread_of(alike, 50), rtol=1e-6)
    assert spread[0] == likely.sum()
    table = np.stack(alike)[:, likely] / 50
    np.testing.assert_allclose(spread[1], (table.var(0, ddof=1) / 4).sum(), rtol=1e-5)
    assert early.is_precise(spread)
    apart = [chain.copy() for chain in alike]
    for chain in apart[:2]:  # of a tenth of the targets
        chain[:3][likely[:3]] = 0
    assert not early.is_precise(early.spread_of(apart, 50))
    more = [chain * (1 + 0.05 * i) for i, chain in enumerate(alike)]  # another number of edges in each
    assert not early.is_precise(early.spread_of(more, 50))


def test_few_effective_draws_are_not_settled():
    """Every draw eight times, so that few of them count, and the halves of all chains alike."""
    rng = np.random.default_rng(0)
    traces = settling.Traces()
    for _ in range(96):
        traces.add(rng.normal(size=(4, 30)), np.ones((4, 30)))
    fit_to_data, good = rng.normal(size=(2, 4, 96))
    halves = [[rng.permutation(6) for _ in range(2)] for _ in range(4)]
    slow = np.array([np.repeat(np.concatenate(parts), 8) for parts in halves]) + 0.01 * rng.normal(size=(4, 96))
    assert early.left_of({"slab_scale": good}, fit_to_data, traces) == []
    assert not settling.not_reached({"slab_scale": slow}, fit_to_data, traces)  # at the end of a run it would do
    assert early.left_of({"slab_scale": slow}, fit_to_data, traces) is None
    for number in (1, 2):  # chains: what they say apart tells no error
        assert early.left_of({"slab_scale": good[:number]}, fit_to_data[:number], traces) is None
    assert early.left_of({"slab_scale": good[:3]}, fit_to_data[:3], traces) == []
    # chains whose likelihood stays apart for a target are not waited for, unless a hyperparameter is apart too
    apart = fit_to_data + np.arange(4)[:, None]
    assert early.left_of({"slab_scale": good}, apart, traces)[0].startswith(settling.OF_LIKELIHOOD)
    assert early.left_of({"slab_scale": good + 0.5 * np.arange(4)[:, None]}, apart, traces) is None


def test_networks_of_default_length_are_looked_at_by_their_size(monkeypatch):
    monkeypatch.setattr(engine, "FEWEST_EDGES", 0)
    posterior = fit(easy_network(), guide=SparseGibbs(longest=1))
    assert drawn(posterior) < 100
    assert posterior.facts()["fit"] == "converged"
    assert drawn(fit(small_network(), guide=SparseGibbs(num_samples=60, longest=1))) == 60

"""Statistics at any background, interpolated between nodes."""

import numpy as np
import pytest
from pyrogrn.inference import Checkpoint, SparseGibbs, fit, load_checkpoint
from pyrogrn.inference.sparse import kernel
from pyrogrn.inference.sparse.window import ERROR, MOST_NODES, ROUGH, Window
from test_resume_exact import StopAt
from test_sparse import same, small_network, with_motif

pytestmark = pytest.mark.usefixtures("seeded")


@pytest.mark.parametrize("rough", [False, True])
@pytest.mark.parametrize("h", [(0.0, 1e-7), (1e-3, 1.5e-3), (2.0, 4.0)])
def test_what_is_interpolated_is_right_to_the_error_stated(h, rough):
    values = np.concatenate([np.geomspace(1e-3, 1e5, 200), [0.0]])
    window = Window.around(np.array(h), values.max(), rough=rough)
    assert window.covers(np.array(h))
    assert window.number <= MOST_NODES
    assert window.covers(np.array([h[1] / 4, h[1] * 4])) == rough or h[0] == 0
    shrink = lambda at: 1 / (1 + np.asarray(at)[..., None] * values)
    for value in np.linspace(*h, 7):
        found = window.coefficients(value) @ shrink(window.nodes)
        np.testing.assert_allclose(found, shrink(value), atol=20 * (ROUGH if rough else ERROR))
    np.testing.assert_allclose(window.coefficients(window.nodes[1]) @ shrink(window.nodes), shrink(window.nodes[1]))


def test_a_range_of_many_orders_is_not_interpolated():
    assert Window.around(np.array([1e-6, 10.0]), 1e3) is None
    assert Window.around(np.array([1e-2, 2e-2]), 1e3).number <= MOST_NODES
    assert not Window.around(np.array([1e-2, 2e-2]), 1e3).covers(np.array([1e-2, 1.0]))


@pytest.fixture
def always(monkeypatch):
    """As of networks of hundreds of regulators."""
    monkeypatch.setattr(kernel, "FEW_TFS", 0)
    monkeypatch.setattr(kernel, "FINDING", 1)


def test_a_chain_goes_on_from_residuals_that_are_those_of_its_weights(always):
    model = small_network(spike_ratio=0.3)
    sampler = SparseGibbs(num_chains=2).kernel(model)
    sampler.start(20)
    for _ in range(7):
        sampler.step()
    assert sampler.window is not None
    assert sampler.window.rough  # pushed on
    for _ in range(8):
        sampler.step()
    assert sampler.window is not None
    assert not sampler.window.rough
    assert sampler.stored[0].window == sampler.window
    (group,) = sampler.groups
    for chain, h in enumerate(sampler.background.tolist()):
        exact, gram = np.empty_like(sampler.residual[chain]), group.spectrum.gram(h)
        sse = group.residual(sampler.weight[chain], gram, exact)
        np.testing.assert_allclose(sampler.grams[chain][0].matrix, gram.matrix, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(sampler.residual[chain], exact, atol=2e-3)
        np.testing.assert_allclose(sampler.sse[chain], sse, rtol=1e-4)


@pytest.mark.parametrize("stop", [3, 9])
def test_what_is_resumed_is_equal_bit_for_bit(stop, tmp_path, always):
    model, path = with_motif(), tmp_path / "fit.ckpt"
    short = SparseGibbs(num_chains=2, num_warmup=4, num_samples=8, sweeps=2)
    whole = fit(model, guide=short)
    with pytest.raises(KeyboardInterrupt):
        fit(model, guide=short, callbacks=[Checkpoint(path), StopAt(stop)])
    same(whole, fit(model, guide=short, resume=load_checkpoint(path)))

"""Chains of the sparse sampler leave where they begin within the warm-up."""

import numpy as np
import pytest
import torch
from pyrogrn import ExpressionData, LinearNetwork
from pyrogrn.inference.engines.sparse_gibbs import SparseGibbs
from pyrogrn.inference.sparse.kernel import SparseKernel
from pyrogrn.inference.sparse.push import FARTHEST, MOMENTUM, Push

NUM_TFS, NUM_TARGETS = 60, 200


def linear_network(tfs: np.ndarray, weight: np.ndarray, rng: np.random.Generator) -> LinearNetwork:
    """Of regulators with these weights on genes, noise of variance one."""
    num_tfs, num_targets = weight.shape
    genes = tfs @ weight + rng.standard_normal((len(tfs), num_targets))
    names = tuple(f"g{i}" for i in range(num_tfs + num_targets))
    values = torch.tensor(np.hstack([tfs, genes]), dtype=torch.float32)
    return LinearNetwork.from_data(ExpressionData(values, names, names[:num_tfs]), targets=names[num_tfs:])


def network(num_cells: int, background: float) -> LinearNetwork:
    """Three edges in a hundred, and effects of all regulators that are no edges."""
    rng = np.random.default_rng(3)
    tfs = rng.standard_normal((num_cells, NUM_TFS))
    weight = rng.standard_normal((NUM_TFS, NUM_TARGETS)) * (rng.random((NUM_TFS, NUM_TARGETS)) < 0.03)
    weight += background * rng.standard_normal(weight.shape)
    return linear_network(tfs, weight, rng)


def edges_after(blocks: int, num_cells: int, background: float) -> np.ndarray:
    kernel = SparseGibbs(num_chains=4).kernel(network(num_cells, background), seed=1)
    kernel.start(40)
    for _ in range(blocks):
        kernel.step()
    return kernel.num_edges.sum(1) / (NUM_TFS * NUM_TARGETS)


def test_with_as_many_cells_as_regulators_chains_do_not_stay_where_all_edges_are():
    share = edges_after(40, num_cells=66, background=0.4)
    assert share.max() < 0.1  # 0.57 to 0.72 of chains that begin at hyperparameters of many edges


def test_with_many_cells_every_chain_finds_the_edges():
    share = edges_after(40, num_cells=1000, background=0.15)
    assert share.max() - share.min() < 0.01
    assert 0.01 < share.mean() < 0.06


def pushed_to(blocks: int, seed: int = 5) -> SparseKernel:
    """Chains of a network with six edges in ten, each hardly seen, far from where they begin."""
    rng = np.random.default_rng(seed)
    tfs = rng.standard_normal((800, 10))
    weight = 0.1 * rng.standard_normal((10, 100)) * (rng.random((10, 100)) < 0.6)
    kernel = SparseGibbs(num_chains=4).kernel(linear_network(tfs, weight, rng), seed=1)
    kernel.start(40)
    for _ in range(blocks):
        kernel.step()
    return kernel


def test_chains_are_pushed_to_where_a_dense_network_is(monkeypatch):
    found = lambda: np.mean([pushed_to(20, seed).num_edges.mean() / 10 for seed in (5, 8, 9)])
    share = found()
    monkeypatch.setattr("pyrogrn.inference.sparse.kernel.PUSHED", 0.0)
    assert share > 2 * found()  # 0.44 of the edges and 0.17, where 0.57 are probable


def test_nothing_is_pushed_in_blocks_that_are_recorded():
    kernel = pushed_to(10)
    kernel.num_warmup = 10  # a budget has cut the warm-up short
    kernel._push_on = lambda: pytest.fail("pushed after the warm-up")
    kernel.step()
    kernel.num_warmup = 40
    with pytest.raises(pytest.fail.Exception):
        kernel.step()


def test_a_push_goes_on_in_the_direction_of_the_last_block():
    push, at = Push(3), torch.tensor([0.0, 0.0])
    at = push("a", at)
    assert (at == 0).all()
    at = push("a", at + torch.tensor([0.1, 5.0]))
    assert torch.equal(at, torch.tensor([0.1, 5.0]))  # it has not moved before
    new = push("a", at)
    assert new.tolist() == pytest.approx([0.1 + MOMENTUM * 0.1, 5.0 + FARTHEST])
    push.placed("a", at)  # where it was: it has not moved
    assert torch.equal(push("a", at), at)


def test_a_push_goes_on_from_a_checkpoint():
    push = Push(3)
    for value in (0.0, 0.3):
        push("a", torch.tensor([value]))
    again = Push.restored(push.snapshot())
    assert again.blocks == 3
    assert torch.equal(again("a", torch.tensor([0.5])), push("a", torch.tensor([0.5])))

"""Loadings in blocks of genes: against dense algebra, whatever the size of a block."""

import pytest
import torch
from pyrogrn.inference.factors import loadings
from pyrogrn.inference.factors.loadings import Regressions, Spread, optimum

CHAINS, GENES, P = 2, 7, 3

pytestmark = pytest.mark.usefixtures("seeded")


def regressions():
    root = torch.randn(CHAINS, P, 12, dtype=torch.float64)
    cross = 5 * torch.randn(CHAINS, GENES, P, dtype=torch.float64)
    positive = lambda *shape: torch.rand(*shape, dtype=torch.float64) + 0.2
    return Regressions(root @ root.mT, cross, positive(CHAINS, GENES), positive(CHAINS, GENES, P))


def dense(found):
    """Covariances and means of all genes."""
    precision = found.precision[..., None, None] * found.gram[:, None] + torch.diag_embed(found.own)
    covariance = torch.linalg.inv(precision)
    return covariance, (covariance @ (found.precision[..., None] * found.cross)[..., None])[..., 0]


@pytest.fixture(params=[1, 40, 100_000], ids=["gene by gene", "two genes", "all"])
def block(request, monkeypatch):
    monkeypatch.setattr(loadings, "VALUES", request.param)


def test_the_optimum_is_that_of_dense_algebra(block):
    found = regressions()
    covariance, mean = dense(found)
    square = 100 + torch.rand(CHAINS, GENES, dtype=torch.float64)
    best = optimum(found, square, lambda genes, rss: 3 / rss)
    second = covariance + mean[..., :, None] * mean[..., None, :]
    rss = square - 2 * (mean * found.cross).sum(2) + (found.gram[:, None] * second).sum((2, 3))
    torch.testing.assert_close(best.loadings, mean)
    torch.testing.assert_close(best.rss, rss)
    torch.testing.assert_close(best.precision, 3 / rss)
    torch.testing.assert_close(best.log_det, torch.logdet(covariance))
    torch.testing.assert_close(best.spread.variance, torch.diagonal(covariance, dim1=2, dim2=3))
    torch.testing.assert_close(best.spread.total, covariance.sum(1))
    torch.testing.assert_close(best.spread.weighted, torch.einsum("cg,cgpq->cpq", 3 / rss, covariance))


def test_draws_have_the_moments_of_q(block):
    found = regressions()
    covariance, mean = dense(found)
    one = torch.stack([found.draw() for _ in range(3000)])
    around = found.around(mean, 3000).view(CHAINS, 3000, GENES, P).transpose(0, 1)
    for drawn in (one, around):
        away = drawn - mean
        sd = torch.diagonal(covariance, dim1=2, dim2=3).sqrt()
        assert (away.mean(0) / sd).abs().max() < 4.5 / 3000**0.5
        between = torch.einsum("ncgp,ncgq->cgpq", away, away) / 3000
        scale = sd[..., :, None] * sd[..., None, :]
        assert ((between - covariance) / scale).abs().max() < 4.5 * (2 / 3000) ** 0.5


def test_the_block_changes_no_draw(monkeypatch):
    found, mean, drawn = regressions(), torch.zeros(CHAINS, GENES, P, dtype=torch.float64), []
    for values in (1, 100_000):
        monkeypatch.setattr(loadings, "VALUES", values)
        torch.manual_seed(3)
        drawn.append(torch.cat([found.draw(), found.around(mean, 2)]))
    torch.testing.assert_close(*drawn, rtol=1e-10, atol=1e-12)


def test_covariances_of_an_earlier_checkpoint_give_the_same_draws_and_sums():
    found = regressions()
    covariance, mean = dense(found)
    made = optimum(found, torch.full((CHAINS, GENES), 100.0, dtype=torch.float64), None).spread
    read = Spread.of(covariance, found.precision)
    for name in ("variance", "weighted", "total"):
        torch.testing.assert_close(getattr(read, name), getattr(made, name))
    again = Spread.unpack(read.pack())
    assert again.regressions is not None
    drawn = again.regressions.around(mean, 4000).view(CHAINS, 4000, GENES, P) - mean[:, None]
    sd = torch.diagonal(covariance, dim1=2, dim2=3).sqrt()
    torch.testing.assert_close(drawn.var(1).sqrt(), sd, rtol=0.06, atol=0)


def test_turned_and_scaled_sums():
    found = regressions()
    covariance, _ = dense(found)
    spread = Spread.of(covariance, found.precision)
    by = torch.rand(CHAINS, P, dtype=torch.float64) + 0.5
    whole = covariance * by[:, None, :, None] * by[:, None, None]
    scaled = spread.scaled(by)
    torch.testing.assert_close(scaled.variance, torch.diagonal(whole, dim1=2, dim2=3))
    torch.testing.assert_close(scaled.total, whole.sum(1))
    torch.testing.assert_close(scaled.weighted, torch.einsum("cg,cgpq->cpq", found.precision, whole))

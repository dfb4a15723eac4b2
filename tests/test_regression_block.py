"""Weights given the rest, solved over the regulators of each target: values and gradients of dense algebra."""

import math

import pandas as pd
import pytest
import torch
from pyrogrn.inference import Blocked
from pyrogrn.inference.variational.elbo import elbo
from pyrogrn.inference.variational.svi import compiled_elbo
from pyrogrn.models import FactorBox, LinearNetwork, TrajectoryNetwork, linear, regression_block
from pyrogrn.models.couplings import Grams, couplings
from pyrogrn.models.regression_block import RegressionBlock
from pyrogrn.models.simulators.ode import simulate_courses
from pyrogrn.models.simulators.panel import simulate_panel
from pyrogrn.priors import HardMask, Horseshoe, Normal, PriorNetwork

pytestmark = pytest.mark.usefixtures("seeded")

TFS, TARGETS = 21, 40
LISTED = (0, 0, 1, 2, 7, 8, 9, 10, 11, 13, 16, 19, 20, 21)  # regulators of a target, in turn: none, few, all


def masks():
    """Of hard masks, of self-edges alone, and of nothing."""
    hard = torch.zeros(TFS, TARGETS, dtype=torch.bool)
    for i in range(TARGETS):
        hard[torch.randperm(TFS)[: LISTED[i % len(LISTED)]], i] = True
    every = torch.ones_like(hard)
    return {"hard": hard, "self": ~torch.eye(TFS, TARGETS, dtype=torch.bool), "none": every, "empty": ~every}


def grams(dtype=torch.float64):
    """A shared matrix, three of single columns, and cuts of which some columns have several."""
    product = lambda *shape: (lambda x: x.mT @ x)(torch.randn(*shape, 50, TFS, dtype=torch.float64))
    shared = product() + 20 * torch.eye(TFS)
    target = torch.tensor([3, 9, 3, 38, 12, 3, 39, 38])
    cut = torch.randn(len(target), TFS, dtype=torch.float64)
    return Grams(*(v.to(dtype) if v.is_floating_point() else v for v in (shared, OWN, product(3), cut, target)))


OWN = torch.tensor([30, 4, 13])


def dense_grams(given):
    found = given.shared.double().repeat(TARGETS, 1, 1)
    found[given.own] = given.own_gram.double()
    for v, i in zip(given.cut.double(), given.cut_target.tolist(), strict=True):
        found[i] -= torch.outer(v, v)
    return found


def arguments(*batch):
    """σ², p, η that have gradients, and z."""
    noise = (0.3 * torch.randn(*batch, 1, TARGETS, dtype=torch.float64)).exp()
    weight = (2 * torch.randn(*batch, TFS, TARGETS, dtype=torch.float64)).exp()
    shift, z = (torch.randn(*batch, TARGETS, TFS, dtype=torch.float64) for _ in range(2))
    return *(v.requires_grad_() for v in (noise, weight, shift)), z


def dense(centre, noise, weight, shift, z, mask, gram):
    """Mean, factor, draw and its log density from whole matrices."""
    both = mask.T[:, :, None] & mask.T[:, None, :]
    precision = gram * both / noise.squeeze(-2)[..., None, None] + torch.diag_embed(weight.mT)
    factor = torch.linalg.cholesky(precision)
    mean = centre.T + torch.cholesky_solve(shift[..., None], factor)[..., 0]
    draw = mean + torch.linalg.solve_triangular(factor.mT, z[..., None], upper=True)[..., 0]
    log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return mean, factor, draw.mT, log_det - 0.5 * (z**2).sum(-1) - 0.5 * TFS * math.log(2 * math.pi)


def gradients(found, arguments):
    """Of sums of the outputs in random proportions, the same at every call."""
    generator = torch.Generator().manual_seed(5)
    total = sum((torch.randn(v.shape, generator=generator, dtype=torch.float64) * v).sum() for v in found)
    return torch.autograd.grad(total, arguments)


@pytest.mark.parametrize("mask", ["hard", "self", "none", "empty"])
@pytest.mark.parametrize("batch", [(), (3,), (2, 2)], ids=str)
@pytest.mark.parametrize("outputs", ["moments", "draw", "mean", "draw and moments"])
def test_values_and_gradients_are_those_of_whole_matrices(mask, batch, outputs, monkeypatch):
    monkeypatch.setattr(regression_block, "CPU_BYTES", 2**14)  # several pieces of most groups
    allowed, given, centre = masks()[mask], grams(), torch.randn(TFS, TARGETS, dtype=torch.float64)
    *free, z = arguments(*batch)
    z.requires_grad_()
    block = RegressionBlock(centre, *free, given, couplings(allowed, given))
    mean, factor, draw, log_density = dense(centre, *free, z, allowed, dense_grams(given))
    pairs = {
        "moments": lambda: ((block.mean, block.factor), (mean, factor)),
        "draw": lambda: (block.draw(z), (draw, log_density)),
        "mean": lambda: ((block.mean,), (mean,)),
        "draw and moments": lambda: ((*block.draw(z), block.mean, block.factor), (draw, log_density, mean, factor)),
    }
    found, expected = pairs[outputs]()
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
    inputs = [*free, z] if "draw" in outputs else free
    for a, b in zip(gradients(found, inputs), gradients(expected, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("mask", ["hard", "none"])
def test_single_precision_has_its_digits(mask):
    allowed, given = masks()[mask], grams(torch.float32)
    centre = torch.zeros(TFS, TARGETS)
    *free, z = (v.detach().float() for v in arguments(2))
    found = RegressionBlock(centre, *free, given, couplings(allowed, given)).draw(z)
    exact = [v.double() for v in (centre, *free, z)]
    expected = dense(*exact, allowed, dense_grams(given))[2:]
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)


def test_copies_of_a_regulator_have_a_posterior():
    """In single precision their precision matrix is singular to rounding."""
    given = grams(torch.float32)
    given.shared[1], given.shared[:, 1] = given.shared[0].clone(), given.shared[0].clone()
    given.shared[1, 1] = given.shared[0, 0]
    allowed = masks()["none"]
    noise, weight = torch.full((1, TARGETS), 1e-3), torch.full((TFS, TARGETS), 1e-2)
    none = given._replace(own=OWN[:0], own_gram=given.own_gram[:0], cut=given.cut[:0], cut_target=OWN[:0])
    parts = couplings(allowed, none)
    mean = RegressionBlock(torch.zeros(TFS, TARGETS), noise, weight, torch.ones(TARGETS, TFS), none, parts).mean
    assert bool(torch.isfinite(mean).all())
    torch.testing.assert_close(mean[:, 0], mean[:, 1], rtol=1e-2, atol=1e-4)


def test_groups_hold_every_column_once_with_all_that_it_couples():
    given = grams()
    for allowed in masks().values():
        order, rank, groups = couplings(allowed, given)
        assert order.sort().values.tolist() == list(range(TARGETS))
        assert order[rank].tolist() == list(range(TARGETS))
        start = 0
        for group in groups:
            for column, row, mask in zip(order[start:].tolist(), group.row, group.mask, strict=False):
                assert row[mask].tolist() == allowed[:, column].nonzero()[:, 0].tolist()
                assert len(row.unique()) == len(row)
                assert (column in OWN.tolist()) == group.is_own
            start += len(group.row)
        assert start == int(allowed.any(0).sum())


# -- in models ----
def listed(genes):
    """Each gene by its two neighbours, but for the last, which nobody lists."""
    edges = [(genes[i], genes[j]) for j in range(len(genes) - 1) for i in (j - 1, j + 1)]
    return {"motif": PriorNetwork.from_edges(pd.DataFrame(edges, columns=["source", "target"]), name="motif")}


def built(kind, tiny_data, edge_prior, with_networks):
    networks = lambda data: listed(list(data.genes)) if with_networks else None
    if kind == "panel":
        data = simulate_panel(num_genes=6, in_degree=2, replicates=2, num_controls=6, seed=2).data
        return FactorBox.from_data(data, edge_prior=edge_prior, networks=networks(data), gain="sampled")
    if kind == "course":
        data = simulate_courses(num_genes=6, num_trajectories=12, noise=0.05, seed=3).data
        return TrajectoryNetwork.from_data(data, edge_prior=edge_prior, networks=networks(data))
    data = tiny_data
    if kind != "cells":
        data = data.with_interventions(["G0004"] * 4 + ["G0001"] * 3 + ["control"] * 53)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "FEW_ROWS", 2.0 if kind == "clamped rows" else 0.0)
        return LinearNetwork.from_data(data, edge_prior=edge_prior, networks=networks(data))


@pytest.mark.parametrize("prior", [Normal(), Horseshoe(), HardMask()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("kind", ["cells", "clamped", "clamped rows", "panel", "course"])
def test_models_couple_what_their_regressions_have(kind, prior, tiny_data):
    """The conditional of W from the design of the observed site, target by target."""
    model = built(kind, tiny_data, prior, isinstance(prior, HardMask)).double()
    assert bool(len(model.clamped_rows.target)) == (kind == "clamped rows")
    assert bool(len(model.own)) == (kind == "clamped")
    guide = Blocked()(model, None, 2)
    with torch.no_grad():
        values, _ = guide.draw()
        block = model.conditional("W", values)
        _, scale = model.edge_prior.gaussian(values)
    design = model.design()
    gram = {int(i): part.gram.double() for part in design.blocks() for i in part.column}
    shape = (2, len(model.tfs), len(model.targets))
    weight, noise = scale.expand(shape) ** -2, values["noise_variance"]
    for i in range(len(model.targets)):
        on = model.edge_prior.allowed[:, i].double()
        precision = gram[i] * torch.outer(on, on) / noise[:, 0, i, None, None] + torch.diag_embed(weight[..., i])
        torch.testing.assert_close(block.factor[:, i] @ block.factor[:, i].mT, precision, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", ["cells", "clamped", "clamped rows", "panel", "course"])
def test_the_traced_objective_of_masks_has_the_gradients_of_the_python_one(kind, tiny_data):
    model = built(kind, tiny_data, HardMask(), True).double()
    guide = Blocked()(model, None, 2)
    traced = compiled_elbo(model, guide)
    found = []
    for objective in (traced, traced, lambda: elbo(model, guide, None, 2)):
        torch.manual_seed(2)
        bound = objective()
        found.append([bound, *torch.autograd.grad(bound.sum(), list(guide.parameters()))])
    tolerance = 1e-6 if kind == "panel" else 1e-8  # headrooms have constants that a trace rounds, in every guide
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=tolerance, atol=10 * tolerance)

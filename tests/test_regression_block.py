"""Weights given the rest, solved over the regulators of each target: values and gradients of dense algebra."""

import copy
import gc
import math
import weakref

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
    """A shared matrix, three of single columns, and cuts of which some columns, with either, have several."""
    product = lambda *shape: (lambda x: x.mT @ x)(torch.randn(*shape, 50, TFS, dtype=torch.float64))
    shared, own = (product(*shape) + 20 * torch.eye(TFS) for shape in ((), (3,)))
    target = torch.tensor([3, 9, 3, 38, 12, 3, 39, 38, 30, 4, 30])
    cut = torch.randn(len(target), TFS, dtype=torch.float64)
    return Grams(*(v.to(dtype) if v.is_floating_point() else v for v in (shared, OWN, own, cut, target)))


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
@pytest.mark.parametrize("outputs", ["moments", "draw", "mean", "mean and logs", "draw and moments"])
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
        "mean and logs": lambda: ((block.mean, block.log_root), (mean, factor.diagonal(dim1=-2, dim2=-1).log())),
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


def test_regulators_that_nearly_agree():
    """They differ by 1e-4 of their size: a Gram matrix in single precision knows the sum of their weights, as a prior
    of ordinary width does; under a wide one it is not positive definite, and only one in double precision is."""
    x = torch.randn(50, TFS, dtype=torch.float64)
    x[:, 1] = x[:, 0] + 1e-4 * x[:, 1]
    gram, none = x.mT @ x, OWN[:0]
    parts = lambda dtype: Grams(gram.to(dtype), none, gram[:0, None].to(dtype), gram[:0].to(dtype), none)
    found = couplings(masks()["none"], parts(torch.float64))

    def mean(dtype, weight):
        noise, eta = torch.full((1, TARGETS), 1e-3), (gram[:, :1] / 1e-3).T.expand(TARGETS, TFS)  # truth: the first, 1
        given = torch.zeros(TFS, TARGETS), noise, torch.full((TFS, TARGETS), weight), eta
        return RegressionBlock(*(v.to(dtype) for v in given), parts(dtype), found).mean[0].double()

    ordinary, single = mean(torch.float64, 1.0), mean(torch.float32, 1.0)
    torch.testing.assert_close(single[0] + single[1], ordinary[0] + ordinary[1], rtol=1e-4, atol=0.0)
    torch.testing.assert_close(single[:2], torch.full((2,), 0.5, dtype=torch.float64), rtol=0.05, atol=0.0)
    with pytest.raises(torch.linalg.LinAlgError, match="not positive-definite"):
        mean(torch.float32, 1e-6)
    wide = mean(torch.float64, 1e-6)
    torch.testing.assert_close(wide, torch.eye(TFS, dtype=torch.float64)[0], rtol=0.0, atol=1e-2)


def block_of(mask="hard", *batch):
    allowed, given = masks()[mask], grams()
    *free, z = arguments(*batch)
    centre = torch.randn(TFS, TARGETS, dtype=torch.float64)
    return RegressionBlock(centre, *free, given, couplings(allowed, given)), z


@pytest.mark.parametrize("graph", [False, True])
def test_factors_are_kept_for_a_gradient_alone(graph, monkeypatch):
    monkeypatch.setattr(regression_block, "CPU_BYTES", 2**14)
    made, most, solve = [], [], torch.linalg.cholesky

    def counted(matrix):
        gc.collect()
        most.append(sum(v() is not None for v in made))
        found = solve(matrix)
        made.append(weakref.ref(found))
        return found

    monkeypatch.setattr(torch.linalg, "cholesky", counted)
    block, z = block_of("none", 4)
    with torch.set_grad_enabled(graph):
        found = block.draw(z)
    assert len(made) > 10
    assert found[0].requires_grad == graph
    assert (max(most) > 10) == graph  # the one of the last piece has a name until the next


def test_means_and_log_determinants_ask_for_no_whole_factor(monkeypatch):
    block, z = block_of("hard", 2)
    whole = RegressionBlock(*(getattr(block, name) for name in block.__dataclass_fields__)).factor.shape
    made, embed = [], torch.diag_embed
    monkeypatch.setattr(torch, "diag_embed", lambda v: made.append(v.shape) or embed(v))
    assert block.mean.shape == block.log_root.shape == whole[:-1]
    block.draw(z)
    assert not made
    assert block.factor.shape == whole
    assert len(made) == 1  # or this test would see none


def test_gradients_of_the_shift_alone_need_no_inverse(monkeypatch):
    block, z = block_of("hard", 2)
    block = RegressionBlock(
        block.centre, block.noise.detach(), block.weight.detach(), block.shift, block.grams, block.couplings
    )
    z.requires_grad_()
    mean, _, draw, _ = dense(
        *(block.centre, block.noise, block.weight, block.shift, z), *(masks_of(block), dense_grams(block.grams))
    )
    expected = gradients((draw, mean), (block.shift, z))
    outputs = block.draw(z)[0], block.mean
    monkeypatch.setattr(torch, "eye", lambda *_, **__: pytest.fail("an inverse"))
    found = gradients(outputs, (block.shift, z))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


def masks_of(block):
    """``(tf, target)`` that the couplings of a block couple."""
    found, start = torch.zeros(TFS, TARGETS, dtype=torch.bool), 0
    for group in block.couplings.groups:
        for column, row, mask in zip(block.couplings.order[start:].tolist(), group.row, group.mask, strict=False):
            found[row[mask], column] = True
        start += len(group.row)
    return found


@pytest.mark.parametrize("alone", ["noise", "weight", "shift", "z"])
def test_what_has_no_draws_is_of_all_of_them(alone):
    batch, allowed, given = (3,), masks()["hard"], grams()
    names = ("noise", "weight", "shift", "z")
    values = dict(zip(names, arguments(*batch), strict=True)) | {
        alone: dict(zip(names, arguments(), strict=True))[alone]
    }
    *free, z = values.values()
    centre = torch.zeros(TFS, TARGETS, dtype=torch.float64)
    block = RegressionBlock(centre, *free, given, couplings(allowed, given))
    every = [v.expand(*batch, *v.shape[-2:]) for v in values.values()]
    mean, _, draw, log_density = dense(centre, *every, allowed, dense_grams(given))
    found = *block.draw(z), block.mean
    for a, b in zip(found, (draw, log_density, mean), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
    for a, b in zip(gradients(found, free), gradients((draw, log_density, mean), free), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("alone", ["noise", "weight", "shift"])
def test_only_one_with_draws(alone):
    allowed, given, names = masks()["hard"], grams(), ("noise", "weight", "shift")
    values = dict(zip(names, arguments(), strict=False)) | {alone: dict(zip(names, arguments(3), strict=False))[alone]}
    centre = torch.zeros(TFS, TARGETS, dtype=torch.float64)
    block = RegressionBlock(centre, *values.values(), given, couplings(allowed, given))
    every = [v.expand(3, *v.shape[-2:]) for v in values.values()]
    z = torch.zeros(3, TARGETS, TFS, dtype=torch.float64)
    mean, factor, *_ = dense(centre, *every, z, allowed, dense_grams(given))
    torch.testing.assert_close(block.mean, mean.expand_as(block.mean), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(block.factor, factor.expand_as(block.factor), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("mask", ["hard", "none", "empty"])
@pytest.mark.parametrize(("targets", "draws"), [(0, (2,)), (0, ()), (TARGETS, (0,)), (0, (0,))])
def test_nothing_of_no_targets_or_no_draws(targets, draws, mask):
    given, allowed = grams(), masks()[mask][:, :targets]
    if not targets:
        given = given._replace(own=OWN[:0], own_gram=given.own_gram[:0], cut=given.cut[:0], cut_target=OWN[:0])
    noise, weight, shift, z = arguments(*draws)
    noise, weight, shift, z = noise[..., :targets], weight[..., :targets], shift[..., :targets, :], z[..., :targets, :]
    centre = torch.zeros(TFS, targets, dtype=torch.float64)
    block = RegressionBlock(centre, noise, weight, shift, given, couplings(allowed, given))
    draw, log_density = block.draw(z)
    assert draw.shape == (*draws, TFS, targets)
    assert log_density.shape == (*draws, targets)
    assert block.factor.shape == (*draws, targets, TFS, TFS)
    assert all(not v.any() for v in gradients((draw, log_density, block.mean, block.factor), (noise, weight, shift)))


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
            assert group.is_full == bool(group.mask.all())
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


@pytest.mark.parametrize("alone", ["loc", "scale", "noise", "shift"])
def test_what_alone_has_draws_of_what_weights_are_given(alone, tiny_data):
    model = built("cells", tiny_data, HardMask(), True).double()
    tfs, targets = len(model.tfs), len(model.targets)
    shapes = {"loc": (tfs, targets), "scale": (tfs, targets), "noise": (1, targets), "shift": (tfs, targets)}
    values = {name: torch.rand(shape, dtype=torch.float64) + 0.5 for name, shape in shapes.items()}
    values[alone] = torch.rand(3, *shapes[alone], dtype=torch.float64) + 0.5
    block = model.weights_given(*values.values())
    z = torch.randn(3, targets, tfs, dtype=torch.float64)
    found = block.mean, block.factor, *block.draw(z)
    for k in range(3):
        one = model.weights_given(*(v[k] if name == alone else v for name, v in values.items()))
        for a, b in zip(found, (one.mean, one.factor, *one.draw(z[k])), strict=True):
            torch.testing.assert_close(a.expand(3, *b.shape)[k], b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["cells", "clamped", "clamped rows", "panel", "course"])
def test_couplings_that_are_kept_follow_a_model(kind, tiny_data):
    """Into a copy, into another precision, and through a change of one of the two."""
    model = built(kind, tiny_data, HardMask(), True)
    guide = Blocked()(model, None, 2)
    with torch.no_grad():
        values, _ = guide.draw()
    means = lambda model, dtype: model.conditional("W", {k: v.to(dtype) for k, v in values.items()}).mean
    before = means(model, torch.float32)
    other = copy.deepcopy(model)
    assert torch.equal(means(other, torch.float32), before)
    torch.testing.assert_close(means(other.to(torch.float64), torch.float64).float(), before, rtol=1e-3, atol=1e-4)
    assert torch.equal(means(model, torch.float32), before)
    allowed = other.edge_prior.allowed
    at = tuple(allowed.nonzero()[-1].tolist())  # rows before it may be coupled to it
    allowed[at] = False
    prior_alone = other.conditional("W", {k: v.double() for k, v in values.items()}).factor
    row, column = at
    off = prior_alone[:, column, row].clone()
    off[..., row] = 0.0
    assert not off.any()  # it is coupled to none before it, in the copy
    assert model.edge_prior.allowed[at]
    assert torch.equal(means(model, torch.float32), before)


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

"""Worlds: targets made on real regulators have the truth, the signal and the noise that they say they have."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pyrogrn.models import ExpressionData, LinearNetwork
from pyrogrn.models.data.out_of_fold import out_of_fold, within_contexts
from pyrogrn.models.simulators import (
    WorldKind,
    donors_of,
    own_world,
    prior_like,
    semi_synthetic,
    simulate_linear,
    with_plain_genes,
)
from pyrogrn.models.simulators.responses import RESPONSES, response
from pyrogrn.priors import PriorNetwork

TARGETS = 40


@pytest.fixture(scope="module")
def real():
    return simulate_linear(
        num_genes=60, num_tfs=10, num_cells=400, edge_probability=0.3, tf_correlation=0.4, num_perturbed=1, seed=5
    )


@pytest.fixture(scope="module")
def donors(real):
    return donors_of(real.data, 50, seed=0)


def make(real, donors, *, seed=1, num_targets=TARGETS, **kind):
    return semi_synthetic(real.data, donors, WorldKind(**kind), num_targets=num_targets, seed=seed)


def made_part(world):
    return world.data.X.numpy()[:, len(world.data.tfs) :]


# -- out of fold ----


def test_r2_is_what_the_regulators_explain_in_cells_not_fitted(real, donors):
    truth = real.W[0].numpy()
    plain = [real.data.genes.index(g) for g in donors.genes]
    X = real.data.X.numpy()
    signal = (X[:, :10] - X[:, :10].mean(0)) @ truth[:, plain]
    share = signal.var(0) / X[:, plain].var(0)
    np.testing.assert_allclose(donors.r2, share, atol=0.12)
    assert np.corrcoef(donors.r2, share)[0, 1] > 0.98
    assert (donors.r2[share == 0] < 0.02).all()  # in the cells that were fitted it would be above


def test_residuals_are_the_noise_cell_by_cell(real, donors):
    plain = [real.data.genes.index(g) for g in donors.genes]
    X = real.data.X.numpy().astype(float)
    noise = X[:, plain] - X[:, :10] @ real.W[0].numpy()[:, plain]
    aligned = [np.corrcoef(noise[:, i], donors.residual[:, i])[0, 1] for i in range(len(plain))]
    assert min(aligned) > 0.95


def test_a_regulator_is_not_predicted_by_itself(real):
    found = out_of_fold(real.data, real.data.tfs[:3])
    assert (found.r2 < 0.9).all()


def test_too_few_cells_and_constant_genes_are_refused(real):
    with pytest.raises(ValueError, match="5 cells are too few"):
        out_of_fold(real.data.subset(np.arange(5)), real.data.genes[-2:])
    flat = real.data.X.clone()
    flat[:, -1] = 1.0
    with pytest.raises(ValueError, match=r"constant genes: \['G0059'\]"):
        out_of_fold(replace(real.data, matrix=flat), real.data.genes[-2:])


# -- responses ----


def test_responses_rise_and_are_standardised():
    x = np.random.default_rng(0).normal(size=300)
    order = np.argsort(x)
    for kind in RESPONSES:
        values = response(x, kind, np.random.default_rng(1))
        assert abs(values.mean()) < 1e-9
        assert values.var() == pytest.approx(1)
        assert (np.diff(values[order]) >= -1e-12).all()
    assert len(np.unique(response(x, "step", np.random.default_rng(1)).round(9))) == 2


def test_a_step_of_a_regulator_that_is_mostly_at_its_maximum():
    x = np.r_[np.zeros(10), np.ones(90)]
    values = response(x, "step", np.random.default_rng(0))
    assert len(np.unique(values)) == 2


# -- worlds ----


def test_the_truth_is_found_by_one_who_knows_the_response(real, donors):
    strong = replace(donors, r2=np.full(len(donors.genes), 0.9))
    world = make(real, strong, responses=("linear",))
    Z = within_contexts(world.data.X.numpy(), np.zeros(world.data.num_cells, dtype=int))[0]
    tfs = len(world.data.tfs)
    weight = np.linalg.lstsq(Z[:, :tfs], Z[:, tfs:], rcond=None)[0]
    noise = np.square(Z[:, tfs:] - Z[:, :tfs] @ weight).sum(0) / (len(Z) - tfs)
    error = np.sqrt(np.diag(np.linalg.inv(Z[:, :tfs].T @ Z[:, :tfs]))[:, None] * noise)
    clear = np.abs(weight / error) > 4
    assert (clear == world.present).mean() > 0.99
    np.testing.assert_array_equal(np.sign(weight)[world.present & clear], world.sign[world.present & clear])


@pytest.mark.parametrize("noise", ["gaussian", "residual"])
def test_the_share_of_the_signal_is_the_donors_r2(real, donors, noise):
    world = make(real, donors, responses=("linear",), noise=noise, num_targets=60)
    lent = dict(zip(donors.genes, donors.r2, strict=True))
    expected = np.array([lent[name] for name in world.donors])
    np.testing.assert_allclose(world.r2, np.where(expected < 0.01, 0, expected.clip(max=0.98)))
    assert all(bool(acting) == (r2 > 0) for acting, r2 in zip(world.acting, world.r2, strict=True))
    found = out_of_fold(world.data, world.targets)
    np.testing.assert_allclose(found.r2, world.r2, atol=0.15)
    assert np.corrcoef(found.r2, world.r2)[0, 1] > 0.97


def test_real_residuals_stay_with_their_cells(real, donors):
    nothing = replace(donors, r2=np.r_[0.5, np.zeros(len(donors.genes) - 1)])  # but one: all else is noise alone
    world = make(real, nothing, noise="residual")
    place = {name: i for i, name in enumerate(donors.genes)}
    for column, donor, r2 in zip(made_part(world).T, world.donors, world.r2, strict=True):
        if r2 == 0:
            assert np.corrcoef(column, donors.residual[:, place[donor]])[0, 1] > 0.9999
    gaussian = make(real, nothing)
    same = [
        np.corrcoef(column, donors.residual[:, place[donor]])[0, 1]
        for column, donor in zip(made_part(gaussian).T, gaussian.donors, strict=True)
    ]
    assert np.abs(same).max() < 0.3


def test_hidden_regulators_act_and_are_not_offered(real, donors):
    world = make(real, donors, hidden=0.5)
    assert len(world.data.tfs) == 5
    assert world.data.genes == (*world.data.tfs, *world.targets)
    acting = {name for names in world.acting for name in names}
    assert acting - set(world.data.tfs)  # they act
    for g, names in enumerate(world.acting):
        offered = {tf for tf, there in zip(world.data.tfs, world.present[:, g], strict=True) if there}
        assert offered == set(names) & set(world.data.tfs)
    everything = make(real, donors)
    assert everything.data.tfs == real.data.tfs
    assert everything.present.sum() == sum(map(len, everything.acting))


def test_the_regulators_are_the_real_ones_with_their_interventions(real, donors):
    world = make(real, donors)
    torch.testing.assert_close(world.data.X[:, :10], real.data.X[:, :10])
    assert world.data.clamped[:, :10].sum() == real.data.clamped[:, :10].sum() > 0
    assert not world.data.clamped[:, 10:].any()
    assert not set(world.targets) & set(real.data.genes)
    network = world.network()
    assert len(network) == world.present.sum()
    assert not set(network["target"]) & set(world.data.tfs)


def test_same_seed_same_world(real, donors):
    for kind in ({}, {"hidden": 0.5, "noise": "residual", "as_measured": True}):
        one, two, other = (make(real, donors, seed=seed, **kind) for seed in (1, 1, 2))
        torch.testing.assert_close(one.data.X, two.data.X, rtol=0, atol=0)
        assert one.acting == two.acting
        assert one.acting != other.acting


def test_units_are_those_of_the_donors(real, donors):
    world = make(real, donors)
    place = [real.data.genes.index(name) for name in world.donors]
    X = real.data.X.numpy()
    np.testing.assert_allclose(made_part(world).mean(0), X[:, place].mean(0), atol=0.15)
    np.testing.assert_allclose(made_part(world).std(0), X[:, place].std(0), rtol=0.3)


def test_as_measured_has_the_very_values_of_a_gene(real, donors):
    counts = real.data.X.round().clamp_min(4) - 4  # many zeros
    data = replace(real.data, matrix=counts)
    found = donors_of(data, 50)
    world = semi_synthetic(data, found, WorldKind(as_measured=True), num_targets=TARGETS, seed=0)
    place = [data.genes.index(name) for name in world.donors]
    np.testing.assert_array_equal(np.sort(made_part(world), axis=0), np.sort(counts.numpy()[:, place], axis=0))


def test_contexts_keep_their_means():
    real = simulate_linear(num_genes=30, num_tfs=6, num_cells=200, num_contexts=2, edge_probability=0.4, seed=2)
    shifted = real.data.X + 3.0 * real.data.context[:, None]
    data = replace(real.data, matrix=shifted)
    found = donors_of(data, 20)
    world = semi_synthetic(data, found, WorldKind(), num_targets=10, seed=0)
    made, second = made_part(world), data.context.numpy() == 1
    np.testing.assert_allclose(made[second].mean(0) - made[~second].mean(0), 3.0, atol=0.5)
    assert world.data.context_names == data.context_names


def test_what_cannot_be_made_is_refused(real, donors):
    with pytest.raises(ValueError, match="3 candidate regulators are too few"):
        donors_of(real.data.annotated(tfs=real.data.tfs[:3]), 5)
    with pytest.raises(ValueError, match="every gene is a candidate regulator"):
        donors_of(real.data.annotated(tfs=real.data.genes), 5)
    with pytest.raises(ValueError, match="fewer than two would be offered"):
        make(real, donors, hidden=0.9)
    with pytest.raises(ValueError, match="explain none of"):
        make(real, replace(donors, r2=np.zeros(len(donors.genes))))
    with pytest.raises(ValueError, match="expected at least 1"):
        make(real, donors, num_targets=0)
    for wrong in ({"hidden": 1.0}, {"noise": "none"}, {"responses": ("cubic",)}, {"most_acting": 0}, {"falling": -1.0}):
        with pytest.raises(ValueError, match=r"expected|choose"):
            WorldKind(**wrong)


def test_where_all_genes_are_candidates_some_are_taken_for_plain_ones(real):
    everything = real.data.annotated(tfs=real.data.genes)
    chosen = with_plain_genes(everything)
    assert len(chosen.tfs) == 48
    assert "12 of 60 genes" in chosen.notes[-1]
    assert with_plain_genes(real.data) is real.data
    assert not set(donors_of(chosen, 50).genes) & set(chosen.tfs)


# -- sources of prior knowledge ----


def test_a_made_source_is_as_wide_as_the_real_one(real, donors):
    source = PriorNetwork.from_edges(real.network[["source", "target", "sign"]], name="motif")
    world = make(real, donors)
    listed = real.network["target"].value_counts()
    wanted = sum(int(listed.get(donor, 0)) for donor in world.donors)
    tf = {name: i for i, name in enumerate(world.data.tfs)}
    target = {name: i for i, name in enumerate(world.targets)}
    right = {}
    for moved in (0.0, 0.5, 1.0):
        made = prior_like(source, real.data, world, moved=moved, seed=0)
        again = prior_like(source, real.data, world, moved=moved, seed=0)
        assert made.to_frame().equals(again.to_frame())
        assert len(made) == wanted
        edges = made.to_frame()
        hit = [world.sign[tf[s], target[t]] for s, t in zip(edges["source"], edges["target"], strict=True)]
        right[moved] = np.mean(np.array(hit) != 0)
        if moved == 0:
            agree = np.array(hit) * edges["sign"].to_numpy()
            assert (agree >= 0).all()
    assert right[0.0] > right[0.5] > right[1.0]
    assert right[1.0] < world.present.mean()  # an edge is moved to where the source had none


def test_a_source_about_other_genes_is_refused(real, donors):
    source = PriorNetwork.from_edges(real.network[["source", "target"]].assign(target="ELSE")[:1], name="motif")
    with pytest.raises(ValueError, match="prior 'motif' lists no edge"):
        prior_like(source, real.data, make(real, donors), moved=0.0, seed=0)


# -- the model's own world ----


def test_targets_of_the_models_own_prior(real, donors):
    world = own_world(real.data, donors, LinearNetwork.from_data, num_targets=30, seed=0)
    again = own_world(real.data, donors, LinearNetwork.from_data, num_targets=30, seed=0)
    torch.testing.assert_close(world.data.X, again.data.X, rtol=0, atol=0)
    assert world.sign.shape == (10, 30)
    found = out_of_fold(world.data, world.targets)
    np.testing.assert_allclose(found.r2, world.r2, atol=0.2)
    assert isinstance(world.data, ExpressionData)

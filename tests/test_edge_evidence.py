"""What the cells say of an edge beside posteriors, and the map that hears it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pyrogrn.experiments.scores import average_precision
from pyrogrn.inference import SparseGibbs, fit
from pyrogrn.inference.recalibration import TrialOptions, Tuning, tune
from pyrogrn.inference.recalibration import trial as trial_module
from pyrogrn.inference.recalibration.edge_map import EdgeMap
from pyrogrn.inference.recalibration.evidence import evidence_of, left_out, own_noise
from pyrogrn.inference.recalibration.witnesses import measured_well, witnesses_of
from pyrogrn.models import ExpressionData, LinearNetwork
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.models.simulators.semi_synthetic import donors_of

QUICK = SparseGibbs(num_chains=2, num_warmup=15, num_samples=20)
SHORT = TrialOptions(targets=20, worlds=2, warmup=10, samples=10, sweeps=4)


def cells_of(values, num_tfs, **more):
    """Cells of which the first genes are the regulators."""
    names = tuple(f"T{i}" if i < num_tfs else f"G{i - num_tfs}" for i in range(values.shape[1]))
    return ExpressionData(torch.as_tensor(values, dtype=torch.float32), names, names[:num_tfs], **more)


def families(seed=0, num_cells=600, hidden=4, siblings=2, genes=60):
    """Causes that nobody measured, each with regulators that follow it and with genes that follow it; each regulator
    has a noise of its own, which reaches its targets. Cells, truth, and which gene has a hidden cause."""
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(num_cells, hidden))
    tfs = np.repeat(causes, siblings, axis=1) + 0.5 * rng.normal(size=(num_cells, hidden * siblings))
    truth, Y = np.zeros((tfs.shape[1], genes), dtype=bool), np.empty((num_cells, genes))
    of_hidden = np.arange(genes) % 2 == 0
    for g in range(genes):
        t = rng.integers(tfs.shape[1])
        truth[t, g] = not of_hidden[g]
        level = causes[:, t // siblings] if of_hidden[g] else tfs[:, t]
        Y[:, g] = level * rng.choice([-1, 1]) + 0.3 * rng.normal(size=num_cells)
    return cells_of(np.concatenate([tfs, Y], axis=1), tfs.shape[1]), truth, of_hidden


def explained(X, y):
    """Share of the variance that a regression on the columns explains."""
    X, y = X - X.mean(0), y - y.mean()
    return 1 - np.square(y - X @ np.linalg.lstsq(X, y, rcond=None)[0]).sum() / np.square(y).sum()


def test_what_a_gene_loses_without_a_regulator():
    simulation = simulate_linear(num_genes=15, num_tfs=5, num_cells=400, tf_correlation=0.4, seed=1)
    X = simulation.data.X.double().numpy()
    model = LinearNetwork.from_data(simulation.data)
    found = left_out(model)
    for g, name in enumerate(model.targets):
        y = X[:, simulation.data.genes.index(name)]
        others = [t for t, tf in enumerate(model.tfs) if tf != name]
        for t in others:
            rest = [other for other in others if other != t]
            lost = explained(X[:, others], y) - explained(X[:, rest], y)
            assert found[t, g] == pytest.approx(lost, abs=0.01)


def test_cells_in_which_the_target_is_clamped_do_not_count():
    simulation = simulate_linear(num_genes=12, num_tfs=4, num_cells=300, num_perturbed=4, edge_probability=0.5, seed=1)
    data = simulation.data
    model = LinearNetwork.from_data(data)
    index = int(model.own[-1])
    free = ~data.clamped[:, data.genes.index(model.targets[index])].numpy()
    X = data.X.double().numpy()[free]
    y = X[:, data.genes.index(model.targets[index])]
    others = [data.genes.index(tf) for tf in model.tfs if tf != model.targets[index]]
    whole = explained(X[:, others], y)
    lost = [whole - explained(X[:, [o for o in others if o != t]], y) for t in others]
    kept = [t for t, tf in enumerate(model.tfs) if tf != model.targets[index]]
    np.testing.assert_allclose(left_out(model)[kept, index], lost, atol=0.01)
    assert left_out(model)[:, index].max() > 0.05


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_own_noise_of_a_target_that_is_clamped_is_that_of_its_free_cells(share):
    data, truth, _ = families(num_cells=1000)
    place = len(data.tfs) + 1  # of no hidden cause
    target = data.genes[place]
    free = np.random.default_rng(1).random(1000) >= share
    X, clamped = data.X.clone(), torch.zeros_like(data.X, dtype=torch.bool)
    X[~free, place], clamped[~free, place] = -20.0, True
    cut = replace(data, matrix=X, perturbed=torch.nonzero(clamped))
    witnesses = witnesses_of(data)
    half = witnesses.asked([target])
    found = own_noise(cut, (target,), witnesses, half)[:, 0]
    level = witnesses.levels[half[0]]
    tfs = data.X[:, :8].double().numpy()
    own = ((tfs - tfs.mean(0)) / tfs.std(0) - level)[free]
    right = [np.corrcoef(own[:, t], X[:, place].numpy()[free])[0, 1] ** 2 for t in range(8)]
    np.testing.assert_allclose(found, right, atol=1e-6)
    assert found.argmax() == truth[:, 1].argmax()


def test_noise_of_made_targets_is_not_in_what_the_witnesses_say(monkeypatch):
    """Of the noise of a gene that is a witness every regulator would be a cause: the other half is asked."""
    data, _, _ = families(num_cells=400)
    witnesses, donors = witnesses_of(data), donors_of(data, 60)
    made = replace(
        data,
        matrix=torch.cat([data.X[:, :8], torch.as_tensor(donors.residual).float()], dim=1),
        genes=(*data.tfs, *donors.genes),
    )
    asked = witnesses.asked(donors.genes)
    right, leaked = (own_noise(made, donors.genes, witnesses, half) for half in (asked, 1 - asked))
    assert right.mean() < 0.01 < leaked.mean() / 2
    for half in (0, 1):
        assert right[:, asked == half].mean() < 0.01
    seen, real = [], trial_module.matched_world

    def watched(cells, donors, *more, **options):
        seen.append(witnesses.asked(donors.genes))
        return real(cells, donors, *more, **options)

    monkeypatch.setattr(trial_module, "matched_world", watched)
    tune(data, options=SHORT)
    assert len(seen) > 0
    assert all((halves == 1).all() for halves in seen)  # which the trial asks


def test_own_noise_tells_a_regulator_from_what_follows_its_cause():
    data, truth, of_hidden = families()
    witnesses = witnesses_of(data)
    targets = tuple(data.genes[len(data.tfs) :])
    half = witnesses.asked(targets)
    found = own_noise(data, targets, witnesses, half)
    right = found[truth]
    siblings = found[:, of_hidden]
    correlated = np.abs(np.corrcoef(data.X.numpy().T)[: len(data.tfs), len(data.tfs) :][:, of_hidden]) > 0.5
    assert correlated.sum() > 40  # which a correlation takes for edges
    assert np.median(right) > 10 * np.median(siblings[correlated])


def test_trial_hears_it():
    """Regulators that follow a cause which nobody measured are not its targets' regulators."""
    data, truth, _ = families()
    posterior = fit(LinearNetwork.from_data(data), guide=QUICK)
    found = tune(data, options=SHORT)
    assert len(found.map.weights) == 2
    assert found.map.weights[1] > 0
    mapped = found.apply(posterior, data)
    plain = [i for i, gene in enumerate(posterior.coords["target"]) if gene not in set(data.tfs)]
    of = lambda one: one.moments["W"].inclusion[:, plain].astype(float)
    sure = of(posterior) > 0.9
    assert truth[sure].mean() < 0.8  # as sure of what follows a hidden cause
    assert average_precision(of(mapped)[sure], truth[sure]) > 0.94
    without = EdgeMap.fit([np.array([0.1, 0.9])] * len(found.map.slopes), np.array([False, True]))
    deaf = replace(found, map=without, shared_map=None)
    assert average_precision(of(deaf.apply(posterior, data))[sure], truth[sure]) < 0.9
    # a record of it is applied as it was itself
    again = Tuning.from_dict(json.loads(json.dumps(found.to_dict())))
    np.testing.assert_array_equal(again.apply(posterior, data).moments["W"].inclusion, mapped.moments["W"].inclusion)


def test_where_much_was_not_detected_its_noise_is_not_asked():
    data, _, _ = families(num_cells=200)
    assert measured_well(data)
    holes = data.X.clone()
    holes[:, :8] = torch.where(torch.rand(200, 8, generator=torch.Generator().manual_seed(0)) < 0.5, 0.0, holes[:, :8])
    sparse = cells_of(holes.numpy(), 8)
    assert not measured_well(sparse)
    counts = holes.clamp(min=0)
    scaled = (counts - counts.mean(0)) / counts.std(0)  # in which no zero is left
    assert not measured_well(cells_of(scaled.numpy(), 8))
    assert not witnesses_of(sparse).well
    found = tune(sparse, options=SHORT)
    assert len(found.map.weights) == 1
    posterior = fit(LinearNetwork.from_data(sparse), guide=QUICK)
    assert np.isfinite(found.apply(posterior, sparse).moments["W"].inclusion).all()


def test_evidence_of_contexts_and_of_genes_that_do_not_vary():
    data, _, _ = families(num_cells=120)
    model = LinearNetwork.from_data(data)
    alone = evidence_of(model, data, None)
    both = evidence_of(model, data, witnesses_of(data))
    assert alone.shape == (1, 8, 68)
    assert both.shape == (2, 8, 68)
    np.testing.assert_array_equal(alone[0], both[0])
    assert np.isfinite(both).all()


# -- the map ----
def test_map_weighs_evidence_within_what_was_seen():
    rng = np.random.default_rng(0)
    truth = rng.random(6000) < 0.3
    stated = np.full(6000, 0.999)  # as sure of the wrong ones
    stated[:3000] = 0.01
    evidence = np.stack([truth + rng.normal(size=6000), rng.normal(size=6000) - truth])
    found = EdgeMap.fit([stated], truth, evidence)
    assert found.weights[0] == pytest.approx(1, abs=0.15)  # the log ratio of both densities
    assert found.weights[1] == 0  # evidence against is no evidence for
    best = found([[0.999]], [[evidence[0].max()], [0.0]])
    np.testing.assert_array_equal(found([[0.999]], [[99.0], [0.0]]), best)
    assert EdgeMap.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    with pytest.raises(ValueError, match="0 kinds of evidence for a map of 2"):
        found([stated])
    with pytest.raises(ValueError, match="one row for each kind"):
        EdgeMap.fit([stated], truth, evidence[:, :5])
    with pytest.raises(ValueError, match="none below 0"):
        EdgeMap(0.0, (1.0,), (1.0,), (-1.0,), ((0.0, 1.0),))


def test_maps_recorded_before_there_was_evidence():
    old = EdgeMap.from_dict({"intercept": 0.0, "slopes": [1.0], "most": [5.0]})
    np.testing.assert_allclose(old([np.array([0.2, 0.8])]), [0.2, 0.8])


def test_what_says_the_same_of_all_edges_has_no_slope():
    rng = np.random.default_rng(0)
    truth = rng.random(2000) < 0.3
    stated = np.where(truth, 0.8, 0.2)
    found = EdgeMap.fit([stated, np.full(2000, 0.12)], truth)
    assert found.slopes[1] == 0
    pair = lambda other: found([np.array([0.8]), np.array([other])])
    np.testing.assert_array_equal(pair(0.01), pair(0.99))

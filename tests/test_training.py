"""Training of amortised guides: what it is fed, that it learns, repeats and resumes, and that bad scores show."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pyrogrn.inference.amortised import FAMILIES, Family, Schedule, train, training
from pyrogrn.inference.amortised.families import truth
from pyrogrn.inference.amortised.knowledge import simulated_knowledge
from pyrogrn.inference.amortised.losses import balanced_loss
from pyrogrn.inference.amortised.network import AmortisedNetwork
from pyrogrn.inference.amortised.training import Batch, evaluate, make_batch, simulate_example
from pyrogrn.inference.calibration import expected_calibration_error
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

TINY = Family(genes=(14, 14), tf_share=(0.3, 0.3), types=(2, 2), cells=(60, 60), in_degree=(1.0, 2.0))
QUICK = Schedule(
    solver_batches=2,
    solver_epochs=3,
    solver_graphs=2,
    batches=8,
    graphs=4,
    steps=60,
    check_every=15,
    validation=2,
    test=1,
)
OPTIONS = {"num_iterations": 3}


def learn(kind="glad-tf", **options):
    return train(kind, **{"family": TINY, "schedule": QUICK, "options": OPTIONS, "seed": 1, **options})


def same(a, b):
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def untrained(kind, options=OPTIONS, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AmortisedNetwork(kind, unrolled=options)


@pytest.fixture(scope="module")
def straight():
    """One training without a cache, and what it said."""
    lines = []
    return *learn(say=lines.append), lines


# -- simulations ----


def test_knowledge_says_nothing_of_the_network_but_what_it_lists():
    """One seed serves a batch: settings, cells and knowledge draw from streams of their own, or a guide would learn
    that a prior network is given where edges are few."""
    family = replace(TINY, genes=(14, 30), in_degree=(0.5, 3.0))
    given, density = [], []
    for seed in range(60):
        example = simulate_example(True, family, 4, seed)
        given += example.knowledge[..., 2].amax((1, 2)).tolist()
        density += example.truth.mean((1, 2)).tolist()
    assert 0.35 < np.mean(given) < 0.65
    assert abs(stats.spearmanr(given, density).statistic) < 3 / len(given) ** 0.5


@pytest.fixture(scope="module")
def lists():
    """Graphs of known density, and 2,000 corrupted prior networks of them."""
    generator = torch.Generator().manual_seed(1)
    true = (torch.rand(2000, 12, 80, generator=generator) < 0.1).float()
    return true, simulated_knowledge(true, generator)


def test_half_of_the_graphs_get_no_knowledge(lists):
    _, knowledge = lists
    given = knowledge[..., 2].flatten(1)
    assert ((given == 0).all(1) | (given == 1).all(1)).all()
    share = float(given[:, 0].mean())
    assert abs(share - 0.5) < 4.5 * 0.5 / math.sqrt(2000)
    assert (knowledge[given[:, 0] == 0] == 0).all()


def test_one_confidence_for_all_that_is_listed(lists):
    _, knowledge = lists
    log_odds, listed, given = knowledge.unbind(-1)
    assert ((listed == 0) | (listed == 1)).all()
    assert (log_odds[listed == 0] == 0).all()
    confidences = []
    for odds, chosen in zip(log_odds[given[:, 0, 0] == 1], listed[given[:, 0, 0] == 1], strict=True):
        if chosen.any():
            values = odds[chosen == 1].unique()
            assert len(values) == 1
            confidences.append(float(torch.sigmoid(values[0])))
    assert stats.kstest(confidences, stats.uniform(0.5, 0.45).cdf).pvalue > 1e-4


def test_lists_have_the_recall_and_precision_that_was_drawn(lists):
    """Each share is uniform over graphs between 10% and 100%, up to the noise of 96 true edges."""
    true, knowledge = lists
    kept = knowledge[:, 0, 0, 2] == 1
    true, listed = true[kept], knowledge[kept][..., 1]
    hits, edges, length = ((true * listed).sum((1, 2)), true.sum((1, 2)), listed.sum((1, 2)))
    recall, precision = (hits / edges).numpy(), (hits / length.clamp_min(1)).numpy()
    # sd of a share of 0.55 ± 0.26 of a thousand graphs, its mean: 0.0083
    assert abs(recall.mean() - 0.55) < 4.5 * 0.0083
    # false edges are drawn at a rate: a ratio of counts, biased by less than 0.01
    assert abs(precision.mean() - 0.55) < 4.5 * 0.0083 + 0.01
    assert np.quantile(recall, 0.05) < 0.2
    assert np.quantile(recall, 0.95) > 0.9
    assert np.quantile(precision, 0.05) < 0.2
    assert np.quantile(precision, 0.95) > 0.9
    assert abs(np.corrcoef(recall, precision)[0, 1]) < 4.5 / math.sqrt(len(recall))


def test_examples_with_regulators():
    example = simulate_example(True, TINY, 3, 5)
    simulation = TINY.simulate(3, 5)
    assert example.X.shape == (3, 60, 14)
    assert torch.equal(example.truth, truth(simulation))
    assert torch.equal(example.sources, simulation.kinetics.regulators)
    assert example.truth.shape == example.mask.shape == (3, 4, 14)
    itself = example.sources[:, :, None] == torch.arange(14)
    assert torch.equal(example.mask == 0, itself)
    assert (example.truth[itself] == 0).all()


def test_examples_without_regulators_are_symmetric():
    example, directed = simulate_example(False, TINY, 3, 5), simulate_example(True, TINY, 3, 5)
    assert torch.equal(example.X, directed.X)
    assert torch.equal(example.truth, example.truth.mT)
    assert torch.equal(example.knowledge, example.knowledge.transpose(1, 2))
    assert torch.equal(example.sources, torch.arange(14).expand(3, 14))
    assert torch.equal(example.mask, 1 - torch.eye(14).expand(3, 14, 14))
    for graph in range(3):
        expected = torch.zeros(14, 14)
        for t, g in directed.truth[graph].nonzero():
            source = directed.sources[graph, t]
            expected[source, g] = expected[g, source] = 1
        assert torch.equal(example.truth[graph], expected)


@pytest.mark.parametrize("kind", ["glad", "glad-tf", "grnular"])
def test_a_batch_depends_on_its_arguments_only(kind):
    options = {"num_iterations": 2, "init_epochs": 3} if kind == "grnular" else OPTIONS
    network, found = untrained(kind, options), []
    for seed in (0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            found.append(make_batch(network, TINY, 2, 7))
    other = make_batch(network, TINY, 2, 8)
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(found[0].z, other.z)
    sources = 14 if kind == "glad" else 4
    assert found[0].evidence.shape[:3] == found[0].z.shape == (2, sources, 14)
    assert torch.isfinite(found[0].evidence).all()
    assert torch.isfinite(found[0].z).all()


def test_threads_are_left_as_they_were():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        make_batch(untrained("glad-tf"), TINY, 1, 7)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_family_draws_what_it_says(name):
    family = replace(FAMILIES[name], cells=(40, 60))
    for seed in range(3):
        simulation = family.simulate(2, seed)
        networks, types, cells, genes = simulation.X.shape
        assert networks == 2
        assert family.types[0] <= types <= family.types[1]
        assert family.genes[0] <= genes <= family.genes[1]
        assert family.cells[0] - types < types * cells <= max(family.cells[1], 10 * types)
        tfs = simulation.kinetics.regulators.shape[1]
        assert family.tf_share[0] * genes - 1 <= tfs <= family.tf_share[1] * genes + 1
        assert torch.isfinite(simulation.X).all()
        assert torch.equal(simulation.X, family.simulate(2, seed).X)


# -- learning ----


def validation_scores(lines):
    return [float(line.split("validation ")[1].split()[0]) for line in lines if "validation" in line and "nats" in line]


def test_training_lowers_validation_loss_and_beats_the_base_rate(straight):
    _, about, lines = straight
    scores = validation_scores(lines)
    assert len(scores) == 4
    assert min(scores) < scores[0] - 0.02
    density = make_batch(untrained("glad-tf"), TINY, 8, 11).truth.float().mean().item()
    entropy = -density * math.log(density) - (1 - density) * math.log(1 - density)
    assert about["scores"]["log_loss"] < entropy
    assert about["scores"]["auroc"] > 0.65
    assert lines[-1].startswith("fresh simulations: log_loss ")
    assert about["seed"] == 1
    assert about["family"]["genes"] == (14, 14)
    assert about["schedule"]["steps"] == 60


def test_the_best_state_is_kept(straight):
    network, _, lines = straight
    validation = [make_batch(network, TINY, 4, 1_000_003 + training.VALIDATION + i) for i in range(2)]
    best = min(validation_scores(lines))
    assert evaluate(network, validation)["log_loss"] == pytest.approx(best, abs=1e-4)


def test_training_stops_when_nothing_improves():
    lines = []
    schedule = replace(QUICK, steps=200, check_every=1, patience=2, rate=10.0)
    learn(schedule=schedule, say=lines.append)
    scores = validation_scores(lines)
    assert len(scores) < 200
    assert min(scores[-2:]) >= min(scores[:-2])


def test_same_seed_same_weights(straight):
    network, about, _ = straight
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)  # the caller's generator does not enter
        again, scores = learn()
    assert same(network, again)
    assert scores["scores"] == about["scores"]
    other = learn(seed=2, schedule=replace(QUICK, batches=1, steps=2, validation=1))[0]
    assert not same(network.unrolled, other.unrolled)


@pytest.mark.parametrize(("kind", "loss"), [("glad", "paper"), ("grnular", "posterior"), ("grnular", "paper")])
def test_other_kinds_and_losses_train(kind, loss):
    options = {"num_iterations": 2, "init_epochs": 3, "max_cells": 40} if kind == "grnular" else OPTIONS
    schedule = replace(QUICK, batches=1, graphs=2, steps=4, check_every=2, validation=1, solver_epochs=2)
    network, about = learn(kind, options=options, schedule=schedule, loss=loss)
    assert network.kind == kind
    assert about["loss"] == loss
    assert all(math.isfinite(about["scores"][name]) for name in ("log_loss", "ece", "average_precision", "auroc"))
    before = untrained(kind, options, seed=1)
    assert not same(before.head, network.head)
    if loss == "posterior":  # two epochs on two batches need not lower the paper's loss of other networks
        assert not same(before.unrolled, network.unrolled)


@pytest.mark.parametrize(("loss", "of"), [("paper", 1), ("paper-theta", 0)])
def test_the_papers_loss_is_what_is_minimised(loss, of):
    """The first line of progress is the paper's loss of the untrained algorithm, on the held-out networks: of Z, or of
    Θ as it is written."""
    lines = []
    schedule = replace(QUICK, batches=1, graphs=2, steps=2, check_every=2, validation=1)
    learn(loss=loss, schedule=schedule, say=lines.append)
    network = untrained("glad-tf", seed=1)
    small = replace(TINY, genes=(60, 100), cells=(60, 600))
    first = 1_000_003 + training.VALIDATION // 2 + QUICK.solver_batches
    expected = []
    for seed in range(first, first + training.SOLVER_HELD_OUT):
        example = simulate_example(True, small, QUICK.solver_graphs, seed)
        with torch.no_grad():
            solved = network.solve(example.X, example.sources, example.knowledge)[of]
        expected.append(float(balanced_loss(solved, example.truth, example.mask)))
    assert float(lines[0].split("loss ")[1].split()[0]) == pytest.approx(np.mean(expected), abs=1e-4)


# -- interrupts ----


class Interrupt:
    """Ctrl-C at the first line of progress that contains a word."""

    def __init__(self, word):
        self.word = word

    def __call__(self, line):
        if self.word in line:
            raise KeyboardInterrupt


@pytest.mark.parametrize("word", ["epoch 1", "step 30", "step 60", "fresh simulations"])
def test_an_interrupted_training_resumes_to_the_same_weights(word, straight, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        learn(cache=tmp_path, say=Interrupt(word))
    lines = []
    network, about = learn(cache=tmp_path, say=lines.append)
    assert same(network, straight[0])
    assert about["scores"] == straight[1]["scores"]
    assert not list(tmp_path.glob("*.part"))
    if word == "step 60":  # told before it is saved: the state is that of step 45
        assert len(validation_scores(lines)) == 1
    if word == "fresh simulations":
        assert not validation_scores(lines)


def test_a_training_that_had_stopped_early_does_not_go_on(tmp_path):
    schedule = replace(QUICK, steps=200, check_every=1, patience=2, rate=10.0)
    network, _ = learn(schedule=schedule, cache=tmp_path)
    lines = []
    again, _ = learn(schedule=schedule, cache=tmp_path, say=lines.append)
    assert not validation_scores(lines)
    assert same(network, again)


def test_cached_batches_are_used_again(straight, tmp_path, monkeypatch):
    made = []

    def counted(*arguments):
        made.append(arguments[-1])
        return make_batch(*arguments)

    monkeypatch.setattr(training, "make_batch", counted)
    learn(cache=tmp_path)
    assert len(made) == len(set(made)) == QUICK.validation + QUICK.batches + QUICK.test
    assert len(list(tmp_path.glob("batch_*.pt"))) == len(made)
    made.clear()
    (tmp_path / "head.pt").unlink()
    (tmp_path / f"batch_{1:06d}.pt").unlink()
    network, _ = learn(cache=tmp_path)
    assert made == [1_000_003 + 1]
    assert same(network, straight[0])


# -- scores ----


class Stated:
    """A network whose log-odds are given: what `evaluate` asks for, and no more."""

    def __init__(self, scale=1.0, network=None):
        self.scale, self.network = scale, network

    def from_parts(self, evidence, z, knowledge):
        return self.scale * (z if self.network is None else self.network.from_parts(evidence, z, knowledge))


def batch_of(logit, true, mask):
    shape = (*logit.shape, 1)
    return Batch(torch.zeros(shape), logit, torch.zeros(shape), true.bool(), mask.bool())


def test_scores_by_hand():
    probability = torch.tensor([[[0.9, 0.2, 0.5], [0.6, 0.1, 0.3]], [[0.8, 0.7, 0.5], [0.2, 0.4, 0.1]]])
    true = torch.tensor([[[1, 0, 1], [0, 0, 1]], [[1, 0, 0], [0, 1, 0]]])
    mask = torch.tensor([[[1, 1, 0], [1, 1, 1]], [[1, 1, 1], [1, 1, 0]]])
    scores = evaluate(Stated(), [batch_of(torch.logit(probability), true, mask)])
    first = -(math.log(0.9) + math.log(0.8) + math.log(0.4) + math.log(0.9) + math.log(0.3)) / 5
    second = -(math.log(0.8) + math.log(0.3) + math.log(0.5) + math.log(0.8) + math.log(0.4)) / 5
    assert scores["log_loss"] == pytest.approx((first + second) / 2, abs=1e-6)
    assert scores["log_loss_se"] == pytest.approx(abs(first - second) / 2, abs=1e-6)
    # ranks of the first graph: 1 0 1 0 0 (0.9, 0.6, 0.3, 0.2, 0.1); of the second: 1 0 0 1 0 (0.8, 0.7, 0.5, 0.4, 0.2)
    assert scores["average_precision"] == pytest.approx(((1 + 2 / 3) / 2 + (1 + 2 / 4) / 2) / 2, abs=1e-6)
    assert scores["auroc"] == pytest.approx((5 / 6 + 4 / 6) / 2, abs=1e-6)
    assert scores["graphs"] == 2
    kept = mask.bool()
    expected = expected_calibration_error(probability[kept].numpy(), true[kept].numpy())
    assert scores["ece"] == pytest.approx(expected, abs=1e-6)


def test_graphs_without_edges_have_no_ranking_but_a_log_loss():
    logit = torch.tensor([[[-1.0, 2.0]], [[1.0, -1.0]]])
    true, mask = torch.tensor([[[0, 0]], [[1, 0]]]), torch.ones(2, 1, 2)
    scores = evaluate(Stated(), [batch_of(logit, true, mask)])
    assert scores["graphs"] == 1
    assert scores["average_precision"] == scores["auroc"] == 1.0
    softplus = lambda x: math.log1p(math.exp(x))
    assert scores["log_loss"] == pytest.approx((softplus(-1) + softplus(2) + 2 * softplus(-1)) / 4, abs=1e-6)


def test_calibrated_scores_pass_and_overconfident_ones_do_not():
    """Truth drawn from the stated probabilities; the same log-odds times three."""
    generator = torch.Generator().manual_seed(0)
    logit = 1.5 * torch.randn(6, 20, 100, generator=generator) - 1
    true = torch.rand(logit.shape, generator=generator) < torch.sigmoid(logit)
    batch = batch_of(logit, true, torch.ones_like(logit))
    right, wrong = evaluate(Stated(), [batch]), evaluate(Stated(3.0), [batch])
    # 15 bins of 12,000 pairs: expected deviation below 0.01
    assert right["ece"] < 0.01
    assert wrong["ece"] > 0.06
    assert wrong["log_loss"] > right["log_loss"] + 0.1
    assert wrong["average_precision"] == pytest.approx(right["average_precision"])
    p, y = torch.sigmoid(logit).flatten(1).numpy(), true.flatten(1).numpy()
    expected = [average_precision_score(t, s) for t, s in zip(y, p, strict=True)]
    assert right["average_precision"] == pytest.approx(np.mean(expected), abs=1e-5)
    expected = [roc_auc_score(t, s) for t, s in zip(y, p, strict=True)]
    assert right["auroc"] == pytest.approx(np.mean(expected), abs=1e-5)


def test_a_trained_head_that_is_turned_up_is_found_out():
    network, _ = learn(schedule=replace(QUICK, batches=8, steps=120, check_every=40))
    batches = [make_batch(network, TINY, 8, 77_000_000 + i) for i in range(4)]
    right, wrong = evaluate(network, batches), evaluate(Stated(3.0, network), batches)
    assert wrong["log_loss"] > right["log_loss"] + 3 * right["log_loss_se"]
    assert wrong["ece"] > 1.5 * right["ece"]
    assert wrong["auroc"] == pytest.approx(right["auroc"])


# -- bad input ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "glasso"}, "kind is 'glasso', expected one of"),
        ({"loss": "focal"}, "loss is 'focal', expected one of"),
        ({"family": "wide"}, "'wide'.*broad"),
        ({"options": {"num_iterations": 0}}, "num_iterations is 0"),
    ],
)
def test_bad_trainings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        learn(**{"kind": "glad-tf", **options})


@pytest.mark.parametrize("name", ["steps", "batches", "graphs", "rate", "patience", "solver_epochs"])
def test_bad_schedules_are_refused(name):
    with pytest.raises(ValueError, match="expected positive numbers"):
        Schedule(**{name: 0})


def test_the_trained_network_learns_nothing_more(straight):
    network = straight[0]
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())

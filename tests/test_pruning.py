"""Sparsifiers: schedule, scores against their formulas, gates, penalties, and any layered network."""

import pandas as pd
import pytest
import torch
from pyrogrn.inference.amortised.grnular import GRNULar
from pyrogrn.inference.pruning import (
    CNODE,
    DASH,
    IMP,
    SPARSIFIERS,
    BioPruning,
    HardConcrete,
    Magnitude,
    NoPruning,
    PathReg,
    Schedule,
    choose_strength,
    normalised,
    one_standard_error,
    prune_lowest,
    prune_post_hoc,
    strengths,
)
from pyrogrn.models.dynamics.phoenix_layers import ABSOLUTE, EXPONENTIAL, Path, sparsity
from pyrogrn.models.dynamics.phoenix_network import PhoenixNetwork
from torch import nn


class Layers(nn.Module):
    """Any stack of weight matrices with one output gain."""

    def __init__(self, *weights, scales=None, gain=None):
        super().__init__()
        self.names = [f"layer{i}" for i in range(len(weights))]
        for name, weight in zip(self.names, weights, strict=True):
            self.register_parameter(name, nn.Parameter(weight.clone()))
            self.register_buffer(f"{name}_mask", torch.ones_like(weight))
        self.paths = (Path(tuple(self.names), scales or (ABSOLUTE,) * len(weights)),)
        self.gain = torch.ones(len(weights[-1])) if gain is None else gain

    def weights(self):
        return {name: getattr(self, name) for name in self.names}

    def masks(self):
        return {name: getattr(self, f"{name}_mask") for name in self.names}

    def output_gain(self):
        return self.gain


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def masked(network):
    masks = network.masks()
    return {n: w.detach() * masks[n] for n, w in network.weights().items()}


PRIOR = (torch.rand(6, 6, generator=torch.Generator().manual_seed(5)) < 0.4).float()


def test_schedule_is_the_papers():
    schedule = Schedule()
    assert [e for e in range(1, 41) if schedule.amount(e) > 0] == [3, 10, 20, 30, 40]
    assert schedule.remaining(40) == pytest.approx(0.3 * 0.9**4)
    assert schedule.remaining(190) == pytest.approx(1 - 0.9595, abs=1e-4)  # the 96.0% that IMP reaches in Table 1
    assert Schedule(10, 0.9, every=20).amount(10) == 0.9
    assert Schedule(last_epoch=15).amount(20) == 0
    for bad in ({"first": 1.0}, {"every": 0}, {"share": -0.1}, {"last_epoch": 0}):
        with pytest.raises(ValueError, match="expected"):
            Schedule(**bad)


def test_prune_lowest_counts_what_is_left():
    mask, score = torch.ones(2, 5), torch.arange(10.0).reshape(2, 5)
    prune_lowest(mask, score, 0.4)
    assert mask.flatten().tolist() == [0] * 4 + [1] * 6
    prune_lowest(mask, score.flip(0, 1), 0.5)  # of the six that are left, the three last
    assert mask.flatten().tolist() == [0] * 4 + [1] * 3 + [0] * 3


def test_normalised_sizes_follow_the_paper():
    W, U, gain = random(2, 4), random(3, 2, seed=1), torch.tensor([1.0, 0.0, 2.0])
    network = Layers(W, U, scales=(EXPONENTIAL, ABSOLUTE), gain=gain)
    network.masks()["layer0"][0, 0] = 0
    sizes = normalised(network)
    e = W.exp()
    e[0, 0] = 0
    assert torch.allclose(sizes["layer0"], e / e.sum())
    assert torch.allclose(sizes["layer1"], U.abs() * gain[:, None] / (U.abs() * gain[:, None]).sum())


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_one_layer_scores(strength):
    W = random(6, 6)
    network, dash = Layers(W), DASH(PRIOR, strength=strength)
    dash.start(network, seed=0)
    assert not dash.before_epoch(1, network)
    assert dash.before_epoch(3, network)
    expected = (1 - strength) * W.abs() / W.abs().sum() + strength * PRIOR.T / PRIOR.sum()
    assert torch.allclose(dash.scores["layer0"], expected, atol=1e-6)
    assert sparsity(masked(network)) == pytest.approx(0.7, abs=0.02)


def test_two_layer_scores_are_the_papers_formulas():
    W, U = random(3, 6), random(6, 3, seed=1)
    network, dash = Layers(W, U), DASH(PRIOR, strength=(0.3, 0.6))
    dash.start(network, seed=0)
    before = dash.scores["layer0"].double()
    dash.before_epoch(3, network)
    P = (PRIOR.T / PRIOR.sum()).double()
    C = (PRIOR @ PRIOR.T / (PRIOR @ PRIOR.T).sum()).double()
    X = before.T
    first = 0.7 * (W.abs() / W.abs().sum()) + 0.3 * (torch.linalg.inv(X.T @ X) @ X.T @ C).abs()
    second = 0.4 * (U.abs() / U.abs().sum()) + 0.6 * (P @ first.T @ torch.linalg.inv(first @ first.T)).abs()
    assert torch.allclose(dash.scores["layer0"].double(), first, atol=1e-5)
    assert torch.allclose(dash.scores["layer1"].double(), second, atol=1e-4)


def test_three_layers_go_from_the_last_to_the_first():
    W1, W2, W3 = random(4, 6), random(5, 4, seed=1), random(6, 5, seed=2)
    network, dash = Layers(W1, W2, W3), DASH(PRIOR, strength=(0.2, 0.5, 0.7))
    dash.start(network, seed=0)
    O1, O2 = dash.scores["layer0"].double(), dash.scores["layer1"].double()
    dash.before_epoch(3, network)
    P, pinv = (PRIOR.T / PRIOR.sum()).double(), lambda m: torch.linalg.pinv(m, rtol=1e-6)
    size = [w.abs() / w.abs().sum() for w in (W1, W2, W3)]
    O3 = 0.3 * size[2] + 0.7 * (P @ pinv(O2 @ O1)).abs()
    O2 = 0.5 * size[1] + 0.5 * (pinv(O3) @ P @ pinv(O1)).abs()
    O1 = 0.8 * size[0] + 0.2 * (pinv(O3 @ O2) @ P).abs()
    for name, expected in zip(network.names, (O1, O2, O3), strict=True):
        assert torch.allclose(dash.scores[name].double(), expected, rtol=1e-3, atol=1e-5)


def test_imp_is_dash_without_prior_and_bio_is_dash_without_weights():
    found = {}
    for name, sparsifier in {
        "imp": IMP(),
        "zero": DASH(PRIOR, strength=0.0),
        "bio": BioPruning(PRIOR),
        "one": DASH(PRIOR, strength=1.0),
        "other weights": BioPruning(PRIOR),
    }.items():
        seed = 7 if name == "other weights" else 0
        network = Layers(random(3, 6, seed=seed), random(6, 3, seed=seed + 1))
        sparsifier.start(network, seed=3)
        sparsifier.before_epoch(3, network)
        sparsifier.before_epoch(10, network)
        found[name] = torch.cat([m.flatten() for m in network.masks().values()])
    assert torch.equal(found["imp"], found["zero"])
    assert torch.equal(found["bio"], found["one"])
    assert torch.equal(found["bio"], found["other weights"])
    assert not torch.equal(found["imp"], found["bio"])


def test_masks_only_grow_sparser():
    network, dash = Layers(random(3, 6), random(6, 3, seed=1)), DASH(PRIOR)
    dash.start(network, seed=0)
    dash.before_epoch(3, network)
    before = {n: m.clone() for n, m in network.masks().items()}
    with torch.no_grad():
        for weight in network.weights().values():
            weight.add_(random(*weight.shape, seed=9))
    dash.before_epoch(10, network)
    for name, mask in network.masks().items():
        assert bool((mask <= before[name]).all())


def test_a_prior_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="6 inputs and 6 outputs, the prior"):
        DASH(PRIOR[:5, :5]).start(Layers(random(3, 6), random(6, 3)), seed=0)
    with pytest.raises(ValueError, match="3 strengths for 2 layers"):
        DASH(PRIOR, strength=(0.1, 0.2, 0.3)).start(Layers(random(3, 6), random(6, 3)), seed=0)
    for options in (
        {"prior": 0 * PRIOR},
        {"prior": PRIOR, "strength": 1.5},
        {"prior": PRIOR, "coregulation": PRIOR[1:]},
    ):
        with pytest.raises(ValueError, match="expected"):
            DASH(**options)


def test_gates_have_the_probability_they_say():
    network, gates = Layers(random(4, 200), random(3, 4)), HardConcrete(keep=0.4)
    gates.start(network, seed=0)
    claimed = gates.open_probability()["layer0"][0].mean().item()
    drawn = torch.stack([(gates.gates(training=True)["layer0"][0] > 0).float() for _ in range(300)])
    error = (claimed * (1 - claimed) / drawn.numel()) ** 0.5
    assert abs(drawn.mean().item() - claimed) < 4 * error
    assert bool((gates.gates(training=True)["layer0"] <= 1).all())
    rows = gates.gates(training=True)["layer0"]
    assert torch.equal(rows[0], rows[1])  # one gate for each input


def test_finish_makes_zeros_exact():
    network, gates = Layers(random(4, 6), random(3, 4)), HardConcrete(group="weight")
    gates.start(network, seed=0)
    with torch.no_grad():
        gates.log_alpha["layer0"][:, :3] = -10.0
        gates.log_alpha["layer0"][:, 3:] = 10.0
    before = network.layer0.detach().clone()
    gates.finish(network)
    assert int((masked(network)["layer0"][:, :3] != 0).sum()) == 0
    assert torch.equal(masked(network)["layer0"][:, 3:], before[:, 3:])


def test_penalties_are_their_formulas():
    W, U = random(3, 6), random(4, 3, seed=1)
    network = Layers(W, U)
    found = CNODE(strength=0.5).penalty(network)
    assert torch.allclose(found, 0.5 * (U.abs() @ W.abs()).mean())
    reg = PathReg(strength=0.25, weight_strength=0.5)
    reg.start(network, seed=0)
    p = reg.open_probability()
    expected = 0.25 * (p["layer1"] @ p["layer0"]).mean() + 0.5 * (U.abs() @ W.abs()).mean()
    assert torch.allclose(reg.penalty(network), expected)
    l0 = HardConcrete(strength=2.0)
    l0.start(network, seed=0)
    p = l0.open_probability()
    assert torch.allclose(l0.penalty(network), 2 * torch.cat([v.flatten() for v in p.values()]).mean())
    cut = CNODE(threshold=0.5)
    cut.finish(network)
    assert torch.equal(network.masks()["layer0"], (W.abs() >= 0.5).float())


def test_options_are_checked():
    for make in (
        lambda: HardConcrete(group="row"),
        lambda: HardConcrete(keep=1.0),
        lambda: CNODE(strength=-1.0),
        lambda: PathReg(weight_strength=-1.0),
        lambda: Magnitude(1.0),
        lambda: prune_post_hoc(None, None, repeats=1),
        lambda: choose_strength(None, None, []),
    ):
        with pytest.raises(ValueError, match="expected"):
            make()


class Result:
    def __init__(self, network, validation, zeros):
        self.network, self.validation, self.sparsity = network, validation, zeros


def test_post_hoc_takes_the_sparsest_within_one_standard_error():
    def fit(network, sparsifier, seed):
        p = getattr(sparsifier, "fraction", 0.0)
        sparsifier.start(network, seed=seed)
        sparsifier.before_epoch(1, network)
        return Result(network, {0.0: 1.0, 0.5: 0.9, 0.75: 0.95, 0.9: 2.0}[p] + 0.1 * seed, p)

    chosen = prune_post_hoc(fit, lambda seed: Layers(random(3, 6, seed=seed), random(6, 3)), grid=(0.5, 0.75, 0.9))
    assert chosen.fraction == 0.75  # the mean at 0.5 is 1.0 with a standard error of 0.058
    assert len(chosen.fitted) == len(chosen.dense) == 3
    assert len(chosen.table) == 9
    table = pd.DataFrame({"x": [1.0, 1, 2, 2], "validation": [1.0, 1.2, 1.15, 1.2]})
    assert one_standard_error(table, by="x", prefer="largest") == 2.0
    assert one_standard_error(table, by="x", prefer="smallest") == 1.0
    blown = table.assign(validation=float("inf"))
    with pytest.raises(ValueError, match=r"no x of .* has finite errors in every repeat"):
        one_standard_error(blown, by="x", prefer="largest")


def test_strength_is_chosen_by_validation():
    seen = []

    def fit(sparsifier, training, validation, seed):
        seen.append((training, validation, seed))
        return Result(None, abs(sparsifier.strength[0] - 0.45) + abs(sparsifier.strength[1] - 0.8), 0.9)

    choice = choose_strength(fit, lambda s: DASH(PRIOR, strength=s), [(1, 2), (3, 4)])
    assert choice.strength == (0.5, 0.8)
    assert len(choice.table) == 50
    assert set(seen) == {(1, 2, 0), (3, 4, 1)}
    noisy = [(1, 2), (3, 4), (5, 6)]

    def nearly(sparsifier, training, validation, seed):
        trust = sum(sparsifier.strength)  # more trust costs little beside the spread, until it costs much
        return Result(None, 1.0 + (0.01 * (-1) ** seed if trust > 0.2 else 0) + (trust > 1.2), 0.9)

    assert choose_strength(nearly, lambda s: DASH(PRIOR, strength=s), noisy, slack=1.0).strength == (0.3, 0.8)
    with pytest.raises(ValueError, match="at least two splits"):
        choose_strength(fit, lambda s: DASH(PRIOR, strength=s), [(1, 2)], slack=1.0)
    assert strengths((0.1, 0.9), layers=1) == [(0.1,), (0.9,)]


def test_every_sparsifier_works_on_grnulars_multi_task_network(tiny_data, seeded):
    """The second user: a regression from regulators to all genes, of two layers, as GRNULar fits it."""
    tf_index = tiny_data.tf_index
    grnular = GRNULar(init_epochs=3, hidden_per_tf=2)
    W1, _, W2, _ = grnular.initialise(tiny_data.X[None], tf_index[None], seed=0)
    prior = torch.zeros(len(tf_index), tiny_data.num_genes)
    prior[0, 3] = prior[1, 4] = prior[2, 5] = 1.0
    options = {DASH: (prior,), BioPruning: (prior,), Magnitude: (0.8,)}
    for kind in SPARSIFIERS:
        network, sparsifier = Layers(W1[0].T, W2[0].T), kind(*options.get(kind, ()))
        sparsifier.start(network, seed=0)
        pruned = [sparsifier.before_epoch(epoch, network) for epoch in range(1, 4)]
        penalty = sparsifier.penalty(network)
        if penalty is not None:
            penalty.backward()
        sparsifier.finish(network)
        found = sparsity(masked(network))
        if any(pruned):
            assert found == pytest.approx(0.8 if kind is Magnitude else 0.7, abs=0.02)
        elif kind is NoPruning:
            assert found == 0
    assert {s.name for s in SPARSIFIERS} == {"none", "magnitude", "imp", "bio", "dash", "l0", "cnode", "pathreg"}


def test_phoenix_prunes_each_of_its_four_matrices_alike():
    network = PhoenixNetwork([f"g{i}" for i in range(6)], hidden=5)
    imp = IMP()
    imp.start(network, seed=0)
    imp.before_epoch(3, network)
    for mask in network.masks().values():
        assert mask.mean().item() == pytest.approx(0.3, abs=0.02)

"""Gene influence scores: closed forms, a plain loop over genes and starts, batches, draws; degrees of networks."""

import math

import numpy as np
import pytest
import torch
from pyrogrn.experiments.figures import out_degrees
from pyrogrn.inference.neural_ode.degrees import coregulation, degree_table, network_summary
from pyrogrn.inference.neural_ode.influence import Forward, Influence, gene_influence, influence_table, senders
from pyrogrn.models.dynamics.ode_solvers import Dopri5, RungeKutta, simulate
from pyrogrn.models.dynamics.phoenix_layers import BlowUp, PhoenixParameters, activations
from pyrogrn.models.dynamics.phoenix_network import effect_matrix

TIMES = torch.tensor([0.0, 0.5, 1.0, 3.0], dtype=torch.float64)


def network(n: int, hidden: int, *, keep: float = 1.0, seed: int = 0, draws: tuple[int, ...] = ()) -> PhoenixParameters:
    """Random weights of which a share is not zero; the first gene sends nothing, the second does not move."""
    generator = torch.Generator().manual_seed(seed)

    def weight(*shape: int) -> torch.Tensor:
        mask = torch.rand(*shape, generator=generator) < keep
        return 0.5 * torch.randn(*draws, *shape, generator=generator, dtype=torch.float64) * mask

    W_sigma, W_pi, U_sigma, U_pi = weight(hidden, n), weight(hidden, n), weight(n, hidden), weight(n, hidden)
    W_sigma[..., 0] = W_pi[..., 0] = 0.0
    upsilon = torch.rand(*draws, n, generator=generator, dtype=torch.float64) + 0.2
    upsilon[..., 1] = -0.3
    return PhoenixParameters(W_sigma, W_pi, U_sigma, U_pi, weight(hidden), weight(hidden), upsilon)


def one_of(parameters: PhoenixParameters, d: int) -> PhoenixParameters:
    return PhoenixParameters(*(value[d] for value in parameters))


def random_starts(n: int, starts: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    start, other = (torch.rand(starts, n, generator=generator).double() for _ in range(2))
    return start, other


def by_hand(parameters: PhoenixParameters, times: torch.Tensor, starts: int, seed: int = 0) -> torch.Tensor:
    """B.8.1 word for word: one trajectory at a time, by an adaptive solver."""
    n = parameters.upsilon.shape[-1]
    start, other = random_starts(n, starts, seed)
    solver = Dopri5(rtol=1e-9, atol=1e-11)
    score = torch.zeros(n, dtype=torch.float64)
    for j in range(n):
        for k in range(starts):
            changed = start[k].clone()
            changed[j] = other[k, j]
            one = simulate(parameters, start[k][None], times, solver=solver)[:, 0]
            two = simulate(parameters, changed[None], times, solver=solver)[:, 0]
            for t in range(1, len(times)):
                for i in range(n):
                    if i != j:
                        score[j] += (one[t, i] - two[t, i]).abs() / (starts * len(times) * n)
    return score


class TestScores:
    def test_constant_regulators_have_a_closed_form(self):
        """With υ = 0 a regulator stays, and a target moves by U W Δφ (1 - exp(-υ t))."""
        n, hidden, starts = 5, 3, 7
        p = network(n, hidden, seed=1)
        zero = torch.zeros_like
        upsilon = torch.tensor([0.0, 0.0, 0.7, 1.1, 0.0], dtype=torch.float64)
        p = p._replace(upsilon=upsilon, U_pi=zero(p.U_pi))
        p.W_sigma[:, 2:4] = 0.0  # targets do not regulate
        start, other = random_starts(n, starts)
        change = (activations(start)[0] - activations(other)[0]).abs()  # (start, gene)
        gain = (p.U_sigma @ p.W_sigma).abs()  # (target, source)
        expected = torch.zeros(n, dtype=torch.float64)
        for j in range(n):
            for i in range(n):
                for t in TIMES[1:].tolist():
                    moved = gain[i, j] * change[:, j].mean() * (1 - math.exp(-upsilon[i].item() * t))
                    expected[j] += moved * (i != j) / (n * len(TIMES))
        score = gene_influence(p, TIMES, starts=starts, solver=Forward(step=0.02)).score
        assert torch.allclose(score, expected, rtol=1e-6, atol=1e-12)
        assert (score[[2, 3]] == 0).all()
        assert (score[[1, 4]] > 0).all()

    def test_two_genes_in_a_chain(self):
        """g1 decays, g2 is driven by it: g2's difference is an integral over g1's two paths."""
        w, times = 1.7, TIMES
        W, U = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[0.0], [w]]).double()
        none = torch.zeros(1).double()
        p = PhoenixParameters(W, torch.zeros_like(W), U, torch.zeros_like(U), none, none, torch.ones(2).double())
        start, other = random_starts(2, 5)
        expected = 0.0
        for a, b in zip(start[:, 0].tolist(), other[:, 0].tolist(), strict=True):
            for t in times[1:].tolist():
                s = np.linspace(0, t, 4001)
                phi = [(v * np.exp(-s) - 0.5) / (1 + abs(v * np.exp(-s) - 0.5)) for v in (a, b)]
                curve = np.exp(s - t) * w * (phi[0] - phi[1])
                expected += abs(np.trapezoid(curve, s)) / (5 * len(times) * 2)
        score = gene_influence(p, times, starts=5, solver=Forward(step=0.05)).score
        assert score[0].item() == pytest.approx(expected, rel=1e-4)
        assert score[1].item() == 0.0

    @pytest.mark.parametrize("keep", [1.0, 0.3])
    def test_plain_loop_agrees(self, keep):
        p = network(6, 4, keep=keep, seed=3)
        score, error = gene_influence(p, TIMES, starts=3, solver=Forward(step=0.05))
        assert torch.allclose(score, by_hand(p, TIMES, 3), rtol=1e-5, atol=1e-8)  # its own steps differ by start
        assert ((error > 0) == (score > 0)).all()

    def test_batches_do_not_matter(self):
        p = network(6, 4, keep=0.5, seed=3)
        whole = gene_influence(p, TIMES, starts=8, rows=10_000)
        seen = []
        parts = gene_influence(p, TIMES, starts=8, rows=3, progress=lambda done, total: seen.append((done, total)))
        for a, b in zip(whole, parts, strict=True):
            assert torch.allclose(a, b, rtol=1e-12, atol=1e-15)
        assert seen == sorted(seen)
        assert seen[-1][0] == seen[-1][1] == (int(senders(p).sum()) + 1) * 8

    def test_draws_are_single_networks(self):
        p = network(5, 3, keep=0.6, seed=5, draws=(2, 2))
        score, error = gene_influence(p, TIMES, starts=6)
        assert score.shape == error.shape == (2, 2, 5)
        for a in range(2):
            for b in range(2):
                single = gene_influence(one_of(one_of(p, a), b), TIMES, starts=6)
                assert torch.allclose(score[a, b], single.score, rtol=1e-12)
                assert torch.allclose(error[a, b], single.error, rtol=1e-12)

    def test_standard_error_is_that_of_repetitions(self):
        p = network(5, 3, seed=6)
        runs = [gene_influence(p, TIMES, starts=30, seed=s) for s in range(60)]
        spread = torch.stack([r.score for r in runs]).std(0)
        stated = torch.stack([r.error for r in runs]).mean(0)
        sending = senders(p)
        ratio = (spread / stated)[sending]
        assert (ratio > 1 - 4 / math.sqrt(120)).all()  # sd of an sd from 60 values: 1 / sqrt(2 * 60)
        assert (ratio < 1 + 4 / math.sqrt(120)).all()

    def test_permuting_genes_permutes_scores(self):
        p, turn = network(5, 3, keep=0.6, seed=2), torch.tensor([3, 0, 4, 1, 2])
        turned = PhoenixParameters(
            p.W_sigma[:, turn], p.W_pi[:, turn], p.U_sigma[turn], p.U_pi[turn], p.b_sigma, p.b_pi, p.upsilon[turn]
        )
        one, two = (gene_influence(v, TIMES, starts=400) for v in (p, turned))
        difference = (two.score - one.score[turn]).abs()
        assert (difference <= 5 * (one.error[turn].square() + two.error.square()).sqrt() + 1e-12).all()

    def test_seed(self):
        p = network(4, 2, seed=2)
        assert torch.equal(gene_influence(p, TIMES, seed=4).score, gene_influence(p, TIMES, seed=4).score)
        assert not torch.equal(gene_influence(p, TIMES, seed=4).score, gene_influence(p, TIMES, seed=5).score)


def test_senders_have_a_path_to_another_gene():
    for seed in range(20):
        p = network(6, 3, keep=0.25, seed=seed)
        reach = torch.zeros(6, 6)
        for W, U in ((p.W_sigma, p.U_sigma), (p.W_pi, p.U_pi)):
            reach += ((U != 0) & (p.upsilon > 0)[:, None]).float() @ (W != 0).float()
        reach.fill_diagonal_(0)
        assert torch.equal(senders(p), reach.sum(0) > 0)


class TestForward:
    @pytest.mark.parametrize("draws", [(), (2,)])
    @pytest.mark.parametrize("clamped", [None, {2: 0.0, 3: 0.4}])
    def test_same_steps_as_the_training_solver(self, draws, clamped):
        p = network(5, 3, keep=0.7, seed=7, draws=draws)
        start = random_starts(5, 4)[0].expand(*draws, 4, 5)
        one, two = (simulate(p, start, TIMES, solver=s(0.25), clamped=clamped) for s in (Forward, RungeKutta))
        assert torch.allclose(one, two, rtol=1e-12, atol=1e-14)

    def test_blow_up_names_the_step(self):
        p = network(4, 2, seed=1)
        p = p._replace(W_pi=p.W_pi.abs() * 1e3, U_pi=p.U_pi.abs() * 1e3, upsilon=p.upsilon.abs() * 1e5)
        with pytest.raises(BlowUp, match="not finite after step") as caught:
            gene_influence(p, TIMES, starts=4)
        assert caught.value.step >= 1

    def test_bad_input(self):
        p = network(4, 2)
        with pytest.raises(ValueError, match="step > 0"):
            Forward(step=0.0)
        with pytest.raises(ValueError, match="same Δt"):
            Forward()(p, torch.zeros(2, 4).double(), torch.tensor([1.0, 2.0]).double())
        with pytest.raises(ValueError, match="at least 2 starts"):
            gene_influence(p, TIMES, starts=1)
        with pytest.raises(ValueError, match="1 row"):
            gene_influence(p, TIMES, rows=0)
        with pytest.raises(ValueError, match="increasing"):
            gene_influence(p, TIMES.flip(0))


class TestTable:
    def test_over_draws(self):
        score = torch.tensor([[1.0, 4.0, 0.0], [3.0, 4.0, 0.0]])
        table = influence_table(Influence(score, torch.full_like(score, 0.1)), ["a", "b", "c"], level=0.5)
        assert list(table["gene"]) == ["b", "a", "c"]
        row = table.set_index("gene").loc["a"]
        assert row["influence"] == 2.0
        assert row["sd"] == pytest.approx(math.sqrt(2))
        assert (row["lower"], row["upper"]) == (1.5, 2.5)
        assert row["error"] == pytest.approx(0.1)

    def test_a_single_network_states_no_uncertainty(self):
        table = influence_table(Influence(torch.ones(2), torch.ones(2)), ["a", "b"])
        assert table[["sd", "lower", "upper"]].isna().all(None)

    def test_bad_input(self):
        influence = Influence(torch.ones(2), torch.ones(2))
        with pytest.raises(ValueError, match="3 gene names for 2 scores"):
            influence_table(influence, ["a", "b", "c"])
        with pytest.raises(ValueError, match="level is 1"):
            influence_table(influence, ["a", "b"], level=1.0)


class TestDegrees:
    effects = np.array([[9.0, 0.5, -0.2], [0.0, 0.0, 0.1], [0.0, 0.0, 0.3]])

    def test_by_hand(self):
        table = degree_table(self.effects, ["a", "b", "c"]).set_index("gene")
        assert list(table.index) == ["a", "b", "c"]
        assert list(table["out_degree"]) == [2, 1, 0]
        assert list(table["in_degree"]) == [0, 1, 2]
        assert list(table["out_strength"]) == pytest.approx([0.7, 0.1, 0.0])
        assert table[["out_lower", "out_upper"]].isna().all(None)
        assert list(degree_table(self.effects, list("abc"), threshold=0.15)["out_degree"]) == [2, 0, 0]
        summary = network_summary(self.effects)
        assert (summary.edges, summary.density, summary.mean_out_degree) == (3, 0.5, 1)
        assert (summary.genes, summary.regulators, summary.targets, summary.largest_out_degree) == (3, 2, 2, 2)

    def test_draws(self):
        draws = np.stack([self.effects, np.zeros((3, 3))])
        table = degree_table(draws, list("abc"), level=0.5)
        assert list(table["out_degree"]) == [1, 0.5, 0]
        assert list(table["out_lower"]) == [0.5, 0.25, 0]
        assert network_summary(draws).edges == 1.5
        renamed = {"gene": "source", "out_degree": "mean", "out_lower": "lower", "out_upper": "upper"}
        out_degrees(table.rename(columns=renamed)).draw_without_rendering()  # the report's figure takes it

    def test_edges_of_a_network_are_those_of_its_effects(self):
        p = network(8, 3, keep=0.3, seed=9)
        effects = effect_matrix(p).numpy()
        off = effects.copy()
        np.fill_diagonal(off, 0)
        assert network_summary(effects).edges == (off != 0).sum()
        names = [f"g{i}" for i in range(8)]
        sent = degree_table(effects, names).set_index("gene")["out_degree"][names].to_numpy() > 0
        assert (sent == senders(p).numpy()).all()

    def test_coregulation(self):
        effects = np.array([[0.0, 0.5, -0.5, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0] * 4, [0.0, 0.0, 0.0, 2.0]])
        expected = np.array([[0.5, 0.5, 0, 0], [0.5, 1.0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 4.0]])
        assert np.allclose(coregulation(effects), expected)
        cosine = coregulation(effects, cosine=True)
        assert np.allclose(np.diag(cosine), [1, 1, 0, 1])
        assert cosine[0, 1] == pytest.approx(1 / math.sqrt(2))

    def test_bad_input(self):
        with pytest.raises(ValueError, match="source by target"):
            degree_table(np.zeros((2, 3)), ["a", "b"])
        with pytest.raises(ValueError, match="3 gene names for 2"):
            degree_table(np.zeros((2, 2)), list("abc"))
        with pytest.raises(ValueError, match="threshold is -1"):
            network_summary(np.zeros((2, 2)), threshold=-1)
        with pytest.raises(ValueError, match="1 values that are not finite"):
            network_summary(np.array([[0, np.nan], [0, 0]]))
        with pytest.raises(ValueError, match="level is 0"):
            degree_table(np.zeros((2, 2)), list("ab"), level=0)
        with pytest.raises(ValueError, match="finite matrix"):
            coregulation(np.zeros(3))


def test_a_network_without_edges_has_no_influence():
    network = PhoenixParameters(*(torch.zeros(s) for s in ((2, 3), (2, 3), (3, 2), (3, 2), (2,), (2,), (3,))))
    score, error = gene_influence(network, torch.tensor([0.0, 1.0]), starts=4)
    assert score.tolist() == error.tolist() == [0.0, 0.0, 0.0]

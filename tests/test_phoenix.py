"""PHOENIX: the derivative against its formula, solves against a tight one, gradients, edges, knock-outs, blow-ups."""

import itertools
import math
from dataclasses import replace

import pandas as pd
import pyro
import pytest
import torch
from pyro import poutine
from pyrogrn.models.ode_solvers import Dopri5, RungeKutta, simulate
from pyrogrn.models.phoenix import Phoenix
from pyrogrn.models.phoenix_layers import BlowUp, PhoenixParameters, StepPlan, derivative, initial_parameters
from pyrogrn.models.phoenix_network import PhoenixNetwork, effect_matrix
from pyrogrn.models.prior_loss import PriorLoss, prior_matrix
from pyrogrn.models.transitions import Transitions
from pyrogrn.priors import PriorNetwork

GENES = tuple("ABCDEFG")


def weights(draws=(), dtype=torch.float64, seed=0, genes=7, hidden=3):
    g = torch.Generator().manual_seed(seed)
    base = initial_parameters(genes, hidden, generator=g, dtype=dtype)
    return PhoenixParameters(*[v + 0.1 * torch.randn(*draws, *v.shape, generator=g, dtype=dtype) for v in base])


def state(*shape, seed=1, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture
def pairs():
    g = state(6, 7, dtype=torch.float32)
    return Transitions.from_arrays(g, [0, 1, 3] * 2, ["a"] * 3 + ["b"] * 3, genes=GENES)


DT = torch.tensor([1.0, 2.0, 4.0, 2.0, 0.5], dtype=torch.float64)


def test_derivative_is_the_formula_gene_by_gene():
    p, g = weights(), state(2, 7)
    for c in range(2):
        x = g[c].tolist()
        phi = [(v - 0.5) / (1 + abs(v - 0.5)) for v in x]
        sums = [sum(w * v for w, v in zip(row, phi, strict=True)) for row in p.W_sigma.tolist()]
        logs = [sum(w * math.log(1 + v) for w, v in zip(row, phi, strict=True)) for row in p.W_pi.tolist()]
        sums = [s + b for s, b in zip(sums, p.b_sigma.tolist(), strict=True)]
        products = [math.exp(s + b) for s, b in zip(logs, p.b_pi.tolist(), strict=True)]
        for i in range(7):
            combined = sum(u * s for u, s in zip(p.U_sigma[i].tolist(), sums, strict=True))
            combined += sum(u * s for u, s in zip(p.U_pi[i].tolist(), products, strict=True))
            expected = max(0.0, p.upsilon[i].item()) * (combined - x[i])
            assert derivative(p, g)[c, i].item() == pytest.approx(expected, abs=1e-12)


def test_solvers_agree_and_runge_kutta_has_order_four():
    p, g = weights(), state(5, 7)
    tight = Dopri5(1e-11, 1e-12)(p, g, DT)
    error = [(RungeKutta(step)(p, g, DT) - tight).abs().max().item() for step in (0.5, 0.25, 0.125)]
    for coarse, fine in itertools.pairwise(error):
        assert coarse / fine > 6  # 2⁴ but for the genes that pass ½, where φ has a kink
    assert (Dopri5()(p, g, DT) - tight).abs().max() < 1e-4


def test_one_solve_of_all_pairs_is_each_pair_alone():
    p, g = weights(), state(5, 7)
    together = RungeKutta(0.3)(p, g, DT)
    for k in range(5):
        alone = RungeKutta(0.3)(p, g[k : k + 1], DT[k : k + 1])
        assert torch.allclose(together[k], alone[0], atol=1e-13)


@pytest.mark.parametrize("draws", [(), (2,)], ids=["one network", "two draws"])
def test_hand_written_gradients(draws):
    p = weights(draws)
    p = p._replace(upsilon=torch.where(torch.arange(7) == 2, -0.3, p.upsilon))  # a gene that ReLU switches off
    g = state(*draws, 5, 7)
    free = torch.ones(5, 7, dtype=torch.float64)
    free[3, 4] = 0.0
    inputs = [v.requires_grad_() for v in (g, *p)]

    def solve(start, *flat):
        return RungeKutta(0.7)(PhoenixParameters(*flat), start, DT, free)

    assert torch.autograd.gradcheck(solve, inputs)


def test_adjoint_gradient_is_the_gradient_through_the_steps():
    found = []
    for adjoint in (False, True):
        p = PhoenixParameters(*[v.requires_grad_() for v in weights()])
        Dopri5(1e-9, 1e-10, adjoint=adjoint)(p, state(5, 7), DT).square().sum().backward()
        found.append([v.grad for v in p])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)


def test_draws_are_solved_as_if_alone():
    p, g = weights((2,)), state(2, 5, 7)
    for solver in (RungeKutta(0.5), Dopri5(1e-10, 1e-10)):
        both = solver(p, g, DT)
        for k in range(2):
            assert torch.allclose(both[k], solver(PhoenixParameters(*[v[k] for v in p]), g[k], DT), atol=1e-8)


def test_effect_matrix_is_the_normalised_product_transposed():
    p = weights()
    p = p._replace(upsilon=torch.tensor([1.0, 2.0, -1.0, 1, 1, 1, 1], dtype=torch.float64))
    E = effect_matrix(p)
    D = p.U_sigma @ p.W_sigma + p.U_pi @ p.W_pi
    assert torch.allclose(E[:, 1], D[1] / D[1].abs().sum())
    assert torch.equal(E[:, 2], torch.zeros(7, dtype=torch.float64))  # ReLU(υ) = 0: nothing acts on it
    assert torch.allclose(E.abs().sum(0)[[0, 1, 3]], torch.ones(3, dtype=torch.float64))


def test_pruned_paths_are_exact_zeros(pairs):
    net = PhoenixNetwork(GENES, hidden=3)
    for name in ("W_sigma", "W_pi"):
        net.masks()[name][:, 1] = 0
    assert int((net.edges()[1] != 0).sum()) == 0
    assert int((net.edges()[0] != 0).sum()) > 0


def test_clamped_gene_stays_and_is_felt():
    net = PhoenixNetwork(GENES, hidden=3, seed=2)
    start, times = state(4, 7, dtype=torch.float32), torch.tensor([0.0, 1.0, 2.5])
    with torch.no_grad():
        free, out = net.trajectory(start, times), net.trajectory(start, times, clamped={"C": 0.0})
    assert out.shape == (3, 4, 7)
    assert torch.equal(out[..., 2], torch.zeros(3, 4))
    assert not torch.allclose(free[-1][:, 0], out[-1][:, 0])
    assert torch.equal(free[0], start)
    with pytest.raises(ValueError, match=r"\['nobody'\] are not among"):
        net.trajectory(start, times, clamped={"nobody": 0.0})
    with pytest.raises(ValueError, match="increasing"):
        net.trajectory(start, times.flip(0))
    with pytest.raises(ValueError, match="expected indices"):
        simulate(net.current(), start, times, solver=RungeKutta(), clamped={9: 0.0})


@pytest.mark.parametrize("solver", [RungeKutta(0.5), Dopri5()], ids=["rk4", "dopri5"])
def test_blow_up_names_the_step(solver):
    p = weights(dtype=torch.float32)
    p = p._replace(U_pi=p.U_pi.abs() + 5, W_pi=p.W_pi.abs() + 40, upsilon=torch.ones(7) * 50)
    with pytest.raises(BlowUp, match=r"step 1 of 8|evaluations") as error:
        solver(p, state(5, 7, dtype=torch.float32) + 1, DT.float())
    assert error.value.step >= 1


def test_upsilon_starts_where_it_is_told():
    assert torch.equal(PhoenixNetwork(GENES, hidden=3, upsilon=0.7).output_gain(), torch.full((7,), 0.7))
    uniform = PhoenixNetwork(GENES, hidden=3).output_gain()
    assert 0 < uniform.min() < uniform.max() < 1


def test_options_are_checked(pairs):
    for make in (
        lambda: RungeKutta(0.0),
        lambda: Dopri5(rtol=0.0),
        lambda: PhoenixNetwork(GENES, hidden=0),
        lambda: PhoenixNetwork(GENES, upsilon=0.0),
    ):
        with pytest.raises(ValueError, match="expected"):
            make()
    for options in (
        {"masks": {"V": torch.ones(1)}},
        {"scales": {"U_pi": torch.ones(2, 2)}},
        {"scales": {"U_pi": 0.0}},
        {"hidden": 0},
    ):
        with pytest.raises(ValueError, match=r"expected|use a mask"):
            Phoenix(pairs, **options)
    for options in ({"prior": torch.ones(2, 3)}, {"prior": torch.ones(2, 2), "share": 1.0}):
        with pytest.raises(ValueError, match="expected"):
            PriorLoss(**options)


def test_step_plan_gives_each_pair_its_steps():
    plan = StepPlan.of(DT, 1.0)
    assert plan.active == (5, 3, 1, 1)
    assert torch.equal(plan.size * torch.tensor([4, 2, 2, 1, 1]), DT[plan.order])


def test_prior_loss_is_least_where_the_network_is_the_prior():
    prior = torch.zeros(3, 3)
    prior[0, 1], prior[2, 1] = 1.0, -1.0
    loss = PriorLoss(prior, points=50)
    net = PhoenixNetwork(("A", "B", "C"), hidden=2)
    wanted = loss.gamma[:, 0] - loss.gamma[:, 2]
    assert torch.allclose(loss.wanted[:, 1], wanted)
    before = loss(net)
    before.backward()
    assert net.U_sigma.grad.abs().sum() > 0
    with torch.no_grad():
        for p in net.parameters():
            p -= 0.01 * p.grad if p.grad is not None else 0.0
    assert loss(net) < before


def test_prior_matrix_has_sources_in_rows():
    network = PriorNetwork.from_edges(pd.DataFrame({"source": ["A", "C"], "target": ["B", "A"]}), name="motif")
    M = prior_matrix(network, ("A", "B", "C"))
    assert torch.nonzero(M).tolist() == [[0, 1], [2, 0]]


# ---------------------------------------------------------------- the Pyro model


def test_log_joint_is_the_sum_of_its_densities(pairs, seeded):
    model = Phoenix(pairs, hidden=2)
    trace = poutine.trace(model).get_trace()
    trace.compute_log_prob()
    values = {name: trace.nodes[name]["value"] for name in model.dims}
    extra = {n for n, s in trace.nodes.items() if s["type"] == "sample"} - set(model.dims)
    assert extra == {"X", "pair", "gene"}
    for name, axes in model.dims.items():
        assert tuple(values[name].shape) == tuple(len(model.coords[a]) for a in axes)
    mean = model.solve(model.parameters_of(values), pairs.start, pairs.dt)
    expected = torch.distributions.Normal(mean, values["noise"]).log_prob(pairs.stop).sum()
    assert trace.nodes["X"]["log_prob"].sum().item() == pytest.approx(expected.item(), rel=1e-5)


def test_missing_targets_do_not_count(pairs, seeded):
    observed = pairs.observed.clone()
    observed[0] = False
    hole = replace(pairs, observed=observed, stop=torch.where(observed, pairs.stop, 1e3))
    nodes = poutine.trace(Phoenix(pairs, hidden=2)).get_trace().nodes
    values = {name: nodes[name]["value"] for name in Phoenix(pairs, hidden=2).dims}
    found = []
    for data, rows in ((hole, slice(None)), (pairs, slice(1, None))):
        trace = poutine.trace(pyro.condition(Phoenix(data, hidden=2), data=values)).get_trace()
        trace.compute_log_prob()
        found.append(trace.nodes["X"]["unscaled_log_prob"][rows].sum())
    assert torch.allclose(*found)


def test_restarts_to_the_left_of_the_plates(pairs):
    model = Phoenix(pairs, hidden=2)
    p = weights((3,), dtype=torch.float32, hidden=2)
    values = {n: v.reshape(3, 1, 1, *v.shape[1:]) for n, v in p._asdict().items()}
    values["noise"] = torch.full((3, 1, 1), 0.1)
    trace = poutine.trace(pyro.condition(model, data=values)).get_trace()
    assert trace.nodes["X"]["fn"].base_dist.loc.shape == (3, pairs.num_pairs, 7)


def test_a_batch_stands_for_all(pairs):
    model = Phoenix(pairs, hidden=2)
    values = {**weights(dtype=torch.float32, hidden=2)._asdict(), "noise": torch.tensor(0.1)}
    conditioned = pyro.condition(model, data=values)
    parts = []
    for batch in [None, *pairs.minibatches(1, torch.Generator().manual_seed(0))]:
        trace = poutine.trace(conditioned).get_trace(batch)
        trace.compute_log_prob()
        parts.append(trace.nodes["X"]["log_prob"].sum())
    assert torch.allclose(parts[0], (parts[1] + parts[2]) / 2, rtol=1e-5)


def test_masks_zero_the_draws_and_state_rebuilds(pairs):
    mask = torch.ones(2, 7)
    mask[:, 3] = 0
    model = Phoenix(pairs, hidden=2, masks={"W_sigma": mask, "W_pi": mask}, scales={"U_pi": 0.1})
    p = model.parameters_of(weights((4,), dtype=torch.float32, hidden=2)._asdict())
    assert int((model.edges(p)[:, 3] != 0).sum()) == 0
    again = Phoenix.from_state(model.to_state(), knowledge=None, edge_prior=None, buffers=dict(model.named_buffers()))
    assert again.coords == model.coords
    assert torch.equal(again.transitions.dt, pairs.dt)
    draws = model.trajectory(p, pairs.start, torch.tensor([0.0, 1.0]), clamped={"A": 0.5})
    assert draws.shape == (2, 4, pairs.num_pairs, 7)
    assert bool((draws[..., 0] == 0.5).all())
    assert model.derivative(p, pairs.start).shape == (4, pairs.num_pairs, 7)

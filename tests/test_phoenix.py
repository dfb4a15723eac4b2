"""PHOENIX: the derivative against its formula, solves against a tight one, gradients, edges, knock-outs, blow-ups."""

import itertools
import math
from dataclasses import replace

import pandas as pd
import pyro
import pytest
import torch
from pyro import poutine
from pyrogrn.models import ExpressionData
from pyrogrn.models.data.transitions import Transitions
from pyrogrn.models.dynamics.compiled_step import CompiledStep, solve_steps
from pyrogrn.models.dynamics.fixed_step import FixedStep, StepPlan
from pyrogrn.models.dynamics.ode_solvers import Dopri5, RungeKutta, simulate, solver_of
from pyrogrn.models.dynamics.phoenix_layers import BlowUp, PhoenixParameters, derivative, initial_parameters
from pyrogrn.models.dynamics.phoenix_network import WEIGHTS, PhoenixNetwork, effect_matrix
from pyrogrn.models.dynamics.prior_loss import PriorLoss, prior_matrix
from pyrogrn.models.phoenix import Phoenix
from pyrogrn.priors import Normal, PriorNetwork, SpikeSlab

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


@pytest.mark.parametrize("clamped", [False, True], ids=["all free", "one clamped"])
@pytest.mark.parametrize("draws", [(), (3,), (2, 3)], ids=str)
def test_loops_are_the_products_of_matrices(draws, clamped):
    """In double precision, to the rounding of single. Levels below -½ among them, where the logarithm has no series;
    numbers of genes, neurons and pairs that leave rests."""
    inputs = weights(draws, torch.float32, genes=37, hidden=6)
    p = [v.requires_grad_() for v in inputs._replace(upsilon=inputs.upsilon - 0.3)]
    g = (3 * state(*draws, 5, 37, dtype=torch.float32) - 1.5).requires_grad_()
    free = torch.ones(5, 37)
    free[3, 4] = 0.0
    cotangent = state(*draws, 5, 37, seed=2, dtype=torch.float32)
    found = []
    for way, dtype in ((FixedStep, torch.float64), (CompiledStep, torch.float32)):
        plan, held = StepPlan.of(DT.to(dtype), 0.7), free.to(dtype) if clamped else None
        start, own = g.detach().to(dtype).requires_grad_(), [v.detach().to(dtype).requires_grad_() for v in p]
        result = way.apply(plan, True, start, held, *own)
        found.append([result, *torch.autograd.grad(result, [start, *own], cotangent.to(dtype))])
        assert torch.equal(result, way.apply(plan, False, start, held, *own))  # without tables for a gradient
    for one, other in zip(*found, strict=True):
        assert (one - other).abs().max() < 5e-6 * one.abs().max()


@pytest.mark.parametrize(
    ("change", "way"),
    [
        ({}, "loops"),
        ({"dtype": torch.float64}, "products"),
        ({"pairs": 101}, "products"),
        ({"draws": (2,)}, "loops"),
        ({"draws": (2,), "state_draws": ()}, "products"),
        ({"free": (2, 5, 7), "draws": (2,)}, "products"),
        ({"genes": 2**17}, "products"),
    ],
    ids=str,
)
def test_loops_are_for_small_solves_in_single_precision(change, way, monkeypatch):
    used = []
    monkeypatch.setattr(CompiledStep, "apply", lambda *_: used.append("loops"))
    monkeypatch.setattr(FixedStep, "apply", lambda *_: used.append("products"))
    dtype, draws, genes = change.get("dtype", torch.float32), change.get("draws", ()), change.get("genes", 7)
    plan = StepPlan.of(torch.ones(change.get("pairs", 5), dtype=dtype), 1.0)
    start = state(*change.get("state_draws", draws), len(plan.order), genes, dtype=dtype)
    free = torch.ones(change["free"]) if "free" in change else None
    solve_steps(plan, start, free, weights(draws, dtype, genes=genes))
    assert used == [way]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_second_derivatives_are_refused(dtype):
    p = PhoenixParameters(*[v.requires_grad_() for v in weights(dtype=dtype)])
    result = RungeKutta(1.0)(p, state(5, 7, dtype=dtype), DT.to(dtype))
    (by_W,) = torch.autograd.grad(result.square().sum(), [p.W_sigma], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        by_W.square().sum().backward()


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
        {"masks": {"U_pi": torch.ones(2, 2)}},
        {"hidden": 0},
    ):
        with pytest.raises(ValueError, match="expected"):
            Phoenix(pairs, **options)
    for options in ({"prior": torch.ones(2, 3)}, {"prior": torch.ones(2, 2), "points": 0}):
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


# -- the Pyro model ----


WEIGHT_NAMES = ("W_sigma", "W_pi", "U_sigma", "U_pi", "b_sigma", "b_pi", "upsilon")


def test_log_joint_is_the_sum_of_its_densities(pairs, seeded):
    networks = {"motif": PriorNetwork.from_edges(pd.DataFrame({"source": ["A"], "target": ["B"]}), name="motif")}
    model = Phoenix(pairs, hidden=2, networks=networks)
    model.with_reference(
        weights(dtype=torch.float32, hidden=2)._asdict(), {n: torch.ones(model.shape_of(n)) for n in WEIGHTS}
    )
    trace = poutine.trace(model).get_trace()
    trace.compute_log_prob()
    values = {name: site["value"] for name, site in trace.nodes.items() if site["type"] == "sample"}
    assert set(values) == {*model.dims, *model.weight_shapes, "X", "pair", "gene"}
    for name, axes in model.dims.items():
        assert tuple(values[name].shape) == tuple(len(model.coords[a]) for a in axes)
    p = PhoenixParameters(**{name: values[name] for name in WEIGHT_NAMES})
    assert torch.equal(values["W"], effect_matrix(p) * model.edge_prior.allowed)
    mean = model.solve(p, pairs.start, pairs.dt)
    expected = torch.distributions.Normal(mean, values["noise"]).log_prob(pairs.stop).sum()
    assert trace.nodes["X"]["log_prob"].sum().item() == pytest.approx(expected.item(), rel=1e-5)
    for place, name in enumerate(WEIGHTS):
        spread = (
            values["weight_scale"][place] * (0.5 * values["trust"][0] * model.get_buffer(f"{name}_confidence")[0]).exp()
        )
        expected = torch.distributions.Normal(0.0, spread).log_prob(values[name]).sum()
        assert trace.nodes[name]["log_prob"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert float(trace.nodes["W"]["log_prob"].sum()) == 0


def test_confidence_of_weights_is_what_makes_the_product_the_prior(pairs):
    """With one neuron: U |W| = P' has the least-squares solution P' |W|' / |W|^2, and likewise for W."""
    edges = pd.DataFrame({"source": ["A", "A", "C"], "target": ["B", "D", "D"]})
    model = Phoenix(pairs, hidden=1, networks={"motif": PriorNetwork.from_edges(edges, name="motif")})
    p = weights(dtype=torch.float32, hidden=1)
    model.with_reference(p._asdict(), {n: torch.ones(model.shape_of(n)) for n in WEIGHTS})
    P = model.knowledge.probability[0]
    W, U = p.W_sigma.abs(), p.U_sigma.abs()
    for name, wanted in (("U_sigma", P.T @ W.T), ("W_sigma", U.T @ P.T)):
        torch.testing.assert_close(
            model.get_buffer(f"{name}_confidence")[0], wanted / wanted.max(), rtol=1e-4, atol=1e-6
        )


def test_genes_that_are_no_regulators_have_no_outgoing_path(pairs):
    model = Phoenix(pairs, tfs=["A", "C"], hidden=2)
    assert torch.nonzero(model.W_sigma_mask.sum(0))[:, 0].tolist() == [0, 2]
    assert model.coords["tf"] == ["A", "C"]
    assert model.edges(weights(dtype=torch.float32, hidden=2)).shape == (2, 7)


def test_missing_targets_do_not_count(pairs, seeded):
    observed = pairs.observed.clone()
    observed[0] = False
    hole = replace(pairs, observed=observed, stop=torch.where(observed, pairs.stop, 1e3))
    values = {**weights(dtype=torch.float32, hidden=2)._asdict(), "noise": torch.tensor(0.1)}
    found = []
    for data, rows in ((hole, slice(None)), (pairs, slice(1, None))):
        trace = poutine.trace(pyro.condition(Phoenix(data, hidden=2), data=values)).get_trace()
        trace.compute_log_prob()
        found.append(trace.nodes["X"]["unscaled_log_prob"][rows].sum())
    assert torch.allclose(*found)


def test_restarts_to_the_left_of_the_plates(pairs, seeded):
    model = Phoenix(pairs, hidden=2)
    p = weights((3,), dtype=torch.float32, hidden=2)
    values = {n: v.reshape(3, 1, 1, *v.shape[1:]) for n, v in p._asdict().items()}
    values["noise"] = torch.full((3, 1, 1), 0.1)
    trace = poutine.trace(pyro.condition(model, data=values)).get_trace()
    assert trace.nodes["X"]["fn"].base_dist.loc.shape == (3, pairs.num_pairs, 7)


def test_a_batch_stands_for_all(pairs, seeded):
    model = Phoenix(pairs, hidden=2)
    values = {**weights(dtype=torch.float32, hidden=2)._asdict(), "noise": torch.tensor(0.1)}
    conditioned = pyro.condition(model, data=values)
    parts = []
    for batch in [None, *pairs.minibatches(1, torch.Generator().manual_seed(0))]:
        trace = poutine.trace(conditioned).get_trace(batch)
        trace.compute_log_prob()
        parts.append(trace.nodes["X"]["log_prob"].sum())
    assert torch.allclose(parts[0], (parts[1] + parts[2]) / 2, rtol=1e-5)


def test_state_rebuilds(pairs):
    mask = torch.ones(2, 7)
    mask[:, 3] = 0
    model = Phoenix(pairs, hidden=2, masks={"W_sigma": mask, "W_pi": mask}, solver=RungeKutta(0.5))
    again = Phoenix.from_state(
        model.to_state(),
        knowledge=model.knowledge,
        edge_prior=Normal(),
        buffers=dict(model.named_buffers(recurse=False)),
    )
    assert again.coords == model.coords
    assert again.solver == RungeKutta(0.5)
    assert torch.equal(again.transitions.dt, pairs.dt)
    assert torch.equal(again.W_pi_mask, mask)


@pytest.mark.parametrize("solver", [RungeKutta(0.25), Dopri5(), Dopri5(1e-4, 1e-7, adjoint=True)])
def test_solvers_are_read_back(solver):
    assert solver_of(solver.text) == solver
    with pytest.raises(ValueError, match="is no solver"):
        solver_of(["dopri5", "0.1", "0.1", "maybe"])


def test_draws_of_trajectories(pairs):
    model = Phoenix(pairs, hidden=2)
    p = weights((4,), dtype=torch.float32, hidden=2)
    draws = model.trajectory(p, pairs.start, torch.tensor([0.0, 1.0]), clamped={"A": 0.5})
    assert draws.shape == (2, 4, pairs.num_pairs, 7)
    assert bool((draws[..., 0] == 0.5).all())
    assert model.derivative(p, pairs.start).shape == (4, pairs.num_pairs, 7)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.0, 9.0)])
def test_levels_and_times_are_brought_to_the_range_of_the_activations(low, high):
    X = low + (high - low) * torch.rand(12, 3, generator=torch.Generator().manual_seed(0))
    data = ExpressionData(X, ("A", "B", "C")).with_times([0, 10, 20, 40] * 3, ["a"] * 4 + ["b"] * 4 + ["c"] * 4)
    model = Phoenix.from_data(data, hidden=2)
    assert 0 <= float(model.data_start.min()) <= float(model.data_start.max()) <= 1
    assert sorted(set(model.data_dt.tolist())) == [2.0, 4.0]
    back = model.low + model.size * model.first_levels()
    torch.testing.assert_close(back, X[::4])
    torch.testing.assert_close(model.durations() * model.time_unit, torch.full((3,), 40.0))
    with pytest.raises(ValueError, match="constant genes"):
        Phoenix.from_data(ExpressionData(torch.ones(9, 2), ("A", "B")).with_times(list(range(9)), ["a"] * 9))
    with pytest.raises(ValueError, match="SpikeSlab does not go with PHOENIX"):
        Phoenix.from_data(data, edge_prior=SpikeSlab())

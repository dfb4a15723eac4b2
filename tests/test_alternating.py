"""FactorBox by alternating least squares: shortcuts against plain least squares, recovery, refusals."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pyrogrn.inference.alternating.penalties import Penalties, orthogonality_gradient
from pyrogrn.inference.alternating.refine import refine
from pyrogrn.inference.alternating.solution import alternate
from pyrogrn.inference.alternating.solver import PanelRidge, StackedPanels, choose_ridge
from pyrogrn.models.data.panel import Panel, panels_of
from pyrogrn.models.simulators.panel import simulate_panel


def random_panel(conditions: int, genes: int, clamps: int, seed: int = 0) -> Panel:
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(conditions, genes, generator=generator, dtype=torch.float64).exp() * 100
    clamped = torch.zeros(conditions, genes, dtype=torch.bool)
    where = torch.randint(conditions * genes, (clamps,), generator=generator)
    clamped.view(-1)[where] = True
    return Panel(X, torch.where(clamped, 0.1 * X, X), clamped, X.new_zeros(conditions, 0))


def simulated_panel(genes: int, noise: float, seed: int = 0) -> tuple[Panel, torch.Tensor]:
    """Every gene knocked down once to a tenth and raised once to three times its level, a control; known W."""
    generator = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    W = normal(genes, genes) * (torch.rand(genes, genes, generator=generator) < 4 / genes)
    W = (W * 0.8 / 100).fill_diagonal_(0.0)
    gain = torch.full((genes,), 200.0, dtype=torch.float64)
    bias = -100 * W.sum(0)  # every gene near half its gain
    conditions = 2 * genes + 1
    clamped = torch.zeros(conditions, genes, dtype=torch.bool)
    clamped[:genes].fill_diagonal_(True)
    clamped[genes:-1].fill_diagonal_(True)
    level = torch.full((conditions, genes), 100.0, dtype=torch.float64)
    fixed = level.clone()
    fixed[:genes].fill_diagonal_(10.0)
    fixed[genes:-1].fill_diagonal_(180.0)
    for _ in range(400):
        level = torch.where(clamped, fixed, 0.5 * level + 0.5 * gain * torch.sigmoid(level @ W + bias))
    X = level * (noise * normal(conditions, genes)).exp()
    return Panel(X, X, clamped, X.new_zeros(conditions, 0)), W


def test_log_levels_and_knocked_out_genes_are_taken():
    """What `panels_of` makes of a panel by default: logarithms below zero, knock-outs measured at zero."""
    data = simulate_panel(num_genes=6, in_degree=1.5, num_controls=8, seed=2).data
    X = data.X.double().clone()
    X[data.clamped] = 0.0
    X = X / X.max()
    panels = panels_of(replace(data, matrix=X))
    assert bool((panels[0].level < 0).any())
    found = alternate(panels)
    assert torch.isfinite(found.W).all()
    level = found.gain * torch.sigmoid(panels[0].level @ found.W + found.bias)
    free = ~panels[0].clamped
    assert float((level - X)[free].square().sum()) == pytest.approx(min(found.cost))
    assert min(found.cost) < 0.2 * float((X - X[free].mean())[free].square().sum())
    assert refine(panels, found).objective[1] <= refine(panels, found).objective[0]


def plain(data: StackedPanels, y: torch.Tensor, ridge: float, self_edges: bool) -> torch.Tensor:
    """A loop of ordinary least squares, one target after the other."""
    W = torch.zeros(data.num_genes, data.num_genes, dtype=torch.float64)
    context = torch.nn.functional.one_hot(data.row_context).double()
    for i in range(data.num_genes):
        source = [j for j in range(data.num_genes) if self_edges or j != i]
        rows = data.free[:, i]
        A = torch.cat([data.Z[rows][:, source], context[rows]], 1)
        penalty = torch.diag(torch.tensor([ridge] * len(source) + [0.0] * context.shape[1], dtype=torch.float64))
        W[source, i] = torch.linalg.solve(A.T @ A + penalty, A.T @ y[rows, i])[: len(source)]
    return W


@pytest.mark.parametrize("self_edges", [False, True])
@pytest.mark.parametrize("shape", [(40, 15), (20, 30), (14, 40)], ids=["primal", "dual", "thin"])
@pytest.mark.parametrize("clamps", [0, 25])
def test_one_factorisation_equals_a_loop_of_least_squares(
    shape: tuple[int, int], clamps: int, self_edges: bool
) -> None:
    panels = [random_panel(*shape, clamps, seed) for seed in (0, 1)]
    data = StackedPanels(panels)
    y = data.X.log()
    solver = PanelRidge(data, 2.0, self_edges=self_edges)
    expected = plain(data, y, 2.0, self_edges)
    centred = data.centred(y)
    torch.testing.assert_close(solver.weights(centred), expected, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(solver.drive(centred), data.Z @ expected, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(solver.solve(data.Z.T @ centred), expected, atol=1e-8, rtol=1e-8)


def test_ridge_is_the_one_with_the_least_leave_one_out_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for shape in ((40, 12), (20, 30)):
        data = StackedPanels([random_panel(*shape, 0)])
        y = data.centred(data.X.log().roll(1, 1) + data.X.log())
        unit = y.square().mean(0).sqrt()
        mean = float(data.Z.square().sum() / data.num_genes)
        grid = (torch.logspace(-4, 2, 13, dtype=torch.float64) * mean).tolist()
        errors = []
        for ridge in grid:
            total = 0.0
            for c in range(len(y)):
                rest = [r for r in range(len(y)) if r != c]
                for i in range(data.num_genes):
                    source = [j for j in range(data.num_genes) if j != i]
                    Z, t = data.Z[rest][:, source], y[rest, i] / unit[i]
                    centre = Z.mean(0)
                    Z = Z - centre
                    K = Z @ Z.T + ridge * torch.eye(len(rest), dtype=torch.float64)
                    guess = t.mean() + (data.Z[c, source] - centre) @ (Z.T @ torch.linalg.solve(K, t - t.mean()))
                    total += float((y[c, i] / unit[i] - guess) ** 2)
            errors.append(total)
            if len(errors) > 1 and errors[-1] > 2 * min(errors):
                break
        assert choose_ridge(data, y) == pytest.approx(grid[int(np.argmin(errors))])


def test_cost_is_in_the_original_space_and_the_best_is_kept() -> None:
    panel = random_panel(30, 12, 10)
    s = alternate([panel], Penalties(ridge=1.0), tol=0.0, max_iterations=30)
    fitted = s.gain * torch.sigmoid(panel.level @ s.W + s.bias)
    cost = torch.where(panel.clamped, 0.0, fitted - panel.X).square().sum()
    assert float(cost) == pytest.approx(min(s.cost), rel=1e-9)
    assert s.iterations == len(s.cost)
    assert not s.W.diagonal().any()
    assert bool((s.gain > torch.where(panel.clamped, 0.0, panel.X).amax(0)).all())


def test_network_is_recovered() -> None:
    panel, W = simulated_panel(100, 0.02)
    s = alternate([panel])
    pairs = ~torch.eye(100, dtype=torch.bool)
    strength, truth = s.W[pairs].abs(), W[pairs] != 0
    order = strength.argsort(descending=True)
    hits = truth[order].double().cumsum(0)
    precision = (hits / torch.arange(1, len(hits) + 1))[truth[order]].mean()
    assert float(precision) > 0.7  # 0.04 by chance
    top = order[: int(truth.sum() / 2)]
    right = truth[top] & (s.W[pairs][top].sign() == W[pairs][top].sign())
    assert float(right.double().mean()) > 0.95


def test_sparse_and_prior_solutions_are_stationary() -> None:
    """Subgradient conditions of the penalised least squares at the response of the last iteration."""
    panel = random_panel(40, 12, 8)
    prior = torch.rand(12, 12, generator=torch.Generator().manual_seed(3))
    for sparsity, confidence in ((3.0, None), (0.0, prior), (3.0, prior)):
        p = Penalties(ridge=5.0, sparsity=sparsity, prior=confidence)
        s = alternate([panel], p, max_iterations=1)
        data = StackedPanels([panel])
        start = 2 * data.top()
        y = torch.where(data.free, (data.X / (start - data.X)).log(), 0.0)
        V, k = s.W * data.scale[:, None], p.factor(s.W).expand(12, 12)
        y = torch.where(data.free, y, 0.0)
        gradient = (
            torch.stack(
                [data.Z[f].T @ ((d := (data.Z @ V[:, i] - y[:, i])[f]) - d.mean()) for i, f in enumerate(data.free.T)],
                1,
            )
            + p.ridge * k * V
        )
        off, scale = ~torch.eye(12, dtype=torch.bool), float((data.Z.T @ data.centred(y)).abs().max())
        present = off & (V != 0)
        assert float((gradient + sparsity * k * V.sign())[present].abs().max()) < 2e-3 * scale
        if sparsity:
            absent = off & (V == 0)
            assert bool(absent.any())
            assert bool((gradient.abs() <= sparsity * k + 2e-3 * scale)[absent].all())


def test_prior_moves_weight_to_likely_edges_and_orthogonality_parts_columns() -> None:
    panel, truth = simulated_panel(30, 0.3)
    off = lambda s: float(orthogonality_overlap(s.W * s.scale[:, None]))
    free = alternate([panel], Penalties(ridge=3.0))
    apart = alternate([panel], Penalties(ridge=3.0, orthogonality=30.0))
    assert off(apart) < 0.8 * off(free)
    informed = alternate([panel], Penalties(ridge=3.0, prior=(truth != 0).double(), prior_strength=100.0))
    share = lambda s: float(s.W[truth != 0].square().sum() / s.W.square().sum())
    assert share(informed) > share(free)


def orthogonality_overlap(W: torch.Tensor) -> torch.Tensor:
    overlap = W.T @ W
    return (overlap - torch.diag(overlap.diagonal())).square().sum() / W.square().sum() ** 2


def test_orthogonality_gradient() -> None:
    W = torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    overlap = W.T @ W
    (0.25 * (overlap - torch.diag(overlap.diagonal())).square().sum()).backward()
    torch.testing.assert_close(orthogonality_gradient(W.detach()), W.grad)


@pytest.mark.parametrize("sparsity", [0.0, 0.3])
def test_refinement_does_not_end_above_its_start(sparsity: float) -> None:
    panels = [random_panel(30, 10, 6, seed) for seed in (0, 1)]
    s = alternate(panels, Penalties(ridge=1.0, sparsity=sparsity, orthogonality=0.1))
    refined = refine(panels, s, max_iterations=20)
    assert refined.objective[1] < refined.objective[0]
    assert refined.solution.gain.shape == (2, 10)
    assert bool((refined.solution.W[s.W == 0] == 0).all())


def test_real_panel() -> None:
    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "lincs_rnai"
    if not folder.is_dir():
        pytest.skip("needs shared/data/lincs_rnai, which is not part of the repository")
    anndata = pytest.importorskip("anndata")
    table = anndata.read_h5ad(folder / "A375.h5ad")
    X = torch.tensor(np.asarray(table.X)[:, :200], dtype=torch.float64)
    names = list(table.var_names[:200])
    clamped = torch.tensor([[p == g for g in names] for p in table.obs["perturbation"]])
    s = alternate([Panel(X, X, clamped, X.new_zeros(len(X), 0))])
    assert s.cost[0] < 0.5 * float((X - X.mean(0)).square().sum())


def test_refusals() -> None:
    good = random_panel(12, 5, 0)
    none = good.X.new_zeros(12, 0)
    constant = good.X.clone()
    constant[:, 2] = 4.0
    everywhere = torch.zeros(12, 5, dtype=torch.bool)
    everywhere[:, 1] = True
    for panel, words in (
        (Panel(good.X - 1e6, good.level, good.clamped, none), "negative"),
        (Panel(constant, constant, good.clamped, none), "constant"),
        (Panel(good.X, good.level, everywhere, none), "free in fewer than 2"),
        (Panel(good.X, good.level[:, :3], good.clamped, none), "shapes"),
        (Panel(good.X, good.level, good.clamped, good.X[:, :1]), "hidden"),
    ):
        with pytest.raises(ValueError, match=words) as raised:
            alternate([panel])
        assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match="no panels"):
        alternate([])
    with pytest.raises(ValueError, match="margin"):
        alternate([good], margin=0.0)
    with pytest.raises(ValueError, match="prior"):
        alternate([good], Penalties(ridge=1.0, prior=torch.ones(3, 3)))
    for bad in ({"ridge": 0.0}, {"sparsity": -1.0}, {"prior_strength": 0.5}, {"prior": torch.full((2, 2), 2.0)}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            Penalties(**bad)
    with pytest.raises(ValueError, match="gains"):
        refine([good, good], alternate([good], Penalties(ridge=1.0)))

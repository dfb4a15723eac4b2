"""A Gibbs run that was interrupted goes on to the numbers of one that was not, bit for bit."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.inference import Checkpoint, Gibbs, GibbsKernel, MapEstimate, MeanField, fit, load_checkpoint
from pyrogrn.models import FactorBox, LinearNetwork, Symphony, TrajectoryNetwork
from pyrogrn.models.simulators import simulate_courses, simulate_linear, simulate_panel
from pyrogrn.priors import Collaborative, Normal, PriorNetwork, SpikeSlab

GUIDE = Gibbs(num_chains=2, num_warmup=5, num_samples=15)


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Sums of squares are made anew every eight sweeps, so that the runs pass it."""
    monkeypatch.setattr("pyrogrn.inference.gibbs.kernel.REFRESH", 8)


class StopAt:
    """Interrupts a fit after a step."""

    def __init__(self, step):
        self.step = step

    def __call__(self, state):
        if state.step == self.step:
            raise KeyboardInterrupt

    def close(self):
        pass


def panel(num_contexts=1):
    return simulate_panel(
        num_genes=6, in_degree=2, num_contexts=num_contexts, replicates=2, num_controls=6, num_hidden=1, seed=2
    ).data


def cells(**options):
    return simulate_linear(num_genes=7, num_tfs=3, num_cells=60, edge_probability=0.4, seed=1, **options).data


def motif(data):
    frame = pd.DataFrame({"source": data.tfs[:2], "target": data.genes[3:5], "probability": 0.8})
    return {"motif": PriorNetwork.from_edges(frame, name="motif")}


def with_copy():
    data = cells()
    X = data.X.clone()
    X[:, 1] = X[:, 0]
    return replace(data, matrix=X)


def scores(data):
    values = np.random.default_rng(0).normal(size=(len(data.tfs), len(data.genes)))
    return {"access": pd.DataFrame(values, index=list(data.tfs), columns=list(data.genes))}


MODELS = {
    "factorbox": lambda: FactorBox.from_data(panel()),
    "factorbox-contexts-hidden": lambda: FactorBox.from_data(panel(2), hidden=1),
    "linear-contexts-interventions": lambda: LinearNetwork.from_data(cells(num_contexts=2, num_perturbed=2)),
    "twins": lambda: LinearNetwork.from_data(with_copy()),
    "filter": lambda: LinearNetwork.from_data(cells(), edge_prior=Collaborative(), networks=motif(cells())),
    "symphony": lambda: Symphony.from_data(cells(), evidence=scores(cells())),
    "course": lambda: TrajectoryNetwork.from_data(
        simulate_courses(num_genes=5, num_trajectories=8, noise=0.05, seed=3).data
    ),
}


def resumed(make, stop, tmp_path, *, change=lambda state: None):
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(make(), guide=GUIDE, seed=3, callbacks=[Checkpoint(path), StopAt(stop)])
    state = load_checkpoint(path)
    assert state["step"] == stop
    change(state)
    return fit(make(), guide=GUIDE, seed=3, resume=state)


@pytest.mark.parametrize(("name", "stop"), [("factorbox", 3), *((name, 10) for name in MODELS)])
def test_what_is_resumed_is_equal_bit_for_bit(name, stop, tmp_path):
    whole, found = fit(MODELS[name](), guide=GUIDE, seed=3), resumed(MODELS[name], stop, tmp_path)
    for site, value in whole.draws.items():
        np.testing.assert_array_equal(found.draws[site], value, err_msg=site)
    for site, moments in whole.moments.items():
        for key, value in vars(moments).items():
            np.testing.assert_array_equal(getattr(found.moments[site], key), value, err_msg=key)
    np.testing.assert_array_equal(found.history.elbo, whole.history.elbo)
    chains = "chain_inclusion"
    np.testing.assert_array_equal(found.attributes[chains], whole.attributes[chains])
    pd.testing.assert_frame_equal(found.edges(), whole.edges(), check_exact=True)


def test_a_checkpoint_of_before_goes_on_to_the_numbers_up_to_rounding(tmp_path):
    """It lacks the residual of the completed data, which is then made from the responses."""
    whole = fit(MODELS["factorbox"](), guide=GUIDE, seed=3)
    found = resumed(MODELS["factorbox"], 10, tmp_path, change=lambda state: state["kernel"].pop("completed"))
    np.testing.assert_allclose(found.draws["W"], whole.draws["W"], rtol=1e-3, atol=1e-4)


def test_the_completed_residual_is_that_of_the_responses(tmp_path):
    """What is restored is what a sum made anew would be, up to rounding."""
    model = FactorBox.from_data(panel(), edge_prior=SpikeSlab())
    kernel = GibbsKernel(model, num_chains=2, seed=0)
    kernel.setup(2)
    state = kernel.initial_params
    for _ in range(30):
        state = kernel.sample(state)
    snapshot = kernel.snapshot(state)
    other, older = (GibbsKernel(model, num_chains=2, seed=0) for _ in range(2))
    for one in (other, older):
        one.setup(2)
        one.restore(snapshot if one is other else {k: v for k, v in snapshot.items() if k != "completed"})
    assert torch.equal(other._completed(), kernel._completed())
    torch.testing.assert_close(older._completed(), kernel._completed(), rtol=1e-4, atol=1e-4)
    assert not torch.equal(older._completed(), kernel._completed()), "the reason for keeping it"


@pytest.mark.parametrize("guide", [MeanField(), MapEstimate()])
@pytest.mark.parametrize("jit", [True, False])
def test_a_guide_is_equal_up_to_the_rounding_of_its_compiled_objective(guide, jit, tmp_path):
    path = tmp_path / "checkpoint.pt"
    model = lambda: LinearNetwork.from_data(cells(), edge_prior=Normal())
    options = {"guide": guide, "seed": 3, "num_steps": 60, "restarts": 1, "jit": jit}
    whole = fit(model(), **options)
    with pytest.raises(KeyboardInterrupt):
        fit(model(), **options, callbacks=[Checkpoint(path), StopAt(40)])
    found = fit(model(), **options, resume=load_checkpoint(path))
    for site, value in whole.draws.items():
        if jit:
            np.testing.assert_allclose(found.draws[site], value, rtol=1e-4, atol=1e-5, err_msg=site)
        else:
            np.testing.assert_array_equal(found.draws[site], value, err_msg=site)

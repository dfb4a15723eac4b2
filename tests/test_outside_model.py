"""A model that the package does not know: three small objects, and every task takes it.

The model, what its fits answer, and its row in the table of what goes with what. Nothing else of the package changes.
"""

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyrogrn import ablate, fit, report
from pyrogrn.experiments.ablation import Effort
from pyrogrn.experiments.methods import methods
from pyrogrn.inference import Blocked, Gibbs, LowRank, MapEstimate, MeanField, default_guide
from pyrogrn.inference.answers import ANSWERS, Answers, CellPredictions, register_answers
from pyrogrn.inference.choice import CHOICES, DENSITY, ModelRow
from pyrogrn.models import MODELS, Model
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import EdgeKnowledge, Normal, PriorNetwork

pytestmark = pytest.mark.usefixtures("seeded")


# -- the three objects ----


class Steps(Model):
    r"""Genes that answer to whether a regulator is above its mean, :math:`y_{cg} \sim N(\sum_t W_{tg}\,\mathrm{sign}
    (x_{ct}), 1)` in standard deviations."""

    name = "steps"
    reference = "a test"

    def __init__(self, data, *, edge_prior=None, networks=None):
        super().__init__()
        mean, scale = data.X.mean(0), data.X.std(0)
        Y = (data.X - mean) / scale
        knowledge = EdgeKnowledge.from_networks(networks, data.tfs, data.genes)
        self.register_buffer("Y", Y)
        self.register_buffer("X", Y[:, [data.genes.index(tf) for tf in data.tfs]].sign())
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self._restore({}, knowledge, edge_prior or Normal())

    def _restore(self, state, knowledge, edge_prior):
        self.genes, self.knowledge = knowledge.targets, knowledge
        self.edge_prior = edge_prior.bind(knowledge)

    @classmethod
    def from_data(cls, data, **options):
        return cls(data, **options)

    @property
    def coords(self):
        return {
            "tf": list(self.knowledge.tfs),
            "target": list(self.genes),
            "context": ["all"],
            "source": list(self.knowledge.sources),
            "signed_source": list(self.edge_prior.signed_sources),
        }

    @property
    def dims(self):
        return self.edge_prior.dims

    @property
    def max_plate_nesting(self):
        return 2

    def forward(self, batch=None):
        tf = pyro.plate("tf", len(self.knowledge.tfs), dim=-2)
        target = pyro.plate("target", len(self.genes), dim=-1)
        W = self.edge_prior(tf, target)  # (tf, target)
        with pyro.plate("cell", len(self.Y), dim=-2), target:
            pyro.sample("Y", dist.Normal(self.X @ W, 1.0), obs=self.Y)

    def to_state(self):
        return {"genes": list(self.genes)}


class StepsAnswers(Answers[Steps]):
    """A knock-out holds a regulator below its mean."""

    predicts_held_out = True

    def unpredictable(self, model, data):
        return None

    def predict(self, posterior, intervention, request):
        model = posterior.model
        unknown = set(intervention.levels) - set(model.coords["tf"])
        if unknown:
            raise ValueError(f"no regulators: {sorted(unknown)}")
        rows = [model.coords["tf"].index(gene) for gene in intervention.levels]
        W = posterior.draws["W"].reshape(-1, *posterior.draws["W"].shape[2:])[: request.num_draws]
        after = model.mean.numpy() - W[:, rows].sum(1) * model.scale.numpy()  # (draw, gene)
        tail = (1 - request.level) / 2
        lower, upper = np.quantile(after, [tail, 1 - tail], axis=0)
        columns = {"mean": after.mean(0), "sd": after.std(0), "lower": lower, "upper": upper, "settled": 1.0}
        return pd.DataFrame({"gene": list(model.genes), **columns, "control": model.mean.numpy()})

    def cells(self, posterior, data, number, rng):
        model = posterior.model
        cell = rng.integers(0, data.num_cells, number)
        target = rng.integers(0, len(model.genes), number)
        scale, center = model.scale.numpy(), model.mean.numpy()
        X = data.select_genes(model.genes).X.numpy()
        tf = [model.genes.index(t) for t in model.coords["tf"]]
        state = np.sign(X[:, tf] - center[tf])[cell]  # (observation, tf)
        mean = np.einsum("ot,cdto->cdo", state, posterior.draws["W"][..., target])
        labels = [f"{c}:{model.genes[t]}" for c, t in zip(cell.tolist(), target.tolist(), strict=True)]
        return CellPredictions(
            X[cell, target], center[target] + scale[target] * mean, 0 * mean + scale[target], labels, cell
        )


ROW = ModelRow(Steps, default=lambda model: LowRank(rank=2), engines=DENSITY, unearned="NOT calibrated: it is a toy")


@pytest.fixture
def registered():
    """Registered for one test."""
    CHOICES.append(ROW)
    register_answers(Steps, StepsAnswers())
    yield
    CHOICES.remove(ROW)
    del ANSWERS[Steps]


# -- through every task ----


@pytest.fixture(scope="module")
def simulation():
    return simulate_linear(num_genes=6, num_tfs=3, num_cells=120, edge_probability=0.5, seed=2)


@pytest.fixture
def posterior(registered, simulation, seeded):
    return fit(Steps.from_data(simulation.data), num_steps=150, num_draws=30, restarts=2, seed=1)


def test_it_is_fitted_by_the_engine_of_its_row(posterior, simulation):
    assert (posterior.guide, posterior.calibrated) == ("low-rank", False)
    edges = posterior.edges()
    assert set(edges["source"]) == set(simulation.data.tfs)
    assert np.isfinite(edges["weight"]).all()
    other = fit(posterior.model, guide=MapEstimate(), num_steps=20, num_draws=2, restarts=1)
    assert other.guide == "map"


def test_what_cannot_fit_it_is_refused_by_name(registered, simulation):
    model = Steps.from_data(simulation.data)
    for guide in (Gibbs(1, 1, 1), Blocked()):
        with pytest.raises(ValueError, match="Steps"):
            fit(model, guide=guide, num_steps=2)


def test_interventions_are_answered_by_its_own_answers(posterior):
    regulator = posterior.coords["tf"][0]
    table = posterior.predict(knockout=[regulator])
    W = posterior.moments["W"].mean[0]
    np.testing.assert_array_equal(np.sign(table["control"] - table["mean"])[W != 0], np.sign(W[W != 0]))
    every = posterior.knockouts()
    assert list(every["knockout"].unique()) == posterior.coords["tf"]
    pd.testing.assert_frame_equal(
        every[every["knockout"] == regulator].drop(columns="knockout").reset_index(drop=True), table
    )
    with pytest.raises(ValueError, match="no regulators"):
        posterior.predict(knockout=["stranger"])


def test_what_its_answers_leave_out_is_refused_by_name(posterior, simulation):
    with pytest.raises(ValueError, match="Steps has edges and no programs"):
        posterior.programs()
    with pytest.raises(ValueError, match="Steps has edges and no programs"):
        posterior.scores(simulation.data)


def test_it_is_checked_with_and_without_data(posterior, simulation):
    checks = posterior.diagnose().set_index("check")
    assert checks.loc["fit ended in order", "passed"]
    checks = posterior.diagnose(simulation.data).set_index("check")
    assert 0.5 < float(checks.loc["predictive intervals", "value"]) <= 1
    tree = posterior.to_datatree(simulation.data)
    assert "posterior_predictive" in tree.children


def test_its_report_names_it(posterior, simulation, tmp_path):
    report(posterior, tmp_path / "report.html", simulation.data, truth=simulation.network)
    page = (tmp_path / "report.html").read_text()
    assert "a test" in page
    assert posterior.coords["tf"][0] in page


def test_it_is_listed_with_the_methods(registered):
    table = methods().query("method == 'steps'")
    assert set(table["guide"]) == {"nuts", "map", "mean-field", "low-rank"}
    assert set(table.loc[(table["guide"] == "nuts") & (table["edge_prior"] == "Normal"), "note"]) == {ROW.unearned}


def test_it_is_ablated(registered, simulation):
    source = PriorNetwork.from_edges(simulation.network[["source", "target"]].assign(probability=0.9), name="known")
    found = ablate(
        simulation.data,
        {"known": source},
        truth=simulation.network,
        methods=["steps"],
        seeds=(0,),
        effort=Effort(2, 5, 8, num_steps=20),
        backend="serial",
        progress=False,
    )
    assert set(found.rows["method"]) == {"steps"}
    assert found.rows["elpd"].notna().any(), "values of held-out cells are scored"


def test_it_leaves_no_trace(simulation):
    """Outside of the fixture it is as any class of `Model`: fitted by the last row, and asked nothing."""
    assert Steps not in MODELS
    model = Steps.from_data(simulation.data)
    assert default_guide(model) == MeanField()
    posterior = fit(model, num_steps=5, num_draws=2, restarts=1)
    assert len(posterior.edges())
    with pytest.raises(ValueError, match="Steps does not predict interventions"):
        posterior.predict(knockout=[posterior.coords["tf"][0]])
    assert torch.isfinite(torch.as_tensor(posterior.draws["W"])).all()

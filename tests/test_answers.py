"""What the fit of each model answers, and that it refuses the rest by name; models from outside the package."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
from pyrogrn.inference import Gibbs, MeanField, Pruned, default_guide, fit, flux_table
from pyrogrn.inference.answers import ANSWERS, Answers, CellPredictions, answers_of, register_answers
from pyrogrn.inference.answers.cells import log_density, predict_cells, squared_residuals
from pyrogrn.inference.answers.registry import REFUSING
from pyrogrn.inference.diagnostics import diagnose
from pyrogrn.models import (
    MODELS,
    PMFGRN,
    PPCA,
    CellBox,
    FactorBox,
    LinearNetwork,
    Model,
    MuVI,
    NetREXCF,
    Phoenix,
    Symphony,
    TrajectoryNetwork,
)
from pyrogrn.models.simulators import simulate_courses, simulate_muvi, simulate_panel
from pyrogrn.priors import EdgeKnowledge, Normal

pytestmark = pytest.mark.usefixtures("seeded")

FEW = {"num_draws": 4}


# -- questions ----


@dataclass(frozen=True)
class Asked:
    """A fit, and the data it was made from."""

    posterior: object
    data: object

    @property
    def gene(self):
        return self.posterior.coords[self.posterior.model.axes[0]][0]


QUESTIONS = {
    "knock-out": lambda a: a.posterior.predict(knockout=[a.gene], **FEW),
    "a level": lambda a: a.posterior.predict(overexpress={a.gene: 1.0}, **FEW),
    "a few steps": lambda a: a.posterior.predict(knockout=[a.gene], steps=1, **FEW),
    "knock-down": lambda a: a.posterior.predict(knockdown=[a.gene], **FEW),
    "inputs": lambda a: a.posterior.predict(inputs={a.gene: 1.0}, **FEW),
    "all knock-outs": lambda a: a.posterior.knockouts(**FEW),
    "flux": lambda a: flux_table(a.posterior, **FEW),
    "course": lambda a: a.posterior.course([0.0, 1.0], **FEW),
    "velocity": lambda a: a.posterior.velocity(a.data, **FEW),
    "cells": lambda a: predict_cells(a.posterior, a.data, num_observations=30),
    "residuals": lambda a: squared_residuals(a.posterior, a.data),
    "activities": lambda a: a.posterior.activities(),
    "programs": lambda a: a.posterior.programs(),
    "factors": lambda a: a.posterior.factors(),
    "refined sets": lambda a: a.posterior.refined_sets(),
    "covariates": lambda a: a.posterior.covariate_effects(),
    "scores": lambda a: a.posterior.scores(a.data),
    "density": lambda a: log_density(a.posterior, a.data, num_draws=2),
}

CELLS, LINEAR = {"cells", "residuals"}, {"knock-out", "a level", "a few steps", "all knock-outs"}
PROGRAMS = {"programs", "factors", "refined sets", "covariates", "scores", "density", "cells"}
ANSWERED = {
    LinearNetwork: LINEAR | CELLS,
    Symphony: LINEAR | CELLS,
    TrajectoryNetwork: CELLS,
    FactorBox: CELLS | {"knock-out", "a level", "knock-down", "all knock-outs", "flux"},
    CellBox: {"cells", "inputs", "flux"},
    Phoenix: CELLS | {"knock-out", "a level", "all knock-outs", "course", "velocity"},
    PMFGRN: {"cells", "activities"},
    NetREXCF: {"cells"},
    PPCA: PROGRAMS,
    MuVI: PROGRAMS,
}


def data_of(model_class, data):
    """``data`` in the form that a model takes."""
    if model_class is FactorBox:
        return simulate_panel(num_genes=5, in_degree=1.5, num_controls=8, seed=4).data
    if model_class is CellBox:
        few = data.subset(np.arange(12))
        inputs = np.random.default_rng(0).normal(size=(12, len(data.tfs)))
        few = replace(few, matrix=0.3 * (few.X - few.X.mean(0)), tfs=few.genes)
        return few.with_inputs(pd.DataFrame(inputs, columns=list(data.tfs)))
    if model_class is TrajectoryNetwork:
        cell = np.arange(data.num_cells)
        return data.with_times((cell % 4) ** 1.5, [str(c) for c in cell // 4])
    if model_class is Phoenix:
        return simulate_courses(num_genes=6, num_trajectories=6, noise=0.02, seed=3).data
    if model_class in (PPCA, MuVI):
        return simulate_muvi(num_genes=10, num_cells=40, num_sets=2, set_size=4, num_covariates=1, seed=5).data
    return data


@pytest.fixture(scope="module", params=MODELS, ids=lambda m: m.__name__)
def model_class(request):
    return request.param


@pytest.fixture(scope="module")
def asked(model_class, tiny_data):
    data = data_of(model_class, tiny_data)
    options = {"num_factors": 2} if model_class in (PPCA, MuVI) else {"hidden": 2} if model_class is Phoenix else {}
    model = model_class.from_data(data, **options)
    guide = default_guide(model)
    if model_class is CellBox:
        guide = MeanField(spread=0.001, init_scale=0.003)
    if guide.name == Gibbs.name:
        guide = Gibbs(num_chains=2, num_warmup=5, num_samples=6)
    if guide.name == Pruned.name:
        guide = Pruned(epochs=3, num_samples=6, svi_steps=10, batch_size=4)
    return Asked(fit(model, guide=guide, num_steps=8, num_draws=6, restarts=2), data)


def test_every_model_has_answers():
    assert set(ANSWERED) == set(MODELS), "say which questions the model answers"
    missing = [m.__name__ for m in MODELS if not set(m.__mro__) & set(ANSWERS)]
    assert not missing, "give the model a row in inference/answers/registry.py"


def test_each_question_is_answered_or_refused_by_name(model_class, asked):
    answered = set()
    for name, question in QUESTIONS.items():
        try:
            found = question(asked)
        except ValueError as error:
            said = str(error)
            named = (model_class.__name__, *(m.__name__ for m in MODELS), "PHOENIX", "linear networks")
            assert any(word in said for word in named), f"{name}: {said}"
        else:
            assert found is not None
            answered.add(name)
    assert answered == ANSWERED[model_class]


def test_checks_say_what_answers_do(asked):
    """Which rows there are, and whether the rows about data are of predictions or say why not."""
    model, answers = asked.posterior.model, answers_of(asked.posterior.model)
    table = diagnose(asked.posterior, asked.data).set_index("check")
    assert ("residual variance" in table.index) == answers.checks_residuals(model)
    because = answers.unpredictable(model, asked.data)
    meaning = table.loc["predictive intervals", "meaning"]
    assert meaning == because if because else "of the values lie in their 90% interval" in meaning
    network = model.axes == ("tf", "target")
    assert ("edges between regulators" in table.index) == (network and not answers.directed)
    assert ("regulators without edges" in table.index) == network
    assert answers.has_joint_density(model) == ("sample_stats" in asked.posterior.to_datatree())


def test_predictions_name_their_cell(asked):
    cells = predict_cells(asked.posterior, asked.data, num_observations=20)
    assert cells.cell.shape == cells.observed.shape
    assert cells.cell.tolist() == [int(label.split(":")[-2]) for label in cells.labels]
    assert cells.mean.shape == cells.sd.shape == (*asked.posterior.draws["W"].shape[:2], len(cells.observed))


# -- a model from outside ----


class Toy(Model):
    """Targets linear in regulators, with one noise; derives from nothing but `Model`."""

    name, reference = "toy", "this file"
    max_plate_nesting = 2

    def __init__(self, data):
        super().__init__()
        self._restore({}, EdgeKnowledge.from_networks(None, data.tfs, data.genes), Normal(scale=0.5))
        Y = data.X - data.X.mean(0)
        self.register_buffer("Y", Y)
        self.register_buffer("X", Y[:, [data.genes.index(t) for t in data.tfs]])

    @property
    def coords(self):
        return {"tf": list(self.tfs), "target": list(self.genes), "context": ["all"], "source": [], "signed_source": []}

    @property
    def dims(self):
        return {**self.edge_prior.dims, "noise": ()}

    def forward(self, batch=None):
        tf, target = pyro.plate("tf", len(self.tfs), dim=-2), pyro.plate("target", len(self.genes), dim=-1)
        W = self.edge_prior(tf, target)
        noise = pyro.sample("noise", dist.HalfNormal(self.Y.new_ones(())))
        with pyro.plate("cell", len(self.Y), dim=-2), target:
            pyro.sample("Y", dist.Normal(self.X @ W, noise), obs=self.Y)

    def to_state(self):
        return {}

    def _restore(self, state, knowledge, edge_prior):
        self.tfs, self.genes = knowledge.tfs, knowledge.targets
        self.knowledge, self.edge_prior = knowledge, edge_prior.bind(knowledge)


class ToyAnswers(Answers[Toy]):
    """Levels of targets with a regulator clamped, and single values."""

    def unpredictable(self, model, data):
        return None

    def cells(self, posterior, data, number, rng):
        cell = np.sort(rng.choice(data.num_cells, min(number, data.num_cells), replace=False))
        mean = np.einsum("ot,cdt->cdo", posterior.model.X.numpy()[cell], posterior.draws["W"][..., 0])
        sd = np.broadcast_to(posterior.draws["noise"][..., None], mean.shape)
        observed = posterior.model.Y.numpy()[cell, 0]
        return CellPredictions(observed, mean, sd, [f"{c}:{data.genes[0]}" for c in cell], cell)

    def predict(self, posterior, intervention, request):
        level = sum(value or 0.0 for value in intervention.levels.values())
        W = posterior.sample(request.num_draws, seed=request.seed)["W"]
        return pd.DataFrame({"gene": posterior.model.genes, "mean": level * W.mean((0, 1))})


@pytest.fixture
def toy(tiny_data):
    model = Toy(tiny_data)
    return Asked(fit(model, guide=MeanField(), num_steps=20, num_draws=20, restarts=2), tiny_data)


@pytest.fixture
def registered():
    """Toy with its answers, and without them afterwards."""
    register_answers(Toy, ToyAnswers())
    yield
    del ANSWERS[Toy]


def test_a_model_that_brings_nothing_is_refused_by_name(toy):
    assert answers_of(toy.posterior.model) is REFUSING
    for question in QUESTIONS.values():
        with pytest.raises(ValueError, match=r"^Toy |^knock-downs as a panel does them"):
            question(toy)


def test_a_model_that_brings_nothing_has_edges_checks_and_an_export(toy):
    assert len(toy.posterior.edges()) == 3 * 7 - 3
    table = diagnose(toy.posterior, toy.data).set_index("check")
    assert table.loc["predictive intervals", "meaning"].startswith("Not checked: ")
    assert "residual variance" not in table.index
    assert "edges between regulators" in table.index
    assert "sample_stats" in toy.posterior.to_datatree()


def test_a_model_from_outside_brings_its_answers(toy, registered):
    table = toy.posterior.knockouts()
    assert table.columns.tolist() == ["knockout", "gene", "mean"]
    assert len(table) == 3 * 7
    assert 0 < len(predict_cells(toy.posterior, toy.data).observed) <= toy.data.num_cells
    checks = diagnose(toy.posterior, toy.data).set_index("check")
    assert "of the values lie in their 90% interval" in checks.loc["predictive intervals", "meaning"]
    assert "posterior_predictive" in toy.posterior.to_datatree(toy.data)
    with pytest.raises(ValueError, match="Toy has no trajectories"):
        toy.posterior.course([0.0, 1.0])


def test_a_derived_model_has_the_answers_of_its_base(toy, registered):
    class Derived(Toy):
        """Nothing of its own."""

    assert answers_of(Derived(toy.data)) is ANSWERS[Toy]

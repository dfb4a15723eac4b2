"""What goes with what: the tables of `inference.choice`, and a model from outside the package that adds one row."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyrogrn.experiments.methods import methods, priors_of
from pyrogrn.experiments.wording import in_options
from pyrogrn.inference import (
    GUIDES,
    NUTS,
    SAMPLERS,
    Alternate,
    Amortised,
    Bagging,
    BlockDescent,
    Blocked,
    ClosedForm,
    Gibbs,
    LowRank,
    MapEstimate,
    MeanField,
    Pruned,
    PyroGuide,
    SparseGibbs,
    default_guide,
    fit,
)
from pyrogrn.inference import choice as tables
from pyrogrn.inference.choice import (
    CHOICES,
    DENSITY,
    ModelRow,
    about,
    applies,
    check_pair,
    earns_badge,
    engine_of,
    known_models,
    row_of,
    row_of_engine,
    row_of_prior,
    unearned,
)
from pyrogrn.inference.engines.base import Engine
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
    RegressionNetwork,
    Symphony,
    TrajectoryNetwork,
)
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import (
    EDGE_PRIORS,
    LOADING_PRIORS,
    Collaborative,
    EdgeKnowledge,
    EdgePrior,
    ElasticNet,
    HardMask,
    LogitNormal,
    Normal,
    NormalLoading,
    PriorNetwork,
    SpikeSlab,
)

ENGINES = {engine.name: engine for engine in (*SAMPLERS, *GUIDES, Pruned)}
# the engine by default, prior by prior in the order of EDGE_PRIORS: Normal, Laplace, Horseshoe, SpikeSlab, HardMask,
# LogitNormal, ElasticNet, Collaborative; or of LOADING_PRIORS
REGRESSIONS = "blocked mean-field blocked gibbs blocked blocked mean-field gibbs"
GOLDEN = {
    LinearNetwork: REGRESSIONS,
    TrajectoryNetwork: REGRESSIONS,
    FactorBox: REGRESSIONS,
    Symphony: "blocked mean-field blocked gibbs blocked blocked mean-field mean-field",
    CellBox: " ".join(["mean-field"] * 8),
    PMFGRN: " ".join(["mean-field"] * 8),
    NetREXCF: " ".join([*["mean-field"] * 6, "block-descent", "mean-field"]),
    PPCA: "blocked blocked blocked",
    MuVI: "blocked blocked blocked",
}
CASES = [
    pytest.param(model, prior, name, id=f"{model.__name__}-{prior.__name__}")
    for model, names in GOLDEN.items()
    for prior, name in zip(priors_of(model), names.split(), strict=True)
]
DATA = simulate_linear(num_genes=6, num_tfs=3, num_cells=24, edge_probability=0.5, seed=0).data


def complete_network():
    pairs = [(s, t) for s in DATA.tfs for t in DATA.genes if s != t]
    frame = pd.DataFrame(pairs, columns=["source", "target"]).assign(probability=0.9)
    return {"complete": PriorNetwork.from_edges(frame, name="complete")}


def data_for(model):
    """What the model needs, by the fields that it names."""
    data, cell = DATA, np.arange(DATA.num_cells)
    if "time" in model.needs:
        data = data.with_times((cell % 4) ** 1.5, [str(c) for c in cell // 4])
    if "perturbed" in model.needs:
        data = replace(data, matrix=torch.exp(0.3 * data.X))
    if "inputs" in model.needs:
        few = data.subset(cell[:12])
        few = replace(few, matrix=0.3 * (few.X - few.X.mean(0)), tfs=few.genes)
        data = few.with_inputs(pd.DataFrame(np.eye(12, 3), columns=list(DATA.tfs)))
    return data


def build(model, prior, **options):
    """The model on tiny data; a mask gets a network that forbids nothing."""
    if model.infers == "programs":
        return model.from_data(data_for(model), num_factors=2, loading_prior=prior)
    networks = complete_network() if prior.strategy == "mask" else None
    return model.from_data(data_for(model), edge_prior=prior, networks=networks, **options)


# -- the rows ----


def test_every_model_prior_and_engine_has_a_row():
    assert all(row_of(model).model is not Model for model in MODELS)
    assert {row_of(model).prior is None for model in MODELS} == {False}
    for prior in LOADING_PRIORS:
        assert row_of_prior(prior).prior is not EdgePrior
    for engine in (*SAMPLERS, *GUIDES, Pruned, Amortised):
        assert row_of_engine(engine).engine is engine
        assert engine_of(engine.name) is engine


def test_rows_name_what_exists():
    for row in (*CHOICES, *tables.PRIORS):
        assert set(row.engines) <= {row.engine for row in tables.ENGINES}
    for rows, key in ((CHOICES, "model"), (tables.PRIORS, "prior"), (tables.ENGINES, "engine")):
        listed = [getattr(row, key) for row in rows]
        assert len(set(listed)) == len(listed)


@pytest.mark.parametrize(("model", "prior", "name"), CASES)
def test_default_guide(model, prior, name):
    made = build(model, prior())
    engine = default_guide(made)
    assert engine.name == name
    check_pair(made, engine)
    if model is not Symphony:  # without evidence it is a linear network
        assert type(engine) in row_of(model).engines


def test_the_golden_list_is_complete():
    assert {*GOLDEN, Phoenix} == set(MODELS)  # PHOENIX takes one prior, and has an engine of its own
    assert isinstance(row_of(Phoenix).default(None), Pruned)


@pytest.mark.parametrize(
    ("prior", "name"),
    [
        (SpikeSlab(), "gibbs"),
        (SpikeSlab(strategy="scale"), "gibbs"),
        (Normal(), "mean-field"),  # the evidence is not linear in W
        (LogitNormal(), "mean-field"),
        (Collaborative(), "mean-field"),
        (Collaborative(strategy="scale"), "mean-field"),
        (HardMask(SpikeSlab()), "gibbs"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_default_guide_with_evidence(prior, name):
    score = pd.DataFrame(np.random.default_rng(0).normal(size=(3, 6)), index=DATA.tfs, columns=DATA.genes)
    assert default_guide(build(Symphony, prior, evidence={"access": score})).name == name


@pytest.mark.parametrize(
    ("model", "prior", "name"),
    [
        (LinearNetwork, Collaborative(strategy="scale"), "blocked"),
        (LinearNetwork, HardMask(SpikeSlab()), "gibbs"),
        (LinearNetwork, HardMask(Collaborative()), "gibbs"),
        (LinearNetwork, HardMask(ElasticNet()), "mean-field"),
        (Symphony, HardMask(Collaborative()), "mean-field"),
        (Symphony, Collaborative(strategy="scale"), "blocked"),
        (NetREXCF, HardMask(ElasticNet()), "block-descent"),
        (NetREXCF, HardMask(SpikeSlab()), "mean-field"),
    ],
)
def test_default_guide_of_other_strategies_and_masks(model, prior, name):
    assert default_guide(build(model, prior)).name == name


def test_default_guide_of_the_default_prior_is_the_sparse_sampler():
    model = LinearNetwork.from_data(DATA)
    assert model.edge_prior.measured_in == "noise"
    assert default_guide(model).name == "sparse"
    assert (
        default_guide(LinearNetwork.from_data(DATA, edge_prior=SpikeSlab(unit="noise", strategy="scale"))).name
        == "gibbs"
    )


def test_default_guide_of_contexts_and_gains():
    two = replace(DATA, context=torch.arange(DATA.num_cells) % 2, context_names=("a", "b"))
    assert default_guide(LinearNetwork.from_data(two, edge_prior=Normal())).name == "mean-field"
    assert default_guide(LinearNetwork.from_data(two)).name == "gibbs"
    assert default_guide(build(FactorBox, SpikeSlab(), gain="sampled")).name == "gibbs"
    assert default_guide(build(FactorBox, Normal(), gain="sampled")).name == "blocked"


# -- badges ----


class Untested(Engine):
    """An engine of which no row says anything."""

    def run(self, model, data, run):
        raise AssertionError("never run")


def test_the_table_prints_the_reason():
    models = {model.name: model for model in MODELS}
    priors = {prior.__name__: prior for prior in (*EDGE_PRIORS, *LOADING_PRIORS)}
    rows = [row for row in methods().itertuples() if row.method in models]
    assert len(rows) > 200
    for row in rows:
        model, prior = models[row.method], priors[row.edge_prior or row.loading_prior]
        engine = ENGINES[row.guide]()
        reason = unearned(model, prior, engine)
        assert row.calibrated == (reason is None)
        assert row.note == in_options(reason or about(type(engine), model))
        assert (reason is None) == ("NOT" not in row.note)
        assert applies(type(engine), prior, model)


def test_badges_that_are_not_in_the_table():
    assert unearned(LinearNetwork, Collaborative, Gibbs()) is None
    assert "collapse" in unearned(LinearNetwork, Collaborative, Blocked())
    assert "nobody has tested this model" in unearned(Model, Normal, NUTS())
    assert "which genes regulate" in unearned(LinearNetwork, SpikeSlab, Amortised("glad"))
    assert "nobody has tested this engine" in unearned(LinearNetwork, SpikeSlab, Untested())
    for engine, options in (
        (Blocked(), {"batch_size": 10}),
        (Blocked(refresh=0), {}),
        (Blocked(), {"complete": False}),
    ):
        assert "product of factors" in unearned(PPCA, NormalLoading, engine, **options)
    assert "what programs explain" in unearned(PPCA, NormalLoading, Blocked())
    assert unearned(PPCA, NormalLoading, Gibbs()) is None
    assert "cell by cell" in unearned(PPCA, NormalLoading, Gibbs(), complete=False)
    assert unearned(PPCA, NormalLoading, NUTS(), complete=False) is None


def test_a_badge_is_a_reason_that_is_missing():
    binary = replace(DATA, matrix=torch.gt(DATA.X, DATA.X.median(0).values).float())
    programs = MuVI.from_data(binary, num_factors=1, likelihood="bernoulli")
    assert not programs.integrated
    assert not earns_badge(programs, Blocked(), None)
    for prior, expected in ((SpikeSlab(), True), (HardMask(SpikeSlab()), True), (HardMask(LogitNormal()), False)):
        assert earns_badge(build(LinearNetwork, prior), Gibbs(), None) is expected
    assert not earns_badge(build(LinearNetwork, SpikeSlab()), MeanField(), None)  # the engine's own claim


# -- engines ----


def test_what_engines_say_of_themselves():
    every = [row.engine for row in tables.ENGINES]
    assert {e for e in every if e.draws_chains} == {Gibbs, SparseGibbs, NUTS, Amortised}
    assert {e for e in every if e.learns_on_simulations} == {Amortised}
    assert {e for e in every if e.prunes} == {Pruned}
    assert {e for e in every if e.point} == {MapEstimate, BlockDescent, ClosedForm, Alternate}
    assert {e for e in every if e.reads_cells} == {Alternate, Amortised, Bagging}
    assert {e for e in every if e.length_options is None} == {
        MapEstimate,
        MeanField,
        LowRank,
        Blocked,
        ClosedForm,
        Alternate,
        PyroGuide,
        Engine,
    }
    assert Bagging.length_options == ("chains", "num_bags")
    assert BlockDescent.length_options == ("restarts", "max_iterations")


def test_of_an_unknown_engine_nothing_is_taken_for_granted():
    assert engine_of("an engine of tomorrow") is Engine
    assert not any((Engine.calibrated, Engine.draws_chains, Engine.point))


def test_sizes_of_engines():
    size = {"num_chains": 2, "num_warmup": 5, "num_samples": 7}
    assert Gibbs(thin=2).sized(**size) == Gibbs(2, 5, 7, thin=2)
    assert NUTS().sized(**size) == NUTS(2, 5, 7)
    assert Blocked().sized(**size) == Blocked()
    assert Pruned().sized(**size) == Pruned()


def test_engines_of_one_model_alone():
    linear = build(LinearNetwork, SpikeSlab())
    with pytest.raises(ValueError, match="LinearNetwork and Pruned do not go together: leave out the guide"):
        fit(linear, guide=Pruned())
    course = Phoenix.from_data(data_for(Phoenix), edge_prior=Normal(), hidden=2)
    with pytest.raises(ValueError, match="Phoenix and MeanField do not go together"):
        check_pair(course, MeanField())


@pytest.mark.parametrize("model", [TrajectoryNetwork, NetREXCF], ids=lambda m: m.__name__)
def test_models_without_minibatches(model):
    assert {m for m in MODELS if not m.minibatches} == {TrajectoryNetwork, NetREXCF}
    made = build(model, Normal())
    with pytest.raises(ValueError, match=f"{model.__name__} conditions on all data at once"):
        fit(made, data_for(model), batch_size=5)


# -- from outside the package ----


class Ridge(Model):
    """A toy: genes regressed on regulators, with noise of one."""

    name = "ridge"
    reference = "this test"

    def __init__(self, data, *, edge_prior=None, networks=None):
        super().__init__()
        knowledge = EdgeKnowledge.from_networks(networks, data.tfs, data.genes)
        self._restore({}, knowledge, edge_prior or Normal())
        X = (data.X - data.X.mean(0)) / data.X.std(0)
        self.register_buffer("Y", X)
        self.register_buffer("X", X[:, [data.genes.index(tf) for tf in data.tfs]])

    def _restore(self, state, knowledge, edge_prior):
        self.genes, self.knowledge, self.edge_prior = knowledge.targets, knowledge, edge_prior.bind(knowledge)

    @classmethod
    def from_data(cls, data, **options):
        return cls(data, **options)

    @property
    def coords(self):
        axes = {"tf": list(self.knowledge.tfs), "target": list(self.knowledge.targets), "context": ["all"]}
        sources = {"source": list(self.knowledge.sources), "signed_source": list(self.edge_prior.signed_sources)}
        return {**axes, **sources}

    @property
    def dims(self):
        return self.edge_prior.dims

    @property
    def max_plate_nesting(self):
        return 2

    def forward(self, batch=None):
        tf = pyro.plate("tf", len(self.knowledge.tfs), dim=-2)
        target = pyro.plate("target", len(self.knowledge.targets), dim=-1)
        W = self.edge_prior(tf, target)  # (tf, target)
        with pyro.plate("cell", len(self.Y), dim=-2), target:
            pyro.sample("X", dist.Normal(self.X @ W, 1.0), obs=self.Y)

    def to_state(self):
        return {"genes": list(self.genes)}


@pytest.fixture
def registered():
    """A row for the toy, which goes with the test."""
    row = ModelRow(Ridge, default=lambda model: MeanField(), engines=DENSITY, unearned="NOT calibrated: a toy")
    CHOICES.append(row)
    yield row
    CHOICES.remove(row)


def test_a_model_without_a_row_has_that_of_its_nearest_base():
    class Narrow(LinearNetwork):
        name = "narrow"

    class Regression(RegressionNetwork):
        name = "regression"

    assert row_of(Narrow) == row_of(LinearNetwork)
    assert row_of(Regression).model is RegressionNetwork
    assert row_of(Ridge).model is Model
    made = Ridge(DATA)
    assert default_guide(made) == MeanField()
    assert not earns_badge(made, NUTS(), None)
    assert "ridge" not in known_models()
    assert "narrow" not in known_models()


def test_an_exact_engine_on_a_model_from_outside_says_why_it_has_no_badge(registered):
    assert unearned(Ridge, Normal, NUTS()) == "NOT calibrated: a toy"
    assert applies(NUTS, Normal, Ridge)
    (listed,) = methods().query("method == 'ridge' and edge_prior == 'Normal' and guide == 'nuts'").itertuples()
    assert (listed.note, listed.knowledge) == ("NOT calibrated: a toy", "scale")
    assert not applies(Gibbs, SpikeSlab, Ridge)

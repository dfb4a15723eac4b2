"""What every model must do with every prior: a class listed in `MODELS`, `EDGE_PRIORS` or `LOADING_PRIORS`."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from pyro import poutine
from pyrogrn.inference import (
    GUIDES,
    SAMPLERS,
    Adam,
    Amortised,
    BlockDescent,
    Blocked,
    Gibbs,
    GibbsKernel,
    MapEstimate,
    MeanField,
    Posterior,
    Pruned,
    default_guide,
    fit,
)
from pyrogrn.inference.points import is_point
from pyrogrn.inference.runs.sampler import Sampler
from pyrogrn.inference.variational.elbo import elbo, log_joint
from pyrogrn.models import (
    MODELS,
    PMFGRN,
    PPCA,
    CellBox,
    ExpressionData,
    FactorBox,
    FactorModel,
    LinearNetwork,
    Model,
    MuVI,
    NetREXCF,
    RegressionNetwork,
    Symphony,
    TrajectoryNetwork,
)
from pyrogrn.models.phoenix import Phoenix
from pyrogrn.models.simulators import simulate_linear, simulate_muvi
from pyrogrn.priors import (
    EDGE_PRIORS,
    LOADING_PRIORS,
    EdgePrior,
    ElasticNet,
    HardMask,
    Horseshoe,
    Laplace,
    LoadingPrior,
    LogitNormal,
    Normal,
    PriorNetwork,
    SpikeSlab,
)

pytestmark = pytest.mark.usefixtures("seeded")

NARROW = MeanField(spread=0.001, init_scale=0.003)
CHEAP = {"num_chains": 2, "num_warmup": 10, "num_samples": 12}


# -- how each model is made small ----


def as_levels(data):
    """Positive levels."""
    return replace(data, matrix=torch.exp(0.3 * data.X))


def as_conditions(data):
    """Few conditions, each solved at every step, with inputs; every node may be a source."""
    few = data.subset(np.arange(min(data.num_cells, 12)))
    inputs = np.random.default_rng(0).normal(size=(few.num_cells, len(data.tfs)))
    few = replace(few, matrix=0.3 * (few.X - few.X.mean(0)), tfs=few.genes)
    return few.with_inputs(pd.DataFrame(inputs, columns=list(data.tfs)))


def as_courses(data):
    """Cells as points of courses of four."""
    plain = replace(data, perturbed=None, context=None, context_names=("all",))
    cell = np.arange(data.num_cells)
    return plain.with_times((cell % 4) ** 1.5, [str(c) for c in cell // 4])


def complete_network(data, probability=0.9):
    """Every possible edge, with one confidence."""
    pairs = [(s, t) for s in data.tfs for t in data.genes if s != t]
    frame = pd.DataFrame(pairs, columns=["source", "target"]).assign(probability=probability)
    return {"complete": PriorNetwork.from_edges(frame, name="complete")}


@dataclass(frozen=True)
class OfNetworks:
    """How a network is made from the simulations of `small`, and fitted.

    ``priors`` it is tested with; ``form``, its data from simulated cells (constant genes stay constant).
    """

    priors: Sequence[type]
    form: Callable[[ExpressionData], ExpressionData] = lambda data: data

    def build(self, model_class, edge_prior, data, networks=None):
        """The model on all genes of ``data``, which have its form; a hard mask gets a prior network that forbids
        nothing."""
        if edge_prior is HardMask and networks is None:
            networks = complete_network(data)
        return model_class.from_data(data, edge_prior=edge_prior(), networks=networks)

    def plain(self, model_class, edge_prior, small):
        """The least of data."""
        return self.build(model_class, edge_prior, self.form(small["tiny"].data))

    def rich(self, model_class, edge_prior, small):
        """With contexts and interventions."""
        return self.build(model_class, edge_prior, self.form(small["rich"].data))

    def shapes(self, model_class, edge_prior, small):
        """Every shape of the model."""
        for data in (small["rich"].data, simulate_linear(num_genes=5, num_tfs=2, num_cells=20).data):
            yield self.build(model_class, edge_prior, self.form(data))

    def in_batches(self, model_class, edge_prior, small):
        """In double precision, with the cells to take batches of: of one size, so that their plain mean is unbiased."""
        data = self.form(small["rich"].data.subset(np.arange(80)))
        return self.build(model_class, edge_prior, data).double(), data.to(dtype=torch.float64)

    def engines(self, model):
        """Under which draws are looked at."""
        guide = default_guide(model)
        guide = Gibbs(**CHEAP) if isinstance(guide, Gibbs) else guide
        yield MapEstimate() if isinstance(guide, BlockDescent) else guide  # one point, and no draws to look at

    def table(self, posterior):
        return posterior.edges()

    def check_table(self, posterior):
        model, table = posterior.model, posterior.edges()
        off = ~model.edge_prior.allowed.numpy()
        assert np.abs(posterior.draws["W"][..., off]).max() == 0, "self-edges do not exist"
        assert len(table) == (~off).sum()
        assert not (table["source"] == table["target"]).any()
        if is_point(posterior):
            assert table[["inclusion", "lower", "upper"]].isna().all(axis=None)
        else:
            assert table["inclusion"].between(0, 1).all()
            assert (table["lower"] <= table["upper"]).all()
        assert len(posterior.draws["W"]) == 2


@dataclass(frozen=True)
class OfPrograms:
    """The same of programs: cells of two groups with two covariates, programs with gene sets."""

    priors: Sequence[type]

    def build(self, model_class, loading_prior, data, gene_sets=None, **options):
        if gene_sets is not None:
            options |= {"gene_sets": {"sets": gene_sets}, "min_overlap": 2}
        return model_class.from_data(data, num_factors=2, loading_prior=loading_prior(), **options)

    def plain(self, model_class, loading_prior, small):
        return self.build(model_class, loading_prior, small["programs"].data)

    rich = plain

    def shapes(self, model_class, loading_prior, small):
        """Integrated or not, with gene sets where it takes them."""
        data, gene_sets = small["programs"].data, small["programs"].gene_sets
        yield self.build(model_class, loading_prior, data)
        yield self.build(model_class, loading_prior, data, integrate=False)
        yield self.build(model_class, loading_prior, data, factor_effects=False)
        if "gene_sets" in inspect.signature(model_class).parameters:
            yield self.build(model_class, loading_prior, data, gene_sets)
            yield self.build(model_class, loading_prior, data, gene_sets, integrate=False)

    def in_batches(self, model_class, loading_prior, small):
        data = small["programs"].data
        model = self.build(model_class, loading_prior, data, integrate=False)
        return model.double(), data.to(dtype=torch.float64)

    def engines(self, model):
        yield from (Blocked(), MeanField(), Gibbs(num_chains=2, num_warmup=3, num_samples=12))

    def table(self, posterior):
        return posterior.programs()

    def check_table(self, posterior):
        model, table = posterior.model, posterior.programs()
        assert len(table) == 20
        assert (table["lower"] <= table["upper"]).all()
        assert table["sign_probability"].between(0.5, 1).all()
        assert table["program"].drop_duplicates().tolist() == list(model.factors)
        assert set(posterior.covariate_effects()["covariate"]) == set(model.covariates)
        assert 1 <= len(posterior.draws["W"]) <= 2  # restarts that end far below the best are left out


COMMON = (Normal, Laplace, Horseshoe, SpikeSlab, HardMask)
# PHOENIX has weights of neurons, an engine of its own, and tests of its own (test_pruned.py). The linear network meets
# every prior; the others those they were made for, as each pair costs seconds.
HOW = {
    LinearNetwork: OfNetworks(EDGE_PRIORS),
    TrajectoryNetwork: OfNetworks(COMMON, as_courses),
    FactorBox: OfNetworks(COMMON, as_levels),
    CellBox: OfNetworks(COMMON, as_conditions),
    PMFGRN: OfNetworks((LogitNormal, SpikeSlab, HardMask)),
    Symphony: OfNetworks((SpikeSlab, LogitNormal, Normal)),
    NetREXCF: OfNetworks((ElasticNet, SpikeSlab, HardMask)),
    PPCA: OfPrograms(LOADING_PRIORS),
    MuVI: OfPrograms(LOADING_PRIORS),
}
NETWORKS = [m for m in HOW if m.axes == ("tf", "target")]
PROGRAMS = [m for m in HOW if m.axes == ("factor", "gene")]
CASES = [pytest.param(m, p, id=f"{m.__name__}-{p.__name__}") for m, how in HOW.items() for p in how.priors]
every_case = pytest.mark.parametrize(("model_class", "prior"), CASES)


def cases_of(*model_classes, besides=()):
    """The cases of some of the models, where a test cannot be said of all."""
    chosen = [c for c in CASES if issubclass(c.values[0], model_classes) or c.values in besides]
    return pytest.mark.parametrize(("model_class", "prior"), chosen)


@pytest.fixture(scope="module")
def small(tiny, rich):
    """Simulations by name: of networks without and with contexts and knock-outs, and of programs."""
    programs = simulate_muvi(
        num_genes=10, num_cells=40, num_sets=2, set_size=4, num_covariates=2, correlation=0.4, num_groups=2, seed=5
    )
    return {"tiny": tiny, "rich": rich, "programs": programs}


def briefly(model, guide, seed=0):
    """A short fit."""
    if isinstance(model, CellBox):  # as narrow as its notes say, and few steps: each solves all conditions
        return fit(model, guide=NARROW, num_steps=8, num_draws=12, restarts=2, seed=seed)
    return fit(model, guide=guide, num_steps=40, num_draws=12, restarts=2, seed=seed)


def short_fit(model, seed=0):
    """By the first engine of its kind of model."""
    return briefly(model, next(iter(HOW[type(model)].engines(model))), seed)


def prior_values(model, num_draws=1):
    """Continuous sites at a prior draw, with draws left of all plates."""
    with pyro.plate("draws", num_draws, dim=-(model.max_plate_nesting + 1)):
        nodes = poutine.trace(model).get_trace().nodes
    return {n: nodes[n]["value"] for n in model.dims if not nodes[n]["fn"].has_enumerate_support}


# ---------------------------------------------------------------- the lists are complete


# what PPCA and MuVI have in common: not abstract, and not a model to fit
SHARED = {FactorModel}


def final_subclasses(base):
    """Concrete subclasses defined in the package, at any depth."""
    found = set()
    for sub in base.__subclasses__():
        found |= final_subclasses(sub)
        if not inspect.isabstract(sub) and sub not in SHARED and sub.__module__.startswith("pyrogrn."):
            found.add(sub)
    return found


LISTS = [
    (Model, MODELS),
    (EdgePrior, EDGE_PRIORS + LOADING_PRIORS),
    (LoadingPrior, LOADING_PRIORS),
    (
        Sampler,
        (*(s for s in SAMPLERS if issubclass(s, Sampler)), Amortised, Pruned),
    ),  # those with tests of their own (test_amortised.py, test_pruned.py)
]


@pytest.mark.parametrize(("base", "listed"), LISTS)
def test_every_class_is_listed(base, listed):
    assert final_subclasses(base) == set(listed), "add the class to the tuple in its package's __init__.py"
    assert len(listed) == len(set(listed))


def test_every_model_has_edges_or_programs():
    assert {*NETWORKS, *PROGRAMS, Phoenix} == set(MODELS), "add the model to `HOW`"
    assert set(HOW) == {*NETWORKS, *PROGRAMS}
    assert all(issubclass(m, FactorModel) for m in PROGRAMS)
    assert all(p.axes == ("factor", "gene") for p in LOADING_PRIORS)


def test_classes_are_abstract_or_final():
    for listed in (MODELS, EDGE_PRIORS, LOADING_PRIORS, SAMPLERS):
        for one in listed:
            assert not [s for s in one.__subclasses__() if s.__module__.startswith("pyrogrn.")], f"{one} is not final"


def test_engines_have_names_and_claims():
    names = [engine.name for engine in (*GUIDES, *SAMPLERS)]
    assert len(set(names)) == len(names)
    assert all(isinstance(engine.calibrated, bool) for engine in (*GUIDES, *SAMPLERS))
    assert {e.name for e in (*GUIDES, *SAMPLERS) if e.calibrated} == {"blocked", "gibbs", "nuts", "sparse"}


# ---------------------------------------------------------------- sites and draws


@every_case
def test_a_model_declares_its_sites(model_class, prior, small):
    for model in HOW[model_class].shapes(model_class, prior, small):
        trace = poutine.trace(model).get_trace()
        latent = {
            name
            for name, site in trace.nodes.items()
            if site["type"] == "sample" and not site["is_observed"] and type(site["fn"]).__name__ != "_Subsample"
        }
        assert latent == set(model.dims)
        assert set().union(*model.dims.values()) <= set(model.coords)
        for name, dims in model.dims.items():
            shape = [len(model.coords[d]) for d in dims]
            assert trace.nodes[name]["value"].numel() == np.prod(shape, dtype=int), name


@every_case
def test_draws_have_the_declared_dims(model_class, prior, small):
    how = HOW[model_class]
    model = how.rich(model_class, prior, small)
    for guide in how.engines(model):
        posterior = briefly(model, guide)
        chains = len(posterior.draws["W"])
        for name, dims in model.dims.items():
            if name == "inclusion" and name not in posterior.draws:
                # summed out: no Gibbs sampler for a network that is not a regression, or for this prior
                assert model_class in PROGRAMS or not isinstance(default_guide(model), Gibbs)
                continue
            assert posterior.draws[name].shape == (chains, 12, *(len(model.coords[d]) for d in dims)), name
            assert np.isfinite(posterior.draws[name]).all(), name
        how.check_table(posterior)


@every_case
def test_the_same_seed_gives_the_same_draws(model_class, prior, small):
    how = HOW[model_class]
    one, again, other = (short_fit(how.plain(model_class, prior, small), seed) for seed in (1, 1, 2))
    for name in one.draws:
        np.testing.assert_array_equal(one.draws[name], again.draws[name])
    assert not np.array_equal(one.draws["W"], other.draws["W"])


@every_case
def test_a_posterior_comes_back_from_disk(model_class, prior, small, tmp_path):
    how = HOW[model_class]
    posterior = short_fit(how.plain(model_class, prior, small))
    posterior.save(tmp_path / "fit")
    again = Posterior.load(tmp_path / "fit")
    pd.testing.assert_frame_equal(how.table(posterior), how.table(again))
    assert again.model.dims == posterior.model.dims
    for name in posterior.draws:
        np.testing.assert_array_equal(posterior.draws[name], again.draws[name])


@every_case
def test_a_double_model_computes_in_double(model_class, prior, small):
    for model in HOW[model_class].shapes(model_class, prior, small):
        model = model.double()
        for name, site in poutine.trace(model).get_trace().nodes.items():
            if site["type"] == "sample" and torch.is_tensor(site["value"]) and site["value"].is_floating_point():
                assert site["value"].dtype == torch.float64, name
        family = MapEstimate()(model, None, 2)
        assert elbo(model, family, None, 2).dtype == torch.float64
        if issubclass(prior, SpikeSlab) and issubclass(model_class, RegressionNetwork):  # what `GibbsKernel` samples
            kernel = GibbsKernel(model, num_chains=2)
            kernel.setup(1)
            for name, value in kernel.sample(kernel.initial_params).items():
                assert value.dtype == torch.float64, name


@every_case
def test_single_and_double_agree(model_class, prior, small):
    for model in HOW[model_class].shapes(model_class, prior, small):
        values = prior_values(model)
        single, _ = log_joint(model, values, None, 1)
        double, _ = log_joint(model.double(), {n: v.double() for n, v in values.items()}, None, 1)
        assert float(single) == pytest.approx(float(double), rel=2e-4)


# ---------------------------------------------------------------- data


@cases_of(LinearNetwork, FactorBox, CellBox, *PROGRAMS)
def test_minibatches_estimate_the_objective_without_bias(model_class, prior, small):
    model, data = HOW[model_class].in_batches(model_class, prior, small)
    values = prior_values(model)
    if model_class in (LinearNetwork, FactorBox):  # integrated out of its statistics, not of its cells
        contexts = len(model.contexts)
        values["intercept"] = torch.zeros((1, contexts, 1, 7) if contexts > 1 else (1, 1, 7), dtype=torch.float64)
    whole, _ = log_joint(model, values, data, 1)
    if model_class is CellBox:  # nothing is integrated out: the data it was made from are a batch like any other
        assert float(log_joint(model, values, None, 1)[0]) == pytest.approx(float(whole), rel=1e-12)
    size = data.num_cells // 4
    order = torch.randperm(data.num_cells, generator=torch.Generator().manual_seed(0))
    parts = []
    for rows, batch in zip(order.split(size), data.minibatches(size, torch.Generator().manual_seed(0)), strict=True):
        own = {"x": values["x"][:, rows]} if "x" in values else {}  # (draw, cell, ...): rows of the batch's cells
        parts.append(log_joint(model, values | own, batch, 1)[0])
    parts = torch.stack(parts)
    assert float(parts.mean()) == pytest.approx(float(whole), rel=1e-9)
    assert float(parts.std()) > 0


# log ratios have units and a zero, so that neither is free in CellBox; levels have a zero, so that FactorBox does not
# take offsets
@cases_of(LinearNetwork, FactorBox)
def test_units_and_offsets_of_genes_do_not_matter(model_class, prior, tiny_data):
    how = HOW[model_class]
    factor = torch.tensor([10.0, 1.0, 0.1, 3.0, 1.0, 7.0, 100.0], dtype=torch.float64)
    data = how.form(tiny_data.to(dtype=torch.float64))
    moved = replace(data, matrix=data.X * factor - (0 if model_class is FactorBox else 50))
    one, other = (how.build(model_class, prior, d).double() for d in (data, moved))
    values = prior_values(one)
    a, b = float(log_joint(one, values, None, 1)[0]), float(log_joint(other, values, None, 1)[0])
    if model_class is FactorBox:  # a density of levels, per unit of level
        b += data.num_cells * float(factor.log().sum())
    assert a == pytest.approx(b, rel=1e-6)


@cases_of(*NETWORKS)
def test_permuting_genes_permutes_edges(model_class, prior, tiny_data):
    how = HOW[model_class]
    order = [4, 2, 6, 0, 5, 1, 3]
    tfs = [1, 2, 0]
    genes = [tiny_data.genes[i] for i in order]
    data = how.form(tiny_data)
    turned = data.select_genes(genes)
    turned = turned.match_tfs([tiny_data.tfs[i] for i in tfs]) if data.tfs == tiny_data.tfs else turned
    one, other = how.build(model_class, prior, data), how.build(model_class, prior, turned)
    values = prior_values(one)
    moved = {}
    tfs = [one.tfs.index(t) for t in other.tfs]
    for name, value in values.items():
        dims = one.dims[name]
        plates = one.plate_of(name)
        event = [d for d in dims if d not in plates]
        for dim, index in (("target", order), ("gene", order), ("tf", tfs)):
            if dim in dims:
                axis = plates[dim] - len(event) if dim in plates else event.index(dim) - len(event)
                value = value.index_select(axis, torch.tensor(index))
        moved[name] = value
    a, b = log_joint(one, values, None, 1)[0], log_joint(other, moved, None, 1)[0]
    assert float(a) == pytest.approx(float(b), rel=1e-5)


def test_permuting_genes_permutes_sampled_edges(tiny_data):
    """Inclusion of both orders within 5 standard errors from 16 chains each: 18 comparisons."""
    turned = tiny_data.select_genes(tiny_data.genes[::-1]).match_tfs(tiny_data.tfs[::-1])
    found = []
    for data in (tiny_data, turned):
        model = HOW[LinearNetwork].build(LinearNetwork, SpikeSlab, data)
        posterior = fit(model, guide=Gibbs(num_chains=16, num_warmup=40, num_samples=80))
        chains = posterior.attributes["chain_inclusion"]
        found.append((chains.mean(0), chains.std(0, ddof=1) / 4))
    (a, error_a), (b, error_b) = found
    gap, error = np.abs(a - b[::-1, ::-1]), np.sqrt(error_a**2 + error_b[::-1, ::-1] ** 2)
    np.testing.assert_array_less(gap, 5 * error + 1e-3)


@pytest.mark.parametrize("edge_prior", [p for p in EDGE_PRIORS if p is not HardMask])
def test_a_prior_network_without_information_equals_none(edge_prior, tiny_data):
    """A source that is next to sure of nothing changes the density only by the prior of its own coefficient."""
    build = HOW[LinearNetwork].build
    without = build(LinearNetwork, edge_prior, tiny_data).double()
    informed = build(LinearNetwork, edge_prior, tiny_data, complete_network(tiny_data, 0.001)).double()
    values = prior_values(without)
    trust = torch.full((1, 1, 1, 1), 2.0, dtype=torch.float64)
    a, _ = log_joint(without, values, None, 1)
    b, trace = log_joint(informed, values | {"trust": trust}, None, 1)
    # the evidence is 0.002 on 18 edges: half of that in log scale, or that in log-odds
    assert float(b - trace.nodes["trust"]["log_prob"]) == pytest.approx(float(a), abs=18 * 0.002 * 60)


def test_sampling_with_a_prior_network_without_information_equals_none(tiny_data):
    found = []
    for networks in (None, complete_network(tiny_data, 0.001)):
        model = HOW[LinearNetwork].build(LinearNetwork, SpikeSlab, tiny_data, networks)
        posterior = fit(model, guide=Gibbs(num_chains=16, num_warmup=40, num_samples=80), seed=len(found))
        chains = posterior.attributes["chain_inclusion"]
        found.append((chains.mean(0), chains.std(0, ddof=1) / 4))
    (a, error_a), (b, error_b) = found
    np.testing.assert_array_less(np.abs(a - b), 5 * np.sqrt(error_a**2 + error_b**2) + 1e-3)


def with_a_strong_edge(model_class):
    """Data with one edge, B to E."""
    generator = torch.Generator().manual_seed(0)
    if model_class is CellBox:  # every node has an input of its own, what more E does is the edge
        inputs = torch.randn(20, 6, generator=generator)
        X = torch.tanh(inputs)
        X[:, 4] = torch.tanh(inputs[:, 4] + 1.5 * X[:, 1])
        X = X + 0.05 * torch.randn(20, 6, generator=generator)
        return ExpressionData(X, tuple("ABCDEF")).with_inputs(pd.DataFrame(inputs.numpy(), columns=list("ABCDEF")))
    X = torch.randn(150, 6, generator=generator)
    X[:, 4] += 1.5 * X[:, 1]
    return HOW[model_class].form(ExpressionData(X, tuple("ABCDEF"), tuple("AB")))


# CellBox with its own default family: the widths of the others are made for standardised weights
@cases_of(LinearNetwork, FactorBox, besides=[(CellBox, Laplace)])
def test_a_strong_edge_is_found(model_class, prior):
    model = HOW[model_class].build(model_class, prior, with_a_strong_edge(model_class))
    if model_class is CellBox:
        guide, steps, optimizer = NARROW, 150, Adam(lr=0.05)
    else:
        guide, steps, optimizer = default_guide(model), 800, None
    guide = Gibbs(num_chains=4, num_warmup=60, num_samples=60) if isinstance(guide, Gibbs) else guide
    table = fit(model, guide=guide, optimizer=optimizer, num_steps=steps, restarts=1, num_draws=200).edges()
    first = table.sort_values("weight", key=abs, ascending=False).iloc[0]
    assert (first["source"], first["target"]) == ("B", "E")
    # only the product with the gain is seen by CellBox, and that is a priori four times the response
    assert first["lower"] > (0.25 if model_class is CellBox else 0.5)
    assert first["inclusion"] > 0.95
    assert first["lfsr"] < 0.01


@cases_of(*PROGRAMS)
def test_a_strong_program_is_found(model_class, prior):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(150, 8, generator=generator)
    X[:, :4] += 2.0 * torch.randn(150, 1, generator=generator)
    model = model_class.from_data(ExpressionData(X, tuple("ABCDEFGH")), num_factors=1, loading_prior=prior())
    table = fit(model, num_draws=100, restarts=2).programs().set_index("gene")
    assert set(table.index[:4]) == set("ABCD")
    assert (table.loc[list("ABCD"), "lower"] > 0.3).all()
    assert (table.loc[list("ABCD"), "lfsr"] < 0.01).all()


# -- refusals ----


@cases_of(*NETWORKS)
def test_bad_input_is_refused_by_name(model_class, prior, tiny_data):
    how = HOW[model_class]
    data = how.form(tiny_data)
    elsewhere = pd.DataFrame({"source": ["SOX2"], "target": ["NANOG"], "probability": [0.9]})
    with pytest.raises(ValueError, match=r"SOX2|NANOG") as caught:
        how.build(model_class, prior, data, {"motif": PriorNetwork.from_edges(elsewhere, name="motif")})
    assert "\n" not in str(caught.value)
    if model_class is CellBox:  # nodes that do not respond are data too, and its targets follow from the kinds of nodes
        return
    X = tiny_data.X.clone()
    X[:, 5] = 1.0
    with pytest.raises(ValueError, match=r"1 constant gene: \['G0005'\]"):
        how.build(model_class, prior, how.form(ExpressionData(X, tiny_data.genes, tiny_data.tfs)))
    with pytest.raises(ValueError, match="'QQ'"):
        model_class.from_data(data, edge_prior=SpikeSlab(), targets=["G0004", "QQ"])


@cases_of(*PROGRAMS)
def test_bad_input_of_programs_is_refused_by_name(model_class, prior, small):
    how, data = HOW[model_class], small["programs"].data
    X = data.X.clone()
    X[:, 5] = 1.0
    with pytest.raises(ValueError, match=r"1 genes do not vary within any group: \['G0005'\]") as caught:
        how.build(model_class, prior, ExpressionData(X, data.genes))
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="expected fewer than") as caught:
        model_class.from_data(data, num_factors=10, loading_prior=prior())
    assert "\n" not in str(caught.value)

"""What every model must do with every prior: a class listed in `MODELS`, `EDGE_PRIORS` or `LOADING_PRIORS`."""

import inspect
from dataclasses import replace

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from pyro import poutine
from pyrogrn.inference import (
    GUIDES,
    SAMPLERS,
    Amortised,
    Blocked,
    Gibbs,
    GibbsKernel,
    MapEstimate,
    MeanField,
    Posterior,
    default_guide,
    fit,
)
from pyrogrn.inference.elbo import elbo, log_joint
from pyrogrn.inference.samplers import Sampler
from pyrogrn.models import MODELS, ExpressionData, FactorModel, Model
from pyrogrn.models.simulators import simulate_linear, simulate_muvi
from pyrogrn.priors import (
    EDGE_PRIORS,
    LOADING_PRIORS,
    EdgePrior,
    HardMask,
    LoadingPrior,
    PriorNetwork,
    SpikeSlab,
)

pytestmark = pytest.mark.usefixtures("seeded")

NETWORKS = [m for m in MODELS if m.axes == ("tf", "target")]
PROGRAMS = [m for m in MODELS if m.axes == ("factor", "gene")]
CASES = [pytest.param(m, p, id=f"{m.__name__}-{p.__name__}") for m in NETWORKS for p in EDGE_PRIORS]
every_case = pytest.mark.parametrize(("model_class", "edge_prior"), CASES)
PROGRAM_CASES = [pytest.param(m, p, id=f"{m.__name__}-{p.__name__}") for m in PROGRAMS for p in LOADING_PRIORS]
every_program_case = pytest.mark.parametrize(("model_class", "loading_prior"), PROGRAM_CASES)

CHEAP = {"num_chains": 2, "num_warmup": 10, "num_samples": 12}


def complete_network(data, probability=0.9):
    """Every possible edge, with one confidence."""
    pairs = [(s, t) for s in data.tfs for t in data.genes if s != t]
    frame = pd.DataFrame(pairs, columns=["source", "target"]).assign(probability=probability)
    return {"complete": PriorNetwork.from_edges(frame, name="complete")}


def build(model_class, edge_prior, data, networks=None):
    """The model on all genes of ``data``; a hard mask gets a prior network that forbids nothing."""
    if edge_prior is HardMask and networks is None:
        networks = complete_network(data)
    return model_class.from_data(data, edge_prior=edge_prior(), networks=networks)


def short_fit(model, seed=0):
    guide = default_guide(model)
    guide = Gibbs(**CHEAP) if isinstance(guide, Gibbs) else guide
    return fit(model, guide=guide, num_steps=40, num_draws=12, restarts=2, seed=seed)


def prior_values(model, num_draws=1):
    """Continuous sites at a prior draw, with draws left of all plates."""
    with pyro.plate("draws", num_draws, dim=-(model.max_plate_nesting + 1)):
        nodes = poutine.trace(model).get_trace().nodes
    return {n: nodes[n]["value"] for n in model.dims if not nodes[n]["fn"].has_enumerate_support}


# ---------------------------------------------------------------- the lists are complete


SHARED = {FactorModel}  # what PPCA and MuVI have in common: not abstract, and not a model to fit


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
    (Sampler, (*SAMPLERS, Amortised)),  # needs weights and cells: tests of its own (test_amortised.py)
]


@pytest.mark.parametrize(("base", "listed"), LISTS)
def test_every_class_is_listed(base, listed):
    assert final_subclasses(base) == set(listed), "add the class to the tuple in its package's __init__.py"
    assert len(listed) == len(set(listed))


def test_every_model_has_edges_or_programs():
    assert set(NETWORKS) | set(PROGRAMS) == set(MODELS)
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
    assert {e.name for e in (*GUIDES, *SAMPLERS) if e.calibrated} == {"blocked", "gibbs", "nuts"}


# ---------------------------------------------------------------- sites and draws


@every_case
def test_a_model_declares_its_sites(model_class, edge_prior, rich):
    for data in (rich.data, simulate_linear(num_genes=5, num_tfs=2, num_cells=20).data):
        model = build(model_class, edge_prior, data)
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
def test_draws_have_the_declared_dims(model_class, edge_prior, rich):
    model = build(model_class, edge_prior, rich.data)
    posterior = short_fit(model)
    for name, dims in model.dims.items():
        assert posterior.draws[name].shape == (2, 12, *(len(model.coords[d]) for d in dims)), name
        assert np.isfinite(posterior.draws[name]).all(), name
    off = ~model.edge_prior.allowed.numpy()
    assert np.abs(posterior.draws["W"][..., off]).max() == 0, "self-edges do not exist"
    table = posterior.edges()
    assert len(table) == (~off).sum()
    assert not (table["source"] == table["target"]).any()
    assert table["inclusion"].between(0, 1).all()
    assert (table["lower"] <= table["upper"]).all()


@every_case
def test_the_same_seed_gives_the_same_draws(model_class, edge_prior, tiny_data):
    one, again, other = (short_fit(build(model_class, edge_prior, tiny_data), seed) for seed in (1, 1, 2))
    for name in one.draws:
        np.testing.assert_array_equal(one.draws[name], again.draws[name])
    assert not np.array_equal(one.draws["W"], other.draws["W"])


@every_case
def test_a_posterior_comes_back_from_disk(model_class, edge_prior, tiny_data, tmp_path):
    posterior = short_fit(build(model_class, edge_prior, tiny_data))
    posterior.save(tmp_path / "fit")
    again = Posterior.load(tmp_path / "fit")
    pd.testing.assert_frame_equal(posterior.edges(), again.edges())
    for name in posterior.draws:
        np.testing.assert_array_equal(posterior.draws[name], again.draws[name])


@every_case
def test_a_double_model_computes_in_double(model_class, edge_prior, rich):
    model = build(model_class, edge_prior, rich.data).double()
    for name, site in poutine.trace(model).get_trace().nodes.items():
        if site["type"] == "sample" and torch.is_tensor(site["value"]) and site["value"].is_floating_point():
            assert site["value"].dtype == torch.float64, name
    family = MapEstimate()(model, None, 2)
    bound = elbo(model, family, None, 2)
    assert bound.dtype == torch.float64
    if issubclass(edge_prior, SpikeSlab):
        kernel = GibbsKernel(model, num_chains=2)
        kernel.setup(1)
        for name, value in kernel.sample(kernel.initial_params).items():
            assert value.dtype == torch.float64, name


@every_case
def test_single_and_double_agree(model_class, edge_prior, rich):
    model = build(model_class, edge_prior, rich.data)
    values = prior_values(model)
    single, _ = log_joint(model, values, None, 1)
    double, _ = log_joint(model.double(), {n: v.double() for n, v in values.items()}, None, 1)
    assert float(single) == pytest.approx(float(double), rel=2e-4)


# ---------------------------------------------------------------- data


@every_case
def test_minibatches_estimate_the_objective_without_bias(model_class, edge_prior, rich):
    data = rich.data.subset(np.arange(80))  # batches of one size, so that their plain mean is unbiased
    model = build(model_class, edge_prior, data).double()
    data = data.to(dtype=torch.float64)
    values = prior_values(model)
    contexts = len(model.contexts)
    values["intercept"] = torch.zeros((1, contexts, 1, 7) if contexts > 1 else (1, 1, 7), dtype=torch.float64)
    whole, _ = log_joint(model, values, data, 1)
    batches = data.minibatches(16, torch.Generator().manual_seed(0))
    parts = torch.stack([log_joint(model, values, batch, 1)[0] for batch in batches])
    assert float(parts.mean()) == pytest.approx(float(whole), rel=1e-9)
    assert float(parts.std()) > 0


@every_case
def test_units_and_offsets_of_genes_do_not_matter(model_class, edge_prior, tiny_data):
    factor = torch.tensor([10.0, 1.0, 0.1, 3.0, 1.0, 7.0, 100.0], dtype=torch.float64)
    X = tiny_data.X.double()
    data = [ExpressionData(x, tiny_data.genes, tiny_data.tfs, dtype=torch.float64) for x in (X, X * factor - 50)]
    one, other = (build(model_class, edge_prior, d).double() for d in data)
    values = prior_values(one)
    a, b = log_joint(one, values, None, 1)[0], log_joint(other, values, None, 1)[0]
    assert float(a) == pytest.approx(float(b), rel=1e-6)


@every_case
def test_permuting_genes_permutes_edges(model_class, edge_prior, tiny_data):
    order = [4, 2, 6, 0, 5, 1, 3]
    tfs = [1, 2, 0]
    genes = [tiny_data.genes[i] for i in order]
    turned = tiny_data.select_genes(genes).match_tfs([tiny_data.tfs[i] for i in tfs])
    one, other = build(model_class, edge_prior, tiny_data), build(model_class, edge_prior, turned)
    values = prior_values(one)
    moved = {}
    for name, value in values.items():
        dims = one.dims[name]
        value = value[..., order] if dims[-1:] == ("target",) else value
        moved[name] = value[..., tfs, :] if "tf" in dims else value
    a, b = log_joint(one, values, None, 1)[0], log_joint(other, moved, None, 1)[0]
    assert float(a) == pytest.approx(float(b), rel=1e-5)


def test_permuting_genes_permutes_sampled_edges(tiny_data):
    """Inclusion of both orders within 5 standard errors from 16 chains each: 18 comparisons."""
    turned = tiny_data.select_genes(tiny_data.genes[::-1]).match_tfs(tiny_data.tfs[::-1])
    found = []
    for data in (tiny_data, turned):
        model = build(NETWORKS[0], SpikeSlab, data)
        posterior = fit(model, guide=Gibbs(num_chains=16, num_warmup=40, num_samples=80))
        chains = posterior.attributes["chain_inclusion"]
        found.append((chains.mean(0), chains.std(0, ddof=1) / 4))
    (a, error_a), (b, error_b) = found
    gap, error = np.abs(a - b[::-1, ::-1]), np.sqrt(error_a**2 + error_b[::-1, ::-1] ** 2)
    np.testing.assert_array_less(gap, 5 * error + 1e-3)


@pytest.mark.parametrize("edge_prior", [p for p in EDGE_PRIORS if p is not HardMask])
def test_a_prior_network_without_information_equals_none(edge_prior, tiny_data):
    """A source that is next to sure of nothing changes the density only by the prior of its own coefficient."""
    without = build(NETWORKS[0], edge_prior, tiny_data).double()
    informed = build(NETWORKS[0], edge_prior, tiny_data, complete_network(tiny_data, 0.001)).double()
    values = prior_values(without)
    trust = torch.full((1, 1, 1, 1), 2.0, dtype=torch.float64)
    a, _ = log_joint(without, values, None, 1)
    b, trace = log_joint(informed, values | {"trust": trust}, None, 1)
    # the evidence is 0.002 on 18 edges: half of that in log scale, or that in log-odds
    assert float(b - trace.nodes["trust"]["log_prob"]) == pytest.approx(float(a), abs=18 * 0.002 * 60)


def test_sampling_with_a_prior_network_without_information_equals_none(tiny_data):
    found = []
    for networks in (None, complete_network(tiny_data, 0.001)):
        model = build(NETWORKS[0], SpikeSlab, tiny_data, networks)
        posterior = fit(model, guide=Gibbs(num_chains=16, num_warmup=40, num_samples=80), seed=len(found))
        chains = posterior.attributes["chain_inclusion"]
        found.append((chains.mean(0), chains.std(0, ddof=1) / 4))
    (a, error_a), (b, error_b) = found
    np.testing.assert_array_less(np.abs(a - b), 5 * np.sqrt(error_a**2 + error_b**2) + 1e-3)


@every_case
def test_a_strong_edge_is_found(model_class, edge_prior):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(150, 6, generator=generator)
    X[:, 4] += 1.5 * X[:, 1]
    data = ExpressionData(X, tuple("ABCDEF"), tuple("AB"))
    model = build(model_class, edge_prior, data)
    guide = default_guide(model)
    guide = Gibbs(num_chains=4, num_warmup=60, num_samples=60) if isinstance(guide, Gibbs) else guide
    table = fit(model, guide=guide, num_steps=800, restarts=1, num_draws=200).edges()
    first = table.sort_values("weight", key=abs, ascending=False).iloc[0]
    assert (first["source"], first["target"]) == ("B", "E")
    assert first["lower"] > 0.5
    assert first["inclusion"] > 0.95
    assert first["lfsr"] < 0.01


# ---------------------------------------------------------------- refusals


@every_case
def test_bad_input_is_refused_by_name(model_class, edge_prior, tiny_data):
    X = tiny_data.X.clone()
    X[:, 5] = 1.0
    with pytest.raises(ValueError, match=r"1 constant genes: \['G0005'\]"):
        build(model_class, edge_prior, ExpressionData(X, tiny_data.genes, tiny_data.tfs))
    elsewhere = pd.DataFrame({"source": ["SOX2"], "target": ["NANOG"], "probability": [0.9]})
    with pytest.raises(ValueError, match=r"SOX2|NANOG") as caught:
        build(model_class, edge_prior, tiny_data, {"motif": PriorNetwork.from_edges(elsewhere, name="motif")})
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="'QQ'"):
        model_class.from_data(tiny_data, edge_prior=SpikeSlab(), targets=["G0004", "QQ"])


# ---------------------------------------------------------------- gene programs


@pytest.fixture(scope="module")
def programs():
    """Cells of two groups with two covariates, programs with gene sets."""
    return simulate_muvi(
        num_genes=10, num_cells=40, num_sets=2, set_size=4, num_covariates=2, correlation=0.4, num_groups=2, seed=5
    )


def build_programs(model_class, loading_prior, data, gene_sets=None, **options):
    if gene_sets is not None:
        options |= {"gene_sets": {"sets": gene_sets}, "min_overlap": 2}
    return model_class.from_data(data, num_factors=2, loading_prior=loading_prior(), **options)


def every_program_model(model_class, loading_prior, simulation):
    """All shapes of the model: integrated or not, with gene sets where it takes them."""
    data = simulation.data
    yield build_programs(model_class, loading_prior, data)
    yield build_programs(model_class, loading_prior, data, integrate=False)
    yield build_programs(model_class, loading_prior, data, factor_effects=False)
    if "gene_sets" in inspect.signature(model_class).parameters:
        yield build_programs(model_class, loading_prior, data, simulation.gene_sets)
        yield build_programs(model_class, loading_prior, data, simulation.gene_sets, integrate=False)


@every_program_case
def test_a_program_model_declares_its_sites(model_class, loading_prior, programs):
    for model in every_program_model(model_class, loading_prior, programs):
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


@every_program_case
@pytest.mark.parametrize("guide", [Blocked(), MeanField(), Gibbs(num_chains=2, num_warmup=3, num_samples=12)])
def test_draws_of_programs_have_the_declared_dims(model_class, loading_prior, guide, programs):
    model = build_programs(model_class, loading_prior, programs.data)
    posterior = fit(model, guide=guide, num_steps=30, num_draws=12, restarts=2)
    chains = len(posterior.draws["W"])
    assert 1 <= chains <= 2  # restarts that end far below the best are left out
    for name, dims in model.dims.items():
        if name == "inclusion" and name not in posterior.draws:
            continue  # summed out
        assert posterior.draws[name].shape == (chains, 12, *(len(model.coords[d]) for d in dims)), name
        assert np.isfinite(posterior.draws[name]).all(), name
    table = posterior.programs()
    assert len(table) == 20
    assert (table["lower"] <= table["upper"]).all()
    assert table["sign_probability"].between(0.5, 1).all()
    assert table["program"].drop_duplicates().tolist() == list(model.factors)
    effects = posterior.covariate_effects()
    assert set(effects["covariate"]) == set(model.covariates)


@every_program_case
def test_the_same_seed_gives_the_same_programs(model_class, loading_prior, programs):
    model = build_programs(model_class, loading_prior, programs.data)
    one, again, other = (short_fit(model, seed) for seed in (1, 1, 2))
    for name in one.draws:
        np.testing.assert_array_equal(one.draws[name], again.draws[name])
    assert not np.array_equal(one.draws["W"], other.draws["W"])


@every_program_case
def test_programs_come_back_from_disk(model_class, loading_prior, programs, tmp_path):
    posterior = short_fit(build_programs(model_class, loading_prior, programs.data))
    posterior.save(tmp_path / "fit")
    again = Posterior.load(tmp_path / "fit")
    pd.testing.assert_frame_equal(posterior.programs(), again.programs())
    assert again.model.dims == posterior.model.dims
    for name in posterior.draws:
        np.testing.assert_array_equal(posterior.draws[name], again.draws[name])


@every_program_case
def test_a_double_program_model_computes_in_double(model_class, loading_prior, programs):
    for model in every_program_model(model_class, loading_prior, programs):
        model = model.double()
        for name, site in poutine.trace(model).get_trace().nodes.items():
            if site["type"] == "sample" and torch.is_tensor(site["value"]) and site["value"].is_floating_point():
                assert site["value"].dtype == torch.float64, name
        family = MapEstimate()(model, None, 2)
        assert elbo(model, family, None, 2).dtype == torch.float64


@every_program_case
def test_single_and_double_programs_agree(model_class, loading_prior, programs):
    for model in every_program_model(model_class, loading_prior, programs):
        values = prior_values(model)
        single, _ = log_joint(model, values, None, 1)
        double, _ = log_joint(model.double(), {n: v.double() for n, v in values.items()}, None, 1)
        assert float(single) == pytest.approx(float(double), rel=2e-4)


@every_program_case
def test_minibatches_of_cells_estimate_the_objective_without_bias(model_class, loading_prior, programs):
    model = build_programs(model_class, loading_prior, programs.data, integrate=False).double()
    data = programs.data.to(dtype=torch.float64)
    values = prior_values(model)
    x = values.pop("x")  # (draw, cell, ...): each batch takes the rows of its own cells
    whole, _ = log_joint(model, values | {"x": x}, data, 1)
    parts = []
    for rows in torch.randperm(40, generator=torch.Generator().manual_seed(0)).split(8):
        batch = replace(data.subset(rows.numpy()), population=40)
        parts.append(log_joint(model, values | {"x": x[:, rows]}, batch, 1)[0])
    parts = torch.stack(parts)
    assert float(parts.mean()) == pytest.approx(float(whole), rel=1e-9)
    assert float(parts.std()) > 0


@every_program_case
def test_a_strong_program_is_found(model_class, loading_prior):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(150, 8, generator=generator)
    X[:, :4] += 2.0 * torch.randn(150, 1, generator=generator)
    model = model_class.from_data(ExpressionData(X, tuple("ABCDEFGH")), num_factors=1, loading_prior=loading_prior())
    table = fit(model, num_draws=100, restarts=2).programs().set_index("gene")
    assert set(table.index[:4]) == set("ABCD")
    assert (table.loc[list("ABCD"), "lower"] > 0.3).all()
    assert (table.loc[list("ABCD"), "lfsr"] < 0.01).all()


@every_program_case
def test_bad_input_of_programs_is_refused_by_name(model_class, loading_prior, programs):
    data = programs.data
    X = data.X.clone()
    X[:, 5] = 1.0
    with pytest.raises(ValueError, match=r"1 genes do not vary within any group: \['G0005'\]") as caught:
        build_programs(model_class, loading_prior, ExpressionData(X, data.genes))
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="expected fewer than") as caught:
        model_class.from_data(data, num_factors=10, loading_prior=loading_prior())
    assert "\n" not in str(caught.value)

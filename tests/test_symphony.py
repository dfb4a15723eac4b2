"""Symphony: expression and evidence on the edges."""

import itertools
import math

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from pyro import poutine
from pyrogrn.inference import Blocked, Gibbs, MeanField, Posterior, default_guide, fit
from pyrogrn.inference.gibbs.evidence import EvidenceKernel, lists_given, scores_given
from pyrogrn.inference.variational.elbo import log_joint
from pyrogrn.models import LinearNetwork, Symphony
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import HardMask, LogitNormal, Normal, PriorNetwork, SpikeSlab, read_scores
from pyrogrn.priors.evidence import list_log_prob, score_log_prob
from scipy import stats

pytestmark = pytest.mark.usefixtures("seeded")
CHEAP = Gibbs(num_chains=2, num_warmup=10, num_samples=12)


def scores_of(simulation, shift=2.0, seed=0):
    present = simulation.present.numpy()
    values = shift * present + np.random.default_rng(seed).normal(size=present.shape)
    return pd.DataFrame(values, index=list(simulation.data.tfs), columns=list(simulation.data.genes))


def list_of(simulation, seed=0):
    rng = np.random.default_rng(seed)
    data, present = simulation.data, simulation.present.numpy()
    chance = np.where(present, 0.7, 0.1)
    pairs = [
        (t, g)
        for (i, t), (j, g) in itertools.product(enumerate(data.tfs), enumerate(data.genes))
        if t != g and rng.random() < chance[i, j]
    ]
    return PriorNetwork.from_edges(pd.DataFrame(pairs, columns=["source", "target"]), name="list")


@pytest.fixture(scope="module")
def everything(tiny):
    """Two profiles, one of which lacks a regulator, and a list."""
    second = scores_of(tiny, seed=1)
    second.iloc[1] = np.nan
    return {"access": scores_of(tiny), "other": second, "list": list_of(tiny)}


def parameters(model, seed=0, draws=()):
    """Values of the parameters of the evidence, as a trace has them."""
    rng = np.random.default_rng(seed)
    number, lists = len(model.profiles), len(model.lists)
    tensor = lambda v: torch.tensor(v, dtype=model.constant.dtype)
    return {
        "absent_score": tensor(rng.normal(size=(*draws, number))),
        "score_shift": tensor(rng.exponential(size=(*draws, number))),
        "score_sd": tensor(0.5 + rng.random((*draws, number))),
        "list_logit": tensor(rng.normal(size=(*draws, lists)) - 1),
        "list_shift": tensor(rng.exponential(size=(*draws, lists))),
    } | ({"score_correlation": tensor(0.1 + 0.8 * rng.random(draws))} if number > 1 else {})


# -- densities ----


def test_the_density_of_scores_is_the_multivariate_normal():
    rng = np.random.default_rng(0)
    score, measured = rng.normal(size=(3, 4, 5)), rng.random((3, 4, 5)) < 0.7
    existence = rng.random((4, 5))
    a, shift, sd, r = rng.normal(size=3), rng.exponential(size=3), 0.5 + rng.random(3), 0.4
    tensor = lambda v: torch.tensor(v, dtype=torch.float64)
    found = score_log_prob(
        tensor(existence),
        tensor(score),
        torch.tensor(measured),
        absent=tensor(a),
        shift=tensor(shift),
        sd=tensor(sd),
        correlation=tensor(r),
    )
    for t, g in np.ndindex(4, 5):
        seen = measured[:, t, g]
        covariance = np.outer(sd, sd) * (r + (1 - r) * np.eye(3))
        expected = 0.0
        if seen.any():
            mean = (a + shift * existence[t, g])[seen]
            expected = stats.multivariate_normal(mean, covariance[np.ix_(seen, seen)]).logpdf(score[seen, t, g])
        assert float(found[t, g]) == pytest.approx(float(expected), abs=1e-10)


def test_the_density_of_lists_is_bernoulli_where_they_cover():
    listed, covered = torch.tensor([[[True, False, False]]]), torch.tensor([[[True, True, False]]])
    logit, shift = torch.tensor([-1.0]), torch.tensor([2.0])
    found = list_log_prob(torch.tensor([[1.0, 0.0, 1.0]]), listed, covered, logit=logit, shift=shift)
    p = 1 / (1 + np.exp([-1.0, 1.0]))
    np.testing.assert_allclose(found[0].numpy(), [math.log(p[0]), math.log(1 - p[1]), 0.0], atol=1e-6)


# -- evidence or prior ----


def test_two_normals_make_the_odds_linear_in_the_score(tiny):
    model = Symphony.from_data(tiny.data, evidence={"access": scores_of(tiny)}).double()
    values = parameters(model)
    a, shift, sd = (float(values[n][0]) for n in ("absent_score", "score_shift", "score_sd"))
    expected = shift / sd**2 * (model.score[0] - a - shift / 2) * model.edge_prior.allowed
    torch.testing.assert_close(model.evidence_odds(values), expected)


def test_a_list_is_a_source_whose_trust_is_its_shift(tiny):
    model = Symphony.from_data(tiny.data, evidence={"list": list_of(tiny)}).double()
    values = parameters(model)
    odds, listed = model.evidence_odds(values), model.listed[0] & model.edge_prior.allowed
    rest = model.covered[0] & ~listed
    assert float(odds[listed].mean() - odds[rest].mean()) == pytest.approx(float(values["list_shift"][0]))
    assert float(odds[listed].std()) == pytest.approx(0, abs=1e-9)


def test_evidence_given_its_parameters_is_a_prior_with_the_same_trust(tiny):
    """P(γ | W, Y) of `Symphony` is that of the linear network with P = Y, b = Δ/s² and the intercept moved."""
    raw = scores_of(tiny)
    score = (0.5 + raw / 20).round(3)  # a probability, to the decimals that a source has
    edges = score.rename_axis("source").reset_index().melt("source", var_name="target", value_name="probability")
    edges = edges[edges["source"] != edges["target"]]
    observed = Symphony.from_data(tiny.data, evidence={"access": score}).double()
    network = PriorNetwork.from_edges(edges, name="access")
    informed = LinearNetwork.from_data(tiny.data, networks={"access": network}, edge_prior=SpikeSlab()).double()
    shape = (1, len(tiny.data.tfs), len(tiny.data.genes))
    values = {
        "W": 0.3 * torch.randn(shape, dtype=torch.float64),
        "edge_logit": torch.full((1, 1, 1), -1.5, dtype=torch.float64),
        "slab_scale": torch.full((1, 1, 1), 0.4, dtype=torch.float64),
        "spike_ratio": torch.full((1, 1, 1), 0.2, dtype=torch.float64),
    }
    of_evidence = parameters(observed)
    a, shift, sd = (float(of_evidence[n][0]) for n in ("absent_score", "score_shift", "score_sd"))
    b = shift / sd**2 / float(observed.score_scale[0])
    moved = -shift / sd**2 * (a + shift / 2) - b * float(observed.score_mean[0])
    one = observed.inclusion(values | of_evidence, threshold=0.1)
    trust = torch.full((1, 1, 1, 1), b, dtype=torch.float64)
    other = informed.inclusion(values | {"edge_logit": values["edge_logit"] + moved, "trust": trust}, threshold=0.1)
    np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-4)


def test_an_edge_that_nobody_measured_keeps_its_odds(everything, tiny):
    model = Symphony.from_data(tiny.data, evidence={"other": everything["other"]})
    assert bool((model.evidence_odds(parameters(model))[1] == 0).all())


def test_without_evidence_it_is_the_linear_network(rich):
    one = Symphony.from_data(rich.data).double()
    alike = {"edge_prior": SpikeSlab(unit="sd"), "differences": "normal"}  # of contexts
    other = LinearNetwork.from_data(rich.data, **alike).double()
    assert one.dims == other.dims
    values = {}
    with torch.random.fork_rng():
        nodes = poutine.trace(poutine.infer_config(other, lambda site: {})).get_trace().nodes
    values = {n: nodes[n]["value"][None] for n in other.dims if n != "inclusion"}
    assert float(log_joint(one, values, None, 1)[0]) == pytest.approx(float(log_joint(other, values, None, 1)[0]))


# -- the joint density ----


def test_summing_out_the_edges_is_the_sum_over_all_graphs():
    simulation = simulate_linear(num_genes=5, num_tfs=3, num_cells=30, seed=1)
    evidence = {"access": scores_of(simulation), "again": scores_of(simulation, seed=5), "list": list_of(simulation)}
    model = Symphony.from_data(simulation.data, evidence=evidence, targets=["G0003", "G0004"]).double()
    nodes = poutine.trace(model).get_trace().nodes
    values = {n: nodes[n]["value"] for n in model.dims if n != "inclusion"}
    found = float(log_joint(model, {n: v[None] for n, v in values.items()}, None, 1)[0])
    totals = []
    for graph in itertools.product((0.0, 1.0), repeat=6):
        gate = torch.tensor(graph, dtype=torch.float64).reshape(3, 2)
        trace = poutine.trace(poutine.condition(model, data=values | {"inclusion": gate})).get_trace()
        totals.append(float(trace.log_prob_sum()))
    assert found == pytest.approx(np.logaddexp.reduce(totals), rel=1e-9)


def test_moments_give_the_density_of_the_evidence(everything, tiny):
    """Differences between parameters, given the inclusion variables, as edge by edge."""
    model = Symphony.from_data(tiny.data, evidence=everything).double()
    kernel = EvidenceKernel(model, num_chains=3)
    inclusion = (torch.rand(3, *model.edge_prior.allowed.shape) < 0.4).double() * model.edge_prior.allowed
    found, expected = [], []
    for seed in (1, 2):
        values = parameters(model, seed, (3,))
        scores = scores_given(kernel.moments.scores(inclusion), values)
        found.append(scores + lists_given(kernel.moments.lists(inclusion), values))
        placed = {n: v[:, None, None] for n, v in values.items()}
        expected.append(model.evidence_log_prob(inclusion, placed).sum((1, 2)))
    torch.testing.assert_close(found[1] - found[0], expected[1] - expected[0], rtol=1e-6, atol=1e-6)


def test_gibbs_samples_the_posterior():
    """Against draws from the prior weighted by the likelihood (exact, whatever the sampler): 19 means within five
    standard errors of both, on few cells and four edges so that the weights do not collapse."""
    simulation = simulate_linear(num_genes=4, num_tfs=2, num_cells=9, edge_probability=0.5, seed=3)
    second = scores_of(simulation, seed=1)
    second.iloc[1, 3] = np.nan
    evidence = {"access": scores_of(simulation), "other": second, "list": list_of(simulation)}
    model = Symphony.from_data(simulation.data, evidence=evidence, targets=["G0002", "G0003"])
    posterior = fit(model, guide=Gibbs(num_chains=64, num_warmup=100, num_samples=150))
    with torch.no_grad(), pyro.plate("draws", 800_000, dim=-3):
        trace = poutine.trace(model).get_trace()
    trace.compute_log_prob()
    log_weight = sum(trace.nodes[n]["log_prob"].flatten(1).sum(1) for n in ("X", "Y"))
    weight = torch.softmax(log_weight.double(), 0).numpy()
    assert 1 / np.square(weight).sum() > 400
    for name in model.dims:
        exact = trace.nodes[name]["value"].double().reshape(len(weight), -1).numpy()
        drawn = posterior.draws[name].astype(float).reshape(64, 150, -1).mean(1)  # (chain, element)
        mean = weight @ exact
        error = np.sqrt(np.square(weight[:, None] * (exact - mean)).sum(0) + drawn.var(0, ddof=1) / 64)
        np.testing.assert_array_less(np.abs(drawn.mean(0) - mean), 5 * error, err_msg=name)


def test_gibbs_recovers_the_parameters_of_the_evidence():
    """Thousands of edges, next to no expression: the shape of the scores alone tells edges from the rest."""
    simulation = simulate_linear(num_genes=150, num_tfs=20, num_cells=30, edge_probability=0.2, seed=0)
    score = scores_of(simulation, shift=4.0)
    model = Symphony.from_data(simulation.data, evidence={"access": score})
    posterior = fit(model, guide=Gibbs(num_chains=2, num_warmup=80, num_samples=60))
    scale = float(model.score_scale[0])
    assert float(posterior.draws["score_shift"].mean()) * scale == pytest.approx(4.0, abs=0.25)
    assert float(posterior.draws["score_sd"].mean()) * scale == pytest.approx(1.0, abs=0.1)
    allowed = model.edge_prior.allowed.numpy()
    found = posterior.moments["W"].inclusion[allowed]
    present = simulation.present.numpy()[allowed]
    assert found[present].mean() > 0.8
    assert found[~present].mean() < 0.1


# -- engines, storage, predictions ----


@pytest.mark.parametrize("contexts", [1, 2])
def test_draws_and_disk(everything, tiny, rich, contexts, tmp_path):
    model = Symphony.from_data(tiny.data if contexts == 1 else rich.data, evidence=everything)
    posterior = fit(model, guide=CHEAP)
    for name, dims in model.dims.items():
        assert posterior.draws[name].shape == (2, 12, *(len(model.coords[d]) for d in dims)), name
    posterior.save(tmp_path / "fit")
    again = Posterior.load(tmp_path / "fit")
    pd.testing.assert_frame_equal(posterior.edges(), again.edges())
    assert again.model.coords == model.coords
    assert again.model.evidence_notes == model.evidence_notes
    torch.testing.assert_close(again.model.score, model.score)
    table = again.predict(knockout=[model.tfs[0]], num_draws=5)
    assert len(table) > 0
    assert "log_prior" in posterior.to_datatree().children


def test_the_same_seed_and_a_resumed_chain(everything, tiny):
    model = Symphony.from_data(tiny.data, evidence=everything)
    kernel = EvidenceKernel(model, num_chains=2, seed=3)
    kernel.setup(5)
    state = kernel.initial_params
    for _ in range(8):
        state = kernel.sample(state)
    kept = {k: v.clone() if torch.is_tensor(v) else v for k, v in kernel.snapshot(state).items()}
    other = EvidenceKernel(model, num_chains=2, seed=4)
    other.setup(5)
    resumed = other.restore(kept)
    for _ in range(4):
        state, resumed = kernel.sample(state), other.sample(resumed)
    for name in state:
        assert bool((state[name] == resumed[name]).all()), name


@pytest.mark.parametrize("prior", [SpikeSlab(), Normal(), LogitNormal()])
def test_variational_fits(everything, tiny, prior):
    model = Symphony.from_data(tiny.data, evidence=everything, edge_prior=prior)
    posterior = fit(model, guide=MeanField(), num_steps=30, num_draws=10, restarts=2)
    assert posterior.draws["score_shift"].shape == (2, 10, 2)
    assert posterior.edges()["inclusion"].between(0, 1).all()


def test_engines_that_apply(everything, tiny):
    make = lambda prior: Symphony.from_data(tiny.data, evidence=everything, edge_prior=prior)
    assert isinstance(default_guide(make(SpikeSlab())), Gibbs)
    assert isinstance(default_guide(make(Normal())), MeanField)
    with pytest.raises(ValueError, match="W is not Gaussian given the other sites of Normal"):
        fit(make(Normal()), guide=Blocked())


def test_existence_without_an_inclusion_variable(everything, tiny):
    model = Symphony.from_data(tiny.data, evidence=everything, edge_prior=Normal())
    W = torch.tensor([[0.0, 0.1, -10.0]])
    np.testing.assert_allclose(model.existence({"W": W}).numpy(), [[0.0, 0.5, 1.0]], atol=1e-3)


def test_a_hard_mask_leaves_evidence_outside_alone(everything, tiny):
    data = tiny.data
    pairs = pd.DataFrame({"source": [data.tfs[0]] * 2, "target": ["G0004", "G0005"], "probability": 0.9})
    mask = PriorNetwork.from_edges(pairs, name="mask")
    model = Symphony.from_data(data, evidence=everything, networks={"mask": mask}, edge_prior=HardMask(SpikeSlab()))
    assert int((model.evidence_odds(parameters(model)) != 0).sum()) == 2
    table = fit(model, guide=CHEAP).edges()
    assert len(table) == 2


def test_evidence_helps(tiny):
    """Strong scores, few cells: true edges become likely and false ones do not."""
    simulation = simulate_linear(num_genes=40, num_tfs=6, num_cells=25, edge_probability=0.2, seed=2)
    present, found = simulation.present.numpy(), {}
    for name, evidence in (("none", None), ("scores", {"access": scores_of(simulation, shift=3.0)})):
        model = Symphony.from_data(simulation.data, evidence=evidence)
        p = fit(model, guide=Gibbs(num_chains=2, num_warmup=60, num_samples=60)).moments["W"].inclusion
        allowed = model.edge_prior.allowed.numpy()
        found[name] = p[allowed & present].mean() - p[allowed & ~present].mean()
    assert found["scores"] > found["none"] + 0.2


# -- refusals ----


def test_bad_evidence_is_refused_by_name(everything, tiny):
    data, score = tiny.data, everything["access"]
    make = lambda evidence, **options: Symphony.from_data(data, evidence=evidence, **options)
    with pytest.raises(ValueError, match="evidence 'access': 0 of 7 rows are regulators"):
        make({"access": score.T.rename(index=str.lower)})
    with pytest.raises(ValueError, match="evidence 'access': all 18 scores are 1"):
        make({"access": score * 0 + 1})
    bad = score.copy()
    bad.iloc[0, 5] = np.inf
    with pytest.raises(ValueError, match="evidence 'access': 1 infinite"):
        make({"access": bad})
    with pytest.raises(ValueError, match="evidence 'access': the rows repeat names"):
        make({"access": pd.concat([score, score])})
    with pytest.raises(ValueError, match="evidence 'access': no score"):
        make({"access": score * np.nan})
    with pytest.raises(ValueError, match=r"\['list'\] are both prior networks and evidence"):
        make({"list": everything["list"]}, networks={"list": everything["list"]})
    elsewhere = PriorNetwork.from_edges(pd.DataFrame({"source": ["SOX2"], "target": ["NANOG"]}), name="list")
    with pytest.raises(ValueError, match=r"SOX2|NANOG"):
        make({"list": elsewhere})


def test_scores_are_read_from_both_layouts(everything, tmp_path):
    score = everything["other"]
    score.to_csv(tmp_path / "wide.csv")
    long = score.rename_axis("source").reset_index().melt("source", var_name="target", value_name="score").dropna()
    long.to_csv(tmp_path / "long.tsv.gz", index=False, sep="\t")
    pd.testing.assert_frame_equal(read_scores(tmp_path / "wide.csv"), score)
    again = read_scores(tmp_path / "long.tsv.gz").reindex(index=score.index, columns=score.columns)
    pd.testing.assert_frame_equal(again, score)


def test_bad_files_of_scores_are_refused_by_name(tmp_path):
    for text, expected in (
        ("tf,A\nT,x\n", "columns .'A'. hold no numbers"),
        ("source,target,score\nT,A,1\nT,A,2\n", "1 rows repeat an earlier one, e.g. T -> A"),
        ("tf,A\nT,1\nT,2\n", "1 rows repeat an earlier one, e.g. T;"),
        ("", "not a table of scores"),
        ("tf\nT\n", "no scores"),
    ):
        (tmp_path / "scores.csv").write_text(text)
        with pytest.raises(ValueError, match=expected) as caught:
            read_scores(tmp_path / "scores.csv")
        assert str(caught.value).startswith(str(tmp_path))
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_scores(tmp_path / "nothing.csv")

"""Of which fits a list at a false discovery rate is made, and what is said of the others."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pyrogrn.experiments.report import write_report
from pyrogrn.inference import Amortised, Blocked, Gibbs, MeanField, SparseGibbs, fit
from pyrogrn.inference.answers.promise import why_no_list
from pyrogrn.models import FactorBox, LinearNetwork, Symphony, TrajectoryNetwork
from pyrogrn.models.simulators import RandomGRN, simulate_courses, simulate_linear, simulate_panel, simulate_sergio
from pyrogrn.priors import Normal, PriorNetwork

QUICK = Gibbs(num_chains=2, num_warmup=10, num_samples=10)
CELLS = simulate_linear(num_genes=10, num_tfs=4, num_cells=60, num_contexts=2, seed=0).data
ONE = simulate_linear(num_genes=10, num_tfs=4, num_cells=60, edge_probability=0.5, seed=1)


def of_scores():
    scores = pd.DataFrame(ONE.present.float().numpy(), index=list(ONE.data.tfs), columns=list(ONE.data.genes))
    return Symphony.from_data(ONE.data, evidence={"access": scores})


LISTED = {
    "linear": lambda: fit(LinearNetwork.from_data(ONE.data), guide=SparseGibbs(num_chains=2, num_samples=20)),
    "linear, two contexts": lambda: fit(LinearNetwork.from_data(CELLS), guide=QUICK),
}
RANKED = {
    "trajectory": (
        lambda: fit(TrajectoryNetwork.from_data(simulate_courses(num_genes=6, num_trajectories=5).data), guide=QUICK),
        "noise in their levels",
    ),
    "factorbox": (
        lambda: fit(FactorBox.from_data(simulate_panel(num_genes=8, in_degree=1.0).data), guide=QUICK),
        "feedback",
    ),
    "symphony": (lambda: fit(of_scores(), guide=QUICK), "not linear"),
    "no inclusion": (
        lambda: fit(LinearNetwork.from_data(ONE.data, edge_prior=Normal()), guide=Blocked(), num_steps=20, restarts=1),
        r"P\(\|weight\| > ",
    ),
    "product": (
        lambda: fit(LinearNetwork.from_data(ONE.data), guide=MeanField(), num_steps=20, restarts=1),
        "too certain where regulators are correlated",
    ),
}


@pytest.mark.parametrize("name", LISTED)
def test_lists_are_made_where_they_were_tested(name):
    posterior = LISTED[name]()
    assert why_no_list(posterior) is None
    assert (1 - posterior.edges(fdr=0.3)["inclusion"]).sum() <= 0.3 * len(posterior.edges(fdr=0.3))


@pytest.mark.parametrize("name", RANKED)
def test_other_fits_rank_and_say_why(name, tmp_path):
    make, reason = RANKED[name]
    posterior = make()
    for ask in (posterior.edges, posterior.links, posterior.context_differences):
        with pytest.raises(ValueError, match=reason):
            ask(fdr=0.1)
    assert len(posterior.edges(top=5)) == 5
    with pytest.raises(ValueError, match="a rate strictly"):
        posterior.edges(fdr=2.0)
    write_report(posterior, tmp_path / "report.html", diagnostics=None, alignment={}, command="")
    page = (tmp_path / "report.html").read_text()
    assert "a ranking of edges" in page
    assert "no list at a stated share of errors" in page
    assert "expected FDR</" not in page
    assert "--fdr" not in page


# -- guides, and fits without a trial ----
@pytest.fixture(scope="module")
def guided():
    data = simulate_sergio(RandomGRN(num_genes=20, num_tfs=4), num_cells=30, seed=0).data(0, "clean")
    data = data.without_constant_genes()
    return fit(LinearNetwork.from_data(data), data, guide=Amortised("grnular", num_chains=1, num_samples=2), seed=0)


@pytest.mark.parametrize(
    ("notes", "reason"),
    [
        ({"training_worlds_p": 0.5}, None),
        ({"training_worlds_p": 0.02}, "unlike anything that the guide was trained on"),
        (
            {"training_worlds_p": 0.5, "knowledge_listed": [238, 0]},
            "of the 238 edges that the guide lists at 10% with the prior networks it lists 0 without",
        ),
        ({"training_worlds_p": 0.5, "knowledge_listed": [660, 627]}, None),
        ({"training_worlds_p": 0.5, "knowledge_listed": [0, 0]}, None),
    ],
)
def test_guides_list_what_cells_like_those_of_their_training_show(guided, notes, reason):
    told = replace(guided, attributes={**guided.attributes, **{k: np.array(v) for k, v in notes.items()}})
    why = why_no_list(told)
    if reason is None:
        assert why is None
        told.edges(fdr=0.2)
    else:
        assert reason in why
        with pytest.raises(ValueError, match="Its probabilities rank edges"):
            told.edges(fdr=0.2)


def test_guides_count_what_they_list_without_prior_networks():
    made = simulate_sergio(RandomGRN(num_genes=20, num_tfs=4), num_cells=30, seed=0)
    data = made.data(0, "clean").without_constant_genes()
    edges = made.network(0)[["source", "target"]].assign(probability=0.8)
    network = PriorNetwork.from_edges(edges[edges["target"].isin(data.genes)], name="prior")
    engine = Amortised("grnular", num_chains=1, num_samples=2)
    asked = fit(LinearNetwork.from_data(data, networks={"prior": network}), data, guide=engine, seed=0)
    given, both = asked.attributes["knowledge_listed"].tolist()
    bare = fit(LinearNetwork.from_data(data), data, guide=engine, seed=0)
    assert "knowledge_listed" not in bare.attributes
    kept = lambda one: {name: value for name, value in one.attributes.items() if name != "knowledge_listed"}
    named = []
    for one in (asked, bare):
        edges = replace(one, attributes={**kept(one), "training_worlds_p": np.array(0.5)}).edges(fdr=0.1)
        named.append(set(zip(edges["source"], edges["target"], strict=True)))
    assert given == len(named[0]) > 0
    assert both == len(named[0] & named[1])


@pytest.mark.parametrize(
    "notes", [{"training_worlds_p": 0.02}, {"training_worlds_p": 0.5, "knowledge_listed": [238, 0]}]
)
def test_the_report_of_a_guide_without_a_list_says_why_and_has_no_green_badge(guided, notes, tmp_path):
    told = replace(guided, attributes={**guided.attributes, **{k: np.array(v) for k, v in notes.items()}})
    checks = pd.DataFrame({"check": ["chains"], "value": [1.0], "threshold": [1.1], "passed": [True], "meaning": ["."]})
    write_report(told, tmp_path / "report.html", diagnostics=checks, alignment={}, command="")
    page = (tmp_path / "report.html").read_text()
    start = page.index('<p class="lead">')
    lead = page[start : page.index("</p>", start)]
    assert "no list at a stated share of errors" in lead
    assert ("unlike anything" if len(notes) == 1 else "it lists 0 without") in lead
    assert "mean what they say" not in lead
    assert page[start:].split("</div>")[0].count("badge good") == 1  # of the checks


@pytest.mark.parametrize("name", LISTED)
def test_lists_by_the_model_alone_say_so(name, tmp_path):
    posterior = LISTED[name]()
    checks = pd.DataFrame({"check": ["chains"], "value": [1.0], "threshold": [1.1], "passed": [True], "meaning": ["."]})
    write_report(posterior, tmp_path / "report.html", diagnostics=checks, alignment={}, command="")
    page = (tmp_path / "report.html").read_text()
    assert "calibrated on data from the model alone" in page
    assert "tested on data from the model alone: no targets made on these cells were tried" in page
    green = page[page.index('<p class="lead">') :].split("</div>")[0].count("badge good")
    assert green == 1  # of the checks; none of the list or of the engine

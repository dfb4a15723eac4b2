"""Of which fits a list at a false discovery rate is made, and what is said of the others."""

import pandas as pd
import pytest
from pyrogrn.experiments.report import write_report
from pyrogrn.inference import Blocked, Gibbs, MeanField, SparseGibbs, fit
from pyrogrn.inference.answers.promise import why_no_list
from pyrogrn.models import FactorBox, LinearNetwork, Symphony, TrajectoryNetwork
from pyrogrn.models.simulators import simulate_courses, simulate_linear, simulate_panel
from pyrogrn.priors import Normal

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

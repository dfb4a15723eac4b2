"""The four figures of a fitted panel: what is drawn, what is left out and why, and the command."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from command_line import call
from matplotlib import pyplot as plt
from pyrogrn.experiments import panel_figures as module
from pyrogrn.experiments.alternation_speed import Timing, sizes_for, time_alternation
from pyrogrn.experiments.figures.panel_fit import context_weights, fit_and_scaling
from pyrogrn.experiments.figures.panels import plot_outcomes
from pyrogrn.experiments.panel_figures import panel_figures
from pyrogrn.inference import Gibbs, fit
from pyrogrn.inference.engines.alternate import Alternate
from pyrogrn.models import FactorBox
from pyrogrn.models.simulators.panel import simulate_panel
from pyrogrn.priors import Normal

ENGINE = Gibbs(num_chains=2, num_warmup=20, num_samples=10)


def panel(contexts=1):
    return simulate_panel(num_genes=12, in_degree=2.0, num_contexts=contexts, seed=1).data


@pytest.fixture(scope="module")
def several():
    return fit(FactorBox.from_data(panel(2)), guide=ENGINE, seed=0)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "time_alternation", lambda sizes: [Timing(g, g / 1e4, g / 1e3) for g in sizes])


def test_the_four_figures(several):
    made = panel_figures(several, draws=3, top=5, edges=7)
    assert list(made.figures) == list(module.NAMES)
    assert not made.left_out
    fit_axes = made.figures["figure1_fit"].axes
    assert len(fit_axes[0].lines) == 2  # a chain each
    assert np.allclose(fit_axes[0].lines[1].get_ydata(), several.history.elbo[1])
    assert fit_axes[0].get_ylabel() == "log-likelihood"
    weights = np.asarray(made.figures["figure2_contexts"].axes[0].images[0].get_array())
    first, mean = several.edges(top=1).iloc[0], several.moments["W_context"].mean
    place = [list(several.coords[axis]).index(first[end]) for axis, end in (("tf", "source"), ("target", "target"))]
    assert np.allclose(weights[0], mean[:, place[0], place[1]])
    graph = made.tables["figure3_graph"]
    assert len(graph) <= 7
    assert (graph["inclusion"] > 0.5).all()
    assert made.tables["figure4_flux"]["settled"].iloc[0] > 0
    assert "in context0" in made.captions["figure4_flux"]
    assert "in context1" in panel_figures(several, context="context1", draws=2).captions["figure4_flux"]
    with pytest.raises(ValueError, match="no context 'x'"):
        panel_figures(several, context="x")
    with pytest.raises(ValueError, match="at least 1, 1 and 2"):
        panel_figures(several, draws=1)


def test_agreement_of_contexts(several):
    agreement = np.asarray(panel_figures(several, draws=2).figures["figure2_contexts"].axes[1].images[0].get_array())
    allowed = several.model.edge_prior.allowed.numpy()
    mean = several.moments["W_context"].mean
    assert agreement[0, 1] == pytest.approx(np.corrcoef(mean[0][allowed], mean[1][allowed])[0, 1])
    logs = several.model.response_logs.numpy().astype(float)
    away = ~np.eye(logs.shape[1], dtype=bool)  # every gene is knocked down in both
    one, other = ((part - part.mean(0))[away] for part in logs)
    assert agreement[1, 0] == pytest.approx(np.corrcoef(one, other)[0, 1])


def test_common_share(several):
    """Nothing in common where contexts deviate by far more than weights are large; everything where by nothing."""
    allowed = several.model.edge_prior.allowed.numpy()
    for scale, expected in ((1e3, 0.0), (0.0, 1.0)):
        draws = several.draws | {"context_scale": np.full_like(several.draws["context_scale"], scale)}
        share = module._common_share(replace(several, draws=draws), allowed)
        assert share.shape == (20,)
        assert np.allclose(share, expected, atol=1e-3)


def test_what_a_run_has_nothing_for_is_left_out(monkeypatch):
    data = panel(2)
    model = FactorBox.from_data(data, edge_prior=Normal(), gain="sampled")
    point = fit(model, data, guide=Alternate(), seed=0)
    monkeypatch.setattr(module, "flux_table", lambda *_, **__: (_ for _ in ()).throw(ValueError("none has a state")))
    made = panel_figures(point)
    assert set(made.left_out) == {"figure2_contexts", "figure4_flux"}
    assert "one network to all contexts" in made.left_out["figure2_contexts"]
    assert "Figure 4 is left out: none has a state." in made.text
    line = made.figures["figure1_fit"].axes[0].lines[0]
    assert np.allclose(line.get_ydata(), -point.history.elbo[0])  # the cost
    assert made.text.index("Figure 1") < made.text.index("Figure 2") < made.text.index("Figure 3")


def test_outcomes_are_those_that_receive_most():
    genes = list("abcd")
    shares = np.array([[0.9, 0.1, 0.0, 0.4], [0.1, 0.5, 0.0, 0.0], [0.0, 0.4, 1.0, 0.6], [0.0, 0.0, 0.0, 0.0]])
    columns = [f"{way}{end}" for way in ("exported", "imported") for end in ("", "_lower", "_upper")]
    table = pd.DataFrame({"gene": list("cabd")} | dict.fromkeys(columns, 0.1))
    axes = plot_outcomes(table, shares, genes, perturbed=["a", "b"], top=2).axes
    assert [t.get_text() for t in axes[1].get_yticklabels()] == ["a", "b"]  # c exports most and was not perturbed
    assert [t.get_text() for t in axes[1].get_xticklabels()] == ["d", "a"]
    assert np.allclose(axes[1].images[0].get_array().filled(-1), [[0.4, -1], [0, 0.1]])
    figure = plot_outcomes(table, shares, genes, perturbed=[])
    assert figure.axes[0].texts[0].get_text() == "no gene was perturbed"
    assert len(plot_outcomes(table, np.eye(4), genes, perturbed=["a"]).axes[1].images) == 0


def test_odd_figures():
    timings = pd.DataFrame([Timing(125, 0.1, 0.2)])
    figure = fit_and_scaling(np.zeros((0, 0)), np.zeros(0), watched="x", timings=timings, genes=3)
    assert "no record" in figure.axes[0].texts[0].get_text()
    figure = fit_and_scaling(np.array([[2.0, 1.9]]), np.array([1, 2]), watched="cost", timings=timings, genes=3)
    assert figure.axes[0].get_ylim()[0] == 0
    edges = pd.DataFrame({"source": [], "target": [], "weight": []})
    context_weights(edges, ["a$", "b" * 40], np.zeros((0, 2)), np.full((2, 2), np.nan)).savefig(
        "/dev/null", format="png"
    )
    assert not plt.get_fignums()


def test_timings():
    found = time_alternation((8, 12))
    assert [one.genes for one in found] == [8, 12]
    assert all(one.iteration > 0 and one.start > 0 for one in found)
    assert sizes_for(10**6)[-1] == 4000


def test_the_command(several, tmp_path):
    several.save(tmp_path / "run" / "model")
    options = ["--draws", 2, "--top", 4, "--format", "svg"]
    code, _, err = call("figures", tmp_path / "run", *options, "--out", tmp_path / "made")
    assert code == 0, err
    written = {p.name for p in (tmp_path / "made").iterdir()}
    tables = {"figure1_scaling.csv", "figure3_graph.csv", "figure4_flux.csv"}
    assert written == {f"{name}.svg" for name in module.NAMES} | tables | {"captions.md"}
    assert (tmp_path / "made" / "captions.md").read_text().count("**Figure") == 4


def test_other_fits_are_refused_in_one_line(tmp_path, tiny_data):
    from pyrogrn.models import LinearNetwork

    fit(LinearNetwork.from_data(tiny_data), guide=ENGINE, seed=0).save(tmp_path / "other")
    for options, words in (
        ([], "other is a fit of linear: these figures are those of --method factorbox"),
        (["--draws", 1], "--draws 1: expected at least"),
    ):
        code, _, err = call("figures", tmp_path / "other", *options, "--out", tmp_path / "made")
        assert code == 2
        assert words in err
        assert err.strip().count("\n") == 0
    assert not (tmp_path / "made").exists()

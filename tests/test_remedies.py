"""Where checks fail, the command ends with the options to add, numbers included; and a run with them passes."""

from functools import partial
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anndata
import pandas as pd
import pyrogrn
import pytest
import torch
from command_line import call
from pyro.infer.autoguide import AutoNormal
from pyrogrn.experiments.remedies import OF_LENGTH, OF_THE_MODEL, remedies
from pyrogrn.inference import Bagging, Blocked, Gibbs, MeanField, Pruned, SparseGibbs, fit
from pyrogrn.inference.draws.edge_table import RECORD
from pyrogrn.models import PPCA, ExpressionData, LinearNetwork, MuVI
from pyrogrn.models.simulators import simulate_linear, simulate_muvi
from pyrogrn.priors import NormalLoading


@pytest.fixture(scope="module")
def model():
    return LinearNetwork.from_data(simulate_linear(num_genes=6, num_tfs=2, num_cells=40, seed=0).data)


def told(model, *failed: str, guide: str = "gibbs", engine: Any = None, **options: Any) -> list[str]:
    checks = pd.DataFrame(
        {"check": ["draws are finite", *failed], "passed": [True, *(False for _ in failed)]}, dtype=object
    )
    attributes = {RECORD: {}} if options.pop("corrected", False) else {}
    history = SimpleNamespace(reason=options.pop("reason", "budget"))
    draws = {"W": torch.zeros(options.pop("chains", 2), 1)}
    posterior: Any = SimpleNamespace(model=model, guide=guide, attributes=attributes, history=history, draws=draws)
    chosen = {"steps": None, "restarts": None, **options}
    return remedies(checks, posterior, Gibbs() if engine is None else engine, **chosen)


def test_longer_runs_by_their_numbers(model):
    assert told(model) == []
    assert told(model, "effective draws") == ["to mend it add --steps 800 --set guide.num_warmup=600 (effective draws)"]
    line = told(
        model, "R-hat of the edges", "effective draws", guide="sparse", engine=SparseGibbs(num_samples=50), steps=50
    )
    assert line == ["to mend it add --steps 100 --set guide.num_warmup=80 (R-hat of the edges, effective draws)"]
    line = told(model, "ELBO settled", guide="mean-field", engine=MeanField())
    assert line == ["to mend it add --steps 6000 (ELBO settled)"]
    line = told(model, "restarts find the same optimum", guide="blocked", engine=MeanField(), restarts=3)
    assert line == ["to mend it add --restarts 6 (restarts find the same optimum)"]
    stopped = told(model, "R-hat of the hyperparameters", guide="mean-field", engine=MeanField(), reason="converged")
    assert stopped[0].startswith("no option mends R-hat of the hyperparameters: every restart had converged")
    assert stopped[0].endswith("what is reported has them all in it")
    ended = partial(told, model, "R-hat of the edges", guide="mean-field", engine=MeanField(), reason="converged")
    assert ended(chains=1) == ["no option mends R-hat of the edges: the fit had converged"]
    both = told(
        model,
        "R-hat of the edges",
        "restarts find the same optimum",
        engine=MeanField(),
        reason="converged",
        restarts=3,
    )
    assert both[0].startswith("more steps do not mend R-hat of the edges: every restart")
    assert both[1] == "to mend it add --restarts 6 (restarts find the same optimum)"
    longer = told(model, "effective draws", reason="converged")  # of a sampler that ended early there are more draws
    assert longer[0].startswith("to mend it add --steps 800")
    assert told(model, "top loadings agree") == [
        "to mend it add --steps 800 --set guide.num_warmup=600 (top loadings agree)"
    ]
    trained = partial(told, model, guide="pruned", engine=Pruned(svi_steps=50, num_chains=3), steps=60)
    first, second = trained("ELBO settled", "R-hat of the hyperparameters", "top edges agree")
    assert first == "to mend it add --set guide.svi_steps=100 (ELBO settled, R-hat of the hyperparameters)"
    assert second == "to mend it add --restarts 6 (top edges agree)"  # more draws of the same trainings change nothing
    assert told(model, "programs and depth") == ["programs and depth: what to do is said where the check is"]
    assert told(model, "fit ended in order") == ["no option mends fit ended in order: the report says what it means"]
    bags = told(model, "inclusion agrees", guide="bagging", engine=Bagging(), steps=100, length="model.num_bags")
    assert bags == ["to mend it add --set model.num_bags=200 (inclusion agrees)"]
    assert told(model, "non-linearity", length=None)[0].endswith("read the list as a ranking")
    assert told(model, "inclusion agrees", length=None) == [
        "no option mends inclusion agrees: the report says what it means"
    ]
    assert told(model, "fit ended in order", budget=1.5) == ["to mend it add --budget 3 (fit ended in order)"]


def test_in_python_they_are_arguments(model):
    def said(*failed, **options):
        return told(model, *failed, in_python=True, **options)

    def as_typed(line):
        return eval(line.removeprefix("to mend it pass guide=").rpartition(" (")[0], {"pyrogrn": pyrogrn})

    (line,) = said("effective draws")
    assert as_typed(line) == Gibbs(num_samples=800, num_warmup=600)
    (line,) = said("R-hat of the edges", guide="sparse", engine=SparseGibbs(num_samples=50, sweeps=2), steps=50)
    assert as_typed(line) == SparseGibbs(num_samples=100, num_warmup=80, sweeps=2)
    (line,) = said("fit ended in order", guide="sparse", engine=SparseGibbs(budget=1.5), budget=1.5)
    assert as_typed(line) == SparseGibbs(budget=3.0)
    line = said("ELBO settled", guide="mean-field", engine=MeanField())
    assert line == ["to mend it pass steps=6000 (ELBO settled)"]
    line = said("restarts find the same optimum", guide="blocked", engine=MeanField(), restarts=3)
    assert line == ["to mend it pass restarts=6 (restarts find the same optimum)"]
    lines = said("shared residuals", "lists on made targets", "cells like those of the training")
    assert "`pyrogrn.calibrate(adata, ...)` counts what this costs" in lines[0]
    assert not [line for line in lines if "--" in line]


def test_a_short_fit_of_an_anndata_says_what_to_pass(caplog, tmp_path):
    data = simulate_linear(num_genes=10, num_tfs=3, num_cells=60, seed=1).data
    adata = anndata.AnnData(data.X.numpy().copy(), var=pd.DataFrame(index=list(data.genes)))
    short = Gibbs(num_samples=6, num_warmup=2, num_chains=2)
    fitted = pyrogrn.tl.network(adata, tfs=list(data.tfs), calibrate=False, guide=short)
    (line,) = [line for line in adata.uns["pyrogrn"]["remedies"] if line.startswith("to mend it pass guide=")]
    assert "pyrogrn.inference.Gibbs(num_chains=2, num_warmup=4, num_samples=12)" in line
    assert line in caplog.text
    pyrogrn.report(fitted, tmp_path / "report.html", adata)
    page = (tmp_path / "report.html").read_text()
    assert escape(line.removeprefix("to mend it ")) in page


def test_a_guide_of_pyro_keeps_its_fit(tmp_path):
    data = simulate_linear(num_genes=10, num_tfs=3, num_cells=60, seed=1).data
    adata = anndata.AnnData(data.X.numpy().copy(), var=pd.DataFrame(index=list(data.genes)))
    pyrogrn.tl.network(adata, tfs=list(data.tfs), calibrate=False, guide=AutoNormal, steps=20)
    lines = adata.uns["pyrogrn"]["remedies"]
    assert any(line.startswith("to mend it pass steps=40 (") for line in lines), lines


def test_what_no_option_mends_is_said(model):
    levels = simulate_linear(num_genes=6, num_tfs=2, num_cells=40, seed=0).data
    counts = type(levels)(
        torch.poisson(levels.X.exp().clamp(max=50), generator=torch.Generator()), levels.genes, levels.tfs
    )
    (line,) = told(model, "shared residuals", "non-linearity")
    assert line.startswith("no option mends shared residuals, non-linearity: `pyrogrn calibrate`")
    (line,) = told(model, "predictive intervals", "residual variance")
    assert line.startswith("no option mends predictive intervals, residual variance: the noise")
    (line,) = told(model, "lists on made targets", corrected=True)
    assert "--top" in line
    assert "corrected for it" in told(model, "shared residuals", corrected=True)[0]
    (line,) = told(model, "cells like those of the training", guide="glad-tf")
    assert "`pyrogrn train glad-tf`, then --set guide.weights=FILE" in line
    (line,) = told(model, "prior networks tell something", guide="grnular")
    assert line == "to mend it leave out --prior, or give others (prior networks tell something)"
    assert told(model, "regulators without edges", "gene sets hold: sets") == [
        "no option mends regulators without edges, gene sets hold: sets: the report says what it means"
    ]
    assert told(model, "number of edges agrees")[0].startswith("to mend it add --steps 800")
    first, second = told(model, "shared residuals", "non-linearity", as_measured=counts)
    assert first == "to mend it add --normalize auto, or give logarithms (non-linearity)"
    assert second.startswith("no option mends shared residuals:")
    wide = simulate_linear(num_genes=12, num_tfs=2, num_cells=40, seed=0).data
    small = type(wide)(wide.X.exp().clamp(max=50), wide.genes, wide.tfs)  # --normalize auto leaves them alone
    first, _ = told(model, "shared residuals", "non-linearity", as_measured=small)
    assert first.startswith("to mend it give logarithms, if values from ")


def test_a_prior_that_decides_the_size_of_programs_is_said_to():
    """A hundred genes, forty cells and loadings of width one: its predictions are too wide, and a learned width mends
    them."""
    generator = torch.Generator().manual_seed(0)
    x, W = torch.randn(40, 1, generator=generator), 0.2 * torch.randn(1, 100, generator=generator)
    X = x @ W + 0.1 * torch.randn(40, 100, generator=generator)
    data = ExpressionData(X, tuple(f"G{i}" for i in range(100)))
    many = PPCA(data, num_factors=1)
    first, second = told(many, "predictive intervals", "residual variance")
    assert first.startswith("to mend it add --set prior.scale=none (predictive intervals)")
    assert second.startswith("no option mends residual variance: the noise")
    (line,) = told(many, "predictive intervals", in_python=True)
    assert "loading_prior=pyrogrn.NormalLoading(scale=None)" in line
    learned = PPCA(data, num_factors=1, loading_prior=NormalLoading(scale=None))
    few = PPCA(data.select_genes(data.genes[:10]), num_factors=1)
    for other in (learned, few):
        assert told(other, "predictive intervals")[0].startswith("no option mends predictive intervals")
    spread = {}
    for name, one in (("fixed", many), ("learned", learned)):
        posterior = fit(one, guide=Blocked(), seed=0, num_draws=40)
        spread[name] = float(posterior.scores(data)[0].std().iloc[0])
    assert spread["fixed"] < 0.5
    assert spread["learned"] == pytest.approx(1, abs=0.25)


def test_few_draws_of_programs_are_mended_by_the_sampler():
    """Their fit has converged, so that steps are not what is short."""
    data = simulate_muvi(num_genes=12, num_cells=60, num_sets=1, set_size=6, seed=0).data
    posterior = fit(MuVI(data, num_factors=1), guide=Blocked(), seed=0, num_draws=20)
    checks = pd.DataFrame({"check": ["effective draws"], "passed": [False]})
    for in_python, add in ((False, "add --guide gibbs"), (True, "pass guide=pyrogrn.Gibbs()")):
        found = remedies(checks, posterior, Blocked(), steps=None, restarts=None, in_python=in_python)
        assert found == [f"to mend it {add} (effective draws)"]


def test_names_are_those_of_checks():
    from pyrogrn.inference import density_check, diagnostics, misfit_checks, run_agreement

    modules = (density_check, diagnostics, misfit_checks, run_agreement)
    source = "".join(Path(module.__file__).read_text() for module in modules)
    assert not [name for name in (*OF_LENGTH, *OF_THE_MODEL) if f'"{name}"' not in source]


def test_a_short_run_ends_with_what_to_add(tmp_path):
    code, _, _ = call(
        "simulate", "linear", "--genes", 10, "--tfs", 3, "--cells", 60, "--seed", 1, "--out", tmp_path / "data"
    )
    assert code == 0
    data = (tmp_path / "data" / "expression.h5ad", "--tfs", tmp_path / "data" / "tfs.csv", "--no-calibrate")
    short = ("--guide", "gibbs", "--steps", 6, "--restarts", 2, "--set", "guide.num_warmup=2")
    code, _, said = call("infer", *data, *short, "--out", tmp_path / "run")
    assert code == 0
    (line,) = [line for line in said.splitlines() if line.startswith("to mend it add --steps")]
    assert "--steps 12 --set guide.num_warmup=4" in line
    assert "--steps 12 --set guide.num_warmup=4" in (tmp_path / "run" / "report.html").read_text()

"""Where checks fail, the command ends with the options to add, numbers included; and a run with them passes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from command_line import call
from pyrogrn.experiments.commands.remedies import OF_LENGTH, OF_THE_MODEL, remedies
from pyrogrn.inference import Gibbs, MeanField, SparseGibbs
from pyrogrn.inference.draws.edge_table import RECORD
from pyrogrn.models import LinearNetwork
from pyrogrn.models.simulators import simulate_linear


@pytest.fixture(scope="module")
def model():
    return LinearNetwork.from_data(simulate_linear(num_genes=6, num_tfs=2, num_cells=40, seed=0).data)


def told(model, *failed: str, guide: str = "gibbs", engine: Any = None, **options: Any) -> list[str]:
    checks = pd.DataFrame(
        {"check": ["draws are finite", *failed], "passed": [True, *(False for _ in failed)]}, dtype=object
    )
    attributes = {RECORD: {}} if options.pop("corrected", False) else {}
    posterior: Any = SimpleNamespace(model=model, guide=guide, attributes=attributes)
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
    assert told(model, "fit ended in order", budget=1.5) == ["to mend it add --budget 3 (fit ended in order)"]


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


def test_names_are_those_of_checks():
    from pyrogrn.inference import density_check, diagnostics, misfit_checks

    source = "".join(Path(m.__file__).read_text() for m in (density_check, diagnostics, misfit_checks))
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

"""What earlier versions wrote is read by this one, with the same tables (made by golden/make.py)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from golden import make
from pyrogrn.inference import Posterior, fit, load_checkpoint
from pyrogrn.inference.points import without_certainty
from pyrogrn.models import MODELS

GOLDEN = Path(make.__file__).parent
VERSIONS = sorted(folder.name for folder in GOLDEN.iterdir() if (folder / "tables").is_dir())
# Sums in another order, as other machines take them, differ in the seventh digit of draws kept in single precision.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}

ANSWERED_OTHERWISE = {("LinearNetwork", "predict"), ("Symphony", "predict")}
"""Knock-outs of these followed the regression's own directions among regulators; intervals carry that doubt now."""

every_version = pytest.mark.parametrize("version", VERSIONS)


def saved_models(version):
    return sorted(file.parent.name for file in (GOLDEN / version).glob("*/manifest.json"))


SAVED = [pytest.param(v, name, id=f"{v}-{name}") for v in VERSIONS for name in saved_models(v)]
CHECKPOINTS = [
    pytest.param(v, file.stem, id=f"{v}-{file.stem}")
    for v in VERSIONS
    for file in sorted((GOLDEN / v / "checkpoints").glob("*.pt"))
]


def assert_close(found, stored):
    """The same columns and rows, numbers up to rounding."""
    pd.testing.assert_frame_equal(
        found.reset_index(drop=True), stored, check_dtype=False, check_column_type=False, **CLOSE
    )


def test_every_model_of_the_first_version_is_there():
    assert VERSIONS[0] == "0.1.0"
    assert set(saved_models("0.1.0")) <= {m.__name__ for m in MODELS}, "a model was renamed: its folders no longer load"
    assert len(saved_models("0.1.0")) == 10


@every_version
def test_the_files_are_small(version):
    assert sum(file.stat().st_size for file in (GOLDEN / version).rglob("*") if file.is_file()) < 1e6


@pytest.mark.parametrize(("version", "name"), SAVED)
def test_a_saved_posterior_gives_the_tables_of_its_time(version, name):
    posterior = Posterior.load(GOLDEN / version / name)
    assert posterior.notes == ("a note",)
    found = make.tables(posterior)
    if name == "FactorBox":  # predictions have had the noise of a condition since, and without it are what they were
        silent = posterior.draws | {"noise_variance": 0 * posterior.draws["noise_variance"]}
        found |= {table: make.tables(replace(posterior, draws=silent))[table] for table in ("predict", "knock-down")}
    stored = {file.stem.removeprefix(f"{name}_"): file for file in (GOLDEN / version / "tables").glob(f"{name}_*.csv")}
    assert found.keys() == stored.keys()
    for table, file in stored.items():
        then = pd.read_csv(file, keep_default_na=False, na_values=["NaN"])
        if (name, table) in ANSWERED_OTHERWISE:
            assert list(found[table]) == list(then)
            assert list(found[table]["gene"]) == list(then["gene"])
            assert found[table]["mean"].iloc[0] == then["mean"].iloc[0] == 0.0  # the one that was knocked out
            continue
        now = found[table][list(then)]  # columns that there are since stand beside
        if (name, table) == ("CellBox", "inputs"):  # a ridge regression has its say since; alone the network answers so
            assert list(now["gene"]) == list(then["gene"])
            error = then["sd"] / np.sqrt(8)  # of the noise that was in the mean
            assert ((found[table]["network"] - then["mean"]).abs() < 4 * error).all()
            continue
        assert_close(now, without_certainty(posterior, then))  # of a point estimate no longer printed


@pytest.mark.parametrize(("version", "name"), SAVED)
def test_a_posterior_saved_again_is_the_same(version, name, tmp_path):
    posterior = Posterior.load(GOLDEN / version / name)
    posterior.save(tmp_path / "again")
    again = Posterior.load(tmp_path / "again")
    for site, value in posterior.draws.items():
        np.testing.assert_array_equal(again.draws[site], value)
    for site, buffer in posterior.model.named_buffers():
        np.testing.assert_array_equal(dict(again.model.named_buffers())[site].numpy(), buffer.numpy())


@pytest.mark.parametrize(("version", "name"), CHECKPOINTS)
def test_a_checkpoint_goes_on_to_the_numbers_of_its_time(version, name):
    folder = GOLDEN / version / "checkpoints"
    stored = Posterior.load(folder / name)
    model = stored.model.double()  # its hyperparameters come back in single precision
    resumed = fit(model, resume=load_checkpoint(folder / f"{name}.pt"), **make.checkpoints()[name])
    assert resumed.draws.keys() == stored.draws.keys()
    for site, value in stored.draws.items():
        np.testing.assert_allclose(resumed.draws[site], value, **CLOSE, err_msg=site)
    np.testing.assert_allclose(resumed.history.elbo, stored.history.elbo, **CLOSE)
    assert_close(resumed.edges(), stored.edges())


def test_a_version_is_not_written_twice(tmp_path):
    (tmp_path / "0.1.0").mkdir()
    with pytest.raises(SystemExit, match="is kept as it is"):
        make.write(tmp_path / "0.1.0")

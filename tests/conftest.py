"""Fixtures of all tests: tiny data, and the guard against tests that change global state."""

import random

import numpy as np
import pyro
import pytest
import rich.style  # its first import draws from the global `random`, whichever test makes it
import torch
from pyrogrn.models.simulators import simulate_linear
from scipy import stats


def _parameters() -> set[str]:
    return set(pyro.get_param_store().keys())


def _settings() -> dict[str, object]:
    return {
        "torch.get_default_dtype()": torch.get_default_dtype(),
        "torch.get_default_device()": torch.get_default_device(),
        "torch.get_num_threads()": torch.get_num_threads(),
        "torch.is_grad_enabled()": torch.is_grad_enabled(),
    }


def _generators() -> dict[str, tuple]:
    kind, keys, *position = np.random.get_state()  # noqa: NPY002 the legacy global generator is what is watched
    return {
        "torch": (torch.get_rng_state().numpy().tobytes(),),
        "numpy": (kind, keys.tobytes(), *position),
        "random": random.getstate(),
    }


@pytest.fixture(autouse=True)
def no_global_state_changed():
    """Fail a test that leaves Pyro parameters, moves a global generator, or changes torch's defaults."""
    parameters, settings, generators = _parameters(), _settings(), _generators()
    yield
    left, after, moved = _parameters() - parameters, _settings(), _generators()
    changed = [name for name in settings if settings[name] != after[name]]
    drawn = [name for name in generators if generators[name] != moved[name]]
    if left:  # put everything back, so that only the guilty test fails
        pyro.clear_param_store()
    torch.set_default_dtype(settings["torch.get_default_dtype()"])
    torch.set_default_device(settings["torch.get_default_device()"])
    torch.set_num_threads(settings["torch.get_num_threads()"])
    torch.set_grad_enabled(settings["torch.is_grad_enabled()"])
    assert not left, f"parameters left in Pyro's global store: {sorted(left)}. Wrap in pyro.get_param_store().scope()"
    assert not changed, f"global settings changed: {changed}. Library code takes device and dtype from the module"
    assert not drawn, f"global generators moved: {drawn}. Pass a generator; tests may use the `seeded` fixture"


@pytest.fixture
def seeded(no_global_state_changed):
    """Run the test under a fixed torch seed, and put the generator back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20240229)
        yield


@pytest.fixture(scope="session")
def tiny():
    """A simulated network of 7 genes, 3 of them regulators, with 60 cells; its true edges are strong."""
    return simulate_linear(num_genes=7, num_tfs=3, num_cells=60, edge_probability=0.4, tf_correlation=0.5, seed=3)


@pytest.fixture(scope="session")
def tiny_data(tiny):
    """The cells of `tiny`."""
    return tiny.data


@pytest.fixture(scope="session")
def rich():
    """Two contexts and knock-outs of two regulators besides."""
    return simulate_linear(
        num_genes=7,
        num_tfs=3,
        num_cells=80,
        edge_probability=0.4,
        tf_correlation=0.5,
        num_contexts=2,
        num_perturbed=2,
        cells_per_perturbation=7,
        seed=4,
    )


# -- exact references ----

NOISE_GRID = np.exp(np.linspace(np.log(0.02), np.log(30.0), 600))  # quadrature over σ², in its logarithm


def log_evidence(x, y, loc, variance, noise):
    r"""log p(y | σ²), W and a flat intercept integrated out, and mean and covariance of W given σ².

    Plain dense algebra over cells: ``x`` (cell, tf), ``y`` (cell,), prior N(loc, diag(variance)), ``noise`` (point,)
    σ².
    Returns ``(point,)``, ``(point, tf)``, ``(point, tf, tf)``.
    """
    x, y, count = x - x.mean(0), y - y.mean(), len(y)
    covariance = np.linalg.inv(x.T @ x / noise[:, None, None] + np.diag(1 / variance))
    eta = x.T @ y / noise[:, None] + loc / variance
    mean = np.einsum("nst,nt->ns", covariance, eta)
    quadratic = y @ y / noise + (loc**2 / variance).sum() - (mean * eta).sum(1)
    log_det = np.log(variance).sum() - np.linalg.slogdet(covariance)[1]
    log_prob = -0.5 * ((count - 1) * np.log(2 * np.pi * noise) + np.log(count) + log_det + quadratic)
    return log_prob, mean, covariance


def integrate_noise(x, y, loc, variance):
    """log p(y), posterior mean and covariance of W with σ² ~ InvGamma(2, 1/2) integrated out by quadrature."""
    log_prob, mean, covariance = log_evidence(x, y, loc, variance, NOISE_GRID)
    log_prob = log_prob + stats.invgamma.logpdf(NOISE_GRID, 2.0, scale=0.5) + np.log(NOISE_GRID)
    step = np.log(NOISE_GRID[1] / NOISE_GRID[0])
    total = np.logaddexp.reduce(log_prob) + np.log(step)
    weight = np.exp(log_prob + np.log(step) - total)
    assert max(weight[0], weight[-1]) < 1e-9 * weight.max(), "the grid must hold the posterior of the noise"
    average = weight @ mean
    spread = np.einsum("n,nst->st", weight, covariance) + np.einsum("n,ns,nt->st", weight, mean, mean)
    return total, average, spread - np.outer(average, average)


@pytest.fixture(scope="session")
def exact():
    """Posteriors of one regression by quadrature over the noise: `integrate_noise`."""
    return integrate_noise


@pytest.fixture(scope="session")
def server():
    """The process that forks commands (`kills/server.py`), one for all tests that need it."""
    from kills.harness import Server

    found = Server()
    yield found
    found.close()


@pytest.fixture(scope="module")
def client():
    """Two Dask worker processes of one thread each; a module whose cluster is another one has its own."""
    distributed = pytest.importorskip("distributed", reason="Dask is the extra `cluster`")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client

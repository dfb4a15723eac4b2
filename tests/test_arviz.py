"""What a user's ArviZ does with `posterior.nc`: every function on every model, and words where it cannot."""

import warnings
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from golden import make
from pyrogrn.inference import MapEstimate, MeanField, Posterior, fit
from pyrogrn.inference.arviz_limits import LEAST_DRAWS
from pyrogrn.inference.datatree import to_datatree
from pyrogrn.models import MODELS, LinearNetwork, MuVI, NetREXCF
from pyrogrn.models.simulators import simulate_muvi
from pyrogrn.priors import Laplace

mpl.use("Agg")
arviz = pytest.importorskip("arviz")
az_stats = pytest.importorskip("arviz_stats")
NEW = int(arviz.__version__.split(".")[0]) >= 1  # ArviZ 1 reads and takes DataTrees
FOLDER = Path(make.__file__).parent / "0.1.0"
POINT = NetREXCF  # whose default engine finds one point
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def datasets():
    return make.datasets()


@pytest.fixture(scope="module", params=MODELS, ids=lambda model: model.__name__)
def model(request):
    return request.param


@pytest.fixture(scope="module")
def tree(model, datasets):
    """What a run stores; draws that were kept are few, and stand several times here, as many as ArviZ needs."""
    posterior = Posterior.load(FOLDER / model.__name__)
    if model is not POINT:
        times = -(-2 * LEAST_DRAWS // posterior.draws["W"].shape[1])
        more = {name: np.tile(v, (1, times, *(1,) * (v.ndim - 2))) for name, v in posterior.draws.items()}
        densities = {n: np.tile(v, (1, times)) for n, v in posterior.attributes.items() if n in ("lp", "lq")}
        posterior = replace(posterior, draws=more, attributes={**posterior.attributes, **densities})
    return to_datatree(posterior, datasets[model], num_observations=30)


@pytest.fixture(scope="module")
def read(tree, tmp_path_factory):
    """As a user has it: from the file, by the ArviZ that is installed."""
    path = tmp_path_factory.mktemp("arviz") / "posterior.nc"
    tree.to_netcdf(path, engine="h5netcdf")
    return arviz.from_netcdf(path)


def some(tree):
    """A small variable of the model."""
    group = tree["posterior"]
    return min((name for name in group.data_vars), key=lambda name: (group[name].size, name))


def test_every_group_is_there(read, tree, model):
    wanted = {"posterior", "prior", "sample_stats", "log_prior", "log_likelihood", "observed_data"}
    assert wanted <= set(tree.children)
    assert wanted <= {str(name).strip("/") for name in (read.groups if NEW else read.groups())}
    assert tree.attrs["model"] == model.name
    assert ("limits" in tree.attrs) == (model is POINT)


def test_summary_and_plots(read, tree):
    name = some(tree)
    table = arviz.summary(read, var_names=[name])
    assert len(table) == tree["posterior"][name].isel(chain=0, draw=0).size
    assert np.isfinite(table["mean"].astype(float)).all()
    for draw in (arviz.plot_trace, arviz.plot_forest):
        assert draw(read, var_names=[name]) is not None
    mpl.pyplot.close("all")


def loo_of(result):
    return result.elpd if hasattr(result, "elpd") else result.elpd_loo


def test_loo_compare_and_psense(read, tree, model):
    if model is POINT:
        assert "one draw, a point estimate" in tree.attrs["limits"]
        assert "loo, compare and psense need many draws" in tree.attrs["limits"]
        return
    # a draw of a course may have no solution, and then no density
    assert float(np.isfinite(tree["log_likelihood"]["X"]).mean()) > 0.9
    assert np.isfinite(loo_of(arviz.loo(read)))
    assert len(arviz.compare({"one": read, "two": read})) == 2
    assert np.isfinite(az_stats.loo(tree).elpd)  # what ArviZ 1 hands on
    name = some(tree)
    found = az_stats.psense(tree, var_names=[name], group="prior")
    assert np.isfinite(found[name]).all()
    if not NEW:
        assert bool(np.isfinite(arviz.psens(read, var_names=[name], component="likelihood")).all())


# -- where there is something that ArviZ cannot do ----
def test_counts_say_why_there_is_no_loo():
    simulation = simulate_muvi(num_genes=8, num_cells=30, num_sets=2, set_size=4, seed=5)
    data = replace(simulation.data, matrix=simulation.data.X.exp().round())
    model = MuVI.from_data(data, num_factors=1, likelihood="negative-binomial")
    posterior = fit(model, data, guide=MeanField(), num_steps=5, num_draws=30, restarts=1, jit=False)
    tree = posterior.to_datatree(data)
    said = tree.attrs["limits"]
    assert "no log_likelihood, so no loo, compare or psense of it: there are missing values, binary genes" in said
    assert "no log_prior, so no psense of it" in said
    assert "one chain: rhat compares chains" in said
    assert len(az_stats.summary(tree, var_names=[some(tree)]))


def test_few_draws_and_no_data_are_said(tiny_data):
    model = LinearNetwork.from_data(tiny_data, edge_prior=Laplace())
    drawn = {"num_steps": 5, "num_draws": 6, "restarts": 2, "jit": False}
    tree = fit(model, guide=MeanField(), **drawn).to_datatree()
    assert "12 draws: loo, compare and psense need at least 25" in tree.attrs["limits"]
    assert "no log_likelihood" in tree.attrs["limits"]
    assert "the data were not given: `to_datatree(data)`" in tree.attrs["limits"]
    point = fit(model, guide=MapEstimate(), num_steps=5, num_draws=1, restarts=1, jit=False).to_datatree(tiny_data)
    assert point.attrs["limits"].startswith("one draw, a point estimate")
    assert "chain" not in point.attrs["limits"].partition(";")[2]


def test_the_least_number_of_draws_is_enough(tiny_data):
    model = LinearNetwork.from_data(tiny_data, edge_prior=Laplace())
    fitted = {"num_steps": 5, "num_draws": LEAST_DRAWS, "restarts": 1, "jit": False}
    tree = fit(model, guide=MeanField(), **fitted).to_datatree(tiny_data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isfinite(az_stats.loo(tree).elpd)

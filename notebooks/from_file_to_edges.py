# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From an expression file to edges that say how sure they are
#
# Cells go in, edges come out: each with the probability that it exists, its sign, an interval, and a false-sign rate.
# The data here are simulated, so that
# every claim can be held against the truth. Replace the first cell with your own file.

# %%
import os
import tempfile
from pathlib import Path

from pyrogrn import Gibbs, LinearNetwork, PriorNetwork, fit, read_expression, read_names, score_edges, simulate_linear
from pyrogrn.experiments.figures import (
    edge_forest,
    inclusion_overview,
    network_picture,
    predictive_check,
    reliability_diagram,
)
from pyrogrn.experiments.files.simulation import write_simulation
from pyrogrn.experiments.scores import expected_calibration_error

FAST = os.environ.get("PYROGRN_FAST") == "1"  # a short run for the tests
folder = Path(tempfile.mkdtemp())
simulation = simulate_linear(
    num_genes=40 if FAST else 150, num_tfs=8 if FAST else 20, num_cells=300 if FAST else 1500, num_perturbed=3, seed=4
)
write_simulation(simulation, folder, prior_noise=0.3, seed=4)
sorted(p.name for p in folder.iterdir())

# %% [markdown]
# ## Read
# An h5ad of cells × genes, a list of candidate regulators, and a prior network: here the truth with 30% of its edges at
# random places. In some cells a regulator is knocked out:
# such cells say nothing of what regulates that gene, and are left out of its equation.

# %%
data = read_expression(
    [folder / "expression.h5ad"], tfs=read_names(folder / "tfs.csv"), perturbation_key="perturbation"
)
motif = PriorNetwork.read(folder / "prior.csv", name="motif")
data.num_cells, data.num_genes, len(data.tfs), motif

# %% [markdown]
# ## Fit
# One pass over the cells makes the sufficient statistics; the sampler never sees the cells again.

# %%
model = LinearNetwork.from_data(data, networks={"motif": motif})
guide = Gibbs(num_chains=2, num_warmup=60, num_samples=60) if FAST else Gibbs()
posterior = fit(model, guide=guide, seed=1)
edges = posterior.edges()
edges.head(10).round(3)

# %% [markdown]
# The largest set of edges of which at most 10% are expected to be wrong, and how many of them truly are:

# %%
chosen = posterior.edges(fdr=0.1)
true = set(zip(simulation.network["source"], simulation.network["target"], strict=True))
wrong = sum((s, t) not in true for s, t in zip(chosen["source"], chosen["target"], strict=True))
f"{len(chosen)} edges, {wrong} of them wrong ({wrong / max(len(chosen), 1):.1%}), {len(true)} exist"

# %%
edge_forest(edges)

# %%
network_picture(chosen, tfs=set(data.tfs))

# %% [markdown]
# ## How far do the data trust the prior?
# One coefficient a source, learned with the network: 0 means ignored, 3 raises the odds of a listed edge about
# fifteenfold.

# %%
posterior.trust().round(2)

# %% [markdown]
# ## Can it be believed?
# The table compares each value with what the others say of it. The picture is of predictions that have seen the values:
# with 20 regulators and 1,500 cells that is the same, with nearly as many regulators as cells it would not be.

# %%
posterior.diagnose(data)[["check", "value", "threshold", "passed", "meaning"]]

# %%
tree = posterior.to_datatree(data)
observed, predicted = tree["observed_data"]["X"].values, tree["posterior_predictive"]["X"].values
predictive_check(observed, predicted.reshape(-1, observed.size))

# %% [markdown]
# With the truth at hand: of the edges called 70% probable, about 70% exist.

# %%
exists = [pair in true for pair in zip(edges["source"], edges["target"], strict=True)]
scores = score_edges(edges, simulation.network)
print(
    f"average precision {scores['average_precision']:.3f}, calibration error "
    f"{expected_calibration_error(edges['inclusion'].to_numpy(), exists):.3f}"
)
reliability_diagram(edges["inclusion"].to_numpy(), exists)

# %%
inclusion_overview(edges["inclusion"].to_numpy(), edges["weight"].to_numpy())

# %% [markdown]
# ## What happens if …
# Knock out a regulator: the linear network's new steady state, with the uncertainty of the whole posterior. It can be
# compared with the cells in which it was done.

# %%
gene = "G0001"
prediction = posterior.predict(knockout=[gene]).set_index("gene")
prediction["measured"] = data.X[data.perturbed[data.perturbed[:, 1] == data.genes.index(gene)][:, 0]].mean(0)
prediction["change"] = prediction["mean"] - prediction["control"]
prediction.sort_values("change", key=abs, ascending=False).head(8).round(2)

# %% [markdown]
# ## Keep it
# No pickle: arrays and a manifest, which load on any machine.

# %%
posterior.save(folder / "model")
tree.to_netcdf(folder / "posterior.nc", engine="h5netcdf")
type(posterior).load(folder / "model").edges(top=3).round(3)

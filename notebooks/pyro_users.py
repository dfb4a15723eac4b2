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
# # For Pyro users: models, guides and exact answers
#
# A model of PyroGRN is a Pyro model, a guide a Pyro guide. Here: the sites of a model, SVI by hand, a guide of Pyro
# through `fit`, and how far each approximation is from the exact posterior, which for a network this small a
# sampler gives.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyro
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal
from pyrogrn import Gibbs, LinearNetwork, MeanField, Normal, fit, posterior_from, restarted
from pyrogrn.inference import NUTS
from pyrogrn.models.simulators import simulate_linear

FAST = os.environ.get("PYROGRN_FAST") == "1"  # a short run for the tests
STEPS = 30 if FAST else 1500
simulation = simulate_linear(num_genes=12, num_tfs=4, num_cells=100, edge_probability=0.5, tf_correlation=0.8, seed=1)
model = LinearNetwork.from_data(simulation.data, edge_prior=Normal())

# %% [markdown]
# ## Sites
# Plates sit at fixed dimensions: `context` -3, `tf` and `cell` -2, `target` -1.

# %%
print(model.dims)
print(poutine.trace(model).get_trace().format_shapes())

# %% [markdown]
# ## SVI by hand
# Any optimiser and any ELBO of Pyro; `posterior_from` makes of a trained guide what `fit` returns.

# %%
with pyro.get_param_store().scope():  # parameters of one guide are not another's
    guide = MeanField()(model)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
    losses = [svi.step() for _ in range(STEPS)]
    by_hand = posterior_from(model, guide, losses=losses)
plt.plot(losses, lw=0.8)
_ = plt.gca().set(xlabel="step", ylabel="loss", yscale="log", title="minus the ELBO")

# %% [markdown]
# ## A guide of Pyro through `fit`
# `fit` takes a class of `pyro.infer.autoguide` and adds restarts, a stopping rule, draws and checks. k-hat is there
# because the guide has a density.

# %%
automatic = fit(model, guide=AutoMultivariateNormal, num_steps=STEPS, num_draws=200, restarts=2, seed=0)
automatic.diagnose()[["check", "value", "threshold", "passed"]].dropna()

# %% [markdown]
# ## Beside the exact posterior
# NUTS on the same model: means and standard deviations of all weights. The regulators are correlated: a product of
# normals states the standard deviations too small, a normal with a full covariance comes near.

# %%
exact = fit(model, guide=NUTS(num_chains=1, num_samples=10, num_warmup=5) if FAST else NUTS(), seed=0)
runs = {"mean-field": by_hand, "multivariate normal": automatic}
fig, axes = plt.subplots(1, 2, figsize=(8, 3.6))
for name, run in runs.items():
    table, reference = (one.edges().set_index(["source", "target"]).sort_index() for one in (run, exact))
    for ax, column in zip(axes, ("weight", "sd"), strict=True):
        ax.scatter(reference[column], table[column], s=12, label=name)
for ax, column in zip(axes, ("weight", "sd"), strict=True):
    low, high = ax.get_xlim()
    ax.plot([low, high], [low, high], color="0.6", lw=0.8, zorder=0)
    ax.set(xlabel=f"{column}, NUTS", ylabel=f"{column}, guide")
axes[0].legend()
fig.tight_layout()

# %% [markdown]
# ## Discrete sites
# With spike and slab each edge has an inclusion variable; `TraceEnum_ELBO` sums it out exactly, and restarts are a
# plate to the left of the others.

# %%
spiked = LinearNetwork.from_data(simulation.data)
with pyro.get_param_store().scope():
    guide, several = MeanField()(spiked, num_restarts=3), restarted(spiked, 3)
    elbo = TraceEnum_ELBO(max_plate_nesting=several.max_plate_nesting)
    svi = SVI(several, guide, pyro.optim.Adam({"lr": 0.02}), elbo)
    for _ in range(STEPS):
        svi.step()
    enumerated = posterior_from(spiked, guide, num_draws=200)
sampled = fit(spiked, guide=Gibbs(num_chains=2, num_warmup=20, num_samples=20) if FAST else Gibbs(), seed=0)
inclusion = {
    name: run.edges().set_index(["source", "target"])["inclusion"]
    for name, run in {"SVI, enumerated": enumerated, "Gibbs, exact": sampled}.items()
}
table = pd.DataFrame(inclusion)
plt.figure(figsize=(4, 3.6))
plt.scatter(table["Gibbs, exact"], table["SVI, enumerated"], s=12)
_ = plt.gca().set(xlabel="inclusion, Gibbs (exact)", ylabel="inclusion, SVI", xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
gap = np.abs(table.diff(axis=1).iloc[:, 1]).max()
print(f"largest gap {gap:.2f}; calibrated: {enumerated.calibrated}, {sampled.calibrated}")

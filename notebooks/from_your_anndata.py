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
# # From your AnnData: counts in, a network out
#
# The way of a first afternoon: an AnnData of raw counts and a list of regulators; what the numbers look like; a
# network with probabilities; which of its checks failed and what to type; pictures; what a knock-out would do;
# activities of the regulators by cell type; a report. The cells are simulated here, with a known network, so that
# one can look at how far the list is right; put your own `anndata.read_h5ad(...)` in their place and leave out what
# compares with the truth.

# %%
import os

import anndata
import numpy as np
import pandas as pd
import pyrogrn
from pyrogrn import pl
from pyrogrn.inference import SparseGibbs

FAST = os.environ.get("PYROGRN_FAST") == "1"  # a short run for the tests
options = {"guide": SparseGibbs(num_chains=2, num_warmup=10, num_samples=20), "calibrate": False} if FAST else {}

# %% [markdown]
# ## The cells
# Counts of 800 cells of two types and 120 genes. Eight are regulators; each other gene answers to none or a few of
# them, on the scale of logarithms.

# %%
rng = np.random.default_rng(0)
cells, genes = (150, 40) if FAST else (800, 120)
names = [f"G{i}" for i in range(genes)]
tfs = names[:8]
kind = rng.choice(["progenitor", "mature"], cells)
logs = rng.normal(3, 0.5, (cells, 8)) + 0.8 * (kind == "mature")[:, None] * (np.arange(8) < 2)  # two rise with maturity
effects = rng.choice([-0.6, 0.6], (8, genes - 8)) * (rng.random((8, genes - 8)) < 0.15)
rates = np.exp(np.hstack([logs, 3 + (logs - 3) @ effects + rng.normal(0, 0.2, (cells, genes - 8))]))
adata = anndata.AnnData(
    rng.poisson(rates).astype("float32"),
    obs=pd.DataFrame({"cell_type": kind}, [f"cell{i}" for i in range(cells)]),
    var=pd.DataFrame(index=names),
)
print(adata)

# %% [markdown]
# ## The network
# `tl.network` reads the cells, says what it sees and does (counts become logarithms of counts per million for the
# fit; the AnnData stays as it is), tries its fit on targets that it makes from these cells, fits, corrects its
# probabilities by that, checks itself, and writes all of it into the AnnData.

# %%
posterior = pyrogrn.tl.network(adata, tfs=tfs, seed=0, **options)
for line in (*adata.uns["pyrogrn"]["preflight"], *adata.uns["pyrogrn"]["notes"]):
    print("-", line)

# %% [markdown]
# **May I believe it?** The verdict of the checks, and, where one failed, what to pass to the same call or that
# nothing mends it.

# %%
print(adata.uns["pyrogrn"]["verdict"])
for line in adata.uns["pyrogrn"]["remedies"]:
    print("-", line)

# %%
posterior.diagnose(adata)[
    ["check", "value", "threshold", "passed"]
]  # the cells are read again as they were for the fit

# %% [markdown]
# ## The list
# Edges of which a tenth are expected to be wrong. `inclusion` is the corrected probability, `inclusion_model` what
# the model alone states.

# %%
edges = posterior.edges(fdr=0.1)
edges.head(10).round(3)

# %% [markdown]
# These cells have a known network: how many of the list are wrong, and how many of the true edges it has.

# %%
rows, columns = np.nonzero(effects)
truth = pd.DataFrame({"source": [names[r] for r in rows], "target": [names[8 + c] for c in columns]})
true = set(zip(truth["source"], truth["target"], strict=True))
right = sum(pair in true for pair in zip(edges["source"], edges["target"], strict=True))
print(f"{len(edges)} listed, {len(edges) - right} of them wrong; the network has {len(true)} edges")

# %%
_ = pl.edges(posterior, count=20)

# %%
_ = pl.network(posterior, fdr=0.1)

# %%
_ = pl.reliability(posterior, truth)

# %% [markdown]
# ## What it says of one regulator
# What a knock-out of the first would do: the genes that move most, with intervals.

# %%
_ = pl.knockout(posterior, tfs[0])

# %% [markdown]
# ## Regulators by cell type
# How active each regulator is in each cell, by its listed targets, with what the network and the noise leave open;
# means by cell type. The cells of the mature type were made with more of the first two.

# %%
listed = posterior.edges(top=60)
found = pyrogrn.activities(posterior, adata, listed, groups=adata.obs["cell_type"].tolist(), min_targets=2)
found.by_group.pivot_table(index="regulator", columns="group", values="mean").round(2)

# %%
_ = pl.activities(found)

# %% [markdown]
# ## To keep
# The AnnData holds the network (`uns`, `varp`) and is saved with it; `report` writes the page to send to a
# colleague.

# %%
adata.write_h5ad("with_network.h5ad")
pyrogrn.report(posterior, "report.html", adata)
print(adata.varp["pyrogrn_inclusion"].shape, list(adata.uns["pyrogrn"]))

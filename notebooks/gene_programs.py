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
# # Gene programs: what the poster found, over many data sets, and what gene sets become after the data
#
# A cell is a combination of a few programs: $y = W^\top x + \beta^\top z + \text{noise}$, with x the activity of the
# programs in the cell, W the loadings of genes, z covariates such as a label or a dose. Four parts: how large the
# programs come out (finding 1), clusters and labels, effects of covariates beside programs (finding 2), and gene sets
# with wrong genes. Data are simulated so that each claim can be held against the truth.
#
# Each part shows one data set live, and the summary over many from `python -m pyrogrn.experiments.benchmarks programs`
# where that has been run.

# %%
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyrogrn
from matplotlib.figure import Figure
from pyrogrn import Blocked, Gibbs, MapEstimate, MeanField, fit
from pyrogrn.experiments.figures.programs import loading_forest, variance_explained
from pyrogrn.experiments.report.program_tables import ProgramTables
from pyrogrn.experiments.report.programs import write_program_report
from pyrogrn.models import PPCA, ExpressionData, MuVI
from pyrogrn.models.simulators import simulate_muvi, simulate_ppca
from pyrogrn.priors import HorseshoeLoading, NormalLoading, SpikeSlabLoading

FAST = os.environ.get("PYROGRN_FAST") == "1"  # a short run for the tests
folder = Path(tempfile.mkdtemp())
RESULTS = Path(pyrogrn.__file__).parent / "experiments" / "results"
quick = {"guide": Blocked(), "restarts": 1, "num_draws": 100}


def many(section: str) -> pd.DataFrame:
    """Mean ± standard error over many data sets; empty where the benchmark has not been run."""
    path = RESULTS / f"programs_{section}.csv"
    if not path.exists():
        return pd.DataFrame(columns=["task", "method"])
    table = pd.read_csv(path)
    pairs = zip(table["value"], table["se"], strict=True)
    text = [f"{value:.3g}" if np.isnan(error) else f"{value:.3g} ± {error:.1g}" for value, error in pairs]
    table = table.assign(text=text)
    keys = {"index": ["task", "method"], "columns": "score", "values": "text"}
    return table.pivot_table(**keys, aggfunc="first", sort=False).fillna("")


# %% [markdown]
# ## Finding 1: how large are the factors?
#
# 100 cells of 200 genes from two factors of variance 1 and noise of variance 0.5. All methods find the same plane, and
# the reconstruction $\hat W^\top \hat x$ is equally good. How its size is split between factors and loadings differs:
#
# - PCA has loadings of length one, so that the factors take all the variance.
# - The joint mode over factors *and* loadings (MAP) balances their two penalties: with fewer cells than genes the
#   factors come out too large and the loadings too small.
# - Methods that average over the factors, or integrate them out, have no such bias.
# - MuVI's horseshoe has it again where its slab of width one meets dense loadings, as here: the slab is for sparse
#   programs. `slab=None` is the horseshoe of the poster.

# %%
simulation = simulate_ppca(num_genes=200, num_cells=100, num_factors=2, noise_variance=0.5, seed=3)
data = simulation.data
centred = (data.X - data.X.mean(0)).double().numpy()
true = simulation.x.numpy() - simulation.x.numpy().mean(0)


def turned(x: np.ndarray) -> np.ndarray:
    """Factors (cell, factor), rotated onto the true ones: only their rotation is arbitrary, not their size."""
    x = x - x.mean(0)
    left, _, right = np.linalg.svd(x.T @ true)
    return x @ left @ right


steps = 300 if FAST else 1500
point = fit(PPCA(data, num_factors=2, integrate=False), guide=MapEstimate(), restarts=1, num_draws=1, num_steps=steps)
mean_field = fit(PPCA(data, num_factors=2, integrate=False), guide=MeanField(), restarts=1, num_steps=steps)
blocked = fit(PPCA(data, num_factors=2), **quick)
muvi = fit(MuVI(data, num_factors=2, loading_prior=HorseshoeLoading(slab=None)), **quick)
found = {
    "PCA": centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T,
    "PPCA, MAP": point.draws["x"][0, 0],
    "PPCA, mean-field": mean_field.draws["x"].mean((0, 1)),
    "PPCA, blocked": blocked.scores(data)[0].to_numpy(),
    "MuVI, blocked": muvi.scores(data)[0].to_numpy(),
}


def against_truth(found: dict[str, np.ndarray]) -> Figure:
    figure, panels = plt.subplots(1, len(found), figsize=(14, 3.2), layout="constrained")
    for ax, (name, x) in zip(panels, found.items(), strict=True):
        x = turned(x)
        ax.axline((0, 0), slope=1, color="0.7", lw=0.8)
        ax.scatter(true, x, s=8, alpha=0.6)
        ax.set_title(f"{name}\nvariance / truth {x.var(0).sum() / true.var(0).sum():.3g}", fontsize=9)
        ax.set_xlabel("true factor")
    panels[0].set_ylabel("estimate")
    plt.close(figure)
    return figure


against_truth(found)

# %%
many("finding1")

# %% [markdown]
# ## Two clusters of two genes, with labels
#
# Half of the cells are shifted. One factor of PCA or PPCA runs along whatever varies most, a mixture of the shift and
# of the program. Told the labels, MuVI gives the shift to β and the factor to the program: the reconstruction separates
# the clusters (it was told them, so that much is no feat), the factor says next to nothing of the label and more of the
# program, and the difference between the clusters is that of the truth.

# %%
toy = simulate_ppca(num_genes=2, num_factors=1, shift=2.0, seed=4)
label = toy.z[:, 0].numpy() > 0
bare = ExpressionData(toy.data.X, toy.data.genes)  # the same cells without labels
plain = fit(PPCA(bare, num_factors=1), **quick)
told = fit(MuVI(toy.data, num_factors=1, standardize=False, factor_effects=False), **quick)
Y = toy.data.X.numpy()
fitted = {
    "PPCA": Y.mean(0) + plain.scores(bare)[0].to_numpy() @ plain.moments["W"].mean,
    "MuVI with labels": Y[~label].mean(0)
    + told.scores(toy.data)[0].to_numpy() @ told.moments["W"].mean
    + label[:, None] * told.draws["beta"].mean((0, 1)),
}


def clusters(cells: dict[str, np.ndarray]) -> Figure:
    figure, panels = plt.subplots(1, len(cells), figsize=(10, 3.2), sharex=True, sharey=True, layout="constrained")
    for ax, (name, values) in zip(panels, cells.items(), strict=True):
        ax.scatter(*values.T, c=np.where(label, "C1", "C0"), s=10, alpha=0.7)
        ax.set(title=name, xlabel=toy.data.genes[0])
    panels[0].set_ylabel(toy.data.genes[1])
    plt.close(figure)
    return figure


clusters({"data": Y, **fitted})

# %%
many("toy")

# %% [markdown]
# ## Finding 2: a covariate beside a program that goes with it
#
# The first of two programs rises with the covariate. What the covariate does to a gene directly (β) and what it does
# through the program ($\Gamma W$) are only told apart by all genes together, so β, Γ and W must be fitted jointly. A
# guide that takes them as independent is too sure; where it has not found the balance, its errors line up with the
# loadings. From the fit of the blocked guide draws walk on by rounds of the exact conditionals.

# %%
rho, num_genes = 0.9, 50
rng = np.random.default_rng(0)
W = rng.standard_normal((2, num_genes))
W[0] /= np.sqrt(1 - rho**2)  # in the model the program has variance 1 given the covariate
confounded = simulate_muvi(num_cells=200, W=W, num_covariates=1, correlation=rho, seed=7)
options = {"num_factors": 2, "standardize": False, "loading_prior": NormalLoading()}
model = MuVI(confounded.data, **options)
fits = {
    "mean-field": fit(
        MuVI(confounded.data, **options, integrate=False), guide=MeanField(), restarts=1, num_draws=200, num_steps=steps
    ),
    "product form": fit(model, guide=Blocked(refresh=0), restarts=1, num_draws=200),
    "blocked": fit(model, guide=Blocked(), restarts=1, num_draws=200),
    "Gibbs (exact)": fit(model, guide=Gibbs(num_chains=2, num_warmup=100, num_samples=100 if FAST else 300)),
}
beta = confounded.beta[0].numpy()


def intervals(fits: dict[str, pyrogrn.Posterior]) -> Figure:
    figure, panels = plt.subplots(1, len(fits), figsize=(14, 3.4), sharey=True, layout="constrained")
    for ax, (name, posterior) in zip(panels, fits.items(), strict=True):
        draws = posterior.draws["beta"][:, :, 0].reshape(-1, num_genes)
        lower, upper = np.quantile(draws, [0.05, 0.95], axis=0)
        inside = (lower <= beta) & (beta <= upper)
        ax.axline((0, 0), slope=1, color="0.7", lw=0.8)
        ax.vlines(beta, lower, upper, color=np.where(inside, "C0", "C3"), lw=1.5)
        ax.set_title(f"{name}\n{inside.mean():.0%} of the 90% intervals hold the truth", fontsize=9)
        ax.set_xlabel("true β")
    panels[0].set_ylabel("90% interval")
    plt.close(figure)
    return figure


intervals(fits)

# %% [markdown]
# One data set has one error of Γ, which all genes share: whether *this* one's intervals hold is a single throw of the
# dice. Over many data sets:

# %%
many("finding2")


# %%
def over_correlations(path: Path) -> Figure:
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    table = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["task", "method", "score", "value", "se"])
    for ax, score in zip(panels, ("coverage of 90%", "bias along the loading"), strict=True):
        for name, part in table[table["score"] == score].groupby("method", sort=False):
            if name != "blocked, no factor effects":  # that β is another quantity
                x = part["task"].str.removeprefix("correlation ").astype(float)
                ax.errorbar(x, part["value"], part["se"], label=name, marker="o", ms=4, lw=1.2)
        ax.axhline(0.9 if score.startswith("coverage") else 0, color="0.7", lw=0.8)
        ax.set(xlabel="correlation of factor and covariate", title=score if len(table) else "not run")
    panels[0].set_ylim(0, 1)
    if len(table):
        panels[1].legend(fontsize=8)
    plt.close(figure)
    return figure


over_correlations(RESULTS / "programs_finding2.csv")

# %% [markdown]
# ## Gene sets, repaired
#
# Six gene sets; a quarter of each set's genes are withheld, and as many wrong ones put in. The fit says of every gene
# how probable its membership is: wrong genes leave, withheld ones come back.

# %%
simulation = simulate_muvi(
    num_genes=120 if FAST else 300,
    num_cells=300 if FAST else 600,
    num_sets=6,
    set_size=20 if FAST else 30,
    hidden=0.25,
    false=0.25,
    seed=5,
)
model = MuVI(simulation.data, gene_sets={"sets": simulation.gene_sets}, num_factors=0, loading_prior=SpikeSlabLoading())
posterior = fit(model, restarts=2, num_draws=100)
sets = posterior.refined_sets()
truth = {(name, gene) for name, genes in simulation.true_sets.items() for gene in genes}
sets["truly a member"] = [pair in truth for pair in zip(sets["program"], sets["gene"], strict=True)]
sets.groupby("status")["truly a member"].agg(["size", "mean"]).round(3)

# %%
sets[sets["program"] == "set_1"].round(3)

# %%
loading_forest(posterior.programs(), list(model.factors))

# %%
many("repair")

# %% [markdown]
# ## Read the report
#
# Which programs matter, by the variance of the data that they explain, with intervals; how far the library of gene sets
# can be trusted (0: not at all); whether the fit can be believed; and all of it in one HTML file.

# %%
variance_explained(posterior.factors())

# %%
posterior.trust().round(2)

# %%
checks = posterior.diagnose(simulation.data)
checks[["check", "value", "threshold", "passed", "meaning"]]

# %%
write_program_report(
    posterior,
    folder / "report.html",
    data=simulation.data,
    diagnostics=checks,
    alignment=model.knowledge.reports,
    command="notebook",
    tables=ProgramTables.collect(posterior, simulation.data),
)
f"report.html: {(folder / 'report.html').stat().st_size / 1e6:.1f} MB"

# %% [markdown]
# Activities of the programs in each cell, with their sd, for whatever comes next:

# %%
activity, sd = posterior.scores(simulation.data)
activity.head().round(2)

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
# # Perturbation panels: every gene knocked down, every gene read
#
# A panel of knock-downs at steady state is one matrix equation, which makes a dynamical model of all genes a linear
# regression. Here: how well and how fast `FactorBox` finds a known network, what cell lines have in common, the network
# as a directed graph, which genes drive the variation of the others, and knock-downs that were never done. Everything
# runs on simulated panels; with the LINCS panel (`PYROGRN_DATA`: the folder that holds `lincs_rnai`) the last part is
# repeated on real knock-downs.

# %%
import os
import time
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from pyrogrn import (
    ExpressionData,
    FactorBox,
    Gibbs,
    LinearNetwork,
    fit,
    flux_table,
    score_edges,
    simulate_panel,
)
from pyrogrn.experiments.baselines import Correlation
from pyrogrn.experiments.figures import network_picture
from pyrogrn.experiments.figures.panels import plot_flux, plot_unseen
from pyrogrn.experiments.files.readers import read_expression
from pyrogrn.models.knockdown_response import Responses, predict_knockdowns

FAST = os.environ.get("PYROGRN_FAST") == "1"  # a short run for the tests
gibbs = Gibbs(num_chains=2, num_warmup=30 if FAST else 50, num_samples=30 if FAST else 80)


def in_logs(data: ExpressionData) -> ExpressionData:
    return replace(data, matrix=data.X.log())


# %% [markdown]
# ## Scaling and recovery
# Random networks with three regulators a gene, in which every gene is knocked down once, to between 10% and 90% of its
# level. Beside `FactorBox`: a linear network on log levels, and their correlation.


# %%
def recovery(num_genes: int, seed: int) -> list[dict]:
    simulation = simulate_panel(num_genes=num_genes, seed=seed)
    rows = []
    for name, run in {
        "FactorBox": lambda data: fit(FactorBox.from_data(data), guide=gibbs, seed=0).edges(),
        "linear, log levels": lambda data: fit(LinearNetwork.from_data(in_logs(data)), guide=gibbs, seed=0).edges(),
        "correlation": lambda data: Correlation()(in_logs(data)),
    }.items():
        started = time.perf_counter()
        edges = run(simulation.data)
        seconds = time.perf_counter() - started
        scores = score_edges(edges, simulation.network)
        rows.append({"genes": num_genes, "method": name, "precision": scores["average_precision"], "seconds": seconds})
    return rows


sizes, seeds = ((12, 24), (0,)) if FAST else ((15, 30, 60), (0, 1))
found = pd.DataFrame([row for size in sizes for seed in seeds for row in recovery(size, seed)])


def recovery_figure(found: pd.DataFrame) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for name, part in found.groupby("method", sort=False):
        mean = part.groupby("genes")[["precision", "seconds"]].mean()
        left.plot(mean.index, mean["precision"], "o-", label=name)
        right.plot(mean.index, mean["seconds"], "o-")
    left.set(xscale="log", ylim=(0, 1), xlabel="genes", ylabel="average precision", title="recovery")
    right.set(xscale="log", yscale="log", xlabel="genes", ylabel="seconds", title="time, one core")
    for ax in (left, right):
        ax.set_xticks(sorted(found["genes"].unique()), sorted(found["genes"].unique()))
        ax.minorticks_off()
        ax.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False)
    plt.close(figure)
    return figure


recovery_figure(found)

# %% [markdown]
# ## Consistency over cell lines
# Three cell lines share a network up to a fifth of each weight. Two hidden inputs (plates, growth) move the same genes
# in every line, so that the data are alike for another reason than the network. Fitted one by one, do the networks
# agree? Fitted together, how much of W is common?

# %%
lines = simulate_panel(
    num_genes=20 if FAST else 40, num_regulators=10, num_contexts=3, num_hidden=2, hidden_scale=0.3, seed=2
)
parts = []
for k in range(3):
    part = lines.data.subset(lines.data.context.numpy() == k)
    parts.append(replace(part, context=None, context_names=("all",)))
alone = [fit(FactorBox.from_data(part, hidden=2), guide=gibbs, seed=0) for part in parts]
joint = fit(FactorBox.from_data(lines.data, hidden=2), guide=gibbs, seed=0)
allowed = joint.model.edge_prior.allowed.numpy()


def agreement() -> pd.DataFrame:
    """Correlation over all edges, mean of the three pairs of lines."""
    regulators = [lines.data.genes.index(t) for t in lines.data.tfs]
    tables = {
        "true W": [W[regulators][allowed] for W in lines.W.numpy()],
        "W fitted alone": [posterior.moments["W"].mean[allowed] for posterior in alone],
        "W fitted together": [W[allowed] for W in joint.moments["W_context"].mean],
        "correlations of the data": [np.corrcoef(part.X.log().numpy().T)[regulators][allowed] for part in parts],
    }
    mean = {name: np.corrcoef(rows)[np.triu_indices(3, 1)].mean() for name, rows in tables.items()}
    return pd.DataFrame({"correlation between lines": mean}).round(2)


agreement()

# %% [markdown]
# A network fitted to one line agrees less with that of another than the data do: its errors are its own. Fitted
# together, the lines agree as much as they should.


# %%
def consistency_figure() -> Figure:
    draws = joint.sample(min(50, joint.draws["W"].shape[0] * joint.draws["W"].shape[1]))
    square = (draws["W"][:, allowed] ** 2).sum(1)
    share = square / (square + allowed.sum() * draws["context_scale"] ** 2)
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    for ax, weights, name in (
        (axes[0], [p.moments["W"].mean for p in alone], "fitted alone"),
        (axes[1], joint.moments["W_context"].mean, "fitted together"),
    ):
        ax.axline((0, 0), slope=1, color="0.6", lw=0.8)
        ax.scatter(weights[0][allowed], weights[1][allowed], s=6, color="k", alpha=0.5, linewidths=0)
        ax.set(xlabel="W in the first line", ylabel="W in the second line", title=name)
    axes[2].hist(share, bins=20, color="#0072B2")
    axes[2].set(xlim=(0, 1), xlabel="common share of W", ylabel="draws", title="what the lines share")
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    plt.close(figure)
    return figure


consistency_figure()

# %% [markdown]
# ## The directed network
# Arrows activate, bars repress; thicker is stronger, paler less certain.

# %%
edges = joint.edges()
network_picture(edges, tfs=set(lines.data.tfs), count=25 if FAST else 45)

# %%
edges.head(8).round(3)

# %% [markdown]
# ## Which genes drive variation?
# What the fit leaves unexplained in a gene is its own noise. Linearised at the steady state, it travels along the
# network, and the variance of every gene is a sum over the genes it came from. A gene exports what others have from it.

# %%
table, shares = flux_table(joint, context="context0", num_draws=5 if FAST else 20)
plot_flux(table, shares, joint.model.genes, top=12 if FAST else 18)

# %% [markdown]
# Genes that no edge leaves export nothing: of the genes at the top, all should be regulators.

# %%
table.head(10)["gene"].isin(lines.data.tfs).mean()

# %% [markdown]
# ## Knock-downs that were not done
# A hairpin does more than bring its gene down: its other targets, and the plate it was on, move many genes at once, and
# another line that had the same hairpins shows it. Here every knock-down gets three such effects, in each line of the
# same size but on other genes. A tenth of the knock-downs is then hidden in the first line, or in all lines.


# %%
def with_hairpins(data: ExpressionData, *, effects: int = 3, scale: float = 0.25, seed: int = 0) -> ExpressionData:
    """Levels multiplied by what hairpins do unintended."""
    rng = np.random.default_rng(seed)
    rows, gene = data.perturbed.numpy().T
    strength = np.zeros((data.num_cells, effects))
    strength[rows] = rng.standard_normal((data.num_genes, effects))[gene]
    answer = scale * rng.standard_normal((data.num_contexts, effects, data.num_genes))
    change = np.einsum("ce,ceg->cg", strength, answer[data.context.numpy()])
    change[rows, gene] = 0.0
    return replace(data, matrix=data.X * torch.as_tensor(np.exp(change)).float())


def unseen(data: ExpressionData, *, everywhere: bool, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measured and predicted residuals and sd of hidden knock-downs of the first line; NaN at the gene itself."""
    known = np.flatnonzero(Responses.from_data(data).seen.all(0).numpy())
    genes = np.random.default_rng(seed).permutation(known)[: max(2, len(known) // 10)]
    rows, gene = data.perturbed.numpy().T
    hidden = np.isin(gene, genes) & (everywhere | (data.context.numpy()[rows] == 0))
    training = Responses.from_data(data.subset(np.setdiff1d(np.arange(data.num_cells), rows[hidden])))
    found = predict_knockdowns(training, 0, torch.as_tensor(genes))
    mean = training.logs[0][training.seen[0]].mean(0).double()
    measured = Responses.from_data(data).logs[0, genes].double() - mean
    measured[torch.arange(len(genes)), torch.as_tensor(genes)] = torch.nan
    return measured.numpy(), (found.mean - mean).numpy(), found.sd.numpy()


panel = with_hairpins(
    simulate_panel(num_genes=40 if FAST else 80, num_contexts=3, drive_noise=0.05, measurement_noise=0.1, seed=3).data
)
plot_unseen(*unseen(panel, everywhere=False))

# %% [markdown]
# Hidden in every line, only the genes' own answers to other knock-downs are left to go by, and next to nothing is
# predicted. The intervals say so:

# %%
plot_unseen(*unseen(panel, everywhere=True))

# %% [markdown]
# ## The LINCS panel
# The same on real knock-downs, with the genes that three lines share (some of them, to be quick). Copying the change of
# the same knock-down from another line reaches a correlation of 0.3 at best; all lines and splits:
# docs/results/knockdowns.md.

# %%
FOLDER = Path(os.environ.get("PYROGRN_DATA", "data")) / "lincs_rnai"


def lincs(names: tuple[str, ...] = ("A375", "A549", "HA1E"), num_genes: int = 150) -> ExpressionData:
    data = read_expression([FOLDER / f"{name}.h5ad" for name in names], tfs=None, perturbation_key="perturbation")
    return data.select_genes(data.genes[: 60 if FAST else num_genes])


plot_unseen(*unseen(lincs(), everywhere=False)) if FOLDER.is_dir() else "no LINCS data here: this part is left out"

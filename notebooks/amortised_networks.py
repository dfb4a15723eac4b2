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
# # From simulation to posterior: a guide that has learned what networks look like
#
# Real cells are not linear, and many of their zeros are losses. A simulator can know all of that (saturation, half
# responses, cell types, dropout) where no likelihood can be written down. An amortised guide learns from simulated
# pairs of network and cells to say how probable each edge is; for new cells that takes a second. Here: simulate,
# infer, hold the probabilities against the truth, add prior knowledge, and see what happens when the guide is turned
# towards the linear model.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from pyrogrn import (
    Amortised,
    ExpressionData,
    Gibbs,
    LinearNetwork,
    Posterior,
    PriorNetwork,
    fit,
    score_edges,
    simulate_linear,
    simulate_sergio,
)
from pyrogrn.experiments.baselines import Correlation
from pyrogrn.experiments.figures import edge_forest, reliability_diagram
from pyrogrn.inference.amortised import load_weights
from pyrogrn.models.simulators import RandomGRN, TechnicalNoise

FAST = os.environ.get("PYROGRN_FAST") == "1"  # a short run for the tests
draws = {"num_chains": 2, "num_samples": 15 if FAST else 50}
gibbs = Gibbs(num_chains=2, num_warmup=20 if FAST else 100, num_samples=20 if FAST else 100)

# %% [markdown]
# ## Simulate
# Random networks with hubs, whose genes partly copy the regulators of another gene, as duplicated genes do; master
# regulators at a low or a high rate in each of six cell types; then dropout: small values are lost more often than
# large ones, and what is left is counted. The shipped guides were trained on networks of this kind, of many sizes,
# densities and noises; these ones they have not seen.

# %%
family = RandomGRN(
    num_genes=40 if FAST else 100,
    num_tfs=12,
    num_types=6,
    sparsity=(0.15, 0.15),
    tf_edges=(6.0, 6.0),
    hubs=(1.0, 1.0),
    copying=(0.5, 0.5),
    low_rate=(0.2, 1.0),
    high_rate=(0.7, 2.5),
    noise=(0.5, 0.5),
)
simulation = simulate_sergio(
    family,
    num_networks=2 if FAST else 8,
    num_cells=50 if FAST else 150,
    noise=TechnicalNoise(dropout_percentile=60),
    seed=1,
)
networks = range(simulation.kinetics.num_networks)
f"{len(networks)} networks, cells (network, type, cell, gene): {tuple(simulation.X.shape)}"


# %% [markdown]
# What dropout leaves of an edge: the regulator and the target with the strongest correlation among the true edges of
# the first network, before and after.


# %%
def before_and_after(network: int = 0) -> Figure:
    truth = simulation.network(network)
    position = {gene: i for i, gene in enumerate(simulation.genes)}
    source, target = ([position[g] for g in truth[key]] for key in ("source", "target"))
    panels = {"clean": simulation.clean[network], "after dropout": simulation.X[network]}
    panels = {name: cells.flatten(0, 1).numpy() for name, cells in panels.items()}
    best = int(np.argmax(np.abs(np.corrcoef(panels["clean"].T)[source, target])))
    codes = np.repeat(np.arange(simulation.clean.shape[1]), simulation.clean.shape[2])
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
    for ax, (name, values) in zip(axes, panels.items(), strict=False):
        x, y = values[:, source[best]], values[:, target[best]]
        ax.scatter(x, y, c=codes, cmap="tab10", vmax=9, s=8, alpha=0.6)
        ax.set(xlabel=truth["source"][best], ylabel=truth["target"][best])
        ax.set_title(f"{name}: correlation {np.corrcoef(x, y)[0, 1]:.2f}, zeros {(values == 0).mean():.0%}", fontsize=9)
        axes[2].hist(np.log1p(values).ravel(), bins=40, alpha=0.6, label=name)
    axes[2].set(xlabel="log(1 + expression)", ylabel="values", yscale="log", title="all genes")
    axes[2].legend()
    plt.close(figure)
    return figure


before_and_after()

# %% [markdown]
# ## Infer
# The shipped guide `grnular` looks at the cells once and gives every edge a probability; weights, noise and intercepts
# given the edges are then drawn exactly, so that the posterior has everything other posteriors have. No training, and
# no sampler to wait for.

# %%
data = simulation.data(0).without_constant_genes()
posterior = fit(LinearNetwork.from_data(data), data, guide=Amortised("grnular", **draws), seed=0)
edges = posterior.edges()
edges.head(8).round(3)

# %%
edge_forest(edges)

# %% [markdown]
# ## Can it be believed?
# Over all networks, the probabilities alone (without weights, they take a fraction of a second a network): of the
# edges called 30% probable, do about 30% exist? The guide is calibrated over the many families it was trained on. This
# is one of them, so that a share below or above the diagonal is what a user with one kind of data would see as well.

# %%
guide, _ = load_weights("grnular")


def probabilities(data: ExpressionData, truth: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Probability and truth of every pair of regulator and other gene."""
    index = torch.tensor([data.genes.index(tf) for tf in data.tfs])
    with torch.no_grad():
        probability = torch.sigmoid(guide(data.X, index)).numpy()
    true = set(zip(truth["source"], truth["target"], strict=True))
    pairs = [(t, g) for t in range(len(data.tfs)) for g in range(data.num_genes) if data.tfs[t] != data.genes[g]]
    exists = np.array([(data.tfs[t], data.genes[g]) in true for t, g in pairs])
    return np.array([probability[pair] for pair in pairs]), exists


cells = [simulation.data(i).without_constant_genes() for i in networks]
truths = [simulation.network(i) for i in networks]
parts = [probabilities(*pair) for pair in zip(cells, truths, strict=True)]
stated, exists = (np.concatenate(column) for column in zip(*parts, strict=True))
reliability_diagram(stated, exists)

# %% [markdown]
# ## Beside correlation and the linear model, and with prior knowledge
# Each network is given to
#
# - correlation (of log counts),
# - the linear model and its exact sampler, on counts and on log counts,
# - the amortised guide,
# - both again with a prior network of which half is right: the truth, with half of its edges moved to random places.
#   The guide was trained with corrupted priors, and judges from the cells how much of a list to believe; the linear
#   model learns one coefficient of trust,
# - the guide turned towards the linear model, which is explained below.


# %%
def logged(data: ExpressionData) -> ExpressionData:
    return ExpressionData(data.X.log1p(), data.genes, data.tfs)


def half_right(data: ExpressionData, truth: pd.DataFrame, seed: int) -> PriorNetwork:
    known = truth[truth["target"].isin(data.genes) & truth["source"].isin(data.tfs)]
    network = PriorNetwork.from_edges(known[["source", "target", "sign"]], name="half right")
    return network.corrupted(0.5, np.random.default_rng(seed), sources=data.tfs, targets=data.genes)


ours = Amortised("grnular", **draws)
turned = Amortised("grnular", fine_tune=10 if FAST else 100, correction="importance", **draws)


def all_methods(data: ExpressionData, truth: pd.DataFrame, seed: int) -> dict[str, pd.DataFrame | Posterior]:
    prior = {"half right": half_right(data, truth, seed)}
    plain, log = LinearNetwork.from_data(data), LinearNetwork.from_data(logged(data))
    return {
        "correlation": Correlation()(logged(data)),
        "linear, Gibbs": fit(plain, guide=gibbs, seed=seed),
        "linear, log counts, Gibbs": fit(log, guide=gibbs, seed=seed),
        "amortised": fit(plain, data, guide=ours, seed=seed),
        "linear, log counts, Gibbs, half-right prior": fit(
            LinearNetwork.from_data(logged(data), networks=prior), guide=gibbs, seed=seed
        ),
        "amortised, half-right prior": fit(LinearNetwork.from_data(data, networks=prior), data, guide=ours, seed=seed),
        "amortised, turned towards linear": fit(plain, data, guide=turned, seed=seed),
    }


def summary(found: list[dict[str, pd.DataFrame | Posterior]], truths: list[pd.DataFrame]) -> pd.DataFrame:
    """Mean ± standard error over networks."""
    rows = []
    for methods, truth in zip(found, truths, strict=True):
        for name, result in methods.items():
            edges = result if isinstance(result, pd.DataFrame) else result.edges()
            scores = score_edges(edges, truth)
            stated = edges["inclusion"].sum() if "inclusion" in edges else np.nan
            row = {"method": name, "average precision": scores["average_precision"]}
            row["calibration error"] = scores["ece"] if "inclusion" in edges else np.nan
            rows.append({**row, "edges expected": stated, "edges that exist": len(truth)})
    groups = pd.DataFrame(rows).groupby("method", sort=False)
    mean, error = groups.mean(), groups.sem()
    text = mean.map("{:.3g}".format) + " ± " + error.map("{:.1g}".format)
    return text.where(mean.notna(), "")


fits = [all_methods(data, truth, i) for i, (data, truth) in enumerate(zip(cells, truths, strict=True))]
summary(fits, truths)

# %% [markdown]
# With 8 networks (the fast setting has 2 small ones, too few to say anything): correlation ranks at 0.32 ± 0.03, the
# linear model at 0.34 ± 0.03, the guide at 0.43 ± 0.04. Given the half-right list, the linear model gains (0.44 ± 0.04)
# and the guide gains more (0.72 ± 0.03; its calibration error falls from 0.04 to 0.03): it has learned that cells and
# list must agree. The linear model expects two to four times as many edges as there are, and is sure of many that do
# not exist: these cells do not follow its equations.

# %% [markdown]
# ## Towards the linear model: when is it right?
# The guide's probabilities are of the simulator's world. `fine_tune` moves its last layers so that the linear model's
# ELBO rises on the data at hand, and `correction="importance"` resamples graphs by the linear model's evidence: both
# lead towards the linear model's own posterior; k-hat below 0.7 says for which targets the draws reach it. Whether that
# is wanted depends on the cells. On linear cells:


# %%
linear = [
    simulate_linear(num_genes=40 if FAST else 60, num_tfs=10, num_cells=300, seed=10 + i)
    for i in range(1 if FAST else len(networks))
]


def on_linear_cells(data: ExpressionData, seed: int) -> dict[str, pd.DataFrame | Posterior]:
    model = LinearNetwork.from_data(data)
    return {
        "linear, Gibbs": fit(model, guide=gibbs, seed=seed),
        "amortised": fit(model, data, guide=ours, seed=seed),
        "amortised, turned towards linear": fit(model, data, guide=turned, seed=seed),
    }


linear_fits = [on_linear_cells(one.data, i) for i, one in enumerate(linear)]
summary(linear_fits, [one.network for one in linear])


# %% [markdown]
# Each pair of regulator and gene in the first network of either kind: what the guide says, before and after it was
# turned, beside the linear model's sampler. True edges in orange.


# %%
def beside_gibbs(worlds: dict[str, tuple[dict[str, pd.DataFrame | Posterior], pd.DataFrame]]) -> Figure:
    figure, axes = plt.subplots(1, 2 * len(worlds), figsize=(14, 3.6), sharex=True, sharey=True, layout="constrained")
    panels = iter(axes)
    key = ["source", "target"]
    for world, (found, truth) in worlds.items():
        true = pd.MultiIndex.from_frame(truth[key])
        sampler = found["linear, Gibbs"].edges().set_index(key)["inclusion"]
        for name in ("amortised", "amortised, turned towards linear"):
            stated = found[name].edges().set_index(key)["inclusion"].reindex(sampler.index)
            exists = sampler.index.isin(true)
            ax = next(panels)
            for shown, colour in ((~exists, "0.7"), (exists, "C1")):
                ax.scatter(sampler[shown], stated[shown], s=8, color=colour, alpha=0.7)
            ax.axline((0, 0), slope=1, color="0.4", lw=0.8)
            ax.set_title(f"{world}\n{name}", fontsize=9)
            ax.set_xlabel("P(edge), linear model, Gibbs")
    axes[0].set_ylabel("P(edge), guide")
    plt.close(figure)
    return figure


beside_gibbs({"SERGIO cells": (fits[0], truths[0]), "linear cells": (linear_fits[0], linear[0].network)})

# %% [markdown]
# On linear cells turning is right (8 networks). The guide alone was trained on another world: it ranks at 0.71 ± 0.02
# where the exact posterior reaches 0.84 ± 0.01, expects 166 edges where there are 57, and its calibration error is
# 0.19. Turned, it ranks at 0.84 ± 0.02 with a calibration error of 0.05, beside the sampler's 0.03.
#
# On SERGIO cells turning loses most of what the guide knows: 0.43 ± 0.04 becomes 0.30 ± 0.02, no better than the linear
# model (0.32 ± 0.02). The evidence that both steps follow is that of a straight line with Gaussian noise and
# independent cells. Here effects saturate, the cells of a type are one trajectory, types shift many genes together, and
# dropout hides the regulator's own level: whichever *combination* of regulators predicts a gene best wins, a proxy of
# the type or of a lost regulator as readily as the regulator itself, and with 900 cells the evidence is strong enough
# to overrule the guide: in the second panel its probabilities follow the linear model's order, only fewer edges in all.
#
# Two checks do not show it. The calibration error is 0.04 before and after, which is why it is read together with the
# ranking. And k-hat is below 0.7 for four of five targets in either world: it says whether the draws stand for the
# linear model's posterior, not whether that model is right. (It is known where a target's draws have at least 25
# different weights; on linear cells, where few graphs are left in question, that is a third of the targets.)
#
# So: the guide as it is for cells like the simulator's; turned, or the sampler itself, where the linear model is
# believed.


# %%
def khat(found: list[dict[str, pd.DataFrame | Posterior]]) -> str:
    values = np.concatenate(
        [one["amortised, turned towards linear"].attributes["khat_target"].ravel() for one in found]
    )
    known = values[np.isfinite(values)]
    good = f", below 0.7 for {np.mean(known < 0.7):.0%} of these" if len(known) else ""
    return f"k-hat known for {len(known) / len(values):.0%} of targets{good}"


{"SERGIO cells": khat(fits), "linear cells": khat(linear_fits)}

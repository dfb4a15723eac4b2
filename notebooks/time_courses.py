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
# # Time courses: who drives whom, and what happens next
#
# Levels of genes along several courses tell more than the same levels without their times: what changes next depends on
# what is there now, so that edges get a direction. Here: edges of simulated courses by `TrajectoryNetwork`, what times
# are worth, how far the probabilities can be trusted, and dynamics with bands by `Phoenix`, with a knock-out that was
# never measured. Your own: rows are measurements, a column holds the time, another the course
# (`read_expression(file, tfs=None, time_key="time", trajectory_key="course")`).

# %%
import os

import matplotlib.pyplot as plt
import pandas as pd
import pyrogrn
from pyrogrn import Gibbs, LinearNetwork, Phoenix, PriorNetwork, TrajectoryNetwork, fit, score_edges
from pyrogrn.inference import Pruned
from pyrogrn.models.simulators import simulate_courses

FAST = os.environ.get("PYROGRN_FAST") == "1"  # a short run for the tests
gibbs = Gibbs(num_chains=2, num_warmup=50, num_samples=50) if FAST else Gibbs()

# %% [markdown]
# ## Courses with a known network
# Thirty courses from random starts, five measurements each: dg/dt = υ (σ(Wᵀ(g − ½) + b) − g), with noise.

# %%
courses = simulate_courses(num_genes=10 if FAST else 30, num_trajectories=15 if FAST else 30, seed=1)
data, truth = courses.data, courses.network
first = (data.trajectory == 0).numpy()
plt.plot(data.time.numpy()[first], data.X.numpy()[first, :6], marker="o")
plt.gca().set(xlabel="time", ylabel="level", title="six genes of one course")

# %% [markdown]
# ## Edges, with times and without
# `TrajectoryNetwork` takes each pair of consecutive measurements as one observation of the change; `LinearNetwork` sees
# the same measurements as if they were samples.

# %%
network = fit(TrajectoryNetwork.from_data(data), guide=gibbs, seed=0)
untimed = fit(LinearNetwork.from_data(data), guide=gibbs, seed=0)
names = ("average_precision", "auroc", "ece")
scores = {
    name: {score: score_edges(run.edges(), truth)[score] for score in names}
    for name, run in {"courses": network, "samples": untimed}.items()
}
print(pd.DataFrame(scores).T.round(3))
print(network.edges().head(10))

# %% [markdown]
# ## Are its probabilities true?
# Its rank order is good; its most certain edges are too certain, because the courses follow a curve where the method
# takes a step. That is why it makes no list at a rate: take the most probable edges as a ranking
# (`network.edges(top=50)`), and the picture below as the reason.

# %%
pyrogrn.pl.reliability(network, truth)

# %% [markdown]
# ## A prior network
# Half of the true edges and as many wrong ones: how far to believe it is learned.

# %%
half = truth.sample(frac=0.5, random_state=0)[["source", "target"]]
wrong = half.assign(target=half["target"].sample(frac=1, random_state=1).to_numpy())
listed = pd.concat([half, wrong[wrong["source"] != wrong["target"]]]).drop_duplicates().assign(probability=0.9)
prior = PriorNetwork.from_edges(listed, name="motif")
informed = fit(TrajectoryNetwork.from_data(data, networks={"motif": prior}), guide=gibbs, seed=0)
print(f"average precision {score_edges(informed.edges(), truth)['average_precision']:.3f} with the prior")
pyrogrn.pl.trust(informed)

# %% [markdown]
# ## Dynamics with bands, and a knock-out
# `Phoenix` trains a neural differential equation and prunes it; its edges are what these dynamics are made of, not who
# regulates whom. What it is for: levels in between and beyond, and without a gene.

# %%
short = {"epochs": 4, "svi_steps": 5} if FAST else {}
dynamics = fit(Phoenix.from_data(data, networks={"motif": prior}, hidden=20), guide=Pruned(**short), restarts=2, seed=0)
regulator = truth["source"].value_counts().index[0]
target = truth.loc[truth["source"] == regulator, "target"].iloc[0]
times = [0.0, 1.0, 2.0, 4.0, 7.0]
as_is, without = dynamics.course(times, num_draws=20), dynamics.course(times, knockout=[regulator], num_draws=20)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
pyrogrn.pl.course(as_is, [target], ax=left)
pyrogrn.pl.course(without, [target], ax=right)
left.set_title(f"{target}")
right.set_title(f"{target} without {regulator}")

"""Can lists of the other methods be trusted? Each on worlds of its own kind with a known network: the rows by which
`inference.answers.promise.why_no_list` makes no list of them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...inference import default_guide, fit
from ...models import PMFGRN, ExpressionData, FactorBox, LinearNetwork, Model, Symphony, TrajectoryNetwork
from ...models.simulators import simulate_courses, simulate_linear, simulate_panel
from ...models.simulators.responses import RESPONSES, response
from ...priors import HardMask, PriorNetwork
from ...priors.screens import screen_effects
from ..ladder.scoring import Pairs, pooled
from ..tasks import sergio_task, truth_matrix
from .dream4 import Dream4
from .results import Results

WORLDS = 2
SPAN = f"0-{WORLDS - 1}"
SHORT = {"num_chains": 2, "num_warmup": 150, "num_samples": 200}
MOVED = 0.5  # of the edges of a prior network, at random places
CONFIDENCE = 0.9
LAST = "seconds"

Truth = pd.DataFrame
World = Callable[[Path, int], Pairs]


def run(folder: Path, results: Results) -> None:
    """Every method in its worlds; finished rows are kept."""
    results.resume()
    for (method, task), world in WORLDS_OF.items():
        if results.value(task, method, SPAN, LAST) is not None:
            print(f"{task}, {method}: done before")
            continue
        results.rows = [row for row in results.rows if (row["task"], row["method"]) != (task, method)]
        started = time.process_time()
        for name, (value, error) in pooled([world(folder, seed) for seed in range(WORLDS)]).items():
            results.add(task, method, SPAN, name, value, error)
        results.add(task, method, SPAN, LAST, time.process_time() - started)


def fitted(model: Model, truth: Truth, *, plain: bool, seed: int) -> Pairs:
    """Pairs of a fit as `infer` makes it, with chains half as long; ``plain``: into genes that are no regulators."""
    guide: Any = default_guide(model)
    if guide.draws_chains:
        guide = guide.sized(**SHORT)
    posterior = fit(model, guide=guide, seed=seed, num_draws=400)
    allowed = model.edge_prior.allowed.numpy()
    tfs, targets = posterior.coords["tf"], posterior.coords["target"]
    if plain:
        allowed = allowed & ~np.isin(targets, tfs)[None]
    return pairs(posterior.moments["W"].inclusion, allowed, tfs, targets, truth)


def pairs(probability: np.ndarray, allowed: np.ndarray, sources: list[str], targets: list[str], truth: Truth) -> Pairs:
    """Of ``(source, target)`` probabilities, those that are allowed, beside a network."""
    known = set(zip(truth["source"], truth["target"], strict=True))
    true = np.array([[(s, t) in known for t in targets] for s in sources])[allowed]
    return Pairs.stated(probability[allowed].astype(float), true, np.full(true.shape, "", dtype=object))


# -- trajectory ----
def courses(measured: float) -> World:
    """`simulate ode`, of which a share of the genes is measured."""

    def world(folder: Path, seed: int) -> Pairs:
        made = simulate_courses(num_genes=40, num_trajectories=40, noise=0.02, seed=seed)
        kept = np.random.default_rng(seed).permutation(40)[: int(40 * measured)]
        data = made.data.select_genes([made.data.genes[i] for i in sorted(kept.tolist())])
        return fitted(TrajectoryNetwork.from_data(data), made.network, plain=False, seed=seed)

    return world


def on_yeast(hidden: float) -> World:
    """Targets that relax towards what the measured courses of a yeast's regulators ask for."""

    def world(folder: Path, seed: int) -> Pairs:
        place = folder / "yeast_pramila"
        cells, gold = pd.read_csv(place / "expression.csv.gz"), pd.read_csv(place / "gold_standard.csv")
        generator = np.random.default_rng([seed, 8])
        tfs = sorted(generator.choice(sorted(set(gold["source"]) & set(cells.columns)), 20, replace=False).tolist())
        levels = (cells[tfs] - cells[tfs].mean()) / cells[tfs].std()
        made, rows = driven(levels.assign(time=cells["time_min"], replicate=cells["replicate"]), tfs, 60, generator)
        offered = sorted(generator.permutation(tfs)[: int(20 * (1 - hidden))].tolist())
        frame = pd.concat([levels[offered], made], axis=1)
        data = ExpressionData.from_frame(frame, tfs=offered)
        data = data.with_times(cells["time_min"].tolist(), cells["replicate"].astype(str).tolist())
        return fitted(TrajectoryNetwork.from_data(data), rows, plain=True, seed=seed)

    return world


def driven(
    levels: pd.DataFrame, tfs: list[str], number: int, generator: np.random.Generator
) -> tuple[pd.DataFrame, Truth]:
    """Levels of made targets, :math:`\\dot y = (f(x) - y) / \\tau`, x the regulators' levels between their
    measurements on straight lines and τ two steps, with noise of a third of their sd; and their network."""
    values, edges = np.zeros((len(levels), number)), []
    fine = 20  # steps between two measurements
    for g in range(number):
        acting = generator.choice(len(tfs), generator.integers(1, 4), replace=False)
        weight = generator.choice([-1, 1], len(acting)) * generator.uniform(0.5, 1.5, len(acting))
        kind, state = list(RESPONSES)[g % len(RESPONSES)], int(generator.integers(2**31))
        for _, part in levels.groupby("replicate"):
            part = part.sort_values("time")
            clock = np.arange((len(part) - 1) * fine + 1) / fine
            between = np.stack([np.interp(clock, np.arange(len(part)), part[tf]) for tf in np.asarray(tfs)[acting]])
            same = np.random.default_rng(state)  # the response is that of the target, in every replicate
            aim = sum(w * response(x, kind, same) for w, x in zip(weight, between, strict=True))
            y = np.empty(len(clock))
            y[0] = aim[0]
            for i in range(1, len(clock)):
                y[i] = y[i - 1] + (aim[i - 1] - y[i - 1]) / (2 * fine)
            values[levels.index.get_indexer(part.index), g] = y[::fine]
        edges += [(tfs[t], f"made{g}") for t in acting]
    values += values.std(0) / 3 * generator.normal(size=values.shape)
    names = [f"made{g}" for g in range(number)]
    return pd.DataFrame(values, index=levels.index, columns=names), pd.DataFrame(edges, columns=["source", "target"])


# -- panels ----
def panel(method: str, **options: float) -> World:
    """`simulate panel`, fitted by FactorBox or screened."""

    def world(folder: Path, seed: int) -> Pairs:
        made = simulate_panel(num_genes=50, seed=seed, **options)  # type: ignore[arg-type]
        if method == "screen":
            return screened(made.data, made.network)
        return fitted(FactorBox.from_data(made.data), made.network, plain=False, seed=seed)

    return world


def dream4(method: str) -> World:
    """Network 3 or 4 of DREAM4, 100 genes."""

    def world(folder: Path, seed: int) -> Pairs:
        dream = Dream4.read(folder / "dream4" / f"size100_{3 + seed}")
        if method == "screen":
            return screened(dream.data(), dream.truth)
        return fitted(FactorBox.from_data(dream.data(), levels="log"), dream.truth, plain=False, seed=seed)

    return world


def screened(data: ExpressionData, truth: Truth) -> Pairs:
    """Probabilities that genes respond to a perturbation, taken for probabilities of edges."""
    found = screen_effects(data)
    known = np.isfinite(found.effect)
    return pairs(found.probability, known, list(found.perturbations), list(found.genes), truth)


def screened_cells(folder: Path, seed: int) -> Pairs:
    """Cells of `simulate linear` with eight regulators perturbed."""
    made = simulate_linear(num_genes=60, num_tfs=12, num_cells=400, num_perturbed=8, seed=seed)
    return screened(made.data, made.network)


# -- with prior networks ----
def with_prior(method: str, layer: str | None) -> World:
    """SERGIO DS1, or `simulate linear` where there is no layer, and a prior network half of whose edges are moved."""

    def world(folder: Path, seed: int) -> Pairs:
        if layer is None:
            made = simulate_linear(num_genes=80, num_tfs=12, num_cells=400, tf_correlation=0.3, seed=30 + seed)
            data, truth = made.data, made.network
        else:
            task = sergio_task(folder, "sergio_ds1", layer)
            cells = np.random.default_rng(seed).permutation(task.data.num_cells)[:500]
            data, truth = task.data.subset(np.sort(cells)).without_constant_genes(), task.truths["network"]
        generator = np.random.default_rng([seed, 9])
        whole = PriorNetwork.from_edges(truth[["source", "target"]].assign(probability=CONFIDENCE), name="prior")
        prior = whole.corrupted(MOVED, generator, sources=data.tfs, targets=data.genes)
        return fitted(_model(method, data, truth, prior, generator), truth, plain=True, seed=seed)

    return world


def _model(
    method: str, data: ExpressionData, truth: Truth, prior: PriorNetwork, generator: np.random.Generator
) -> Model:
    if method == "celloracle":
        return LinearNetwork.from_data(data, edge_prior=HardMask(), networks={"base GRN": prior})
    if method == "pmf-grn":
        return PMFGRN.from_data(data, networks={"prior": prior})
    there = truth_matrix(data, truth)
    score = pd.DataFrame(
        1.5 * there + generator.normal(size=there.shape), index=list(data.tfs), columns=list(data.genes)
    )
    return Symphony.from_data(data, evidence={"accessibility": score})


TASKS = {"simulate linear": None, "SERGIO DS1, clean": "clean", "SERGIO DS1, counts": "X"}
WORLDS_OF: dict[tuple[str, str], World] = {
    ("trajectory", "simulate ode"): courses(1.0),
    ("trajectory", "simulate ode, half measured"): courses(0.5),
    ("trajectory", "targets on yeast's regulators"): on_yeast(0.0),
    ("trajectory", "the same, half of the causes hidden"): on_yeast(0.5),
    ("factorbox", "simulate panel"): panel("factorbox"),
    ("factorbox", "simulate panel, half knocked down"): panel("factorbox", knocked_down=0.5),
    ("factorbox", "simulate panel, hidden inputs"): panel("factorbox", num_hidden=3),
    ("factorbox", "DREAM4"): dream4("factorbox"),
    ("screen", "simulate panel"): panel("screen"),
    ("screen", "DREAM4"): dream4("screen"),
    ("screen", "simulate linear, eight perturbed"): screened_cells,
    **{(m, task): with_prior(m, layer) for m in ("symphony", "celloracle", "pmf-grn") for task, layer in TASKS.items()},
}
"""By method and task, worlds of which pairs come with a truth."""

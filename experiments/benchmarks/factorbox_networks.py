"""Does FactorBox find the network? Panels from known networks, and the DREAM4 networks of 100 genes."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ...inference import Gibbs, fit
from ...inference.alternating.penalties import Penalties
from ...inference.alternating.solution import alternate
from ...inference.calibration import expected_calibration_error
from ...inference.draws.intervals import LEVEL
from ...models import ExpressionData, FactorBox, LinearNetwork
from ...models.data.panel import Panel, panels_of
from ...models.simulators.panel import PanelSimulation, simulate_panel
from ...priors import PriorNetwork
from ..baselines import Correlation
from ..matching import ScoredPairs, align
from ..scores import auroc, average_precision
from .results import Results, mean_se

ENGINE = Gibbs(num_chains=2, num_warmup=100, num_samples=150)  # short: there are a hundred fits
SHORT = Gibbs(num_chains=1, num_warmup=80, num_samples=100)  # of 1,000 genes, a million edges a sweep
NOISES, SHARES, SEEDS = (0.05, 0.1, 0.2), (0.25, 0.5, 1.0), (0, 1, 2)
# one thing changed at a time, from drive noise 0.1 and every gene knocked down
VARIANTS: dict[str, dict] = {
    "measured noise 0.05": {"drive_noise": 0.0, "measurement_noise": 0.05},
    "measured noise 0.1": {"drive_noise": 0.0, "measurement_noise": 0.1},
    "three replicates": {"replicates": 3},
    "two hidden inputs, none modelled": {"num_hidden": 2},
    "two hidden inputs, two modelled": {"num_hidden": 2, "hidden": 2},
    "two contexts": {"num_contexts": 2},
    "20 regulators of 100 genes": {"num_regulators": 20},
    "300 genes": {"num_genes": 300},
}
RAW = "factorbox, raw levels"  # what the panels are simulated from
SHIFT = 0.05  # added to DREAM4 levels, which reach 0: near the sd of their noise, and the logarithm is tame above it
NETWORKS = (1, 2, 3, 4)

Scores = dict[str, float]


# -- scores of a table ----


def network_scores(table: pd.DataFrame, truth: pd.DataFrame) -> Scores:
    """Ranking scores, and for the k best pairs, k the number of true edges: the share of right signs among the true
    ones, and the share of the others whose reverse is a true edge; ``direction`` is the share of true edges without a
    true reverse that rank above their reverse (ties count a half)."""
    pairs = align(table, truth)
    scores = {
        "average_precision": average_precision(pairs.score, pairs.true),
        "auroc": auroc(pairs.score, pairs.true),
    }
    called = top(pairs)
    known = called & pairs.true & (pairs.true_sign != 0)
    if pairs.weight is not None and (pairs.weight < 0).any() and known.any():
        scores["sign_accuracy"] = float((np.sign(pairs.weight[known]) == pairs.true_sign[known]).mean())
    codes, both = _codes(table)
    score, true, back = (_square(v, codes, len(both)) for v in (pairs.score, pairs.true, called))
    alone = true & ~true.T & both
    scores["direction"] = float(((score > score.T) + 0.5 * (score == score.T))[alone].mean())
    wrong = back & ~true
    scores["reversed"] = float(true.T[wrong].mean()) if wrong.any() else float("nan")
    return scores


def top(pairs: ScoredPairs) -> np.ndarray:
    """The k best pairs, with ties, k the number of true edges."""
    k = int(pairs.true.sum())
    return (pairs.score >= np.partition(pairs.score, -k)[-k]) & (pairs.score > 0)


def _codes(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """``(pair, 2)`` gene codes of the universe that `align` lays out, and ``(gene, gene)`` whether both of a pair are
    candidate regulators."""
    sources, targets = pd.unique(table["source"]), pd.unique(table["target"])
    code = {g: i for i, g in enumerate(sorted({*sources, *targets}))}
    grid = [(code[s], code[t]) for s in sources for t in targets if s != t]
    candidate = np.zeros(len(code), dtype=bool)
    candidate[[code[s] for s in sources]] = True
    return np.array(grid), candidate[:, None] & candidate


def _square(values: np.ndarray, codes: np.ndarray, size: int) -> np.ndarray:
    full = np.zeros((size, size), dtype=values.dtype)
    full[codes[:, 0], codes[:, 1]] = values
    return full


def table_of(W: np.ndarray, genes: tuple[str, ...]) -> pd.DataFrame:
    """All ordered pairs of a weight matrix (source, target)."""
    source, target = np.nonzero(~np.eye(len(genes), dtype=bool))
    names = np.asarray(genes, dtype=object)
    return pd.DataFrame({"source": names[source], "target": names[target], "weight": W[source, target]})


# -- methods ----


def factorbox(data: ExpressionData) -> pd.DataFrame:
    """As users run it: drives linear in log levels, which is not what the panels are simulated from."""
    return fit(FactorBox.from_data(data), guide=ENGINE, seed=0).edges()


def in_logs(data: ExpressionData) -> ExpressionData:
    """The same conditions and interventions with log levels."""
    return replace(data, matrix=data.X.log())


def linear(data: ExpressionData) -> pd.DataFrame:
    """The linear network on log levels."""
    return fit(LinearNetwork.from_data(in_logs(data)), guide=ENGINE, seed=0).edges()


def correlation(data: ExpressionData) -> pd.DataFrame:
    """Of log levels."""
    return Correlation()(in_logs(data))


def alternating(data: ExpressionData, *, sparsity: float = 0.0) -> pd.DataFrame:
    """The alternating solution, standardised weights."""
    return _alternating(panels_of(data, levels="raw"), data.genes, sparsity)


def _alternating(panels: list[Panel], genes: tuple[str, ...], sparsity: float = 0.0) -> pd.DataFrame:
    found = alternate(panels, Penalties(sparsity=sparsity))
    return table_of((found.W * found.scale[:, None]).cpu().numpy(), genes)


def response(data: ExpressionData, *, standardised: bool = False) -> pd.DataFrame:
    """Log fold change of every gene in the regulator's own knock-downs against the other conditions, negated (a target
    that falls with its regulator is activated); nothing for genes without a knock-down. Replicates and contexts are
    averaged. ``standardised``: in standard deviations of the gene over the conditions."""
    Y = data.X.double().log().numpy()
    codes = np.zeros(len(Y), dtype=int) if data.context is None else data.context.numpy()
    W, count = np.zeros((data.num_genes, data.num_genes)), np.zeros((data.num_genes, 1))
    for k in range(data.num_contexts):
        part = Y[codes == k]
        Y[codes == k] = part - part.mean(0)
    if standardised:
        Y = Y / Y.std(0)
    assert data.perturbed is not None, "a panel has knock-downs"
    for row, gene in data.perturbed.tolist():
        W[gene] -= Y[row]
        count[gene] += 1
    return table_of(W / np.maximum(count, 1), data.genes)


METHODS: dict[str, Callable[[ExpressionData], pd.DataFrame]] = {
    "factorbox": factorbox,
    "alternating": alternating,
    "linear, log levels": linear,
    "correlation, log levels": correlation,
    "knock-down response": response,
}


# -- known networks ----


def standardised_truth(simulation: PanelSimulation, model: FactorBox) -> np.ndarray:
    """``(context, source, target)`` the true weights in the units of the fit."""
    return (simulation.W * (model.scale.double().cpu()[:, None] / model.unit.double().cpu())).numpy()


def at_fitted_headroom(simulation: PanelSimulation, model: FactorBox) -> tuple[np.ndarray, float]:
    r"""``(context, target)`` how much steeper the fitted drive is in the level than the true one, :math:`(1 - \bar
    x/\varepsilon)/(1 - \bar x/\hat\varepsilon)`: weights are larger by this factor when the gain is held at
    another value than the true one; and the correlation of fitted and true log headroom."""
    log_headroom, level = model.log_headroom.double().cpu(), model.level_mean.double().cpu()
    top = model.top.double().cpu()
    true = (simulation.gain / top - 1).clamp_min(1e-3)
    factor = (1 - level / simulation.gain) / (1 - level / (top * (1 + log_headroom.exp())))
    correlated = np.corrcoef(true.log().flatten(), log_headroom.flatten())[0, 1]
    return factor.numpy(), float(correlated)


def factorbox_scores(simulation: PanelSimulation, hidden: int = 0, engine: Gibbs = ENGINE) -> Scores:
    """Ranking, coverage of the intervals over all pairs and over the true edges, calibration of inclusion."""
    model = FactorBox.from_data(simulation.data, levels="raw", hidden=hidden)
    posterior = fit(model, guide=engine, seed=0)
    table = posterior.edges(level=LEVEL)
    scores = network_scores(table, simulation.network)
    place = {g: i for i, g in enumerate(simulation.data.genes)}
    s, t = table["source"].map(place).to_numpy(), table["target"].map(place).to_numpy()
    true = simulation.present.numpy()[s, t]
    inside, rescaled, length = [], [], []
    factor, headroom = at_fitted_headroom(simulation, model)
    for k, W in enumerate(standardised_truth(simulation, model)):
        part = table
        if model.has_contexts:
            part = posterior.edges(level=LEVEL, context=model.contexts[k])
            part = part.set_index(["source", "target"]).loc[list(zip(table["source"], table["target"], strict=True))]
        lower, upper = part["lower"].to_numpy(), part["upper"].to_numpy()
        inside.append((lower <= W[s, t]) & (W[s, t] <= upper))
        scaled = W[s, t] * factor[k, t]
        rescaled.append((lower <= scaled) & (scaled <= upper))
        length.append((upper - lower)[true].mean())
    inside = np.mean(inside, 0)
    inclusion = table["inclusion"].to_numpy()
    called = inclusion >= 0.5
    return (
        scores
        | {
            "coverage89": float(inside.mean()),
            "coverage89_true_edges": float(inside[true].mean()),
            "coverage89_true_edges_at_fitted_gain": float(np.mean(rescaled, 0)[true].mean()),
            "headroom_correlation": headroom,
            "interval_length_true_edges": float(np.mean(length)),
            "ece": expected_calibration_error(inclusion, true),
            "mean_inclusion": float(inclusion.mean()),
            "base_rate": float(true.mean()),
            "called": float(called.sum()),
            "precision_called": float(true[called].mean()) if called.any() else float("nan"),
            "seconds": posterior.history.seconds,
        }
        | _without_feedback(table, simulation, inside, np.mean(rescaled, 0), true)
    )


def _without_feedback(
    table: pd.DataFrame, simulation: PanelSimulation, inside: np.ndarray, rescaled: np.ndarray, true: np.ndarray
) -> Scores:
    """The same for targets that regulate nothing, whose regressions are exact; empty where every gene may regulate."""
    leaf = ~table["target"].isin(simulation.data.tfs).to_numpy()
    if not leaf.any():
        return {}
    inclusion = table["inclusion"].to_numpy()[leaf]
    return {
        "coverage89_leaves": float(inside[leaf].mean()),
        "coverage89_true_edges_leaves": float(inside[leaf & true].mean()),
        "coverage89_true_edges_leaves_at_fitted_gain": float(rescaled[leaf & true].mean()),
        "mean_inclusion_leaves": float(inclusion.mean()),
        "base_rate_leaves": float(true[leaf].mean()),
        "ece_leaves": expected_calibration_error(inclusion, true[leaf]),
        "average_precision_leaves": average_precision(inclusion, true[leaf]),
    }


def settings() -> Iterator[tuple[str, dict]]:
    """Names and options of all simulated panels."""
    for noise, share in itertools.product(NOISES, SHARES):
        yield f"100 genes, noise {noise}, {share:.0%} down", {"drive_noise": noise, "knocked_down": share}
    yield from VARIANTS.items()


def run_recovery(folder: Path, results: Results) -> None:
    """All settings and methods, mean and standard error over seeds; then one network of 1,000 genes."""
    results.resume_parts()
    for name, options in settings():
        results.part(name, partial(recover, results, name, options))
    large = partial(recover, results, "1000 genes", {"num_genes": 1000}, seeds=(0,), methods=LARGE, engine=SHORT)
    results.part("1000 genes", large)


def recover(
    results: Results,
    name: str,
    options: dict,
    *,
    seeds: tuple[int, ...] = SEEDS,
    methods: dict[str, Callable[[ExpressionData], pd.DataFrame]] = METHODS,
    engine: Gibbs = ENGINE,
) -> None:
    """Rows of one setting."""
    options = dict(options)
    hidden = options.pop("hidden", 0)
    by_method: dict[str, list[Scores]] = {m: [] for m in (RAW, *methods)}
    for seed in seeds:
        simulation = simulate_panel(seed=seed, **options)
        by_method[RAW].append(factorbox_scores(simulation, hidden, engine))
        for method, function in methods.items():
            started = time.process_time()
            table = function(simulation.data)
            seconds = time.process_time() - started
            table = table[table["source"].isin(simulation.data.tfs)]
            by_method[method].append(network_scores(table, simulation.network) | {"seconds": seconds})
    add(results, name, by_method, f"{seeds[0]}-{seeds[-1]}")


LARGE = {name: METHODS[name] for name in ("alternating", "correlation, log levels", "knock-down response")}


def add(results: Results, task: str, by_method: dict[str, list[Scores]], seed: str) -> None:
    """Mean and standard error of every score over replicates."""
    for method, scores in by_method.items():
        for key in scores[0]:
            results.add(task, method, seed, key, *mean_se([s.get(key, float("nan")) for s in scores]))


# -- DREAM4 ----


@dataclass(frozen=True, eq=False)
class Dream4:
    """One network of the challenge: wild-type rows (the first points of the time series), knock-outs, knock-downs, and
    time series (series, point, gene) with their times."""

    genes: tuple[str, ...]
    wild_type: np.ndarray
    knockouts: np.ndarray
    knockdowns: np.ndarray
    series: np.ndarray
    times: np.ndarray
    truth: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> "Dream4":
        """From ``size100_K``."""
        knockouts = pd.read_csv(folder / "knockouts.csv.gz", index_col=0)
        knockdowns = pd.read_csv(folder / "knockdowns.csv.gz", index_col=0)
        series = pd.read_csv(folder / "timeseries.csv.gz")
        genes = tuple(knockouts.columns)
        if tuple(knockouts.index) != genes or tuple(knockdowns.index) != genes:
            raise ValueError(f"{folder}: rows of knock-outs and knock-downs must be the genes, in the columns' order")
        points = np.stack([part[list(genes)].to_numpy() for _, part in series.groupby("series", sort=True)])
        times = series.loc[series["series"] == series["series"].iloc[0], "time"].to_numpy()
        truth = pd.read_csv(folder / "network.csv")
        return cls(genes, points[:, 0], knockouts.to_numpy(), knockdowns.to_numpy(), points, times, truth)

    def z_scores(self) -> np.ndarray:
        """``(source, target)`` change of the target in the knock-out of the source, from its mean over all knock-outs
        and in their standard deviations, negated."""
        others = np.where(np.eye(len(self.genes), dtype=bool), np.nan, self.knockouts)
        return -(self.knockouts - np.nanmean(others, 0)) / np.nanstd(others, 0)

    def data(self, *, knockouts: bool = True, knockdowns: bool = True, ends: bool = False) -> ExpressionData:
        """Steady states as a panel: wild type, knock-outs and knock-downs clamped at their own level; ``ends``: also
        the last point before the unknown perturbation of each time series is removed, and the last of all (nothing
        clamped). Levels are shifted by SHIFT."""
        rows, labels = [self.wild_type], ["control"] * len(self.wild_type)
        for wanted, block in ((knockouts, self.knockouts), (knockdowns, self.knockdowns)):
            if wanted:
                rows.append(block)
                labels += list(self.genes)
        if ends:
            for at in (len(self.times) // 2, -1):
                rows.append(self.series[:, at])
                labels += ["control"] * len(self.series)
        X = torch.as_tensor(np.concatenate(rows) + SHIFT, dtype=torch.float32)
        return ExpressionData(X, self.genes).annotated(perturbed=labels)

    def rates(self, lifetime: float) -> Panel:
        r"""Rows :math:`(x(t), x(t) + \tau\,\Delta x/\Delta t)` of the second half of the series, where the unknown
        perturbation is gone: levels that drive, and the response they drive at (production over decay)."""
        half = len(self.times) // 2
        x, step = self.series[:, half:-1], np.diff(self.times)[half:, None]
        moved = x + lifetime * np.diff(self.series[:, half:], axis=1) / step
        flat = lambda v: torch.as_tensor(v.reshape(-1, len(self.genes)) + SHIFT)
        level, aim = flat(x), flat(moved).clamp_min(0.2 * SHIFT)
        return Panel(aim, level, torch.zeros(level.shape, dtype=torch.bool), level.new_zeros(len(level), 0))


def knockout_evidence(z: np.ndarray, genes: tuple[str, ...]) -> PriorNetwork:
    """Knock-out z-scores as a prior network: the probability that a response is not noise, from a mixture of two
    centred normals (expectation-maximisation), with the sign of the response. Responses are of direct and indirect
    targets alike; how far they speak of edges is for the trust in the source to learn."""
    off = ~np.eye(len(genes), dtype=bool)
    square, share, narrow, wide = z[off] ** 2, 0.1, 0.5, 4.0
    for _ in range(100):
        odds = np.log(share / (1 - share)) + 0.5 * np.log(narrow / wide) + 0.5 * square * (1 / narrow - 1 / wide)
        p = 1 / (1 + np.exp(-odds.clip(-30, 30)))
        share, narrow, wide = p.mean(), ((1 - p) @ square) / (1 - p).sum(), (p @ square) / p.sum()
    table = table_of(z, genes).rename(columns={"weight": "z"})
    table["probability"] = p.clip(0.01, 0.99)
    table["sign"] = np.sign(table["z"]).astype(int)
    return PriorNetwork.from_edges(table.drop(columns="z"), name="knock-outs")


def run_dream4(folder: Path, results: Results) -> None:
    """All methods on the four networks."""
    results.resume_parts()
    for network in NETWORKS:
        task = f"dream4 size100_{network}"
        dream = Dream4.read(folder / "dream4" / f"size100_{network}")
        for name, method in dream4_methods().items():
            results.part(f"{task}, {name}", partial(one_method, results, task, dream, name, method))


def one_method(results: Results, task: str, dream: Dream4, name: str, method: Callable[[Dream4], pd.DataFrame]) -> None:
    """Rows of a method on a network."""
    started = time.process_time()
    table = method(dream)
    seconds = time.process_time() - started
    scores = network_scores(table, dream.truth) | {"seconds": seconds}
    scores.pop("sign_accuracy", None)  # the signs that come with these networks agree with knock-outs by chance
    for key, value in scores.items():
        results.add(task, name, 0, key, value)


def dream4_methods() -> dict[str, Callable[[Dream4], pd.DataFrame]]:
    """What is run on each network. Time series count where the name says so."""

    def fitted(d: Dream4, *, prior: bool = False, levels: str = "log", **rows: bool) -> pd.DataFrame:
        networks = {"knock-outs": knockout_evidence(d.z_scores(), d.genes)} if prior else None
        return fit(FactorBox.from_data(d.data(**rows), levels=levels, networks=networks), guide=ENGINE, seed=0).edges()

    def ranks(d: Dream4) -> pd.DataFrame:
        """Mean of the ranks in two tables: a plain ensemble."""
        tables = [table_of(d.z_scores(), d.genes), fitted(d)]
        merged = tables[0].merge(tables[1], on=["source", "target"], suffixes=("", "_fitted"))
        rank = merged["inclusion"].rank() + merged["weight_fitted"].abs().rank() / len(merged)
        return merged[["source", "target"]].assign(weight=merged["weight"].abs().rank() + rank)

    def panel_and_rates(d: Dream4, lifetime: float = 50.0) -> pd.DataFrame:
        return _alternating([*panels_of(d.data(), levels="raw"), d.rates(lifetime)], d.genes)

    return {
        "factorbox": fitted,
        "factorbox, raw levels": lambda d: fitted(d, levels="raw"),
        "factorbox, ends of time series too": lambda d: fitted(d, ends=True),
        "factorbox without knock-outs, they as prior": lambda d: fitted(d, prior=True, knockouts=False, ends=True),
        "mean rank of factorbox and z-score": ranks,
        "alternating": lambda d: alternating(d.data()),
        "alternating, time series as rates too": panel_and_rates,
        "linear, log levels": lambda d: linear(d.data()),
        "correlation, log levels": lambda d: correlation(d.data()),
        "knock-out z-score": lambda d: table_of(d.z_scores(), d.genes),
        "knock-out and knock-down response": lambda d: response(d.data(), standardised=True),
    }

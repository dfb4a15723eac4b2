"""Evidence on edges of real screens: knock-downs of five cell lines, and knock-outs of cells that nobody showed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anndata
import numpy as np
from scipy import special
from sklearn.linear_model import LogisticRegression

from ...inference import Gibbs, fit
from ...inference.calibration import log_score
from ...models import ExpressionData, LinearNetwork
from ...priors import PriorNetwork
from ...priors.screens import ScreenEffects, screen_effects
from ..files.readers import read_expression
from ..scores import average_precision
from .results import Results, mean_se

SEEDS = (0, 1, 2)
ENGINE = Gibbs(num_chains=4, num_warmup=60, num_samples=60)  # a sweep of few edges costs the same for more chains
LINES = ("A375", "A549", "HA1E", "HT29", "MCF7")
RESPONDS = 0.9  # probability from which a gene counts as a responder
HIDDEN = 20  # components of the panel that all knock-downs share, as in section knockdowns

Scores = dict[str, float]


def repeat(results: Results, task: str, method: str, seeds: Sequence[int], once: Callable[[int], Scores]) -> None:
    """Rows of every seed, and their mean with its standard error; seeds that are there are not run again."""
    for seed in seeds:
        if results.value(task, method, seed, "done") is None:
            for score, value in once(seed).items():
                results.add(task, method, seed, score, value)
            results.add(task, method, seed, "done", 1.0)
    label = f"{seeds[0]}-{seeds[-1]}"
    of = {str(seed) for seed in seeds}
    found: dict[str, list[float]] = {}
    for row in results.rows:
        if (row["task"], row["method"]) == (task, method) and str(row["seed"]) in of and row["score"] != "done":
            found.setdefault(row["score"], []).append(row["value"])
    for score, values in found.items():
        if results.value(task, method, label, score) is None:
            results.add(task, method, label, score, *mean_se(values))


def gained_bits(
    features: Sequence[np.ndarray], responds: np.ndarray, train: np.ndarray, test: np.ndarray
) -> tuple[float, float]:
    """Bits a pair over the base rate, and average precision, of ``(knock-down, gene)`` features on rows ``test``."""
    x = [np.stack([f[rows].ravel() for f in features], axis=1) for rows in (train, test)]
    y = [responds[rows].ravel() for rows in (train, test)]
    seen = [np.isfinite(v).all(1) for v in x]
    (x0, y0), (x1, y1) = ((v[s], t[s]) for v, t, s in zip(x, y, seen, strict=True))
    mean, sd = x0.mean(0), x0.std(0) + 1e-12
    model = LogisticRegression(C=1e3).fit((x0 - mean) / sd, y0)
    p = model.predict_proba((x1 - mean) / sd)[:, 1]
    base = np.full(len(y1), y0.mean())
    return (log_score(base, y1) - log_score(p, y1)) / np.log(2), average_precision(p, y1)


@dataclass(frozen=True, eq=False)
class Line:
    """Responses of one line, ``(knock-down, gene)`` over the knock-downs and genes that all lines share.

    ``responds`` bool; ``own`` self-pairs; ``others`` (line, knock-down, gene) log-odds of the response elsewhere;
    ``level`` (condition, gene) of the line with its ``labels``; ``column`` of each knocked-down gene; ``curated`` 0/1.
    """

    knockdowns: tuple[str, ...]
    responds: np.ndarray
    own: np.ndarray
    others: np.ndarray
    level: np.ndarray
    labels: np.ndarray
    column: np.ndarray
    curated: np.ndarray

    def feature(self, name: str, train: np.ndarray, seed: int) -> np.ndarray:
        """``(knock-down, gene)``, NaN for self-pairs; of what was seen when only ``train`` was knocked down here."""
        if name == "one other line":
            found = self.others[seed % len(self.others)]
        elif name == "other lines":
            found = self.others.mean(0)
        elif name == "another knock-down of the other lines":
            found = np.roll(self.others.mean(0), 1, axis=0)
        elif name == "curated network":
            found = self.curated
        elif name == "co-expression":
            hidden = set(self.knockdowns) - {self.knockdowns[i] for i in train}
            used = ~np.isin(self.labels, list(hidden))
            found = np.abs(np.corrcoef(self.level[used], rowvar=False))[self.column]
        else:
            # how often a gene responds to anything: what says nothing of the knock-down
            rate = (self.responds[train].sum(0) + 0.5) / (len(train) + 1.0)
            found = np.broadcast_to(special.logit(rate), self.responds.shape)
        return np.where(self.own, np.nan, found)

    def scores(self, names: Sequence[str], seed: int) -> Scores:
        """A fifth of the knock-downs held out."""
        order = np.random.default_rng(seed).permutation(len(self.knockdowns))
        test, train = np.split(order, [len(order) // 5])
        features = [self.feature(name, train, seed) for name in names]
        bits, precision = gained_bits(features, self.responds, train, test)
        base = float(self.responds[test].mean())
        entropy = float(special.entr([base, 1 - base]).sum() / np.log(2))
        return {
            "bits a pair": bits,
            "share of the entropy": bits / entropy,
            "average precision": precision,
            "base rate": base,
        }


MODALITIES = (
    ("responsive genes",),
    ("one other line",),
    ("other lines",),
    ("another knock-down of the other lines",),
    ("co-expression",),
    ("curated network",),
    ("responsive genes", "other lines"),
    ("responsive genes", "co-expression"),
    ("responsive genes", "curated network"),
    ("responsive genes", "other lines", "co-expression"),
)


def across_lines(folder: Path, results: Results) -> None:
    """LINCS: which genes respond to a knock-down, from the same knock-down in other lines, from co-expression in the
    line, from a curated network; trust from the line's own other knock-downs."""
    if all(results.value(f"knock-downs of {n}", " + ".join(m), "0-2", "base rate") for n in LINES for m in MODALITIES):
        return
    lines = read_lines(folder)
    for name, line in lines.items():
        for names in MODALITIES:
            method = " + ".join(names)
            repeat(results, f"knock-downs of {name}", method, SEEDS, partial(line.scores, names))


def read_lines(folder: Path) -> dict[str, Line]:
    """All lines over the genes and knock-downs that they share."""
    data = {name: lines_data(folder, name) for name in LINES}
    genes = sorted(set.intersection(*(set(d.genes) for d in data.values())))
    effects: dict[str, ScreenEffects] = {}
    labels = {name: labels_of(d) for name, d in data.items()}
    for name, d in data.items():
        kept = np.isin(labels[name], ["control", *genes])
        part = d.subset(kept).select_genes(genes)
        effects[name] = screen_effects(part, labels=labels[name][kept].tolist(), hidden=HIDDEN)
    common = tuple(sorted(set.intersection(*(set(e.perturbations) for e in effects.values()))))
    rows = {name: [e.perturbations.index(p) for p in common] for name, e in effects.items()}
    odds = {n: special.logit(e.probability[rows[n]].clip(1e-3, 0.999)) for n, e in effects.items()}
    column = np.array([genes.index(p) for p in common])
    curated = curated_network(folder, common, genes)
    found = {}
    for name, e in effects.items():
        found[name] = Line(
            common,
            e.probability[rows[name]] > RESPONDS,
            ~np.isfinite(e.effect[rows[name]]),
            np.stack([odds[o] for o in LINES if o != name]),
            data[name].select_genes(genes).X.double().numpy(),
            labels[name],
            column,
            curated,
        )
    return found


def lines_data(folder: Path, name: str) -> ExpressionData:
    """Log levels of one line."""
    file = folder / "lincs_rnai" / f"{name}.h5ad"
    return read_expression(file, tfs=None, normalize="log1p-cpm", perturbation_key="perturbation")


def labels_of(data: ExpressionData) -> np.ndarray:
    """``(condition,)`` the gene knocked down, or ``control``."""
    labels = np.full(data.num_cells, "control", dtype=object)
    for cell, gene in [] if data.perturbed is None else data.perturbed.tolist():
        labels[cell] = data.genes[gene]
    return labels


def curated_network(folder: Path, sources: Sequence[str], genes: Sequence[str]) -> np.ndarray:
    """``(source, gene)`` 1 where CollecTRI lists the edge."""
    network = PriorNetwork.read(folder / "priors" / "collectri_human.csv.gz", duplicates="mean")
    return (network.matrix(sources, genes)[0] > 0).astype(float)


def held_out_knockouts(folder: Path, results: Results) -> None:
    """Real single cells: knock-outs that the fit has not seen, their responders ranked by the network of the rest."""
    for name, normalize in (("perturbseq_papalexi_thp1", "log1p-cpm"), ("perturbseq_dixit_bmdc", "log1p-cpm")):
        file = folder / name / "expression.h5ad"
        obs = anndata.read_h5ad(file, backed="r")
        labels = np.array(obs.obs["perturbation"].astype(str).tolist())
        listed = set(obs.var_names[obs.var["is_tf"]]) if "is_tf" in obs.var else set(obs.var_names)
        data = read_expression(file, tfs=None, normalize=normalize, drop_constant=True)
        effects = screen_effects(data, labels=labels.tolist())
        chosen = responders(effects, data)
        tfs = sorted((listed | set(chosen)) & set(data.genes))
        data = data.match_tfs(tfs)
        for use in USES:
            repeat(results, name, use, SEEDS, rank_responders(data, labels, effects, chosen, use))


def responders(effects: ScreenEffects, data: ExpressionData) -> list[str]:
    """Perturbed genes that are measured and to which at least three genes respond."""
    real = (np.nan_to_num(effects.probability) > 0.5).sum(1)
    return [p for p, n in zip(effects.perturbations, real, strict=True) if p in data.genes and n >= 3]


USES = (
    "mean response to the others",
    "controls",
    "as many cells, other knock-outs as data",
    "all cells, other knock-outs as data",
    "all cells, labels ignored",
    "controls + screen of the others as prior",
)


def rank_responders(
    data: ExpressionData, labels: np.ndarray, effects: ScreenEffects, chosen: Sequence[str], use: str
) -> Callable[[int], Scores]:
    """A third of ``chosen`` held out, by the seed: mean average precision of a held-out knock-out's responders by the
    size of its row of W, and correlation of minus that row with the response."""

    def of(seed: int) -> Scores:
        fold = chosen[seed % len(chosen) :: len(SEEDS)]
        known = ~np.isin(labels, fold)
        rows = predicted_rows(data, labels, effects, fold, known, use, seed)
        precision, base, correlation = [], [], []
        for gene, row in rows.items():
            at = effects.perturbations.index(gene)
            seen = np.isfinite(effects.effect[at])
            real = effects.probability[at][seen] > 0.5
            precision.append(average_precision(np.abs(row[seen]), real))
            base.append(real.mean())
            correlation.append(np.corrcoef(row[seen], (effects.effect[at] / effects.error[at])[seen])[0, 1])
        return {
            "average precision": float(np.mean(precision)),
            "base rate": float(np.mean(base)),
            "correlation of response": float(np.mean(correlation)),
            "knock-outs": float(len(precision)),
        }

    return of


def predicted_rows(
    data: ExpressionData,
    labels: np.ndarray,
    effects: ScreenEffects,
    fold: Sequence[str],
    known: np.ndarray,
    use: str,
    seed: int,
) -> dict[str, np.ndarray]:
    """By held-out gene, ``(gene,)`` predicted response up to a factor."""
    others = [i for i, p in enumerate(effects.perturbations) if p not in fold]
    if use == USES[0]:
        mean = np.nan_to_num(np.nanmean((effects.effect / effects.error)[others].clip(-8, 8), axis=0))
        return dict.fromkeys(fold, mean)
    control = np.flatnonzero(labels == "control")
    cells = control if use.startswith("controls") else np.flatnonzero(known)
    number = len(control) if "as many" in use else len(cells)
    rng = np.random.default_rng(seed)
    cells = rng.choice(cells, round(0.9 * number), replace=False)
    part = data.subset(cells)
    if "as data" in use:
        part = part.with_interventions(labels[cells].tolist(), unmeasured=True)
    networks = None
    if "prior" in use:
        rest = [effects.perturbations[i] for i in others]
        networks = {"screen": effects.to_network("screen", sources=rest)}
    part = part.without_constant_genes()
    posterior = fit(LinearNetwork.from_data(part, networks=networks), guide=ENGINE, seed=seed)
    mean, coords = posterior.moments["W"].mean, posterior.coords
    found = {}
    for gene in fold:
        row = dict.fromkeys(data.genes, 0.0)
        if gene in coords["tf"]:
            row |= dict(zip(coords["target"], (-mean[coords["tf"].index(gene)]).tolist(), strict=True))
        found[gene] = np.array([row[g] for g in data.genes])
    return found

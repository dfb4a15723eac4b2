"""Unseen knock-downs of the LINCS panel; what its five cell lines have in common is in `knockdowns_context`.

Residuals are log levels minus the mean profile of the training conditions of the line; correlations are over genes
without the knocked-down one, then averaged over conditions. ``without K components``: the K leading directions of the
line's training residuals are projected out of prediction and truth. They are what moves many genes at once in every
other condition: plates, growth, off-target effects. The same hairpins were used in all lines, so they are shared, and
what is left is nearer to the knocked-down gene's own. Intervals (``_lower``, ``_upper``, 95%) and standard errors of
unseen knock-downs are from a bootstrap over splits and conditions; those of pairs of lines from a jackknife over lines.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anndata
import numpy as np
import torch

from ...inference import Gibbs, Posterior, fit
from ...inference.answers.panels import networks
from ...models import ExpressionData, FactorBox
from ...models.dynamics.dynamics import ENVELOPES, Dynamics
from ...models.dynamics.settle import SETTLED, settle
from ...models.factorbox import System
from ...models.knockdown_response import Responses, predict_knockdowns
from ..files.readers import read_expression
from .results import Results

LINES = ("A375", "A549", "HA1E", "HT29", "MCF7")
LARGE = LINES[:4]
SHARE, SEEDS = 0.1, (0, 1, 2, 3, 4)
REMOVED = (0, 2, 10, 40)
HIDDEN = 20
HIDDENS = (HIDDEN, 0)  # inputs of the network of all genes
NETWORK = Gibbs(num_chains=2, num_warmup=60, num_samples=60)  # 922 regulators: a minute
DRAWS = 4  # of the network; the mean over more moves a correlation by less than its standard error

Scores = dict[tuple[str, str], np.ndarray]  # (method, score) -> one value a held-out condition


# -- splits and scores ----


@dataclass(frozen=True, eq=False)
class Lines:
    """The panel of some lines: data with contexts, log levels ``(context, knock-down, gene)``, log control
    ``(context, gene)``; every gene is knocked down once in each."""

    data: ExpressionData
    logs: np.ndarray
    control: np.ndarray

    @classmethod
    def read(cls, folder: Path, names: Sequence[str]) -> "Lines":
        files = [folder / "lincs_rnai" / f"{name}.h5ad" for name in names]
        data = read_expression(files, tfs=None, perturbation_key="perturbation")
        control = []
        for file in files:
            panel = anndata.read_h5ad(file)
            control.append(np.log(panel[panel.obs["is_control"].astype(bool), list(data.genes)].X[0]))
        responses = Responses.from_data(data)
        if not bool(responses.seen.all()):
            raise ValueError(f"{folder}: expected every gene that {list(names)} share knocked down in each of them")
        return cls(data, responses.logs.double().numpy(), np.array(control, dtype=float))

    def without(self, genes: np.ndarray, contexts: Sequence[int]) -> ExpressionData:
        """The panel without the knock-downs of ``genes`` (positions) in ``contexts``."""
        assert self.data.perturbed is not None
        assert self.data.context is not None
        rows, gene = self.data.perturbed.numpy().T
        drop = np.isin(gene, genes) & np.isin(self.data.context.numpy()[rows], contexts)
        return self.data.subset(np.setdiff1d(np.arange(self.data.num_cells), rows[drop]))

    def only(self, data: ExpressionData, context: int) -> ExpressionData:
        """One context of ``data``."""
        assert data.context is not None
        part = data.subset(data.context.numpy() == context)
        return replace(part, context=None, context_names=("all",))


def held_out(number: int, seed: int) -> np.ndarray:
    """Positions of the held-out genes."""
    return np.random.default_rng(seed).permutation(number)[: round(SHARE * number)]


def pearson(prediction: np.ndarray, truth: np.ndarray, genes: np.ndarray) -> np.ndarray:
    """Correlation of every row over all columns but that of its own gene."""
    keep = np.ones(truth.shape, dtype=bool)
    keep[np.arange(len(genes)), genes] = False
    count = keep.sum(1, keepdims=True)
    a, b = (np.where(keep, v - (v * keep).sum(1, keepdims=True) / count, 0.0) for v in (prediction, truth))
    scale = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return np.divide((a * b).sum(1), scale, out=np.zeros(len(a)), where=scale > 0)


@dataclass(frozen=True, eq=False)
class Split:
    """Held-out ``genes`` of one context: residuals ``truth`` ``(condition, gene)``, ``mean`` profile, ``components``
    ``(component, gene)`` of the training residuals with their shares of variance."""

    genes: np.ndarray
    truth: np.ndarray
    mean: np.ndarray
    components: np.ndarray
    variance: np.ndarray
    others: np.ndarray  # (other context, condition, gene) residuals of the same knock-downs elsewhere
    covariance: np.ndarray  # (condition, gene) of the knocked-down gene with every gene, over training conditions
    control: np.ndarray

    @classmethod
    def of(cls, lines: Lines, context: int, genes: np.ndarray) -> "Split":
        train = np.setdiff1d(np.arange(lines.logs.shape[1]), genes)
        mean = lines.logs[:, train].mean(1)
        residual = lines.logs[:, train] - mean[:, None]
        _, values, components = np.linalg.svd(residual[context], full_matrices=False)
        truth = lines.logs[context, genes] - mean[context]
        truth[np.arange(len(genes)), genes] = 0.0
        elsewhere = [k for k in range(len(lines.logs)) if k != context]
        others = lines.logs[elsewhere][:, genes] - mean[elsewhere][:, None]
        covariance = residual[context][:, genes].T @ residual[context] / len(train)
        share = values**2 / (values**2).sum()
        return cls(genes, truth, mean[context], components, share, others, covariance, lines.control[context])

    def residual_scores(self, prediction: np.ndarray, removed: Sequence[int] = REMOVED) -> dict[str, np.ndarray]:
        """Correlation of residuals, plain and without the leading components."""
        found = {}
        for number in removed:
            off = self.components[:number]
            a, b = (v - (v @ off.T) @ off for v in (prediction, self.truth))
            name = f"residual without {number} components" if number else "residual"
            found[name] = pearson(a, b, self.genes)
        return found

    def log_ratio(self, prediction: np.ndarray) -> np.ndarray:
        """Correlation of log-ratios to the control, given predicted residuals."""
        base = self.mean - self.control
        return pearson(base + prediction, base + self.truth, self.genes)

    def coverage(self, prediction: np.ndarray, sd: np.ndarray) -> np.ndarray:
        """Share of genes whose level is within 1.645 standard deviations."""
        inside = np.abs(self.truth - prediction) <= 1.645 * sd
        inside[np.arange(len(self.genes)), self.genes] = False
        return inside.sum(1) / (inside.shape[1] - 1)


def seen_elsewhere(lines: Lines, context: int, genes: np.ndarray) -> Scores:
    """Case (i): the other lines saw these knock-downs."""
    split = Split.of(lines, context, genes)
    names = [n for k, n in enumerate(lines.data.context_names) if k != context]
    found = _response(lines, context, split, [context])
    for name, copied in (*zip(names, split.others, strict=True), ("mean of the others", split.others.mean(0))):
        method = f"copy {name}" if name in names else name
        found |= {(method, key): value for key, value in split.residual_scores(copied).items()}
        found[method, "log-ratio"] = split.log_ratio(copied)
    wrong = split.residual_scores(np.roll(split.others.mean(0), 1, 0))
    return found | {("control: mean of the others, another knock-down", key): value for key, value in wrong.items()}


def seen_nowhere(lines: Lines, context: int, genes: np.ndarray) -> Scores:
    """Case (ii): hidden in every line."""
    split = Split.of(lines, context, genes)
    found = _response(lines, context, split, range(len(lines.logs)))
    guess = split.residual_scores(-split.covariance)
    return found | {("negative covariance", key): value for key, value in guess.items()}


def _response(lines: Lines, context: int, split: Split, hidden: Sequence[int]) -> Scores:
    """What `Posterior.predict` answers to single knock-downs of such a panel."""
    responses = Responses.from_data(lines.without(split.genes, hidden))
    predicted = predict_knockdowns(responses, context, torch.as_tensor(split.genes))
    residual = predicted.mean.numpy() - split.mean
    found = {("response", key): value for key, value in split.residual_scores(residual).items()}
    found["response", "log-ratio"] = split.log_ratio(residual)
    found["response", "coverage90"] = split.coverage(residual, predicted.sd.numpy())
    found["mean profile", "log-ratio"] = split.log_ratio(np.zeros_like(residual))
    return found


def add_bootstrap(results: Results, task: str, splits: Sequence[Scores], *, draws: int = 2000) -> None:
    """Mean over conditions, its standard error and 95% interval over splits and conditions."""
    rng = np.random.default_rng(0)
    for method, score in splits[0]:
        values = [s[method, score] for s in splits]
        means = []
        for _ in range(draws):
            chosen = rng.integers(len(values), size=len(values))
            means.append(np.concatenate([rng.choice(values[i], len(values[i])) for i in chosen]).mean())
        seed = "0" if len(values) == 1 else f"0-{len(values) - 1}"
        results.add(task, method, seed, score, float(np.concatenate(values).mean()), float(np.std(means)))
        for end, value in zip(("lower", "upper"), np.quantile(means, [0.025, 0.975]), strict=True):
            results.add(task, method, seed, f"{score}_{end}", float(value))


# -- unseen knock-downs ----
CASES = {"seen elsewhere": seen_elsewhere, "seen nowhere": seen_nowhere}


def run_unseen(folder: Path, results: Results) -> None:
    """Five lines on the genes that all have, A375 beside the large lines, then what the network adds; parts that the
    file has are kept."""
    results.resume()
    lines = Lines.read(folder, LINES)
    for context in range(len(LINES)):
        run_line(results, lines, context)
    lines = Lines.read(folder, LARGE)
    run_line(results, lines, 0)
    run_network(results, lines)


def run_line(results: Results, lines: Lines, context: int) -> None:
    """Both cases of one line, all splits."""
    number = lines.data.num_genes
    task = f"{lines.data.context_names[context]} of {len(lines.logs)} lines, {number} genes"
    cases = {f"{task}, {name}": case for name, case in CASES.items()}
    left = {name: case for name, case in cases.items() if not results.has(name)}
    if not left:
        return
    splits = [held_out(number, seed) for seed in SEEDS]
    share = Split.of(lines, context, splits[0]).variance
    results.rows = [row for row in results.rows if row["task"] != task]
    for count in REMOVED[1:]:
        results.add(task, "components", 0, f"variance in {count} components", float(share[:count].sum()))
    for name, case in left.items():
        add_bootstrap(results, name, [case(lines, context, genes) for genes in splits])


def run_network(results: Results, lines: Lines, context: int = 0) -> None:
    """What a fitted network adds to the learned response, first split: the network alone, and departing from it."""
    task = f"{lines.data.context_names[context]}, network of {lines.data.num_genes} genes, first split"
    if results.has(task, score="residual"):
        return
    results.rows = [row for row in results.rows if row["task"] != task]
    genes = held_out(lines.data.num_genes, 0)
    split = Split.of(lines, context, genes)
    train = lines.without(genes, [context])
    predicted = predict_knockdowns(Responses.from_data(train), context, torch.as_tensor(genes)).mean
    found: Scores = {("response", k): v for k, v in split.residual_scores(predicted.numpy() - split.mean).items()}
    measured = lines.data.X.double()[_rows(lines, context, genes), torch.as_tensor(genes)]
    for hidden in HIDDENS:
        model = FactorBox.from_data(lines.only(train, context), hidden=hidden)
        posterior = fit(model, guide=NETWORK, seed=0)
        name = f"{hidden} hidden inputs"
        answers = []
        for system in one_by_one(model, posterior):
            start = torch.as_tensor(np.exp(split.mean))
            answers.append(answer_of(system, start, predicted.exp(), measured, torch.as_tensor(genes)))
        eigenvalues = [float(a["eigenvalue"]) for a in answers]
        results.add(task, name, 0, "largest eigenvalue", float(np.mean(eigenvalues)), float(np.std(eigenvalues)))
        for way in ("alone", "on top"):
            settled = np.mean([a[f"settled {way}"] for a in answers])
            results.add(task, f"network {way}, {name}", 0, "share settled", float(settled))
            change = np.stack([a[way] for a in answers])
            # a condition that settles in no draw keeps what the network departs from
            base = np.zeros_like(split.truth) if way == "alone" else predicted.numpy()
            known = np.isfinite(change)
            change = np.where(known.any(0), np.where(known, change, 0.0).sum(0) / known.sum(0).clip(1), base)
            residual = change - (split.mean if way == "on top" else 0.0)
            scores = split.residual_scores(residual)
            found |= {(f"network {way}, {name}", key): value for key, value in scores.items()}
    add_bootstrap(results, task, [found])


def _rows(lines: Lines, context: int, genes: np.ndarray) -> torch.Tensor:
    rows, gene = lines.data.perturbed.T  # type: ignore[union-attr]
    here = lines.data.context[rows] == context  # type: ignore[index]
    place = dict(zip(gene[here].tolist(), rows[here].tolist(), strict=True))
    return torch.tensor([place[g] for g in genes.tolist()])


def one_by_one(model: FactorBox, posterior: Posterior) -> Iterator[System]:
    """Systems of single draws."""
    for block in networks(model, posterior.sample(DRAWS), 0):
        d = block.dynamics
        for i in range(len(d.W)):
            part = slice(i, i + 1)
            one = Dynamics(d.W[part], d.gain[part], d.decay[part], d.bias[part], d.envelope)
            yield System(one, block.epsilon[part], block.floor, block.logs)


def answer_of(
    system: System, start: torch.Tensor, aim: torch.Tensor, measured: torch.Tensor, genes: torch.Tensor
) -> dict[str, np.ndarray | float]:
    """What one system says of knock-downs, ``(condition, gene)`` in logs: ``alone``, the change from its own steady
    state; ``on top``, the state it moves to from the learned levels ``aim``, which inputs make steady."""
    number, size = aim.shape
    rows = torch.arange(number)
    clamped = torch.zeros(number, size, dtype=torch.bool)
    clamped[rows, genes] = True
    down = aim.clone()
    down[rows, genes] = measured
    down = system.coordinate(down[None])[0, rows, genes]
    dynamics = system.dynamics

    def steady(levels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        s = system.coordinate(levels[None])
        ceiling = -1e-6 if system.logs else system.epsilon[:, None] * (1 - 1e-6)  # what the gain can hold
        s = torch.minimum(s, torch.as_tensor(ceiling))
        drive = ENVELOPES[dynamics.envelope].inverse(s * dynamics.decay / dynamics.gain)
        return s, drive[0] - s[0] @ dynamics.W[0] - dynamics.bias

    def after(state: torch.Tensor, inputs: torch.Tensor | None) -> tuple[np.ndarray, float]:
        state = state.expand(1, number, size).clone()
        state[0, rows, genes] = down
        result = settle(dynamics, state, inputs=inputs, clamped=clamped)
        return system.level(result.x)[0].log().numpy(), float((result.outcome == SETTLED).double().mean())

    middle, inputs = steady(start[None])
    jacobian = dynamics.jacobian(middle, inputs)[0, 0]
    found: dict[str, np.ndarray | float] = {"eigenvalue": float(torch.linalg.eigvals(jacobian).real.max())}
    base = settle(dynamics, middle)
    found["alone"], found["settled alone"] = np.full((number, size), np.nan), 0.0
    if int(base.outcome[0, 0]) == SETTLED:
        level, found["settled alone"] = after(base.x, None)
        found["alone"] = level - system.level(base.x)[0].log().numpy()
    state, inputs = steady(aim)
    found["on top"], found["settled on top"] = after(state, inputs)
    return found

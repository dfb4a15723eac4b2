r"""What a fitted PHOENIX says of single values, of trajectories from any start, and of velocities."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...models import ExpressionData, Phoenix
from ...models.data.checks import some
from ...models.data.transitions import Transitions
from ...models.dynamics.phoenix_layers import BlowUp, PhoenixParameters
from ..draws.fitted import PosteriorLike
from ..neural_ode.kept_weights import check_kept_weights
from ..neural_ode.surviving import weight_draws
from .base import Answers, Intervention, Request
from .named_genes import check_measured
from .results import CellPredictions, Course

PAIRS = 40  # pairs whose genes are predicted, when only some values are asked for


class CourseAnswers(Answers[Phoenix]):
    """Trajectories from any start, velocities, and ends of intervals between measurements."""

    directed = True  # by time
    predicts_held_out = True
    spent_knowledge = "Pruning has gone by the sources already: what is left cannot tell whether the data support them."

    def unpredictable(self, model: Phoenix, data: ExpressionData) -> str | None:
        return None

    def checks_residuals(self, model: Phoenix) -> bool:
        return True

    def check_kept(self, model: Phoenix, attributes: Mapping[str, Any], chains: int) -> None:
        check_kept_weights(model, attributes, chains)

    def num_learned(self, posterior: PosteriorLike[Phoenix]) -> tuple[int, str]:
        """Weights of neurons that are not pruned, not edges."""
        masks = [v for n, v in posterior.attributes.items() if n.startswith("phoenix.mask.")]
        return max(1, sum(int(m.sum()) for m in masks) // len(masks[0])), "guide.svi_steps"

    def has_edge_prior(self, model: Phoenix) -> bool:
        return False  # an edge is an effect of many weights: not of one W

    def cells(
        self, posterior: PosteriorLike[Phoenix], data: ExpressionData, number: int, rng: np.random.Generator
    ) -> CellPredictions:
        return predict_values(posterior, data, number, rng)

    def residuals(
        self, posterior: PosteriorLike[Phoenix], data: ExpressionData, *, num_cells: int, num_draws: int, seed: int
    ) -> np.ndarray:
        return squared_errors(posterior, data, num_draws, seed)

    def predict(self, posterior: PosteriorLike[Phoenix], intervention: Intervention, request: Request) -> pd.DataFrame:
        if intervention.knockdown or intervention.inputs or request.context or request.steps:
            raise ValueError("PHOENIX predicts genes held at a level: no knock-downs, inputs, contexts or steps")
        return final_levels(posterior, intervention.levels, request)

    def course(
        self,
        posterior: PosteriorLike[Phoenix],
        times: Sequence[float],
        *,
        start: Mapping[str, float] | str | None,
        knockout: Sequence[str],
        overexpress: Mapping[str, float] | None,
        num_draws: int,
        seed: int,
    ) -> Course:
        return predict_course(
            posterior, times, start=start, knockout=knockout, overexpress=overexpress, num_draws=num_draws, seed=seed
        )

    def velocity(
        self, posterior: PosteriorLike[Phoenix], data: ExpressionData, *, num_draws: int, seed: int
    ) -> pd.DataFrame:
        return velocity(posterior, data, num_draws=num_draws, seed=seed)


def predict_values(
    posterior: PosteriorLike[Phoenix], data: ExpressionData, number: int, rng: np.random.Generator
) -> CellPredictions:
    """Random ends of pairs of measurements, from the measured start, in units of the data; labels
    "trajectory:pair:gene". NaN for draws whose solution blows up."""
    model = posterior.model
    pairs = scaled_pairs(model, data)
    rows = np.sort(rng.choice(pairs.num_pairs, min(PAIRS, pairs.num_pairs), replace=False))
    part = pairs.rows(torch.as_tensor(rows))
    row, gene = np.nonzero(part.observed.cpu().numpy())
    chosen = np.sort(rng.choice(len(row), min(number, len(row)), replace=False))
    row, gene = row[chosen], gene[chosen]
    weights, noise = weight_draws(posterior)
    mean = torch.stack([_solved(model, one, part)[row, gene] for one in _each(weights)])
    shape = posterior.draws["W"].shape[:2]
    low, size = (getattr(model, name).cpu().double().numpy()[gene] for name in ("low", "size"))
    level = low + size * mean.double().cpu().numpy().reshape(*shape, -1)
    sd = size * noise.double().cpu().numpy().reshape(*shape, 1)
    observed = low + size * part.stop.double().cpu().numpy()[row, gene]
    code = part.trajectory.tolist()
    labels = [f"{part.names[code[r]]}:{rows[r]}:{model.genes[g]}" for r, g in zip(row, gene, strict=True)]
    return CellPredictions(observed, level, np.broadcast_to(sd, level.shape), labels, rows[row])


def squared_errors(posterior: PosteriorLike[Phoenix], data: ExpressionData, number: int, seed: int) -> np.ndarray:
    """``(pair, gene)`` squared errors over the fitted variance, averaged over draws; NaN where nothing was measured."""
    model = posterior.model
    pairs = scaled_pairs(model, data)
    weights, noise = weight_draws(posterior, number, seed=seed)
    total = torch.zeros_like(pairs.stop)
    for one in _each(weights):
        total += (_solved(model, one, pairs) - pairs.stop).square()
    ratio = total / len(noise) / noise.square().mean()
    return torch.where(pairs.observed, ratio, torch.nan).cpu().numpy()


def scaled_pairs(model: Phoenix, data: ExpressionData) -> Transitions:
    """The pairs of a time course in the units of the fit.

    Raises
    ------
    ValueError
        Data without times, or that lack genes of the fit.
    """
    pairs = Transitions.from_data(_in_order(model, data)).to(model.zero.device, model.zero.dtype)
    start, stop = ((value - model.low) / model.size for value in (pairs.start, pairs.stop))
    return Transitions(
        start, stop, pairs.dt / model.time_unit, pairs.observed, pairs.trajectory, pairs.names, pairs.genes
    )


def predict_course(
    posterior: PosteriorLike[Phoenix],
    times: Sequence[float],
    *,
    start: Mapping[str, float] | str | None = None,
    knockout: Sequence[str] = (),
    overexpress: Mapping[str, float] | None = None,
    num_draws: int = 100,
    seed: int = 0,
) -> Course:
    r"""Draws of the trajectory at ``times`` from a start, with genes clamped.

    Parameters
    ----------
    times
        At least two, increasing, in the unit of the data; the first is that of the start.
    start
        The name of a trajectory of the fit (its first measurement), or levels by gene in the units of the data, the
        others at the mean of the first measurements. Default that mean for all.
    knockout, overexpress
        Genes held at zero (at the least value seen, where the data have negative values), or at a level.
    num_draws, seed
        Draws used, and their choice.

    Raises
    ------
    ValueError
        A start or genes that the fit does not know, times that do not increase, a solution that blows
        up in all draws.
    """
    model = posterior.model
    when = torch.as_tensor(list(times), dtype=model.zero.dtype, device=model.zero.device) / model.time_unit
    twice = sorted(set(knockout) & set(overexpress or {}))
    if twice:
        raise ValueError(f"clamped twice: {twice}. Give each gene once")
    clamped = {gene: None for gene in knockout} | dict(overexpress or {})
    held = {gene: _level(model, gene, value) for gene, value in clamped.items()}
    free = torch.ones_like(model.low)
    free[[model.genes.index(gene) for gene in held]] = 0.0
    first = _start(model, start)
    weights, noise = weight_draws(posterior, num_draws, seed=seed)
    levels, rates, kept = [], [], []
    for i, one in enumerate(_each(weights)):  # one by one: a draw that blows up must not end the others
        try:
            course = model.trajectory(one, first[None], when, clamped=held)[:, 0]  # (time, gene)
        except BlowUp:
            continue
        kept.append(i)
        levels.append(model.low + model.size * course)
        rates.append(model.derivative(one, course) * free * model.size / model.time_unit)
    if not levels:
        raise ValueError("the solution blows up in every draw: predict a shorter time, or from a start nearer the data")
    drawn, rate = (torch.stack(value).double().cpu().numpy() for value in (levels, rates))
    error = (noise.square().mean().sqrt() * model.size).double().cpu().numpy()
    lost = 1 - len(levels) / len(noise)
    longest = float(model.data_dt.max() * model.time_unit)
    return Course(model.genes, np.asarray(list(times), dtype=float), drawn, rate, error, lost, np.array(kept), longest)


def velocity(
    posterior: PosteriorLike[Phoenix], data: ExpressionData, *, num_draws: int = 50, seed: int = 0
) -> pd.DataFrame:
    """``(cell, gene)`` posterior mean of the derivative at each cell, per unit of time: what RNA velocity estimates.
    The rows are called as the cells, or numbered where these have no names.

    Parameters
    ----------
    data
        Cells with the genes of the fit; times are not needed.

    Raises
    ------
    ValueError
        Data that lack genes of the fit.
    """
    model = posterior.model
    X = _in_order(model, data).X
    if not bool(torch.isfinite(X).all()):
        missing = int((~torch.isfinite(X)).sum())
        raise ValueError(f"{missing} values are missing: a velocity needs all genes of a cell, drop those cells")
    g = (X.to(model.zero) - model.low) / model.size
    weights, noise = weight_draws(posterior, num_draws, seed=seed)
    total = torch.zeros_like(g)
    for one in _each(weights):
        total += model.derivative(one, g)
    mean = total / len(noise) * model.size / model.time_unit
    index = None if data.labels is None else pd.Index(data.labels.names, name="cell")
    return pd.DataFrame(mean.cpu().numpy(), index, list(model.genes))


def final_levels(
    posterior: PosteriorLike[Phoenix], levels: Mapping[str, float | None], request: Request
) -> pd.DataFrame:
    """Levels after an intervention, as `Posterior.predict` gives them: those at the end of the longest course of the
    fit, from the mean of the first measurements; ``settled`` the share of draws that did not blow up, ``control`` the
    same without the intervention."""
    model = posterior.model
    times = [0.0, float(model.durations().max() * model.time_unit)]
    knocked = [gene for gene, value in levels.items() if value is None]
    given = {gene: value for gene, value in levels.items() if value is not None}
    number, seed = request.num_draws, request.seed
    after = predict_course(posterior, times, knockout=knocked, overexpress=given, num_draws=number, seed=seed)
    control = predict_course(posterior, times, num_draws=number, seed=seed)
    columns = ["gene", "mean", "sd", "lower", "upper"]
    both = np.isin(control.kept, after.kept)  # the same draws with and without
    if not both.any():
        raise ValueError("no draw has a solution both with and without the intervention: it is too far from the data")
    table = after.table(request.level).iloc[-len(model.genes) :][columns].reset_index(drop=True)
    return table.assign(settled=1 - after.lost, control=control.levels[both, -1].mean(0))


def _in_order(model: Phoenix, data: ExpressionData) -> ExpressionData:
    """The genes of the fit, in its order."""
    measured = set(data.genes)
    missing = [gene for gene in model.genes if gene not in measured]
    if missing:
        raise ValueError(f"`data` lack {len(missing)} genes of the fit: {some(missing)}. Pass data that have them all")
    return data.select_genes(model.genes)


def _start(model: Phoenix, start: Mapping[str, float] | str | None) -> Tensor:
    """``(gene,)`` in units of the fit."""
    firsts = model.first_levels()
    if isinstance(start, str):
        if start not in model.names:
            raise ValueError(f"no trajectory {start!r}: the fit has {some(model.names)}")
        return firsts[model.names.index(start)]
    first = firsts.mean(0)
    check_measured(start or {}, model.genes, what="genes of the start")
    wrong = [gene for gene, value in (start or {}).items() if not np.isfinite(value)]
    if wrong:
        raise ValueError(f"start: levels of {some(wrong)} are not numbers: leave those genes out")
    for gene, value in (start or {}).items():
        i = model.genes.index(gene)
        first[i] = (value - model.low[i]) / model.size[i]
    return first


def _level(model: Phoenix, gene: str, value: float | None) -> float:
    """The level to clamp at, in units of the fit."""
    check_measured([gene], model.genes)
    i = model.genes.index(gene)
    least = float(model.least[i]) * float(model.size[i]) + float(model.low[i])
    absolute = min(0.0, least) if value is None else value
    return (absolute - float(model.low[i])) / float(model.size[i])


def _each(weights: PhoenixParameters) -> Iterator[PhoenixParameters]:
    """Draws one by one."""
    for i in range(len(weights.upsilon)):
        yield PhoenixParameters(*(value[i] for value in weights))


def _solved(model: Phoenix, weights: PhoenixParameters, pairs: Transitions) -> Tensor:
    """``(pair, gene)`` at the ends of pairs; NaN if the solution blows up."""
    try:
        return model.solve(weights, pairs.start, pairs.dt)
    except BlowUp:
        return torch.full_like(pairs.stop, torch.nan)

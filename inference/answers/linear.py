"""Linear networks: their steady state after an intervention, and single cells."""

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...models import ExpressionData, LinearNetwork, Symphony
from ...models.dynamics.steady_state import respond, undisturbed
from ..checks import Check
from ..draws.fitted import PosteriorLike
from ..draws.networks import context_index, in_context
from ..misfit_checks import misfit_checks
from .base import Answers, Intervention, Request, levels_only
from .directions import direction_notes
from .linear_cells import predict_cells, squared_residuals
from .named_genes import check_regulators
from .observed_regulators import ObservedRegulators
from .regulator_response import is_open, response_of_regulators
from .results import CellPredictions
from .tables import settled_table

Linear = LinearNetwork | Symphony
L = TypeVar("L", bound=Linear)


class LinearAnswers(Answers[L], Generic[L]):
    """Interventions by the steady state, and values of cells from the regulators of the same cell."""

    predicts_held_out = True
    links = True

    def unpredictable(self, model: L, data: ExpressionData) -> str | None:
        return None

    def checks_residuals(self, model: L) -> bool:
        return True

    def cells(
        self, posterior: PosteriorLike[L], data: ExpressionData, number: int, rng: np.random.Generator
    ) -> CellPredictions:
        return predict_cells(posterior, data, number, rng)

    def residuals(
        self, posterior: PosteriorLike[L], data: ExpressionData, *, num_cells: int, num_draws: int, seed: int
    ) -> np.ndarray:
        return squared_residuals(posterior, data, num_cells, num_draws, np.random.default_rng([seed, 3]))

    def misfits(self, posterior: PosteriorLike[L], data: ExpressionData, *, seed: int) -> Iterator[Check]:
        return misfit_checks(posterior, data, seed=seed)

    def predict(self, posterior: PosteriorLike[L], intervention: Intervention, request: Request) -> pd.DataFrame:
        levels_only(intervention)
        return steady_state(posterior, intervention.levels, request)

    def prediction_notes(self, posterior: PosteriorLike[L]) -> list[str]:
        return direction_notes(posterior)


def steady_state(
    posterior: PosteriorLike[Linear], levels: Mapping[str, float | None], request: Request
) -> pd.DataFrame:
    """Levels of the targets with regulators clamped at ``levels`` (None: knocked out); columns as
    `Posterior.predict`."""
    model = posterior.model
    check_regulators(list(levels), model.genes, model.tfs)
    target_of = {g: i for i, g in enumerate(model.targets)}
    place = lambda genes: torch.tensor([target_of.get(g, -1) for g in genes])
    tf_target, clamped = place(model.tfs), torch.tensor([model.tfs.index(g) for g in levels])
    W = torch.as_tensor(_networks(posterior, request)).double()
    intercept, exogenous = _intercepts(posterior, W, request.context)
    scale = model.scale.cpu().double()
    final = torch.tensor([_final_level(model, g, value) for g, value in levels.items()], dtype=torch.float64)
    final = final / scale[model.tf_index.cpu()[clamped]]
    steps = request.steps
    observed = ObservedRegulators.of(model, request.context) if steps is None and is_open(model) else None
    if observed is not None:
        return _with_doubt(posterior, observed, W, intercept, (clamped, final), request)
    regulators, values, settled = undisturbed(W, intercept, exogenous, tf_target)
    if steps is not None:  # a few steps from the average cell, which need no steady state
        regulators = exogenous.expand(len(W), -1)
        values = intercept + torch.einsum("t,ntg->ng", exogenous, W)
        settled = torch.ones_like(settled)
    response = respond(W, tf_target, clamped, final - regulators[:, clamped], place(levels), steps=steps)
    unit = scale[model.target_index.cpu()]
    control = values[settled].mean(0) if bool(settled.any()) else torch.full_like(unit, float("nan"))
    after = ((values + response.change) * unit).numpy()  # (draw, target)
    reached = response.settled if steps is None else torch.ones_like(response.settled)
    return settled_table(model.targets, after, reached.numpy(), (control * unit).numpy(), request.level)


def _with_doubt(
    posterior: PosteriorLike[Linear],
    observed: ObservedRegulators,
    W: Tensor,
    intercept: Tensor,
    intervention: tuple[Tensor, Tensor],
    request: Request,
) -> pd.DataFrame:
    """The table where the direction of edges between regulators is not known: regulators as `regulator_response` says,
    targets by their regressions on them. ``intervention``: positions of the clamped, and their levels."""
    model = posterior.model
    clamped, final = intervention
    before = observed.free.mean
    change, settled = response_of_regulators(
        posterior, observed, clamped, final - before[clamped], len(W), request.seed
    )
    values = intercept + torch.einsum("t,ntg->ng", before, W)
    after = intercept + torch.einsum("nt,ntg->ng", before + change, W)
    place = {gene: i for i, gene in enumerate(model.tfs)}
    target = [g for g, gene in enumerate(model.targets) if gene in place]
    own = [place[model.targets[g]] for g in target]
    values[:, target], after[:, target] = before[own], (before + change)[:, own]
    unit = model.scale.cpu().double()[model.target_index.cpu()]
    control = (values.mean(0) * unit).numpy()
    return settled_table(model.targets, (after * unit).numpy(), settled.numpy(), control, request.level)


def _networks(posterior: PosteriorLike[Linear], request: Request) -> np.ndarray:
    """``(draw, tf, target)`` draws of the network of the context, chosen without replacement."""
    _, draws = in_context(posterior, request.context)
    flat = draws.reshape(-1, *draws.shape[2:])
    if request.num_draws >= len(flat):
        return flat
    return flat[np.random.default_rng(request.seed).choice(len(flat), request.num_draws, replace=False)]


def _intercepts(posterior: PosteriorLike[Linear], W: Tensor, context: str | None) -> tuple[Tensor, Tensor]:
    """``(draw, target)`` intercepts of each draw of the network and ``(tf,)`` mean levels of the regulators, both in
    units of the fit.

    They come from the cells in which the target is free: cells with interventions on other genes count, those on itself
    do not. The shared network takes the average over contexts, weighted by their cells.
    """
    model, names = posterior.model, posterior.coords["context"]
    k = slice(None) if context is None or len(names) == 1 else [context_index(names, context)]
    count = model.dof.cpu().double()[k] + 1  # (context, target)
    share = count / count.sum(0)
    centred = model.target_mean.cpu().double()[k] - torch.einsum("ntg,ktg->nkg", W, model.tf_mean.cpu().double()[k])
    cells = count.amax(1) / count.amax(1).sum()
    level = (cells[:, None] * model.context_mean.cpu().double()[k]).sum(0) / model.scale.cpu().double()
    return (share * centred).sum(1), level[model.tf_index.cpu()]


def _final_level(model: Linear, gene: str, value: float | None) -> float:
    """The level to clamp at, in the units of the data: zero for a knock-out, or the least value seen where it is
    negative."""
    return float(value) if value is not None else min(0.0, float(model.minimum[model.genes.index(gene)]))

"""Panels of knock-downs: levels after interventions, with intervals, single values, and what disturbs a FactorBox."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...models import ExpressionData, FactorBox
from ...models.dynamics.settle import SETTLED, settle
from ...models.factorbox import System
from ...models.knockdown_response import ResponsePrediction, predict_knockdowns
from ..draws.fitted import PosteriorLike
from .base import COVERAGE_RANGE, Answers, Intervention, Request
from .named_genes import check_measured
from .panel_cells import conditions, of_panel, panel_residuals
from .results import CellPredictions, Fluctuations
from .tables import outcome_table

BLOCK = 40_000_000  # weights of draws solved together: 320 MB in float64


class PanelAnswers(Answers[FactorBox]):
    """Interventions by the steady state, or by the panel's own knock-downs; drives of conditions; variance flux."""

    # about as many regulators as conditions: the fit follows each value, and only too narrow would be wrong
    coverage_range = (COVERAGE_RANGE[0], 1.0)
    leaves_values_out = False

    def unpredictable(self, model: FactorBox, data: ExpressionData) -> str | None:
        return None

    def checks_residuals(self, model: FactorBox) -> bool:
        return True

    def cells(
        self, posterior: PosteriorLike[FactorBox], data: ExpressionData, number: int, rng: np.random.Generator
    ) -> CellPredictions:
        return of_panel(posterior, posterior.model, data, number, rng, names=conditions(data))

    def residuals(
        self, posterior: PosteriorLike[FactorBox], data: ExpressionData, *, num_cells: int, num_draws: int, seed: int
    ) -> np.ndarray:
        return panel_residuals(posterior, posterior.model, data, num_draws, np.random.default_rng([seed, 3]))

    def predict(
        self, posterior: PosteriorLike[FactorBox], intervention: Intervention, request: Request
    ) -> pd.DataFrame:
        no_steps(request)
        if intervention.inputs:
            raise ValueError("FactorBox was fitted without inputs: name genes to knock out, down, or over-express")
        return next(predict_panel(posterior, [intervention], request))

    def knockouts(
        self, posterior: PosteriorLike[FactorBox], genes: Sequence[str], request: Request
    ) -> Iterator[pd.DataFrame]:
        """Solved together."""
        no_steps(request)
        return predict_panel(posterior, [Intervention({gene: None}) for gene in genes], request)

    def fluctuations(self, model: FactorBox, context: str | None) -> Callable[[Mapping[str, np.ndarray]], Fluctuations]:
        k = context_of(model.coords["context"], context)
        return lambda draw: _fluctuations(model, draw, k)


def predict_panel(
    posterior: PosteriorLike[FactorBox], interventions: Sequence[Intervention], request: Request
) -> Iterator[pd.DataFrame]:
    """Levels after interventions in a FactorBox, one table each; columns as `Posterior.predict`.

    A gene of ``knockdown`` is held at the level at which it acts in the fit where this context has that knock-down,
    else at the context's median share. A single one, in a context with ten or more to learn from, is answered by the
    panel's own knock-downs (`models.knockdown_response`), not by the network, which adds nothing to them on real
    panels: what a knock-down does without meaning to is most of what it does. Its intervals are those of a new
    measurement, and its ``control`` is the panel's mean. ``baseline`` is the mean of all knock-downs of this context,
    the centroid to which changes are referred when such predictions are scored, and ``beyond_baseline`` whether the
    interval leaves that out: where it does not, the baseline already predicts this. Everything else is the steady
    state of the network with the noise of a condition in every drive, which travels through the network as it does in
    the panel, and with the noise of a measurement where the fit was told of one: these intervals are those of a new
    measurement too. ``control`` is without noise. Interventions and draws are solved together, as many as fit into
    memory, and a draw has the same noise in all of them, so that interventions can be compared draw by draw.
    """
    model, level = posterior.model, request.level
    position = {gene: i for i, gene in enumerate(model.genes)}
    named = [g for one in interventions for g in (*one.levels, *one.knockdown)]
    check_measured(named, model.genes)
    negative = [f"{g}={v}" for one in interventions for g, v in one.levels.items() if v is not None and v < 0]
    if negative:
        raise ValueError(f"levels below zero: {negative}. Expected levels in the units of the data, 0 or more")
    k = context_of(model.contexts, request.context)
    single = [position[one.knockdown[0]] for one in interventions if _is_plain(one)]
    learned: dict[int, ResponsePrediction] = {}
    if single and model.learns_responses(k):
        responses = model.responses()
        found = predict_knockdowns(responses, k, torch.tensor(single))
        baseline = responses.logs[k][responses.seen[k]].double().mean(0).exp().numpy()
        learned = {g: ResponsePrediction(found.mean[i], found.sd[i]) for i, g in enumerate(single)}
    rest = [one for one in interventions if not (_is_plain(one) and learned)]
    draws = posterior.sample(request.num_draws, seed=request.seed)
    at_once = max(1, BLOCK // (2 * request.num_draws * len(model.genes)))
    solved = (
        table
        for first in range(0, len(rest), at_once)
        for table in _solved(model, draws, rest[first : first + at_once], k, request)
    )
    for one in interventions:
        if _is_plain(one) and learned:
            gene = position[one.knockdown[0]]
            table = _measured(model, learned[gene], gene, k, level).assign(baseline=baseline)
            yield table.assign(beyond_baseline=(baseline < table["lower"]) | (table["upper"] < baseline))
        else:
            yield next(solved)


def _is_plain(one: Intervention) -> bool:
    return len(one.knockdown) == 1 and not one.levels


def _measured(model: FactorBox, found: ResponsePrediction, gene: int, k: int, level: float) -> pd.DataFrame:
    """The table of a learned response, log-normal, with the knocked-down ``gene`` at its own level."""
    sd = found.sd.clone()
    mean = found.mean.clone()
    mean[gene], sd[gene] = model.knockdown_level(gene, k).log(), 0.0
    reach = NormalDist().inv_cdf(0.5 + level / 2) * sd
    average = (mean + 0.5 * sd.square()).exp()
    columns = {
        "mean": average,
        "sd": average * torch.expm1(sd.square()).sqrt(),
        "lower": (mean - reach).exp(),
        "upper": (mean + reach).exp(),
    }
    table = pd.DataFrame({"gene": list(model.genes)} | {name: value.numpy() for name, value in columns.items()})
    table["settled"], table["control"] = 1.0, model.control_level(k).numpy()
    return table


def _solved(
    model: FactorBox, draws: Mapping[str, np.ndarray], interventions: Sequence[Intervention], k: int, request: Request
) -> Iterator[pd.DataFrame]:
    """Tables of interventions that are solved together."""
    in_drive, in_level = _noise(model, draws, k, request.seed)
    done = 0
    position = {gene: i for i, gene in enumerate(model.genes)}
    size = len(model.genes)
    start = model.control_level(k)
    fixed = torch.ones(size, dtype=torch.bool)
    fixed[model.target_index.cpu()] = False  # genes without an equation of their own
    clamped = fixed.repeat(len(interventions), 1)  # (condition, gene)
    held = start.repeat(len(interventions), 1)
    for row, one in enumerate(interventions):
        places = {position[g]: 0.0 if value is None else float(value) for g, value in one.levels.items()}
        places |= {position[g]: float(model.knockdown_level(position[g], k)) for g in one.knockdown}
        clamped[row, list(places)] = True
        for gene, value in places.items():
            held[row, gene] = value
    after, before, codes = [], [], []
    for system in networks(model, draws, k):
        number = len(system.epsilon)
        first = system.coordinate(start.expand(number, 1, size))
        base = settle(system.dynamics, first, clamped=fixed[None])
        good = (base.outcome == SETTLED)[..., None]
        state = torch.where(good, base.x, first).expand(-1, len(held), -1)
        state = torch.where(clamped, system.coordinate(held.expand(number, -1, -1)), state)
        part, done = slice(done, done + number), done + number
        noisy = replace(system.dynamics, bias=system.dynamics.bias + in_drive[part])
        result = settle(noisy, state, clamped=clamped)
        x = torch.where(clamped, held, system.level(result.x) * in_level[part, None])
        after.append(torch.where((result.outcome == SETTLED)[..., None], x, torch.nan).numpy())
        codes.append(result.outcome.numpy())
        before.append(torch.where(good, system.level(base.x), torch.nan)[:, 0].numpy())
    levels, outcome, control = np.concatenate(after), np.concatenate(codes), np.concatenate(before)
    for row in range(len(interventions)):
        yield outcome_table(model.genes, levels[:, row], control, outcome[:, row], request.level)


def _noise(model: FactorBox, draws: Mapping[str, np.ndarray], context: int, seed: int) -> tuple[Tensor, Tensor]:
    """``(draw, gene)`` what the noise of a condition adds to each drive, and by what that of a measurement multiplies
    each level; none of genes without an equation."""
    generator = torch.Generator().manual_seed(seed + 1)  # not the numbers that chose the draws
    variance = torch.as_tensor(draws["noise_variance"]).double()
    sd = (variance[:, context] if model.has_contexts else variance).sqrt() * model.unit.double().cpu()
    shape = (len(sd), len(model.genes))
    normal = lambda: torch.randn(shape, generator=generator, dtype=torch.float64)
    in_drive, target = torch.zeros(shape, dtype=torch.float64), model.target_index.cpu()
    in_drive[:, target] = sd * normal()[:, target]
    if not model.measured:
        return in_drive, torch.ones_like(in_drive)
    return in_drive, (model.measured[context].double() * normal()).exp()


def networks(model: FactorBox, draws: Mapping[str, np.ndarray], context: int) -> Iterator[System]:
    """The dynamical systems of joint draws in a context, in blocks that fit into memory."""
    wide = model.has_contexts
    W = draws["W_context"][:, context] if wide else draws["W"]
    headroom = draws.get("headroom")
    if headroom is not None and wide:
        headroom = headroom[:, context]
    allowed = model.edge_prior.allowed.cpu()
    step = max(1, BLOCK // len(model.genes) ** 2)
    for i in range(0, len(W), step):
        part = slice(i, i + step)
        weights = torch.as_tensor(W[part]) * allowed
        h = None if headroom is None else torch.as_tensor(headroom[part]).log()
        yield model.system(weights, h, context)


def _fluctuations(model: FactorBox, draw: Mapping[str, np.ndarray], context: int) -> Fluctuations:
    """The noise of a FactorBox is in the drive."""
    noise = torch.as_tensor(draw["noise_variance"]).double()
    system = next(networks(model, draw, context))
    variance = noise[:, context] if model.has_contexts else noise
    free = torch.zeros(len(model.genes), dtype=torch.bool)
    free[model.target_index.cpu()] = True
    start = system.coordinate(model.control_level(context).expand(1, 1, -1))
    sigma = torch.zeros(1, len(free), dtype=torch.float64)
    sigma[:, model.target_index.cpu()] = variance.sqrt() * model.unit.double().cpu()
    return Fluctuations(system.dynamics, start, free, sigma, in_drive=True)


def no_steps(request: Request) -> None:
    """Refuse a number of steps, which only linear networks can be carried."""
    if request.steps is not None:
        raise ValueError("`steps` are for linear networks: this model is solved for its steady state")


def context_of(contexts: Sequence[str], name: str | None) -> int:
    """Position of a context; with several one must be named."""
    if name is None and len(contexts) > 1:
        raise ValueError(f"this fit has contexts {list(contexts)}: choose one with `context=`")
    if name is not None and name not in contexts:
        raise ValueError(f"no context {name!r}: the fit has {list(contexts)}")
    return 0 if name is None else contexts.index(name)

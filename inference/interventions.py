"""Steady states of a fitted dynamical network after interventions, with intervals: FactorBox and CellBox."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
import pandas as pd
import torch

from ..models import CellBox, FactorBox, Model
from ..models.factorbox import System
from ..models.knockdown_response import ResponsePrediction, predict_knockdowns
from ..models.settle import DIVERGES, OSCILLATES, SETTLED, settle
from .draws.fitted import PosteriorLike

BLOCK = 40_000_000  # weights of draws solved together: 320 MB in float64


@dataclass(frozen=True)
class Intervention:
    """What is done in one condition: ``levels`` of clamped genes (None: zero), and genes of ``knockdown`` brought down
    as the panel does it."""

    levels: Mapping[str, float | None] = field(default_factory=dict)
    knockdown: tuple[str, ...] = ()


def predict_panel(
    posterior: PosteriorLike[Model],
    model: FactorBox,
    interventions: Sequence[Intervention],
    *,
    context: str | None,
    level: float,
    num_draws: int,
    seed: int,
) -> Iterator[pd.DataFrame]:
    """Levels after interventions in a FactorBox, one table each; columns as `Posterior.predict`.

    A gene of ``knockdown`` is held at the level at which it acts in the fit where this context has that knock-down,
    else at the context's median share. A single one, in a context with ten or more to learn from, is answered by the
    panel's own knock-downs (`models.knockdown_response`), not by the network, which adds nothing to them on real
    panels: what a knock-down does without meaning to is most of what it does. Its intervals are those of a new
    measurement, and its ``control`` is the panel's mean. Everything else is the steady state of the network, its
    intervals those of the posterior of that state, without the noise of a measurement. Interventions and draws are
    solved together, as many as fit into memory.
    """
    position = {gene: i for i, gene in enumerate(model.genes)}
    named = [g for one in interventions for g in (*one.levels, *one.knockdown)]
    unknown = sorted({g for g in named if g not in position})
    if unknown:
        raise ValueError(f"not among the {len(model.genes)} genes of this fit: {unknown}. Name measured genes")
    negative = [f"{g}={v}" for one in interventions for g, v in one.levels.items() if v is not None and v < 0]
    if negative:
        raise ValueError(f"levels below zero: {negative}. Expected levels in the units of the data, 0 or more")
    k = context_of(model.contexts, context)
    single = [position[one.knockdown[0]] for one in interventions if _is_plain(one)]
    learned: dict[int, ResponsePrediction] = {}
    if single and model.learns_responses(k):
        found = predict_knockdowns(model.responses(), k, torch.tensor(single))
        learned = {g: ResponsePrediction(found.mean[i], found.sd[i]) for i, g in enumerate(single)}
    rest = [one for one in interventions if not (_is_plain(one) and learned)]
    draws = posterior.sample(num_draws, seed=seed)
    at_once = max(1, BLOCK // (2 * num_draws * len(model.genes)))
    solved = (
        table
        for first in range(0, len(rest), at_once)
        for table in _solved(model, draws, rest[first : first + at_once], k, level)
    )
    for one in interventions:
        if _is_plain(one) and learned:
            gene = position[one.knockdown[0]]
            yield _measured(model, learned[gene], gene, k, level)
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
    model: FactorBox, draws: Mapping[str, np.ndarray], interventions: Sequence[Intervention], k: int, level: float
) -> Iterator[pd.DataFrame]:
    """Tables of interventions that are solved together."""
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
        result = settle(system.dynamics, state, clamped=clamped)
        x = torch.where(clamped, held, system.level(result.x))
        after.append(torch.where((result.outcome == SETTLED)[..., None], x, torch.nan).numpy())
        codes.append(result.outcome.numpy())
        before.append(torch.where(good, system.level(base.x), torch.nan)[:, 0].numpy())
    levels, outcome, control = np.concatenate(after), np.concatenate(codes), np.concatenate(before)
    for row in range(len(interventions)):
        yield table_of(model.genes, levels[:, row], control, outcome[:, row], level)


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


def predict_inputs(
    posterior: PosteriorLike[Model],
    model: CellBox,
    *,
    doses: Mapping[str, float],
    level: float,
    num_draws: int,
    seed: int,
) -> pd.DataFrame:
    """Responses of a CellBox to inputs ``doses`` by node, with the noise of a measurement; columns as
    `Posterior.predict`."""
    position = {gene: i for i, gene in enumerate(model.genes)}
    unknown = [g for g in doses if g not in position]
    if unknown:
        raise ValueError(f"no nodes {unknown} in this fit: inputs act on measured nodes, e.g. {list(model.genes[-3:])}")
    draws = posterior.sample(num_draws, seed=seed)
    inputs = torch.zeros(1, len(model.genes), dtype=torch.float64)
    for gene, dose in doses.items():
        inputs[0, position[gene]] = dose
    x, outcome = model.predict({name: value[None] for name, value in draws.items()}, inputs)
    noise = np.random.default_rng([seed, 4]).standard_normal(draws["noise"].shape) * draws["noise"]
    after = x[:, 0].cpu().numpy() + noise
    return table_of(model.genes, after, np.zeros_like(after), outcome[:, 0].cpu().numpy(), level)


def table_of(
    genes: Sequence[str], after: np.ndarray, before: np.ndarray, outcome: np.ndarray, level: float
) -> pd.DataFrame:
    """``gene, mean, sd, lower, upper, settled, control`` over the draws that settle; ``attrs`` has the shares of draws
    that oscillate and diverge."""
    table = pd.DataFrame({"gene": list(genes)})
    settled = outcome == SETTLED
    table.attrs = {"oscillates": float((outcome == OSCILLATES).mean()), "diverges": float((outcome == DIVERGES).mean())}
    used, tail = after[settled], (1 - level) / 2
    if len(used):
        table["mean"], table["sd"] = used.mean(0), used.std(0)
        table["lower"], table["upper"] = np.quantile(used, [tail, 1 - tail], axis=0)
        known = before[settled]
        known = known[np.isfinite(known).all(1)]
        table["settled"] = float(settled.mean())
        table["control"] = known.mean(0) if len(known) else np.nan
    else:
        table[["mean", "sd", "lower", "upper"]] = np.nan
        table["settled"], table["control"] = 0.0, np.nan
    return table


def context_of(contexts: Sequence[str], name: str | None) -> int:
    """Position of a context; with several one must be named."""
    if name is None and len(contexts) > 1:
        raise ValueError(f"this fit has contexts {list(contexts)}: choose one with --context")
    if name is not None and name not in contexts:
        raise ValueError(f"no context {name!r}: the fit has {list(contexts)}")
    return 0 if name is None else contexts.index(name)
